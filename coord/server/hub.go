package server

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/policy"
	"github.com/warren-mesh/warren/coord/internal/state"
	"github.com/warren-mesh/warren/coord/internal/store"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

// Times and bounds of the fan-out.
const (
	queueLength  = 64                 // deliveries that a stream may be behind before it is cut off
	retryPause   = time.Second        // after the database could not be used
	readPatience = 10 * time.Second   // for one look at the log, and those of others before it
	ticketLife   = 7 * 24 * time.Hour // relay tickets outlive an outage of this server
	longestSleep = 5 * time.Second    // the server's clock may be set meanwhile, or its host have slept
	fewWriting   = 16                 // streams that write at a time cost nothing worth waiting for
)

// hub owns the network's state and the streams. What is new it hears from the store's log alone.
type hub struct {
	// fixed
	identity key.Server
	store    store.Store
	now      func() time.Time
	load     func(store.Tx) (state.Network, error)
	memberOf func(store.Node, store.User) state.Member
	count    *counters
	stir     func(coord.NodeID) // has whoever waits for that login look again

	wake    chan struct{} // there is something to tell
	waiting atomic.Int64  // since when, in Unix nanoseconds; 0: there is nothing
	heard   chan struct{} // the log may have something new
	dirty   chan struct{} // there is something to save

	reading chan struct{} // has one while the log is read

	mu      sync.Mutex
	st      *state.State
	here    map[coord.NodeID]*presence
	leaving map[coord.NodeID]struct{} // those of here that have no stream
	wishes  map[coord.NodeID]*wish
	unread  bool                           // what was saved, or is being saved, is not in st yet
	asking  map[coord.NodeID]chan struct{} // of pending machines that wait for a word; closed when there may be one
	replica int64
	others  map[int64]sight // other replicas
	still   standstill
}

// stream is one machine's netmap stream. Its HTTP handler reads the queue, signs and writes.
type stream struct {
	id    coord.NodeID
	queue chan *state.Delivery
	over  chan struct{} // closed when the hub gives it up; then why says the reason
	why   string
	base  *state.Delivery // a whole netmap, if it needs one; then comes
	first *state.Delivery
}

func newHub(s *Server) *hub {
	return &hub{
		identity: s.identity, store: s.store, now: s.now, load: s.snapshot, memberOf: s.memberOf, count: s.count,
		wake: make(chan struct{}, 1), heard: make(chan struct{}, 1), dirty: make(chan struct{}, 1), reading: make(chan struct{}, 1),
		here: map[coord.NodeID]*presence{}, leaving: map[coord.NodeID]struct{}{}, wishes: map[coord.NodeID]*wish{},
		asking: map[coord.NodeID]chan struct{}{},
	}
}

// kick says that there is something to tell.
func (h *hub) kick() {
	h.waiting.CompareAndSwap(0, time.Now().UnixNano())
	signal(h.wake)
}

