package lab

import (
	"fmt"
	"net/netip"
	"time"
)

// Unplug pulls the machine's cable: its interface loses its carrier and keeps its
// addresses.
func (m *Machine) Unplug() {
	m.net.t.Helper()
	m.net.must(ip(m.uplink.ns, fmt.Sprintf("link set dev %s down", m.name)))
}

// Plug puts the cable back.
func (m *Machine) Plug() {
	m.net.t.Helper()
	m.net.must(ip(m.uplink.ns, m.uplink.portLines(m)...))
}

// Flap pulls the cable and puts it back several times, each state for a while.
func (m *Machine) Flap(times int, each time.Duration) {
	m.net.t.Helper()
	for range times {
		m.Unplug()
		time.Sleep(each)
		m.Plug()
		time.Sleep(each)
	}
}

// Readdress gives the machine the next free addresses of its segment in place of its
// own, as a provider or a DHCP server does, and returns the IPv4 one. On a router that
// is the public side: its mappings are gone.
func (m *Machine) Readdress() netip.Addr {
	m.net.t.Helper()
	s := m.uplink
	n := m.net
	if s.bridge == "" {
		lines := []string{fmt.Sprintf("route del %v/32 dev %s", m.addr, m.name)}
		if m.addr6.IsValid() {
			lines = append(lines, fmt.Sprintf("route del %v/128 dev %s", m.addr6, m.name))
		}
		n.must(ip(s.ns, lines...))
	}
	n.must(ip(m.ns, "addr flush dev "+m.dev+" scope global"))
	n.mu.Lock()
	m.addr, m.addr6 = s.address()
	n.mu.Unlock()
	n.must(ip(s.ns, append(s.routeLines(m), "link show dev "+m.name)...))
	n.must(ip(m.ns, m.addressLines()...))
	return m.addr
}

// MoveTo takes the machine to another segment, as a laptop is carried from home to
// office: its interface goes and comes back with another address. Faults of its
// link go with it.
func (m *Machine) MoveTo(s *Segment) netip.Addr {
	m.net.t.Helper()
	n := m.net
	n.must(ip(m.uplink.ns, "link del dev "+m.name))
	n.must(s.attach(m))
	n.mu.Lock()
	defer n.mu.Unlock()
	n.must(n.applyFaults())
	return m.addr
}

// Limit limits the machine's link to so many megabits per second, each way, with a
// queue of 50 ms.
func (m *Machine) Limit(megabits int) *Fault {
	m.net.t.Helper()
	ends := map[string]string{m.uplink.ns: m.name, m.ns: m.dev}
	for ns, dev := range ends {
		// The burst holds one super-packet; smaller ones are cut before the queue.
		m.net.must(run("", "tc", "-n", ns, "qdisc", "replace", "dev", dev, "root",
			"tbf", "rate", fmt.Sprintf("%dmbit", megabits), "burst", "64kb", "latency", "50ms"))
	}
	return &Fault{undo: func() {
		for ns, dev := range ends {
			m.net.must(run("", "tc", "-n", ns, "qdisc", "del", "dev", dev, "root"))
		}
	}}
}

// WithoutIPv4 takes the machine's IPv4 address, so that it has nothing but IPv6.
func (m *Machine) WithoutIPv4() {
	m.net.t.Helper()
	m.MustRun("ip", "-4", "addr", "flush", "dev", m.dev)
}

// SetMTU makes the machine's link carry packets of up to so many bytes, 1,500 before.
func (m *Machine) SetMTU(bytes int) {
	m.net.t.Helper()
	for ns, dev := range map[string]string{m.uplink.ns: m.name, m.ns: m.dev} {
		m.net.must(ip(ns, fmt.Sprintf("link set dev %s mtu %d", dev, bytes)))
	}
}

// SinglePackets turns off segmentation offloads on every link of the lab, now and
// later: packets cross one by one, as on a real wire. A veth otherwise passes 64 kB
// super-packets whole, which flatters whoever uses them.
func (n *Net) SinglePackets() {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.single {
		return
	}
	n.single = true
	for _, m := range n.machines {
		n.must(m.offloadsOff())
	}
}

// offloadsOff makes both ends of the machine's link send single packets.
func (m *Machine) offloadsOff() error {
	for ns, dev := range map[string]string{m.uplink.ns: m.name, m.ns: m.dev} {
		err := run("", "ip", "netns", "exec", ns, "ethtool", "-K", dev,
			"tso", "off", "gso", "off", "gro", "off", "tx-udp-segmentation", "off")
		if err != nil {
			return err
		}
	}
	return nil
}
