package peerpath

import (
	"net/netip"
	"time"

	"github.com/warren-mesh/warren/coord"
)

// The times of the machine. Together they bound how long a path that dies silently goes unnoticed:
// monitorEvery and a candidate's patience, 1.3 s on a short path.
const (
	idleAfter    = 15 * time.Second        // without traffic; longer than WireGuard's KeepaliveTimeout of 10 s
	monitorEvery = time.Second             // between probes of a path in use
	doubtEvery   = 250 * time.Millisecond  // between probes of a path in doubt
	doubtFor     = 1500 * time.Millisecond // until it is given up for the relay; seven unanswered probes in a row
	sisterAfter  = 750 * time.Millisecond  // of doubt, before another port of the same address takes over
	confirmEvery = 100 * time.Millisecond  // between probes that confirm a shaky path
)

// Machine is the path to one peer. The zero value is not ready: use New.
type Machine struct {
	// What the peer and the relay are known to be.
	valid   func(netip.AddrPort) bool
	cands   candidates
	ledger  ledger
	relay   coord.RelayID
	relayUp bool

	// Which path is used.
	current *candidate // nil: no direct path
	doubt   bool       // current has not been proven lately
	since   time.Time  // the beginning of the doubt
	path    Path       // as told by the last UsePath
	reason  Reason     // why it is to become another
	stats   Stats

	// What is under way.
	sent      time.Time // the last known traffic
	probes    probes
	hunt      hunt
	search    search
	climb     climb
	mtu       int // as told by the last UseMTU; 0: not yet
	handshake keeper

	out []Action
}

// Stats are for people.
type Stats struct {
	Since    time.Time       // when the path last changed between none, relay and each direct address; zero: never
	Reason   Reason          // why it did
	Switches uint64          // how often it did
	ByReason [reasons]uint64 // why, counted
	Doubt    bool            // the direct path has not been proven lately
	Active   bool            // there is traffic
	Latency  time.Duration   // of the direct path; 0: there is none
}

// New makes a machine. valid says which addresses may be probed; nil: those of coord.ValidEndpoint.
func New(valid func(netip.AddrPort) bool) *Machine {
	if valid == nil {
		valid = func(ap netip.AddrPort) bool { return coord.ValidEndpoint(ap, nil) }
	}
	return &Machine{valid: valid}
}

// Step takes an event into account, if not nil, and all that is due. The actions are valid until the next Step.
func (m *Machine) Step(now time.Time, ev Event) []Action {
	m.out = m.out[:0]
	m.apply(now, ev)
	m.probes.expire(now, m.cands.find)
	m.watch(now)
	m.hunting(now)
	m.calling(now)
	m.searching(now)
	m.sizing(now)
	m.publish(now)
	m.publishMTU()
	m.keep(now)
	return m.out
}

// Deadline says when to call Step again if nothing happens before. Zero: never.
func (m *Machine) Deadline() time.Time {
	next := earliest(earliest(m.hunt.next, m.hunt.callAt), earliest(m.handshake.next, m.search.next))
	for _, c := range m.cands.list {
		next = earliest(next, c.confirm)
	}
	if m.sent.IsZero() {
		return next
	}
	next = earliest(next, m.sent.Add(idleAfter))
	if m.current != nil {
		next = earliest(earliest(next, m.watchNext()), earliest(m.climb.next, m.climb.inquiry.next))
	}
	return next
}

// Path gives what the last UsePath said.
func (m *Machine) Path() Path { return m.path }

// Stats gives what there is to know of the path.
func (m *Machine) Stats() Stats {
	s := m.stats
	s.Doubt, s.Active = m.current != nil && m.doubt, !m.sent.IsZero()
	if m.current != nil {
		s.Latency = m.current.latency
	}
	return s
}

func (m *Machine) apply(now time.Time, ev Event) {
	switch ev := ev.(type) {
	case Candidates:
		m.name(now, ev.Addrs, fromNetmap)
	case CallMe:
		m.called(now, ev.Addrs)
	case Relay:
		m.setRelay(now, ev)
	case OwnNAT:
		if m.search.hard != ev.Hard {
			m.changeSearch(now, m.search.network, ev.Hard)
		}
	case NetworkChanged:
		m.changeSearch(now, ev.Network, m.search.hard)
		m.distrust(now, ReasonNetwork)
	case EndpointsChanged:
		m.renewed()
		if m.hunt.wanted || (m.sent.IsZero() && m.huntMatters(now)) {
			m.callMe(now)
		}
	case Restarted:
		m.forgetSearches()
		m.distrust(now, ReasonRestarted)
	case Sent:
		m.wake(now)
	case SendFailed:
		if m.current != nil && m.current.addr == ev.Addr && !m.doubt {
			m.startDoubt(now, ReasonSendFailed)
		}
	case Heard:
		m.heard(now, ev.Addr)
	case Pong:
		m.pong(now, ev)
	case HandshakeSent:
		m.handshake.begin(now)
	case HandshakeAnswered:
		m.handshake = keeper{}
	}
}

