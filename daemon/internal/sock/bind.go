package sock

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/disco"
	"github.com/warren-mesh/warren/relay"
)

// bind is WireGuard's own conn.StdNetBind (families; batches, GSO and GRO), with our endpoints, and with a ReceiveFunc more
// for each relay slot.
type bind struct {
	conn.Bind
	sock *Sock
	port atomic.Uint32 // 0: closed

	mu     sync.Mutex
	closed chan struct{} // guarded by mu: closed by Close; nil: never opened
}

var _ conn.Bind = (*bind)(nil)

// Open implements conn.Bind.
func (b *bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	want := port
	if want == 0 {
		want = b.sock.cfg.Port
	}
	fns, actual, err := b.Bind.Open(want)
	if errors.Is(err, syscall.EADDRINUSE) && want != 0 && !b.sock.cfg.PortFixed {
		b.sock.log.Warn("the UDP port is taken by another program: taking another one", "port", want)
		fns, actual, err = b.Bind.Open(0)
	}
	if err != nil {
		return nil, 0, err
	}
	if b.sock.cfg.Mark != 0 {
		if err := b.SetMark(b.sock.cfg.Mark); err != nil {
			return nil, 0, errors.Join(err, b.Bind.Close())
		}
	}
	closed := make(chan struct{})
	b.mu.Lock()
	b.closed = closed
	b.mu.Unlock()
	for i, fn := range fns {
		fns[i] = b.sock.receiveUDP(fn)
	}
	for i := range b.sock.slots {
		fns = append(fns, b.sock.receiveRelay(&b.sock.slots[i], closed))
	}
	b.port.Store(uint32(actual))
	b.sock.post(func(m *mail) { m.opened = true })
	return fns, actual, nil
}

// Close implements conn.Bind. The links to relays end with it, since nobody reads from them any more.
func (b *bind) Close() error {
	b.port.Store(0)
	b.mu.Lock()
	if b.closed != nil {
		close(b.closed)
		b.closed = nil
	}
	b.mu.Unlock()
	for i := range b.sock.slots {
		b.sock.slots[i].clear()
	}
	b.sock.post(func(m *mail) { m.opened = true })
	return b.Bind.Close()
}

// whileOpen runs f if somebody reads, and reports whether. Close waits for it.
func (b *bind) whileOpen(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed == nil {
		return false
	}
	f()
	return true
}

// ParseEndpoint implements conn.Bind: an endpoint is named by its peer's key.
func (b *bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	k, err := key.ParseNodePublic(s)
	if err != nil {
		return nil, err
	}
	return b.sock.endpoint(k), nil
}

// Send implements conn.Bind. What cannot be sent is counted, and the loop looks for another path: an error
// would be logged for every batch.
func (b *bind) Send(bufs [][]byte, ep conn.Endpoint) error {
	e, ok := ep.(*Endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	e.sending(bufs)
	return b.sock.send(e, bufs)
}

// send sends to a peer by its present path. The relay's part comes first: it may write behind the packets, and so does
// what comes after it.
func (s *Sock) send(e *Endpoint, bufs [][]byte) error {
	p := e.path.Load()
	if p == nil || (p.direct == nil && !p.relay) {
		s.drops.noPath.Add(uint64(len(bufs)))
		return nil
	}
	if p.relay {
		s.sendRelay(p.link, e.key, bufs)
	}
	if p.direct == nil {
		return nil
	}
	err := s.bind.Bind.Send(bufs, p.direct)
	if err == nil {
		return nil
	}
	var gso conn.ErrUDPGSODisabled
	if errors.As(err, &gso) && gso.RetryErr == nil {
		return err // which the device knows to be none
	}
	s.drops.sendErrors.Add(1)
	s.note(note{kind: noteFailed, ep: e, addr: p.addr})
	if !p.relay && p.link != nil {
		s.sendRelay(p.link, e.key, bufs)
	}
	return nil
}

// sendRelay sends what fits into a frame of Ethernet with what the relay's link adds. More than every path carries can only be
// on its way while the route's MTU comes down: a TCP that has just sent again what a dead path took would wait twice as long
// for the next time.
func (s *Sock) sendRelay(l *link, to key.NodePublic, bufs [][]byte) {
	if large := func(b []byte) bool { return len(b) > relaySize }; slices.ContainsFunc(bufs, large) {
		fit := slices.DeleteFunc(slices.Clone(bufs), large)
		s.drops.relay.Add(uint64(len(bufs) - len(fit)))
		bufs = fit
	}
	_ = l.client.Send(to, bufs) // it counts what is lost
}

// receiveUDP takes from what a UDP socket received all that is not WireGuard's, or not a peer's.
func (s *Sock) receiveUDP(fn conn.ReceiveFunc) conn.ReceiveFunc {
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		n, err := fn(bufs, sizes, eps)
		if err != nil {
			return n, err
		}
		known := *s.known.Load()
		var addr netip.AddrPort
		var e *Endpoint
		for i := range n {
			if sizes[i] == 0 {
				continue
			}
			b, from := bufs[i][:sizes[i]], eps[i].(*conn.StdNetEndpoint)
			if !isWireGuard(b) {
				s.divert(datagram{from: from, b: b})
				sizes[i] = 0
				continue
			}
			if from.AddrPort != addr {
				addr = from.AddrPort
				if e = known[unmap(addr)]; e != nil {
					e.heard()
				}
			}
			sizes[i] = s.take(e, b)
			eps[i] = e
		}
		return n, nil
	}
}

