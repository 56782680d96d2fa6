package sock

import (
	"net"
	"net/netip"
	"testing"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/peerpath"
)

// A peer whose NAT lets in whatever comes from our address is heard through every door. It keeps a few of them, and the next
// peer gets as many as it needs.
func TestWhoIsHeardThroughAllDoorsKeepsFew(t *testing.T) {
	l := newSTUNLoop(t).loop
	away, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer away.Close()
	defer func() {
		for _, p := range l.peers {
			l.closeDoors(p, func(*door) bool { return true })
		}
	}()
	l.peers = map[key.NodePublic]*peer{}
	search := func() *peer {
		k := key.NewNode().Public()
		shared, err := l.cfg.Disco.Shared(key.NewDisco().Public())
		if err != nil {
			t.Fatal(err)
		}
		p := &peer{Peer: Peer{Key: k}, ep: l.endpoint(k), machine: peerpath.New(nil), shared: shared}
		l.peers[k] = p
		l.openPorts(p, netip.MustParseAddrPort(away.LocalAddr().String()))
		if len(p.doors) != peerpath.SearchPorts {
			t.Fatalf("%d doors were opened", len(p.doors))
		}
		return p
	}
	first := search()
	for _, d := range first.doors {
		l.enter(first, d)
	}
	l.closeDoors(first, func(d *door) bool { return !d.heard.Load() }) // the end of its search
	if n := len(first.doors); n != maxDoors {
		t.Errorf("%d doors stay, want %d", n, maxDoors)
	}
	search()
}
