package sock

import (
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord"
)

// localStatus is what Snapshot reads beside the peers' own. It is never changed.
type localStatus struct {
	endpoints []coord.Endpoint
	home      coord.RelayID
	blocked   bool
	peers     []*Endpoint
	relays    []RelayStatus
}

// publishLocal makes the present state the one that Snapshot reads.
func (l *loop) publishLocal() {
	st := &localStatus{endpoints: l.local.endpoints, home: l.relays.published, blocked: l.local.blocked}
	for _, p := range l.peers {
		st.peers = append(st.peers, p.ep)
	}
	for _, r := range l.relays.list {
		rs := RelayStatus{ID: r.ID, Name: r.Name, Home: r.ID == l.relays.home, Latency: l.relays.homing.latency[r.ID]}
		if is := l.linkOf(r.ID); is != nil {
			state := is.client.State()
			rs.Up, rs.Transport = state.Connected, string(state.Transport)
			if state.Err != nil {
				rs.Error = state.Err.Error()
			}
		}
		st.relays = append(st.relays, rs)
	}
	for _, r := range l.nodes.list {
		rs := RelayStatus{ID: nodeRelayID(r.Node), Name: r.Name, Machine: true, Latency: l.nodes.found[r.Node].latency}
		if is := l.linkOf(rs.ID); is != nil {
			state := is.client.State()
			rs.Up, rs.Transport = state.Connected, string(state.Transport)
		}
		if rs.Up || rs.Latency > 0 { // that others are not reached is no fault: often they cannot be
			st.relays = append(st.relays, rs)
		}
	}
	l.status.Store(st)
}

// publishPeer makes the state of a path the one that Snapshot reads.
func (l *loop) publishPeer(p *peer) {
	is, stats, use := p.machine.Path(), p.machine.Stats(), p.ep.path.Load()
	st := &PathStatus{
		Key: p.Key, Kind: PathNone, Addr: is.Direct, Doubt: stats.Doubt, Active: stats.Active, MTU: p.machine.MTU(),
		Relay: p.Relay,
		Since: stats.Since, Reason: stats.Reason, Switches: stats.Switches,
	}
	switch {
	case is.Direct.IsValid():
		st.Kind, st.Latency = PathDirect, stats.Latency
	case use != nil && use.relay:
		st.Kind, st.Latency, st.Relay = PathRelay, p.relayLatency, use.link.relay.ID
	}
	st.RelayName = l.relayName(st.Relay)
	if n := len(p.history); n == 0 && st.Kind != PathNone || n > 0 && (p.history[n-1].Kind != st.Kind || p.history[n-1].Addr != st.Addr ||
		st.Kind == PathRelay && p.history[n-1].RelayName != st.RelayName) {
		now := PathChange{At: stats.Since, Kind: st.Kind, Addr: st.Addr, Reason: st.Reason}
		if st.Kind == PathRelay {
			now.RelayName = st.RelayName
		}
		p.history = append(slices.Clone(p.history[max(0, n+1-maxHistory):]), now)
	}
	st.History = p.history
	p.shown = stats
	p.ep.status.Store(st)
	l.moved = true
}

// Snapshot gives the present state.
func (s *Sock) Snapshot() Status {
	now := s.status.Load()
	st := Status{
		Port: s.Port(), Endpoints: now.endpoints, Home: now.home, UDPBlocked: now.blocked, Relays: now.relays,
		Drops: Drops{
			NoPath: s.drops.noPath.Load(), Relay: s.drops.relay.Load(), Stranger: s.drops.stranger.Load(),
			Junk: s.drops.junk.Load(), Replay: s.drops.replay.Load(), Overload: s.drops.overload.Load(),
			SendErrors: s.drops.sendErrors.Load(),
		},
	}
	for _, e := range now.peers {
		ps := e.status.Load()
		if ps == nil {
			continue // removed since
		}
		one := *ps
		if at := e.received.Load(); at != 0 {
			one.LastReceived = time.Unix(at, 0)
		}
		st.Peers = append(st.Peers, one)
	}
	return st
}
