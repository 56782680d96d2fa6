package sock

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/peerpath"
	"github.com/warren-mesh/warren/relay"
)

const (
	chooseFor = time.Second // how long STUN may take to show the nearest relay, where there are several

	// lostFor is how long a home whose link broke may take to have it back before another relay is tried: it may only have
	// been restarted. That the link broke took its client a second or two already. firstFor is that of the first link,
	// which may have to find out that UDP is blocked.
	lostFor  = 300 * time.Millisecond
	firstFor = 2 * time.Second
	// tryFor is how long the link to the relay that is tried may take, before the next is; twice as long each time, up to tryLast.
	tryFor  = 2 * time.Second
	tryLast = 30 * time.Second

	// lingerFor is how long the link to the last home stays at the least.
	lingerFor = 3 * time.Second

	// measureEvery is how often the latency of several relays is measured while there is no traffic, for which it is stunEvery.
	measureEvery = 5 * time.Minute
)

// relays are the loop's.
type relays struct {
	list   []coord.Relay
	ticket atomic.Pointer[[]byte] // read by the links
	homing homing

	home  coord.RelayID // 0: none is chosen
	at    int           // the slot of its link; the other is for a relay that is tried, or for peers whose home it is
	since time.Time     // when the home was chosen or its link was lost, or when there was first a relay to choose
	was   bool          // its link has been up

	published coord.RelayID // the last home whose link was up, where others find us; 0: none

	move  coord.RelayID // where the home is to move to, though its link is up; 0: it stays
	old   coord.RelayID // that was the home until since, and whose link is still there; 0: none
	trial coord.RelayID // whose link is to come up in the other slot and to be the home's; 0: none
	tried time.Time     // when that began
	tries int           // that failed, one after the other
}

func (r *relays) find(id coord.RelayID) *coord.Relay {
	if i := slices.IndexFunc(r.list, func(is coord.Relay) bool { return is.ID == id }); i >= 0 {
		return &r.list[i]
	}
	return nil
}

func (l *loop) setRelays(list []coord.Relay, ticket []byte) {
	old := l.relays.ticket.Swap(&ticket)
	renewed := old == nil || !bytes.Equal(*old, ticket)
	same := reflect.DeepEqual(list, l.relays.list)
	if !same {
		r := &l.relays
		r.list, r.since = slices.Clone(list), l.now
		r.homing.keep(list)
		for i := range homeSlots {
			sl := &l.slots[i]
			if is := sl.link.Load(); is != nil && !reflect.DeepEqual(r.find(is.relay.ID), &is.relay) && !l.lingers(i) {
				sl.clear()
			}
		}
		if r.find(r.home) == nil {
			if is := l.slots[r.at].link.Load(); is != nil { // until another is the home, packets to us come by it
				r.old, r.at = r.home, 1-r.at
			}
			r.home = 0
		}
		r.move, r.trial, r.tries = 0, 0, 0
		l.resolve()
		if len(list) > 1 {
			l.startSTUN()
		}
	}
	if renewed || !same {
		for i := range l.slots {
			if is := l.slots[i].link.Load(); is != nil && !is.up {
				is.client.Rebind() // it may have waited for the ticket, or been refused for the one before
			}
		}
	}
	if !same {
		l.chooseHome()
		l.linksChanged()
	}
}

// lingers reports whether a slot's link stays for a moment though its relay is not one of the network's any more: it is to the
// home, and there are others.
func (l *loop) lingers(at int) bool {
	r, is := &l.relays, l.slots[at].link.Load()
	return at == r.at && is.up && len(r.list) > 0 && r.find(is.relay.ID) == nil
}

// chooseHome chooses a home, opens the link to it, and looks whether another should take its place. That one's link comes
// up first: until then packets to us come by the old.
func (l *loop) chooseHome() {
	r := &l.relays
	if len(r.list) == 0 || l.Port() == 0 {
		return
	}
	if r.home == 0 {
		if len(r.list) > 1 && len(r.homing.latency) == 0 && l.now.Sub(r.since) < chooseFor {
			l.local.next = earliest(l.local.next, r.since.Add(chooseFor))
			return
		}
		r.home, r.since, r.was = r.homing.best(r.list, 0, l.now), l.now, false
	}
	if is := l.slots[r.at].link.Load(); is == nil || is.relay.ID != r.home {
		l.open(r.at, *r.find(r.home))
	}
	want, lost := l.wantedHome()
	other := l.slots[1-r.at].link.Load()
	switch {
	case want == 0:
		r.trial, r.tries = 0, 0
	case other != nil && other.up && r.find(other.relay.ID) != nil && (lost || other.relay.ID == want):
		l.moveHome(other, lost)
	case !lost && other != nil && other.relay.ID != want && l.needed(other):
		// The link serves peers; the move can wait.
	default:
		l.try(want, other)
	}
	l.leave()
}

