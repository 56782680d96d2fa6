// Package relaying has this machine relay for others of its network, where its people offer that and an admin allows it.
//
// It runs the very relay (package relay/server): who has no ticket of the network's coordination server gets no session,
// what it forwards is sealed, and its bounds and its fairness are a relay server's. It answers STUN on its one port, by which
// others find out whether they can reach it; it is none of the servers from which they learn of their NATs.
package relaying

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay/server"
)

// Config is what a Relay is made of.
type Config struct {
	Node    key.Node
	Issuer  key.ServerPublic // whose tickets admit
	Port    uint16           // UDP; where another program has it, another is taken
	Control func(network, address string, c syscall.RawConn) error
	Log     *slog.Logger
}

// Relay is this machine's, running or not. It has one owner, who calls it from one goroutine at a time.
type Relay struct {
	cfg  Config
	port uint16
	stop func() // nil: it does not run
}

// New makes one that does not run.
func New(cfg Config) *Relay { return &Relay{cfg: cfg, port: cfg.Port} }

// PortBeside gives the port for relaying beside that of WireGuard, which a person who leads ports here finds.
func PortBeside(wireguard uint16) uint16 {
	if wireguard == 65535 {
		return wireguard - 1
	}
	return wireguard + 1
}

// Want has it run, or not. Where it cannot, the next call tries again.
func (r *Relay) Want(run bool) error {
	if run == (r.stop != nil) {
		return nil
	}
	if !run {
		r.stop()
		r.stop = nil
		return nil
	}
	cfg := server.Config{
		UDP: fmt.Sprint(":", r.cfg.Port), Key: r.cfg.Node.Relay(), Issuers: []key.ServerPublic{r.cfg.Issuer},
		Control: r.cfg.Control, Lone: true, Log: r.cfg.Log,
	}
	s, err := server.New(cfg)
	if errors.Is(err, syscall.EADDRINUSE) {
		cfg.UDP = ":0"
		s, err = server.New(cfg)
	}
	if err != nil {
		return fmt.Errorf("this machine cannot relay: %w", err)
	}
	r.port = s.UDPAddr().Port()
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(ctx); err != nil {
			r.cfg.Log.Error("this machine relays no more", "err", err)
		}
	})
	r.stop = func() { cancel(); serving.Wait() }
	return nil
}

// Close ends it.
func (r *Relay) Close() { _ = r.Want(false) }

// Ports lists the UDP ports that it listens on.
func (r *Relay) Ports() []uint16 {
	if r.stop == nil {
		return nil
	}
	return []uint16{r.port}
}

// Offer says how this machine relays, or would: at each of its addresses, with those first that others on the internet may
// reach. A router that leads this port here is found so, too.
func (r *Relay) Offer(endpoints []coord.Endpoint) *coord.Relaying {
	offer := &coord.Relaying{Key: r.cfg.Node.Relay().Public()}
	for _, e := range endpoints {
		offer.Addrs = append(offer.Addrs, netip.AddrPortFrom(e.Addr.Addr().Unmap(), r.port))
	}
	slices.SortFunc(offer.Addrs, func(a, b netip.AddrPort) int {
		return cmp.Or(boolean(a.Addr().IsPrivate())-boolean(b.Addr().IsPrivate()), a.Compare(b))
	})
	offer.Addrs = slices.Compact(offer.Addrs)
	offer.Addrs = offer.Addrs[:min(len(offer.Addrs), coord.MaxRelayAddrs)]
	return offer
}

func boolean(is bool) int {
	if is {
		return 1
	}
	return 0
}
