package coord

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/coord/key"
	"pgregory.net/rapid"
)

var testNetwork = Network{
	Name: "test", Suffix: "warren.internal",
	IPv4: netip.MustParsePrefix("100.64.0.0/10"), IPv6: netip.MustParsePrefix("fd00:1:2::/48"),
}

func drawNode(t *rapid.T, id NodeID) Node {
	n := Node{
		ID: id, Name: fmt.Sprintf("m%d", id), Key: key.NodePublic{1, byte(id)},
		Addrs:  []netip.Addr{netip.AddrFrom4([4]byte{100, 64, 1, byte(id)})},
		Online: rapid.Bool().Draw(t, "online"), Relay: RelayID(rapid.IntRange(0, 2).Draw(t, "relay")),
	}
	for range rapid.IntRange(0, 2).Draw(t, "endpoints") {
		n.Endpoints = append(n.Endpoints, Endpoint{
			Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, rapid.Byte().Draw(t, "host")}), 1234),
			Kind: EndpointLocal,
		})
	}
	if rapid.Bool().Draw(t, "leads on") {
		n.Routes = append(n.Routes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, rapid.Byte().Draw(t, "site")}), 16))
	}
	return n
}

func drawNetmap(t *rapid.T) *Netmap {
	m := &Netmap{Network: testNetwork, Self: drawNode(t, 100), Ticket: []byte{rapid.Byte().Draw(t, "ticket")}, Peers: []Node{}}
	m.Relays = make([]Relay, rapid.IntRange(0, 2).Draw(t, "relays"))
	for id := range 12 {
		if rapid.Bool().Draw(t, "there") {
			m.Peers = append(m.Peers, drawNode(t, NodeID(id+1)))
		}
	}
	return m
}

// drawFilter draws a filter of few shapes and many members.
func drawFilter(t *rapid.T) *Filter {
	f := &Filter{}
	for _, name := range []string{"group:dev", "tag:web"} {
		if !rapid.Bool().Draw(t, "set") {
			continue
		}
		s := FilterSet{Name: name}
		for i := range 6 {
			if rapid.Bool().Draw(t, "member") {
				s.Nets = append(s.Nets, netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 1, byte(i)}), 32))
			}
		}
		f.Sets = append(f.Sets, s)
		f.In = append(f.In, FilterRule{From: []string{name}, Allow: []Service{{Proto: ProtoTCP, First: 22, Last: 22}}})
	}
	return f
}

func same(t *rapid.T, got, want *Netmap) {
	t.Helper()
	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	if string(g) != string(w) {
		t.Fatalf("got  %s\nwant %s", g, w)
	}
}

func TestChangesLeadFromOneNetmapToTheOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, next := drawNetmap(t), drawNetmap(t)
		if next.Filter = drawFilter(t); rapid.Bool().Draw(t, "old has rules") {
			old.Filter = drawFilter(t)
		}
		before := fmt.Sprintf("%+v", old)
		cs := Diff(old, next)
		got := Apply(old, cs)
		same(t, got, next)
		same(t, Apply(got, cs), next) // twice is as once
		if fmt.Sprintf("%+v", old) != before {
			t.Fatal("Apply changed the old netmap")
		}
		if again := Diff(got, next); len(again) != 0 {
			t.Fatalf("something is left: %+v", again)
		}
		if err := got.Validate(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestALineServesOneReaderAtOnePlace(t *testing.T) {
	server, other := key.NewServer(), key.NewServer()
	me := Stream{Machine: key.NewMachine().Public(), Nonce: []byte("session one")}
	full, _ := json.Marshal(Update{Full: &Netmap{
		Network: testNetwork,
		Self:    Node{ID: 1, Name: "a", Key: key.NodePublic{1}, Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.1")}},
	}})
	line := (&Line{Seq: 7, Body: full}).Append(nil, server, me)
	l, err := ParseLine(line, server.Public(), me)
	if err != nil {
		t.Fatal(err)
	}
	m, err := l.Advance(nil)
	if err != nil || m.Seq != 7 || m.Self.Name != "a" {
		t.Fatalf("Advance = %+v, %v", m, err)
	}

	forgeries := map[string]func() ([]byte, key.ServerPublic, Stream){
		"another server": func() ([]byte, key.ServerPublic, Stream) { return line, other.Public(), me },
		"another session": func() ([]byte, key.ServerPublic, Stream) {
			return line, server.Public(), Stream{me.Machine, []byte("two")}
		},
		"another machine": func() ([]byte, key.ServerPublic, Stream) {
			return line, server.Public(), Stream{key.NewMachine().Public(), me.Nonce}
		},
		"another number": func() ([]byte, key.ServerPublic, Stream) {
			return append([]byte("8"), line[1:]...), server.Public(), me
		},
		"another body": func() ([]byte, key.ServerPublic, Stream) {
			b := append([]byte{}, line...)
			b[len(b)-3] ^= 1
			return b, server.Public(), me
		},
	}
	for name, forge := range forgeries {
		b, k, s := forge()
		if _, err := ParseLine(b, k, s); !errors.Is(err, ErrForged) {
			t.Errorf("%s: %v", name, err)
		}
	}

	gone, _ := json.Marshal(Update{Changes: []Change{{Remove: 9}}})
	if _, err := (&Line{Seq: 9, Prev: 8, Body: gone}).Advance(m); !errors.Is(err, ErrGap) {
		t.Errorf("a gap went unseen: %v", err)
	}
	if next, err := (&Line{Seq: 9, Prev: 7, Body: gone}).Advance(m); err != nil || next.Seq != 9 {
		t.Errorf("Advance = %+v, %v", next, err)
	}
	if _, err := (&Line{Seq: 9, Prev: 7, Body: full}).Advance(m); !errors.Is(err, ErrInvalid) {
		t.Errorf("a whole netmap was taken as a change: %v", err)
	}
}

func TestNobodyClaimsWhatIsAnothers(t *testing.T) {
	base := func() *Netmap {
		a := func(s string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(s)} }
		return &Netmap{
			Network: testNetwork,
			Self:    Node{ID: 1, Name: "self", Key: key.NodePublic{1}, Addrs: a("100.64.0.1")},
			Peers: []Node{
				{ID: 2, Name: "two", Key: key.NodePublic{2}, Addrs: a("100.64.0.2")},
				{ID: 3, Name: "three", Key: key.NodePublic{3}, Addrs: a("100.64.0.3")},
			},
		}
	}
	if err := base().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Netmap){
		"key":               func(m *Netmap) { m.Peers[1].Key = m.Peers[0].Key },
		"own key":           func(m *Netmap) { m.Peers[1].Key = m.Self.Key },
		"name":              func(m *Netmap) { m.Peers[0].Name = "self" },
		"address":           func(m *Netmap) { m.Peers[1].Addrs = m.Self.Addrs },
		"foreign address":   func(m *Netmap) { m.Peers[1].Addrs = []netip.Addr{netip.MustParseAddr("8.8.8.8")} },
		"order":             func(m *Netmap) { m.Peers[0], m.Peers[1] = m.Peers[1], m.Peers[0] },
		"id twice":          func(m *Netmap) { m.Peers[1].ID = 2 },
		"hostile name":      func(m *Netmap) { m.Peers[1].Name = "-oProxyCommand" },
		"loopback endpoint": func(m *Netmap) { m.Peers[1].Endpoints = []Endpoint{{Addr: netip.MustParseAddrPort("127.0.0.1:1")}} },
		"inner endpoint":    func(m *Netmap) { m.Peers[1].Endpoints = []Endpoint{{Addr: netip.MustParseAddrPort("100.64.0.9:1")}} },
		"endpoints":         func(m *Netmap) { m.Peers[1].Endpoints = make([]Endpoint, MaxEndpoints+1) },
	} {
		m := base()
		spoil(m)
		if err := m.Validate(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the changes touched is all that can be wrong: the verdict is that of the whole.
func TestAChangedNetmapIsHeldToTheSameBoundsAsAWholeOne(t *testing.T) {
	verdicts := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		m := drawNetmap(t)
		id := rapid.Custom(func(t *rapid.T) NodeID {
			return NodeID(rapid.SampledFrom([]int{-1, 1, 2, 3, 5, 8, 12, 99, 100}).Draw(t, "id"))
		})
		node := func() *Node { // often in another's place
			n, other := drawNode(t, id.Draw(t, "id")), drawNode(t, id.Draw(t, "other"))
			switch rapid.IntRange(0, 9).Draw(t, "claim") {
			case 0:
				n.Key = other.Key
			case 1:
				n.Name = other.Name
			case 2:
				n.Addrs = other.Addrs
			case 3:
				n.Addrs = append(n.Addrs, other.Addrs...)
			case 4:
				n.Endpoints = append(n.Endpoints, Endpoint{Addr: netip.AddrPortFrom(other.Addrs[0], 1)})
			}
			return &n
		}
		var cs []Change
		for range rapid.IntRange(0, fewChanged+3).Draw(t, "changes") {
			switch rapid.IntRange(0, 12).Draw(t, "kind") {
			case 11:
				f := drawFilter(t)
				if rapid.IntRange(0, 3).Draw(t, "spoilt") == 0 {
					f.In = append(f.In, FilterRule{From: []string{"nobody"}, Allow: []Service{{Proto: ProtoTCP}}})
				}
				cs = append(cs, Change{Filter: f})
			case 12:
				a := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 1, rapid.Byte().Draw(t, "joins")}), rapid.SampledFrom([]int{32, 32, 32, 8}).Draw(t, "bits"))
				cs = append(cs, Change{Nets: &NetsOf{Set: "tag:web", Add: []netip.Prefix{a}}})
			case 0:
				cs = append(cs, Change{Self: node()})
			case 1:
				n := testNetwork
				n.IPv4 = netip.MustParsePrefix(rapid.SampledFrom([]string{"100.64.0.0/10", "192.0.2.0/24"}).Draw(t, "range"))
				cs = append(cs, Change{Network: &n})
			case 2, 3:
				cs = append(cs, Change{Remove: id.Draw(t, "gone")})
			default:
				cs = append(cs, Change{Upsert: node()})
			}
		}
		m.Filter = &Filter{Sets: []FilterSet{{Name: "tag:web"}}}
		if rapid.IntRange(0, 3).Draw(t, "set") == 0 {
			m.Filter = &Filter{}
		}
		next := Apply(m, cs)
		whole, changed := next.Validate(), next.validateChanged(cs)
		if (whole == nil) != (changed == nil) {
			t.Fatalf("the whole: %v; what changed: %v", whole, changed)
		}
		if changed != nil && !errors.Is(changed, ErrInvalid) {
			t.Fatal(changed)
		}
		verdicts[whole == nil]++
	})
	if verdicts[true] == 0 || verdicts[false] == 0 {
		t.Errorf("all had one verdict: %v", verdicts)
	}
}

