package sock

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/peerpath"
)

// Config is what a Sock is made of and never changes.
type Config struct {
	Port      uint16        // UDP port to listen on where the device asks for none; 0: a random one
	PortFixed bool          // fail where Port is taken, instead of taking another
	Node      key.Node      // proves us to relays
	Disco     key.Disco     // seals our probes
	Mark      uint32        // SO_MARK of all sockets; 0: none
	Resolver  *net.Resolver // finds relays; nil: the system's
	TUNName   string        // interface whose addresses are never published
	Log       *slog.Logger
	Events    func(Event) // called from Run's loop: it must not block, and not call back

	// For tests.
	allowLoopback bool // 127.0.0.1 may be a peer's address, and is one of ours
	noLocal       bool // addresses of interfaces are not ours
}

// Peer is a machine to talk to. The zero value of each field but Key means "not known".
type Peer struct {
	Key       key.NodePublic
	Disco     key.DiscoPublic
	Endpoints []coord.Endpoint
	Relay     coord.RelayID
}

// Event is what Sock tells its owner.
type Event interface{ sockEvent() }

// LocalEndpoints says what to publish of this machine. Home is 0 until a link to the home relay is up.
type LocalEndpoints struct {
	Endpoints []coord.Endpoint
	Home      coord.RelayID
	Missing   []key.NodePublic // peers that were just looked for at their homes, and not found there
}

// PathsChanged says that Snapshot gives something new about some peer, or about a relay.
type PathsChanged struct{}

// PeerRestarted says that a peer's process is another one now (its disco key changed), so that it has forgotten
// the session.
type PeerRestarted struct {
	Key    key.NodePublic
	Active bool // there was traffic in the last seconds, which a new session would serve
}

// MTUChanged says how large packets to a peer may be inside the tunnel, in bytes. It is told of every new peer.
type MTUChanged struct {
	Key key.NodePublic
	MTU int
}

func (LocalEndpoints) sockEvent() {}
func (PathsChanged) sockEvent()   {}
func (PeerRestarted) sockEvent()  {}
func (MTUChanged) sockEvent()     {}

// PathKind says what carries a peer's packets.
type PathKind string

// The kinds of paths.
const (
	PathNone   PathKind = "none"
	PathRelay  PathKind = "relay"
	PathDirect PathKind = "direct"
)

// PathStatus is what there is to know of the path to one peer.
type PathStatus struct {
	Key          key.NodePublic
	Kind         PathKind
	Addr         netip.AddrPort // of the direct path
	Doubt        bool           // Addr has not been proven lately: packets also go through the relay
	Active       bool           // there was traffic in the last seconds; otherwise nothing is sent, and nothing known
	Relay        coord.RelayID  // that packets take or, if they take none, the peer's home relay; 0 if none
	RelayName    string
	MTU          int             // of packets to the peer inside the tunnel, in bytes
	Latency      time.Duration   // of the last answered probe of this path; 0: none yet
	Since        time.Time       // when Kind or Addr last changed
	Reason       peerpath.Reason // why it did
	Switches     uint64          // how often Kind or Addr changed
	History      []PathChange    // oldest first, the present one last; never changed
	LastReceived time.Time       // a WireGuard packet, to about a second; zero: never
}

// maxHistory is how many changes of a peer's path are kept: what a person can take in at a glance.
const maxHistory = 16

// PathChange is a path that was taken at some time.
type PathChange struct {
	At        time.Time
	Kind      PathKind
	Addr      netip.AddrPort
	RelayName string
	Reason    peerpath.Reason
}

// RelayStatus is what there is to know of one relay.
type RelayStatus struct {
	ID        coord.RelayID
	Name      string
	Home      bool
	Machine   bool // one of the network's machines: pairs that both reach it may meet there
	Up        bool
	Transport string        // "udp" or "websocket" while up
	Latency   time.Duration // of STUN; 0: no answer yet
	Error     string        // why it is not up
}

// Status is the whole of Snapshot.
type Status struct {
	Port       uint16 // 0 while the device is down
	Endpoints  []coord.Endpoint
	Home       coord.RelayID
	UDPBlocked bool // no STUN server has answered on this network
	Peers      []PathStatus
	Relays     []RelayStatus
	Drops      Drops
}

// Drops counts datagrams that went nowhere.
type Drops struct {
	NoPath     uint64 // to a peer that no path leads to
	Relay      uint64 // the relay link took no more
	Stranger   uint64 // WireGuard packets from an address or a relay source that is no proven peer
	Junk       uint64 // neither WireGuard nor STUN nor disco, or a message that does not open or parse
	Replay     uint64 // disco messages seen before
	Overload   uint64 // disco and STUN datagrams that came faster than the loop took them
	SendErrors uint64 // batches that the kernel refused
}

// PingResult is the answer to a ping.
type PingResult struct {
	Kind    PathKind
	Addr    netip.AddrPort
	Relay   coord.RelayID
	Latency time.Duration
}

// Errors of Ping.
var (
	ErrUnknownPeer = errors.New("no such peer")
	ErrNoPath      = errors.New("no path to the peer")
	ErrNoAnswer    = errors.New("the peer does not answer")
)
