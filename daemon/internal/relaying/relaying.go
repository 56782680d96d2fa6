// Package relaying has this machine relay for others of its network, where its people offer that and an admin allows it.
//
// It runs the very relay (package relay/server): who has no ticket of the network's coordination server gets no session,
// what it forwards is sealed, and its bounds and its fairness are a relay server's. It answers STUN on its one port, by which
// others find out whether they can reach it; it is none of the servers from which they learn of their NATs.
package relaying

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/portmap"
	"github.com/warren-mesh/warren/relay/server"
)

// Config is what a Relay is made of.
type Config struct {
	Node    key.Node
	Issuer  key.ServerPublic // whose tickets admit
	Port    uint16           // UDP; where another program has it, another is taken
	Control func(network, address string, c syscall.RawConn) error
	Log     *slog.Logger

	// Moved is told when Offer says something else; it returns at once. Nil: the router is asked for no port that leads here.
	Moved func()
}

// Relay is this machine's, running or not. It has one owner, who calls it from one goroutine at a time.
type Relay struct {
	cfg    Config
	port   uint16
	rate   int64
	server *server.Server
	stop   func() // nil: it does not run

	network chan struct{}                  // has one after the host's network changed
	outer   atomic.Pointer[netip.AddrPort] // the router's address that leads here; nil: none
}

// New makes one that does not run.
func New(cfg Config) *Relay { return &Relay{cfg: cfg, port: cfg.Port, network: make(chan struct{}, 1)} }

// NetworkChanged is for new addresses and routes of this host. Anybody may call it.
func (r *Relay) NetworkChanged() {
	select {
	case r.network <- struct{}{}:
	default:
	}
}

// PortBeside gives the port for relaying beside that of WireGuard, which a person who leads ports here finds.
func PortBeside(wireguard uint16) uint16 {
	if wireguard == 65535 {
		return wireguard - 1
	}
	return wireguard + 1
}

// Want has it run, or not, and relay at most so many bytes per second, of all together; 0 is no bound. Where it cannot run,
// the next call tries again.
func (r *Relay) Want(run bool, rate int64) error {
	limits := server.Limits{NetworkRate: rate}
	if r.stop != nil && run && rate != r.rate {
		r.server.SetLimits(limits)
	}
	r.rate = rate
	if run == (r.stop != nil) {
		return nil
	}
	if !run {
		r.stop()
		r.stop, r.server = nil, nil
		return nil
	}
	cfg := server.Config{
		UDP: fmt.Sprint(":", r.cfg.Port), Key: r.cfg.Node.Relay(), Issuers: []key.ServerPublic{r.cfg.Issuer},
		Limits: limits, Control: r.cfg.Control, Lone: true, Log: r.cfg.Log,
	}
	s, err := server.New(cfg)
	if errors.Is(err, syscall.EADDRINUSE) {
		cfg.UDP = ":0"
		s, err = server.New(cfg)
	}
	if err != nil {
		return fmt.Errorf("this machine cannot relay: %w", err)
	}
	r.server, r.port = s, s.UDPAddr().Port()
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(ctx); err != nil {
			r.cfg.Log.Error("this machine relays no more", "err", err)
		}
	})
	if r.cfg.Moved != nil {
		serving.Go(func() { r.lead(ctx) })
	}
	r.stop = func() { cancel(); serving.Wait() }
	return nil
}

// lead has the router before this machine lead a port here, if it does that: from outside nobody else would get in.
func (r *Relay) lead(ctx context.Context) {
	defer r.outer.Store(nil)
	portmap.Keep(ctx, r.cfg.Control, r.port, r.network, func(g *portmap.Grant) {
		var outer *netip.AddrPort
		if g != nil && coord.ValidEndpoint(g.External, nil) && !g.External.Addr().IsPrivate() { // as behind a carrier's NAT
			r.cfg.Log.Info("the router leads a port to this machine's relay", "at", g.External)
			outer = &g.External
		}
		r.outer.Store(outer)
		r.cfg.Moved()
	})
}

// Close ends it.
func (r *Relay) Close() { _ = r.Want(false, r.rate) }

// Relayed is what a Relay does for others.
type Relayed struct {
	Machines int    // that have a session
	Bytes    uint64 // since it runs
	Limited  uint64 // packets dropped since it runs, as there were more than the rate lets through
}

// Relayed says what it does; nothing, while it does not run.
func (r *Relay) Relayed() Relayed {
	if r.server == nil {
		return Relayed{}
	}
	t := r.server.Traffic()
	return Relayed{Machines: r.server.Sessions(), Bytes: t.Bytes, Limited: t.Limited}
}

// Ports lists the UDP ports that it listens on.
func (r *Relay) Ports() []uint16 {
	if r.stop == nil {
		return nil
	}
	return []uint16{r.port}
}

// Offer says how this machine relays, or would: at its addresses, with those first that others on the internet may reach. A
// router whose people lead this port here is found so, too. Where they are too many, each kind has its share: a host of many IPv6
// addresses is also found by those on its LAN that have IPv4 alone.
func (r *Relay) Offer(endpoints []coord.Endpoint) *coord.Relaying {
	var kinds [4][]netip.AddrPort
	for _, e := range endpoints {
		addr := e.Addr.Addr().Unmap()
		kinds[kind(addr)] = append(kinds[kind(addr)], netip.AddrPortFrom(addr, r.port))
	}
	for i, addrs := range kinds {
		slices.SortFunc(addrs, netip.AddrPort.Compare)
		kinds[i] = slices.Compact(addrs)
	}
	if at := r.outer.Load(); at != nil {
		kinds[0] = append([]netip.AddrPort{*at}, slices.DeleteFunc(kinds[0], func(a netip.AddrPort) bool { return a == *at })...)
	}
	offer := &coord.Relaying{Key: r.cfg.Node.Relay().Public()}
	for i, n := range shares(kinds) {
		offer.Addrs = append(offer.Addrs, kinds[i][:n]...)
	}
	return offer
}

// kind is the group of an address: public IPv4, public IPv6, and then the private ones.
func kind(addr netip.Addr) (k int) {
	if addr.IsPrivate() {
		k = 2
	}
	if addr.Is6() {
		k++
	}
	return k
}

// shares gives how many of each kind are offered: one after the other, as long as there are some and room is left.
func shares(kinds [4][]netip.AddrPort) (n [4]int) {
	for left, more := coord.MaxRelayAddrs, true; more; {
		more = false
		for i := range kinds {
			if left > 0 && n[i] < len(kinds[i]) {
				n[i], left, more = n[i]+1, left-1, true
			}
		}
	}
	return n
}
