package tray

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warren-mesh/warren/app/internal/desktop"
	"github.com/warren-mesh/warren/app/internal/fake"
	"github.com/warren-mesh/warren/app/internal/panel"
	"github.com/warren-mesh/warren/app/internal/view"
	"github.com/warren-mesh/warren/ipc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is how long anything may take before a test gives up.
const limit = 2 * time.Minute

// words are what the program says; it may be read while it speaks.
type words struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// desk is a desktop with a panel, a daemon and a tray.
type desk struct {
	t       testing.TB
	ctx     context.Context
	dir     string
	socket  string
	address string
	environ []string
	words   words

	daemon *fake.Daemon
	stop   func() // the daemon
	panel  *panel.Panel
	ended  chan error // of the tray
	quit   context.CancelFunc
}

// newDesk is a desktop, a daemon and nothing else yet.
func newDesk(t testing.TB) *desk {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), limit, errors.New("it took too long"))
	t.Cleanup(cancel)
	d := &desk{t: t, ctx: ctx, dir: t.TempDir(), daemon: fake.New()}
	d.socket = filepath.Join(d.dir, "s")
	bus, end := context.WithCancel(context.Background())
	address, wait, err := panel.Bus(bus, d.dir)
	t.Cleanup(func() {
		end()
		if wait != nil {
			wait()
		}
	})
	d.must(err)
	d.address = address
	d.environ = []string{"DBUS_SESSION_BUS_ADDRESS=" + address, "DISPLAY=:no-such", "PATH=" + d.dir + ":/usr/bin:/bin", "HOME=" + d.dir}
	t.Setenv("PATH", d.dir+":"+os.Getenv("PATH"))
	return d
}

func (d *desk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatalf("%v\nthe tray said: %s", err, d.words.String())
	}
}

// serve starts the daemon.
func (d *desk) serve(level ipc.Level) {
	d.t.Helper()
	_ = os.Remove(d.socket)
	stop, err := d.daemon.Listen(d.socket, level)
	d.must(err)
	d.stop = stop
	d.t.Cleanup(stop)
}

// show starts the panel.
func (d *desk) show() {
	d.t.Helper()
	p, err := panel.Start(d.ctx, d.address, true)
	d.must(err)
	d.panel = p
	d.t.Cleanup(func() { _ = p.Close() })
}

// start starts the tray.
func (d *desk) start(edit ...func(*Config)) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(d.ctx)
	ended := make(chan error, 1)
	d.ended, d.quit = ended, cancel
	desk, err := desktop.Connect(ctx, d.environ)
	d.must(err)
	c := Config{Socket: d.socket, Version: "1.2.3", Environ: d.environ, Words: &d.words}
	for _, e := range edit {
		e(&c)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := Run(ctx, desk, c)
		_ = desk.Close()
		ended <- err
	}()
	d.t.Cleanup(func() {
		cancel()
		<-done
	})
}

// runs is a desk where all runs.
func runs(t *testing.T) *desk {
	t.Helper()
	d := newDesk(t)
	d.serve(ipc.LevelOperate)
	d.show()
	d.start()
	d.sees("Connected to demo")
	return d
}

// sees waits until the menu has a line.
func (d *desk) sees(labels ...string) panel.Shown {
	d.t.Helper()
	s, err := d.panel.Await(d.ctx, func(s panel.Shown) bool { _, ok := s.Find(labels...); return ok })
	if err != nil {
		d.t.Fatalf("%q is not to be seen: %v\nthe tray said: %s", labels, err, d.words.String())
	}
	return s
}

// told waits until the panel has been told of all so far, and gives what it shows then. A panel that asks for the layout may see
// in it what it is told of only later. The second name it can have from nothing but its own signal.
func (d *desk) told() panel.Shown {
	d.t.Helper()
	d.daemon.Edit(func(s *ipc.Status) { s.Network.Name = "second" })
	d.sees("Connected to second")
	d.daemon.Edit(func(s *ipc.Status) { s.Network.Name = "third" })
	return d.sees("Connected to third")
}

// shows waits until all of what a person sees is so.
func (d *desk) shows(ok func(panel.Shown) bool) panel.Shown {
	d.t.Helper()
	s, err := d.panel.Await(d.ctx, ok)
	d.must(err)
	return s
}

// attention is an icon that asks for somebody.
func attention(s panel.Shown) bool { return s.Status == "NeedsAttention" }

