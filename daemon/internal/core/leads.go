package core

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord"
)

// Wants is what the people of this machine want of routes.
type Wants struct {
	Exits    []ExitWish // the one that is preferred first; empty: the host's own way out
	AllowLAN bool       // beside the exit node
	Accept   bool       // others' subnets are reached through them

	Offer     []netip.Prefix // with an exit node's own two
	NoSNAT    bool           // packets to the subnets offered keep their source
	Relay     bool           // others may relay through this machine
	RelayRate int64          // bytes per second, at the most; 0: no bound
	Lockdown  bool
	ShieldsUp bool // nothing comes in but answers
}

// ExitWish names a machine that is wanted as exit node.
type ExitWish struct {
	Node coord.NodeID
	Name string // as it was when it was chosen
}

// Equal reports whether two are the same.
func (w *Wants) Equal(o *Wants) bool {
	return slices.Equal(w.Exits, o.Exits) && slices.Equal(w.Offer, o.Offer) &&
		w.AllowLAN == o.AllowLAN && w.Accept == o.Accept && w.NoSNAT == o.NoSNAT && w.Relay == o.Relay && w.RelayRate == o.RelayRate && w.Lockdown == o.Lockdown && w.ShieldsUp == o.ShieldsUp
}

// How exit nodes, and the routers of subnets, are judged.
const (
	// ExitPatience is how many questions in a row an exit node may leave unanswered. One may be lost on the way.
	ExitPatience = 2
	// ExitReturn is for how long one that is preferred must have answered, each time, before it is used again. One that
	// comes and goes would break every connection each time.
	ExitReturn = 30 * time.Second
	// ExitAsk is how often those that matter are asked, and ExitAnswer how long they may take. ExitRetry is how soon one is asked
	// again that missed an answer.
	ExitAsk    = 3 * time.Second
	ExitAnswer = 2 * time.Second
	ExitRetry  = 500 * time.Millisecond
	// LoneAsk is how often they are asked where nobody could take their place: it is only said then.
	LoneAsk = 10 * time.Second
	// ExitSilence is how long it takes at the most until an exit node that does not answer any more is known to: it falls silent
	// just after an answer.
	ExitSilence = ExitAsk + ExitPatience*ExitAnswer + (ExitPatience-1)*ExitRetry
)

// Leads is who leads where. It is decided anew at every netmap and every answer, and carried on: what works stays. The zero
// value has decided nothing.
type Leads struct {
	Exit    coord.NodeID                  // the exit node in use; 0: none
	Up      bool                          // and it works, as far as is known
	Routers map[netip.Prefix]coord.NodeID // who is used for a subnet
	Dark    []netip.Prefix                // of these subnets, those to which nobody leads now, as far as is known; in order

	wants  []ExitWish // at the last decision
	asks   asks
	health map[coord.NodeID]health
}

// asks is which routers of subnets are to be asked.
type asks struct {
	used   []coord.NodeID // those in use, and those of dark subnets; in order
	lost   []coord.NodeID // of these, those that are asked in any case: by them a subnet may be dark, or light again
	rivals bool           // some subnet has several
}

// health is what a machine's answers tell of it.
type health struct {
	misses int       // in a row
	since  time.Time // of the first answer after a miss, or of the last miss
}

// Answered takes note of whether an exit node or a subnet's router answered. It changes l's health only: Decide follows.
func (l *Leads) Answered(id coord.NodeID, ok bool, now time.Time) {
	if l.health == nil {
		l.health = make(map[coord.NodeID]health)
	}
	h, known := l.health[id]
	switch {
	case !ok:
		h.misses, h.since = h.misses+1, now
	case h.misses > 0 || !known:
		h = health{since: now}
	}
	l.health[id] = h
}

// alive judges an exit node: by its answers, and before there are any by what the coordination server says.
func (l *Leads) alive(n *coord.Node) bool {
	h, known := l.health[n.ID]
	if !known {
		return n.Online
	}
	return h.misses == 0 || h.misses < ExitPatience && n.Online
}

// Ask lists the exit nodes to ask for an answer: the one in use, and those that are preferred to it.
func (l *Leads) Ask(m *coord.Netmap, w *Wants) (ids []coord.NodeID) {
	for _, n := range exits(m, w) {
		ids = append(ids, n.ID)
		if n.ID == l.Exit {
			break
		}
	}
	return ids
}

// Used lists the machines in use for subnets, and those that should lead to a dark one, by number. One that gets packets and sends
// none is to be asked for an answer.
func (l *Leads) Used() []coord.NodeID { return l.asks.used }

// Every is how often the machines that matter are to be asked; 0: there are none.
func (l *Leads) Every(m *coord.Netmap, w *Wants) time.Duration {
	switch {
	case l.asks.rivals || len(l.Ask(m, w)) > 0:
		return ExitAsk
	case len(l.asks.used) > 0:
		return LoneAsk
	}
	return 0
}

// Unsure reports whether a subnet's router is to be asked in any case.
func (l *Leads) Unsure(id coord.NodeID) bool {
	return l.Missed(id) || slices.Contains(l.asks.lost, id)
}

// Missed reports whether a machine missed an answer, and may only have missed that.
func (l *Leads) Missed(id coord.NodeID) bool {
	misses := l.health[id].misses
	return misses > 0 && misses < ExitPatience
}

// Doubt reports whether the exit node in use should be asked at once: it missed an answer, or the coordination server
// has lost it, and nothing else is known.
func (l *Leads) Doubt(m *coord.Netmap) bool {
	n := m.Peer(l.Exit)
	return n != nil && (l.health[n.ID].misses > 0 || !n.Online) && l.alive(n)
}

