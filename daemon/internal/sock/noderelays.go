package sock

import (
	"cmp"
	"crypto/rand"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/disco"
	"github.com/warren-mesh/warren/relay"
)

// NodeRelay is a machine that relays for others, over UDP. It is nobody's home: a pair that both reach it may meet there.
type NodeRelay struct {
	Node  coord.NodeID
	Name  string
	Key   key.RelayPublic
	Addrs []netip.AddrPort // some may lead nowhere
}

// nodeSlot is the slot of the link to a machine that relays: there is one at a time.
const nodeSlot = homeSlots

const (
	// nodesKept bounds the machines that are measured.
	nodesKept = 32
	// measureNodes is how often they are while they may be of use. At first it is sooner: from measureAgain on, twice as long each
	// time. No address of theirs is asked more often, whatever they say, than one of a peer's is probed: five times in 30 seconds.
	measureNodes = 25 * time.Second
	measureAgain = 6 * time.Second
	// openAgain is the least time between two links to machines, whatever peers say.
	openAgain = time.Second
	// meetTick is how often meetings are looked at while there are any.
	meetTick = 100 * time.Millisecond
)

// nodeRelays are the loop's.
type nodeRelays struct {
	list   []NodeRelay
	asked  map[relay.STUNTransaction]nodeRequest
	found  map[coord.NodeID]nodeFound
	round  time.Time // when they were last asked
	rounds int       // how often, since the list last changed
	opened time.Time // when a link to one was
	next   time.Time // when meetings has something to do; zero: never
}

type nodeRequest struct {
	node coord.NodeID
	to   netip.AddrPort
	at   time.Time
}

// nodeFound is where a machine answered first in a round, and how far it is.
type nodeFound struct {
	addr    netip.AddrPort
	latency time.Duration
	at      time.Time
}

// nodeRelayID makes a machine's number one that no relay server has.
func nodeRelayID(id coord.NodeID) coord.RelayID { return -coord.RelayID(id) }

// SetNodeRelays replaces the machines that relay. It returns at once.
func (s *Sock) SetNodeRelays(list []NodeRelay) { s.post(func(m *mail) { m.nodes = &list }) }

func (l *loop) setNodeRelays(list []NodeRelay) {
	n := &l.nodes
	list = slices.DeleteFunc(slices.Clone(list), func(r NodeRelay) bool { return r.Node <= 0 || r.Node > math.MaxInt32 })
	list = list[:min(len(list), nodesKept)]
	if reflect.DeepEqual(list, n.list) {
		return
	}
	was := n.list
	n.list, n.rounds = list, 0
	for id := range n.found {
		if is := n.find(id); is == nil || !slices.Contains(is.Addrs, n.found[id].addr) {
			delete(n.found, id)
		}
	}
	if is := l.slots[nodeSlot].link.Load(); is != nil {
		now, old := n.find(coord.NodeID(-is.relay.ID)), findNode(was, coord.NodeID(-is.relay.ID))
		if now == nil || old == nil || now.Key != old.Key || !slices.Contains(now.Addrs, is.node) {
			l.closeNode()
		}
	}
	l.dirty = true
	n.next = l.now
}

func (n *nodeRelays) find(id coord.NodeID) *NodeRelay { return findNode(n.list, id) }

func findNode(list []NodeRelay, id coord.NodeID) *NodeRelay {
	if i := slices.IndexFunc(list, func(r NodeRelay) bool { return r.Node == id }); i >= 0 {
		return &list[i]
	}
	return nil
}

// meetings looks at all meetings, and does what is due.
func (l *loop) meetings() {
	n := &l.nodes
	if n.next.IsZero() || n.next.After(l.now) {
		return
	}
	n.next = time.Time{}
	wanted := false
	for _, p := range l.meeting() {
		wanted = true
		l.meetPeer(p)
	}
	if !wanted {
		if l.slots[nodeSlot].link.Load() != nil {
			l.closeNode()
		}
		return
	}
	n.next = l.now.Add(meetTick)
	if l.now.Sub(n.round) >= n.wait() && l.Port() != 0 {
		l.askNodes()
	}
	if is := l.slots[nodeSlot].link.Load(); is != nil && !l.nodeNeeded(is, nil) {
		l.closeNode()
	}
}

