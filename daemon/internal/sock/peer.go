package sock

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/disco"
	"github.com/warren-mesh/warren/daemon/internal/peerpath"
	"github.com/warren-mesh/warren/relay"
)

// maxAddrs bounds the addresses from which a peer's packets are taken.
const maxAddrs = 8

// peer is the loop's side of a peer.
type peer struct {
	Peer
	ep      *Endpoint
	machine *peerpath.Machine
	next    time.Time // when to step; zero: never

	shared key.Shared // zero while the disco key is not known
	window disco.Window
	heard  time.Time // the last message that it sealed
	probes []probe
	pings  []*ping
	addrs  []admitted // newest last

	doors   []*door             // sockets of its own through a hard NAT
	guessed map[uint16]struct{} // ports of the peer's address that were tried in this search

	meeting      meeting
	relayLatency time.Duration  // of the last answer through the relay
	missed       time.Time      // when it last was; see missing
	shown        peerpath.Stats // as last published
	history      []PathChange   // oldest first; what is in it is never changed
}

// admitted is an address from which the peer has sent us a sealed message. via has the source address at which it came,
// which packets to it must have as well; proven says that it answered a probe of ours.
type admitted struct {
	addr   netip.AddrPort
	via    conn.Endpoint
	proven bool
}

// probe is a Ping of ours that has not been answered.
type probe struct {
	seq    uint64
	number uint64         // the machine's; 0: for pings
	to     netip.AddrPort // not valid: through the relay
	link   coord.RelayID  // which
	meet   bool           // for the meeting
	at     time.Time
}

// ping waits for an answer to any Ping.
type ping struct {
	key     key.NodePublic
	quiet   bool // it is no traffic
	done    <-chan struct{}
	result  chan PingResult
	refused chan error
	sent    atomic.Bool

	tries int       // owned by the loop
	next  time.Time // owned by the loop
}

// probesKept bounds what is waited for, of one peer.
const probesKept = 256

// setPeers makes the peers those that are told. What the packets look things up in is published once for all of them,
// however many they are, and before anything is sent to one.
func (l *loop) setPeers(peers []Peer) {
	told := make(map[key.NodePublic]bool, len(peers))
	var fresh []*peer
	for i := range peers {
		k := peers[i].Key
		told[k] = true
		if l.peers[k] == nil {
			l.peers[k] = &peer{Peer: Peer{Key: k}, ep: l.endpoint(k), machine: peerpath.New(l.valid)}
			fresh = append(fresh, l.peers[k])
		}
	}
	var gone []*peer
	for k, p := range l.peers {
		if !told[k] {
			gone = append(gone, p)
		}
	}
	l.remove(gone)
	if len(fresh) > 0 {
		publish(&l.sources, func(m map[relay.Address]*Endpoint) {
			for _, p := range fresh {
				m[relay.AddressOf(p.Key)] = p.ep
			}
		})
	}
	met := l.meet(peers)
	for i := range peers {
		p := l.peers[peers[i].Key]
		old, another := met[p]
		l.change(p, peers[i], old, another)
	}
	for _, p := range fresh {
		l.begin(p)
	}
	l.dirty = true
}

// meet takes the disco keys that are new to us: a peer has another for every process. It gives the old ones.
func (l *loop) meet(peers []Peer) map[*peer]key.DiscoPublic {
	var met []*peer
	old := make(map[*peer]key.DiscoPublic)
	for i := range peers {
		p, is := l.peers[peers[i].Key], peers[i].Disco
		if is.IsZero() || is == p.Disco { // not known just now: what was known may still serve
			continue
		}
		met, old[p] = append(met, p), p.Disco
		shared, err := l.cfg.Disco.Shared(is)
		if err != nil {
			l.log.Warn("a peer's disco key is no key", "peer", p.Key, "err", err)
			is, shared = key.DiscoPublic{}, key.Shared{}
		}
		p.Disco, p.shared, p.window, p.probes = is, shared, disco.Window{}, nil
	}
	if len(met) > 0 {
		publish(&l.discos, func(m map[key.DiscoPublic]*Endpoint) {
			for _, p := range met {
				if m[old[p]] == p.ep {
					delete(m, old[p])
				}
			}
			for _, p := range met {
				if !p.Disco.IsZero() && m[p.Disco] == nil { // two that claim one key: the first keeps it
					m[p.Disco] = p.ep
				}
			}
		})
	}
	return old
}