// try opens the link that is to be the home's in the slot that has other. If it does not come up, the next relay has its turn.
func (l *loop) try(want coord.RelayID, other *link) {
	r := &l.relays
	if r.trial == 0 || l.now.Sub(r.tried) >= r.patience() {
		if r.trial != 0 {
			r.homing.disappointed(r.trial, l.now)
			r.tries++
			want = r.homing.best(r.list, r.home, l.now)
		}
		r.trial, r.tried = want, l.now
		if other == nil || other.relay.ID != want {
			l.open(1-r.at, *r.find(want))
		}
	}
	l.local.next = earliest(l.local.next, r.tried.Add(r.patience()))
}

// leave closes the link to the home before this one, once everybody knows of the new.
func (l *loop) leave() {
	r := &l.relays
	is := l.slots[1-r.at].link.Load()
	switch at := r.since.Add(lingerFor); {
	case r.old == 0:
	case is == nil || is.relay.ID != r.old || r.trial == r.old:
		r.old = 0
	case l.now.Before(at):
		l.local.next = earliest(l.local.next, at)
	case is.draining || !l.needed(is) || r.find(r.old) == nil:
		r.old = 0
		l.slots[1-r.at].clear()
		l.dirty = true
		l.relink()
	}
}

// patience is how long the link to the relay that is tried may take.
func (r *relays) patience() time.Duration { return min(tryFor<<min(r.tries, 5), tryLast) }

// wantedHome gives the relay that should be the home in place of the present one, and whether that is lost; 0: it stays.
func (l *loop) wantedHome() (want coord.RelayID, lost bool) {
	r := &l.relays
	if len(r.list) < 2 {
		return 0, false
	}
	if is := l.slots[r.at].link.Load(); is != nil && is.up {
		return r.move, false
	}
	grace := firstFor
	if r.was {
		grace = lostFor
	}
	if at := r.since.Add(grace); l.now.Before(at) {
		l.local.next = earliest(l.local.next, at)
		return 0, false
	}
	if r.trial != 0 {
		return r.trial, true
	}
	return r.homing.best(r.list, r.home, l.now), true
}

// moveHome makes a link that is up the home's. The old one stays for what is still on its way.
func (l *loop) moveHome(to *link, lost bool) {
	r := &l.relays
	if lost {
		r.homing.disappointed(r.home, l.now)
	}
	l.log.Info("another home relay", "relay", to.relay.Name, "before", l.relayName(r.home), "lost", lost)
	r.old = r.home
	r.home, r.at, r.since, r.was = to.relay.ID, 1-r.at, l.now, true
	r.move, r.trial, r.tries = 0, 0, 0
	r.published, l.dirty = r.home, true
	l.relink()
}

// needed reports whether there is traffic with a peer whose home a link's relay is.
func (l *loop) needed(is *link) bool {
	for p := range l.active {
		if p.Relay == is.relay.ID {
			return true
		}
	}
	return false
}

// wanted is called for a peer that there is traffic with: it may need a link to a relay that is not ours,
// and the addresses that STUN last showed may be old.
func (l *loop) wanted(p *peer) {
	if len(l.nodes.list) > 0 && l.nodes.next.IsZero() {
		l.nodes.next = l.now
	}
	l.local.next = earliest(l.local.next, l.local.nextSTUN(true))
	r := l.relays.find(p.Relay)
	if r == nil || l.linkOf(p.Relay) != nil || p.Relay == l.relays.home || l.relays.trial != 0 {
		return
	}
	other := 1 - l.relays.at
	if is := l.slots[other].link.Load(); is != nil && l.needed(is) {
		return // somebody else's traffic goes there
	}
	l.open(other, *r)
	l.linksChanged()
}

// open puts a new link into a slot.
func (l *loop) open(at int, r coord.Relay) {
	l.bind.whileOpen(func() {
		ctx, cancel := context.WithCancel(context.Background())
		is := &link{relay: r, cancel: cancel}
		is.client = relay.NewClient(relay.ClientConfig{
			Name: r.Name, Key: r.Key, UDP: r.UDP, URL: r.URL, Cert: r.Cert, Node: l.cfg.Node, Log: l.log,
			Ticket: func() []byte {
				if t := l.relays.ticket.Load(); t != nil {
					return *t
				}
				return nil
			},
			OnState:  func(relay.State) { l.post(func(m *mail) { m.links = true }) },
			OnAbsent: func(node relay.Address) { l.post(func(m *mail) { m.addAbsent(absence{node, r.ID}) }) },
			Control:  Marked(l.cfg.Mark), Resolver: l.cfg.Resolver, Dropped: &l.drops.relay,
		})
		l.slots[at].fill(is)
		l.start(func(outer context.Context) {
			stop := context.AfterFunc(outer, cancel)
			defer stop()
			_ = is.client.Run(ctx)
		})
	})
	l.dirty = true
}

