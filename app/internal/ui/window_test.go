package ui

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/driver/desktop"
	"fyne.io/fyne/v2/test"
	"fyne.io/fyne/v2/theme"
	"fyne.io/fyne/v2/widget"

	"github.com/warren-mesh/warren/app/internal/fake"
	"github.com/warren-mesh/warren/app/internal/view"
	"github.com/warren-mesh/warren/ipc"
)

// open makes a window in memory; what a person asks for is in asked.
func open(t testing.TB, variant fyne.ThemeVariant) (w *Window, asked *[]view.Intent) {
	t.Helper()
	app := test.NewTempApp(t)
	app.Settings().SetTheme(NewTheme(variant == theme.VariantDark))
	asked = &[]view.Intent{}
	w = New(app, func(i view.Intent) { *asked = append(*asked, i) })
	t.Cleanup(w.Close)
	return w, asked
}

func status(edit ...func(*ipc.Status)) *ipc.Status {
	s := fake.Running()
	for _, e := range edit {
		e(&s)
	}
	return &s
}

var profiles = []ipc.Profile{
	{ID: "00", Name: "home", User: "alice", Current: true}, {ID: "11", Name: "work", User: "alice@work"}, {ID: "22", Name: "lab", NeedsLogin: true},
}

// office is a network as people have it.
func office(s *ipc.Status) {
	s.Self.Name = "alice-laptop"
	s.Peers = nil
	for i, name := range []string{"backup", "bob-desktop", "carol", "cellar-pi", "dave", "nas", "printer", "router", "tv"} {
		p := ipc.Peer{
			ID: int64(i + 1), Name: name, DNSName: name + ".demo.warren.internal", User: "alice", OS: "linux", Online: i%4 != 3,
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{100, 64, 0, byte(i + 3)}), netip.MustParseAddr("fd7a::" + fmt.Sprint(i+3))},
			Path:  ipc.Path{Kind: ipc.PathNone}, LastSeen: s.Time.Add(-time.Duration(i) * time.Hour), RxBytes: 1_200_000, TxBytes: 34_000,
		}
		switch i % 4 {
		case 0:
			p.Path = ipc.Path{Kind: ipc.PathDirect, Endpoint: netip.MustParseAddrPort("203.0.113.7:41641"), Latency: 12, Reason: "the fastest of three"}
			p.LastHandshake = s.Time.Add(-40 * time.Second)
			p.Version, p.Expires, p.Path.Switches = "1.2.3", s.Time.Add(90*24*time.Hour), 3
			p.Path.Code = ipc.PathReasonProven
			p.Routes = []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}
			p.History = []ipc.PathChange{
				{At: s.Time.Add(-90 * time.Minute), Kind: ipc.PathRelay, Via: "fra", Code: ipc.PathReasonRelayUp},
				{At: s.Time.Add(-80 * time.Minute), Kind: ipc.PathDirect, Via: "203.0.113.7:41641", Code: ipc.PathReasonProven},
				{At: s.Time.Add(-25 * time.Minute), Kind: ipc.PathRelay, Via: "fra", Code: ipc.PathReasonLost},
				{At: s.Time.Add(-20 * time.Minute), Kind: ipc.PathDirect, Via: "203.0.113.7:41641", Code: ipc.PathReasonProven},
			}
		case 1:
			p.Path = ipc.Path{Kind: ipc.PathRelay, Relay: "fra", Latency: 30}
		}
		s.Peers = append(s.Peers, p)
	}
}

// leads makes some of the office's machines exit nodes.
func leads(s *ipc.Status) {
	for i := range s.Peers {
		if i%2 == 0 || i == 5 {
			s.Peers[i].ExitOption = true
		}
	}
	s.Peers[4].Path.Latency, s.Peers[4].Exit = 31, true
	s.Exit = &ipc.Exit{Wanted: []string{s.Peers[4].Name}, Name: s.Peers[4].Name, Up: true, IPv4: true}
}

// net is what a machine behind a NAT at home knows of its network.
func net(s *ipc.Status) {
	for addr, kind := range map[string]string{"192.168.1.7:41641": "local", "203.0.113.9:41641": "stun"} {
		s.Self.Endpoints = append(s.Self.Endpoints, ipc.Endpoint{Addr: netip.MustParseAddrPort(addr), Kind: kind})
	}
	slices.SortFunc(s.Self.Endpoints, func(a, b ipc.Endpoint) int { return a.Addr.Compare(b.Addr) })
	s.Relays = append(s.Relays, ipc.Relay{Name: "helsinki", Latency: 48}, ipc.Relay{Name: "new-york", Latency: 112}, ipc.Relay{Name: "tokyo"})
}

// checked is what a check finds behind a NAT that is hard to pass.
func checked() *ipc.Netcheck {
	n, _ := fake.New().Netcheck(context.Background())
	n.IPv4.Mapping = ipc.PortDependent
	n.Advice = []string{"Have the router open ports (UPnP-IGD, NAT-PMP or PCP): then direct connections work with everyone."}
	n.Relays = []ipc.NetcheckRelay{{Name: "fra", Home: true, IPv4: 12.4}, {Name: "helsinki", IPv4: 48, IPv6: 41}, {Name: "new-york", TCP: 112}, {Name: "tokyo"}}
	return n
}