// take lets a WireGuard packet pass, of the given peer if any. It gives its size, 0 if it may not.
func (s *Sock) take(e *Endpoint, b []byte) int {
	if e == nil {
		s.drops.stranger.Add(1)
		return 0
	}
	if b[0] != typeLast && !e.receiving(b) {
		return 0
	}
	return len(b)
}

// receiveRelay receives from whatever link is in a slot, until the bind is closed.
func (s *Sock) receiveRelay(sl *slot, closed <-chan struct{}) conn.ReceiveFunc {
	from := make([]relay.Address, conn.IdealBatchSize)
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		for {
			l := sl.link.Load()
			if l == nil {
				select {
				case <-sl.filled:
					continue
				case <-closed:
					return 0, net.ErrClosed
				}
			}
			n, err := l.client.Receive(bufs, sizes, from[:len(bufs)])
			if err != nil {
				select {
				case <-closed:
					return 0, net.ErrClosed
				default:
				}
				if sl.link.CompareAndSwap(l, nil) {
					s.log.Debug("relay link ended", "relay", l.relay.Name, "err", err)
				}
				continue
			}
			s.sortRelayed(l, bufs[:n], sizes, eps, from)
			return n, nil
		}
	}
}

// sortRelayed gives each packet its peer, and takes out what is not WireGuard's.
func (s *Sock) sortRelayed(l *link, bufs [][]byte, sizes []int, eps []conn.Endpoint, from []relay.Address) {
	sources := *s.sources.Load()
	var e *Endpoint
	for i := range bufs {
		if i == 0 || from[i] != from[i-1] {
			if e = sources[from[i]]; e != nil {
				e.heard()
			}
		}
		b := bufs[i][:sizes[i]]
		switch {
		case !isWireGuard(b):
			s.divert(datagram{link: l, ep: e, b: b})
			sizes[i] = 0
		case e == nil && isInitiation(b):
			s.note(note{kind: noteStranger, source: from[i]})
			fallthrough
		default:
			sizes[i] = s.take(e, b)
		}
		eps[i] = e
	}
}

// datagram is what came in and is not WireGuard's.
type datagram struct {
	from *conn.StdNetEndpoint // nil: through a relay
	link *link                // which one
	door *door                // through which it came; nil: to WireGuard's own socket
	ep   *Endpoint            // whom the relay says it is from; nil: nobody we know
	b    []byte
}

// divert hands a datagram to the loop, if it may concern it. The first look costs a stranger more than us.
func (s *Sock) divert(d datagram) {
	sender, isDisco := disco.Sender(d.b)
	switch {
	case isDisco:
		if _, ok := (*s.discos.Load())[sender]; !ok {
			s.drops.junk.Add(1)
			return
		}
	case d.from == nil || !relay.IsSTUN(d.b):
		s.drops.junk.Add(1)
		return
	}
	d.b = append([]byte(nil), d.b...)
	if !isDisco {
		select {
		case s.stuns <- d.b:
		default:
			s.drops.overload.Add(1)
		}
		return
	}
	select {
	case s.inbox <- d:
	default:
		s.drops.overload.Add(1)
	}
}

func unmap(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
