package server

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/state"
	"github.com/warren-mesh/warren/coord/internal/store"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

// Times and bounds of the fan-out.
const (
	gather        = 10 * time.Millisecond // changes that come together are told together
	longestGather = time.Second           // the longest gathering, when telling takes long
	queueLength   = 64                    // deliveries that a stream may be behind before it is cut off
	softInterval  = 5 * time.Second       // how old what the store knows of endpoints and last-seen times may be
	ticketLife    = 7 * 24 * time.Hour    // relay tickets outlive an outage of this server

	// unsaved is more than the numbers that can be given in softInterval. After a kill the store knows an older number
	// than machines may have; what is numbered then must not seem to follow theirs, also where the clock was set back.
	unsaved = 1 << 20
)

// hub owns the network's state and the streams.
type hub struct {
	// fixed
	identity key.Server
	store    store.Store
	now      func() time.Time
	count    *counters

	wake    chan struct{}
	waiting atomic.Int64 // since when something is untold, in Unix nanoseconds; 0: nothing is

	mu      sync.Mutex
	st      *state.State
	epoch   uint64
	streams map[coord.NodeID]*stream
	asking  map[coord.NodeID]chan struct{} // of pending machines that wait for a word; closed when there may be one
	soft    map[coord.NodeID]struct{}      // whose soft facts the store does not know yet
	saved   uint64                         // the last number that the store knows
}

// stream is one machine's netmap stream. Its HTTP handler reads the queue, signs and writes.
type stream struct {
	id    coord.NodeID
	epoch uint64
	queue chan *state.Delivery
	over  chan struct{} // closed when the hub gives it up; then why says the reason
	why   string
	first *state.Delivery
	full  bool
}

func newHub(identity key.Server, db store.Store, now func() time.Time, st *state.State, c *counters) *hub {
	return &hub{
		identity: identity, store: db, now: now, count: c, st: st, wake: make(chan struct{}, 1),
		streams: map[coord.NodeID]*stream{}, asking: map[coord.NodeID]chan struct{}{}, soft: map[coord.NodeID]struct{}{},
	}
}

// apply takes in events, in order.
func (h *hub) apply(evs ...state.Event) {
	now := h.now()
	h.mu.Lock()
	for _, ev := range evs {
		h.one(now, ev)
	}
	h.mu.Unlock()
	h.kick()
}

func (h *hub) kick() {
	h.waiting.CompareAndSwap(0, time.Now().UnixNano())
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// behind is how long something is untold already.
func (h *hub) behind() time.Duration {
	since := h.waiting.Load()
	if since == 0 {
		return 0
	}
	return time.Since(time.Unix(0, since))
}

// one applies an event and does what belongs to it: the hub's lock is held.
func (h *hub) one(now time.Time, ev state.Event) {
	switch ev := ev.(type) {
	case state.Put:
		was, _ := h.st.ByMachine(ev.Machine)
		h.st.Apply(now, ev)
		if h.answer(ev.Node.ID); ev.Pending {
			h.cut(ev.Node.ID, "pending")
		}
		if !was.Node.Key.IsZero() && was.Node.Key != ev.Node.Key {
			h.ticket(now, ev.Node.ID, ev.Node.Key) // a ticket is bound to the node's key
		}
		return
	case state.Gone:
		h.answer(ev.ID)
		h.cut(ev.ID, "removed")
		delete(h.soft, ev.ID)
	case state.Said:
		h.soft[ev.ID] = struct{}{}
	case state.Left:
		h.soft[ev.ID] = struct{}{}
	}
	h.st.Apply(now, ev)
}

func (h *hub) ticket(now time.Time, id coord.NodeID, k key.NodePublic) {
	t := relay.Ticket{Node: k, NotAfter: now.Add(ticketLife)}.Sign(h.identity)
	h.st.Apply(now, state.SetTicket{ID: id, Ticket: t, Renew: now.Add(ticketLife / 2)})
}

// answer has all that ask for the machine look again: the lock is held.
func (h *hub) answer(id coord.NodeID) {
	if c := h.asking[id]; c != nil {
		close(c)
		delete(h.asking, id)
	}
}

// ask gives a channel that closes when there may be a word on a machine that waits for approval; at once where it does
// not wait.
func (h *hub) ask(m key.MachinePublic) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, ok := h.st.ByMachine(m)
	c := h.asking[n.Node.ID]
	if c == nil {
		c = make(chan struct{})
		if !ok || !n.Pending {
			close(c)
		} else {
			h.asking[n.Node.ID] = c
		}
	}
	return c
}

// cut gives up a machine's stream: the lock is held.
func (h *hub) cut(id coord.NodeID, why string) {
	if s := h.streams[id]; s != nil {
		s.why = why
		close(s.over)
		delete(h.streams, id)
	}
}

// member finds the node of a machine, and refuses where there is none, where it waits for approval, and where its key
// has expired.
func (h *hub) member(m key.MachinePublic) (state.Member, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.memberNow(m)
}

