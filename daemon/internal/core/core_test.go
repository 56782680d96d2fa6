package core

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/ipc"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func netmap() *coord.Netmap {
	addr := func(s string) []netip.Addr {
		return []netip.Addr{netip.MustParseAddr(s), netip.MustParseAddr("fd00:1:2::" + s[len(s)-1:])}
	}
	return &coord.Netmap{
		Seq:     9,
		Network: coord.Network{Name: "home", Suffix: "warren.internal", IPv4: netip.MustParsePrefix("100.64.0.0/10"), IPv6: netip.MustParsePrefix("fd00:1:2::/48")},
		Self:    coord.Node{ID: 1, Name: "alice", Key: key.NodePublic{1}, Addrs: addr("100.64.0.1")},
		Peers: []coord.Node{
			{ID: 2, Name: "zoe", Key: key.NodePublic{2}, Addrs: addr("100.64.0.2"), Online: true},
			{ID: 3, Name: "bob", Key: key.NodePublic{3}, Addrs: addr("100.64.0.3"), Endpoints: []coord.Endpoint{{Addr: netip.MustParseAddrPort("203.0.113.9:7"), Kind: coord.EndpointSTUN}}},
		},
	}
}

func running() *Facts {
	return &Facts{
		Prefs: ipc.Prefs{Server: "https://coord.example", Up: true}, Registered: true, Netmap: netmap(), Interface: "warren0",
		Coord: ipc.Link{Connected: true},
	}
}

func TestAPeerMaySendOnlyFromItsOwnAddresses(t *testing.T) {
	p := NewPlan(netmap(), &Wants{}, &Leads{})
	for i, peer := range p.Peers {
		if len(peer.AllowedIPs) != 2 {
			t.Fatalf("peer %d: %v", i, peer.AllowedIPs)
		}
		for j, prefix := range peer.AllowedIPs {
			if !prefix.IsSingleIP() || prefix.Addr() != netmap().Peers[i].Addrs[j] {
				t.Errorf("peer %d may send from %v", i, prefix)
			}
		}
	}
	if want := []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fd00:1:2::/48")}; !slices.Equal(p.Routes, want) {
		t.Errorf("routes %v", p.Routes)
	}
	if p.Peers[1].Endpoints[0].Addr != netip.MustParseAddrPort("203.0.113.9:7") {
		t.Errorf("endpoints %v", p.Peers[1].Endpoints)
	}
}

func TestTheStateNamesWhatToDoNext(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Facts)
		want   ipc.State
	}{
		"running":            {func(*Facts) {}, ipc.StateRunning},
		"a login unfinished": {func(f *Facts) { *f = Facts{Unfinished: "https://coord.example"} }, ipc.StateStarting},
		"never set up":       {func(f *Facts) { *f = Facts{} }, ipc.StateNoServer},
		"not logged in":      {func(f *Facts) { f.Registered = false }, ipc.StateNeedsLogin},
		"expired":            {func(f *Facts) { f.Expired = true }, ipc.StateNeedsLogin},
		"down":               {func(f *Facts) { f.Prefs.Up = false }, ipc.StateDown},
		"not approved":       {func(f *Facts) { f.Pending, f.Netmap = true, nil }, ipc.StatePending},
		"off, not approved":  {func(f *Facts) { f.Pending, f.Prefs.Up = true, false }, ipc.StateDown},
		"no netmap yet":      {func(f *Facts) { f.Netmap = nil }, ipc.StateStarting},
		"no TUN":             {func(f *Facts) { f.Interface = "" }, ipc.StateStarting},
		"coord away":         {func(f *Facts) { f.Coord = ipc.Link{Error: "refused"} }, ipc.StateRunning},
	} {
		f := running()
		c.change(f)
		if got := f.State(); got != c.want {
			t.Errorf("%s: %s, not %s", name, got, c.want)
		}
	}
}

func TestStatusShowsEveryPeerByNameAndWhatIsWrong(t *testing.T) {
	f := running()
	f.Coord = ipc.Link{Error: "connection refused."}
	f.Relays = []ipc.Relay{{Name: "b"}, {Name: "a"}}
	f.Netmap.Self.Expires = now.Add(24 * time.Hour)
	f.Paths = map[key.NodePublic]ipc.Path{{3}: {Kind: ipc.PathRelay, Relay: "a"}}
	f.Traffic = map[key.NodePublic]Traffic{{3}: {Rx: 5, Tx: 6}}
	s := f.Status(now)
	if len(s.Peers) != 2 || s.Peers[0].Name != "bob" || s.Peers[0].DNSName != "bob.warren.internal" || s.Peers[0].TxBytes != 6 {
		t.Errorf("peers %+v", s.Peers)
	}
	if s.Peers[0].Path.Kind != ipc.PathRelay || s.Peers[1].Path.Kind != ipc.PathNone {
		t.Errorf("paths %+v %+v", s.Peers[0].Path, s.Peers[1].Path)
	}
	var codes []string
	for _, p := range s.Problems {
		codes = append(codes, p.Code)
	}
	if !slices.Equal(codes, []string{"key-expires-soon", "coord-unreachable", "no-relay"}) {
		t.Errorf("problems %v", codes)
	}
	f.Prefs.Up = false
	if ps := f.Status(now).Problems; len(ps) != 1 {
		t.Errorf("problems while down: %+v", ps)
	}
	f.Prefs.NoSNAT = true // nothing else of a status tells of it
	if was, is := s.Prefs, f.Status(now).Prefs; was == 0 || was == is {
		t.Errorf("the preferences had the number %d, and have %d", was, is)
	}
}

