package relay

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/warren-mesh/warren/coord/key"
)

// ClientConfig says which relay to use, and as whom.
type ClientConfig struct {
	// The relay, as in the netmap.
	Name string          // for people
	Key  key.RelayPublic // what the relay proves that it has
	UDP  string          // "host:port"; empty: never over UDP
	URL  string          // "https://host:port/relay"; empty: never over WebSocket
	Cert []byte          // SHA-256 of its TLS certificate; empty: the system's authorities vouch for it

	// Who we are.
	Node   key.Node
	Ticket func() []byte // the newest ticket, nil while there is none; several may call it

	// Dropped counts packets that are lost for want of a link or of room. nil: nobody wants to know.
	Dropped *atomic.Uint64
	// Log gets what happens to the link. nil: nothing is logged.
	Log *slog.Logger
	// OnState is called from Run's goroutine after each change of State but that of Connects. It must not block. nil: not called.
	OnState func(State)
	// OnAbsent is called from within Receive when the relay hints that a node is not there. It must not block. nil: not called.
	OnAbsent func(Address)
	// Control prepares each socket before it connects, as net.Dialer.Control does (SO_MARK keeps the relay's own
	// packets out of the tunnel). nil: nothing to prepare.
	Control func(network, address string, c syscall.RawConn) error
	// Resolver finds the relay's addresses; nil: the system's.
	Resolver *net.Resolver
}

// Transport is what carries the frames.
type Transport string

// The transports.
const (
	TransportUDP       Transport = "udp"
	TransportWebSocket Transport = "websocket"
)

// State is a snapshot of a link.
type State struct {
	Connected bool
	Transport Transport      // empty while not connected
	Observed  netip.AddrPort // our address as the relay sees it
	RTT       time.Duration  // of the last Ping; 0: not measured yet
	Draining  bool           // the relay will stop soon: who has another should move there
	Err       error          // why there is no link, or why it is not UDP; its text is fit for people

	Connects uint64 // sessions opened since NewClient
}

// What can keep a link from being. They are wrapped with what was tried.
var (
	ErrNoAnswer = errors.New("no answer")
	ErrNoTicket = errors.New("the coordination server has given no ticket for relays yet")
	ErrRefused  = errors.New("the relay refused")
	ErrNoWay    = errors.New("the relay has neither a UDP address nor a URL")
	ErrClosed   = errors.New("the relay client has ended")
	ErrTooLarge = errors.New("packet is too large to be relayed")

	ErrForwardsNothing = errors.New("the relay answers, but forwards no packets: whoever runs it should look at its log")
)