// blocked is a network without UDP.
func blocked(s *ipc.Status) {
	s.Self.Endpoints = s.Self.Endpoints[:1]
	s.Relays[0].Transport = "websocket"
	s.Problems = []ipc.Problem{{Code: "udp-blocked", Text: "UDP is blocked."}}
}

// pictures are what a person may see.
var pictures = []struct {
	name   string
	in     view.Input
	page   view.Page
	choose int // a row of the list, from 1
}{
	{"machines", view.Input{Status: status(office), Profiles: profiles}, view.PageMachines, 2},
	{"nobody-chosen", view.Input{Status: status(office), Profiles: profiles}, view.PageMachines, 0},
	{"detail", view.Input{Status: status(office), Profiles: profiles, Pings: map[int64]view.Answer{1: {Reply: &ipc.PingReply{Latency: 12, Path: ipc.Path{Kind: ipc.PathDirect}}}}}, view.PageMachines, 1},
	{"relayed", view.Input{Status: status(office), Profiles: profiles, Whys: map[int64]*ipc.Why{2: {Advised: []ipc.Advice{{Code: ipc.AdviceBothHard}}}}}, view.PageMachines, 2},
	{"refused", view.Input{Status: status(office), Profiles: profiles, Failed: &ipc.Error{Code: ipc.CodeDenied, Reason: ipc.ReasonOperate}, Tried: view.OpConnect}, view.PageMachines, 1},
	{"offline", view.Input{Status: status(office), Profiles: profiles}, view.PageMachines, 8},
	{"exits", view.Input{Status: status(office, leads), Profiles: profiles, Prefs: ipc.Prefs{ExitNodeAllowLAN: true}}, view.PageExits, 0},
	{"no-exits", view.Input{Status: status(office), Profiles: profiles}, view.PageExits, 0},
	{"network", view.Input{Status: status(office, net)}, view.PageNetwork, 0},
	{"blocked", view.Input{Status: status(office, net, blocked)}, view.PageNetwork, 0},
	{"checked", view.Input{Status: status(office, net), Netcheck: checked()}, view.PageNetwork, 0},
	{"network-off", view.Input{Status: status(func(s *ipc.Status) { s.State = ipc.StateDown })}, view.PageNetwork, 0},
	{"settings", view.Input{Status: status(), Profiles: profiles, Autostart: view.On, Prefs: ipc.Prefs{Port: 41641, AdvertiseRoutes: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}}}, view.PageSettings, 0},
	{"join", view.Input{Status: status(office), Profiles: profiles}, view.PageJoin, 0},
	{"about", view.Input{Status: status(), Profiles: profiles}, view.PageAbout, 0},
	{"well", view.Input{Status: status()}, view.PageProblems, 0},
	{"problems", view.Input{Status: status(func(s *ipc.Status) {
		s.Problems = []ipc.Problem{
			{Code: "key-expires-soon", Text: "This machine's key expires tomorrow.", Fix: "Extend it: warren login", Level: ipc.ProblemUrgent},
			{Code: "dns-contested", Text: "Another program keeps changing the host's DNS back, which has to be set again and again, and so names may not be found for a moment.", Fix: "See which: warren dns status"},
			{Code: "n", Text: "UDP is blocked here: everything goes through the relay.", Level: ipc.ProblemNotice},
		}
	})}, view.PageProblems, 0},
	{"first", view.Input{Status: &ipc.Status{State: ipc.StateNoServer}}, view.PageMachines, 0},
	{"asking", view.Input{Status: &ipc.Status{State: ipc.StateNoServer}, Busy: true, Asking: "https://warren.example.org/join#x"}, view.PageMachines, 0},
	{"unopened", view.Input{
		Status: &ipc.Status{State: ipc.StateNoServer},
		Login:  &view.Login{Page: "https://warren.example.org/login/" + strings.Repeat("x", 32), Code: "4821-93", Unopened: true},
	}, view.PageMachines, 0},
	{"german-other-server", view.Input{Status: &ipc.Status{State: ipc.StateNoServer}, Language: view.German, Tried: view.OpJoin, Failed: &ipc.Error{
		Code: ipc.CodeIdentity, Reason: ipc.ReasonOtherServer, About: []string{"warren.example.org", "3f2a91c0", "99b1e7d4"},
	}}, view.PageMachines, 0},
	{"waiting", view.Input{
		Status: status(func(s *ipc.Status) { s.State = ipc.StateNeedsLogin; s.Peers = nil; s.Self.Addrs = nil }),
		Login:  &view.Login{Page: "https://warren.example.org/login/x", Code: "4821-93"},
	}, view.PageMachines, 0},
	{"down", view.Input{Status: status(func(s *ipc.Status) { s.State = ipc.StateDown }), Profiles: profiles}, view.PageMachines, 0},
	{"denied", view.Input{Status: status(office), Failed: &ipc.Error{Code: ipc.CodeDenied}}, view.PageMachines, 0},
	{"not-running-exits", view.Input{Missing: &ipc.Error{Code: ipc.CodeNotRunning}}, view.PageExits, 0},
	{"not-running", view.Input{Missing: &ipc.Error{Code: ipc.CodeNotRunning}}, view.PageProblems, 0},
	{"german", view.Input{Status: status(office), Profiles: profiles, Language: view.German}, view.PageMachines, 1},
	{"german-settings", view.Input{Status: status(office), Profiles: profiles, Language: view.German}, view.PageSettings, 0},
	{"german-exits", view.Input{Status: status(office, leads), Profiles: profiles, Language: view.German}, view.PageExits, 0},
	{"chinese", view.Input{Status: status(office), Profiles: profiles, Language: view.Chinese}, view.PageMachines, 1},
}

