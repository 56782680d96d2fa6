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