// meeting lists the peers that may meet with us at a machine.
func (l *loop) meeting() (list []*peer) {
	if len(l.nodes.list) == 0 {
		for _, p := range l.peers { // what was is over
			if p.meeting.at != 0 {
				p.meeting = meeting{shunned: p.meeting.shunned}
				l.relinkPeer(p)
			}
		}
		return nil
	}
	for _, p := range l.peers {
		if m := &p.meeting; l.carried(p) || m.recent(l.now) || !m.relayed.IsZero() {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *peer) int { return a.meeting.began.Compare(b.meeting.began) })
	return list
}

// carried reports whether traffic with a peer goes through a relay.
func (l *loop) carried(p *peer) bool {
	return p.machine.Stats().Active && !p.machine.Path().Direct.IsValid() && !p.shared.IsZero()
}

// wait is the time between two rounds.
func (n *nodeRelays) wait() time.Duration {
	return min(measureAgain<<min(max(n.rounds-1, 0), 3), measureNodes)
}

// meetPeer does what is due for one peer.
func (l *loop) meetPeer(p *peer) {
	m := &p.meeting
	server := l.serverLinkFor(p)
	m.stream = server != nil && server.up && server.client.State().Transport != relay.TransportUDP
	is := l.slots[nodeSlot].link.Load()
	there := is != nil && is.up && m.at != 0 && is.relay.ID == nodeRelayID(m.at)
	at, was := m.at, m.used
	why := m.judge(l.now, there, l.carried(p))
	if m.at != 0 && m.stays(l.now) && (is == nil || is.relay.ID != nodeRelayID(m.at)) {
		l.openNode(p)
	}
	if list := m.offer(l.offered(p), l.now); m.sayable(list, l.now) {
		m.say(list, l.now)
		if link := l.linkFor(p); link != nil && link.up {
			l.sendLink(p, link, disco.Meet{Stream: m.stream, Relays: list})
		}
	}
	near, far := m.probes(l.now)
	if near && there {
		m.there.ask()
		l.probeLink(p, is)
	}
	if far && server != nil && server.up {
		m.serverTally.ask()
		l.probeLink(p, server)
	}
	if why != "" {
		l.log.Info("another relay", "peer", p.Key, "machine", l.relayName(nodeRelayID(at)), "used", m.used, "because", why)
	}
	if m.used != was {
		l.relinkPeer(p)
	}
}

// probeLink asks a peer through a link for an answer, at full length.
func (l *loop) probeLink(p *peer, is *link) {
	seq := l.expect(p, netip.AddrPort{}, 0)
	last := &p.probes[len(p.probes)-1]
	last.link, last.meet = is.relay.ID, true
	l.sendLink(p, is, disco.Ping{Seq: seq, Node: l.cfg.Node.Public(), Padding: fullSize - disco.PingSize})
}

// metBy takes an answer to probeLink.
func (l *loop) metBy(p *peer, pr probe) {
	took := l.now.Sub(pr.at)
	if use := p.ep.path.Load(); use != nil && use.relay && use.link.relay.ID == pr.link {
		p.relayLatency = took
	}
	if pr.link < 0 {
		p.meeting.came(coord.NodeID(-pr.link), took, l.now)
	} else {
		p.meeting.cameByServer(took, l.now)
	}
}

// heardMeet takes what a peer said.
func (l *loop) heardMeet(p *peer, m disco.Meet) {
	was := p.meeting.used
	if p.meeting.hear(m, l.now); p.meeting.used != was {
		l.relinkPeer(p)
	}
	if l.nodes.next.IsZero() {
		l.nodes.next = l.now
	}
}

// shakes takes that WireGuard began a handshake with a peer.
func (l *loop) shakes(p *peer) {
	if at := p.meeting.at; p.meeting.shakes(l.now) {
		l.log.Warn("another relay", "peer", p.Key, "machine", l.relayName(nodeRelayID(at)), "used", false, "because", "it carries probes and no packets")
		l.relinkPeer(p)
	}
}

