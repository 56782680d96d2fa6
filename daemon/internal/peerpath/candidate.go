package peerpath

import (
	"net/netip"
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord"
)

const (
	maxCandidates = coord.MaxEndpoints
	// maxHeard is how many ports of one address are looked at at a time that only messages name. A peer that opens many in
	// a hard NAT is heard from all of them, where we let it in: one is as good as another, and to try all would use up the ledger.
	maxHeard = 4

	// What an address that has not answered yet may get, in any ledgerSpan. A peer that names a third party's
	// addresses as its own has us send it no more than this.
	ledgerSpan = 30 * time.Second
	perAddress = 5
	perPeer    = maxCandidates * perAddress

	// How they are spread, so that no spell of a hunt is without any: one every spread, which leaves one of the five
	// for what happens in between. The first two are spreadFirst apart: by then the peer's first has come, if it can,
	// and was answered with another one at once.
	spread      = ledgerSpan / (perAddress - 1)
	spreadFirst = 500 * time.Millisecond

	trustFor    = 10 * time.Minute // how long an answer shows that the address is the peer's
	probeForget = 5 * time.Second  // after this, the answer to a probe tells nothing any more

	// A direct path that is lost again and again must answer more than once before it is used again.
	lossMemory = 2 * time.Minute
)

// origin is a set of those who named a candidate.
type origin uint8

const (
	fromNetmap origin = 1 << iota
	fromCallMe
	fromHeard // a message came from there
)

// candidate is an address at which the peer may be reached.
type candidate struct {
	addr   netip.AddrPort
	local  bool // of a range for local networks (RFC 1918, RFC 4193)
	origin origin
	named  time.Time // when it was last named, for choosing whom to forget

	lastProbe time.Time
	owned     time.Time // when it last answered, on whichever network; zero: never
	lastPong  time.Time // zero: never, or not on this network
	latency   time.Duration
	best      time.Duration // the least latency on this network
	streak    int           // probes answered in a row
	confirm   time.Time     // when to probe again for a longer streak, or since a message came from there; zero: not

	losses   int // how often it was lost while in use
	lastLoss time.Time

	step     int // of steps: the largest that it carried while in use
	falls    int // how often it carried less than it had
	lastFall time.Time
}

// trusted reports whether the address has shown lately that it is the peer's. A change of our network does not end that:
// an interface that flaps would use up the ledger, and then there would be no way back.
func (c *candidate) trusted(now time.Time) bool {
	return !c.owned.IsZero() && now.Sub(c.owned) < trustFor
}

// shaky reports whether it was lost while in use not long ago.
func (c *candidate) shaky(now time.Time) bool {
	return c.losses > 0 && now.Sub(c.lastLoss) < lossMemory
}

// need is how many probes in a row must be answered before it is used.
func (c *candidate) need(now time.Time) int {
	switch {
	case !c.shaky(now) || c.losses < 2:
		return 1
	case c.losses == 2:
		return 3
	}
	return 5
}

// timeout is how long to wait for an answer before taking a probe for lost.
func (c *candidate) timeout() time.Duration {
	return min(max(2*c.latency+50*time.Millisecond, 300*time.Millisecond), mostPatience)
}

// answered takes the answer to a probe into account.
func (c *candidate) answered(now time.Time, rtt time.Duration) {
	c.owned, c.lastPong, c.latency, c.confirm = now, now, rtt, time.Time{}
	if c.best == 0 || rtt < c.best {
		c.best = rtt
	}
	c.streak++
	if c.losses > 0 && !c.shaky(now) {
		c.losses = 0
	}
}

// forget makes it as if it had never answered on this network.
func (c *candidate) forget() {
	c.lastPong, c.latency, c.best, c.streak, c.confirm, c.losses, c.step, c.falls = time.Time{}, 0, 0, 0, time.Time{}, 0, 0, 0
}

// betterThan gives the reason to leave a path that answers for another, in order: the local network, then latency
// by more than what a hiccup makes. Two that are alike never take turns.
func (c *candidate) betterThan(cur *candidate, now time.Time) (Reason, bool) {
	switch {
	case c.shaky(now) || c.streak == 0:
		return 0, false
	case c.local != cur.local:
		return ReasonLocal, c.local
	}
	return ReasonFaster, cur.best-c.best > max(2*time.Millisecond, cur.best/4)
}

// candidates is the list of a Machine's. It never holds more than maxCandidates.
type candidates struct{ list []*candidate }

func (cs *candidates) find(addr netip.AddrPort) *candidate {
	for _, c := range cs.list {
		if c.addr == addr {
			return c
		}
	}
	return nil
}

