package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay/internal/udpbatch"
)

// Path is where Handler expects the WebSockets of clients.
const Path = "/relay"

const (
	sweepEvery = 5 * time.Second
	// stopTime is how long WebSockets have at the end for what their clients have not taken yet.
	stopTime = time.Second

	// batch is how many messages one system call receives or sends; with offloads each is up to 64 datagrams.
	batch = 64
	// maxSockets bounds the sockets of the UDP port, of which there is one for each processor.
	maxSockets = 16
	// lentBatch is that of the senders that WebSocket readers borrow.
	lentBatch = 16
)

// Config says what a relay serves.
type Config struct {
	UDP   string      // "host:port" for relaying and STUN, ":3478" for all addresses; empty: none
	HTTPS string      // "host:port" for WebSockets; empty: none of its own (see Handler)
	TLS   *tls.Config // needed with HTTPS; what NextProtos has is offered beside HTTP/1.1

	// Metrics is "host:port" of plain HTTP with /metrics and /healthz, which is nobody's business but the operator's;
	// empty: none.
	Metrics string

	Key     key.Relay
	Issuers []key.ServerPublic // the coordination servers whose tickets admit; without one nobody is admitted
	Limits  Limits

	// Control prepares each UDP socket, as net.ListenConfig.Control does; nil: nothing is to prepare.
	Control func(network, address string, c syscall.RawConn) error
	// Lone leaves out the port beside that of UDP, which shows clients what their NATs do: this relay is no STUN server of the network.
	Lone bool

	Log *slog.Logger // nil: nothing is logged
}

// What New refuses.
var (
	ErrNoIssuer = errors.New("the relay has no issuer: name at least one coordination server whose network it serves")
	ErrNoKey    = errors.New("the relay has no key")
	ErrNoTLS    = errors.New("HTTPS needs a certificate")
)

// Server is a relay.
type Server struct {
	cfg     Config
	hub     *hub
	udp     []*udpbatch.Conn     // one port; none: no UDP
	two     *second              // nil: none
	https   net.Listener         // nil: none
	metrics net.Listener         // nil: none
	metered *prometheus.Registry // what Metrics shows
	senders sync.Pool            // of *udpbatch.Sender
	lent    atomic.Uint32

	strangers strangers
	sockets   sync.Map // *webSocket -> nil

	mu      sync.Mutex
	stopped bool
	running sync.WaitGroup // of WebSockets
}

// New opens the sockets. It fails closed: without an issuer it returns ErrNoIssuer.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Key.IsZero():
		return nil, ErrNoKey
	case len(cfg.Issuers) == 0:
		return nil, ErrNoIssuer
	case cfg.HTTPS != "" && cfg.TLS == nil:
		return nil, ErrNoTLS
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, hub: newHub(cfg, time.Now()), metered: prometheus.NewRegistry()}
	if err := s.meter(); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	if err := s.open(); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) open() (err error) {
	if s.cfg.UDP != "" {
		if s.udp, err = udpbatch.Listen(context.Background(), s.cfg.UDP, min(runtime.GOMAXPROCS(0), maxSockets), s.cfg.Control); err != nil {
			return fmt.Errorf("cannot listen on UDP %s: %w", s.cfg.UDP, err)
		}
		if got, wanted := s.udp[0].ReceiveBuffer(); got < wanted {
			s.cfg.Log.Info("the system gives the UDP socket little room, and bursts may be lost: raise it with sysctl net.core.rmem_max",
				"bytes", got, "wanted", wanted, "sysctl", fmt.Sprint("net.core.rmem_max=", wanted/2))
		}
		s.senders.New = func() any { return s.udp[int(s.lent.Add(1))%len(s.udp)].NewSender(lentBatch) }
		if !s.cfg.Lone {
			s.two = s.listenSecond()
		}
	}
	if s.https, err = listenTCP(s.cfg.HTTPS); err != nil {
		return err
	}
	s.metrics, err = listenTCP(s.cfg.Metrics)
	return err
}

