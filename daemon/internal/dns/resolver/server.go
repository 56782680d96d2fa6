package resolver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// Bounds of the server.
const (
	maxConns   = 32               // TCP connections at one time
	maxWaiting = 64               // questions of one connection that wait for others' answers
	idleTime   = 10 * time.Second // for which a TCP connection may be silent (RFC 7766, section 6.2.3)
	lookAt     = time.Second      // how often the host's own addresses are read at the most
)

// Server listens for this host's questions, or for those of others that may ask.
type Server struct {
	r      *Resolver
	may    func(netip.Addr) bool
	udp    *net.UDPConn
	tcp    net.Listener // nil: there is a tcpError
	cancel context.CancelFunc

	tcpError error
	conns    chan struct{} // holds a token for each
	wg       sync.WaitGroup
}

// Listen serves on an address of this host, which may come and go meanwhile. Where another program has the TCP port there
// is a server all the same, for UDP alone; TCPError says so. Beside this host's programs those may ask whom also names (nil: nobody).
func (r *Resolver) Listen(at netip.AddrPort, also func(from netip.Addr) bool) (*Server, error) {
	local := new(localAddrs)
	return r.ListenFor(at, func(from netip.Addr) bool { return local.has(from, at.Addr()) || also != nil && also(from) })
}

// ListenFor is Listen for those whose addresses may, which several goroutines call.
func (r *Resolver) ListenFor(at netip.AddrPort, may func(from netip.Addr) bool) (*Server, error) {
	s := &Server{r: r, may: may, conns: make(chan struct{}, maxConns)}
	lc := net.ListenConfig{Control: beforeBind}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	pc, err := lc.ListenPacket(ctx, "udp", at.String())
	if err != nil {
		cancel()
		return nil, fmt.Errorf("cannot listen for DNS on %s: %w", at, err)
	}
	s.udp = pc.(*net.UDPConn)
	s.wg.Go(func() { s.serveUDP(ctx) })
	if s.tcp, s.tcpError = lc.Listen(ctx, "tcp", s.Addr().String()); s.tcpError == nil {
		s.wg.Go(func() { s.serveTCP(ctx) })
	}
	return s, nil
}

// TCPError is why the server does not listen on TCP, or nil.
func (s *Server) TCPError() error { return s.tcpError }

// Addr is where it listens.
func (s *Server) Addr() netip.AddrPort { return s.udp.LocalAddr().(*net.UDPAddr).AddrPort() }

// Close stops listening, and waits for the questions under way.
func (s *Server) Close() {
	s.cancel()
	_ = s.udp.Close()
	if s.tcp != nil {
		_ = s.tcp.Close()
	}
	s.wg.Wait()
}

// beforeBind lets the socket be bound before the interface has its address, and beside a server on all addresses that
// allows it.
func beforeBind(network, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		if network == "udp6" || network == "tcp6" {
			err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_FREEBIND, 1))
		} else {
			err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1))
		}
	}); cerr != nil {
		return cerr
	}
	return err
}

// serveUDP reads questions. What the network answers is answered here, whatever the others wait for.
func (s *Server) serveUDP(ctx context.Context) {
	buf := make([]byte, maxQuestion+1)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(buf)
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n > maxQuestion || !s.may(from.Addr().Unmap()) {
			continue // an ICMP error of an earlier answer, or nobody who may ask
		}
		q, refusal := check(buf[:n])
		switch {
		case refusal != nil:
			s.reply(pack(refusal, minUDP), from)
		case q != nil:
			if m := s.r.Own(q); m != nil {
				s.reply(pack(m, udpSize(q)), from)
				continue
			}
			if len(s.r.flying) == maxFlying {
				s.reply(pack(failed(q, errBusy).Msg, udpSize(q)), from)
				continue
			}
			s.wg.Go(func() { s.reply(pack(s.r.Answer(ctx, q).Msg, udpSize(q)), from) })
		}
	}
}

func (s *Server) reply(raw []byte, to netip.AddrPort) {
	if raw != nil {
		_, _ = s.udp.WriteToUDPAddrPort(raw, to) // who asked may be gone
	}
}

// serveTCP takes connections. Those beyond maxConns are closed at once.
func (s *Server) serveTCP(ctx context.Context) {
	for {
		conn, err := s.tcp.Accept()
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no descriptors: some will be free again
			select {
			case <-ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		from, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
		select {
		case s.conns <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		s.wg.Go(func() {
			defer func() { _ = conn.Close(); <-s.conns }()
			if s.may(from.Addr().Unmap()) {
				s.serveConn(ctx, conn)
			}
		})
	}
}

// serveConn answers a connection's questions, each as soon as it can: the next one does not wait for the last (RFC 7766,
// section 6.2.1.1).
func (s *Server) serveConn(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait() // who asks no more still waits for its answers
	var writing sync.Mutex
	reply := func(m *dns.Msg) error {
		answer := pack(m, maxMessage)
		if answer == nil {
			return errGarbage
		}
		writing.Lock()
		defer writing.Unlock()
		if err := conn.SetWriteDeadline(time.Now().Add(idleTime)); err != nil {
			return err
		}
		_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
		return err
	}
	waiting := make(chan struct{}, maxWaiting)
	for {
		q, m, err := readQuestion(conn)
		if err != nil {
			return
		}
		if q != nil {
			m = s.r.Own(q)
		}
		if m == nil {
			select {
			case waiting <- struct{}{}:
				wg.Go(func() {
					_ = reply(s.r.Answer(ctx, q).Msg) // who asked may be gone; the next reading tells
					<-waiting
				})
				continue
			default:
				m = failed(q, errBusy).Msg
			}
		}
		if reply(m) != nil {
			return
		}
	}
}

// readQuestion reads one, or the refusal of what is none.
func readQuestion(conn net.Conn) (q, refusal *dns.Msg, err error) {
	if err := conn.SetReadDeadline(time.Now().Add(idleTime)); err != nil {
		return nil, nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, nil, err
	}
	raw := make([]byte, binary.BigEndian.Uint16(size[:]))
	if len(raw) > maxQuestion {
		return nil, nil, errGarbage
	}
	if _, err := io.ReadFull(conn, raw); err != nil {
		return nil, nil, err
	}
	if q, refusal = check(raw); q == nil && refusal == nil {
		return nil, nil, errGarbage
	}
	return q, refusal, nil
}

// localAddrs knows the host's own addresses: only who has one may ask. An answer to one of them stays on this host, so
// that even a forged one tells nobody anything.
type localAddrs struct {
	mu   sync.Mutex
	set  map[netip.Addr]bool
	read time.Time
}

func (l *localAddrs) has(a, own netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if a == own || a.IsLoopback() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.set[a] {
		return true
	}
	if time.Since(l.read) < lookAt {
		return false
	}
	addrs, err := net.InterfaceAddrs()
	l.set, l.read = make(map[netip.Addr]bool, len(addrs)), time.Now()
	if err != nil {
		return false
	}
	for _, addr := range addrs {
		if p, err := netip.ParsePrefix(addr.String()); err == nil {
			l.set[p.Addr().Unmap().WithZone("")] = true
		}
	}
	return l.set[a]
}