// Decide says who leads where now. It returns another Leads where something is another, and l itself where nothing is.
func (l *Leads) Decide(m *coord.Netmap, w *Wants, now time.Time) *Leads {
	next := &Leads{wants: w.Exits, health: make(map[coord.NodeID]health)}
	if slices.Equal(w.Exits, l.wants) { // else somebody has chosen: what was is of no account
		next.Exit = l.Exit
	}
	maps.Copy(next.health, l.health)
	next.decideExit(exits(m, w), now)
	rivals := next.decideRouters(m, w, l.Routers)
	next.darken(m, l.Dark)
	asked := append(next.Ask(m, w), next.asks.used...)
	maps.DeleteFunc(next.health, func(id coord.NodeID, h health) bool { // what is not asked any more grows old
		silent := rivals[id] && h.misses >= ExitPatience && now.Sub(h.since) < ExitReturn
		return !silent && !slices.Contains(asked, id)
	})
	same := next.Exit == l.Exit && next.Up == l.Up && slices.Equal(next.wants, l.wants) && maps.Equal(next.Routers, l.Routers) && slices.Equal(next.Dark, l.Dark)
	if same {
		l.health, l.asks = next.health, next.asks
		return l
	}
	return next
}

// exits lists the machines that are wanted as exit node and are one, in the order in which they are wanted.
func exits(m *coord.Netmap, w *Wants) (ns []*coord.Node) {
	for _, e := range w.Exits {
		if n := m.Peer(e.Node); n != nil && n.IsExit() {
			ns = append(ns, n)
		}
	}
	return ns
}

func (l *Leads) decideExit(candidates []*coord.Node, now time.Time) {
	at := slices.IndexFunc(candidates, func(n *coord.Node) bool { return n.ID == l.Exit })
	best := slices.IndexFunc(candidates, l.alive)
	switch {
	case len(candidates) == 0:
		l.Exit, l.Up = 0, false
		return
	case at < 0: // none yet, or it is no exit node any more
		at = max(best, 0)
	case best < 0: // none works: the one in use may come back
	case !l.alive(candidates[at]), best < at && l.steady(candidates[best].ID, now):
		at = best
	}
	l.Exit, l.Up = candidates[at].ID, l.alive(candidates[at])
}

// steady reports whether an exit node has answered for long enough to go back to it.
func (l *Leads) steady(id coord.NodeID, now time.Time) bool {
	h, known := l.health[id]
	return known && h.misses == 0 && now.Sub(h.since) >= ExitReturn
}

// decideRouters chooses one machine for each subnet that others lead to: one that works before one that does not, the one in use
// before others, and else the one that has been in the network for longest. It gives all that could be chosen for a subnet that
// several lead to.
func (l *Leads) decideRouters(m *coord.Netmap, w *Wants, used map[netip.Prefix]coord.NodeID) (rivals map[coord.NodeID]bool) {
	if !w.Accept {
		return nil
	}
	l.Routers, rivals = make(map[netip.Prefix]coord.NodeID), make(map[coord.NodeID]bool)
	for i := range m.Peers { // by ID
		n := &m.Peers[i]
		for _, p := range n.Routes {
			if coord.IsExitRoute(p) || slices.Contains(w.Offer, p) || slices.Contains(m.Self.Routes, p) {
				continue // what this machine leads to itself it reaches by itself
			}
			was := m.Peer(l.Routers[p])
			if was != nil {
				l.asks.rivals, rivals[was.ID], rivals[n.ID] = true, true, true
			}
			if was == nil || l.worth(n, p) > l.worth(was, p) || l.worth(n, p) == l.worth(was, p) && used[p] == n.ID {
				l.Routers[p] = n.ID
			}
		}
	}
	return rivals
}

// worth ranks the routers of a subnet: those that say that they do not reach it, those that the coordination server has lost, those
// that do not answer, the others. It learns late of one whose host hangs or has lost its power, or never while it is away itself.
func (l *Leads) worth(n *coord.Node, p netip.Prefix) int {
	switch {
	case slices.Contains(n.Cut, p):
		return 0
	case !n.Online:
		return 1
	case l.health[n.ID].misses >= ExitPatience:
		return 2
	}
	return 3
}

// among looks for a prefix in a list that is in order.
func among(ps []netip.Prefix, p netip.Prefix) bool {
	_, is := slices.BinarySearchFunc(ps, p, netip.Prefix.Compare)
	return is
}

// darken finds the subnets to which nobody leads: not even the one that was chosen, and is worth the most. What was dark stays so
// until one of its routers has answered: that nobody has asked it lately is no light.
func (l *Leads) darken(m *coord.Netmap, was []netip.Prefix) {
	for p, id := range l.Routers {
		l.asks.used = append(l.asks.used, id)
		n := m.Peer(id)
		h, known := l.health[id]
		answers := known && h.misses == 0
		if answers && !n.Online { // what it answered last may be long ago
			l.asks.lost = append(l.asks.lost, id)
		}
		switch {
		case slices.Contains(n.Cut, p):
		case answers, !among(was, p) && l.alive(n):
			continue
		}
		l.Dark = append(l.Dark, p)
	}
	slices.SortFunc(l.Dark, netip.Prefix.Compare)
	for i := range m.Peers {
		n := &m.Peers[i]
		if n.Online && slices.ContainsFunc(n.Routes, func(p netip.Prefix) bool { return among(l.Dark, p) && !slices.Contains(n.Cut, p) }) {
			l.asks.lost = append(l.asks.lost, n.ID)
		}
	}
	l.asks.used = append(l.asks.used, l.asks.lost...)
	slices.Sort(l.asks.used)
	l.asks.used = slices.Compact(l.asks.used)
}
