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
	of     *candidate // nil: there is no path
	tries  int
	next   time.Time // zero: nothing is to be tried
	after  time.Time // not before that begins the next
	unsure time.Time // by then a large packet must have been answered, after a rest; zero: nothing is asked
}

// sizing probes with packets that are larger than what the path in use is known to carry.
func (m *Machine) sizing(now time.Time) {
	c, up := m.current, &m.climb
	if c != up.of {
		if *up = (climb{of: c}); c != nil {
			c.step = 0
		}
	}
	if c == nil {
		return
	}
	if !up.unsure.IsZero() && !now.Before(up.unsure) {
		m.fall(now)
	}
	if m.doubt || m.sent.IsZero() || c.step == len(steps)-1 {
		up.tries, up.next = 0, time.Time{}
		return
	}
	if up.next.IsZero() {
		up.next = later(now, up.after)
	}
	if now.Before(up.next) {
		return
	}
	if up.tries == climbTries {
		up.after = now.Add(climbAgain)
		up.tries, up.next = 0, up.after
		return
	}
	for step := len(steps) - 1; step > c.step; step-- {
		m.sendSize(now, c, step)
	}
	up.tries++
	up.next = now.Add(max(c.timeout(), climbEvery))
}

// carried takes into account that the path in use carried a probe of that size.
func (m *Machine) carried(step int) {
	if step >= m.current.step {
		m.climb.unsure = time.Time{}
	}
	m.current.step = max(m.current.step, step)
}

// rested has the size of a path looked at that nobody has used for a while. Until then it counts, as the path does.
func (m *Machine) rested(now time.Time) {
	switch c := m.current; {
	case c.step == 0:
	case !c.trusted(now):
		m.fall(now)
	default:
		m.sendSize(now, c, c.step)
		m.climb.unsure = now.Add(c.timeout())
	}
}

// fall makes the path's size the safe one, until it has shown more again.
func (m *Machine) fall(now time.Time) {
	c := m.current
	m.climb.unsure = time.Time{}
	if c.step == 0 {
		return
	}
	if now.Sub(c.lastFall) > lossMemory {
		c.falls = 0
	}
	c.step, c.falls, c.lastFall = 0, c.falls+1, now
	m.climb = climb{of: m.climb.of, after: now}
	if c.falls > fallsFree {
		m.climb.after = now.Add(min(time.Second<<(c.falls-fallsFree), climbAgain))
	}
}

// monitorGap is the time between probes of the path in use.
func (c *candidate) monitorGap() time.Duration {
	if c.step > 0 {
		return monitorLarge
	}
	return monitorEvery
}

func (m *Machine) sendSize(now time.Time, c *candidate, step int) {
	p := Probe{To: c.addr, Number: m.probes.add(now, c.addr, step)}
	if step > 0 {
		p.MTU = steps[step]
	}
	m.out = append(m.out, p)
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
