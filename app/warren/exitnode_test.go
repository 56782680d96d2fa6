package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/ipc"
)

func TestALineOfTheStatusNamesAFewOfManySubnets(t *testing.T) {
	var p ipc.Peer
	for i := range 60 {
		p.Serves = append(p.Serves, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 99, byte(i), 0}), 28))
	}
	if got := peerNotes(&p); !strings.HasPrefix(got, "; leads to 10.99.0.0/28, ") || !strings.HasSuffix(got, ", and 54 more") {
		t.Errorf("%q", got)
	}
}

func TestTheStatusSaysWhatIsRelayed(t *testing.T) {
	at := []netip.AddrPort{netip.MustParseAddrPort("203.0.113.7:41642")}
	for _, c := range []struct {
		is   ipc.Relaying
		want string
	}{
		{ipc.Relaying{Rate: 1}, textRelaysNot},
		{ipc.Relaying{Allowed: true, Addrs: at}, "Relays for others: 203.0.113.7:41642"},
		{ipc.Relaying{Allowed: true, Addrs: at, Rate: 10 * ipc.Megabit, Machines: 2}, "Relays for others, at most 10 Mbit/s: 203.0.113.7:41642\nRelayed so far: 0 B; machines connected now: 2"},
		{ipc.Relaying{Allowed: true, Rate: ipc.MaxRelayRate, Bytes: 2e9, Limited: 7}, "Relays for others, at most 1000000 Mbit/s\nRelayed so far: 2.0 GB; machines connected now: 0; 7 packets dropped, as there were more than that"},
	} {
		if got := strings.Join(relayingLines(&c.is), "\n"); got != c.want {
			t.Errorf("%+v\n%s\nwant\n%s", c.is, got, c.want)
		}
	}
}