// TestPictures draws every page, light and dark. A page must not be empty, nor be cut at the window's edge. WARREN_PICTURES
// names a folder to look at them in.
func TestPictures(t *testing.T) {
	folder := os.Getenv("WARREN_PICTURES")
	for name, variant := range map[string]fyne.ThemeVariant{"light": theme.VariantLight, "dark": theme.VariantDark} {
		for i, p := range pictures {
			if slower > 1 && i%6 != map[string]int{"light": 0, "dark": 3}[name] {
				continue // they take ten times as long, and the race detector sees the same in each of them
			}
			t.Run(name+"-"+p.name, func(t *testing.T) {
				w, _ := open(t, variant)
				paint(w, i, "")
				if p.name == "detail" {
					in := p.in
					in.Version, in.Windows = "1.2.3", true
					live(w, in)
				}
				img := w.Canvas().Capture()
				if got, want := w.settings.object.MinSize().Width, size.Width; got > want {
					t.Errorf("the settings are %v wide", got)
				}
				if got, want := w.Canvas().Size(), size; got.Width > want.Width || got.Height > want.Height {
					t.Errorf("the window has grown to %v", got)
				}
				if !many(img) {
					t.Error("there is next to nothing on it")
				}
				if folder != "" {
					save(t, filepath.Join(folder, name+"-"+p.name+".png"), img)
				}
			})
		}
	}
}

// What was drawn in the light looks in the dark as if it had been drawn there, also what no change has touched since.
func TestTheWindowFollowsADesktopThatBecomesDark(t *testing.T) {
	for i, p := range pictures {
		if !slices.Contains([]string{"detail", "exits", "checked", "problems", "settings"}, p.name) || slower > 1 && p.name != "checked" {
			continue
		}
		shot := func(before fyne.ThemeVariant, elsewhere bool) image.Image {
			w, _ := open(t, before)
			if slower > 1 {
				w.Resize(small)
			}
			paint(w, i, "")
			w.Canvas().Capture()
			if elsewhere {
				w.Open(view.PageAbout)
			}
			fyne.CurrentApp().Settings().SetTheme(NewTheme(true))
			w.Canvas().Content().Refresh()
			if elsewhere {
				w.Open(p.page)
			}
			return w.Canvas().Capture()
		}
		fresh := shot(theme.VariantDark, false)
		for _, elsewhere := range []bool{true, false} {
			if slower > 1 && !elsewhere {
				continue // the race detector sees the same
			}
			if n := unlike(shot(theme.VariantLight, elsewhere), fresh); n > 0 {
				t.Errorf("%s: %d points are as they were in the light, with another page seen meanwhile: %t", p.name, n, elsewhere)
			}
		}
	}
}

// paint shows one of the pictures, in a language.
func paint(w *Window, picture int, l view.Language) {
	p := pictures[picture]
	p.in.Version, p.in.Windows = "1.2.3", true
	p.in.Language = cmp.Or(l, p.in.Language)
	draw(w, &p.in)
	w.Open(p.page)
	if p.choose > 0 {
		w.machines.list.Select(p.choose - 1)
	}
}

// unlike counts the points in which two pictures differ.
func unlike(a, b image.Image) (n int) {
	x, y := a.(*image.NRGBA), b.(*image.NRGBA)
	for i := 0; i < len(x.Pix); i += 4 {
		if !bytes.Equal(x.Pix[i:i+4], y.Pix[i:i+4]) {
			n++
		}
	}
	return n
}

// small is what a panel of 32 pixels and a frame of 40 leave of a screen of 1024x600, at 200 %.
var small = fyne.NewSize(512, 264)

// refused are what a person may not, or what could not be done, in many words.
var refused = []*ipc.Error{
	{Code: ipc.CodeDenied, Reason: ipc.ReasonOperate},
	{Code: ipc.CodeIdentity, Reason: ipc.ReasonOtherServer, About: []string{"warren.example.org", "3f2a91c0", "99b1e7d4"}},
	{Code: ipc.CodeInternal, Message: strings.Repeat("the words of a long sentence ", 40), Fix: strings.Repeat("more of them ", 40)},
}

