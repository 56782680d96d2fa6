package core

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/ipc"
)

var (
	exit4, exit6 = netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	site         = netip.MustParsePrefix("10.0.0.0/24")
	other        = netip.MustParsePrefix("10.9.0.0/16")
)

// exits is a network of three machines that are exit nodes: 2 and 3 online, 4 for IPv4 only and offline.
func exitNetmap() *coord.Netmap {
	m := netmap()
	m.Peers[0].Routes = []netip.Prefix{site, exit4, exit6}
	m.Peers[1].Routes, m.Peers[1].Online = []netip.Prefix{exit4, exit6, site}, true
	m.Peers = append(m.Peers, coord.Node{
		ID: 4, Name: "dan", Key: key.NodePublic{4}, Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.4")}, Routes: []netip.Prefix{exit4, other},
	})
	return m
}

func wish(ids ...coord.NodeID) *Wants {
	w := &Wants{}
	for _, id := range ids {
		w.Exits = append(w.Exits, ExitWish{Node: id, Name: "was-called-so"})
	}
	return w
}

// allowed lists who may send from p.
// allowed lists who may send from a route: for the whole internet, from an address of it.
func allowed(p *Plan, route netip.Prefix) (keys []byte) {
	far := netip.MustParseAddr("203.0.113.1")
	if route.Addr().Is6() {
		far = netip.MustParseAddr("2001:db8::1")
	}
	for _, peer := range p.Peers {
		if slices.ContainsFunc(peer.AllowedIPs, func(p netip.Prefix) bool {
			return p == route || coord.IsExitRoute(route) && p.Contains(far)
		}) {
			keys = append(keys, peer.Key[0])
		}
	}
	return keys
}

func TestNothingIsUsedThatNobodyWants(t *testing.T) {
	m := exitNetmap()
	l := new(Leads).Decide(m, wish(), now)
	p := NewPlan(m, wish(), l)
	if p.Exit != nil || len(p.Subnets) > 0 || l.Exit != 0 {
		t.Errorf("%+v", p)
	}
	for _, peer := range p.Peers {
		for _, a := range peer.AllowedIPs {
			if !a.IsSingleIP() {
				t.Errorf("%v may send from %s", peer.Key, a)
			}
		}
	}
}

func TestTheExitNodeInUseAloneHasTheInternet(t *testing.T) {
	m := exitNetmap()
	w := wish(3, 2)
	l := new(Leads).Decide(m, w, now)
	p := NewPlan(m, w, l)
	if l.Exit != 3 || !l.Up || string(allowed(p, exit4)) != "\x03" || string(allowed(p, exit6)) != "\x03" || *p.Exit != (Exit{IPv4: true, IPv6: true}) {
		t.Errorf("%+v, %+v, %+v", l, p.Exit, p.Peers)
	}
	w = wish(4)
	w.AllowLAN = true
	l = l.Decide(m, w, now)
	p = NewPlan(m, w, l)
	if l.Exit != 4 || l.Up || *p.Exit != (Exit{IPv4: true, AllowLAN: true}) || len(allowed(p, exit6)) > 0 || string(allowed(p, exit4)) != "\x04" {
		t.Errorf("one for IPv4 that is offline: %+v, %+v", l, p.Exit)
	}
}

func TestAnExitNodeThatIsNoneAnyMoreIsNotLeftForTheOpenWay(t *testing.T) {
	m := exitNetmap()
	w := wish(3)
	l := new(Leads).Decide(m, w, now)
	m = exitNetmap()
	m.Peers[1].Routes = nil
	if l = l.Decide(m, w, now); l.Exit != 0 {
		t.Errorf("in use: %d", l.Exit)
	}
	if p := NewPlan(m, w, l); p.Exit == nil || p.Exit.IPv4 || p.Exit.IPv6 {
		t.Errorf("%+v", p.Exit)
	}
	f := running()
	f.Netmap, f.Wants, f.Leads = m, *w, l
	s := f.Status(now)
	if s.Exit.Name != "" || s.Problems[0].Code != ipc.ProblemExitGone || s.Problems[0].Level != ipc.ProblemUrgent || !strings.Contains(s.Problems[0].Fix, "warren exit-node off") {
		t.Errorf("%+v, %+v", s.Exit, s.Problems)
	}
}

