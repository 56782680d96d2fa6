package server

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/state"
	"github.com/warren-mesh/warren/coord/key"
)

// throng makes so many machines of some people and tags, at some relays, in all states.
func throng(n, people int, now time.Time) (members []state.Member, relays []coord.Relay) {
	for i := range 3 {
		relays = append(relays, coord.Relay{ID: coord.RelayID(i + 1), Name: []string{"fra", "nyc-2", "embedded"}[i]})
	}
	systems := []string{"Debian GNU/Linux 12 (bookworm)", "Fedora Linux 42", "Arch Linux"}
	for i := range n {
		m := state.Member{Machine: key.NewMachine().Public(), Node: coord.Node{
			ID: coord.NodeID(i + 1), Key: key.NewNode().Public(), Name: fmt.Sprintf("%s-%d", []string{"laptop", "nas", "mammoth-workshop-with-a-long-name", "phone"}[i%4], i+1),
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)})}, Created: now, OS: systems[i%3],
			Expires: now.Add(100 * 24 * time.Hour), Relay: coord.RelayID(1 + (i/2)%3), Online: i%4 != 3, LastSeen: now.Add(-3 * time.Hour),
		}}
		if who := i % people; who%4 == 3 {
			m.Node.Tags, m.Node.Expires = []string{fmt.Sprintf("tag-%d", who)}, time.Time{}
		} else {
			m.Node.User = coord.User{ID: int64(who + 1), Login: fmt.Sprintf("person-%d", who)}
		}
		switch {
		case i%11 == 6:
			m.Node.Expires = now.Add(3 * 24 * time.Hour)
		case i%17 == 9:
			m.Expired, m.Node.Expires, m.Node.Online = true, now.Add(-time.Hour), false
		}
		if !m.Node.Online {
			m.Node.Relay = 0
		}
		members = append(members, m)
	}
	return members, relays
}

func TestAPictureFitsItsFrame(t *testing.T) {
	now := time.Now()
	for _, n := range []int{1, 5, 50, 60, 1000} {
		members, relays := throng(n, max(1, n/6), now)
		groups := groupsOf(now, members, relays)
		total := 0
		for _, g := range groups {
			total += g.Total()
			if g.Online+g.Offline+g.Expired+g.Waiting != g.Total() {
				t.Errorf("%d machines: %s has %+v", n, g.Name, g)
			}
		}
		if total != n {
			t.Errorf("of %d machines %d are in the groups", n, total)
		}
		for _, f := range []netFrame{wideFrame, narrowFrame} {
			d := draw(f, groups, homesOf(groups, relays), n <= maxDrawn)
			inside := func(what string, in, r netRect) {
				t.Helper()
				if r.X < in.X || r.Y < in.Y || r.Right() > in.Right() || r.Bottom() > in.Bottom() {
					t.Errorf("%d machines, %d wide: %s %+v is not in %+v", n, f.width, what, r, in)
				}
			}
			whole := netRect{W: d.Width, H: d.Height}
			var all []netRect
			for _, r := range d.Relays {
				inside("relay", whole, r.netRect)
				all = append(all, r.netRect)
			}
			for _, b := range d.Boxes {
				inside("box", whole, b.netRect)
				all = append(all, b.netRect)
				for _, m := range b.Nodes {
					inside("machine", b.netRect, m.netRect)
				}
				for _, m := range b.Bars {
					inside("bar", b.netRect, m.netRect)
				}
				if n <= maxDrawn && len(b.Nodes) != b.Total() {
					t.Errorf("%d of %d machines of %s are drawn", len(b.Nodes), b.Total(), b.Name)
				}
			}
			for i, a := range all {
				for _, b := range all[:i] {
					if a.X < b.Right() && b.X < a.Right() && a.Y < b.Bottom() && b.Y < a.Bottom() {
						t.Fatalf("%d machines, %d wide: %+v covers %+v", n, f.width, a, b)
					}
				}
			}
		}
	}
}

func TestManyRelaysShareALine(t *testing.T) {
	now := time.Now()
	members, _ := throng(20, 3, now)
	var relays []coord.Relay
	for i := range 9 {
		relays = append(relays, coord.Relay{ID: coord.RelayID(i + 1), Name: fmt.Sprint("relay-", i+1)})
	}
	homes := homesOf(groupsOf(now, members, relays), relays)
	if len(homes) != maxLanes || len(homes[maxLanes-1].Of) != 5 {
		t.Errorf("the lines are %+v", homes)
	}
}

// fill puts machines into the network's memory: for a picture they need not join.
func (r *running) fill(members []state.Member, relays []coord.Relay) {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	r.hub.st = state.New(state.Network{
		Common: r.Network(), Relays: relays, Members: members, Log: []state.Change{{Seq: r.hub.st.Seq(), Kind: state.NodeChange}},
	})
}

