package tunnel

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/warren-mesh/warren/coord/key"
)

// DefaultName and DefaultMTU are the interface's, unless said otherwise.
const (
	DefaultName = "warren0"
	DefaultMTU  = 1280 // the least that IPv6 allows (RFC 8200, section 5), so that it fits through every path
)

// ErrClosed is returned after Close, and after the interface was deleted under the tunnel.
var ErrClosed = errors.New("the tunnel is closed")

// Config is what a Tunnel is made of.
type Config struct {
	Name     string // of the interface; DefaultName if empty
	MTU      int    // in bytes; DefaultMTU if 0
	Pad      int    // no packet that is not longer is padded beyond that many bytes; MTU if 0
	NodeKey  key.Node
	Bind     conn.Bind // carries the sealed packets; Close closes it
	Port     uint16    // for Bind to open; 0: it chooses
	Log      *slog.Logger
	SkipUAPI bool // do not answer the wg tool
}

// Tunnel is a running WireGuard device. Its methods may be called from several goroutines.
type Tunnel struct {
	name string
	log  *slog.Logger
	self key.NodePublic
	dev  *device.Device
	bind *uncrossed
	calm *calm
	uapi *uapi // nil: SkipUAPI

	mu    sync.Mutex
	peers map[key.NodePublic]*Peer // what the device has, as far as we told it
	done  bool
}

// New makes the interface and opens the Bind. Errors say what to do: no TUN in this kernel or container, no permission,
// a name that is taken, a port that is taken.
func New(cfg Config) (*Tunnel, error) {
	if cfg.Name == "" {
		cfg.Name = DefaultName
	}
	if cfg.MTU == 0 {
		cfg.MTU = DefaultMTU
	}
	if cfg.Pad == 0 {
		cfg.Pad = cfg.MTU
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.NodeKey.IsZero() {
		return nil, errors.New("a tunnel needs a node key")
	}
	c := newCalm(cfg.Log)
	tun, err := createTUN(cfg.Name, cfg.MTU, cfg.Pad, c)
	if err != nil {
		return nil, err
	}
	return on(tun, c, cfg)
}

// on makes the tunnel on a TUN, which it closes.
func on(tun tun.Device, c *calm, cfg Config) (*Tunnel, error) {
	t := &Tunnel{
		name: cfg.Name, log: cfg.Log, self: cfg.NodeKey.Public(),
		bind: uncross(cfg.Bind), calm: c, peers: make(map[key.NodePublic]*Peer),
	}
	t.dev = device.NewDevice(tun, t.bind, logger(cfg.Log))
	// A peer's endpoint is the one that we named: a packet of its that arrives by another's path moves nothing.
	t.dev.DisableSomeRoamingForBrokenMobileSemantics()
	secret := cfg.NodeKey.Bytes()
	if err := t.dev.IpcSet("private_key=" + hex.EncodeToString(secret[:])); err != nil {
		t.Close()
		return nil, fmt.Errorf("cannot set the node key: %w", err)
	}
	if err := errors.Join(t.SetPort(cfg.Port), t.dev.Up()); err != nil { // the first only notes it, the second opens it
		t.Close()
		return nil, fmt.Errorf("cannot open UDP port %d: %w", cfg.Port, err)
	}
	if !cfg.SkipUAPI {
		var err error
		if t.uapi, err = listenUAPI(cfg.Name, t.answer, cfg.Log); err != nil {
			// The tunnel works without; only the wg tool does not.
			cfg.Log.Warn("the wg tool will not see the tunnel", "err", err)
		}
	}
	return t, nil
}

// Name is the interface's.
func (t *Tunnel) Name() string { return t.name }

// SetPort opens the Bind on another port. Sessions hold.
func (t *Tunnel) SetPort(port uint16) error {
	if err := t.dev.IpcSet(fmt.Sprintf("listen_port=%d", port)); err != nil {
		return fmt.Errorf("cannot open UDP port %d: %w", port, err)
	}
	return nil
}

// Done is closed when the device stopped: by Close, or because the interface was deleted under it.
func (t *Tunnel) Done() <-chan struct{} { return t.dev.Wait() }

// Close stops the device, closes the Bind and removes the interface.
func (t *Tunnel) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return
	}
	t.done = true
	if t.uapi != nil {
		t.uapi.close()
	}
	t.dev.Close()
	t.calm.stop()
	clear(t.peers)
	giveBack() // a device that is closed leaves its buffers, and the next one begins with new ones
}
