package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay/internal/udpbatch"
)

const (
	// connectTime is how long one attempt at all ways lasts, and connectLong one after another that took so long: a
	// WebSocket needs five round trips, and those of a crowded mobile line take more than a second each.
	connectTime = 5 * time.Second
	connectLong = 12 * time.Second
	// upgradeTime is how long an attempt at UDP lasts while a WebSocket does.
	upgradeTime = 2 * time.Second
	// webDelay is what UDP gets ahead of the WebSocket: two lost packets, or the round trip of a slow line.
	webDelay = 700 * time.Millisecond
	// addressDelay is what each of a relay's addresses gets ahead of the next (RFC 8305, section 5).
	addressDelay = 250 * time.Millisecond
	// maxAddresses bounds how many of a name's addresses are tried.
	maxAddresses = 4

	// A frame of the handshake is repeated after the first of these, and then after twice as long each time, up to the last; a
	// Join not before its answer can be there.
	repeatFirst = 250 * time.Millisecond
	repeatLast  = 500 * time.Millisecond
	// joinTries is how often a Join is sent before it takes another Hello: the relay may have restarted in between.
	joinTries = 3
)

// link is a session with the relay.
type link struct {
	carrier   carrier
	transport Transport
	remote    string
	address   netip.AddrPort // over UDP
	shared    key.Shared
	tag       Tag
	observed  netip.AddrPort
	since     time.Time
	trip      time.Duration // that the handshake took, one of its two questions

	// of Run's goroutine
	counter uint64
	ticket  []byte // that the relay has seen
	offered []byte // that is in the last Ping; nil: none was
	moved   bool   // the session is not new, only its socket
	proven  bool   // a packet to ourselves came back
	begun   int64  // when it came into use: the Client's packet, until one comes from another
}

// ways tries every way to a relay and gives the first that works.
type ways struct {
	cfg    *ClientConfig
	shared key.Shared
	ticket []byte
	work   *sync.WaitGroup // of goroutines that live as long as a carrier
	family *family

	join    chan struct{} // has one while nobody joins: a second session would end the first
	results chan result
}

type result struct {
	link *link
	err  error
}