func BenchmarkAdvance(b *testing.B) {
	m := &Netmap{Seq: 1, Network: testNetwork, Self: Node{
		ID: 1, Name: "self", Key: key.NodePublic{1}, Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.1")},
	}}
	for id := range NodeID(1000) {
		m.Peers = append(m.Peers, Node{
			ID: id + 2, Name: fmt.Sprintf("m%d", id), Key: key.NodePublic{2, byte(id), byte(id >> 8)},
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{100, 65, byte(id >> 8), byte(id)})},
		})
	}
	body, _ := json.Marshal(Update{Changes: []Change{{Upsert: &m.Peers[500]}}})
	l := &Line{Seq: 2, Prev: 1, Body: body}
	for b.Loop() {
		if _, err := l.Advance(m); err != nil {
			b.Fatal(err)
		}
	}
}

func TestCleanNames(t *testing.T) {
	for in, want := range map[string]string{
		"Alice's Laptop.lan": "alice-s-laptop", "-x-": "x", "": "machine", "日本": "machine", "web_1": "web-1",
	} {
		if got := CleanName(in); got != want {
			t.Errorf("CleanName(%q) = %q, not %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		if n := CleanName(rapid.String().Draw(t, "host")); !ValidName(n) {
			t.Fatalf("%q is not valid", n)
		}
	})
}