// textOutOfBox finds texts of machines that end outside their boxes.
const textOutOfBox = `[...document.querySelectorAll("svg.wide a.node")].flatMap(n => {
	const box = n.querySelector("rect").getBoundingClientRect();
	return [...n.querySelectorAll("text")].filter(x => x.getBoundingClientRect().right > box.right).map(x => x.textContent);
}).join(", ")`

func TestThePictureOfTheNetworkIsReadable(t *testing.T) {
	for _, c := range []struct{ machines, people int }{{5, 2}, {50, 7}, {1000, 120}} {
		t.Run(fmt.Sprint(c.machines), func(t *testing.T) {
			r := serve(t)
			r.user("anna", "correct horse battery")
			members, relays := throng(c.machines, c.people, time.Now())
			r.fill(members, relays)
			b := newBrowser(t)
			b.do("sign in", chromedp.Navigate(r.URL()+"/signin"), chromedp.SendKeys("#login", "anna"), chromedp.SendKeys("#password", "correct horse battery\n"))
			b.sees(fmt.Sprintf("%d in all", c.machines))
			began := time.Now()
			b.do("network", chromedp.Navigate(r.URL()+"/network"))
			b.sees(fmt.Sprintf("%d in all", c.machines))
			t.Logf("%d machines are drawn after %v", c.machines, time.Since(began).Round(time.Millisecond))
			b.picture(fmt.Sprint("network-", c.machines))
			b.do("wide", chromedp.EmulateViewport(1100, 820))
			count := func(what string) int {
				t.Helper()
				n, err := chromedp.Run(b.ctx, chromedp.Evaluate[int](fmt.Sprintf("document.querySelectorAll(%q).length", what)))
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
			if out, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](textOutOfBox)); err != nil || out != "" {
				t.Errorf("out of its box: %s (%v)", out, err)
			}
			if drawn := count("svg.wide a.node"); c.machines <= maxDrawn && drawn != c.machines || c.machines > maxDrawn && drawn != 0 {
				t.Errorf("%d machines are drawn", drawn)
			}
			if rows := count("tbody tr"); rows != min(c.machines, maxDrawn) && c.machines <= maxDrawn || c.machines > maxDrawn && rows != maxBoxes {
				t.Errorf("the table has %d rows", rows)
			}
			b.do("table", chromedp.Click("summary"))
			b.sees("person-0")
			b.picture(fmt.Sprintf("network-%d-table", c.machines))
			if c.machines > maxDrawn {
				b.do("a group", chromedp.Click("td a.thing"))
				b.sees("found")
				return
			}
			b.do("a machine", chromedp.EmulateViewport(1100, 820), chromedp.Click("svg.wide a.node"))
			b.sees("Machine key")
		})
	}
}

func TestOpenPagesShowWhatIsSoNow(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse battery")
	b := newBrowser(t)
	b.do("sign in", chromedp.Navigate(r.URL()+"/signin"), chromedp.SendKeys("#login", "anna"), chromedp.SendKeys("#password", "correct horse battery\n"))
	b.sees("No machines yet")
	// Nobody touches the browser: the machine appears.
	d := r.device()
	d.join("laptop", r.authKey(KeyOptions{User: "anna"}))
	b.sees("1 in all, 0 online")
	_, stop := d.follow(nil)
	b.sees("1 in all, 1 online")
	b.do("network", chromedp.Navigate(r.URL()+"/network"))
	b.sees("1 in all, 1 online")
	_ = stop()
	d.Close()
	b.sees("1 in all, 0 online")
	if err := r.RenameMachine(t.Context(), "laptop", "renamed"); err != nil {
		t.Fatal(err)
	}
	b.sees("renamed")
	// Who types is left alone.
	b.do("machines", chromedp.Navigate(r.URL()+"/"), chromedp.SendKeys("#q", "half a wo"))
	o := r.device()
	o.join("phone", r.authKey(KeyOptions{User: "anna"}))
	b.sees("2 in all")
	if typed, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.querySelector('#q').value")); err != nil || typed != "half a wo" {
		t.Errorf("the search holds %q (%v)", typed, err)
	}
}

func TestAMemberSeesOnlyTheirOwnInThePicture(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse battery")
	r.userAs("bert", "correct horse battery", account.Member)
	r.device().join("annas", r.authKey(KeyOptions{User: "anna"}))
	r.device().join("berts", r.authKey(KeyOptions{User: "bert"}))
	w := r.web()
	w.signIn("bert", "correct horse battery", nil)
	_, page, _ := w.ask("GET", "/network", nil)
	if !strings.Contains(page, "berts") || strings.Contains(page, "annas") {
		t.Errorf("bert sees:\n%s", page)
	}
}
