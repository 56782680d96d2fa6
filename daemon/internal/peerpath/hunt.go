package peerpath

import (
	"net/netip"
	"slices"
	"time"
)

// quick are the first tries of a hunt, from its beginning. After them it tries every second for huntEager those
// addresses that have answered before, and then as often as those that have not: every spread.
var quick = [...]time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, 700 * time.Millisecond, 1700 * time.Millisecond}

const (
	huntEvery = time.Second
	huntEager = time.Minute
	huntAgain = time.Second // the least time between two starts

	freshFor     = 200 * time.Millisecond // an answer as new as this does away with the doubt that a CallMe raises
	callMeEvery  = time.Second            // the least time between two CallMes of ours
	callMeSoon   = 2 * time.Second        // from the first of one hunt to the next, growing twofold: one may be lost, or come late
	callMeAgain  = 30 * time.Second       // at the most between those of one hunt: the peer may have no traffic of its own
	callMeAnswer = 5 * time.Second        // and for one that answers the peer's: longer than any way, so that none answers an answer
)

// hunt is the search for a direct path.
type hunt struct {
	wanted bool      // there is traffic and no proven path
	began  time.Time // the last quick phase
	ours   bool      // something happened here then; otherwise the peer called
	next   time.Time // zero: not hunting
	called time.Time // our last CallMe
	callAt time.Time // when the next is due; zero: none is
	calls  int       // of ours since something happened here, as far as they count for the time to the next
	asked  time.Time // the peer's last CallMe
	agreed bool      // both have called: the peer has opened its NAT by now
}

// startHunt begins a quick phase. call says whether the peer is to be told: something happened here.
func (m *Machine) startHunt(now time.Time, call bool) {
	m.hunt.wanted = !m.sent.IsZero()
	if call {
		m.hunt.calls = 0
		m.hunt.agreed = !m.hunt.asked.IsZero() && now.Sub(m.hunt.asked) < callMeAnswer
		m.callMe(now)
	}
	if m.hunt.next.IsZero() || now.Sub(m.hunt.began) >= huntAgain || (call && !m.hunt.ours) {
		m.hunt.began, m.hunt.ours, m.hunt.next = now, call, now
	}
}

// stopHunt ends all that needs traffic.
func (m *Machine) stopHunt() {
	m.hunt.wanted, m.hunt.next, m.hunt.callAt = false, time.Time{}, time.Time{}
	for _, c := range m.cands.list {
		c.confirm = time.Time{}
	}
}

// huntMatters reports whether anybody looks for a path: this machine, or the peer, which calls as often as that.
func (m *Machine) huntMatters(now time.Time) bool {
	return !m.sent.IsZero() || (!m.hunt.asked.IsZero() && now.Sub(m.hunt.asked) < callMeAgain+callMeAnswer)
}

// callMe asks the peer to hunt as well: now, or as soon as the last time is callMeEvery ago.
func (m *Machine) callMe(now time.Time) {
	m.hunt.callAt = now
	if again := m.hunt.called.Add(callMeEvery); !m.hunt.called.IsZero() && again.After(now) {
		m.hunt.callAt = again
	}
}

// calling sends the CallMe that is due.
func (m *Machine) calling(now time.Time) {
	h := &m.hunt
	if h.callAt.IsZero() || now.Before(h.callAt) {
		return
	}
	h.callAt = time.Time{}
	if m.relayUp {
		h.called = now
		h.calls++
		m.out = append(m.out, SendCallMe{})
	}
}

// called takes the peer's CallMe into account. It probes us now, so we probe it, where no probe of ours has opened our
// NAT for it lately: what the ledger allows is better kept for an answer to its probe. It gets our endpoints too, since
// those that it knows may be old. And it may have moved: a path that did not answer just now is in doubt.
func (m *Machine) called(now time.Time, addrs []netip.AddrPort) {
	m.hunt.asked = now
	m.name(now, addrs, fromCallMe)
	m.handshake.hurry(now)
	if m.hunt.called.IsZero() || now.Sub(m.hunt.called) >= callMeAnswer {
		m.callMe(now)
	}
	if c := m.current; c != nil && !m.doubt && now.Sub(c.lastPong) >= freshFor {
		m.startDoubt(now, ReasonCalled)
		m.probe(now, c)
	}
	m.hunt.agreed = m.hunt.wanted && !m.hunt.called.IsZero() && now.Sub(m.hunt.called) < callMeAnswer
	m.startHunt(now, false)
}

