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
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay/internal/udpbatch"
)

// Path is where Handler expects the WebSockets of clients.
const Path = "/relay"

const (
	sweepEvery = 5 * time.Second

	// batch is how many messages one system call receives or sends; with offloads each is up to 64 datagrams.
	batch = 64
	// lentBatch is that of the senders that WebSocket readers borrow.
	lentBatch = 16

	// What a stranger may hold of the HTTPS server: a header this long, for this time.
	headerBytes = 8 << 10
	headerTime  = 5 * time.Second
)

// Config says what a relay serves.
type Config struct {
	UDP   string      // "host:port" for relaying and STUN, ":3478" for all addresses; empty: none
	HTTPS string      // "host:port" for WebSockets; empty: none of its own (see Handler)
	TLS   *tls.Config // needed with HTTPS

	Key     key.Relay
	Issuers []key.ServerPublic // the coordination servers whose tickets admit; without one nobody is admitted

	Log      *slog.Logger          // nil: nothing is logged
	Registry prometheus.Registerer // nil: no metrics
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
	udp     *udpbatch.Conn // nil: none
	https   net.Listener   // nil: none
	senders sync.Pool      // of *udpbatch.Sender

	strangers atomic.Int64 // WebSockets without a session
	sockets   sync.Map     // *webSocket -> nil

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
	s := &Server{cfg: cfg, hub: newHub(cfg.Key, cfg.Issuers, cfg.Log, time.Now())}
	if cfg.Registry != nil {
		if err := s.hub.register(cfg.Registry); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	var err error
	if cfg.UDP != "" {
		if s.udp, err = udpbatch.Listen(context.Background(), cfg.UDP); err != nil {
			return nil, fmt.Errorf("cannot listen on UDP %s: %w", cfg.UDP, err)
		}
		s.senders.New = func() any { return s.udp.NewSender(lentBatch) }
	}
	if cfg.HTTPS != "" {
		if s.https, err = net.Listen("tcp", cfg.HTTPS); err != nil {
			_ = s.Close()
			return nil, fmt.Errorf("cannot listen on TCP %s: %w", cfg.HTTPS, err)
		}
	}
	return s, nil
}

// UDPAddr gives the UDP socket's address, the zero one where there is none.
func (s *Server) UDPAddr() netip.AddrPort {
	if s.udp == nil {
		return netip.AddrPort{}
	}
	return s.udp.LocalAddr()
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
	if s.udp != nil {
		errs = append(errs, s.udp.Close())
	}
	if s.https != nil {
		errs = append(errs, s.https.Close())
	}
	return errors.Join(errs...)
}

// Handler serves the WebSockets at Path, for a program that has an HTTPS server of its own; they end with Serve.
// Path must reach it as it is, and over HTTP/1.1.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path, s.serveWebSocket)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = fmt.Fprintln(w, "ok")
	})
	return mux
}

// Serve relays until ctx ends, then tells the clients so, closes everything and returns nil. It may be called once.
func (s *Server) Serve(ctx context.Context) error {
	var work sync.WaitGroup
	failed := make(chan error, 2)
	var web *http.Server
	if s.https != nil {
		web = s.webServer()
		work.Go(func() {
			if err := web.ServeTLS(s.https, "", ""); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("HTTPS: %w", err)
			}
		})
	}
	if s.udp != nil {
		work.Go(func() { s.serveUDP() })
	}
	err := s.attend(ctx, failed)
	s.stop()
	if web != nil {
		_ = web.Close()
	}
	if s.udp != nil {
		_ = s.udp.Close()
	}
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
			return err
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

// serveUDP receives and forwards until the socket is closed.
func (s *Server) serveUDP() {
	receiver, sender := s.udp.NewReceiver(batch), s.udp.NewSender(batch)
	f := forwarder{hub: s.hub, out: sender}
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

func (s *Server) webServer() *http.Server {
	conf := s.cfg.TLS.Clone()
	conf.NextProtos = []string{"http/1.1"} // a WebSocket needs a connection of its own
	return &http.Server{
		Handler:           s.Handler(),
		TLSConfig:         conf,
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       headerTime, // of plain requests; a WebSocket has none once it is one
		WriteTimeout:      2 * headerTime,
		IdleTimeout:       headerTime,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
}

// enter lets a WebSocket in unless the server stops.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.running.Add(1)
	return true
}