// Whatever went wrong is said in full where there is room; in a low window it can be scrolled to, and the page stays.
func TestARefusalLeavesRoomForThePage(t *testing.T) {
	for _, l := range []view.Language{view.German, view.English, view.Chinese} {
		if slower > 1 && l != view.German { // which takes the most room
			continue
		}
		w, _ := open(t, theme.VariantLight)
		in := &view.Input{Status: status(office), Language: l}
		draw(w, in)
		for i, e := range refused {
			now := *in
			now.Failed, now.Tried = e, view.OpConnect
			w.Resize(size)
			draw(w, &now)
			if got, want := w.alarm.Size().Height, w.failed.MinSize().Height; got < want && i < 2 {
				t.Errorf("%s: of %v, %v is shown: %q", l, want, got, w.failed.Text)
			}
			w.Resize(small)
			if got := w.Content().MinSize(); got.Width > small.Width || got.Height > small.Height {
				t.Errorf("%s: with %q, the window cannot be smaller than %v", l, w.failed.Text, got)
			}
			if page := w.body.Size().Height; page < w.body.MinSize().Height || w.body.Position().Y+page > small.Height+1 {
				t.Errorf("%s: the page has %v at %v", l, page, w.body.Position().Y)
			}
			if got := w.alarm.Size().Height; got < 30 {
				t.Errorf("%s: what went wrong has %v", l, got)
			}
		}
		draw(w, in)
		if w.alarm.Visible() || w.body.Position().Y > 90 {
			t.Errorf("%s: after that, the page begins at %v", l, w.body.Position().Y)
		}
	}
}

// What a person could change stands on the machine's page.
func TestAdviceStandsOnTheMachinesPage(t *testing.T) {
	w, _ := open(t, theme.VariantLight)
	in := &view.Input{Status: status(office), Whys: map[int64]*ipc.Why{2: {Advised: []ipc.Advice{{Code: ipc.AdviceSilent}}}}}
	draw(w, in)
	w.Open(view.PageOf(2))
	if d := w.machines.detail; !d.advice.Visible() || len(d.advice.Objects) != 1 || d.advice.Size().Height < 20 {
		t.Errorf("it has %d lines of advice, in %v", len(d.advice.Objects), d.advice.Size())
	}
	w.Open(view.PageOf(1))
	if w.machines.detail.advice.Visible() {
		t.Error("another machine has it, too")
	}
}

// No page, in no language, keeps the window from becoming as small as a small screen is. What has no room there can be scrolled to.
func TestTheWindowFitsASmallScreen(t *testing.T) {
	for _, l := range []view.Language{view.English, view.German, view.Chinese} {
		w, _ := open(t, theme.VariantLight)
		for i, p := range pictures {
			if slower > 1 && i%6 != 0 {
				continue
			}
			paint(w, i, l)
			if got := w.Content().MinSize(); got.Width > small.Width || got.Height > small.Height {
				t.Errorf("%s, %s: the window cannot be smaller than %v", p.name, l, got)
			}
		}
		if w.Fit(small); w.Canvas().Size() != small {
			t.Errorf("%s: on a screen of %v, it is %v", l, small, w.Canvas().Size())
		}
		if w.Fit(size); w.Canvas().Size() != small {
			t.Errorf("%s: on a large screen, it becomes %v", l, w.Canvas().Size())
		}
	}
}

// live lets a minute pass in which a machine is talked to.
func live(w *Window, in view.Input) {
	for i := range 60 / slower {
		s := *in.Status
		s.Time = s.Time.Add(time.Duration(i+1) * time.Second)
		s.Peers = slices.Clone(s.Peers)
		p := &s.Peers[0]
		wave := 1 + math.Sin(float64(i)/4)*math.Sin(float64(i)/11)
		p.RxBytes += uint64(i)*400_000 + uint64(900_000*wave)
		p.TxBytes += uint64(i)*90_000 + uint64(200_000*wave)
		p.Path.Latency = ipc.Milliseconds(11 + 2*wave + float64(i*7%5))
		now := in
		now.Status = &s
		draw(w, &now)
	}
}

// many tells whether a picture has more colours than nothing would have.
func many(img image.Image) bool {
	seen := map[color.Color]bool{}
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y += 2 {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x++ {
			if seen[img.At(x, y)] = true; len(seen) >= 20 {
				return true
			}
		}
	}
	return false
}

func save(t *testing.T, file string, img image.Image) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := png.Encode(f, img); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAPersonJoins(t *testing.T) {
	w, asked := open(t, theme.VariantLight)
	draw(w, &view.Input{Status: &ipc.Status{State: ipc.StateNoServer}})
	test.Tap(w.first.join) // nothing has been typed
	test.Type(w.first.server, "https://a.example/join#server:00")
	test.Tap(w.first.join)
	w.first.server.OnSubmitted(w.first.server.Text)
	want := view.Intent{Op: view.OpJoin, Arg: "https://a.example/join#server:00"}
	if !slices.Equal(*asked, []view.Intent{want, want}) {
		t.Errorf("asked was %v", *asked)
	}
}