// setRelay notes the relay. A machine that waits for it with traffic lets the peer know at once.
func (m *Machine) setRelay(now time.Time, ev Relay) {
	up := ev.ID != 0 && ev.Up
	if m.relay == ev.ID && m.relayUp == up {
		return
	}
	m.relay, m.relayUp, m.reason = ev.ID, up, ReasonRelayDown
	if up {
		m.reason = ReasonRelayUp
		if m.hunt.wanted {
			m.startHunt(now, true)
		}
	}
}

// distrust forgets all proofs: here or there everything may be another way now.
func (m *Machine) distrust(now time.Time, why Reason) {
	for _, c := range m.cands.list {
		c.forget()
	}
	m.probes.out, m.climb = nil, climb{}
	if m.current != nil {
		m.startDoubt(now, why)
	}
	if m.huntMatters(now) {
		m.startHunt(now, true)
	}
}

// wake notes traffic.
func (m *Machine) wake(now time.Time) {
	idle := m.sent.IsZero()
	m.sent = now
	if !idle {
		return
	}
	if m.current != nil {
		m.startDoubt(now, ReasonIdle)
		return
	}
	m.startHunt(now, true)
}

// startDoubt has packets go over the relay as well, until the direct path is proven again or given up.
func (m *Machine) startDoubt(now time.Time, why Reason) {
	m.doubt, m.since, m.reason = true, now, why
	m.current.streak, m.climb.inquiry = 0, inquiry{}
	switch {
	case m.sent.IsZero(): // whoever talks next sees
	case why == ReasonIdle, why == ReasonCalled:
		m.askSize(now)
	default:
		m.fall(now)
	}
}

// watchNext says when the path in use is next to be looked at.
func (m *Machine) watchNext() time.Time {
	c := m.current
	if m.doubt {
		next := c.lastProbe.Add(m.doubtGap())
		if m.relayUp {
			next = earliest(next, m.since.Add(doubtFor))
		}
		return next
	}
	if c.lastPong.Before(c.lastProbe) {
		return c.lastProbe.Add(c.patience())
	}
	return c.lastProbe.Add(c.monitorGap())
}

// doubtGap is the time between probes of a path in doubt. Where there is no relay to fall back on, the doubt may last.
func (m *Machine) doubtGap() time.Duration {
	if m.current.lastProbe.Sub(m.since) >= doubtFor {
		return monitorEvery
	}
	return doubtEvery
}

// watch probes the path in use, doubts it and gives it up.
func (m *Machine) watch(now time.Time) {
	if m.sent.IsZero() {
		return
	}
	if now.Sub(m.sent) >= idleAfter {
		m.sent = time.Time{}
		m.stopHunt()
		if m.current != nil && !m.doubt {
			m.startDoubt(now, ReasonIdle)
		}
		return
	}
	c := m.current
	switch {
	case c == nil:
	case m.doubt && m.relayUp && now.Sub(m.since) >= doubtFor:
		c.losses, c.lastLoss = c.losses+1, now
		m.current, m.doubt, m.reason = nil, false, ReasonLost
		m.startHunt(now, true)
	case m.doubt && now.Sub(c.lastProbe) >= m.doubtGap():
		if !m.hunt.wanted && !c.lastProbe.Before(m.since) { // the first probe of the doubt has not been answered
			m.startHunt(now, true)
		}
		m.probe(now, c)
	case !m.doubt && c.lastPong.Before(c.lastProbe):
		if now.Sub(c.lastProbe) >= c.patience() {
			m.startDoubt(now, ReasonSilent)
			m.startHunt(now, true)
			m.probe(now, c)
		}
	case !m.doubt && now.Sub(c.lastProbe) >= c.monitorGap():
		m.probe(now, c)
	}
}

// pong takes the answer to a probe into account, if it came from where the probe went.
func (m *Machine) pong(now time.Time, ev Pong) {
	p, ok := m.probes.take(ev.Number)
	if !ok {
		return
	}
	c := m.cands.find(p.to)
	if c == nil || p.to != ev.From {
		m.heard(now, ev.From)
		return
	}
	c.answered(now, now.Sub(p.at))
	switch {
	case c == m.current:
		m.carried(p)
		if m.doubt {
			m.doubt, m.reason = false, ReasonProven
		}
	case c.streak < c.need(now) && m.relayUp:
		c.confirm = now.Add(confirmEvery)
	case m.doubt && c.addr.Addr() == m.current.addr.Addr() && now.Sub(m.since) < sisterAfter:
		// Another port of the same address, as a search through a hard NAT may find several of: one lost probe is no reason.
	case m.current == nil || m.doubt:
		m.current, m.doubt, m.reason = c, false, ReasonProven
	default:
		if why, ok := c.betterThan(m.current, now); ok {
			m.current, m.reason = c, why
		}
	}
}

// publish says the path, if it is another one now.
func (m *Machine) publish(now time.Time) {
	var want Path
	if m.current != nil {
		want.Direct = m.current.addr
	}
	if m.relayUp && (m.current == nil || m.doubt) {
		want.Relay = m.relay
	}
	if want == m.path {
		return
	}
	if want.carrier() != m.path.carrier() {
		m.stats.Since, m.stats.Reason = now, m.reason
		m.stats.Switches++
		m.stats.ByReason[m.reason]++
	}
	if m.path == (Path{}) {
		m.handshake.hurry(now)
	}
	m.path = want
	m.out = append(m.out, UsePath{want, m.reason})
}

// earliest gives the earlier of two times, of which zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
