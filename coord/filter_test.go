package coord

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func nets(ss ...string) (ps []netip.Prefix) {
	for _, s := range ss {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

func exampleFilter() Filter {
	return Filter{
		Sets: []FilterSet{
			{Name: "*", Nets: nets("100.64.0.0/10", "fd00::/48")},
			{Name: "group:dev", Nets: nets("100.64.0.7/32", "fd00::7/128")},
		},
		In: []FilterRule{
			{From: []string{"*"}, Allow: []Service{{Proto: ProtoICMP}, {Proto: ProtoTCP, First: 80, Last: 81}}},
			{From: []string{"group:dev"}, To: nets("100.64.0.1/32"), Allow: []Service{{Proto: ProtoTCP, First: 22, Last: 22}}},
		},
		Forward: []FilterRule{{From: []string{"group:dev"}, To: nets("192.168.7.0/24"), Allow: []Service{{Proto: ProtoUDP}, {Proto: 47}}}},
	}
}

var filterNetwork = Network{IPv4: netip.MustParsePrefix("100.64.0.0/10"), IPv6: netip.MustParsePrefix("fd00::/48")}

func TestAFilterIsShortOnTheWireAndComesBack(t *testing.T) {
	f := exampleFilter()
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	want := `"in":[{"from":["*"],"allow":["icmp","tcp:80-81"]},{"from":["group:dev"],"to":["100.64.0.1/32"],"allow":["tcp:22"]}],` +
		`"forward":[{"from":["group:dev"],"to":["192.168.7.0/24"],"allow":["udp","gre"]}]}`
	if !strings.HasSuffix(string(b), want) {
		t.Errorf("got  %s\nwant …%s", b, want)
	}
	var back Filter
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if again, _ := json.Marshal(back); string(again) != string(b) {
		t.Errorf("it came back as %s", again)
	}
	if err := back.Validate(&filterNetwork); err != nil {
		t.Error(err)
	}
}

func TestAFilterAdmitsWhatItsRulesSay(t *testing.T) {
	f, own := exampleFilter(), []netip.Addr{netip.MustParseAddr("100.64.0.1"), netip.MustParseAddr("fd00::1")}
	for _, c := range []struct {
		from, to string
		proto    uint8
		port     uint16
		want     bool
	}{
		{"100.64.0.9", "100.64.0.1", ProtoTCP, 80, true},
		{"100.64.0.9", "100.64.0.1", ProtoTCP, 82, false},
		{"100.64.0.9", "100.64.0.1", ProtoUDP, 80, false},
		{"10.0.0.9", "100.64.0.1", ProtoTCP, 80, false},
		{"100.64.0.7", "100.64.0.1", ProtoTCP, 22, true},
		{"fd00::7", "fd00::1", ProtoTCP, 22, false}, // the rule is for one address
		{"fd00::7", "fd00::1", ProtoICMP, 0, true},
		{"100.64.0.7", "192.168.7.3", ProtoUDP, 53, true},
		{"100.64.0.7", "192.168.7.3", 47, 0, true},
		{"100.64.0.8", "192.168.7.3", ProtoUDP, 53, false},
		{"100.64.0.7", "192.168.8.3", ProtoUDP, 53, false},
		{"100.64.0.7", "192.168.7.3", ProtoTCP, 80, false}, // what is let in is not let through
	} {
		p := Packet{From: netip.MustParseAddr(c.from), To: netip.MustParseAddr(c.to), Proto: c.proto, Port: c.port}
		if got := f.Admits(own, p); got != c.want {
			t.Errorf("%+v: got %v", p, got)
		}
	}
	if (&Filter{}).Admits(own, Packet{From: own[0], To: own[0], Proto: ProtoTCP, Port: 1}) {
		t.Error("a filter without rules let something in")
	}
}

func TestFiltersThatCannotBeAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*Filter){
		"there is no set":              func(f *Filter) { f.In[0].From = []string{"group:ops"} },
		"not in order":                 func(f *Filter) { slices.Reverse(f.Sets) },
		"there twice":                  func(f *Filter) { f.Sets[1].Name = "*" },
		"0 sources":                    func(f *Filter) { f.In[0].From = nil },
		"0 services":                   func(f *Filter) { f.Forward[0].Allow = nil },
		"forwards to anywhere":         func(f *Filter) { f.Forward[0].To = nil },
		"which is of the net":          func(f *Filter) { f.Forward[0].To = nets("0.0.0.0/0") },
		"below its mask":               func(f *Filter) { f.Sets[0].Nets[0] = netip.MustParsePrefix("100.64.0.1/10") },
		"ports that cannot be":         func(f *Filter) { f.In[0].Allow = []Service{{Proto: ProtoICMP, First: 1, Last: 2}} },
		"not in order, or there twice": func(f *Filter) { f.Sets[1].Nets = nets("fd00::7/128", "fd00::7/128") },
		"has 0 bytes":                  func(f *Filter) { f.Sets[0].Name = "" },
		"8193 sets":                    func(f *Filter) { f.Sets = make([]FilterSet, MaxFilterSets+1) },
		"more than 1048576 pref":       func(f *Filter) { f.Sets[0].Nets = make([]netip.Prefix, MaxFilterPrefixes+1) },
	} {
		f := exampleFilter()
		spoil(&f)
		if err := f.Validate(&filterNetwork); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("want %q, got %v", name, err)
		}
	}
}

