package sock

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

const (
	inboxSize = 256 // disco datagrams on their way to the loop
	stunsSize = 32  // and STUN's, which those must not delay: a search through a hard NAT may have hundreds come at once
	notesSize = 256 // what the packets' goroutines have to tell it
)

// Sock is WireGuard's conn.Bind, and the paths behind it.
type Sock struct {
	// fixed
	cfg   Config
	log   *slog.Logger
	bind  bind
	slots [relaySlots]slot

	// to the loop
	mailbox mailbox
	inbox   chan datagram
	stuns   chan []byte
	notes   chan note

	// from the loop, never changed once published
	known   atomic.Pointer[map[netip.AddrPort]*Endpoint] // addresses proven to be a peer's
	sources atomic.Pointer[map[relay.Address]*Endpoint]
	discos  atomic.Pointer[map[key.DiscoPublic]*Endpoint]
	status  atomic.Pointer[localStatus]
	drops   drops

	checking atomic.Bool // a Check runs

	mu        sync.Mutex
	endpoints map[key.NodePublic]*Endpoint // guarded by mu
}

// drops are Drops while they are counted.
type drops struct {
	noPath, relay, stranger, junk, replay, overload, sendErrors atomic.Uint64
}

// note is what the goroutines of packets tell the loop. They never wait for it.
type note struct {
	kind   noteKind
	ep     *Endpoint
	addr   netip.AddrPort
	source relay.Address
}

type noteKind uint8

const (
	noteWake       noteKind = iota // first traffic after a while
	noteInitiation                 // WireGuard began a handshake
	noteAnswered                   // the handshake was answered
	noteFailed                     // the system refused to send to addr
	noteStranger                   // a handshake came through a relay, from a source that is no peer yet
)

// New makes a Sock. Nothing happens before Run.
func New(cfg Config) *Sock {
	s := &Sock{
		cfg: cfg, log: cfg.Log,
		inbox: make(chan datagram, inboxSize), stuns: make(chan []byte, stunsSize), notes: make(chan note, notesSize),
		endpoints: make(map[key.NodePublic]*Endpoint),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.bind.Bind, s.bind.sock = new(families), s
	s.mailbox.full = make(chan struct{}, 1)
	for i := range s.slots {
		s.slots[i].filled = make(chan struct{}, 1)
	}
	s.known.Store(&map[netip.AddrPort]*Endpoint{})
	s.sources.Store(&map[relay.Address]*Endpoint{})
	s.discos.Store(&map[key.DiscoPublic]*Endpoint{})
	s.status.Store(&localStatus{})
	return s
}

// Bind gives the conn.Bind to build the WireGuard device with. Its endpoints are named by the peer's key:
// "endpoint=" + key.NodePublic.String(). The links to relays live while the device is up.
func (s *Sock) Bind() conn.Bind { return &s.bind }

// Port gives the UDP port that is listened on, 0 while the device is down.
func (s *Sock) Port() uint16 { return uint16(s.bind.port.Load()) }

// SetNetwork says which addresses are the network's own: these are never candidates. It returns at once.
func (s *Sock) SetNetwork(n coord.Network) { s.post(func(m *mail) { m.network = &n }) }

// SetPeers replaces the peers. It returns at once, and costs the loop a look at each.
func (s *Sock) SetPeers(peers []Peer) { s.post(func(m *mail) { m.peers = &peers }) }

// SetRelays replaces the relays, and the ticket to show them. It returns at once.
func (s *Sock) SetRelays(relays []coord.Relay, ticket []byte) {
	s.post(func(m *mail) { m.relays, m.ticket = &relays, ticket })
}

// NetworkChanged says that addresses or routes of this machine changed. It returns at once.
func (s *Sock) NetworkChanged() { s.post(func(m *mail) { m.changed = true }) }

// SuspectHome says that the home relay may have gone, as when the coordination server, often the same host, has. It
// returns at once.
func (s *Sock) SuspectHome() { s.post(func(m *mail) { m.suspect = true }) }

// Ping sends a probe to the peer over the present path, and again until it is answered or ctx is done. It is traffic:
// it has a better path looked for.
func (s *Sock) Ping(ctx context.Context, k key.NodePublic) (PingResult, error) {
	return s.ask(ctx, k, false)
}

// Ask is a Ping that is no traffic: it changes nothing.
func (s *Sock) Ask(ctx context.Context, k key.NodePublic) error {
	_, err := s.ask(ctx, k, true)
	return err
}

func (s *Sock) ask(ctx context.Context, k key.NodePublic, quiet bool) (PingResult, error) {
	p := &ping{key: k, quiet: quiet, done: ctx.Done(), result: make(chan PingResult, 1), refused: make(chan error, 1)}
	s.post(func(m *mail) { m.pings = append(m.pings, p) })
	select {
	case r := <-p.result:
		return r, nil
	case err := <-p.refused:
		return PingResult{}, err
	case <-ctx.Done():
	}
	if !p.sent.Load() {
		return PingResult{}, ErrNoPath
	}
	return PingResult{}, ErrNoAnswer
}

// endpoint gives the endpoint of a peer, which may not be told yet.
func (s *Sock) endpoint(k key.NodePublic) *Endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.endpoints[k]
	if e == nil {
		e = &Endpoint{sock: s, key: k, name: k.String()}
		s.endpoints[k] = e
	}
	return e
}

// note tells the loop something, unless it has more to do than it can: then it reports false.
func (s *Sock) note(n note) bool {
	select {
	case s.notes <- n:
		return true
	default:
		return false
	}
}

// mail is what others want of the loop. The newest counts.
type mail struct {
	network  *coord.Network
	peers    *[]Peer
	relays   *[]coord.Relay
	ticket   []byte
	nodes    *[]NodeRelay
	changed  bool // the network of this machine
	opened   bool // the bind was opened or closed
	links    bool // the state of a link is another
	suspect  bool // the home relay may have gone
	absent   []absence
	resolved []resolved
	pings    []*ping
	checks   []chan<- known
	led      *led
	explain  []explainAsk
}

// mailbox is never full, and whoever puts something in never waits for the loop.
type mailbox struct {
	full chan struct{} // has one when there is mail

	mu   sync.Mutex
	mail mail // guarded by mu
}

func (s *Sock) post(put func(*mail)) {
	s.mailbox.mu.Lock()
	put(&s.mailbox.mail)
	s.mailbox.mu.Unlock()
	select {
	case s.mailbox.full <- struct{}{}:
	default:
	}
}

func (b *mailbox) take() mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.mail
	b.mail = mail{}
	return m
}

// publish makes a changed copy of a map the one that readers see.
func publish[K comparable, V any](p *atomic.Pointer[map[K]V], change func(map[K]V)) {
	m := maps.Clone(*p.Load())
	change(m)
	p.Store(&m)
}