func FuzzLine(f *testing.F) {
	server := key.NewServer()
	s := Stream{Nonce: []byte("n")}
	f.Add((&Line{Seq: 1, Body: []byte(`{"full":{"network":{"ipv4":"100.64.0.0/10"}}}`)}).Append(nil, server, s))
	f.Add([]byte("1 2 3 4"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := ParseLine(b, server.Public(), s); err == nil && l.Body == nil {
			t.Error("a line without a body")
		}
		base := &Netmap{Seq: 1, Network: testNetwork}
		keep := *base
		_, _ = (&Line{Seq: 2, Prev: 1, Body: b}).Advance(base)
		_, _ = (&Line{Seq: 2, Body: b}).Advance(nil)
		if !reflect.DeepEqual(*base, keep) {
			t.Error("Advance changed the old netmap")
		}
	})
}

func TestValidateRoutes(t *testing.T) {
	n := &testNetwork
	for text, want := range map[string]string{
		"0.0.0.0/0": "", "::/0": "", "10.0.0.0/8": "", "192.168.1.7/32": "", "2001:db8::/32": "", "fd00:1:3::/48": "", "64:ff9b::/96": "",
		"192.168.1.7/24": "is 192.168.1.0/24 meant?", "::ffff:192.168.1.0/120": "as IPv4", "0.0.0.0/1": "exit node", "128.0.0.0/1": "exit node", "2000::/3": "exit node",
		"100.64.0.0/16": "own addresses", "100.0.0.0/8": "own addresses", "fd00:1::/32": "own addresses",
		"127.0.0.0/8": "never routed", "169.254.169.254/32": "never routed", "224.0.0.0/8": "never routed", "::1/128": "never routed", "fe80::/64": "never routed", "ff02::/16": "never routed",
	} {
		err := ValidateRoutes([]netip.Prefix{netip.MustParsePrefix(text)}, n)
		if want == "" && err != nil || want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, not %q", text, err, want)
		}
	}
	many := []netip.Prefix{}
	for i := range MaxRoutes + 1 {
		many = append(many, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i)}), 16))
	}
	for name, ps := range map[string][]netip.Prefix{"none": {{}}, "twice": {many[0], many[0]}, "too many": many} {
		if err := ValidateRoutes(ps, n); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := ValidateRoutes(many[:MaxRoutes], nil); err != nil {
		t.Error(err)
	}
}

func TestANetworkIsNoWayToTakeTheInternet(t *testing.T) {
	none := netip.Prefix{}
	for _, c := range []struct {
		v4, v6 string
		right  bool
	}{
		{"100.64.0.0/10", "fd00:1:2::/48", true},
		{"10.0.0.0/8", "", true},
		{"", "fd00:1:2::/48", true},
		{"", "", false},
		{"0.0.0.0/0", "", false},
		{"0.0.0.0/1", "", false},
		{"100.64.0.0/10", "::/0", false},
		{"100.64.0.0/10", "2000::/3", false},
		{"fd00:1:2::/48", "", false},
		{"", "100.64.0.0/10", false},
	} {
		n := Network{IPv4: none, IPv6: none}
		if c.v4 != "" {
			n.IPv4 = netip.MustParsePrefix(c.v4)
		}
		if c.v6 != "" {
			n.IPv6 = netip.MustParsePrefix(c.v6)
		}
		if err := n.Validate(); (err == nil) != c.right || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%q and %q: %v", c.v4, c.v6, err)
		}
	}
	m := Netmap{Network: Network{IPv4: netip.MustParsePrefix("0.0.0.0/0")}, Self: Node{ID: 1, Name: "a", Key: key.NodePublic{1}, Addrs: []netip.Addr{netip.MustParseAddr("8.8.8.8")}}}
	if err := m.Validate(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "wider than") {
		t.Errorf("a netmap of the whole internet: %v", err)
	}
}
