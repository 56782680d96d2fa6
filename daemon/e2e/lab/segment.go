package lab

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// Segment is where machines are attached: the internet, or the LAN of a router.
// Its links end in one namespace, where all faults of those machines act.
type Segment struct {
	net     *Net
	ns      string
	router  *Router      // nil for the internet
	bridge  string       // the LAN's bridge; without one the segment routes between its ports
	prefix  netip.Prefix // gateway is its first address
	prefix6 netip.Prefix // not valid on a segment without global IPv6
	used    int          // addresses given out
	faulty  string       // the fault rules that are loaded
}

// linkLocal is a segment's own address for IPv6, the same on every link.
const linkLocal = "fe80::1"

// validName leaves room for a link's name (15 bytes in Linux) and for nft's quotes.
var validName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,11}$`)

func (n *Net) addSegment(s *Segment) *Segment {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.segments = append(n.segments, s)
	return s
}

// Host attaches a machine with one interface, eth0.
func (s *Segment) Host(name string) *Machine {
	s.net.t.Helper()
	m := s.net.addMachine(name, "eth0", nil)
	s.net.must(s.attach(m))
	return m
}

// Prefix returns the segment's IPv4 prefix.
func (s *Segment) Prefix() netip.Prefix { return s.prefix }

// Prefix6 returns the segment's global IPv6 prefix; it is not valid if there is none.
func (s *Segment) Prefix6() netip.Prefix { return s.prefix6 }

// Gateway returns the address by which machines of the segment reach the rest.
func (s *Segment) Gateway() netip.Addr { return s.prefix.Addr().Next() }

// address gives out the next pair of addresses.
func (s *Segment) address() (v4, v6 netip.Addr) {
	offset := 10 // below are the gateway and, for people who look, a gap
	if s.prefix.Bits() > 26 {
		offset = 2
	}
	v4, v6 = s.prefix.Addr(), s.prefix6.Addr()
	for range offset + s.used {
		v4 = v4.Next()
	}
	if s.prefix6.IsValid() {
		// The same last number as the IPv4 address has, as one reads it.
		b := v6.As16()
		last := v4.As4()[3]
		b[14], b[15] = last/100, last/10%10<<4|last%10
		v6 = netip.AddrFrom16(b)
	}
	s.used++
	return v4, v6
}

// attach gives a machine addresses here, a link, and its way out.
func (s *Segment) attach(m *Machine) error {
	m.addr, m.addr6 = s.address()
	if !s.prefix.Contains(m.addr) {
		return fmt.Errorf("%s: no addresses are left in %v", m.name, s.prefix)
	}
	m.uplink = s
	err := ip(s.ns, append([]string{
		fmt.Sprintf("link add name %s type veth peer name %s netns %s", m.name, m.dev, m.ns),
	}, s.portLines(m)...)...)
	if err != nil {
		return err
	}
	if err := ip(m.ns, append([]string{"link set lo up", "link set dev " + m.dev + " up"}, m.addressLines()...)...); err != nil {
		return err
	}
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	if s.net.single {
		return m.offloadsOff()
	}
	return nil
}

// portLines configure the segment's end of a machine's link.
func (s *Segment) portLines(m *Machine) []string {
	if s.bridge != "" {
		return []string{fmt.Sprintf("link set dev %s master %s up", m.name, s.bridge)}
	}
	lines := []string{
		fmt.Sprintf("link set dev %s up", m.name),
		fmt.Sprintf("addr replace %v/32 dev %s", s.Gateway(), m.name),
		fmt.Sprintf("addr replace %s/64 dev %s nodad", linkLocal, m.name),
	}
	return append(lines, s.routeLines(m)...)
}

// routeLines lead to the machine, and to what lies behind it with public addresses.
func (s *Segment) routeLines(m *Machine) []string {
	if s.bridge != "" {
		return nil // on the wire
	}
	lines := []string{fmt.Sprintf("route replace %v/32 dev %s", m.addr, m.name)}
	if m.addr6.IsValid() {
		lines = append(lines, fmt.Sprintf("route replace %v/128 dev %s", m.addr6, m.name))
	}
	if m.behind == nil {
		return lines
	}
	if m.behind.nat.public() {
		lines = append(lines, fmt.Sprintf("route replace %v via %v dev %s onlink", m.behind.prefix, m.addr, m.name))
	}
	if m.behind.prefix6.IsValid() {
		lines = append(lines, fmt.Sprintf("route replace %v via %v dev %s onlink", m.behind.prefix6, m.addr6, m.name))
	}
	return lines
}

// addressLines configure the machine's end of its link.
func (m *Machine) addressLines() []string {
	s := m.uplink
	bits, bits6 := 32, 128
	if s.bridge != "" {
		bits, bits6 = s.prefix.Bits(), 64
	}
	lines := []string{
		fmt.Sprintf("addr replace %v/%d dev %s", m.addr, bits, m.dev),
		fmt.Sprintf("route replace default via %v dev %s onlink", s.Gateway(), m.dev),
	}
	if m.addr6.IsValid() {
		lines = append(lines,
			fmt.Sprintf("addr replace %v/%d dev %s nodad", m.addr6, bits6, m.dev),
			fmt.Sprintf("route replace ::/0 via %s dev %s onlink", linkLocal, m.dev))
	}
	return lines
}

// String returns the segment's name for messages.
func (s *Segment) String() string { return strings.TrimPrefix(s.ns, s.net.id) }