// change takes what is told of a peer. another says that its disco key, known already, is not the old one.
func (l *loop) change(p *peer, is Peer, old key.DiscoPublic, another bool) {
	was := p.Peer
	is.Disco = p.Disco
	p.Peer = is
	if is.Relay != was.Relay {
		if was.Relay != 0 && was.Relay == l.relays.home {
			l.suspectHome() // the peer may have lost it
		}
		if p.ep.traffic.Load() != idle {
			l.wanted(p) // at its new home
		}
		l.step(p, l.relayEvent(p))
	}
	if another {
		l.step(p, peerpath.Restarted{})
		if l.cfg.Events != nil && !old.IsZero() {
			l.cfg.Events(PeerRestarted{Key: p.Key, Active: p.machine.Stats().Active})
		}
	}
	if p.shared.IsZero() {
		return // nothing can be sealed to it yet, so nothing is to be probed
	}
	if another || !slices.Equal(is.Endpoints, was.Endpoints) {
		addrs := make([]netip.AddrPort, len(is.Endpoints))
		for i, ep := range is.Endpoints {
			addrs[i] = ep.Addr
		}
		l.step(p, peerpath.Candidates{Addrs: addrs})
	}
}

// begin begins with a peer that was not there before.
func (l *loop) begin(p *peer) {
	l.step(p, peerpath.NetworkChanged{Network: l.local.network()})
	if p.ep.begins(l.now.Add(-strangersFor)) { // WireGuard was faster than we
		l.step(p, peerpath.Sent{})
		l.step(p, peerpath.HandshakeSent{})
	} else {
		p.ep.traffic.CompareAndSwap(busy, idle) // what was sent before led nowhere: the next packet wakes the loop
	}
	if l.local.hard {
		l.step(p, peerpath.OwnNAT{Hard: true})
	}
	l.publishPeer(p)
	if l.cfg.Events != nil {
		l.cfg.Events(MTUChanged{p.Key, p.machine.MTU()})
	}
	// Whoever began to talk before we knew of it hears from us at once, and sends its handshake again.
	source := relay.AddressOf(p.Key)
	if i := slices.IndexFunc(l.strangers, func(s stranger) bool { return s.source == source }); i >= 0 {
		fresh := l.now.Sub(l.strangers[i].at) <= strangersFor
		l.strangers = slices.Delete(l.strangers, i, i+1)
		if fresh {
			l.step(p, peerpath.Sent{})
		}
	}
}

// remove forgets peers.
func (l *loop) remove(gone []*peer) {
	if len(gone) == 0 {
		return
	}
	publish(&l.sources, func(m map[relay.Address]*Endpoint) {
		for _, p := range gone {
			delete(m, relay.AddressOf(p.Key))
		}
	})
	publish(&l.discos, func(m map[key.DiscoPublic]*Endpoint) {
		for _, p := range gone {
			if m[p.Disco] == p.ep {
				delete(m, p.Disco)
			}
		}
	})
	publish(&l.known, func(m map[netip.AddrPort]*Endpoint) {
		for _, p := range gone {
			for _, a := range p.addrs {
				if m[a.addr] == p.ep {
					delete(m, a.addr)
				}
			}
		}
	})
	l.mu.Lock()
	for _, p := range gone {
		if l.endpoints[p.Key] == p.ep {
			delete(l.endpoints, p.Key)
		}
	}
	l.mu.Unlock()
	for _, p := range gone {
		l.closeDoors(p, func(*door) bool { return true })
		delete(l.peers, p.Key)
		delete(l.active, p)
		p.ep.path.Store(nil)
		p.ep.status.Store(nil)
		for _, pi := range p.pings {
			pi.refused <- ErrUnknownPeer
		}
	}
}

// heedPeer takes a note about a peer.
func (l *loop) heedPeer(p *peer, n note) {
	switch n.kind {
	case noteWake:
		l.step(p, peerpath.Sent{})
	case noteInitiation:
		l.shakes(p)
		l.step(p, peerpath.HandshakeSent{})
	case noteAnswered:
		l.step(p, peerpath.HandshakeAnswered{})
	case noteFailed:
		// Perhaps only the source address is gone: a fresh endpoint lets the system choose.
		if i := p.find(n.addr); i >= 0 && p.addrs[i].via != nil {
			p.addrs[i].via = nil
			l.setPath(p)
		}
		l.step(p, peerpath.SendFailed{Addr: n.addr})
	}
}

// step steps the peer's machine, and does what it wants.
func (l *loop) step(p *peer, ev peerpath.Event) {
	if _, ok := ev.(peerpath.Sent); ok {
		p.ep.traffic.CompareAndSwap(idle, quiet)
		l.wanted(p)
	}
	if p.ep.traffic.CompareAndSwap(busy, quiet) {
		l.wanted(p)
		l.perform(p, p.machine.Step(l.now, peerpath.Sent{}))
	}
	l.perform(p, p.machine.Step(l.now, ev))
	if !p.machine.Stats().Active && !p.ep.traffic.CompareAndSwap(quiet, idle) && p.ep.traffic.CompareAndSwap(busy, quiet) {
		l.perform(p, p.machine.Step(l.now, peerpath.Sent{}))
	}
	if now := p.machine.Stats(); now.Active != p.shown.Active || now.Doubt != p.shown.Doubt || now.Since != p.shown.Since {
		l.publishPeer(p)
	}
	l.pingDue(p)
	p.next = p.machine.Deadline()
	for _, pi := range p.pings {
		p.next = earliest(p.next, pi.next)
	}
	if p.next.IsZero() {
		delete(l.active, p)
	} else {
		l.active[p] = struct{}{}
	}
}

