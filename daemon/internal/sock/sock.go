package sock

import (
	"context"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
)

// Sock is WireGuard's conn.Bind, and the paths behind it.
type Sock struct {
	cfg Config
}

// New makes a Sock. Nothing happens before Run.
func New(cfg Config) *Sock { return &Sock{cfg: cfg} }

// Bind gives the conn.Bind to build the WireGuard device with. Its endpoints are named by the peer's key:
// "endpoint=" + key.NodePublic.String(). The links to relays live while the device is up.
// Call device.DisableSomeRoamingForBrokenMobileSemantics before adding peers: where packets go is decided here.
func (s *Sock) Bind() conn.Bind { return nil }

// Run is the loop. It returns when ctx is done, after all that it started has ended.
func (s *Sock) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// Port gives the UDP port that is listened on, 0 while the device is down.
func (s *Sock) Port() uint16 { return 0 }

// SetNetwork says which addresses are the network's own: these are never candidates.
func (s *Sock) SetNetwork(coord.Network) {}

// SetPeers replaces the peers. It returns at once.
func (s *Sock) SetPeers([]Peer) {}

// SetRelays replaces the relays, and the ticket to show them. It returns at once.
func (s *Sock) SetRelays([]coord.Relay, []byte) {}

// NetworkChanged says that addresses or routes of this machine changed. It returns at once.
func (s *Sock) NetworkChanged() {}

// Snapshot gives the present state.
func (s *Sock) Snapshot() Status { return Status{} }

// Ping sends a probe to the peer over the present path, and waits for the answer until ctx is done.
func (s *Sock) Ping(context.Context, key.NodePublic) (PingResult, error) {
	return PingResult{}, ErrUnknownPeer
}
