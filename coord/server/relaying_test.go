package server

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store/pgtest"
	"github.com/warren-mesh/warren/coord/key"
)

func relayingAt(addrs ...string) coord.NodeUpdate {
	u := update(1)
	u.Relaying = &coord.Relaying{Key: key.RelayPublic{7}}
	for _, a := range addrs {
		u.Relaying.Addrs = append(u.Relaying.Addrs, netip.MustParseAddrPort(a))
	}
	return u
}

// relays reports whether the machine of that name relays there; nowhere: not at all.
func relays(name, at string) func(*coord.Netmap) bool {
	return func(m *coord.Netmap) bool {
		n := peerNamed(m, name)
		if m.Self.Name == name {
			n = &m.Self
		}
		switch {
		case n == nil:
			return false
		case at == "":
			return n.Relaying == nil
		}
		return n.Relaying != nil && len(n.Relaying.Addrs) == 1 && n.Relaying.Addrs[0].String() == at
	}
}

func (d *device) says(u coord.NodeUpdate) {
	d.t.Helper()
	if err := d.Update(d.t.Context(), u); err != nil {
		d.t.Fatal(err)
	}
}

// testRelaying takes a machine's relaying from the offer to its end, with what everybody hears of it.
func testRelaying(t *testing.T, a, b *running) {
	k := a.authKey(KeyOptions{Reusable: true})
	gate, sees := a.device(), b.device()
	gate.join("gate", k)
	sees.join("sees", k)
	own, _ := gate.follow(nil)
	maps, _ := sees.follow(nil)
	both := func(what, at string) {
		t.Helper()
		until(t, maps, what+", for its peer", relays("gate", at))
		until(t, own, what+", for itself", relays("gate", at))
	}
	allow := func(r *running, is bool) {
		t.Helper()
		m, err := r.machineNamed("gate")
		if err == nil {
			err = r.setRelaying(t.Context(), operator, m, is)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	offered := func(r *running, is bool) {
		t.Helper()
		eventually(t, fmt.Sprint("the offer is known: ", is), func() bool {
			m, err := r.machineNamed("gate")
			return err == nil && (m.OffersRelay != nil) == is
		})
	}
	gate.says(relayingAt("192.0.2.9:7"))
	offered(b, true)
	both("nobody has allowed it", "")
	allow(b, true)
	both("it may", "192.0.2.9:7")
	gate.says(relayingAt("192.0.2.9:8"))
	both("elsewhere", "192.0.2.9:8")
	gate.says(update(1))
	both("it offers no more", "")
	gate.says(relayingAt("192.0.2.9:9"))
	both("the word stays", "192.0.2.9:9")
	allow(a, false)
	both("denied", "")
	offered(b, true)
}

func TestAMachineRelaysThatOffersToAndMay(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		r := serve(t)
		testRelaying(t, r, r)
	})
	t.Run("two servers", func(t *testing.T) {
		a, b := pair(t, pgtest.Start(t).Database("relaying"), Options{})
		testRelaying(t, a, b)
	})
}

func TestAnOfferToRelayThatIsNoneIsRefused(t *testing.T) {
	r := serve(t)
	d := r.device()
	d.join("gate", r.authKey(KeyOptions{}))
	var many []string
	for i := range coord.MaxRelayAddrs + 1 {
		many = append(many, fmt.Sprintf("192.0.2.1:%d", i+1))
	}
	for want, bad := range map[string]coord.NodeUpdate{
		"no key": {Relaying: &coord.Relaying{}}, "8 at the most": relayingAt(many...), "127.0.0.1": relayingAt("127.0.0.1:7"),
		"224.0.0.1": relayingAt("224.0.0.1:7"), "100.64.0.1": relayingAt("100.64.0.1:7"), ":0 ": relayingAt("192.0.2.1:0"),
	} {
		err := d.Update(t.Context(), bad)
		wantCode(t, err, coord.CodeBadRequest)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if m, err := r.machineNamed("gate"); err != nil || m.OffersRelay != nil {
		t.Errorf("it offers %+v, %v", m.OffersRelay, err)
	}
}

func TestWhoTakesAMachineOverMayNotRelayWithIt(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("mia", "correct horse", account.Member)
	d := r.device()
	for _, c := range []struct {
		login string
		may   bool // after its login
	}{{"anna", false}, {"anna", true}, {"mia", false}} {
		reply, err := d.Register(t.Context(), d.node, coord.RegisterRequest{Hostname: "gate", AuthKey: r.authKey(KeyOptions{User: c.login}), Reauth: true})
		if err != nil || !reply.Registered {
			t.Fatal(reply, err)
		}
		d.says(relayingAt("192.0.2.9:7"))
		m, err := r.machineNamed("gate")
		if err != nil || m.MayRelay != c.may || (m.Node.Relaying != nil) != c.may {
			t.Errorf("%s's: it may: %v, %+v, %v", c.login, m.MayRelay, m.Node.Relaying, err)
		}
		if err := r.setRelaying(t.Context(), operator, m, true); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRelayingThroughTheAPIAndTheConsole(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	d := r.device()
	d.join("gate", r.authKey(KeyOptions{}))
	own, _ := d.follow(nil)
	d.says(relayingAt("192.0.2.9:7"))
	eventually(t, "the offer is in the log", func() bool {
		got, _ := r.lines(0)
		return got[len(got)-1] == " machine machine.relay gate"
	})
	p := r.program("anna", account.ScopeMachines)
	var l MachineList
	if status, code := p.call(http.MethodGet, "/machines?asks=true", nil, &l); status != http.StatusOK || len(l.Machines) != 1 || !l.Machines[0].OffersRelay {
		t.Errorf("those that ask: %d %s %+v", status, code, l)
	}
	for _, allow := range []bool{true, false} {
		var m MachineInfo
		status, code := p.call(http.MethodPost, "/machines/gate/relaying", RelayingRequest{allow}, &m)
		if status != http.StatusOK || m.MayRelay != allow || (m.Relaying != nil) != allow {
			t.Errorf("allow %v: %d %s, %+v", allow, status, code, m)
		}
	}
	var says string
	if status, _ := p.call(http.MethodPost, "/machines/gate/relaying", `{}`, &says); status/100 != 4 {
		t.Errorf("a request that says nothing: %d %s", status, says)
	}

	b := newBrowser(t)
	b.do("machine", chromedp.Navigate(r.URL()+"/machines/"+r.machineID("gate")))
	b.signInAs("anna")
	b.do("machine", chromedp.Navigate(r.URL()+"/machines/"+r.machineID("gate")))
	b.sees("waits for approval")
	b.picture("machine-relaying")
	b.do("allow it", chromedp.Click(`button[value=allow]`))
	b.do("the page after it", chromedp.WaitVisible(`button[value=deny]`))
	until(t, own, "it relays", relays("gate", "192.0.2.9:7"))
	b.do("deny it", chromedp.Click(`button[value=deny]`))
	b.do("the page after it", chromedp.WaitVisible(`button[value=allow]`))
	until(t, own, "it relays no more", relays("gate", ""))
}
