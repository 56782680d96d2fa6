package sock

import (
	"cmp"
	"context"
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
	chooseFor = time.Second     // how long STUN may take to show the nearest relay, where there are several
	tryFor    = 5 * time.Second // how long a home's link may take to come up, before the next one is tried
)

// relays are the loop's.
type relays struct {
	list    []coord.Relay
	home    coord.RelayID // 0: none is chosen
	since   time.Time     // when it was chosen, or when there was first one to choose
	latency map[coord.RelayID]time.Duration
	ticket  atomic.Pointer[[]byte] // read by the links
}

func (r *relays) find(id coord.RelayID) *coord.Relay {
	if i := slices.IndexFunc(r.list, func(is coord.Relay) bool { return is.ID == id }); i >= 0 {
		return &r.list[i]
	}
	return nil
}

func (l *loop) setRelays(list []coord.Relay, ticket []byte) {
	first := l.relays.ticket.Swap(&ticket) == nil
	same := reflect.DeepEqual(list, l.relays.list)
	if !same {
		l.relays.list, l.relays.since = slices.Clone(list), l.now
		l.relays.latency = make(map[coord.RelayID]time.Duration)
		for i := range l.slots {
			sl := &l.slots[i]
			if is := sl.link.Load(); is != nil && !reflect.DeepEqual(l.relays.find(is.relay.ID), &is.relay) {
				sl.clear()
			}
		}
		if l.relays.find(l.relays.home) == nil {
			l.relays.home = 0
		}
		l.resolve()
	}
	if first || !same {
		for i := range l.slots {
			if is := l.slots[i].link.Load(); is != nil && !is.up {
				is.client.Rebind() // it may have waited for the ticket
			}
		}
	}
	if !same {
		l.chooseHome()
		l.linksChanged()
	}
}

// chooseHome chooses the nearest relay, and opens the link to it.
func (l *loop) chooseHome() {
	r := &l.relays
	if len(r.list) == 0 || l.Port() == 0 {
		return
	}
	current := l.slots[slotHome].link.Load()
	stuck := r.home != 0 && len(r.list) > 1 && (current == nil || !current.up) && l.now.Sub(r.since) >= tryFor
	switch {
	case stuck:
		i := slices.IndexFunc(r.list, func(is coord.Relay) bool { return is.ID == r.home })
		r.home, r.since = r.list[(i+1)%len(r.list)].ID, l.now
	case r.home == 0:
		if len(r.list) > 1 && len(r.latency) == 0 && l.now.Sub(r.since) < chooseFor {
			l.local.next = earliest(l.local.next, r.since.Add(chooseFor))
			return
		}
		near := slices.MinFunc(r.list, func(a, b coord.Relay) int { return cmp.Compare(r.rank(a.ID), r.rank(b.ID)) })
		r.home, r.since = near.ID, l.now
	}
	if current == nil || current.relay.ID != r.home {
		l.open(slotHome, *r.find(r.home))
	}
	if len(r.list) > 1 && (current == nil || !current.up) {
		l.local.next = earliest(l.local.next, r.since.Add(tryFor))
	}
}

// rank orders relays: by latency, and those that have not answered last.
func (r *relays) rank(id coord.RelayID) time.Duration {
	if d, ok := r.latency[id]; ok {
		return d
	}
	return time.Hour
}

// wanted is called for a peer that there is traffic with: it may need a link to a relay that is not ours,
// and the addresses that STUN last showed may be old.
func (l *loop) wanted(p *peer) {
	if l.local.stale(l.now) {
		l.startSTUN()
	}
	r := l.relays.find(p.Relay)
	if r == nil || l.linkOf(p.Relay) != nil || p.Relay == l.relays.home {
		return
	}
	if is := l.slots[slotOther].link.Load(); is != nil {
		for other := range l.active {
			if other.Relay == is.relay.ID {
				return // somebody else's traffic goes there
			}
		}
	}
	l.open(slotOther, *r)
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
			OnState: func(relay.State) { l.post(func(m *mail) { m.links = true }) },
			Control: Marked(l.cfg.Mark), Resolver: l.cfg.Resolver,
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

// linksChanged looks at the links, and lets every peer know that it concerns.
func (l *loop) linksChanged() {
	l.dirty = true
	for i := range l.slots {
		if is := l.slots[i].link.Load(); is != nil {
			is.up = is.client.State().Connected
		}
	}
	if is := l.slots[slotHome].link.Load(); is != nil && is.up {
		l.relays.since = l.now
		l.local.home = is.relay.ID
	} else if l.relays.find(l.local.home) == nil {
		l.local.home = 0
	}
	l.chooseHome()
	for _, p := range l.peers {
		if use := p.ep.path.Load(); use != nil && use.link != l.linkOf(p.Relay) {
			l.setPath(p)
		}
		l.step(p, l.relayEvent(p))
	}
}

// publishedHome is the last home whose link was up: one that is down for a moment stays where others find us.
func (l *loop) publishedHome() coord.RelayID { return l.local.home }

// networkChanged is for new addresses and routes of this machine.
func (l *loop) networkChanged() {
	l.gather()
	l.resolve()
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
		l.step(p, peerpath.NetworkChanged{})
	}
}

// reopened is for sockets that were opened or closed.
func (l *loop) reopened() {
	l.dirty = true
	if l.Port() == 0 {
		l.relays.home = 0
		l.linksChanged()
		return
	}
	l.relays.since = l.now
	l.gather()
	l.startSTUN()
	l.chooseHome()
	l.linksChanged()
}
