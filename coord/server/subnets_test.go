package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/state"
	"github.com/warren-mesh/warren/coord/internal/store/pgtest"
)

func routes(texts ...string) (ps []netip.Prefix) {
	for _, text := range texts {
		ps = append(ps, netip.MustParsePrefix(text))
	}
	return ps
}

func offering(texts ...string) coord.NodeUpdate {
	u := update(1)
	u.Routes = routes(texts...)
	return u
}

// leads reports whether a machine of that name leads to just these.
func leads(name string, texts ...string) func(*coord.Netmap) bool {
	return func(m *coord.Netmap) bool {
		n := peerNamed(m, name)
		if m.Self.Name == name {
			n = &m.Self
		}
		return n != nil && slices.Equal(n.Routes, routes(texts...))
	}
}

// offers has a machine say what it offers, and waits until the server knows.
func (d *device) offers(r *running, name string, texts ...string) state.Member {
	d.t.Helper()
	if err := d.Update(d.t.Context(), offering(texts...)); err != nil {
		d.t.Fatal(err)
	}
	var m state.Member
	eventually(d.t, fmt.Sprintf("%s offers %v", name, texts), func() (ok bool) {
		var err error
		m, err = r.machineNamed(name)
		return err == nil && slices.Equal(m.Offered, inOrder(routes(texts...)))
	})
	return m
}

// testRoutes takes a machine's routes from offer to withdrawal, with what everybody hears of it. The machine and who looks
// on may be at different servers.
func testRoutes(t *testing.T, a, b *running) {
	k := a.authKey(KeyOptions{Reusable: true})
	gate, sees := a.device(), b.device()
	gate.join("gate", k)
	sees.join("sees", k)
	own, _ := gate.follow(nil)
	maps, _ := sees.follow(nil)
	both := func(what string, texts ...string) {
		t.Helper()
		until(t, maps, what+", for its peer", leads("gate", texts...))
		until(t, own, what+", for itself", leads("gate", texts...))
	}
	say := func(u coord.NodeUpdate) {
		t.Helper()
		if err := gate.Update(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	set := func(r *running, q RoutesRequest) {
		t.Helper()
		if err := r.SetRoutes(t.Context(), "gate", q); err != nil {
			t.Fatal(err)
		}
	}
	until(t, maps, "gate", leads("gate"))
	gate.offers(b, "gate", "192.168.7.0/24", "::/0", "10.1.0.0/16", "0.0.0.0/0")
	set(b, RoutesRequest{Approve: routes("10.1.0.0/16", "172.16.0.0/12")})
	both("one is approved", "10.1.0.0/16")
	set(a, RoutesRequest{Approve: routes("0.0.0.0/0")})
	both("an exit node is one for IPv6 too", "0.0.0.0/0", "10.1.0.0/16", "::/0")
	lost := func(what string, texts ...string) {
		t.Helper()
		until(t, maps, what, func(m *coord.Netmap) bool {
			n := peerNamed(m, "gate")
			return n != nil && slices.Equal(n.Cut, routes(texts...)) && len(n.Routes) == 3
		})
	}
	cut := offering("192.168.7.0/24", "::/0", "10.1.0.0/16", "0.0.0.0/0")
	cut.Cut = routes("10.1.0.0/16", "192.168.7.0/24", "10.9.0.0/16") // of which nobody approved one, and it offers another not
	say(cut)
	lost("it does not reach one itself", "10.1.0.0/16")
	say(offering("192.168.7.0/24", "::/0", "10.1.0.0/16", "0.0.0.0/0"))
	lost("it does again")
	doubting := offering("::/0")
	doubting.Doubt = 7
	say(doubting)
	until(t, maps, "it doubts a relay", func(m *coord.Netmap) bool { n := peerNamed(m, "gate"); return n != nil && n.Doubt == 7 })
	say(offering("172.16.0.0/12"))
	both("what was approved before it was offered", "172.16.0.0/12")
	say(offering())
	both("it offers nothing")
	say(offering("::/0", "10.1.0.0/16"))
	both("an approval stays", "10.1.0.0/16", "::/0")
	set(b, RoutesRequest{Withdraw: routes("::/0")})
	both("an exit node no more", "10.1.0.0/16")
	if m, _ := b.machineNamed("gate"); !slices.Equal(m.Approved, routes("10.1.0.0/16", "172.16.0.0/12")) {
		t.Errorf("approved is %v", m.Approved)
	}
}

func TestRoutesAreThoseOfferedAndApproved(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		r := serve(t)
		testRoutes(t, r, r)
	})
	t.Run("two servers", func(t *testing.T) {
		a, b := pair(t, pgtest.Start(t).Database("routes"), Options{})
		testRoutes(t, a, b)
	})
}

