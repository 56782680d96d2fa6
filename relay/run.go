package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

const (
	// Between attempts it waits from the first to the last of these, twice as long each time, give or take a quarter.
	waitFirst = 250 * time.Millisecond
	waitLast  = 15 * time.Second
	// waitTraffic is how long it still waits when there is something to send, waitRefused when the relay said no,
	// and waitReplaced when somebody else uses the same key.
	waitTraffic  = 500 * time.Millisecond
	waitRefused  = 3 * time.Second
	waitReplaced = 10 * time.Second
	// waitDeaf is how long it waits where the relay forwards nothing.
	waitDeaf = waitLast
	// waitTicket is how long it waits at the most while there is only no ticket yet, which costs nothing to see.
	waitTicket = time.Second
	// settled is how long a session lasts before the next attempt starts from waitFirst again.
	settled = 10 * time.Second
	// hasty is how long a session lasts at least for the next attempt to follow at once.
	hasty = time.Second

	// While a WebSocket is used UDP is tried after the first of these, then twice as long after each attempt, up to the
	// last: often only the beginning was hindered, by a Wi-Fi's login page or a firewall that was still loading.
	upgradeFirst = 2 * time.Second
	upgradeLast  = 30 * time.Second
)

// errReplaced is for a session that another with the same key ended.
var errReplaced = fmt.Errorf("%w: %s", ErrRefused, ReasonReplaced)

// Run keeps the link open until ctx ends, and returns nil then. It owns every goroutine of the client. It may be called once.
func (c *Client) Run(ctx context.Context) error {
	defer close(c.ended)
	defer c.work.Wait()
	defer c.use(nil)
	wait, limit := waitFirst, connectTime
	for ctx.Err() == nil {
		tried := time.Now()
		l, err := c.attempt(ctx, limit)
		if limit = connectTime; err != nil && time.Since(tried) >= connectTime {
			limit = connectLong
		}
		var begun time.Time
		if err == nil {
			begun = l.since
			err = c.keepUp(ctx, l)
		}
		if ctx.Err() != nil {
			break
		}
		c.lost(err)
		if !begun.IsZero() && time.Since(begun) > settled {
			wait = waitFirst
		}
		if !begun.IsZero() && time.Since(begun) > hasty && !errors.Is(err, ErrRefused) && !errors.Is(err, ErrForwardsNothing) {
			continue // it may be back already
		}
		c.pause(ctx, wait, err)
		wait = min(2*wait, waitLast)
	}
	c.set(func(s *State) { *s = State{Err: ErrClosed} })
	return nil
}

// attempt connects, and begins anew when the network changes meanwhile: the answers to what was sent on the old one cannot come.
func (c *Client) attempt(ctx context.Context, limit time.Duration) (*link, error) {
	for {
		trying, cancel := context.WithCancel(ctx)
		moved, watched := false, make(chan struct{})
		go func() {
			defer close(watched)
			select {
			case <-c.rebind:
				moved = true
				cancel()
			case <-trying.Done():
			}
		}()
		l, err := c.connect(trying, limit, true)
		cancel()
		<-watched
		switch {
		case moved && err == nil: // just before
			c.signal(c.rebind)
			return l, nil
		case !moved || ctx.Err() != nil:
			return l, err
		}
	}
}

// keepUp keeps a link, and those that take its place, until there is none.
func (c *Client) keepUp(ctx context.Context, l *link) error {
	for {
		c.begin(l)
		next, err := c.attend(ctx, l)
		if next == nil {
			c.use(nil) // first, so that nobody sends into what is closed
			c.retire(ctx, l)
			return err
		}
		if next.moved {
			c.ping(next) // ahead of the first packet, which the relay takes only from where it knows us
		}
		c.use(next)
		l.carrier.close()
		l = next
	}
}

// begin takes a link into use.
func (c *Client) begin(l *link) {
	if c.slot.Load().link != l {
		c.use(l)
	}
	if !l.moved {
		c.connects.Add(1)
		c.cfg.Log.Info("relay connected", "relay", c.cfg.Name, "transport", l.transport, "at", l.remote)
	}
	c.set(func(s *State) {
		var why error
		if l.transport == TransportWebSocket && c.cfg.UDP != "" {
			why = fmt.Errorf("%w over UDP from %s: it is blocked here, or only short packets come through", ErrNoAnswer, c.cfg.UDP)
		}
		*s = State{Connected: true, Transport: l.transport, Observed: l.observed, Err: why}
	})
}

