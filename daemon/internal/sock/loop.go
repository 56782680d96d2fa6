package sock

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

// strangersKept bounds the handshakes of machines that we have not been told of yet, strangersFor the time until we are.
const (
	strangersKept = 8
	strangersFor  = 3 * time.Second
)

// loop is what Run owns. Nobody else touches it.
type loop struct {
	*Sock
	now   time.Time
	start func(func(context.Context)) // a goroutine that Run waits for

	network *coord.Network
	peers   map[key.NodePublic]*peer
	active  map[*peer]struct{} // those with a deadline
	relays  relays
	nodes   nodeRelays
	local   local
	missing missing
	port    port
	seq     uint64 // of our last disco message

	searching *peer // the one that has many doors; nil: none

	strangers []stranger // oldest first
	dirty     bool       // what publishLocal publishes is another since the last turn
	moved     bool       // a path is
}

// stranger is who began a handshake through a relay before we were told of it.
type stranger struct {
	source relay.Address
	at     time.Time
}

// Run is the loop. It returns when ctx is done, after all that it started has ended.
func (s *Sock) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	l := &loop{
		Sock: s, now: time.Now(), start: func(f func(context.Context)) { work.Go(func() { f(ctx) }) },
		peers: make(map[key.NodePublic]*peer), active: make(map[*peer]struct{}),
	}
	defer func() {
		for i := range s.slots {
			s.slots[i].clear()
		}
		l.closeAllDoors()
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.mailbox.full:
			l.now = time.Now()
			l.read(s.mailbox.take())
		case b := <-s.stuns:
			l.now = time.Now()
			if !l.nodeAnswer(b) {
				l.stunAnswer(b)
			}
		case d := <-s.inbox:
			l.now = time.Now()
			l.receive(d)
		case n := <-s.notes:
			l.now = time.Now()
			l.read(s.mailbox.take()) // first, since a note may be about a peer that is in it
			l.heed(n)
		case <-timer.C:
			l.now = time.Now()
		}
		l.due()
		l.tell()
		if next := l.deadline(); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
	}
}

// read does what others want.
func (l *loop) read(m mail) {
	another := m.network != nil && (l.network == nil || *m.network != *l.network)
	if another {
		l.network = m.network
	}
	if m.relays != nil {
		l.setRelays(*m.relays, m.ticket)
	}
	if m.nodes != nil {
		l.setNodeRelays(*m.nodes)
	}
	if m.opened {
		l.reopened()
	}
	if m.changed {
		l.networkChanged()
	}
	if another && !m.changed {
		l.gather()
	}
	for _, r := range m.resolved {
		l.setResolved(r)
	}
	if m.links {
		l.linksChanged()
	}
	for _, a := range m.absent {
		l.absent(a)
	}
	if m.suspect {
		l.suspectHome()
	}
	if m.peers != nil {
		l.setPeers(*m.peers)
	}
	for _, p := range m.pings {
		l.ping(p)
	}
	if m.led != nil {
		l.takePort(*m.led)
	}
	for _, ask := range m.explain {
		l.answerExplain(ask)
	}
	for _, ask := range m.checks {
		ask <- known{slices.Clone(l.relays.list), maps.Clone(l.local.servers), l.relays.home}
	}
}

// heed takes a note of the packets' goroutines.
func (l *loop) heed(n note) {
	if n.kind == noteStranger {
		l.strangers = slices.DeleteFunc(l.strangers, func(s stranger) bool {
			return s.source == n.source || l.now.Sub(s.at) > strangersFor
		})
		if l.strangers = append(l.strangers, stranger{n.source, l.now}); len(l.strangers) > strangersKept {
			l.strangers = slices.Delete(l.strangers, 0, 1)
		}
		return
	}
	p := l.peers[n.ep.key]
	if p == nil || p.ep != n.ep {
		if n.kind == noteWake {
			n.ep.traffic.Store(idle)
		}
		return
	}
	l.heedPeer(p, n)
}

// due does what time asks for.
func (l *loop) due() {
	for p := range l.active {
		if !p.next.After(l.now) {
			l.step(p, nil)
		}
	}
	l.localDue()
	l.meetings()
	l.endMissing()
}

func (l *loop) deadline() time.Time {
	next := earliest(earliest(l.local.next, l.nodes.next), l.missing.until)
	for p := range l.active {
		next = earliest(next, p.next)
	}
	return next
}

// tell tells the owner and the readers of Snapshot what is new.
func (l *loop) tell() {
	if l.dirty {
		l.publishLocal()
	}
	changed := l.dirty || l.moved
	l.dirty, l.moved = false, false
	if !changed || l.cfg.Events == nil {
		return
	}
	if now := (LocalEndpoints{Endpoints: l.local.endpoints, Home: l.relays.published, Missing: l.missing.peers}); now.Home != l.local.told.Home ||
		!slices.Equal(now.Endpoints, l.local.told.Endpoints) || !slices.Equal(now.Missing, l.local.told.Missing) {
		l.local.told = now
		l.cfg.Events(now)
	}
	l.cfg.Events(PathsChanged{})
}

// valid reports whether an address may be a peer's.
func (l *loop) valid(ap netip.AddrPort) bool {
	if l.cfg.allowLoopback && ap.Addr().IsLoopback() {
		return true
	}
	return coord.ValidEndpoint(ap, l.network)
}

// earliest gives the earlier of two times, of which zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
