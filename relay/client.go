package relay

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay/internal/udpbatch"
)

// Client is a link to one relay, which it opens and keeps open while Run runs. Send and Receive move packets.
//
//	Send ──▶ link (atomic) ──▶ carrier: UDP or WebSocket ──▶ Receive
//	                                                            │ Pong, Bye, errors: as notes
//	             Run: connect ──▶ attend ◀──────────────────────┘
type Client struct {
	// fixed
	cfg   ClientConfig
	self  Address
	start time.Time // what heard and unanswered count from

	// shared
	slot       atomic.Pointer[slot]
	heard      atomic.Int64  // when something last came from the relay
	packet     atomic.Int64  // when that was last a packet
	unanswered atomic.Int64  // when the first packet was sent after that; 0: none was
	wake       chan struct{} // has one when Run should look: something was sent
	rebind     chan struct{} // has one when the network changed
	notes      chan note
	ended      chan struct{} // closed when Run returns
	connects   atomic.Uint64
	pending    pending
	work       sync.WaitGroup // the carriers' goroutines
	family     family         // of the WebSocket

	mu    sync.Mutex
	state State // without Connects
}

// slot has the link in use, nil while there is none. changed is closed when another slot takes its place.
type slot struct {
	link    *link
	changed chan struct{}
}

// note is what Receive found that is Run's business.
type note struct {
	link  *link
	pong  *Pong
	bye   Reason // 0: none
	drain bool   // it will stop soon
	back  bool   // a packet to ourselves came back
	err   error  // of the carrier; with udpbatch.Passing only a hint

	suspect bool // from Suspect, and not from Receive
}

// NewClient makes a client. It does nothing before Run.
func NewClient(cfg ClientConfig) *Client {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dropped == nil {
		cfg.Dropped = new(atomic.Uint64)
	}
	c := &Client{
		cfg: cfg, self: AddressOf(cfg.Node.Public()), start: time.Now(),
		wake: make(chan struct{}, 1), rebind: make(chan struct{}, 1),
		notes: make(chan note, 8), ended: make(chan struct{}),
	}
	c.slot.Store(&slot{changed: make(chan struct{})})
	return c
}

// Send sends packets to a node. It never waits for a link: while there is none it keeps the last few packets, for a
// second, and counts those that must go. Several may call it at a time. A packet's spare capacity may be overwritten:
// with at least Overhead of it, nothing is copied over UDP.
//
// What is sent to our own key comes back to nobody: the client does that itself, to see whether the relay forwards.
//
// An error is about this call only: ErrTooLarge, or what the system said of the last packet that it did not take.
func (c *Client) Send(dst key.NodePublic, packets [][]byte) error {
	to := AddressOf(dst)
	for _, p := range packets {
		if len(p) > MaxPayload || len(p) == 0 {
			return ErrTooLarge
		}
	}
	l := c.slot.Load().link
	if l == nil {
		if l = c.keep(to, packets); l == nil {
			return nil
		}
	}
	return c.send(l, to, packets)
}

func (c *Client) send(l *link, to Address, packets [][]byte) error {
	lost, err := l.carrier.data(to, l.tag, packets)
	if lost > 0 {
		c.cfg.Dropped.Add(uint64(lost))
	}
	if c.unanswered.Load() == 0 && c.unanswered.CompareAndSwap(0, c.stamp(time.Now())) {
		c.signal(c.wake)
	}
	if err != nil {
		c.note(note{link: l, err: err})
	}
	return err
}

// keep keeps packets until there is a link, and gives the link if there is one by now.
func (c *Client) keep(to Address, packets [][]byte) *link {
	c.pending.mu.Lock()
	defer c.pending.mu.Unlock()
	if l := c.slot.Load().link; l != nil {
		return l
	}
	c.cfg.Dropped.Add(uint64(c.pending.add(time.Now(), to, packets)))
	c.signal(c.wake)
	return nil
}

// use makes l the link in use; nil: there is none.
func (c *Client) use(l *link) {
	now := time.Now()
	c.heard.Store(c.stamp(now))
	c.packet.Store(c.stamp(now))
	c.unanswered.Store(0)
	old := c.slot.Swap(&slot{link: l, changed: make(chan struct{})})
	close(old.changed)
	if l == nil {
		return
	}
	l.begun = c.stamp(now)
	c.pending.mu.Lock()
	young, dropped := c.pending.take(now)
	c.pending.mu.Unlock()
	c.cfg.Dropped.Add(uint64(dropped))
	for _, p := range young {
		_ = c.send(l, p.to, [][]byte{p.b})
	}
}