func TestTheNextExitNodeTakesOverAndThePreferredOneComesBackWhenItIsSteady(t *testing.T) {
	m, w, at := exitNetmap(), wish(2, 3), now
	l := new(Leads).Decide(m, w, at)
	step := func(after time.Duration, id coord.NodeID, ok bool, want coord.NodeID) {
		t.Helper()
		at = at.Add(after)
		l.Answered(id, ok, at)
		if l = l.Decide(m, w, at); l.Exit != want {
			t.Fatalf("after %v: %d is in use, want %d", at.Sub(now), l.Exit, want)
		}
	}
	step(5*time.Second, 2, true, 2)
	step(5*time.Second, 2, false, 2) // one answer may be lost
	step(time.Second, 2, true, 2)
	step(5*time.Second, 2, false, 2)
	step(time.Second, 2, false, 3)
	if ids := l.Ask(m, w); !slices.Equal(ids, []coord.NodeID{2, 3}) {
		t.Errorf("asked: %v", ids)
	}
	step(5*time.Second, 2, true, 3) // it is back, but comes and goes
	step(25*time.Second, 2, true, 3)
	step(time.Second, 2, false, 3)
	step(time.Second, 2, true, 3)
	step(29*time.Second, 2, true, 3)
	step(time.Second, 2, true, 2)
	// None answers: the one in use stays, and says so.
	step(0, 2, false, 2)
	step(0, 2, false, 3)
	step(0, 3, false, 3)
	step(0, 3, false, 3)
	if l.Up {
		t.Error("it works, without an answer")
	}
	f := running()
	f.Netmap, f.Wants, f.Leads = m, *w, l
	if s := f.Status(at); s.Problems[0].Code != ipc.ProblemExitDown || s.Exit.Up || !strings.Contains(s.Problems[0].Text, "zoe, bob") {
		t.Errorf("%+v", s.Problems)
	}
}

func TestTheServersWordOnAnExitNodeCountsUntilItAnswers(t *testing.T) {
	m, w := exitNetmap(), wish(2, 3)
	l := new(Leads).Decide(m, w, now)
	m = exitNetmap()
	m.Peers[0].Online = false
	if l = l.Decide(m, w, now); l.Exit != 3 {
		t.Errorf("one that the server has lost is used: %d", l.Exit)
	}
	l = new(Leads).Decide(exitNetmap(), w, now)
	l.Answered(2, true, now)
	if l = l.Decide(m, w, now); l.Exit != 2 { // it may have lost the server only
		t.Errorf("one that answers is left: %d", l.Exit)
	}
	if !l.Doubt(m) {
		t.Error("it is not asked at once")
	}
	l.Answered(2, false, now)
	if l = l.Decide(m, w, now); l.Exit != 3 {
		t.Errorf("one that neither answers nor is online is used: %d", l.Exit)
	}
}

func TestWhatAnExitNodeOnceDidNotAnswerIsForgotten(t *testing.T) {
	m, w, at := exitNetmap(), wish(2, 3), now
	l := new(Leads).Decide(m, w, at)
	step := func(id coord.NodeID, ok bool) {
		at = at.Add(ExitReturn)
		l.Answered(id, ok, at)
		l = l.Decide(m, w, at)
	}
	step(2, false)
	step(2, false) // the second one is used
	step(3, false)
	step(3, false) // neither works
	step(2, true)
	step(2, true)
	if l.Exit != 2 || !l.Up {
		t.Fatalf("%d is used", l.Exit)
	}
	step(2, false)
	step(2, false)
	if l.Exit != 3 { // it is online, and nobody has asked it since
		t.Errorf("%d is used", l.Exit)
	}
}