func TestClicksAskForWhatIsShown(t *testing.T) {
	w, asked := open(t, theme.VariantLight)
	in := &view.Input{Status: status(), Profiles: profiles}
	draw(w, in)
	test.Tap(w.power)
	in.Status = status(func(s *ipc.Status) { s.State = ipc.StateDown })
	draw(w, in)
	test.Tap(w.power)
	in.Login = &view.Login{Page: "https://a.example/login/x", Code: "1"}
	draw(w, in)
	test.Tap(w.waiting.copies)
	test.Tap(w.waiting.cancel)
	want := []view.Intent{{Op: view.OpDisconnect}, {Op: view.OpConnect}, {Op: view.OpCopy, Arg: "https://a.example/login/x"}, {Op: view.OpCancelLogin}}
	if !slices.Equal(*asked, want) {
		t.Errorf("asked was %v, want %v", *asked, want)
	}
	if got := fyne.CurrentApp().Clipboard().Content(); got != "https://a.example/login/x" {
		t.Errorf("copied was %q", got)
	}
}

func TestSearchFindsAndTheChosenStaysChosen(t *testing.T) {
	w, _ := open(t, theme.VariantLight)
	in := &view.Input{Status: status(office)}
	draw(w, in)
	w.machines.list.Select(1)
	chosen := w.machines.chosen
	test.Type(w.machines.search, "pi ") // one that is not there
	if len(w.machines.shown) != 1 || w.machines.shown[0].Name != "cellar-pi" || w.machines.chosen != 0 {
		t.Errorf("shown is %v, chosen %d", w.machines.shown, w.machines.chosen)
	}
	w.machines.search.SetText("")
	for i := range w.machines.shown {
		if w.machines.shown[i].ID == chosen {
			w.machines.list.Select(i)
		}
	}
	in.Status = status(office, func(s *ipc.Status) { // the first go, and all move up
		s.Peers = slices.DeleteFunc(s.Peers, func(p ipc.Peer) bool { return p.ID != chosen && p.ID < 4 })
	})
	draw(w, in)
	if w.machines.chosen != chosen || !w.machines.detail.object.Visible() {
		t.Errorf("chosen was %d, and is %d", chosen, w.machines.chosen)
	}
}

// thousands is a big network.
func thousands(s *ipc.Status) {
	s.Peers = nil
	for i := range 5000 {
		s.Peers = append(s.Peers, ipc.Peer{
			ID: int64(i + 1), Name: fmt.Sprintf("machine-%05d", i), Online: i%3 == 0, ExitOption: i%2 == 0, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)})},
		})
	}
}

// hostile are the names of a big network whose every machine means ill.
func hostile(s *ipc.Status) {
	thousands(s)
	long := strings.Repeat("\u202Ex\x1b", 10_000)
	for i := range s.Peers {
		p := &s.Peers[i]
		p.Name, p.DNSName, p.User, p.OS = long, long, long, long
	}
}

// draw shows what a status makes of the window.
func draw(w *Window, in *view.Input) { w.Draw(in, view.DrawWindow(in)) }

// Big networks are as quick as small ones: what is not to be seen is not made. BenchmarkFiveThousandMachines has the times.
func TestOfFiveThousandMachinesOnlyThoseInSightAreMade(t *testing.T) {
	for name, peers := range map[string]func(*ipc.Status){"usual": thousands, "hostile": hostile} {
		w, _ := open(t, theme.VariantLight)
		made, filled := 0, 0
		create, update := w.machines.list.CreateItem, w.machines.list.UpdateItem
		w.machines.list.CreateItem = func() fyne.CanvasObject { made++; return create() }
		w.machines.list.UpdateItem = func(i widget.ListItemID, o fyne.CanvasObject) { filled++; update(i, o) }
		in := &view.Input{Status: status(peers)}
		draw(w, in)
		if len(w.machines.shown) != 5000 || made == 0 || filled == 0 {
			t.Fatalf("%s: %d machines are shown, %d lines were made, %d filled", name, len(w.machines.shown), made, filled)
		}
		inSight := int(size.Height/w.machines.list.CreateItem().MinSize().Height) + 2
		filled = 0
		draw(w, in)
		if filled > 3*inSight {
			t.Errorf("%s: a change that changes nothing fills %d lines, of which %d are in sight", name, filled, inSight)
		}
		for at := float32(0); at < 4000; at += 400 {
			filled = 0
			if w.machines.list.ScrollToOffset(at); filled > 3*inSight {
				t.Errorf("%s: to scroll fills %d lines, of which %d are in sight", name, filled, inSight)
			}
		}
		filled = 0
		if w.machines.search.SetText("0"); filled > 4*inSight {
			t.Errorf("%s: a search fills %d lines, of which %d are in sight", name, filled, inSight)
		}
		if made > len(w.machines.all.Rows)/10 { // Fyne takes those that went out of sight again, but not always
			t.Errorf("%s: %d lines were made, of which %d are in sight", name, made, inSight)
		}
	}
}

