package peerpath

import "time"

// Probes that decide on a path are as long as the largest packet of SafeMTU, so that every path carries these. What more it
// carries is found out by longer probes, with which the shell must not let the system fragment: all sizes that are worth a
// route at once, the largest first, so that the first answer is the one that counts. This is what RFC 8899 calls
// datagram packetization layer path MTU discovery, with a table to search instead of a number: no ICMP message is trusted.
//
// Each direction is its own: what this machine sends depends on its own probes alone.

// PadMTU is to be told to WireGuard as the interface's MTU, over which it pads no packet: otherwise it would make 1,424 of 1,420.
const PadMTU = 1420

// SafeMTU is the least that IPv6 allows (RFC 8200, section 5), MaxMTU the most that is tried: a jumbo frame of 9,000 bytes, less
// what WireGuard, UDP and IPv6 need. Both in bytes of a packet inside the tunnel.
const (
	SafeMTU = 1280
	MaxMTU  = 8896
)

// steps are the sizes that are tried: those of PPPoE, tunnels, mobile networks and clouds lie close together. WireGuard pads
// to multiples of 16, but for 1,420, which fills an Ethernet frame over IPv6.
var steps = [...]int{SafeMTU, 1344, 1376, 1392, 1408, PadMTU, 4000, MaxMTU}

const (
	climbTries = 3                      // of each size: one may be lost
	climbAgain = 10 * time.Minute       // until larger ones are tried again (RFC 8899, section 5.1.1: PMTU_RAISE_TIMER)
	climbLeast = 30 * time.Second       // and that where the way may be another one: a peer could say so all the time
	climbEvery = 300 * time.Millisecond // the least time between tries

	// A path whose size shrinks must be noticed before TCP has doubled its patience too often: within 800 ms on a short path.
	monitorLarge = monitorEvery / 2

	// After more falls than this within lossMemory, the next climb waits: twice as long each time.
	fallsFree = 2
)

// UseMTU says how large packets to the peer may be from now on, inside the tunnel. Before the first it is SafeMTU.
type UseMTU struct{ MTU int }

func (UseMTU) action() {}

// climb is the search for the largest packets that the path in use carries.
type climb struct {
	of      *candidate // nil: there is no path
	tries   int
	next    time.Time // zero: nothing is to be tried
	after   time.Time // not before that begins the next
	gaveUp  time.Time // when all tries were made; zero: they were not
	inquiry inquiry
}

// sizing probes with packets that are larger than what the path in use is known to carry.
func (m *Machine) sizing(now time.Time) {
	m.measure()
	m.inquiring(now)
	c, up := m.current, &m.climb
	if c == nil {
		return
	}
	if m.doubt || m.sent.IsZero() || c.step == len(steps)-1 {
		up.next = time.Time{}
		return
	}
	if up.next.IsZero() {
		up.next = later(now, up.after)
	}
	if now.Before(up.next) {
		return
	}
	if up.tries == climbTries {
		up.gaveUp, up.after = now, now.Add(climbAgain)
		up.tries, up.next = 0, up.after
		return
	}
	for step := len(steps) - 1; step > c.step; step-- {
		m.ask(now, c, step, causeEvent)
	}
	up.tries++
	up.next = now.Add(max(c.timeout(), climbEvery))
}

// measure has the climb be that of the path in use. What is new there begins with the safe size.
func (m *Machine) measure() {
	if c := m.current; c != m.climb.of {
		if m.climb = (climb{of: c}); c != nil {
			c.step, m.climb.after = 0, c.climbs()
		}
	}
}

// climbs says from when on larger packets may be tried, after the falls that there were: another path in between changes nothing.
func (c *candidate) climbs() time.Time {
	if c.falls <= fallsFree {
		return c.lastFall
	}
	return c.lastFall.Add(min(time.Second<<(c.falls-fallsFree), climbAgain))
}

// renewed has larger sizes tried again before their time: here or there endpoints are others now, and so perhaps the way is.
func (m *Machine) renewed() {
	if up := &m.climb; !up.gaveUp.IsZero() {
		up.after = later(up.of.climbs(), up.gaveUp.Add(climbLeast))
		up.tries, up.next, up.gaveUp = 0, time.Time{}, time.Time{}
	}
}

// carried takes into account that the path in use carried a probe.
func (m *Machine) carried(p probe) {
	c, q := m.current, &m.climb.inquiry
	if p.at.Before(c.lastFall) {
		return // late: it has carried less since
	}
	if p.step >= c.step && !p.at.Before(q.since) {
		*q = inquiry{}
	}
	c.step = max(c.step, p.step)
}

// askSize has the size of a path looked at that nobody has used for a while, or that the peer may have left. Until then it counts,
// as the path does. Who has not answered for long is not asked for it: what the address may get is better used to prove it.
func (m *Machine) askSize(now time.Time) {
	switch c := m.current; {
	case c.step == 0:
	case !c.trusted(now):
		m.fall(now)
	default:
		m.ask(now, c, c.step, causeEvent)
		m.inquire(now)
	}
}

// fall makes the path's size the safe one, until it has shown more again.
func (m *Machine) fall(now time.Time) {
	c := m.current
	if c.step == 0 {
		return
	}
	if now.Sub(c.lastFall) > lossMemory {
		c.falls = 0
	}
	c.step, c.falls, c.lastFall = 0, c.falls+1, now
	m.climb = climb{of: c, after: c.climbs()}
}

// monitorGap is the time between probes of the path in use.
func (c *candidate) monitorGap() time.Duration {
	if c.step > 0 {
		return monitorLarge
	}
	return monitorEvery
}

// publishMTU says the size, if it is another one now.
func (m *Machine) publishMTU() {
	mtu := m.MTU()
	if was := max(m.mtu, SafeMTU); mtu != was {
		m.out = append(m.out, UseMTU{mtu})
	}
	m.mtu = mtu
}

// MTU gives how large packets to the peer may be.
func (m *Machine) MTU() int {
	if m.current == nil {
		return SafeMTU
	}
	return steps[m.current.step]
}

// monitored is the size of an ordinary probe: that of the packets where they take this path, and the safe one while in doubt.
func (m *Machine) monitored(c *candidate) int {
	if c == m.current && !m.doubt {
		return c.step
	}
	return 0
}