// behind is how long something is untold already.
func (h *hub) behind() time.Duration {
	since := h.waiting.Load()
	if since == 0 {
		return 0
	}
	return time.Since(time.Unix(0, since))
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// ticket signs the ticket that the store says a machine has, if it is not signed yet: the lock is held. Every replica
// makes the same.
func (h *hub) ticket(now time.Time, id coord.NodeID) {
	m, ok := h.st.View().Member(id)
	if !ok || h.st.HasTicket(id) || !m.TicketUntil.After(now) {
		return
	}
	h.st.SetTicket(id, relay.Ticket{Node: m.Node.Key, NotAfter: m.TicketUntil}.Sign(h.identity))
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
	p := h.here[id]
	if p == nil || p.stream == nil {
		return
	}
	p.stream.why = why
	close(p.stream.over)
	h.unfollow(id, p)
}

// member finds the node of a machine, and refuses where there is none, where it waits for approval, and where its key
// has expired. Another replica may know better: nobody is refused before this one knows as much.
func (h *hub) member(ctx context.Context, m key.MachinePublic) (state.Member, error) {
	n, err := h.memberNow(m)
	if err != nil && h.catchUp(ctx) == nil {
		n, err = h.memberNow(m)
	}
	return n, err
}

func (h *hub) memberNow(m key.MachinePublic) (state.Member, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, ok := h.st.ByMachine(m)
	now := h.now()
	if n.Expired { // as said by another server, whose clock is ahead
		now = now.Add(store.ClockTolerance)
	}
	switch {
	case !ok:
		return n, errNotRegistered
	case n.Pending:
		return n, errPending
	case !n.Node.Expires.IsZero() && !n.Node.Expires.After(now):
		return n, errExpired
	case n.Expired: // by a clock that was wrong and has been set since
		h.wish(n.Node.ID)
	}
	return n, nil
}

// rules has a question answered by the rules in force.
func (h *hub) rules(question func(*policy.Compiled)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	question(h.st.Rules())
}

func (h *hub) view() *state.View {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.st.View()
}

// open starts a machine's stream, in the place of any that it had.
func (h *hub) open(ctx context.Context, m key.MachinePublic, after uint64) (*stream, error) {
	if _, err := h.member(ctx, m); err != nil {
		return nil, err
	}
	if h.view().Seq < after { // another replica told it more
		_ = h.catchUp(ctx)
	}
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	n, ok := h.st.ByMachine(m)
	switch {
	case !ok:
		return nil, errNotRegistered
	case n.Pending:
		return nil, errPending
	}
	id := n.Node.ID
	h.cut(id, "replaced")
	s := &stream{id: id, queue: make(chan *state.Delivery, queueLength), over: make(chan struct{})}
	h.follow(id, s)
	if n.TicketUntil.Sub(now) < ticketLife/2 {
		h.wish(id)
	}
	h.ticket(now, id)
	base, body, seq := h.st.Since(id, after)
	if base != nil && base.Packed == nil {
		base.Packed = coord.Pack(base.Body)
	}
	s.base, s.first = base, &state.Delivery{Seq: seq, Body: body}
	return s, nil
}

// close ends a stream. A newer one of the same machine is left alone.
func (h *hub) close(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.here[s.id]; p != nil && p.stream == s {
		h.unfollow(s.id, p)
	}
	h.kick() // for the deadline
}

// renew gives the machine another ticket when the first half of the old one's life is over.
func (h *hub) renew(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n, ok := h.st.View().Member(s.id); ok && n.TicketUntil.Sub(h.now()) < ticketLife/2 {
		h.wish(s.id)
	}
}

// flush tells all what is new, and reports when time alone will change something.
func (h *hub) flush() (deadline time.Time) {
	start := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting.Store(0) // who has something more to tell gets the lock after
	deadline = h.step(h.now())
	for _, d := range h.st.Flush() {
		h.count.deliveries.Add(float64(len(d.To)))
		if len(d.To) > 1 {
			d.Packed = coord.Pack(d.Body)
		}
		for _, id := range d.To {
			p := h.here[id]
			if p == nil || p.stream == nil {
				continue
			}
			select {
			case p.stream.queue <- &d:
			default:
				h.count.cut.Inc()
				h.cut(id, "too slow")
			}
		}
	}
	h.count.flush.Observe(time.Since(start).Seconds())
	return deadline
}

// step does what time alone does: keys expire, and machines that have left are gone. The lock is held.
func (h *hub) step(now time.Time) (deadline time.Time) {
	for _, id := range h.st.Step(now) {
		h.cut(id, "expired")
		h.wish(id)
	}
	deadline = h.st.Deadline()
	for id := range h.leaving {
		due := h.still.gone(h.here[id].left)
		if !now.Before(due) {
			h.wish(id)
		} else if deadline.IsZero() || due.Before(deadline) {
			deadline = due
		}
	}
	return deadline
}

// run tells and saves until ctx ends; then it saves a last time.
func (h *hub) run(ctx context.Context) error {
	var work sync.WaitGroup
	var err error
	work.Go(func() { err = h.keep(ctx) })
	h.tell(ctx)
	work.Wait()
	return err
}

// tell hears what is new and passes it on.
func (h *hub) tell(ctx context.Context) {
	var p pace
	deadline := h.now() // when time alone has something to tell, by the server's clock
	due := time.NewTimer(0)
	defer due.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.store.News():
			h.hear(ctx, retry)
			continue
		case <-h.heard:
			h.hear(ctx, retry)
			continue
		case <-retry.C:
			h.hear(ctx, retry)
			continue
		case <-h.wake:
			p.came(time.Now())
		case <-due.C:
		}
		h.live()
		now := time.Now()
		if p.busy {
			p.wrote(now, h.writing())
		}
		if p.ready(now) || !deadline.IsZero() && !h.now().Before(deadline) {
			deadline = h.flush()
			p.told(now)
		}
		wait := longestSleep
		if !deadline.IsZero() {
			wait = min(wait, deadline.Sub(h.now()))
		}
		if next := p.due(time.Now()); !next.IsZero() {
			wait = min(wait, time.Until(next))
		}
		due.Reset(max(wait, 0))
	}
}

// writing reports whether more than a few streams, and more than one in eight, have something in their queues.
func (h *hub) writing() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	streams, full := 0, 0
	for _, p := range h.here {
		if p.stream == nil {
			continue
		}
		if streams++; len(p.stream.queue) > 0 {
			full++
		}
	}
	return full > max(fewWriting, streams/8)
}

// hear catches up, and tries again later where the database cannot be used.
func (h *hub) hear(ctx context.Context, retry *time.Timer) {
	if h.catchUp(ctx) != nil && ctx.Err() == nil {
		retry.Reset(retryPause)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