// BenchmarkFiveThousandMachines measures what a person waits for; each promises to take less than 100 ms, which people take for at once.
func BenchmarkFiveThousandMachines(b *testing.B) {
	for name, peers := range map[string]func(*ipc.Status){"usual": thousands, "hostile": hostile} {
		w, _ := open(b, theme.VariantLight)
		in := &view.Input{Status: status(peers)}
		draw(w, in)
		w.machines.list.Select(0)
		far := &view.Input{Status: status(peers, func(s *ipc.Status) {
			for i := range s.Peers {
				s.Peers[i].Path = ipc.Path{Kind: ipc.PathRelay, Relay: "fra", Latency: 30}
			}
		})}
		now, next := view.DrawWindow(in), view.DrawWindow(far) // made on another goroutine
		at := float32(0)
		for what, do := range map[string]func(){
			"change": func() { w.Draw(in, now); in, far, now, next = far, in, next, now },
			"scroll": func() { at += 400; w.machines.list.ScrollToOffset(at) },
			"search": func() { w.machines.search.SetText(string('0' + byte(int(at)%10))); at++ },
		} {
			b.Run(name+"/"+what, func(b *testing.B) {
				for b.Loop() {
					do()
				}
			})
		}
	}
}

// The line between the list and what goes with it follows the mouse, and leaves both their place.
func TestTheListIsMadeWiderAndNarrower(t *testing.T) {
	w, _ := open(t, theme.VariantLight)
	draw(w, &view.Input{Status: status(office)})
	halves := w.machines.object.(*fyne.Container)
	list, line := halves.Objects[0], halves.Objects[1].(*divider)
	was := list.Size().Width
	line.Dragged(&fyne.DragEvent{Dragged: fyne.Delta{DX: 60}})
	if got := list.Size().Width; got < was+59 || got > was+61 {
		t.Errorf("the list was %v wide, and dragged by 60 it is %v", was, got)
	}
	for _, far := range []float32{10_000, -10_000} {
		line.Dragged(&fyne.DragEvent{Dragged: fyne.Delta{DX: far}})
		if got := list.Size().Width / halves.Size().Width; got < 0.2 || got > 0.65 {
			t.Errorf("dragged by %v, the list has %v of the width", far, got)
		}
	}
}

// Everything can be done without a mouse: keys lead to the pages and to the search, and back from where one came.
func TestKeysLeadEverywhere(t *testing.T) {
	w, _ := open(t, theme.VariantLight)
	draw(w, &view.Input{Status: status(office), Profiles: profiles})
	press := func(k fyne.KeyName) { // as the driver does: what has the focus gets it, if that takes any
		to, ok := w.Canvas().Focused().(fyne.Shortcutable)
		if !ok {
			to = w.Canvas().(fyne.Shortcutable)
		}
		to.TypedShortcut(&desktop.CustomShortcut{KeyName: k, Modifier: fyne.KeyModifierControl})
	}
	escape := func() {
		if on := w.Canvas().Focused(); on != nil {
			on.TypedKey(&fyne.KeyEvent{Name: fyne.KeyEscape})
		} else {
			w.Canvas().OnTypedKey()(&fyne.KeyEvent{Name: fyne.KeyEscape})
		}
	}
	for i, k := range []fyne.KeyName{fyne.Key1, fyne.Key2, fyne.Key3, fyne.Key4, fyne.Key5, fyne.Key6} {
		if press(k); w.pages.SelectedIndex() != i {
			t.Errorf("Ctrl+%s leads to page %d", k, w.pages.SelectedIndex())
		}
	}
	if press(fyne.KeyF); w.pages.SelectedIndex() != 0 || w.Canvas().Focused() != w.machines.search {
		t.Error("Ctrl+F does not search")
	}
	if test.FocusNext(w.Canvas()); w.Canvas().Focused() != w.machines.list {
		t.Errorf("Tab leads from the search to %v", w.Canvas().Focused())
	}
	press(fyne.KeyF)
	if press(fyne.Key4); w.pages.SelectedIndex() != 3 || w.Canvas().Focused() != nil {
		t.Errorf("from the search, Ctrl+4 leads to page %d, and what is typed goes to %v", w.pages.SelectedIndex(), w.Canvas().Focused())
	}
	if w.Open(view.PageJoin); !w.first.object.Visible() || w.pages.Visible() {
		t.Error("the page for another account is not shown")
	}
	if escape(); w.first.object.Visible() || !w.pages.Visible() || w.Canvas().Focused() != nil {
		t.Errorf("Escape does not lead back, or what is typed goes to %v", w.Canvas().Focused())
	}
	for range 40 { // Tab reaches something on every page, and never gets stuck
		test.FocusNext(w.Canvas())
		if w.Canvas().Focused() == nil {
			t.Fatal("the focus is lost")
		}
	}
}