// reached lists the machines that answered lately, the nearest first.
func (l *loop) reached() (list []disco.MeetRelay) {
	for id, f := range l.nodes.found {
		if l.now.Sub(f.at) < 2*measureNodes+measureAgain {
			list = append(list, disco.MeetRelay{Node: int64(id), Latency: f.latency})
		}
	}
	slices.SortFunc(list, func(a, b disco.MeetRelay) int {
		return cmp.Or(cmp.Compare(a.Latency, b.Latency), cmp.Compare(a.Node, b.Node))
	})
	return list
}

// offered is what may be named to a peer: all that is reached or, while others meet with us at one, that one alone.
func (l *loop) offered(p *peer) []disco.MeetRelay {
	list := l.reached()
	is := l.slots[nodeSlot].link.Load()
	if is != nil && l.nodeNeeded(is, p) {
		list = slices.DeleteFunc(list, func(r disco.MeetRelay) bool { return nodeRelayID(coord.NodeID(r.Node)) != is.relay.ID })
	}
	return list
}

// nodeNeeded reports whether a peer, but for one, meets with us there.
func (l *loop) nodeNeeded(is *link, but *peer) bool {
	for _, p := range l.peers {
		if p != but && nodeRelayID(p.meeting.at) == is.relay.ID && p.meeting.stays(l.now) {
			return true
		}
	}
	return false
}

// openNode opens the link to the machine where we are to meet a peer, unless others meet with us elsewhere.
func (l *loop) openNode(p *peer) {
	if is := l.slots[nodeSlot].link.Load(); is != nil && l.nodeNeeded(is, p) || l.now.Sub(l.nodes.opened) < openAgain {
		return
	}
	r, found := l.nodes.find(p.meeting.at), l.nodes.found[p.meeting.at]
	if r == nil || !found.addr.IsValid() {
		return
	}
	l.nodes.opened = l.now
	l.open(nodeSlot, coord.Relay{ID: nodeRelayID(r.Node), Name: r.Name, Key: r.Key, UDP: found.addr.String()})
	if is := l.slots[nodeSlot].link.Load(); is != nil {
		is.node = found.addr
	}
}

func (l *loop) closeNode() {
	l.slots[nodeSlot].clear()
	l.dirty = true
	for _, p := range l.peers {
		if p.meeting.used {
			p.meeting.used, p.meeting.proofs, p.meeting.began = false, 0, l.now // it may be proven again where it is now
			l.relinkPeer(p)
		}
	}
}

// askNodes asks all that relay, from WireGuard's socket. What they see of us is of no use: they may be beside us.
func (l *loop) askNodes() {
	n := &l.nodes
	n.rounds++
	n.round, n.asked = l.now, make(map[relay.STUNTransaction]nodeRequest)
	for _, r := range n.list {
		for i, to := range r.Addrs {
			if !l.valid(to) || slices.Contains(r.Addrs[:i], to) {
				continue
			}
			var tx relay.STUNTransaction
			_, _ = rand.Read(tx[:])
			n.asked[tx] = nodeRequest{r.Node, to, time.Now()}
			_ = l.bind.Bind.Send([][]byte{relay.AppendSTUNRequest(nil, tx)}, &conn.StdNetEndpoint{AddrPort: to})
		}
	}
}

// nodeAnswer takes an answer to askNodes, and reports whether it is one.
func (l *loop) nodeAnswer(b []byte) bool {
	tx, _, ok := relay.ParseSTUNResponse(b)
	req, asked := l.nodes.asked[tx]
	if !ok || !asked {
		return false
	}
	delete(l.nodes.asked, tx)
	if l.nodes.found == nil {
		l.nodes.found = make(map[coord.NodeID]nodeFound)
	}
	took, old := l.now.Sub(req.at), l.nodes.found[req.node]
	switch {
	case old.at.After(l.nodes.round) && old.addr != req.to: // a nearer of its addresses has answered
		return true
	case old.addr == req.to:
		took = smooth(old.latency, took)
	}
	l.nodes.found[req.node] = nodeFound{req.to, took, l.now}
	l.dirty = true
	return true
}

// relinkPeer lets a peer know of the link that it has now.
func (l *loop) relinkPeer(p *peer) {
	if use := p.ep.path.Load(); use != nil && use.link != l.linkFor(p) {
		l.setPath(p)
	}
	l.step(p, l.relayEvent(p))
}