// memberNow is member where the hub's lock is held.
func (h *hub) memberNow(m key.MachinePublic) (state.Member, error) {
	n, ok := h.st.ByMachine(m)
	now := h.now()
	switch {
	case !ok:
		return n, errNotRegistered
	case n.Pending:
		return n, errPending
	case !n.Node.Expires.IsZero() && !n.Node.Expires.After(now):
		return n, errExpired
	case n.Expired: // by a clock that was wrong and has been set since
		h.st.Apply(now, state.Put{Machine: m, Node: n.Node, Ephemeral: n.Ephemeral})
		h.kick()
	}
	return n, nil
}

func (h *hub) view() *state.View {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.st.View()
}

// open starts a machine's stream, in the place of any that it had.
func (h *hub) open(m key.MachinePublic, after uint64) (*stream, error) {
	n, err := h.member(m)
	if err != nil {
		return nil, err
	}
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.kick()
	n, ok := h.st.ByMachine(m)
	if !ok {
		return nil, errNotRegistered
	}
	id := n.Node.ID
	if !n.Renew.After(now) {
		h.ticket(now, id, n.Node.Key)
	}
	h.cut(id, "replaced")
	h.epoch++
	h.st.Apply(now, state.Joined{ID: id, Epoch: h.epoch})
	s := &stream{id: id, epoch: h.epoch, queue: make(chan *state.Delivery, queueLength), over: make(chan struct{})}
	body, seq, full := h.st.Since(id, after)
	s.first, s.full = &state.Delivery{Seq: seq, Body: body}, full
	h.streams[id] = s
	return s, nil
}

// close ends a stream. A newer one of the same machine is left alone.
func (h *hub) close(s *stream) {
	h.mu.Lock()
	if h.streams[s.id] == s {
		delete(h.streams, s.id)
	}
	h.one(h.now(), state.Left{ID: s.id, Epoch: s.epoch})
	h.mu.Unlock()
	h.kick()
}

// expel ends the stream of a machine whose key has expired.
func (h *hub) expel(id coord.NodeID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cut(id, "expired")
}

// renew gives the machine another ticket when the first half of the old one's life is over.
func (h *hub) renew(s *stream) {
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if n, ok := h.st.View().Member(s.id); ok && !n.Renew.After(now) {
		h.ticket(now, s.id, n.Node.Key)
		h.kick()
	}
}

// flush tells all what is new, and reports when time alone will change something.
func (h *hub) flush() (deadline time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting.Store(0) // who has something more to tell gets the lock after
	now := h.now()
	for _, id := range h.st.Step(now) {
		h.cut(id, "expired")
	}
	for _, d := range h.st.Flush(now) {
		h.count.deliveries.Add(float64(len(d.To)))
		for _, id := range d.To {
			s := h.streams[id]
			if s == nil {
				continue
			}
			select {
			case s.queue <- &d:
			default:
				h.count.cut.Inc()
				h.cut(id, "too slow")
			}
		}
	}
	return h.st.Deadline()
}

// run tells and stores until ctx ends; then it stores a last time.
func (h *hub) run(ctx context.Context) error {
	due := time.NewTimer(0)
	defer due.Stop()
	soft := time.NewTicker(softInterval)
	defer soft.Stop()
	spent := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.Background(), softInterval)
			defer cancel()
			return h.save(last)
		case <-soft.C:
			_ = h.save(ctx) // what it could not write it tries again; the failure is counted
			continue
		case <-h.wake:
			// Where telling takes long, gathering takes as long: telling never eats more than half of the time.
			pause := time.NewTimer(min(longestGather, max(gather, spent)))
			select {
			case <-ctx.Done():
			case <-pause.C:
			}
			pause.Stop()
		case <-due.C:
		}
		start := time.Now()
		deadline := h.flush()
		spent = time.Since(start)
		h.count.flush.Observe(spent.Seconds())
		if wait := deadline.Sub(h.now()); !deadline.IsZero() {
			due.Reset(max(wait, 0))
		}
	}
}

// save writes the soft facts of those of whom something is new, and the last number.
func (h *hub) save(ctx context.Context) error {
	h.mu.Lock()
	dirty, view, saved := h.soft, h.st.View(), h.saved
	h.soft, h.saved = map[coord.NodeID]struct{}{}, view.Seq
	h.mu.Unlock()
	if len(dirty) == 0 && view.Seq == saved {
		return nil
	}
	now := h.now()
	err := h.store.Write(ctx, func(tx store.Tx) error {
		for id := range dirty {
			m, ok := view.Member(id)
			if !ok {
				continue
			}
			if err := tx.SetSoft(softOf(m, now)); err != nil {
				return err
			}
		}
		return tx.SetMeta(metaSeq, formatSeq(view.Seq))
	})
	if err != nil {
		h.mu.Lock()
		for id := range dirty {
			h.soft[id] = struct{}{}
		}
		h.saved = saved
		h.mu.Unlock()
	}
	return err
}

func softOf(m state.Member, now time.Time) store.Soft {
	n := m.Node
	s := store.Soft{ID: n.ID, LastSeen: n.LastSeen, Said: coord.NodeUpdate{
		Disco: n.Disco, Endpoints: n.Endpoints, Relay: n.Relay, OS: n.OS, Version: n.Version,
	}}
	if n.Online {
		s.LastSeen = now
	}
	return s
}