// With Tab, the arrows, Enter and Space all is reached and done, and what has the focus is in sight, however small the window is.
func TestKeysDoWhatTheMouseDoes(t *testing.T) {
	w, asked := open(t, theme.VariantLight)
	draw(w, &view.Input{Status: status(office), Profiles: profiles, Autostart: view.Off, Windows: true})
	w.Resize(small)
	press := func(k fyne.KeyName) { w.Canvas().Focused().TypedKey(&fyne.KeyEvent{Name: k}) }
	w.Canvas().Focus(w.machines.list)
	for _, want := range []int64{1, 2, 3} { // as the list has them: the first, then those below
		if press(fyne.KeyDown); w.machines.chosen != w.machines.shown[want-1].ID {
			t.Errorf("the arrow leads to the machine %d, and not to line %d", w.machines.chosen, want)
		}
	}
	w.Canvas().Focus(w.machines.detail.ping)
	press(fyne.KeyReturn)
	if want := (view.Intent{Op: view.OpPing, Arg: fmt.Sprint(w.machines.chosen)}); !slices.Contains(*asked, want) {
		t.Errorf("asked was %v, want %v", *asked, want)
	}
	w.Open(view.PageSettings)
	w.Canvas().Unfocus()
	page := w.tabs[3].Content.(*container.Scroll)
	seen := map[fyne.Focusable]bool{}
	for range 40 {
		test.FocusNext(w.Canvas())
		on := w.Canvas().Focused()
		if o := on.(fyne.CanvasObject); len(around(page, o)) > 0 {
			seen[on] = true
			d := fyne.CurrentApp().Driver()
			at := d.AbsolutePositionForObject(o).Y - d.AbsolutePositionForObject(page).Y
			if at < 0 || at+o.Size().Height > page.Size().Height {
				t.Errorf("%T has the focus at %v, of a page that is %v high", o, at, page.Size().Height)
			}
		}
		if box, ok := on.(*check); ok && box.Text == w.view.Settings[0].Label {
			*asked = nil
			if press(fyne.KeyReturn); !slices.Equal(*asked, []view.Intent{w.view.Settings[0].Do}) {
				t.Errorf("Enter on a switch asks for %v", *asked)
			}
		}
	}
	if want := len(w.view.Settings) + len(w.view.Fields); len(seen) < want {
		t.Errorf("Tab reaches %d of the settings, want %d at least", len(seen), want)
	}
}

// Who has joined types no more where the invite link was: Enter there would join once more. Who stops logging in does.
func TestKeysGoWhereTheEyeIs(t *testing.T) {
	w, _ := open(t, theme.VariantLight)
	none := &view.Input{Status: &ipc.Status{State: ipc.StateNoServer}}
	waits := &view.Input{Status: none.Status, Login: &view.Login{Code: "4821-93", Page: "https://warren.example.org/login/x"}}
	for range 2 {
		draw(w, none)
		if w.Canvas().Focused() != w.first.server {
			t.Fatalf("what is typed goes to %v", w.Canvas().Focused())
		}
		draw(w, waits)
		if w.Canvas().Focused() != nil {
			t.Errorf("while the browser is open, what is typed goes to %v", w.Canvas().Focused())
		}
	}
	draw(w, none)
	draw(w, &view.Input{Status: status(office), Profiles: profiles})
	if w.Canvas().Focused() != nil {
		t.Errorf("after that, what is typed goes to %v", w.Canvas().Focused())
	}
}

// What is shown by the second is asked for only while it is shown.
func TestOnlyWhatIsLookedAtIsMeasured(t *testing.T) {
	w, asked := open(t, theme.VariantLight)
	draw(w, &view.Input{}) // the daemon has not answered yet
	w.Open(view.PageOf(2))
	draw(w, &view.Input{Status: status(office), Profiles: profiles})
	if w.machines.seen != 2 {
		t.Errorf("chosen is %d", w.machines.chosen)
	}
	w.Open(view.PageSettings)
	w.Open(view.PageNetwork)
	draw(w, &view.Input{Status: &ipc.Status{State: ipc.StateNoServer}})
	want := []view.Intent{{Op: view.OpWhy, Arg: "2"}, {Op: view.OpLook, Arg: view.On}, {Op: view.OpLook, Arg: view.Off}, {Op: view.OpLook, Arg: view.On}, {Op: view.OpLook, Arg: view.Off}}
	if !slices.Equal(*asked, want) {
		t.Errorf("asked was %v, want %v", *asked, want)
	}
}

func TestTheWindowFitsAtEveryScale(t *testing.T) {
	for _, scale := range []float32{1, 1.25, 2} {
		w, _ := open(t, theme.VariantDark)
		draw(w, &view.Input{Status: status(office), Profiles: profiles, Language: view.German})
		w.machines.list.Select(0)
		w.Canvas().(test.WindowlessCanvas).SetScale(scale)
		img := w.Canvas().Capture().Bounds()
		if want := int(size.Width * scale); img.Dx() != want || w.Canvas().Size().Width > size.Width {
			t.Errorf("at %v, the window has %d pixels, want %d", scale, img.Dx(), want)
		}
	}
}