// misses waits until it has not.
func (d *desk) misses(labels ...string) panel.Shown {
	d.t.Helper()
	s, err := d.panel.Await(d.ctx, func(s panel.Shown) bool { _, ok := s.Find(labels...); return !ok })
	d.must(err)
	return s
}

func (d *desk) click(labels ...string) {
	d.t.Helper()
	d.must(d.panel.Click(d.ctx, labels...))
}

// says waits for a notification.
func (d *desk) says(text string) {
	d.t.Helper()
	_, err := d.panel.Await(d.ctx, func(s panel.Shown) bool {
		return slices.ContainsFunc(s.Notes, func(n string) bool { return strings.Contains(n, text) })
	})
	d.must(err)
}

// program puts a command into the path of the tray, which writes what it is given to a file.
func (d *desk) program(name, script string) {
	d.t.Helper()
	d.must(os.WriteFile(filepath.Join(d.dir, name), []byte("#!/bin/sh\n"+script), 0o755))
}

func TestAPersonConnectsAndDisconnects(t *testing.T) {
	d := runs(t)
	before := d.shows(func(s panel.Shown) bool {
		_, ok := s.Find("Disconnect")
		return ok && s.Tooltip == "Warren: Connected to demo"
	})
	d.click("Disconnect")
	d.sees("Connect")
	d.misses("Disconnect")
	d.shows(func(s panel.Shown) bool {
		return s.Tooltip == "Warren: Disconnected" && !bytes.Equal(s.Icon, before.Icon)
	})
	d.click("Connect")
	d.sees("Disconnect")
	up := d.shows(func(s panel.Shown) bool { return s.Tooltip == before.Tooltip && bytes.Equal(s.Icon, before.Icon) })
	if a, b := number(t, before, "Disconnect"), number(t, up, "Disconnect"); a != b {
		t.Errorf("Disconnect had the number %d and has %d", a, b)
	}
}

func number(t *testing.T, s panel.Shown, labels ...string) int32 {
	t.Helper()
	l, ok := s.Find(labels...)
	if !ok {
		t.Fatalf("there is no %q", labels)
	}
	return l.ID
}

func TestAPersonLogsIn(t *testing.T) {
	d := newDesk(t)
	pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Get("port") != "" {
			http.Redirect(w, r, "http://127.0.0.1:"+q.Get("port")+"/done?state="+q.Get("state")+"&code="+fake.PageCode, http.StatusSeeOther)
		}
	}))
	t.Cleanup(pages.Close)
	d.program("xdg-open", `echo "$1" >"$HOME/opened.part" && mv "$HOME/opened.part" "$HOME/opened"`)
	d.daemon.SetLogin(ipc.Login{Server: pages.URL, ID: fake.LoginID, Code: fake.LoginCode})
	d.daemon.Edit(func(s *ipc.Status) { s.State = ipc.StateNeedsLogin })
	d.serve(ipc.LevelOperate)
	d.show()
	d.start()
	d.sees("Not logged in to warren.example.org")
	d.shows(attention)
	d.click("Log in…")
	d.sees("Waiting for you in the browser…")
	d.sees("Copy the page, for another device (code 4821-93)")
	page := d.file("opened")
	if want := pages.URL + "/login/" + fake.LoginID + "?port="; !strings.HasPrefix(page, want) {
		t.Fatalf("opened was %q, not %s…", page, want)
	}
	res, err := pages.Client().Get(strings.TrimSpace(page))
	d.must(err)
	_ = res.Body.Close()
	if got := res.Request.URL.Path; got != "/login/"+fake.LoginID+"/done" {
		t.Errorf("the browser ends at %s", got)
	}
	d.sees("Connected to demo")
	d.shows(func(s panel.Shown) bool { return s.Status == "Active" })
	d.misses("Waiting for you in the browser…")
}