func TestAChoiceOfPeopleIsFollowedAtOnce(t *testing.T) {
	m := exitNetmap()
	l := new(Leads).Decide(m, wish(3, 2), now)
	if l = l.Decide(m, wish(2, 3), now); l.Exit != 2 {
		t.Errorf("in use: %d", l.Exit)
	}
	if again := l.Decide(m, wish(2, 3), now); again != l {
		t.Error("the same is decided twice")
	}
}

func TestASubnetHasOneRouterOnlineFirstThenTheOldestAndItIsKept(t *testing.T) {
	m, w := exitNetmap(), &Wants{Accept: true}
	l := new(Leads).Decide(m, w, now)
	uses := func(want coord.NodeID) {
		t.Helper()
		p := NewPlan(m, w, l)
		if l.Routers[site] != want || string(allowed(p, site)) != string(rune(want)) {
			t.Errorf("%d leads to %s, want %d", l.Routers[site], site, want)
		}
	}
	uses(2)
	if l.Routers[other] != 4 { // nobody else does
		t.Errorf("%v", l.Routers)
	}
	m = exitNetmap()
	m.Peers[0].Online = false
	l = l.Decide(m, w, now)
	uses(3)
	m = exitNetmap() // the first one is back: what works stays
	l = l.Decide(m, w, now)
	uses(3)
	m.Peers[0].Online, m.Peers[1].Online = false, false
	l = l.Decide(m, w, now)
	uses(3)
	m.Peers[1].Routes = nil
	l = l.Decide(m, w, now)
	uses(2)
	m.Self.Routes = []netip.Prefix{site} // this machine leads there itself
	if l = l.Decide(m, w, now); l.Routers[site] != 0 {
		t.Errorf("%v", l.Routers)
	}
	f := running()
	f.Netmap, f.Wants, f.Leads = m, *w, l
	if s := f.Status(now); !slices.Equal(s.Peers[1].Serves, []netip.Prefix{other}) || s.Peers[1].Name != "dan" || !s.Peers[1].ExitOption || s.Peers[1].Exit {
		t.Errorf("%+v", s.Peers)
	}
}

func TestTheStatusSaysWhatWaitsAndWhatIsNotUsed(t *testing.T) {
	f := running()
	f.Netmap = exitNetmap()
	f.Netmap.Self.Routes = []netip.Prefix{netip.MustParsePrefix("192.168.3.0/24")}
	f.Wants.Offer = []netip.Prefix{netip.MustParsePrefix("192.168.3.0/24"), netip.MustParsePrefix("192.168.4.0/24"), exit4, exit6}
	f.Leads = new(Leads).Decide(f.Netmap, &f.Wants, now)
	s := f.Status(now)
	var texts, about []string
	for _, p := range s.Problems {
		about = append(about, p.About)
		if p.Level != ipc.ProblemNotice || p.Fix == "" {
			t.Errorf("%+v", p)
		}
		texts = append(texts, p.Text)
	}
	want := []string{"Waits for an admin's approval: 192.168.4.0/24, use as exit node.", "Other machines lead to subnets that are not used here: 10.0.0.0/24, 10.9.0.0/16."}
	if !slices.Equal(texts, want) {
		t.Errorf("%q", texts)
	}
	if want := []string{"192.168.4.0/24, 0.0.0.0/0, ::/0", "10.0.0.0/24, 10.9.0.0/16"}; !slices.Equal(about, want) { // as every language has it
		t.Errorf("they are about %q", about)
	}
	if len(s.Self.Offers) != 4 || !s.Self.Offers[0].Approved || s.Self.Offers[1].Approved {
		t.Errorf("%+v", s.Self.Offers)
	}
	if p := NewPlan(f.Netmap, &f.Wants, f.Leads).Forward; len(p.Subnets) != 1 || p.Exit4 || p.Exit6 {
		t.Errorf("what nobody approved is forwarded: %+v", p)
	}
	f.Netmap.Self.Routes = append(f.Netmap.Self.Routes, exit4, netip.MustParsePrefix("172.16.0.0/12"))
	if p := NewPlan(f.Netmap, &f.Wants, f.Leads).Forward; len(p.Subnets) != 1 || !p.Exit4 || p.Exit6 {
		t.Errorf("what this machine does not offer is forwarded: %+v", p)
	}
	f.Wants = *wish(4)
	f.Leads = new(Leads).Decide(f.Netmap, &f.Wants, now)
	f.Leads.Answered(4, true, now)
	f.Leads = f.Leads.Decide(f.Netmap, &f.Wants, now)
	if s := f.Status(now); s.Problems[0].Code != ipc.ProblemExitNoIPv6 || !s.Exit.Up || s.Exit.IPv6 {
		t.Errorf("%+v", s.Problems)
	}
}

