package core

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/ipc"
)

func nets(texts ...string) (ps []netip.Prefix) {
	for _, text := range texts {
		ps = append(ps, netip.MustParsePrefix(text))
	}
	return ps
}

func service(t testing.TB, text string) *coord.Service {
	t.Helper()
	s := &coord.Service{}
	if err := s.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheRuleThatLetsAPortInIsNamedOrTheNearest(t *testing.T) {
	m := &coord.Netmap{Filter: &coord.Filter{
		Sets: []coord.FilterSet{
			{Name: "group:dev", Nets: nets("100.64.0.7/32", "fd00::7/128")}, {Name: "tag:web", Nets: nets("100.64.0.8/32")},
		},
		In: []coord.FilterRule{
			{From: []string{"group:dev"}, Allow: []coord.Service{*service(t, "tcp:22"), *service(t, "icmp")}},
			{From: []string{"group:dev"}, Allow: []coord.Service{*service(t, "tcp:8000-9000")}},
			{From: []string{"tag:web"}, Allow: []coord.Service{*service(t, "udp:53")}},
		},
		Forward: []coord.FilterRule{{From: []string{"group:dev"}, To: nets("192.168.7.0/24"), Allow: []coord.Service{*service(t, "tcp")}}},
	}}
	peer := &coord.Node{Addrs: []netip.Addr{netip.MustParseAddr("fd00::7")}}
	f := &Facts{Netmap: m}
	for _, c := range []struct {
		service string
		allowed bool
		rule    int // that lets it in, or is nearest; -1: none
		lacks   string
	}{
		{"tcp:22", true, 0, ""},
		{"ipv6-icmp", true, 0, ""},
		{"tcp:8080", true, 1, ""},
		{"tcp:23", false, 0, ipc.LacksService},
		{"tcp:7999", false, 1, ipc.LacksService},
		{"udp:53", false, 0, ipc.LacksService},
		{"tcp", false, 0, ipc.LacksService},
	} {
		in, routes := f.Access(peer, service(t, c.service))
		var got *ipc.AccessRule
		switch {
		case len(in.Rules) > 0:
			got = &in.Rules[0]
		default:
			got = in.Nearest
		}
		if !in.Ruled || in.Allowed != c.allowed || in.Lacks != c.lacks || got == nil || !slices.Equal(got.Allow, said(&m.Filter.In[c.rule]).Allow) {
			t.Errorf("%s: %+v", c.service, in)
		}
		if tcp := service(t, c.service).Proto == coord.ProtoTCP; (len(routes) > 0) != tcp {
			t.Errorf("%s: through this machine: %+v", c.service, routes)
		}
	}
	stranger := &coord.Node{Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.9")}}
	if in, _ := f.Access(stranger, service(t, "udp:53")); in.Allowed || in.Lacks != ipc.LacksSource || in.Nearest.From[0] != "tag:web" {
		t.Errorf("%+v", in)
	}
	if in, _ := f.Access(stranger, service(t, "udp:54")); in.Allowed || in.Nearest != nil {
		t.Errorf("%+v", in)
	}
	if in, _ := f.Access(peer, nil); !in.Allowed || len(in.Rules) != 2 {
		t.Errorf("all of it: %+v", in)
	}
	f.Wants.ShieldsUp = true
	if in, _ := f.Access(peer, service(t, "tcp:22")); in.Allowed || !in.Shields {
		t.Errorf("shields: %+v", in)
	}
	f = &Facts{Netmap: &coord.Netmap{}}
	if in, _ := f.Access(peer, service(t, "tcp:22")); !in.Allowed || in.Ruled {
		t.Errorf("no rules: %+v", in)
	}
}

func TestAPlanLetsInWhatTheNetworkSaysAndThoseWhoLeaveHereAskForNames(t *testing.T) {
	self := netip.MustParseAddr("100.64.0.1")
	exit := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	m := &coord.Netmap{
		Network: coord.Network{IPv4: netip.MustParsePrefix("100.64.0.0/10")},
		Self:    coord.Node{ID: 1, Addrs: []netip.Addr{self}, Routes: append(nets("192.168.7.0/24"), exit)},
		Filter: &coord.Filter{
			Sets: []coord.FilterSet{{Name: "exiting", Nets: nets("100.64.0.7/32")}, {Name: "office", Nets: nets("100.64.0.8/32")}},
			Forward: []coord.FilterRule{
				{From: []string{"exiting"}, To: nets("0.0.0.0/5", "8.0.0.0/7"), Allow: []coord.Service{*service(t, "tcp:443")}},
				{From: []string{"office"}, To: nets("192.168.7.0/25"), Allow: []coord.Service{*service(t, "tcp:443")}},
			},
		},
	}
	names := func(p *Plan, from string) bool {
		return p.Filter.Admits(m.Self.Addrs, coord.Packet{From: netip.MustParseAddr(from), To: self, Proto: coord.ProtoUDP, Port: 53})
	}
	p := NewPlan(m, &Wants{Offer: m.Self.Routes}, &Leads{})
	if !names(p, "100.64.0.7") || names(p, "100.64.0.8") || names(p, "100.64.0.9") {
		t.Errorf("names: %+v", p.Filter.In)
	}
	if len(m.Filter.In) > 0 {
		t.Error("the netmap was changed")
	}
	if p = NewPlan(m, &Wants{}, &Leads{}); p.Filter != m.Filter {
		t.Errorf("who is no exit node: %+v", p.Filter)
	}
	if p = NewPlan(m, &Wants{ShieldsUp: true}, &Leads{}); p.Filter == nil || len(p.Filter.In)+len(p.Filter.Forward) > 0 {
		t.Errorf("shields up: %+v", p.Filter)
	}
	m.Filter = nil
	if p = NewPlan(m, &Wants{}, &Leads{}); p.Filter != nil {
		t.Errorf("a server without rules: %+v", p.Filter)
	}
	if p = Hold(&Wants{}); p.Filter == nil || len(p.Filter.In) > 0 {
		t.Error("a machine that is on no network lets things in")
	}
}