// name takes a list of endpoints into account.
func (m *Machine) name(now time.Time, addrs []netip.AddrPort, o origin) {
	var ok []netip.AddrPort
	for _, a := range addrs {
		if m.valid(a) && len(ok) < maxCandidates && !slices.Contains(ok, a) {
			ok = append(ok, a)
		}
	}
	fresh := m.cands.replace(now, ok, o, m.current)
	if len(fresh) > 0 {
		m.renewed()
	}
	if m.hunt.wanted {
		for _, c := range fresh {
			m.try(now, c, causeEvent)
		}
	}
}

// heard takes into account where a message of the peer came from: nothing is proven, but it is worth a probe.
func (m *Machine) heard(now time.Time, addr netip.AddrPort) {
	m.handshake.hurry(now)
	if !addr.IsValid() || !m.valid(addr) {
		return
	}
	if m.cands.crowded(now, addr) {
		return
	}
	c := m.cands.name(now, addr, fromHeard, m.current)
	switch {
	case c == nil, c == m.current && !m.doubt:
	case now.Sub(c.lastPong) < probeForget:
	case m.sent.IsZero() && c.lastPong.Before(c.lastProbe) && now.Sub(c.lastProbe) < ledgerSpan:
		// Two idle machines whose answers get lost must not keep each other awake.
	case now.Sub(c.lastProbe) < confirmEvery: // it may be answered yet, unless it came before the peer's, to a closed NAT
		c.confirm = earliest(c.confirm, c.lastProbe.Add(confirmEvery))
	case !m.try(now, c, causeHeard) && m.hunt.wanted:
		c.confirm = m.ledger.next(now, c.addr, causeHeard)
	}
}

// hunting probes the candidates whose time has come.
func (m *Machine) hunting(now time.Time) {
	for _, c := range m.cands.list {
		if !c.confirm.IsZero() && !now.Before(c.confirm) {
			c.confirm = time.Time{}
			m.try(now, c, causeHeard)
		}
	}
	h := &m.hunt
	if h.next.IsZero() || now.Before(h.next) {
		return
	}
	starting, settled := h.next.Sub(h.began) <= quick[len(quick)-1], m.current != nil && !m.doubt
	if settled || m.sent.IsZero() {
		h.wanted = false
		if !starting {
			h.next = time.Time{}
			return
		}
	}
	h.next = now.Add(h.gap(now))
	for _, c := range m.cands.list {
		if (c == m.current && (settled || !m.sent.IsZero())) || (settled && m.current.local && !c.local) {
			continue
		}
		if now.Sub(c.lastProbe) >= confirmEvery/2 {
			m.try(now, c, h.why(now, c.lastProbe))
		}
		if h.wanted && !c.trusted(now) {
			h.next = earliest(h.next, later(m.ledger.next(now, c.addr, causeTime), now.Add(confirmEvery/2)))
		}
	}
	if h.wanted && h.calls > 0 {
		again := h.called.Add(h.callGap())
		if !now.Before(again) {
			m.callMe(now)
		}
		h.next = earliest(h.next, later(again, now.Add(confirmEvery)))
	}
}

// callGap is the time from the last CallMe of a hunt to the next.
func (h *hunt) callGap() time.Duration {
	return min(callMeSoon<<min(h.calls-1, 4), callMeAgain)
}

// why says what of the ledger the hunt may use now for an address that got its last probe then. The first probe opens our NAT. The
// second is for a peer that has opened its own, as it has where it called; it is kept for that as long as a lost CallMe takes to
// come again. Who was called without a wish of its own tries a new address twice as well, since one probe may be lost.
func (h *hunt) why(now, last time.Time) cause {
	since := now.Sub(h.began)
	starting := since <= quick[len(quick)-1]
	switch {
	case !h.ours && starting && (since > 0 || h.agreed):
		return causeCalled
	case h.ours && since == 0, h.ours && starting && h.callAt.IsZero() && (h.agreed || last.Before(h.began)):
		return causeEvent
	case h.ours && since > 2*callMeSoon && since <= 3*callMeSoon:
		return causeEvent
	}
	return causeTime
}