// connect opens a session by the first way that works, UDP alone without web. Every goroutine of it but the carrier's has
// ended when it returns.
func (c *Client) connect(ctx context.Context, limit time.Duration, web bool) (*link, error) {
	udp, web := c.cfg.UDP != "", web && c.cfg.URL != ""
	if !udp && !web {
		return nil, ErrNoWay
	}
	shared, err := c.cfg.Node.Shared(c.cfg.Key)
	if err != nil {
		return nil, err
	}
	ticket := c.ticket()
	if len(ticket) == 0 {
		return nil, ErrNoTicket
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	w := &ways{
		cfg: &c.cfg, shared: shared, ticket: ticket, work: &c.work, family: &c.family,
		join: make(chan struct{}, 1), results: make(chan result, 2),
	}
	w.join <- struct{}{}
	tried := 0
	noUDP := make(chan struct{}) // closed when UDP has failed, or there is none
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	if udp {
		tried++
		running.Go(func() { w.udp(ctx); close(noUDP) })
	} else {
		close(noUDP)
	}
	if web {
		tried++
		running.Go(func() { w.web(ctx, noUDP) })
	}
	return first(w.results, tried)
}

// first waits for the first of n results that is a link, or for all errors.
func first(results <-chan result, n int) (*link, error) {
	var errs []error
	for range n {
		r := <-results
		if r.err == nil {
			return r.link, nil
		}
		errs = append(errs, r.err)
	}
	for _, err := range errs {
		if errors.Is(err, ErrRefused) { // says more than that another way is closed
			return nil, err
		}
	}
	all := errs[0]
	for _, err := range errs[1:] {
		all = fmt.Errorf("%w; %w", all, err) // one line, which errors.Join does not give
	}
	return nil, all
}

// udp tries the relay's addresses, one a little after the other.
func (w *ways) udp(ctx context.Context) {
	addrs, err := resolve(ctx, w.cfg.Resolver, w.cfg.UDP)
	if err != nil {
		w.results <- result{err: err}
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result, len(addrs))
	var running sync.WaitGroup
	for i, addr := range addrs {
		running.Go(func() {
			if !sleep(ctx, time.Duration(i)*addressDelay) {
				results <- result{err: ctx.Err()}
				return
			}
			l, err := w.udpTo(ctx, addr)
			if err == nil {
				cancel() // the others
			}
			results <- result{l, err}
		})
	}
	l, err := first(results, len(addrs))
	cancel()
	running.Wait()
	w.results <- result{l, err}
}

func (w *ways) udpTo(ctx context.Context, addr netip.AddrPort) (*link, error) {
	u, err := dialUDP(ctx, addr, w.cfg.Control)
	if err != nil {
		return nil, fmt.Errorf("cannot reach %s over UDP: %w", addr, plain(err))
	}
	l, err := w.handshake(ctx, u)
	if err == ErrNoAnswer {
		return nil, fmt.Errorf("%w over UDP from %s: UDP is blocked, or only short packets come through; or the relay is down, or has another key", err, addr)
	}
	if err != nil {
		return nil, fmt.Errorf("UDP %s: %w", addr, err)
	}
	l.transport, l.remote, l.address = TransportUDP, addr.String(), addr
	return l, nil
}

// web tries the WebSocket once UDP has had its time or has failed.
func (w *ways) web(ctx context.Context, noUDP <-chan struct{}) {
	t := time.NewTimer(webDelay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-noUDP:
	case <-ctx.Done():
		w.results <- result{err: fmt.Errorf("WebSocket: %w", ErrNoAnswer)}
		return
	}
	l, err := w.webTo(ctx)
	if err != nil {
		err = fmt.Errorf("WebSocket %s: %w", w.cfg.URL, err)
	}
	w.results <- result{l, err}
}

func (w *ways) webTo(ctx context.Context) (l *link, err error) {
	defer func() { w.family.judge(ctx, err) }()
	conn, err := dialWeb(ctx, w.cfg, w.family, w.work)
	if err != nil {
		return nil, plain(err)
	}
	l, err = w.handshake(ctx, conn)
	if err == ErrNoAnswer {
		return nil, fmt.Errorf("%w: there is another server, or the relay has another key", err)
	}
	if err != nil {
		return nil, err
	}
	l.transport, l.remote = TransportWebSocket, w.cfg.URL
	return l, nil
}

// handshake opens a session on a carrier, which it closes if it cannot. See the package's comment.
func (w *ways) handshake(ctx context.Context, c carrier) (_ *link, err error) {
	stop := context.AfterFunc(ctx, c.close)
	defer func() {
		if !stop() && err == nil {
			err = ErrNoAnswer
		}
		if err != nil {
			c.close()
		}
	}()
	var nonce Nonce
	_, _ = rand.Read(nonce[:]) // never fails
	var cookie Cookie
	begun := time.Now()
	err = repeat(ctx, c, AppendHello(nil, w.cfg.Key, nonce), 0, repeatFirst, func(frame []byte) (ok bool, _ error) {
		cookie, ok = ParseChallenge(frame, nonce)
		return ok, nil
	})
	if err != nil {
		return nil, err
	}
	trip := time.Since(begun) // or longer, where the first was lost
	select {
	case <-w.join:
	case <-ctx.Done():
		return nil, ErrNoAnswer
	}
	l := &link{carrier: c, shared: w.shared, ticket: w.ticket}
	begun = time.Now()
	err = repeat(ctx, c, AppendJoin(nil, w.shared, cookie, w.ticket), joinTries, max(repeatFirst, trip*5/4), func(frame []byte) (bool, error) {
		if why, ok := OpenRefused(frame, w.shared, cookie); ok {
			return false, fmt.Errorf("%w: %s", ErrRefused, why)
		}
		welcome, ok := OpenWelcome(frame, w.shared, cookie)
		l.tag, l.observed = welcome.Tag, welcome.Observed
		return ok, nil
	})
	if err != nil {
		w.join <- struct{}{} // the next may
		return nil, err
	}
	c.deadline(time.Time{})
	l.since = time.Now()
	l.trip = min(trip, l.since.Sub(begun))
	return l, nil
}

// repeat sends a frame until the answer has come, at most tries times (0: until ctx ends), and first waits for every.
func repeat(ctx context.Context, c carrier, frame []byte, tries int, every time.Duration, answer func([]byte) (bool, error)) error {
	last := max(every, repeatLast)
	refused := false
	for i := 0; tries == 0 || i < tries; i++ {
		c.control(frame)
		until := time.Now().Add(every)
		every = min(2*every, last)
		c.deadline(until)
		for {
			got, err := c.next(true)
			if ctx.Err() != nil {
				return noAnswer(refused)
			}
			if udpbatch.Passing(err) { // perhaps it is only restarting
				refused = refused || udpbatch.Refused(err)
				if !sleep(ctx, time.Until(until)) {
					return noAnswer(refused)
				}
				break
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return plain(err)
			}
			if ok, err := answer(got); ok || err != nil {
				return err
			}
		}
	}
	return noAnswer(refused)
}

func noAnswer(refused bool) error {
	if refused {
		return fmt.Errorf("%w: nothing listens there", ErrNoAnswer)
	}
	return ErrNoAnswer
}

// resolve gives a relay's addresses, the two families in turns.
func resolve(ctx context.Context, names *net.Resolver, hostPort string) ([]netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, fmt.Errorf("the relay's UDP address %q is not host:port", hostPort)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("the relay's UDP address %q has no valid port", hostPort)
	}
	ips, err := names.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("cannot find the relay's address: %w", err)
	}
	var families [2][]netip.AddrPort
	for _, ip := range ips {
		ip = ip.Unmap()
		family := 0
		if ip.Is6() {
			family = 1
		}
		families[family] = append(families[family], netip.AddrPortFrom(ip, uint16(n)))
	}
	var addrs []netip.AddrPort
	for i := 0; len(addrs) < maxAddresses && i < max(len(families[0]), len(families[1])); i++ {
		for _, f := range families {
			if i < len(f) {
				addrs = append(addrs, f[i])
			}
		}
	}
	return addrs, nil
}

// plain takes the layers off a network error that repeat what the caller says.
func plain(err error) error {
	var op *net.OpError
	switch {
	case errors.Is(err, errPin):
		return errPin
	case errors.As(err, &op):
		return op.Err
	}
	return err
}

// sleep waits, and reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