func TestRoutesOutliveARestart(t *testing.T) {
	r := serve(t)
	d := r.device()
	d.join("gate", r.authKey(KeyOptions{}))
	d.offers(r, "gate", "10.1.0.0/16", "10.2.0.0/16")
	if err := r.SetRoutes(t.Context(), "gate", RoutesRequest{Approve: routes("10.1.0.0/16")}); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r = serveDir(t, r.dir, r.addr, Options{})
	m, err := r.machineNamed("gate")
	if err != nil || !slices.Equal(m.Node.Routes, routes("10.1.0.0/16")) || !slices.Equal(asks(m), routes("10.2.0.0/16")) {
		t.Errorf("it is %+v, %v", m, err)
	}
}

func TestWhoTakesAMachineOverHasNoneOfItsApprovals(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("mia", "correct horse", account.Member)
	d := r.device()
	join := func(login string) state.Member {
		t.Helper()
		reply, err := d.Register(t.Context(), d.node, coord.RegisterRequest{Hostname: "gate", AuthKey: r.authKey(KeyOptions{User: login}), Reauth: true})
		if err != nil || !reply.Registered {
			t.Fatal(reply, err)
		}
		return d.offers(r, "gate", "10.1.0.0/16")
	}
	join("anna")
	if err := r.SetRoutes(t.Context(), "gate", RoutesRequest{Approve: routes("10.1.0.0/16", "0.0.0.0/0")}); err != nil {
		t.Fatal(err)
	}
	if m := join("anna"); !slices.Equal(m.Node.Routes, routes("10.1.0.0/16")) {
		t.Errorf("its person logged in again, and it leads to %v", m.Node.Routes)
	}
	if m := join("mia"); len(m.Node.Routes)+len(m.Approved) > 0 {
		t.Errorf("another person's, it leads to %v, of %v", m.Node.Routes, m.Approved)
	}
	if m := join("anna"); len(m.Node.Routes)+len(m.Approved) > 0 {
		t.Errorf("back with its person, it leads to %v, of %v", m.Node.Routes, m.Approved)
	}
}

func TestAnOfferThatIsNoneChangesNothing(t *testing.T) {
	r := serve(t)
	d := r.device()
	d.join("gate", r.authKey(KeyOptions{}))
	before := d.offers(r, "gate", "10.1.0.0/16")
	var many []string
	for i := range coord.MaxRoutes + 1 {
		many = append(many, fmt.Sprintf("10.%d.0.0/16", i))
	}
	for want, bad := range map[string][]string{
		"overlaps the network's own": {"100.64.0.0/16"}, "wider than any site": {"0.0.0.0/1"}, "never routed": {"127.0.0.0/8"}, "bits below its mask": {"10.1.0.1/16"},
		"twice": {"10.1.0.0/16", "10.1.0.0/16"}, "64 at the most": many,
	} {
		u := offering(bad...)
		u.Hostname, u.Endpoints = "other", nil
		err := d.Update(t.Context(), u)
		wantCode(t, err, coord.CodeBadRequest)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if want == "twice" { // which an approval may say
			continue
		}
		if err := r.SetRoutes(t.Context(), "gate", RoutesRequest{Approve: routes(bad...)}); !errors.Is(err, coord.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("to approve what %s: %v", want, err)
		}
	}
	after, err := r.machineNamed("gate")
	if err != nil || !slices.Equal(after.Offered, before.Offered) || len(after.Approved) > 0 || len(after.Node.Endpoints) != 1 {
		t.Errorf("it was %+v and is %+v, %v", before, after, err)
	}
}

func TestRoutesThroughTheAPI(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	d := r.device()
	d.join("gate", r.authKey(KeyOptions{}))
	r.device().join("nas", r.authKey(KeyOptions{}))
	d.offers(r, "gate", "10.1.0.0/16", "0.0.0.0/0")
	if got, all := r.lines(0); got[len(got)-1] != " machine machine.offer gate" || !strings.Contains(all[len(all)-1].Details, `"routes":["0.0.0.0/0","10.1.0.0/16"]`) {
		t.Errorf("the log says %q, %+v", got, all[len(all)-1])
	}
	p := r.program("anna", account.ScopeMachines)
	asking := func() (names []string) {
		t.Helper()
		var l MachineList
		if status, code := p.call(http.MethodGet, "/machines?asks=true", nil, &l); status != http.StatusOK {
			t.Fatalf("list: %d %s", status, code)
		}
		for _, m := range l.Machines {
			names = append(names, m.Name)
		}
		return names
	}
	if got := asking(); !slices.Equal(got, []string{"gate"}) {
		t.Errorf("those that ask are %v", got)
	}
	var m MachineInfo
	before := r.last()
	for range 2 { // the second changes nothing, and is in no log
		status, code := p.call(http.MethodPost, "/machines/gate/routes", `{"approve":["::/0","10.1.0.0/16"]}`, &m)
		if status != http.StatusOK || !slices.Equal(m.Routes, routes("0.0.0.0/0", "10.1.0.0/16")) || !slices.Equal(m.ApprovedRoutes, routes("0.0.0.0/0", "10.1.0.0/16", "::/0")) {
			t.Errorf("approve: %d %s, %+v", status, code, m)
		}
	}
	if got := asking(); len(got) > 0 {
		t.Errorf("those that ask are %v", got)
	}
	if status, _ := p.call(http.MethodPost, "/machines/gate/routes", `{"withdraw":["10.1.0.0/16","10.9.0.0/16"]}`, &m); status != http.StatusOK || !slices.Equal(m.Routes, routes("0.0.0.0/0")) {
		t.Errorf("withdraw: %d, %+v", status, m)
	}
	var says string
	for _, bad := range []string{`{"approve":["100.64.0.0/10"]}`, `{"approve":["10.1.0.0"]}`, `{"approve":"10.1.0.0/16"}`, `{"approved":[]}`} {
		if status, code := p.call(http.MethodPost, "/machines/gate/routes", bad, &says); status/100 != 4 || code == "" {
			t.Errorf("%s: %d %s %s", bad, status, code, says)
		}
	}
	d.offers(r, "gate", "0.0.0.0/0") // what is approved waits for nobody
	d.offers(r, "gate", "0.0.0.0/0", "::/0")
	got, all := r.lines(before)
	if want := []string{"anna api machine.routes gate", "anna api machine.routes gate"}; !slices.Equal(got, want) {
		t.Fatalf("the log says %q", got)
	}
	for i, want := range []string{`"approved":["0.0.0.0/0","10.1.0.0/16","::/0"]`, `"withdrawn":["10.1.0.0/16"]`} {
		if !strings.Contains(all[i].Details, want) {
			t.Errorf("the log's details are %s, without %s", all[i].Details, want)
		}
	}
}