// name adds an address, or notes who named it. Where there is no room, the one that was named longest ago goes, but
// never keep nor one that has answered lately. It returns nil where there is no room at all.
func (cs *candidates) name(now time.Time, addr netip.AddrPort, o origin, keep *candidate) *candidate {
	if c := cs.find(addr); c != nil {
		c.origin, c.named = c.origin|o, now
		return c
	}
	if len(cs.list) >= maxCandidates {
		oldest := -1
		for i, c := range cs.list {
			if c != keep && !c.trusted(now) && c.named.Before(now) && (oldest < 0 || c.named.Before(cs.list[oldest].named)) {
				oldest = i
			}
		}
		if oldest < 0 {
			return nil
		}
		cs.list = slices.Delete(cs.list, oldest, oldest+1)
	}
	c := &candidate{addr: addr, local: isLocal(addr.Addr()), origin: o, named: now}
	cs.list = append(cs.list, c)
	return c
}

// crowded reports whether enough other ports of the address were heard from just now.
func (cs *candidates) crowded(now time.Time, addr netip.AddrPort) bool {
	n := 0
	for _, c := range cs.list {
		if c.addr == addr {
			return false
		}
		if c.origin == fromHeard && c.addr.Addr() == addr.Addr() && now.Sub(c.named) < confirmEvery {
			n++
		}
	}
	return n >= maxHeard
}

// replace makes addrs the ones that o names. It returns those that nobody had named before.
func (cs *candidates) replace(now time.Time, addrs []netip.AddrPort, o origin, keep *candidate) (fresh []*candidate) {
	cs.list = slices.DeleteFunc(cs.list, func(c *candidate) bool {
		if slices.Contains(addrs, c.addr) {
			return false
		}
		c.origin &^= o
		return c.origin == 0 && c != keep && !c.trusted(now)
	})
	for _, addr := range addrs {
		known := cs.find(addr) != nil
		if c := cs.name(now, addr, o, keep); c != nil && !known {
			fresh = append(fresh, c)
		}
	}
	return fresh
}

func isLocal(a netip.Addr) bool { return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() }

// ledger bounds the probes to addresses that have not answered. It outlives candidates: forgetting
// one and naming it again gains a peer nothing.
type ledger struct{ entries []entry }

type entry struct {
	addr netip.AddrPort
	at   time.Time
}

// cause is why an address that has not answered is to be probed.
type cause uint8

const (
	causeTime   cause = iota // the last time is long ago
	causeEvent               // something happened: a hunt began
	causeCalled              // the peer called, and the address has got one probe at the most
	causeHeard               // a message came from there, so that the path works at least one way
)

// take reports whether one more probe may be sent to the address, and notes it.
func (l *ledger) take(now time.Time, addr netip.AddrPort, why cause) bool {
	l.entries = slices.DeleteFunc(l.entries, func(e entry) bool { return now.Sub(e.at) >= ledgerSpan })
	if len(l.entries) >= perPeer || !l.allows(now, addr, why) {
		return false
	}
	l.entries = append(l.entries, entry{addr, now})
	return true
}

// allows reports whether the address has something left. A probe that is sent because something happened must leave
// enough for one every spread from now on: no more than two in one spread, three in two, and so on.
func (l *ledger) allows(now time.Time, addr netip.AddrPort, why cause) bool {
	var within [perAddress]int // [k]: the probes of the last k spreads
	last := time.Time{}
	for _, e := range l.entries {
		if e.addr != addr {
			continue
		}
		last = e.at
		for k := range within {
			if now.Sub(e.at) < time.Duration(k)*spread {
				within[k]++
			}
		}
	}
	if within[perAddress-1] >= perAddress {
		return false
	}
	switch why {
	case causeTime:
		return last.IsZero() || now.Sub(last) >= spread
	case causeCalled:
		wait := spread
		if within[perAddress-1] == 1 {
			wait = spreadFirst
		}
		return last.IsZero() || now.Sub(last) >= wait
	case causeEvent:
		for k := 1; k < perAddress; k++ {
			if within[k] > k {
				return false
			}
		}
		return last.IsZero() || now.Sub(last) >= spreadFirst
	}
	return true
}

// next says when the cause, of time or of something heard, suffices again.
func (l *ledger) next(now time.Time, addr netip.AddrPort, why cause) time.Time {
	next, n := now, 0
	for _, e := range slices.Backward(l.entries) {
		if e.addr != addr {
			continue
		}
		n++
		if n == 1 && why == causeTime {
			next = later(next, e.at.Add(spread))
		}
		if n == perAddress {
			next = later(next, e.at.Add(ledgerSpan))
		}
	}
	if len(l.entries) >= perPeer {
		next = later(next, l.entries[0].at.Add(ledgerSpan))
	}
	return next
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