// Receive waits for packets, and fills bufs, sizes and from with at least one; a packet that is longer than its
// buffer is dropped. One may call it at a time, again and again while Run runs: what keeps the link alive is read here
// too. It returns ErrClosed once Run has ended.
func (c *Client) Receive(bufs [][]byte, sizes []int, from []Address) (int, error) {
	for {
		s := c.slot.Load()
		if s.link == nil {
			select {
			case <-s.changed:
				continue
			case <-c.ended:
				return 0, ErrClosed
			}
		}
		n, err := c.fill(s.link, bufs, sizes, from)
		if n > 0 {
			return n, nil
		}
		if err == nil {
			continue
		}
		c.note(note{link: s.link, err: err})
		if udpbatch.Passing(err) {
			continue
		}
		select {
		case <-s.changed:
		case <-c.ended:
			return 0, ErrClosed
		}
	}
}

// fill takes what there is on a link, and waits only while there is nothing.
func (c *Client) fill(l *link, bufs [][]byte, sizes []int, from []Address) (n int, err error) {
	heard := false
	for n < len(bufs) {
		frame, err := l.carrier.next(!heard)
		if err != nil {
			return 0, err
		}
		if frame == nil {
			break
		}
		packet, addr, tag, ok := SplitData(frame)
		if !ok {
			heard = c.special(l, frame) || heard
			continue
		}
		if tag != l.tag {
			continue
		}
		heard = true
		if addr == c.self {
			c.note(note{link: l, back: true})
			continue
		}
		if len(packet) > len(bufs[n]) {
			c.cfg.Dropped.Add(1)
			continue
		}
		sizes[n] = copy(bufs[n], packet)
		from[n] = addr
		n++
	}
	now := c.stamp(time.Now())
	c.heard.Store(now)
	if n > 0 {
		c.packet.Store(now)
	}
	return n, nil
}

// special takes a frame that is not data, and reports whether the relay sent it.
func (c *Client) special(l *link, frame []byte) bool {
	if tag, ok := TagOf(frame); !ok || tag != l.tag {
		return false
	}
	switch TypeOf(frame) {
	case TypeAbsent:
		addr, _, ok := ParseAbsent(frame)
		if ok && c.cfg.OnAbsent != nil {
			c.cfg.OnAbsent(addr)
		}
		return ok
	case TypePong:
		pong, ok := OpenPong(frame, l.shared)
		if ok {
			c.note(note{link: l, pong: &pong})
		}
		return ok
	case TypeBye:
		why, ok := OpenBye(frame, l.shared)
		if ok {
			c.note(note{link: l, bye: why})
		}
		return ok
	case TypeDrain:
		_, ok := OpenDrain(frame, l.shared)
		if ok {
			c.note(note{link: l, drain: true})
		}
		return ok
	default:
		return false
	}
}

// note hands something to Run. Where Run has more to do than it can, the note is lost: each is only a hint.
func (c *Client) note(n note) {
	select {
	case c.notes <- n:
	default:
	}
}

// Rebind tells that the host's network has changed, or that there is a ticket now: the session moves to a new socket,
// or what is waited for is tried at once.
func (c *Client) Rebind() { c.signal(c.rebind) }

// Suspect asks the relay for an answer at once, unless something came from it a moment ago: others seem to have lost it,
// and who has nothing to send would notice that much later.
func (c *Client) Suspect() {
	if l := c.slot.Load().link; l != nil && time.Since(c.time(c.heard.Load())) > unansweredTime {
		c.note(note{link: l, suspect: true})
	}
}

func (c *Client) signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// State gives a snapshot.
func (c *Client) State() State {
	c.mu.Lock()
	s := c.state
	c.mu.Unlock()
	s.Connects = c.connects.Load()
	return s
}

// stamp is a time as a positive number that no change of the clock turns back.
func (c *Client) stamp(t time.Time) int64 { return int64(t.Sub(c.start)) + 1 }

// time is what stamp was made of, the zero time for 0.
func (c *Client) time(stamp int64) time.Time {
	if stamp == 0 {
		return time.Time{}
	}
	return c.start.Add(time.Duration(stamp - 1))
}
