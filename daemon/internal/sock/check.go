package sock

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/netcheck"
	"github.com/warren-mesh/warren/daemon/internal/portmap"
	"github.com/warren-mesh/warren/ipc"
	"github.com/warren-mesh/warren/relay"
)

const (
	checkTime  = 8 * time.Second // for a whole check; one takes about 3 s
	dialTime   = 3 * time.Second // for a TCP connection to a relay, and for an answer over plain HTTP
	checksKept = 64              // answers on their way from the check's sockets
)

// ErrChecking says that a check is under way already.
var ErrChecking = errors.New("the network is being checked already")

// known is what the loop knows and a check starts from.
type known struct {
	relays  []coord.Relay
	servers map[coord.RelayID][]netip.AddrPort
	home    coord.RelayID
}

// Check finds out what the network lets through. It sends some hundred packets to the relays and the router; one may run at
// a time (ErrChecking). It returns a report also where nothing answers, and an error only where ctx ends.
func (s *Sock) Check(ctx context.Context) (*ipc.Netcheck, error) {
	if !s.checking.CompareAndSwap(false, true) {
		return nil, ErrChecking
	}
	defer s.checking.Store(false)
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	ask := make(chan known, 1)
	s.post(func(m *mail) { m.checks = append(m.checks, ask) })
	var know known
	select {
	case know = <-ask:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var work sync.WaitGroup
	var ports []ipc.NetcheckPort
	var portal ipc.NetcheckPortal
	tcp := make([]time.Duration, len(know.relays))
	work.Go(func() { ports = s.checkPorts(ctx) })
	work.Go(func() { portal = s.checkPortal(ctx, know.relays) })
	for i := range know.relays {
		work.Go(func() { tcp[i] = s.checkTCP(ctx, know.relays[i].URL) })
	}
	report, latency, err := s.checkUDP(ctx, know)
	work.Wait()
	if err != nil {
		return nil, err
	}
	report.Mapping, report.Portal = ports, portal
	for i, r := range know.relays {
		l := latency[r.ID]
		report.Relays = append(report.Relays, ipc.NetcheckRelay{
			Name: r.Name, Home: r.ID == know.home, TCP: ipc.Millis(tcp[i]),
			IPv4: ipc.Millis(l[netcheck.IPv4]), IPv6: ipc.Millis(l[netcheck.IPv6]),
		})
	}
	report.Time = time.Now()
	netcheck.Finish(&report)
	return &report, nil
}

// checker performs what a netcheck.Check wants, with sockets of its own.
type checker struct {
	sock    *Sock
	conns   [netcheck.Families][netcheck.Sockets]*net.UDPConn // nil: there is none
	token   [16]byte                                          // what a Greet says
	answers chan checkAnswer
	done    chan struct{}
	work    sync.WaitGroup
}

// checkAnswer is a datagram that came to one of the sockets.
type checkAnswer struct {
	family netcheck.Family
	from   netip.AddrPort
	b      []byte
	at     time.Time
}

type checkAsked struct {
	id uint64
	at time.Time
}

func (s *Sock) checkUDP(ctx context.Context, know known) (ipc.Netcheck, map[coord.RelayID][netcheck.Families]time.Duration, error) {
	var servers []netcheck.Server
	for _, r := range know.relays {
		for _, a := range know.servers[r.ID] {
			servers = append(servers, netcheck.Server{Relay: r.ID, Addr: a, Other: otherPort(a)})
		}
	}
	slices.SortStableFunc(servers, func(a, b netcheck.Server) int { // home first: it is the one that is asked most
		return cmp.Compare(b2i(b.Relay == know.home), b2i(a.Relay == know.home))
	})
	c := &checker{sock: s, answers: make(chan checkAnswer, checksKept), done: make(chan struct{})}
	_, _ = rand.Read(c.token[:])
	var local [netcheck.Families]netcheck.Local
	for f := range netcheck.Families {
		if i := slices.IndexFunc(servers, func(s netcheck.Server) bool { return int(netcheck.FamilyOf(s.Addr.Addr())) == f }); i >= 0 {
			local[f] = c.open(ctx, netcheck.Family(f), servers[i].Addr)
		} else {
			local[f].Addr = c.localTo(ctx, netcheck.Family(f), anywhere[f])
		}
	}
	defer c.close()
	check := netcheck.New(time.Now(), local, servers)
	asked := make(map[relay.STUNTransaction]checkAsked)
	timer := time.NewTimer(0)
	defer timer.Stop()
	c.do(check.Step(time.Now(), nil), asked)
	for next := check.Deadline(); !next.IsZero(); next = check.Deadline() {
		timer.Reset(time.Until(next))
		var ev netcheck.Event
		select {
		case <-ctx.Done():
			return ipc.Netcheck{}, nil, ctx.Err()
		case <-timer.C:
		case a := <-c.answers:
			ev = c.event(a, asked)
		}
		c.do(check.Step(time.Now(), ev), asked)
	}
	report, latency := check.Report()
	return report, latency, nil
}

func otherPort(a netip.AddrPort) netip.AddrPort {
	if p := relay.STUNOtherPort(a.Port()); p != 0 {
		return netip.AddrPortFrom(a.Addr(), p)
	}
	return netip.AddrPort{}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// networks are those of the families.
var networks = [netcheck.Families]string{"udp4", "udp6"}

// anywhere is an address of each family that the default route leads to: of documentation (RFC 5737, RFC 3849). Nothing is
// sent there.
var anywhere = [netcheck.Families]netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:9"), netip.MustParseAddrPort("[2001:db8::1]:9")}

// localTo gives this machine's address on the way to another one, not valid if there is no way.
func (c *checker) localTo(ctx context.Context, f netcheck.Family, to netip.AddrPort) netip.Addr {
	d := net.Dialer{Control: Marked(c.sock.cfg.Mark)}
	way, err := d.DialContext(ctx, networks[f], to.String()) // asks for the route, and sends nothing
	if err != nil {
		return netip.Addr{}
	}
	defer way.Close()
	return way.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

// open opens the sockets of a family, if there is a way to the server, and reads them until close.
func (c *checker) open(ctx context.Context, f netcheck.Family, server netip.AddrPort) (l netcheck.Local) {
	local := c.localTo(ctx, f, server)
	if !local.IsValid() {
		return l
	}
	lc := net.ListenConfig{Control: Marked(c.sock.cfg.Mark)}
	for i := range c.conns[f] {
		pc, err := lc.ListenPacket(ctx, networks[f], ":0")
		if err != nil {
			return l
		}
		conn := pc.(*net.UDPConn)
		c.conns[f][i] = conn
		l.Ports[i] = conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		if netcheck.Socket(i) == netcheck.Size {
			if raw, err := conn.SyscallConn(); err != nil || unfragmented(raw, f == netcheck.IPv6) != nil {
				c.conns[f][i] = nil
				_ = conn.Close()
				continue
			}
		}
		c.work.Go(func() { c.read(conn, f) })
	}
	l.Addr = local
	return l
}

func (c *checker) read(conn *net.UDPConn, f netcheck.Family) {
	b := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of one datagram before
		}
		select {
		case c.answers <- checkAnswer{f, unmap(from), slices.Clone(b[:n]), time.Now()}:
		case <-c.done:
			return
		}
	}
}

func (c *checker) close() {
	close(c.done)
	for f := range c.conns {
		for _, conn := range c.conns[f] {
			if conn != nil {
				_ = conn.Close()
			}
		}
	}
	c.work.Wait()
}

// event reads what came; nil if it is none of ours.
func (c *checker) event(a checkAnswer, asked map[relay.STUNTransaction]checkAsked) netcheck.Event {
	if string(a.b) == string(c.token[:]) {
		return netcheck.Greeted{Family: a.family}
	}
	tx, seen, ok := relay.ParseSTUNResponse(a.b)
	q, is := asked[tx]
	if !ok || !is {
		return nil
	}
	delete(asked, tx)
	return netcheck.Answer{ID: q.id, From: a.from, Seen: unmap(seen), RTT: a.at.Sub(q.at)}
}

// headers are those of IP and UDP.
var headers = [netcheck.Families]int{netcheck.IPv4: 20 + 8, netcheck.IPv6: 40 + 8}

func (c *checker) do(acts []netcheck.Action, asked map[relay.STUNTransaction]checkAsked) {
	for _, act := range acts {
		switch act := act.(type) {
		case netcheck.Ask:
			var tx relay.STUNTransaction
			_, _ = rand.Read(tx[:])
			asked[tx] = checkAsked{act.ID, time.Now()}
			c.send(act.Family, act.Socket, act.To, relay.AppendSTUNProbe(nil, tx, act.Size-headers[act.Family], act.OtherPort))
		case netcheck.Greet:
			c.send(act.Family, act.Socket, act.To, c.token[:])
		}
	}
}

// send sends, or not: what cannot be sent is not answered either.
func (c *checker) send(f netcheck.Family, s netcheck.Socket, to netip.AddrPort, b []byte) {
	if conn := c.conns[f][s]; conn != nil {
		_, _ = conn.WriteToUDPAddrPort(b, to)
	}
}

func (s *Sock) checkPorts(ctx context.Context) []ipc.NetcheckPort {
	gw, err := portmap.FindGateway()
	if err != nil {
		var none []ipc.NetcheckPort
		for _, p := range []string{portmap.PCP, portmap.NATPMP, portmap.UPnP} {
			none = append(none, ipc.NetcheckPort{Protocol: p, Answers: ipc.No, Detail: err.Error()})
		}
		return none
	}
	return portmap.Router{Gateway: gw, Control: Marked(s.cfg.Mark)}.Probe(ctx)
}

// dialer connects as the daemon does, past an exit node.
func (s *Sock) dialer() *net.Dialer {
	return &net.Dialer{Timeout: dialTime, Control: Marked(s.cfg.Mark), Resolver: s.cfg.Resolver}
}

// checkTCP gives how long a connection to a relay's WebSocket port took; 0: there was none.
func (s *Sock) checkTCP(ctx context.Context, at string) time.Duration {
	u, err := url.Parse(at)
	if err != nil || u.Hostname() == "" {
		return 0
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	began := time.Now()
	conn, err := s.dialer().DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return 0
	}
	_ = conn.Close()
	return max(time.Since(began), time.Microsecond)
}

// checkPortal asks the first relay's host over plain HTTP, which is what a captive portal answers in its stead.
func (s *Sock) checkPortal(ctx context.Context, relays []coord.Relay) ipc.NetcheckPortal {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	for _, r := range relays {
		u, err := url.Parse(r.URL)
		if err != nil || u.Hostname() == "" {
			continue
		}
		c := http.Client{
			Transport:     &http.Transport{DialContext: s.dialer().DialContext, DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		plain := url.URL{Scheme: "http", Host: u.Hostname(), Path: "/"}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && a.Is6() {
			plain.Host = "[" + u.Hostname() + "]"
		}
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, plain.String(), nil)
		if err != nil {
			continue
		}
		a, err := c.Do(q)
		if err != nil {
			return ipc.NetcheckPortal{Found: ipc.Unknown}
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(a.Body, 4096))
		_ = a.Body.Close()
		return netcheck.Portal(u.Hostname(), a.StatusCode, a.Header.Get("Location"))
	}
	return ipc.NetcheckPortal{Found: ipc.Unknown}
}