func TestAKeysEndIsSaidTheLouderTheNearerItIs(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		left  time.Duration
		said  bool
		level ipc.ProblemLevel
		text  string
	}{
		{15 * day, false, "", ""},
		{14 * day, true, ipc.ProblemNotice, "in 14 days"},
		{8 * day, true, ipc.ProblemNotice, "in 8 days"},
		{7 * day, true, "", "in 7 days"},
		{25 * time.Hour, true, "", "in a day"},
		{day, true, ipc.ProblemUrgent, "expires today"},
		{-time.Minute, true, ipc.ProblemUrgent, "should have expired"},
	} {
		f := running()
		f.Netmap.Self.Expires = now.Add(c.left)
		f.Failures = []ipc.Problem{{Code: "other"}}
		ps := f.Status(now).Problems
		if !c.said {
			if len(ps) != 1 {
				t.Errorf("%s before: %+v", c.left, ps)
			}
			continue
		}
		if len(ps) != 2 || ps[1].Code != "key-expires-soon" || ps[1].Level != c.level || !strings.Contains(ps[1].Text, c.text) || !strings.Contains(ps[1].Fix, "warren login") {
			t.Errorf("%s before: %+v", c.left, ps)
		}
	}
	f := running()
	f.Expired, f.Netmap.Self.Expires = true, now
	if ps := f.Status(now).Problems; len(ps) != 1 || ps[0].Code != "key-expired" || ps[0].Level != ipc.ProblemUrgent {
		t.Errorf("after its end: %+v", ps)
	}
}

func TestWhyAMachineIsNoMemberAnyMoreIsSaid(t *testing.T) {
	for why, code := range map[Dismissal]string{Removed: "removed", Denied: "denied"} {
		f := running()
		f.Registered, f.Netmap, f.Dismissed = false, nil, why
		if ps := f.Status(now).Problems; len(ps) != 1 || ps[0].Code != code || ps[0].Fix == "" {
			t.Errorf("%s: %+v", code, ps)
		}
	}
}

func TestAPortThatWasAskedForAndIsNotUsedIsSaid(t *testing.T) {
	f := running()
	for _, c := range []struct {
		want, is uint16
		said     bool
	}{{0, 4242, false}, {4242, 4242, false}, {4242, 0, false}, {4242, 4243, true}} {
		f.Prefs.Port, f.Port = c.want, c.is
		said := slices.ContainsFunc(f.Status(now).Problems, func(p ipc.Problem) bool {
			return p.Code == "port-taken" && strings.Contains(p.Text, "4242") && strings.Contains(p.Text, "4243")
		})
		if said != c.said {
			t.Errorf("%d was asked for, %d is used, said: %v", c.want, c.is, said)
		}
	}
}

func TestFindTakesWhatPeopleType(t *testing.T) {
	s := running().Status(now)
	for in, want := range map[string]string{
		"bob": "bob", "BOB": "bob", "bob.warren.internal.": "bob", "100.64.0.2": "zoe", "fd00:1:2::3": "bob",
		"alice": "", "": "", "100.64.0.9": "", "nobody": "",
	} {
		got := ""
		if p := Find(s, in); p != nil {
			got = p.Name
		}
		if got != want {
			t.Errorf("Find(%q) = %q, not %q", in, got, want)
		}
	}
}

func TestTheResolverHasNoMachinesAddress(t *testing.T) {
	m := netmap()
	both := NewPlan(m, &Wants{}, &Leads{}).DNS.Servers
	if len(both) == 0 {
		t.Fatal("there is none")
	}
	m.Peers = slices.Clone(m.Peers)
	m.Peers[0].Addrs = both[:1] // of a server that gave it away
	if got := NewPlan(m, &Wants{}, &Leads{}).DNS.Servers; slices.Contains(got, both[0]) {
		t.Errorf("got %v", got)
	}
}

func TestMachinesThatRelayAreUsedWhileTheyAreOnline(t *testing.T) {
	m := netmap()
	m.Self.Relaying = &coord.Relaying{Key: key.RelayPublic{1}}
	m.Peers[0].Relaying = &coord.Relaying{Key: key.RelayPublic{2}, Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:7")}}
	for _, c := range []struct{ online, wanted bool }{{false, false}, {true, false}, {true, true}} {
		m.Peers[0].Online = c.online
		p := NewPlan(m, &Wants{Relay: c.wanted}, &Leads{})
		if (len(p.Through) == 1) != c.online || p.Relaying != c.wanted {
			t.Errorf("%+v: through %v, relaying %v", c, p.Through, p.Relaying)
		}
		if c.online && (p.Through[0].Node != m.Peers[0].ID || p.Through[0].Key != m.Peers[0].Relaying.Key) {
			t.Errorf("through %+v", p.Through)
		}
	}
	for _, allowed := range []bool{true, false} {
		if !allowed {
			m.Self.Relaying = nil
		}
		f := Facts{Netmap: m, Wants: Wants{Relay: true}}
		if s := f.Status(time.Now()); s.Self.Relaying == nil || s.Self.Relaying.Allowed != allowed || NewPlan(m, &f.Wants, &Leads{}).Relaying != allowed {
			t.Errorf("allowed %v: %+v", allowed, s.Self.Relaying)
		}
	}
}
