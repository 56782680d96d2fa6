package netcheck

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/ipc"
)

// network is what stands between the check and its servers, in virtual time.
type network struct {
	nat       bool
	mapping   ipc.Behavior
	filtering ipc.Behavior
	hairpin   bool
	blocked   bool
	mtu       int
	lose      int // so many of the first tries of everything are lost
	second    bool
	servers   int

	tried    map[any]int
	mappings map[string]netip.AddrPort
	allowed  map[netip.AddrPort][]netip.AddrPort // by public address: whom it has sent to
}

var (
	inside = netip.MustParseAddr("192.168.1.10")
	public = netip.MustParseAddr("203.0.113.7")
	start  = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
)

func (n *network) list() (out []Server) {
	for i := range n.servers {
		a := netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)})
		s := Server{Relay: coord.RelayID(i + 1), Addr: netip.AddrPortFrom(a, 3478), Other: netip.AddrPortFrom(a, 3479)}
		out = append(out, s)
	}
	return out
}

// out maps a datagram, and remembers whom the mapping may hear.
func (n *network) out(s Socket, to netip.AddrPort) netip.AddrPort {
	local := netip.AddrPortFrom(inside, 4000+uint16(s))
	if !n.nat {
		n.allowed[local] = append(n.allowed[local], to)
		return local
	}
	k := local.String()
	switch n.mapping {
	case ipc.PortDependent:
		k += to.String()
	case ipc.AddressDependent:
		k += to.Addr().String()
	}
	m, ok := n.mappings[k]
	if !ok {
		m = netip.AddrPortFrom(public, local.Port())
		if n.mapping != ipc.Independent {
			m = netip.AddrPortFrom(public, uint16(20000+len(n.mappings)))
		}
		n.mappings[k] = m
	}
	n.allowed[m] = append(n.allowed[m], to)
	return m
}

// in says whether the filter lets a datagram in.
func (n *network) in(to, from netip.AddrPort) bool {
	for _, a := range n.allowed[to] {
		switch n.filtering {
		case ipc.NoTranslation, ipc.Independent:
			return true
		case ipc.AddressDependent:
			if a.Addr() == from.Addr() {
				return true
			}
		default:
			if a == from {
				return true
			}
		}
	}
	return false
}

func (n *network) lost(what Action) bool {
	n.tried[what]++
	return n.tried[what] <= n.lose
}