// What a person types into a setting stays while the daemon says other things, and goes out when it is saved.
func TestASettingIsTypedAndSaved(t *testing.T) {
	w, asked := open(t, theme.VariantLight)
	in := &view.Input{Status: status(), Prefs: ipc.Prefs{Port: 41641}}
	draw(w, in)
	port := w.settings.typed[1]
	if port.entry.Text != "41641" || !port.save.Disabled() {
		t.Fatalf("it shows %q", port.entry.Text)
	}
	port.entry.SetText("4000")
	draw(w, in)
	test.Tap(port.save)
	if want := []view.Intent{{Op: view.OpSet, Arg: "port=4000"}}; port.entry.Text != "4000" || !slices.Equal(*asked, want) {
		t.Errorf("it shows %q, asked was %v", port.entry.Text, *asked)
	}
	next := *in
	next.Prefs.Port = 4000
	if draw(w, &next); !port.save.Disabled() {
		t.Error("what is saved can be saved again")
	}
	next.Prefs.Port = 5000 // elsewhere, while nobody types here
	if draw(w, &next); port.entry.Text != "5000" || !port.save.Disabled() {
		t.Errorf("set elsewhere was 5000, and it shows %q", port.entry.Text)
	}
	check := w.settings.switches.object.Objects[0].(*fyne.Container).Objects[0].(*check)
	test.Tap(check)
	if got := (*asked)[1]; got != (view.Intent{Op: view.OpSet, Arg: "accept-dns=off"}) {
		t.Errorf("asked was %v", got)
	}
}

func TestWithoutADaemonThePagesSayWhy(t *testing.T) {
	w, _ := open(t, theme.VariantLight)
	draw(w, &view.Input{Missing: &ipc.Error{Code: ipc.CodeNotRunning}})
	for page, says := range map[string]*widget.Label{"machines": w.machines.none, "exits": w.exits.none, "network": w.network.none} {
		if !says.Visible() || says.Text != w.view.State {
			t.Errorf("%s: it says %q", page, says.Text)
		}
	}
	if w.exits.line.Visible() || w.network.all.Visible() {
		t.Error("there are parts of pages that say nothing")
	}
	if s := w.settings; !s.none.Visible() || s.none.Text != w.view.State || s.line.Visible() {
		t.Errorf("it says %q", s.none.Text)
	}
	if draw(w, &view.Input{Status: status(office), Profiles: profiles}); w.settings.none.Visible() || !w.settings.line.Visible() {
		t.Error("it says so also where there is a daemon")
	}
}

// What is being typed is a person's, also where the same is set elsewhere; what came of it takes its place, as the daemon writes it.
func TestWhatIsTypedIsNotLost(t *testing.T) {
	w, asked := open(t, theme.VariantLight)
	in := view.Input{Status: status(), Prefs: ipc.Prefs{Port: 41641}}
	draw(w, &in)
	routes := w.settings.typed[2]
	test.Type(routes.entry, "192.168.7.9/24")
	in.Prefs.AdvertiseRoutes = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	now := in
	draw(w, &now)
	if routes.entry.Text != "192.168.7.9/24" {
		t.Errorf("typed was 192.168.7.9/24, and it shows %q", routes.entry.Text)
	}
	port := w.settings.typed[1]
	port.entry.SetText("4000")
	away := in // where there is no login, there are no subnets
	away.Status = status(func(s *ipc.Status) { s.State = ipc.StateNeedsLogin })
	draw(w, &away)
	draw(w, &now)
	if got := w.settings.typed[1].entry; got != port.entry || got.Text != "4000" {
		t.Errorf("typed was 4000, and it shows %q", got.Text)
	}
	routes = w.settings.typed[2]
	routes.entry.SetText("192.168.7.9/24,10.2.0.0/16")
	test.Tap(routes.save)
	if want := (view.Intent{Op: view.OpSet, Arg: "advertise-routes=192.168.7.9/24,10.2.0.0/16"}); !slices.Contains(*asked, want) {
		t.Errorf("asked was %v, want %v", *asked, want)
	}
	saved := in
	saved.Prefs.AdvertiseRoutes = []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24"), netip.MustParsePrefix("10.2.0.0/16")}
	if draw(w, &saved); routes.entry.Text != "192.168.7.0/24, 10.2.0.0/16" || !routes.save.Disabled() {
		t.Errorf("after that, it shows %q", routes.entry.Text)
	}
}

func TestHostileNamesAreDrawnPlain(t *testing.T) {
	w, _ := open(t, theme.VariantDark)
	for _, name := range []string{"\x00\x1b[2J", strings.Repeat("\u202Ex", 10_000), "e" + strings.Repeat("\u0301", 5000), "שלום", "", "\xff\xfe"} {
		in := &view.Input{Status: status(office, func(s *ipc.Status) {
			s.Self.Name, s.Network.Name, s.Server = name, name, name
			s.Problems = []ipc.Problem{{Text: name, Fix: name}}
			for i := range s.Peers {
				s.Peers[i].Name, s.Peers[i].DNSName, s.Peers[i].User, s.Peers[i].OS, s.Peers[i].Path.Reason = name, name, name, name, name
			}
		}), Profiles: []ipc.Profile{{ID: "0", Name: name, User: name}}, Failed: &ipc.Error{Message: name, Fix: name}}
		draw(w, in)
		w.machines.list.Select(0)
		if got := w.Canvas().Size(); got.Width > size.Width || got.Height > size.Height {
			t.Errorf("%.20q: the window has grown to %v", name, got)
		}
		w.Canvas().Capture()
	}
}