// TestEachRouteHasOneMachineThatLeadsThere holds every plan to WireGuard's own rule, whatever the netmaps that led to it.
func TestEachRouteHasOneMachineThatLeadsThere(t *testing.T) {
	pool := []netip.Prefix{site, other, exit4, exit6, netip.MustParsePrefix("fd99::/64")}
	rapid.Check(t, func(t *rapid.T) {
		l, at := new(Leads), now
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			m := exitNetmap()
			for i := range m.Peers {
				m.Peers[i].Online = rapid.Bool().Draw(t, "online")
				m.Peers[i].Routes = rapid.SliceOfDistinct(rapid.SampledFrom(pool), rapid.ID[netip.Prefix]).Draw(t, "routes")
			}
			w := wish(rapid.SliceOfDistinct(rapid.SampledFrom([]coord.NodeID{2, 3, 4, 5}), rapid.ID[coord.NodeID]).Draw(t, "exits")...)
			w.Accept = rapid.Bool().Draw(t, "accept")
			l.Answered(coord.NodeID(rapid.IntRange(2, 4).Draw(t, "who")), rapid.Bool().Draw(t, "answers"), at)
			at = at.Add(20 * time.Second)
			l = l.Decide(m, w, at)
			p := NewPlan(m, w, l)
			for _, route := range pool {
				offered := slices.ContainsFunc(m.Peers, func(n coord.Node) bool { return slices.Contains(n.Routes, route) })
				has := allowed(p, route)
				switch {
				case len(has) > 1:
					t.Fatalf("%s leads to %v", route, has)
				case !coord.IsExitRoute(route) && (len(has) == 1) != (w.Accept && offered):
					t.Fatalf("%s leads to %v, offered %v", route, has, offered)
				case len(has) == 1 && !slices.Contains(m.Peer(coord.NodeID(has[0])).Routes, route):
					t.Fatalf("%s leads to %v, which does not offer it", route, has)
				}
			}
			if (p.Exit != nil) != (len(w.Exits) > 0) {
				t.Fatalf("exit %+v, wanted %v", p.Exit, w.Exits)
			}
		}
	})
}

func TestWhoIsNotOnTheNetworkIsHeldBehindItsExitNodeAndToldSo(t *testing.T) {
	for what, change := range map[string]func(*Facts){
		"expired":  func(f *Facts) { f.Expired = true },
		"removed":  func(f *Facts) { f.Registered, f.Netmap, f.Dismissed = false, nil, Removed },
		"waits":    func(f *Facts) { f.Pending, f.Netmap = true, nil },
		"no word":  func(f *Facts) { f.Netmap = nil },
		"is on it": func(*Facts) {},
		"is down":  func(f *Facts) { f.Prefs.Up, f.Netmap = false, nil },
		"signs in": func(f *Facts) { f.Expired, f.Paused = true, now },
		"wants no": func(f *Facts) { f.Expired, f.Wants = true, Wants{} },
	} {
		f := running()
		f.Leads, f.Wants = &Leads{}, *wish(2)
		change(f)
		s := f.Status(now)
		i := slices.IndexFunc(s.Problems, func(p ipc.Problem) bool { return p.Code == ipc.ProblemExitHeld })
		want := slices.Contains([]string{"expired", "removed", "waits", "no word"}, what)
		if (i >= 0) != want {
			t.Errorf("%s: said %v: %+v", what, i >= 0, s.Problems)
		}
		if i < 0 {
			continue
		}
		p := s.Problems[i]
		login := s.State == ipc.StateNeedsLogin
		if p.Level != ipc.ProblemUrgent || !strings.Contains(p.Fix, "warren exit-node off") || strings.Contains(p.Fix, "warren exit-node portal") != login {
			t.Errorf("%s: %+v", what, p)
		}
		if s.Exit == nil || s.Exit.Up || len(s.Exit.Wanted) != 1 {
			t.Errorf("%s: %+v", what, s.Exit)
		}
	}
	if p := Hold(&Wants{AllowLAN: true, Exits: wish(2).Exits}); p.Exit == nil || p.Exit.IPv4 || p.Exit.IPv6 || !p.Exit.AllowLAN || len(p.Peers)+len(p.Addrs) > 0 {
		t.Errorf("held by %+v", p)
	}
}

