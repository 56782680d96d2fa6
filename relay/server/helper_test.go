package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

func TestMain(m *testing.M) {
	if args := os.Getenv(processEnv); args != "" {
		if err := beRelay(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// deadline is for what takes milliseconds.
const deadline = 20 * time.Second

// network is a coordination server and a relay that serves it.
type network struct {
	t      testing.TB
	issuer key.Server
	key    key.Relay
	host   string // of a relay in a process of its own
	cert   tls.Certificate
	pin    []byte

	server *Server
	stop   func()
}

func newNetwork(t testing.TB) *network {
	t.Helper()
	n := &network{t: t, issuer: key.NewServer(), key: key.NewRelay(), host: "127.0.0.1"}
	var err error
	if n.cert, n.pin, err = newCert(); err != nil {
		t.Fatal(err)
	}
	return n
}

func newCert() (cert tls.Certificate, pin []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)},
		&x509.Certificate{SerialNumber: big.NewInt(1)}, &k.PublicKey, k)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}, sum(der), err
}

func sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}

// serve starts the relay on the addresses, of which either may be empty.
func (n *network) serve(udp, https string) {
	n.t.Helper()
	s, err := New(Config{
		UDP: udp, HTTPS: https, TLS: &tls.Config{Certificates: []tls.Certificate{n.cert}},
		Key: n.key, Issuers: []key.ServerPublic{n.issuer.Public()},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	n.server = s
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			n.t.Error(err)
		}
	})
	n.t.Cleanup(n.stop)
}

func (n *network) ticket(node key.Node) []byte {
	return relay.Ticket{Node: node.Public(), NotAfter: time.Now().Add(time.Hour)}.Sign(n.issuer)
}

// peer is a client with all that it received and saw.
type peer struct {
	*relay.Client
	t    testing.TB
	node key.Node
	got  chan packet
	end  func()

	mu      sync.Mutex
	changed chan struct{}
	state   relay.State
	absent  []relay.Address
}

type packet struct {
	from relay.Address
	text string
}

// config is a client's for the network's relay as it serves now.
func (n *network) config(node key.Node) relay.ClientConfig {
	cfg := relay.ClientConfig{
		Name: "test", Key: n.key.Public(), Cert: n.pin, Node: node,
		Ticket: func() []byte { return n.ticket(node) },
	}
	if n.server == nil { // it is elsewhere
		return cfg
	}
	if a := n.server.UDPAddr(); a.IsValid() {
		cfg.UDP = a.String()
	}
	if a := n.server.HTTPSAddr(); a.IsValid() {
		cfg.URL = fmt.Sprintf("https://%s%s", a, Path)
	}
	return cfg
}

func (n *network) join(change func(*relay.ClientConfig)) *peer {
	n.t.Helper()
	cfg := n.config(key.NewNode())
	if change != nil {
		change(&cfg)
	}
	return start(n.t, cfg)
}

func start(t testing.TB, cfg relay.ClientConfig) *peer { return startWith(t, cfg, (*peer).receive) }

func startWith(t testing.TB, cfg relay.ClientConfig, receive func(*peer)) *peer {
	p := &peer{t: t, node: cfg.Node, got: make(chan packet, 1000), changed: make(chan struct{})}
	cfg.OnState = func(s relay.State) { p.change(func() { p.state = s }) }
	cfg.OnAbsent = func(a relay.Address) { p.change(func() { p.absent = append(p.absent, a) }) }
	p.Client = relay.NewClient(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	work.Go(func() { receive(p) })
	p.end = sync.OnceFunc(func() { cancel(); work.Wait() })
	t.Cleanup(p.end)
	return p
}

func (p *peer) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *peer) receive() {
	bufs, sizes, from := make([][]byte, 16), make([]int, 16), make([]relay.Address, 16)
	for i := range bufs {
		bufs[i] = make([]byte, 2000)
	}
	for {
		n, err := p.Receive(bufs, sizes, from)
		if errors.Is(err, relay.ErrClosed) {
			return
		}
		if err != nil {
			p.t.Error(err)
			return
		}
		for i := range n {
			select {
			case p.got <- packet{from[i], string(bufs[i][:sizes[i]])}:
			default:
			}
		}
	}
}

// wait waits until the state is so, and gives how long that took.
func (p *peer) wait(what string, so func(relay.State) bool) time.Duration {
	p.t.Helper()
	return p.waitFor(deadline, what, so)
}

// waitFor is wait for what may take longer.
func (p *peer) waitFor(patience time.Duration, what string, so func(relay.State) bool) time.Duration {
	p.t.Helper()
	begun := time.Now()
	limit := time.After(patience)
	for {
		p.mu.Lock()
		s, changed := p.state, p.changed
		p.mu.Unlock()
		if so(s) {
			return time.Since(begun)
		}
		select {
		case <-changed:
		case <-limit:
			p.t.Fatalf("waited in vain for: %s; state %+v", what, s)
		}
	}
}

func (p *peer) connected(by relay.Transport) *peer {
	p.t.Helper()
	p.wait("connected by "+string(by), func(s relay.State) bool { return s.Connected && s.Transport == by })
	return p
}

// reaches sends until the other has got it: what carries no promise may be lost.
func (p *peer) reaches(other *peer, text string) time.Duration {
	p.t.Helper()
	begun := time.Now()
	limit := time.After(deadline)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		if err := p.Send(other.node.Public(), [][]byte{[]byte(text)}); err != nil {
			p.t.Logf("send: %v", err)
		}
		for waiting := true; waiting; {
			select {
			case m := <-other.got:
				if m.text == text && m.from == relay.AddressOf(p.node.Public()) {
					return time.Since(begun)
				}
			case <-again.C:
				waiting = false
			case <-limit:
				p.t.Fatalf("%q did not arrive; %+v; %+v", text, p.State(), other.State())
			}
		}
	}
}
