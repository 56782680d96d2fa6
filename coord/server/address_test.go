package server

import (
	"net/netip"
	"testing"
)

func TestAServerCallsItselfWhatOthersCanReach(t *testing.T) {
	addrs := func(text ...string) (out []netip.Addr) {
		for _, s := range text {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	for _, c := range []struct {
		what, name         string
		leads, routed, own []netip.Addr
		host               string
		kind               HostKind
	}{
		{
			what: "a full name that leads here", name: "coord.example.org",
			leads: addrs("198.51.100.7"), routed: addrs("198.51.100.7"), own: addrs("198.51.100.7"),
			host: "coord.example.org", kind: HostName,
		},
		{
			what: "a name that the hosts file leads to loopback", name: "coord.example.org",
			leads: addrs("127.0.1.1"), routed: addrs("198.51.100.7"), own: addrs("198.51.100.7"),
			host: "198.51.100.7", kind: HostPublic,
		},
		{
			what: "a name that leads to another host", name: "coord.example.org",
			leads: addrs("203.0.113.1"), routed: addrs("198.51.100.7"), own: addrs("198.51.100.7"),
			host: "198.51.100.7", kind: HostPublic,
		},
		{
			what: "a short name, which the others cannot look up", name: "vps-3412",
			leads: addrs("198.51.100.7"), routed: addrs("198.51.100.7"), own: addrs("10.0.0.1", "198.51.100.7"),
			host: "198.51.100.7", kind: HostPublic,
		},
		{
			what: "a name of multicast DNS", name: "nas.local",
			leads: addrs("192.168.1.5"), routed: addrs("192.168.1.5"), own: addrs("192.168.1.5"),
			host: "192.168.1.5", kind: HostPrivate,
		},
		{what: "only IPv6", name: "vps", routed: addrs("2001:db8::5"), own: addrs("2001:db8::5"), host: "2001:db8::5", kind: HostPublic},
		{what: "a carrier's NAT", name: "box", routed: addrs("100.72.1.1"), own: addrs("100.72.1.1"), host: "100.72.1.1", kind: HostPrivate},
		{what: "no way out, but an address", name: "box", own: addrs("192.168.1.5"), host: "192.168.1.5", kind: HostPrivate},
		{what: "nothing at all", name: "localhost", host: "127.0.0.1", kind: HostLoopback},
	} {
		if host, kind := chooseHost(c.name, c.leads, c.routed, c.own); host != c.host || kind != c.kind {
			t.Errorf("%s: it calls itself %s (%d), not %s (%d)", c.what, host, kind, c.host, c.kind)
		}
	}
	if host, _ := OwnHost(t.Context()); host == "" {
		t.Error("this very host has no name")
	}
}