func TestAnExitNodeLeadsEverywhereButIntoTheNetwork(t *testing.T) {
	m, w := exitNetmap(), wish(2)
	p := NewPlan(m, w, new(Leads).Decide(m, w, now))
	for text, want := range map[string]bool{
		"203.0.113.9": true, "0.0.0.1": true, "255.255.255.254": true, "100.63.255.255": true, "100.128.0.0": true, "192.168.1.1": true, "2001:db8::9": true, "fd00:1:3::1": true,
		"100.64.0.2": true /* its own */, "100.64.0.99": false, "100.64.0.1": false, "100.127.255.255": false, "fd00:1:2::99": false, "fd00:1:2:ffff::": false,
	} {
		a := netip.MustParseAddr(text)
		if got := slices.ContainsFunc(p.Peers[0].AllowedIPs, func(p netip.Prefix) bool { return p.Contains(a) }); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) netip.Addr {
			return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, name)))
		}
		p := netip.PrefixFrom(draw("all"), rapid.IntRange(0, 32).Draw(t, "bits")).Masked()
		part := netip.PrefixFrom(draw("part"), rapid.IntRange(0, 32).Draw(t, "part's bits")).Masked()
		if part.Bits() <= p.Bits() && part.Overlaps(p) && part != p {
			t.Skip("no part of it")
		}
		a, n := draw("address"), 0
		for _, q := range without(p, part) {
			if q.Contains(a) {
				n++
			}
		}
		want := 0
		if p.Contains(a) && !part.Contains(a) {
			want = 1
		}
		if n != want {
			t.Fatalf("%s is in %d of %v", a, n, without(p, part))
		}
	})
}

func TestAnExitNodeAnswersForNamesWhomItMayServe(t *testing.T) {
	m := exitNetmap()
	m.Self.Routes = []netip.Prefix{exit4, exit6, netip.MustParsePrefix("192.168.3.0/24")}
	w := &Wants{Offer: m.Self.Routes}
	clients := func() []netip.Prefix { return NewPlan(m, w, &Leads{}).DNS.Clients }
	if got := clients(); !slices.Equal(got, []netip.Prefix{m.Network.IPv4, m.Network.IPv6}) {
		t.Errorf("without rules: %v", got)
	}
	zoe, bob := netip.MustParsePrefix("100.64.0.2/32"), netip.MustParsePrefix("100.64.0.3/32")
	anything := []coord.Service{{}}
	m.Filter = &coord.Filter{
		Sets: []coord.FilterSet{{Name: "bob", Nets: []netip.Prefix{bob}}, {Name: "zoe", Nets: []netip.Prefix{zoe}}},
		In:   []coord.FilterRule{{From: []string{"bob", "zoe"}, Allow: anything}},
		Forward: []coord.FilterRule{
			{From: []string{"bob"}, To: []netip.Prefix{netip.MustParsePrefix("192.168.3.0/28")}, Allow: anything},
			{From: []string{"zoe"}, To: []netip.Prefix{netip.MustParsePrefix("1.0.0.0/8")}, Allow: anything},
		},
	}
	if got := clients(); !slices.Equal(got, []netip.Prefix{zoe}) {
		t.Errorf("with rules: %v", got)
	}
	m.Filter.Forward = nil
	if got := clients(); len(got) > 0 {
		t.Errorf("nobody is let through: %v", got)
	}
}