func TestRoutesInTheConsole(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("mia", "correct horse", account.Member)
	r.device().join("nas", r.authKey(KeyOptions{Tags: []string{"home"}}))
	d, old := r.device(), r.device()
	d.join("gate", r.authKey(KeyOptions{User: "mia"}))
	old.join("old-gate", r.authKey(KeyOptions{User: "mia"}))
	d.offers(r, "gate", "0.0.0.0/0", "::/0", "192.168.1.0/24", "2001:db8:7::/48")
	old.offers(r, "old-gate", "0.0.0.0/0", "10.0.0.0/8")
	if err := r.SetRoutes(t.Context(), "old-gate", RoutesRequest{Approve: routes("0.0.0.0/0", "10.0.0.0/8", "172.16.0.0/12")}); err != nil {
		t.Fatal(err)
	}
	own, _ := d.follow(nil)
	b := newBrowser(t)
	b.do("front page", chromedp.Navigate(r.URL()+"/"))
	b.signInAs("anna")
	b.sees("A machine offers what nobody has approved")
	b.picture("machines-routes")
	b.do("filter", chromedp.Click(`a[href="/?asking"]`))
	b.sees("Show all machines")
	b.lacks("old-gate")
	b.do("search", chromedp.Navigate(r.URL()+"/?q=exit+node"))
	b.sees("1 found")
	b.sees("old-gate")

	b.do("machine", chromedp.Navigate(r.URL()+"/machines/"+r.machineID("gate")))
	b.sees("the whole internet, over IPv4 and IPv6")
	b.picture("machine-routes")
	b.do("approve it as an exit node", chromedp.Click(`.routes li:nth-child(1) button`))
	b.do("the page after it", chromedp.WaitVisible(`.routes li:nth-child(1) button[value=withdraw]`))
	until(t, own, "it is an exit node", leads("gate", "0.0.0.0/0", "::/0"))
	b.do("approve a subnet", chromedp.Click(`.routes li:nth-child(2) button[value=approve]`))
	b.do("the page after it", chromedp.WaitVisible(`.routes li:nth-child(2) button[value=withdraw]`))
	until(t, own, "it leads to the subnet", leads("gate", "0.0.0.0/0", "192.168.1.0/24", "::/0"))
	cut := offering("0.0.0.0/0", "::/0", "192.168.1.0/24", "2001:db8:7::/48")
	cut.Cut = routes("192.168.1.0/24")
	if err := d.Update(t.Context(), cut); err != nil {
		t.Fatal(err)
	}
	b.sees("cut off")
	b.picture("machine-routes-cut")
	b.do("withdraw the exit node", chromedp.Click(`.routes li:nth-child(1) button[value=withdraw]`))
	b.do("the page after it", chromedp.WaitVisible(`.routes li:nth-child(1) button[value=approve]`))
	until(t, own, "it is an exit node no more", leads("gate", "192.168.1.0/24"))
	b.do("the other", chromedp.Navigate(r.URL()+"/machines/"+r.machineID("old-gate")))
	b.sees("not offered now")
	b.sees("the internet over IPv4 alone")
	b.picture("machine-routes-old")
	b.signOut()

	b.signInAs("mia") // sees what hers wait for, and approves nothing
	b.do("machine", chromedp.Navigate(r.URL()+"/machines/"+r.machineID("gate")))
	b.sees("waits for approval")
	b.lacks("Withdraw")
}