// retire closes the last link. If it is we who end it, the relay is told.
func (c *Client) retire(ctx context.Context, l *link) {
	if ctx.Err() != nil {
		l.counter++
		l.carrier.control(AppendLeave(nil, l.shared, l.tag, l.counter))
		l.carrier.finish()
		return
	}
	l.carrier.close()
}

// lost tells why there is no link.
func (c *Client) lost(err error) {
	level := slog.LevelInfo
	if was := c.State(); !was.Connected && was.Err != nil && was.Err.Error() == err.Error() {
		level = slog.LevelDebug // it was said before
	}
	c.cfg.Log.Log(context.Background(), level, "relay not connected", "relay", c.cfg.Name, "err", err)
	c.set(func(s *State) { *s = State{Err: err} })
}

// set changes the state and tells.
func (c *Client) set(change func(*State)) {
	c.mu.Lock()
	change(&c.state)
	c.mu.Unlock()
	if c.cfg.OnState != nil {
		c.cfg.OnState(c.State())
	}
}

// pause waits before the next attempt: less where there is something to send, not at all once the network has changed.
func (c *Client) pause(ctx context.Context, wait time.Duration, err error) {
	least := waitTraffic
	switch {
	case errors.Is(err, errReplaced):
		least, wait = waitReplaced, max(wait, waitReplaced)
	case errors.Is(err, ErrForwardsNothing):
		least, wait = waitDeaf, max(wait, waitDeaf)
	case errors.Is(err, ErrRefused):
		least, wait = waitRefused, max(wait, waitRefused)
	case errors.Is(err, ErrNoTicket):
		wait = min(wait, waitTicket)
	}
	wait = wait*3/4 + rand.N(wait/2)
	begun := time.Now()
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			return
		case <-c.rebind:
			return
		case <-c.wake:
			t.Reset(min(wait, max(least-time.Since(begun), 0)))
		case <-c.notes: // of a link that is gone
		}
	}
}

// attendance is what Run knows while a link is in use.
type attendance struct {
	link     *link
	live     liveness
	upgrades chan *link // what an attempt at UDP gave; nil: nothing
	busy     bool       // such an attempt runs
	broken   error      // the link is gone, and only the attempt is waited for
}