func TestServicesComeBackFromText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Service{Proto: rapid.Uint8Range(1, 255).Draw(t, "proto")}
		if HasPorts(s.Proto) && rapid.Bool().Draw(t, "ports") {
			s.First = rapid.Uint16Range(1, 65535).Draw(t, "first")
			s.Last = rapid.Uint16Range(s.First, 65535).Draw(t, "last")
		}
		text, err := s.MarshalText()
		var back Service
		if err != nil || back.UnmarshalText(text) != nil || back != s {
			t.Fatalf("%+v became %q and %+v", s, text, back)
		}
	})
	for _, bad := range []string{"", ":", "tcp:", "tcp:0", "tcp:0-1", "tcp:2-1", "tcp:65536", "icmp:1", "0", "256", "07", "+6", "tcp:+1", "TCP", "tcp:1-", "tcp:1-2-3", "tcp: 1"} {
		if err := new(Service).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestOneWhoJoinsAGroupIsALine(t *testing.T) {
	old, next := exampleFilter(), exampleFilter()
	next.Sets[1].Nets = nets("100.64.0.7/32", "100.64.0.8/32", "fd00::8/128")
	cs := DiffFilters(&old, &next)
	b, _ := json.Marshal(cs)
	if want := `[{"nets":{"set":"group:dev","remove":["fd00::7/128"],"add":["100.64.0.8/32","fd00::8/128"]}}]`; string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	m := Apply(&Netmap{Filter: &old}, cs)
	if want := exampleFilter(); !reflect.DeepEqual(*m.Filter, next) || !reflect.DeepEqual(old, want) {
		t.Errorf("got %+v, and of the old %+v", m.Filter, old)
	}
	if m := Apply(&Netmap{}, cs); m.Filter != nil {
		t.Errorf("a set made a filter: %+v", m.Filter)
	}
	next.In = next.In[:1]
	if cs := DiffFilters(&old, &next); len(cs) != 1 || cs[0].Filter != &next {
		t.Errorf("a rule less became %+v", cs)
	}
}

// Machines from before there were filters read what comes now, and the other way around.
func TestANetmapWithoutAFilterSaysNothingOfIt(t *testing.T) {
	b, _ := json.Marshal(Netmap{})
	if strings.Contains(string(b), "filter") {
		t.Errorf("there is a filter in %s", b)
	}
	var m Netmap
	if err := json.Unmarshal([]byte(`{"filter":{}}`), &m); err != nil || m.Filter == nil || m.Filter.Admits(nil, Packet{}) {
		t.Errorf("a filter without rules was read as %+v, %v", m.Filter, err)
	}
}
