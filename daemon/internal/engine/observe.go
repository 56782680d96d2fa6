package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/core"
	"github.com/warren-mesh/warren/daemon/internal/firewall"
	"github.com/warren-mesh/warren/daemon/internal/netcheck"
	"github.com/warren-mesh/warren/daemon/internal/sock"
	"github.com/warren-mesh/warren/ipc"
)

// Observe implements Plane.
func (w *wire) Observe(f *core.Facts) {
	s := w.sock.Snapshot()
	f.Interface, f.Port, f.Endpoints = w.tunnel.Name(), s.Port, s.Endpoints
	f.Paths = make(map[key.NodePublic]ipc.Path, len(s.Peers))
	f.Histories = make(map[key.NodePublic][]ipc.PathChange)
	for i := range s.Peers {
		p := &s.Peers[i]
		f.Paths[p.Key] = path(p)
		for _, c := range p.History {
			f.Histories[p.Key] = append(f.Histories[p.Key], change(c))
		}
	}
	f.Traffic, f.Cut = w.Traffic(), w.router.Cut()
	for _, r := range s.Relays {
		f.Relays = append(f.Relays, ipc.Relay{
			Name: r.Name, Home: r.Home, Machine: r.Machine, Transport: r.Transport, Latency: ipc.Millis(r.Latency),
			Link: ipc.Link{Connected: r.Up, Error: r.Error},
		})
	}
	f.Relayed = core.Relayed(w.relay.Relayed())
	f.Drops = drops(s.Drops, w.access.Drops())
	f.Failures = append(f.Failures, w.problems...)
	names := w.dns.Status()
	f.DNS = &names.DNS
	f.Failures = append(f.Failures, names.Problems...)
	if s.UDPBlocked && slices.ContainsFunc(s.Relays, func(r sock.RelayStatus) bool { return r.Up }) { // otherwise nothing gets through at all
		f.Failures = append(f.Failures, ipc.Problem{
			Code: ipc.ProblemUDPBlocked, Text: "This network lets no UDP through: every connection goes through a relay.",
			Fix: "Allow outgoing UDP in the network's firewall for direct connections.",
		})
	}
}

// Traffic implements Plane.
func (w *wire) Traffic() map[key.NodePublic]core.Traffic {
	stats, err := w.tunnel.Stats()
	if err != nil {
		w.cfg.Log.Debug("no statistics", "err", err)
	}
	traffic := make(map[key.NodePublic]core.Traffic, len(stats))
	for k, t := range stats {
		traffic[k] = core.Traffic{LastHandshake: t.LastHandshake, Rx: t.Rx, Tx: t.Tx}
	}
	return traffic
}

func path(s *sock.PathStatus) ipc.Path {
	p := ipc.Path{Kind: ipc.PathNone, Latency: ipc.Millis(s.Latency), Code: s.Reason.Code(), Reason: s.Reason.String(), Since: s.Since, Switches: s.Switches, MTU: s.MTU}
	switch s.Kind {
	case sock.PathDirect:
		p.Kind, p.Endpoint = ipc.PathDirect, s.Addr
	case sock.PathRelay:
		p.Kind, p.Relay = ipc.PathRelay, s.RelayName
	}
	if !s.Active {
		p.Kind = ipc.PathNone
	}
	return p
}

func change(c sock.PathChange) ipc.PathChange {
	to := ipc.PathChange{At: c.At, Kind: ipc.PathKind(c.Kind), Code: c.Reason.Code(), Reason: c.Reason.String()}
	switch c.Kind {
	case sock.PathDirect:
		to.Via = c.Addr.String()
	case sock.PathRelay:
		to.Via = c.RelayName
	}
	return to
}

func drops(d sock.Drops, kept map[string]uint64) ipc.Drops {
	out := ipc.Drops{}
	for name, n := range map[string]uint64{
		"no-path": d.NoPath, "relay-full": d.Relay, "stranger": d.Stranger, "junk": d.Junk,
		"replay": d.Replay, "overload": d.Overload, "send-error": d.SendErrors,
		ipc.DropNoRule: kept[firewall.DropDenied], ipc.DropSpoofed: kept[firewall.DropSpoofed],
		ipc.DropUnasked: kept[firewall.DropUnasked], ipc.DropRevoked: kept[firewall.DropEnded],
	} {
		if n > 0 {
			out[name] = n
		}
	}
	return out
}

// Ping implements Plane.
func (w *wire) Ping(ctx context.Context, k key.NodePublic) (ipc.Path, error) {
	r, err := w.sock.Ping(ctx, k)
	if err != nil {
		return ipc.Path{}, err
	}
	p := ipc.Path{Kind: ipc.PathKind(r.Kind), Endpoint: r.Addr, Latency: ipc.Millis(r.Latency)}
	for _, s := range w.sock.Snapshot().Relays {
		if s.ID == r.Relay {
			p.Relay = s.Name
		}
	}
	return p, nil
}

// Explain implements Plane.
func (w *wire) Explain(ctx context.Context, k key.NodePublic, online bool) (tried []ipc.PathTry, advice []ipc.Advice, err error) {
	e, err := w.sock.Explain(ctx, k)
	if err != nil {
		return nil, nil, err
	}
	direct, asked := false, false
	for _, t := range e.Tries {
		try := ipc.PathTry{
			Addr: t.Addr, Local: t.Local, Tried: !t.Probed.IsZero(), Latency: ipc.Millis(t.Latency),
			Answers: !t.Answered.IsZero() && t.Probed.Sub(t.Answered) < answersFor,
		}
		direct, asked = direct || try.Answers, asked || try.Tried
		tried = append(tried, try)
	}
	slices.SortStableFunc(tried, func(a, b ipc.PathTry) int { return order(a) - order(b) })
	switch {
	case direct, !asked && len(tried) > 0 && !e.UDPBlocked: // or there was no traffic yet
	case online && w.silent(ctx, k):
		advice = netcheck.Silent(e.Heard, time.Now())
	case online:
		advice = netcheck.Obstacles(netcheck.Pair{
			Blocked: e.UDPBlocked, OwnHard: e.OwnHard, PeerHard: e.PeerHard, Mapped: e.Mapped, Relayed: e.Relayed,
			Tried: len(tried) > 0, Searches: e.Searches, Searching: e.Searching, Shared: e.Shared,
		})
	}
	return tried, advice, nil
}

// silent reports whether a peer could be asked just now, and did not answer.
func (w *wire) silent(ctx context.Context, k key.NodePublic) bool {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	return errors.Is(w.sock.Ask(ctx, k), sock.ErrNoAnswer)
}

// askFor is longer than any way, and enough for four tries.
const askFor = 2 * time.Second

// answersFor is how long an address that answered counts as one that does, while it is probed again.
const answersFor = 5 * time.Second

// order puts what answers first, and what was not tried last.
func order(t ipc.PathTry) int {
	switch {
	case t.Answers:
		return 0
	case t.Tried:
		return 1
	}
	return 2
}