// Marked prepares sockets as net.Dialer.Control does: they have the mark, if it is not 0.
func Marked(mark uint32) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		if mark == 0 {
			return nil
		}
		var err error
		if e := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark))
		}); e != nil {
			return e
		}
		return err
	}
}

// linkOf gives the link to a relay, or nil.
func (l *loop) linkOf(id coord.RelayID) *link {
	for i := range l.slots {
		if is := l.slots[i].link.Load(); is != nil && id != 0 && is.relay.ID == id {
			return is
		}
	}
	return nil
}

// serverLinkFor gives the link to a relay server for packets to a peer: that to its home or, while that is down, our own home's.
// Who lost the same home as we often finds the same other, and sooner than the coordination server can tell us, if it can.
func (l *loop) serverLinkFor(p *peer) *link {
	is := l.linkOf(p.Relay)
	if p.Relay == 0 || is != nil && is.up {
		return is
	}
	if home := l.slots[l.relays.at].link.Load(); home != nil && home.up {
		return home
	}
	return is
}

// linkFor gives the link for packets to a peer: that to the machine where we meet, or to a relay server.
func (l *loop) linkFor(p *peer) *link {
	if m := &p.meeting; m.used {
		if is := l.slots[nodeSlot].link.Load(); is != nil && is.up && is.relay.ID == nodeRelayID(m.at) {
			return is
		}
	}
	return l.serverLinkFor(p)
}

// linksChanged looks at the links, and does what follows.
func (l *loop) linksChanged() {
	l.dirty = true
	r := &l.relays
	for i := range l.slots {
		is := l.slots[i].link.Load()
		if is == nil {
			continue
		}
		was, now := is.up, is.client.State()
		is.up, is.draining = now.Connected, now.Draining
		if !is.up && now.Err != nil {
			l.missAt(is)
		}
		if !is.up && errors.Is(now.Err, relay.ErrForwardsNothing) {
			r.homing.deaf(is.relay.ID, l.now)
		}
		switch {
		case i != r.at:
		case was && !is.up:
			r.since = l.now
		case is.draining && len(r.list) > 1 && r.move == 0:
			r.homing.disappointed(r.home, l.now)
			r.move = r.homing.best(r.list, r.home, l.now)
		}
	}
	if is := l.slots[r.at].link.Load(); is != nil && is.up {
		r.was, r.published = true, is.relay.ID
	} else if r.find(r.published) == nil && l.linkOf(r.published) == nil { // one that is down for a moment stays
		r.published = 0
	}
	l.chooseHome()
	l.relink()
}

// relink lets every peer that it concerns know of the links.
func (l *loop) relink() {
	for _, p := range l.peers {
		l.relinkPeer(p)
	}
}

// suspectHome has the home answer soon or be given up. Who has nothing to send would otherwise hear of its end only by the
// next keepalive, and nobody could reach it until then.
func (l *loop) suspectHome() {
	if is := l.slots[l.relays.at].link.Load(); is != nil {
		is.client.Suspect()
	}
}

// networkChanged is for new addresses and routes of this machine.
func (l *loop) networkChanged() {
	l.closeAllDoors()
	l.askPort()
	l.gather()
	l.resolve()
	l.local.doubtMapped()
	l.startSTUN()
	for i := range l.slots {
		if is := l.slots[i].link.Load(); is != nil {
			is.client.Rebind()
		}
	}
	for _, p := range l.peers {
		for i := range p.addrs {
			p.addrs[i].via = nil // with a source address that may be gone
		}
		l.setPath(p)
		l.step(p, peerpath.NetworkChanged{Network: l.local.network()})
	}
}

// reopened is for sockets that were opened or closed.
func (l *loop) reopened() {
	l.closeAllDoors()
	l.dirty = true
	if l.Port() == 0 {
		l.relays.home = 0
		l.linksChanged()
		return
	}
	l.relays.since = l.now
	l.gather()
	l.startSTUN()
	l.askPort()
	l.chooseHome()
	l.linksChanged()
}