// attend keeps a link alive until it is gone or another is better. It gives the other, or why there is none.
func (c *Client) attend(ctx context.Context, l *link) (next *link, err error) {
	upgrading, stop := context.WithCancel(ctx)
	a := &attendance{link: l, upgrades: make(chan *link, 1)}
	a.live.trip, a.live.quiet = l.trip, keepalive
	if l.transport == TransportWebSocket {
		a.live.quiet = keepaliveWeb
	}
	a.live.suspect() // measures the round trip, and takes the relay along to a new socket
	defer func() {
		stop()
		if a.busy {
			if late := <-a.upgrades; late != nil {
				late.carrier.close()
			}
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	wait := upgradeFirst
	upgrade := time.NewTimer(wait)
	defer upgrade.Stop()
	if l.transport != TransportWebSocket {
		upgrade.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
		case <-c.wake:
		case <-upgrade.C:
			c.upgrade(upgrading, a)
			wait = min(2*wait, upgradeLast)
			upgrade.Reset(wait)
		case <-c.rebind:
			if l.transport == TransportUDP {
				return c.rebound(ctx, l)
			}
			c.upgrade(upgrading, a)
			a.live.suspect()
		case better := <-a.upgrades:
			a.busy = false
			if better != nil || a.broken != nil {
				return better, a.broken
			}
		case n := <-c.notes:
			if n.link == l {
				c.heed(a, n)
			}
		}
		if a.broken != nil && !a.busy {
			return nil, a.broken
		}
		due, err := c.tend(a)
		if err != nil && a.broken == nil {
			a.broken = err
		}
		if a.broken != nil && !a.busy {
			return nil, a.broken
		}
		timer.Reset(time.Until(due))
	}
}

// tend pings if it is time to, and says when to look again.
func (c *Client) tend(a *attendance) (due time.Time, err error) {
	heard, unanswered := c.heard.Load(), c.unanswered.Load()
	if unanswered != 0 && heard >= unanswered {
		c.unanswered.CompareAndSwap(unanswered, 0)
		unanswered = 0
	}
	now := time.Now()
	if a.broken != nil {
		return now.Add(upgradeTime), nil
	}
	act, due := a.live.step(now, c.time(heard), c.time(c.packet.Load()), c.time(unanswered))
	switch act {
	case actPing:
		c.ping(a.link)
	case actTry:
		c.try(a.link)
	case actProbe:
		c.ping(a.link)
		c.try(a.link)
	case actGiveUp:
		return due, fmt.Errorf("%w for %d pings: the relay restarted, or the way to it is cut", ErrNoAnswer, probePings)
	case actHole:
		if l := a.link; !l.proven && !l.moved && c.packet.Load() == l.begun { // though this way carried a Hello as long
			return due, ErrForwardsNothing
		}
		return due, errors.New("full packets do not come back any more, though the relay answers") // a new session will show why
	}
	return due, nil
}

// ticket gives the newest ticket, nil if there is none that could be sent.
func (c *Client) ticket() []byte {
	if c.cfg.Ticket == nil {
		return nil
	}
	t := c.cfg.Ticket()
	if len(t) > MaxTicket {
		return nil
	}
	return t
}

// ping sends a Ping, with the ticket if there is a newer one.
func (c *Client) ping(l *link) {
	l.counter++
	p := Ping{Counter: l.counter}
	l.offered = nil
	if t := c.ticket(); len(t) > 0 && !bytes.Equal(t, l.ticket) {
		p.Ticket, l.offered = t, t
	}
	l.carrier.control(AppendPing(nil, l.shared, l.tag, p))
}

// try sends a full packet to ourselves. That it comes back shows that the relay forwards, and that the way to it, which may
// be another one since the session began, carries what is sent by it.
func (c *Client) try(l *link) {
	_, _ = l.carrier.data(c.self, l.tag, [][]byte{make([]byte, FullPacket, FullPacket+Overhead)})
}

// heed acts on what Receive found.
func (c *Client) heed(a *attendance, n note) {
	switch {
	case n.pong != nil:
		if n.pong.Counter == a.link.counter {
			a.live.pong(time.Now())
			if a.link.offered != nil {
				a.link.ticket = a.link.offered
			}
		}
		a.link.observed = n.pong.Observed
		rtt := a.live.rtt
		c.set(func(s *State) { s.RTT, s.Observed = rtt, n.pong.Observed })
	case n.back:
		a.live.back()
		a.link.proven = true
	case n.drain:
		c.mu.Lock()
		told := c.state.Draining
		c.mu.Unlock()
		if !told {
			c.cfg.Log.Info("relay will stop", "relay", c.cfg.Name)
			c.set(func(s *State) { s.Draining = true })
		}
	case n.bye == ReasonReplaced:
		a.broken = errReplaced
	case n.bye != 0:
		a.broken = fmt.Errorf("the relay ended the session: %s", n.bye)
	case n.suspect || a.link.transport == TransportUDP:
		a.live.suspect() // whatever it is: what answers is alive
	case n.err != nil:
		a.broken = fmt.Errorf("the WebSocket broke: %w", plain(n.err))
	}
}

// upgrade starts an attempt at UDP, unless one runs. attend gets what it gives.
func (c *Client) upgrade(ctx context.Context, a *attendance) {
	if a.busy || c.cfg.UDP == "" {
		return
	}
	a.busy = true
	c.work.Go(func() {
		l, err := c.connect(ctx, upgradeTime, false)
		if err != nil {
			l = nil
		}
		a.upgrades <- l
	})
}

// rebound moves a session over UDP to a new socket: its next Ping takes the relay along.
func (c *Client) rebound(ctx context.Context, l *link) (*link, error) {
	u, err := dialUDP(ctx, l.address, c.cfg.Control)
	if err != nil {
		return nil, fmt.Errorf("cannot reach %s over UDP: %w", l.remote, plain(err))
	}
	moved := *l
	moved.carrier, moved.moved = u, true
	return &moved, nil
}