// listenTCP listens on the address, if there is one.
func listenTCP(address string) (net.Listener, error) {
	if address == "" {
		return nil, nil //nolint:nilnil // none is asked for
	}
	l, err := Listen(address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on TCP %s: %w", address, err)
	}
	return l, nil
}

// UDPAddr gives the UDP socket's address, the zero one where there is none.
func (s *Server) UDPAddr() netip.AddrPort {
	if len(s.udp) == 0 {
		return netip.AddrPort{}
	}
	return s.udp[0].LocalAddr()
}

// HTTPSAddr gives the HTTPS listener's address, the zero one where there is none.
func (s *Server) HTTPSAddr() netip.AddrPort {
	if s.https == nil {
		return netip.AddrPort{}
	}
	return s.https.Addr().(*net.TCPAddr).AddrPort()
}

// Sessions gives how many nodes have a session.
func (s *Server) Sessions() int { return int(s.hub.sessions.size.Load()) }

// Close closes the sockets of a server that is not going to Serve.
func (s *Server) Close() error {
	var errs []error
	for _, c := range s.udp {
		errs = append(errs, c.Close())
	}
	s.two.close()
	for _, l := range []net.Listener{s.https, s.metrics} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// Handler serves the WebSockets at Path, for a program that has an HTTPS server of its own; they end with Serve.
// Path must reach it as it is, and over HTTP/1.1.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path, s.serveWebSocket)
	mux.HandleFunc("GET /healthz", healthy)
	return mux
}

// Serve relays until ctx ends, then tells the clients so, closes everything and returns nil. It may be called once.
func (s *Server) Serve(ctx context.Context) error {
	var work sync.WaitGroup
	failed := make(chan error, 2)
	web, metrics := s.webServer(s.Handler()), s.webServer(s.metricsHandler())
	if s.https != nil {
		web.TLSConfig = s.cfg.TLS.Clone()
		web.TLSConfig.DynamicRecordSizingDisabled = true                                 // no page waits for its first lines
		web.TLSConfig.NextProtos = append([]string{"http/1.1"}, s.cfg.TLS.NextProtos...) // no h2: a WebSocket needs a connection of its own
		work.Go(func() { failed <- web.ServeTLS(s.https, "", "") })
	}
	if s.metrics != nil {
		work.Go(func() { failed <- metrics.Serve(s.metrics) })
	}
	for _, c := range s.udp {
		work.Go(func() { s.serveUDP(c) })
	}
	if s.two != nil {
		work.Go(func() { s.two.serve(&s.hub.count.stun) })
	}
	err := s.attend(ctx, failed)
	s.stop()
	late := time.AfterFunc(stopTime, s.cut)
	defer late.Stop()
	_ = web.Close()
	_ = metrics.Close()
	for _, c := range s.udp {
		_ = c.Close()
	}
	s.two.close()
	s.running.Wait()
	work.Wait()
	return err
}

// attend sweeps now and then until the end.
func (s *Server) attend(ctx context.Context, failed <-chan error) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return fmt.Errorf("the web server ended: %w", err)
		case now := <-tick.C:
			sender := s.borrow()
			s.hub.sweep(asOutlet(sender), now)
			s.giveBack(sender)
		}
	}
}

// asOutlet keeps a nil sender nil.
func asOutlet(sender *udpbatch.Sender) outlet {
	if sender == nil {
		return nil
	}
	return sender
}

// serveUDP receives on a socket and forwards by it until it is closed.
func (s *Server) serveUDP(udp *udpbatch.Conn) {
	receiver, sender := udp.NewReceiver(batch), udp.NewSender(batch)
	f := forwarder{hub: s.hub, out: sender, two: s.two}
	for {
		n, err := receiver.Receive()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of one earlier datagram; the socket lives
		}
		f.begin(time.Now())
		for i := range n {
			from, data, size := receiver.Run(i)
			f.run(origin{addr: from}, data, size)
		}
		f.end()
		s.flush(sender)
	}
}