// gap is the time to the next try.
func (h *hunt) gap(now time.Time) time.Duration {
	since := now.Sub(h.began)
	for _, q := range quick {
		if since < q {
			return q - since
		}
	}
	if since < huntEager {
		return huntEvery
	}
	return spread
}

// try probes a candidate, if it may be probed.
func (m *Machine) try(now time.Time, c *candidate, why cause) bool {
	if !m.ask(now, c, m.monitored(c), why) {
		return false
	}
	c.lastProbe = now
	if c == m.current && !m.doubt {
		m.inquire(now)
	}
	return true
}

// ask sends a probe of a size. There is no other way to send one: each that goes to an address that has not shown lately that
// it is the peer's is in the ledger.
func (m *Machine) ask(now time.Time, c *candidate, step int, why cause) bool {
	if !c.trusted(now) && !m.ledger.take(now, c.addr, why) {
		return false
	}
	p := Probe{To: c.addr, Number: m.probes.add(now, c.addr, step)}
	if step > 0 {
		p.MTU = steps[step]
	}
	m.out = append(m.out, p)
	return true
}

// probe probes a candidate that has been in use. After a change of the network it must answer first, as any other.
func (m *Machine) probe(now time.Time, c *candidate) {
	c.lastProbe = now // also where it may not be probed: it is the time of the next attempt that counts
	m.try(now, c, causeEvent)
}

// probes are those not answered yet.
type probes struct {
	number uint64
	out    []probe
}

type probe struct {
	number uint64
	to     netip.AddrPort
	at     time.Time
	step   int // its size
}

func (ps *probes) add(now time.Time, to netip.AddrPort, step int) uint64 {
	ps.number++
	ps.out = append(ps.out, probe{ps.number, to, now, step})
	return ps.number
}

func (ps *probes) take(number uint64) (probe, bool) {
	for i, p := range ps.out {
		if p.number == number {
			ps.out = slices.Delete(ps.out, i, i+1)
			return p, true
		}
	}
	return probe{}, false
}

// expire forgets those that will not be answered any more, and breaks their candidates' streaks.
func (ps *probes) expire(now time.Time, find func(netip.AddrPort) *candidate) {
	ps.out = slices.DeleteFunc(ps.out, func(p probe) bool {
		if c := find(p.to); c != nil && p.step <= c.step && now.Sub(p.at) >= c.timeout() && c.lastPong.Before(p.at) {
			c.streak = 0
		}
		return now.Sub(p.at) >= probeForget
	})
}

// keeper has the last handshake initiation sent again until it is answered. WireGuard itself waits for RekeyTimeout, 5 s.
type keeper struct {
	next time.Time // zero: nothing is pending
	gap  time.Duration
	last time.Time // sent or resent
	end  time.Time // WireGuard makes a new one
}

const (
	resendFirst = 100 * time.Millisecond
	resendFor   = 5 * time.Second       // WireGuard's RekeyTimeout
	resendLeast = 50 * time.Millisecond // between two, so that nothing from outside makes it a stream
)

func (k *keeper) begin(now time.Time) {
	*k = keeper{next: now.Add(resendFirst), gap: resendFirst, last: now, end: now.Add(resendFor)}
}

// hurry has it resent at once: the peer has just shown that it can be reached.
func (k *keeper) hurry(now time.Time) {
	if !k.next.IsZero() {
		k.next = k.last.Add(resendLeast)
		if k.next.Before(now) {
			k.next = now
		}
	}
}

func (m *Machine) keep(now time.Time) {
	k := &m.handshake
	if k.next.IsZero() || now.Before(k.next) {
		return
	}
	if !now.Before(k.end) {
		*k = keeper{}
		return
	}
	if m.path != (Path{}) {
		m.out = append(m.out, ResendHandshake{})
		k.last = now
	}
	k.gap *= 2
	if k.next = now.Add(k.gap); k.next.After(k.end) {
		k.next = k.end
	}
}