// file waits for a file that a program of the desktop writes.
func (d *desk) file(name string) string {
	d.t.Helper()
	for {
		text, err := os.ReadFile(filepath.Join(d.dir, name))
		if err == nil {
			return string(text)
		}
		select {
		case <-d.ctx.Done():
			d.must(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestAPersonStopsALoginAndBeginsAnother(t *testing.T) {
	d := newDesk(t)
	d.program("xdg-open", "exit 0")
	d.serve(ipc.LevelOperate)
	d.daemon.Edit(func(s *ipc.Status) { s.State = ipc.StateNeedsLogin })
	d.show()
	d.start()
	d.click("Log in…")
	d.click("Stop logging in")
	d.misses("Stop logging in")
	d.click("Log in…")
	d.sees("Stop logging in")
	d.must(d.daemon.AwaitLogin(d.ctx))
	d.daemon.EndLogin(nil) // on another device
	d.sees("Connected to demo")
	d.misses("Stop logging in")
}

func TestWithoutABrowserThePersonHasThePage(t *testing.T) {
	d := newDesk(t)
	d.environ = slices.DeleteFunc(d.environ, func(v string) bool { return strings.HasPrefix(v, "DISPLAY=") })
	d.serve(ipc.LevelOperate)
	d.daemon.Edit(func(s *ipc.Status) { s.State = ipc.StateNeedsLogin })
	d.show()
	d.start()
	d.click("Log in…")
	d.says("Open this page yourself: https://warren.example.org/login/" + fake.LoginID)
	d.sees("Copy the page, for another device (code 4821-93)")
}

func TestAHostileServerOpensNothing(t *testing.T) {
	d := newDesk(t)
	d.program("xdg-open", `echo "$1" >"$HOME/opened"`)
	d.daemon.SetLogin(ipc.Login{Server: "file:///etc/passwd", ID: fake.LoginID, Code: fake.LoginCode})
	d.daemon.Edit(func(s *ipc.Status) { s.State = ipc.StateNeedsLogin })
	d.serve(ipc.LevelOperate)
	d.show()
	d.start()
	d.click("Log in…")
	d.says("not safe to open")
	if _, err := os.Stat(filepath.Join(d.dir, "opened")); err == nil {
		t.Error("it was opened")
	}
}

func TestAPersonSwitchesAccountsAndLogsOut(t *testing.T) {
	d := runs(t)
	d.sees("Account: home (alice)")
	d.click("Account: home (alice)", "work (alice@work)")
	s := d.sees("Account: work (alice@work)")
	if l, _ := s.Find("Account: work (alice@work)", "work (alice@work)"); !l.Checked {
		t.Error("the account in use has no mark")
	}
	if l, _ := s.Find("Account: work (alice@work)", "home (alice)"); l.Checked {
		t.Error("the account that was in use has its mark still")
	}
	d.click("Account: work (alice@work)", "Log out")
	d.sees("Not logged in to work.example")
}

func TestAClickCopies(t *testing.T) {
	d := newDesk(t)
	d.program("xclip", `cat >"$HOME/copied.part" && mv "$HOME/copied.part" "$HOME/copied"`)
	d.serve(ipc.LevelOperate)
	d.show()
	d.start()
	d.click("This machine: alice-laptop (100.64.0.2)")
	if got := d.file("copied"); got != "100.64.0.2" {
		t.Errorf("copied is %q", got)
	}
	d.says("Copied: 100.64.0.2")
	d.must(os.Remove(filepath.Join(d.dir, "copied")))
	d.click("bob · direct", "Copy 100.64.0.3")
	if got := d.file("copied"); got != "100.64.0.3" {
		t.Errorf("copied is %q", got)
	}
	d.must(os.Remove(filepath.Join(d.dir, "copied")))
	d.click("bob · direct", "Copy bob.demo.warren.internal")
	if got := d.file("copied"); got != "bob.demo.warren.internal" {
		t.Errorf("copied is %q", got)
	}
}

func TestAPreferenceIsSwitched(t *testing.T) {
	d := runs(t)
	for _, want := range []bool{false, true, false} {
		d.click("Preferences", "Find machines by name")
		_, err := d.panel.Await(d.ctx, func(s panel.Shown) bool {
			l, ok := s.Find("Preferences", "Find machines by name")
			return ok && l.Checked == want && !l.Disabled
		})
		d.must(err)
		prefs, err := d.daemon.Prefs(d.ctx)
		d.must(err)
		if prefs.IgnoreDNS == want {
			t.Errorf("the daemon has %+v", prefs)
		}
	}
}

// What the command or the window switches, the menu shows too.
func TestAPreferenceSwitchedElsewhereIsSeen(t *testing.T) {
	d := runs(t)
	for _, on := range []bool{true, false} {
		_, err := d.daemon.EditPrefs(d.ctx, ipc.PrefsEdit{Relay: &on})
		d.must(err)
		label := "Relay for others"
		if on {
			label += " (waits for an admin)"
		}
		_, err = d.panel.Await(d.ctx, func(s panel.Shown) bool {
			l, ok := s.Find("Preferences", label)
			return ok && l.Checked == on
		})
		d.must(err)
	}
}

// It promises 2 s on a machine that has time for it; a test that runs beside others has a bound well above.
func TestTheTrayFollowsTheDaemonThroughRestarts(t *testing.T) {
	d := newDesk(t)
	d.show()
	d.start()
	d.sees("Warren's service (warrend) is not running")
	d.sees("Start it: sudo systemctl start warrend")
	d.shows(func(s panel.Shown) bool { return s.Tooltip == "Warren: Warren's service (warrend) is not running" })
	for range 2 {
		d.serve(ipc.LevelOperate)
		began := time.Now()
		d.sees("Connected to demo")
		t.Logf("the daemon was seen after %s", within(t, time.Since(began)))
		d.stop()
		began = time.Now()
		d.sees("Warren's service (warrend) is not running")
		t.Logf("that the daemon is gone was seen after %s", within(t, time.Since(began)))
	}
}

func within(t *testing.T, took time.Duration) time.Duration {
	t.Helper()
	if took > 30*time.Second {
		t.Errorf("that took %s", took)
	}
	return took
}

func TestWhoMayOnlyLookIsTold(t *testing.T) {
	d := newDesk(t)
	d.serve(ipc.LevelRead)
	d.show()
	d.start()
	d.click("Disconnect")
	d.sees("⚠ You may look, but not change anything here")
	d.shows(attention)
	d.says("put you into the group warren")
}

func TestThereIsOneTray(t *testing.T) {
	d := runs(t)
	opened := make(chan view.Page, 1)
	other, err := desktop.Connect(d.ctx, d.environ)
	d.must(err)
	err = Run(d.ctx, other, Config{Socket: d.socket, Environ: d.environ, Words: &d.words})
	d.must(other.Close())
	if !errors.Is(err, ErrRuns) {
		t.Errorf("the second tray ends with %v", err)
	}
	d.click("Quit")
	if err := <-d.ended; err != nil {
		t.Errorf("it quits with %v", err)
	}
	d.start(func(c *Config) { c.Window = func(p view.Page) error { opened <- p; return nil } })
	if s, err := d.panel.Await(d.ctx, func(s panel.Shown) bool { _, ok := s.Find("Open Warren"); return ok && s.Items == 2 }); err != nil {
		t.Fatalf("%v: %+v", err, s)
	}
	d.must(d.panel.Activate(d.ctx))
	if p := <-opened; p != view.PageHome {
		t.Errorf("a click on the icon opens %s", p)
	}
	other, err = desktop.Connect(d.ctx, d.environ)
	d.must(err)
	_ = Run(d.ctx, other, Config{Socket: d.socket, Environ: d.environ, Words: &d.words})
	d.must(other.Close())
	if p := <-opened; p != view.PageHome {
		t.Errorf("a second start opens %s", p)
	}
}

func TestThePanelMayStartLaterAndAgain(t *testing.T) {
	d := newDesk(t)
	d.serve(ipc.LevelOperate)
	d.start()
	for range 2 {
		p, err := panel.Start(d.ctx, d.address, true)
		d.must(err)
		d.panel = p
		d.sees("Connected to demo")
		d.must(p.Close())
	}
}

// What a person has open must not move: changes that are not to be seen are not told, and others in place.
func TestChangesAreMadeInPlace(t *testing.T) {
	d := runs(t)
	d.sees("bob · direct")
	before := d.told()
	for i := range 50 {
		d.daemon.Edit(func(s *ipc.Status) {
			s.Peers = slices.Clone(s.Peers)
			s.Peers[0].RxBytes += uint64(i)
			s.Peers[0].Path.Latency++
		})
	}
	d.daemon.Edit(func(s *ipc.Status) {
		s.Peers = slices.Clone(s.Peers)
		s.Peers[0].Path = ipc.Path{Kind: ipc.PathRelay, Relay: "under_score"}
	})
	after := d.sees("bob · through relay under_score")
	if after.Layouts != before.Layouts || after.Changes != before.Changes+1 {
		t.Errorf("the menu was laid out %d times anew, and lines changed %d times", after.Layouts-before.Layouts, after.Changes-before.Changes)
	}
	bob := number(t, after, "bob · through relay under_score")
	if was := number(t, before, "bob · direct"); was != bob {
		t.Errorf("bob had the number %d and has %d", was, bob)
	}

	// A machine goes, and another one comes: no number is used again, and a click on one that is gone does nothing.
	d.daemon.Edit(func(s *ipc.Status) {
		s.Peers = slices.Clone(s.Peers[1:])
		s.Peers[0].ID, s.Peers[0].Name = 77, "erin"
	})
	s := d.sees("erin · through relay fra")
	if erin := number(t, s, "erin · through relay fra"); erin <= bob {
		t.Errorf("erin has the number %d", erin)
	}
	if err := d.panel.ClickID(d.ctx, bob); err == nil || !strings.Contains(err.Error(), "no such item") {
		t.Errorf("a click on a line that is gone: %v", err)
	}
	if s.Layouts != after.Layouts+1 {
		t.Errorf("the menu was laid out %d times anew", s.Layouts-after.Layouts)
	}
}

// multitude is a network of thousands, whose machines all mean ill.
func multitude(s *ipc.Status) {
	for i := range 5000 {
		s.Peers = append(s.Peers, ipc.Peer{ID: int64(100 + i), Name: fmt.Sprint(i) + strings.Repeat("\u202Ex", 10_000), Online: true, Addrs: s.Self.Addrs})
	}
}

// flooded is a desktop whose network has thousands of machines of long names, and changes a hundred times a second. The function
// that it returns ends the flood.
func flooded(t testing.TB) (d *desk, calm func() (changes int)) {
	t.Helper()
	d = newDesk(t)
	d.daemon.Edit(multitude)
	d.serve(ipc.LevelOperate)
	d.show()
	d.start()
	d.sees("Machines (5,002 of 5,003 online)")
	ctx, stop := context.WithCancel(d.ctx)
	var flood sync.WaitGroup
	n := 0
	flood.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for ; ctx.Err() == nil; n++ {
			<-tick.C
			d.daemon.Edit(func(s *ipc.Status) { s.Peers = slices.Clone(s.Peers); s.Peers[n%3].RxBytes += uint64(n) })
		}
	})
	return d, func() int { stop(); flood.Wait(); return n }
}

// What a person cannot see does not touch the menu, however often it changes, and what they can comes through in the middle of it.
// BenchmarkAnswerInAFlood has the times.
func TestAFloodOfChangesLeavesTheMenuStill(t *testing.T) {
	d, calm := flooded(t)
	before := d.told()
	for range 20 {
		d.must(d.panel.ClickID(d.ctx, 0)) // the root: an answer, and nothing else
	}
	d.daemon.Edit(func(s *ipc.Status) { s.Network.Name = "river" })
	after := d.sees("Connected to river") // after which nothing is to come of what was before
	if after.Layouts != before.Layouts || after.Changes != before.Changes+1 {
		t.Errorf("the menu was laid out %d times anew, and lines changed %d times", after.Layouts-before.Layouts, after.Changes-before.Changes)
	}
	if calm() == 0 {
		t.Error("there was no flood")
	}
}

// BenchmarkAnswerInAFlood measures how soon the menu answers meanwhile. Promised are 100 ms, which people take for at once.
func BenchmarkAnswerInAFlood(b *testing.B) {
	d, calm := flooded(b)
	defer calm()
	worst := time.Duration(0)
	for b.Loop() {
		began := time.Now()
		d.must(d.panel.ClickID(d.ctx, 0))
		worst = max(worst, time.Since(began))
		b.StopTimer()
		time.Sleep(20 * time.Millisecond) // a person is not faster
		b.StartTimer()
	}
	b.ReportMetric(float64(worst.Microseconds())/1000, "ms-worst")
}

func TestADesktopWithoutAPanelIsTold(t *testing.T) {
	d := newDesk(t)
	d.serve(ipc.LevelOperate)
	p, err := panel.Start(d.ctx, d.address, false) // a watcher, and nothing that shows icons
	d.must(err)
	d.panel = p
	d.t.Cleanup(func() { _ = p.Close() })
	d.start(func(c *Config) { c.LateHost = 100 * time.Millisecond })
	d.says("On GNOME, the extension AppIndicator shows it")
}

// A panel that learns of a submenu's lines before the line that opens it shows it empty.
func TestThePanelIsAnsweredInOrder(t *testing.T) {
	d := runs(t)
	for range 20 {
		turns, err := panel.Turns(d.ctx, d.address, 50)
		d.must(err)
		if len(turns) != 50 || !slices.IsSorted(turns) {
			t.Fatalf("the questions were answered in the order %v", turns)
		}
	}
}
