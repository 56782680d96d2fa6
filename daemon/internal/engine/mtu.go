package engine

import (
	"net/netip"
	"sync"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/core"
	"github.com/warren-mesh/warren/daemon/internal/peerpath"
)

// sizes are how large packets may be that go to machines, or to what is behind them: what the socket tells of peers, as
// the router wants it. Whoever takes from it applies that before another does.
type sizes struct {
	mu       sync.Mutex
	prefixes map[key.NodePublic][]netip.Prefix // guarded by mu; of all peers
	mtu      map[key.NodePublic]int            // guarded by mu; where more than peerpath.SafeMTU
}

// setPeers takes the peers, and has all of them set by set.
func (s *sizes) setPeers(peers []core.Peer, set func(map[netip.Prefix]int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prefixes = make(map[key.NodePublic][]netip.Prefix, len(peers))
	mtu, all := make(map[key.NodePublic]int), make(map[netip.Prefix]int)
	for i := range peers {
		p := &peers[i]
		s.prefixes[p.Key] = p.AllowedIPs
		if m, ok := s.mtu[p.Key]; ok {
			mtu[p.Key] = m
			for _, dst := range p.AllowedIPs {
				all[dst] = m
			}
		}
	}
	s.mtu = mtu
	set(all)
}

// change takes what is new of some peers, and has that set by set.
func (s *sizes) change(now map[key.NodePublic]int, set func(map[netip.Prefix]int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mtu == nil {
		s.mtu = make(map[key.NodePublic]int)
	}
	some := make(map[netip.Prefix]int)
	for k, mtu := range now {
		was, large := s.mtu[k]
		if !large {
			was = peerpath.SafeMTU
		}
		if was == mtu {
			continue
		}
		if s.mtu[k] = mtu; mtu <= peerpath.SafeMTU {
			delete(s.mtu, k)
		}
		for _, dst := range s.prefixes[k] {
			some[dst] = mtu
		}
	}
	if len(some) > 0 {
		set(some)
	}
}

// fit gives routes their sizes.
func (w *wire) fit(some map[netip.Prefix]int) {
	if err := w.router.Fit(some); err != nil {
		w.cfg.Log.Warn("packets to some machines are not as large as they could be, or larger", "err", err)
	}
}

// fitAll gives all routes their sizes.
func (w *wire) fitAll(all map[netip.Prefix]int) {
	if err := w.router.Forget(all); err != nil {
		w.cfg.Log.Warn("routes to machines that are gone are still there", "err", err)
	}
	w.fit(all)
}
