package lab

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Fault is something wrong with the network that can be healed.
type Fault struct {
	heal sync.Once
	undo func()

	// For a fault that drops packets: what it drops, of all that passes the links of
	// a, or of what passes between a and b. match gets how many bytes of the link's
	// own header the packet's length includes.
	a, b  *Machine
	match func(header int) string
}

// Heal ends the fault. Healing twice is the same as once.
func (f *Fault) Heal() { f.heal.Do(f.undo) }

// Place is a host or a router.
type Place interface{ machine() *Machine }

func (m *Machine) machine() *Machine { return m }

const udp = "meta l4proto udp"

// BlockUDP drops UDP between two places, both ways, where their ways join: between
// hosts of two homes that is all UDP between the homes.
func (n *Net) BlockUDP(a, b Place) *Fault {
	n.t.Helper()
	return n.Drop(a, b, udp)
}

// Block drops everything between two places: see BlockUDP.
func (n *Net) Block(a, b Place) *Fault {
	n.t.Helper()
	return n.Drop(a, b, "")
}

// Drop drops what matches an nftables expression between two places: see BlockUDP.
func (n *Net) Drop(a, b Place, match string) *Fault {
	n.t.Helper()
	return n.addFault(a.machine(), b.machine(), func(int) string { return match })
}

// DropUDP drops all UDP on the machine's link: a host, or a whole site, without UDP.
func (m *Machine) DropUDP() *Fault {
	m.net.t.Helper()
	return m.Drop(udp)
}

// Blackhole drops everything on the machine's link, which stays up.
func (m *Machine) Blackhole() *Fault {
	m.net.t.Helper()
	return m.Drop("")
}

// Lose drops each packet on the machine's link, either way, with this probability.
// A super-packet (TSO, UDP GSO) is lost as a whole unless SinglePackets was called.
func (m *Machine) Lose(percent int) *Fault {
	m.net.t.Helper()
	return m.Drop(fmt.Sprintf("numgen random mod 100 < %d", percent))
}

// DropLongerThan drops packets longer than so many bytes from the IP header on, and
// tells nobody: a black hole for path MTU discovery. It calls SinglePackets.
func (m *Machine) DropLongerThan(bytes int) *Fault {
	m.net.t.Helper()
	m.net.SinglePackets()
	return m.net.addFault(m, nil, func(header int) string {
		return fmt.Sprintf("meta length > %d", bytes+header)
	})
}

// Drop drops what matches an nftables expression on the machine's link, both ways.
func (m *Machine) Drop(match string) *Fault {
	m.net.t.Helper()
	return m.net.addFault(m, nil, func(int) string { return match })
}

func (n *Net) addFault(a, b *Machine, match func(header int) string) *Fault {
	n.t.Helper()
	f := &Fault{a: a, b: b, match: match}
	f.undo = func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.faults = slices.DeleteFunc(n.faults, func(other *Fault) bool { return other == f })
		n.must(n.applyFaults())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if b != nil {
		if s, _, _ := join(a, b); s == nil {
			n.t.Fatalf("lab: no way leads from %s to %s that could be blocked", a.name, b.name)
		}
	}
	n.faults = append(n.faults, f)
	n.must(n.applyFaults())
	return f
}

// join returns the segment where the ways of two machines join, and the machines of
// that segment that they come through. If one is behind the other, the second is nil
// and the first is the one through which everything between the two goes.
func join(a, b *Machine) (*Segment, *Machine, *Machine) {
	for from := a; from != nil; from = from.upstream() {
		for to := b; to != nil; to = to.upstream() {
			switch {
			case from.uplink == to.uplink && from != to:
				return from.uplink, from, to
			case from.upstream() == to && to == b:
				return from.uplink, from, nil
			case to.upstream() == from && from == a:
				return to.uplink, to, nil
			}
		}
	}
	return nil, nil, nil
}

// upstream returns the router that the machine is behind, or nil on the internet.
func (m *Machine) upstream() *Machine {
	if m.uplink.router == nil {
		return nil
	}
	return m.uplink.router.Machine
}

// applyFaults loads the rules of every segment whose rules are no longer the wanted.
func (n *Net) applyFaults() error {
	for _, s := range n.segments {
		wanted := s.faultRules(n.faults)
		if wanted == s.faulty {
			continue
		}
		// Adding before deleting makes deleting right whether or not it was there.
		if err := nft(s.ns, "table netdev faults\ndelete table netdev faults\n"+wanted); err != nil {
			return err
		}
		s.faulty = wanted
	}
	return nil
}

// faultRules is an nftables ruleset for the ends of this segment's links. A packet
// is marked with the machine from whose link it came, so that it can be told on the
// link by which it leaves.
func (s *Segment) faultRules(faults []*Fault) string {
	from, to := map[*Machine][]string{}, map[*Machine][]string{}
	both := func(m *Machine, f *Fault) {
		from[m] = append(from[m], f.match(0)+" drop")
		to[m] = append(to[m], f.match(ethernetHeader)+" drop")
	}
	for _, f := range faults {
		if f.b == nil {
			if f.a.uplink == s {
				both(f.a, f)
			}
			continue
		}
		at, a, b := join(f.a, f.b)
		switch {
		case at != s:
		case b == nil:
			both(a, f)
		default:
			to[a] = append(to[a], fmt.Sprintf("meta mark %d %s drop", b.id, f.match(ethernetHeader)))
			to[b] = append(to[b], fmt.Sprintf("meta mark %d %s drop", a.id, f.match(ethernetHeader)))
		}
	}
	if len(to) == 0 {
		return ""
	}
	var text strings.Builder
	text.WriteString("table netdev faults {\n")
	for _, m := range s.net.machines {
		if m.uplink != s {
			continue
		}
		chain := func(name, hook string, rules []string) {
			fmt.Fprintf(&text, "\tchain %s-%s {\n\t\ttype filter hook %s device %q priority filter;\n\t\t%s\n\t}\n",
				name, m.name, hook, m.name, strings.Join(rules, "\n\t\t"))
		}
		chain("from", "ingress", append([]string{fmt.Sprintf("meta mark set %d", m.id)}, from[m]...))
		chain("to", "egress", to[m])
	}
	text.WriteString("}\n")
	return text.String()
}

// ethernetHeader is part of a packet's length where it leaves, not where it arrives.
const ethernetHeader = 14