// run plays a check to its end.
func (n *network) run(t *testing.T) ipc.Netcheck {
	t.Helper()
	n.tried = map[any]int{}
	n.mappings, n.allowed = map[string]netip.AddrPort{}, map[netip.AddrPort][]netip.AddrPort{}
	local := [Families]Local{IPv4: {Addr: inside, Ports: [Sockets]uint16{4000, 4001, 4002}}}
	now := start
	c := New(now, local, n.list())
	acts := c.Step(now, nil)
	for steps := 0; ; steps++ {
		var events []Event
		for _, act := range acts {
			events = append(events, n.play(act)...)
		}
		now = now.Add(20 * time.Millisecond)
		acts = nil
		for _, ev := range events {
			acts = append(acts, c.Step(now, ev)...)
		}
		if len(acts) > 0 {
			continue
		}
		next := c.Deadline()
		if next.IsZero() {
			break
		}
		if steps > 1000 {
			t.Fatal("it does not end")
		}
		now = later(now, next)
		acts = c.Step(now, nil)
	}
	if took := now.Sub(start); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
	r, _ := c.Report()
	Finish(&r)
	return r
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func (n *network) play(act Action) []Event {
	if n.blocked {
		return nil
	}
	switch act := act.(type) {
	case Ask:
		from := n.out(act.Socket, act.To)
		if act.Size > n.mtu || n.lost(act) || (act.To.Port() == 3479 && !n.second) || (act.OtherPort && !n.second) {
			return nil
		}
		answer := act.To
		if act.OtherPort {
			answer = netip.AddrPortFrom(act.To.Addr(), 3479)
		}
		if !n.in(from, answer) {
			return nil
		}
		return []Event{Answer{ID: act.ID, From: answer, Seen: from, RTT: 20 * time.Millisecond}}
	case Greet:
		from := n.out(act.Socket, act.To)
		if n.hairpin && !n.lost(act) && n.in(act.To, from) {
			return []Event{Greeted{IPv4}}
		}
	}
	return nil
}

func TestEveryKindOfNetworkIsToldInTheWordsOfRFC4787(t *testing.T) {
	for _, c := range []struct {
		name               string
		n                  network
		mapping, filtering ipc.Behavior
		nat, hairpin       ipc.Known
		kind               string
	}{
		{"no NAT, open", network{filtering: ipc.Independent, second: true, servers: 1}, ipc.NoTranslation, ipc.AddressOrLess, ipc.No, ipc.Unknown, textPublic},
		{"a firewall", network{filtering: ipc.PortDependent, second: true, servers: 1}, ipc.NoTranslation, ipc.PortDependent, ipc.No, ipc.Unknown, textFirewall},
		{"full cone", network{nat: true, mapping: ipc.Independent, filtering: ipc.Independent, hairpin: true, second: true, servers: 1}, ipc.AddressOrLess, ipc.AddressOrLess, ipc.Yes, ipc.Yes, textOpen},
		{"easy, two relays", network{nat: true, mapping: ipc.Independent, filtering: ipc.PortDependent, second: true, servers: 2}, ipc.Independent, ipc.PortDependent, ipc.Yes, ipc.No, textEasy},
		{"easy, two relays of one port", network{nat: true, mapping: ipc.Independent, filtering: ipc.PortDependent, servers: 2}, ipc.Independent, ipc.BehaviorUnknown, ipc.Yes, ipc.No, textEasy},
		{"easy, one relay of one port", network{nat: true, mapping: ipc.Independent, filtering: ipc.PortDependent, servers: 1}, ipc.BehaviorUnknown, ipc.BehaviorUnknown, ipc.Yes, ipc.No, textSome},
		{"address-dependent", network{nat: true, mapping: ipc.AddressDependent, filtering: ipc.AddressDependent, second: true, servers: 2}, ipc.AddressDependent, ipc.AddressOrLess, ipc.Yes, ipc.No, textHard},
		{"hard", network{nat: true, mapping: ipc.PortDependent, filtering: ipc.PortDependent, second: true, servers: 1}, ipc.PortDependent, ipc.PortDependent, ipc.Yes, ipc.No, textHard},
		{"hard, two relays of one port", network{nat: true, mapping: ipc.PortDependent, filtering: ipc.PortDependent, servers: 2}, ipc.AddressOrMore, ipc.BehaviorUnknown, ipc.Yes, ipc.No, textHard},
	} {
		for _, lose := range []int{0, 3} { // of four
			n := c.n
			n.mtu, n.lose = 1500, lose
			r := n.run(t)
			f := r.IPv4
			if f.UDP != ipc.Yes || f.NAT != c.nat || f.Mapping != c.mapping || f.Filtering != c.filtering || f.Hairpin != c.hairpin || r.Kind != c.kind {
				t.Errorf("%s, the first %d lost: %+v, %s", c.name, lose, f, r.Kind)
			}
			if f.PathMTU != 1500 {
				t.Errorf("%s: MTU %d", c.name, f.PathMTU)
			}
			if r.IPv6.UDP != ipc.Unknown || r.IPv6.Local.IsValid() {
				t.Errorf("%s: IPv6 %+v", c.name, r.IPv6)
			}
		}
	}
}

func TestWhereNoUDPPassesThatIsSaid(t *testing.T) {
	n := network{blocked: true, servers: 2}
	r := n.run(t)
	if r.UDP != ipc.No || r.IPv4.UDP != ipc.No || r.Kind != textBlocked || !advised(&r, ipc.AdviceUDP) {
		t.Errorf("%+v", r)
	}
	if r := (&network{}).run(t); r.UDP != ipc.Unknown || r.Kind != textNoAnswer {
		t.Errorf("without a relay: %+v", r)
	}
}

func TestTheLargestPacketThatArrivesIsTheMTU(t *testing.T) {
	for mtu, want := range map[int]int{9000: 9000, 1500: 1500, 1491: 1480, 1350: 1340, 1339: 1280, 1279: 0} {
		n := network{nat: true, mapping: ipc.Independent, servers: 1, mtu: mtu}
		r := n.run(t)
		if r.IPv4.PathMTU != want {
			t.Errorf("%d: %d", mtu, r.IPv4.PathMTU)
		}
		if advised := len(r.Advice) > 0; advised != (want > 0 && want < 1480) {
			t.Errorf("%d: %v", mtu, r.Advice)
		}
		if relayed := advised(&r, ipc.AdviceMTUDirect); relayed != (want == 1280) {
			t.Errorf("%d: %v", mtu, r.Advice)
		}
	}
}

func TestAnswersFromElsewhereAreNone(t *testing.T) {
	n := network{servers: 1, second: true}
	c := New(start, [Families]Local{IPv4: {Addr: inside}}, n.list())
	for _, act := range c.Step(start, nil) {
		ask := act.(Ask)
		c.Step(start, Answer{ID: ask.ID, From: netip.MustParseAddrPort("192.0.2.9:3478"), Seen: netip.MustParseAddrPort("192.0.2.9:1")})
		c.Step(start, Answer{ID: ask.ID + 1000, From: ask.To, Seen: netip.MustParseAddrPort("192.0.2.9:1")})
		c.Step(start, Answer{ID: 0, From: ask.To, Seen: netip.MustParseAddrPort("192.0.2.9:1")})
	}
	if r, _ := c.Report(); r.IPv4.UDP != ipc.No {
		t.Errorf("%+v", r.IPv4)
	}
}

func TestACheckIsBounded(t *testing.T) {
	n := network{servers: 200}
	c := New(start, [Families]Local{IPv4: {Addr: inside}}, n.list())
	sent := 0
	for now := start; ; now = c.Deadline() {
		sent += len(c.Step(now, nil))
		if c.Deadline().IsZero() {
			break
		}
	}
	if sent > (2*maxServers+2)*len(tries) {
		t.Errorf("%d packets", sent)
	}
}

func TestAPortalIsToldFromAServer(t *testing.T) {
	for _, c := range []struct {
		status   int
		location string
		found    ipc.Known
		server   string
	}{
		{0, "", ipc.Unknown, ""},
		{200, "", ipc.No, ""},
		{308, "https://relay.example.org/", ipc.No, ""},
		{301, "https://RELAY.example.org:443/x", ipc.No, ""},
		{302, "http://login.hotel.example/?from=relay.example.org", ipc.Yes, "login.hotel.example"},
		{302, "http://10.0.0.1:8080/", ipc.Yes, "10.0.0.1"},
		{302, "http://[fd00::1]:8080/", ipc.Yes, "fd00::1"},
		{302, "/elsewhere", ipc.No, ""},
		{511, "", ipc.Yes, ""},
	} {
		if p := Portal("relay.example.org", c.status, c.location); p.Found != c.found || p.Server != c.server {
			t.Errorf("%d %s: %+v", c.status, c.location, p)
		}
	}
}

// A pulled cable lets no UDP through, and is not to be looked for in a firewall.
func TestWhereNothingAnswersTheNetworkIsGone(t *testing.T) {
	for _, udp := range []ipc.Known{ipc.No, ipc.Unknown} {
		r := ipc.Netcheck{UDP: udp, Relays: []ipc.NetcheckRelay{{Name: "fra"}, {Name: "nyc"}}}
		if Finish(&r); r.Kind != textOffline || !advised(&r, ipc.AdviceNoInternet) {
			t.Errorf("UDP %s: %q %q", udp, r.Kind, r.Advice)
		}
	}
	r := ipc.Netcheck{UDP: ipc.No, Relays: []ipc.NetcheckRelay{{Name: "fra"}, {Name: "nyc", TCP: 1}}}
	if Finish(&r); r.Kind != textBlocked || !advised(&r, ipc.AdviceUDP) {
		t.Errorf("where one answers over TCP: %q %q", r.Kind, r.Advice)
	}
}

func TestAPortalsAdviceComesAlone(t *testing.T) {
	r := ipc.Netcheck{UDP: ipc.No, Portal: ipc.NetcheckPortal{Found: ipc.Yes, Server: "login.hotel.example"}}
	Finish(&r)
	if r.Kind != textPortal || !advised(&r, ipc.AdvicePortal) || !strings.Contains(r.Advice[0], "http://login.hotel.example/") {
		t.Errorf("%+v", r)
	}
}

func TestEveryObstacleSaysWhatCouldBeChanged(t *testing.T) {
	reached := Pair{Tried: true, Relayed: true}
	for want, p := range map[string]func(*Pair){
		ipc.AdviceUDPBlocked:  func(p *Pair) { p.Blocked = true },
		ipc.AdviceNoAddress:   func(p *Pair) { p.Tried = false },
		ipc.AdviceNoRelay:     func(p *Pair) { p.Relayed, p.Blocked = false, true },
		ipc.AdviceSearching:   func(p *Pair) { p.PeerHard, p.Searching = true, true },
		ipc.AdviceBothHard:    func(p *Pair) { p.OwnHard, p.PeerHard = true, true },
		ipc.AdviceSameAddress: func(p *Pair) { p.OwnHard, p.PeerHard, p.Shared = true, true, netip.MustParseAddr("203.0.113.7") },
		ipc.AdviceSearched:    func(p *Pair) { p.OwnHard, p.Searches = true, 2 },
		ipc.AdviceSilent:      func(p *Pair) { p.OwnHard, p.PeerHard, p.Mapped = true, true, true },
	} {
		pair := reached
		p(&pair)
		if got := Obstacles(pair); len(got) != 1 || got[0].Code != want {
			t.Errorf("%+v: %q", pair, got)
		}
	}
}

// Each code has a sentence, which names all that it is about.
func TestEveryAdviceHasItsSentence(t *testing.T) {
	for code, words := range ipc.Advices {
		about := []any{"17", "203.0.113.7"}[:words]
		a := advise(code, about...)[0]
		if a.Text == "" || strings.Contains(a.Text, "%!") || len(a.About) != words || strings.Count(advices[code], "%s") != words {
			t.Errorf("%s: %+v", code, a)
		}
	}
	if len(advices) != len(ipc.Advices) {
		t.Errorf("%d sentences for %d codes", len(advices), len(ipc.Advices))
	}
}

// advised reports whether a check advises one thing, and that.
func advised(r *ipc.Netcheck, code string) bool {
	return len(r.Advised) == 1 && len(r.Advice) == 1 && r.Advised[0].Code == code
}