func (l *loop) perform(p *peer, acts []peerpath.Action) {
	for _, act := range acts {
		switch act := act.(type) {
		case peerpath.Probe:
			l.probe(p, act.To, act.Number, act.MTU)
		case peerpath.SendCallMe:
			l.callMe(p)
		case peerpath.OpenPorts:
			l.openPorts(p, act.To)
		case peerpath.GuessPorts:
			l.guessPorts(p, act.To, act.Count)
		case peerpath.EndSearch:
			p.guessed = nil
			l.closeDoors(p, func(d *door) bool { return !d.heard.Load() })
		case peerpath.ResendHandshake:
			if b := p.ep.lastInitiation(); b != nil {
				_ = l.send(p.ep, b)
			}
		case peerpath.UseMTU:
			l.publishPeer(p)
			if l.cfg.Events != nil {
				l.cfg.Events(MTUChanged{p.Key, act.MTU})
			}
		case peerpath.UsePath:
			l.log.Debug("path", "peer", p.Key, "path", act.Path.String(), "because", act.Reason.String())
			l.setPath(p)
			l.publishPeer(p)
			for _, pi := range p.pings { // what waited for a path goes at once
				if !pi.sent.Load() {
					pi.next = l.now
				}
			}
		}
	}
}

// setPath publishes the machine's path to the packets.
func (l *loop) setPath(p *peer) {
	is := p.machine.Path()
	use := &path{addr: is.Direct, link: l.linkFor(p), relay: is.Relay != 0}
	use.relay = use.relay && use.link != nil
	if is.Direct.IsValid() {
		use.direct = p.via(is.Direct)
	}
	p.ep.path.Store(use)
}

// via gives the endpoint to send to an address with.
func (p *peer) via(addr netip.AddrPort) conn.Endpoint {
	if d := p.door(addr); d != nil {
		return d.inner
	}
	if i := p.find(addr); i >= 0 && p.addrs[i].via != nil {
		return p.addrs[i].via
	}
	return &conn.StdNetEndpoint{AddrPort: addr}
}

func (p *peer) find(addr netip.AddrPort) int {
	return slices.IndexFunc(p.addrs, func(a admitted) bool { return a.addr == addr })
}

// admit has packets from an address taken as the peer's. A Ping alone can come from a forged source: it
// does not take an address from a peer that has proven it.
func (l *loop) admit(p *peer, from *conn.StdNetEndpoint, proven bool) {
	addr := unmap(from.AddrPort)
	i := p.find(addr)
	if i < 0 {
		if owner := (*l.known.Load())[addr]; owner != nil && owner != p.ep && !proven {
			if o := l.peers[owner.key]; o != nil {
				if j := o.find(addr); j >= 0 && o.addrs[j].proven {
					return
				}
			}
		}
		p.addrs = append(p.addrs, admitted{addr: addr})
		i = len(p.addrs) - 1
		var gone []netip.AddrPort
		for len(p.addrs) > maxAddrs {
			j := 0
			if p.addrs[0].addr == p.machine.Path().Direct {
				j = 1
			}
			gone = append(gone, p.addrs[j].addr)
			p.addrs = slices.Delete(p.addrs, j, j+1)
			i--
		}
		publish(&l.known, func(m map[netip.AddrPort]*Endpoint) {
			for _, a := range gone {
				if m[a] == p.ep {
					delete(m, a)
				}
			}
			m[addr] = p.ep
		})
	} else if proven && (*l.known.Load())[addr] != p.ep {
		publish(&l.known, func(m map[netip.AddrPort]*Endpoint) { m[addr] = p.ep })
	}
	if proven {
		p.addrs[i].proven = true
		if p.addrs[i].via == nil {
			p.addrs[i].via = from
		}
	}
}

// relayEvent says what the machine is to know of the peer's relay.
func (l *loop) relayEvent(p *peer) peerpath.Relay {
	link := l.linkFor(p)
	if link == nil {
		return peerpath.Relay{ID: p.Relay}
	}
	return peerpath.Relay{ID: link.relay.ID, Up: link.up}
}

// relayName gives a relay's name.
func (l *loop) relayName(id coord.RelayID) string {
	if r := l.relays.find(id); r != nil {
		return r.Name
	}
	if r := l.nodes.find(coord.NodeID(-id)); r != nil {
		return r.Name
	}
	return ""
}
