package engine

import (
	"maps"
	"net/netip"
	"testing"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/core"
	"github.com/warren-mesh/warren/daemon/internal/peerpath"
)

func TestRoutesGetTheSizesOfThosePeersThatLeadThere(t *testing.T) {
	a, b := key.NodePublic{1}, key.NodePublic{2}
	addrA, addrB, subnet := netip.MustParsePrefix("100.64.0.1/32"), netip.MustParsePrefix("100.64.0.2/32"), netip.MustParsePrefix("10.0.0.0/8")
	var s sizes
	var got map[netip.Prefix]int
	set := func(m map[netip.Prefix]int) { got = m }
	expect := func(what string, want map[netip.Prefix]int) {
		t.Helper()
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, not %v", what, got, want)
		}
		got = nil
	}
	peers := func(behindA ...netip.Prefix) []core.Peer {
		return []core.Peer{{Key: a, AllowedIPs: append([]netip.Prefix{addrA}, behindA...)}, {Key: b, AllowedIPs: []netip.Prefix{addrB}}}
	}

	s.change(map[key.NodePublic]int{a: 1420}, set)
	expect("told before the peer", nil)
	s.setPeers(peers(), set)
	expect("the peer is there", map[netip.Prefix]int{addrA: 1420})
	s.change(map[key.NodePublic]int{a: 1420, b: peerpath.SafeMTU}, set)
	expect("nothing new", nil)
	s.setPeers(peers(subnet), set)
	expect("a subnet behind it", map[netip.Prefix]int{addrA: 1420, subnet: 1420})
	s.change(map[key.NodePublic]int{a: peerpath.SafeMTU, b: 8896}, set)
	expect("less, and more for another", map[netip.Prefix]int{addrA: peerpath.SafeMTU, subnet: peerpath.SafeMTU, addrB: 8896})
	s.setPeers(peers()[:1], set)
	expect("the other is gone", map[netip.Prefix]int{})
	s.setPeers(peers(), set)
	expect("and comes anew", map[netip.Prefix]int{})
}
