package core

import (
	"net/netip"
	"slices"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/dns/zone"
)

// MTU of the interface, in bytes: the least that IPv6 allows (RFC 8200, section 5), so that WireGuard's packets
// with their relay trailer pass wherever IPv6 itself would.
const MTU = 1280

// Plan is how the host should be while it is on the network.
type Plan struct {
	Network coord.Network
	Addrs   []netip.Prefix // of the interface
	Routes  []netip.Prefix // through the interface
	Peers   []Peer         // in the netmap's order
	Relays  []coord.Relay
	Ticket  []byte
	DNS     DNS
}

// DNS is how names are to be resolved.
type DNS struct {
	Servers  []netip.Addr // where this machine answers its own programs
	Zone     *zone.Zone   // the network's names
	Settings coord.DNS
	Accept   bool // the host is to ask us: nobody said that it is not
}

// Peer is what is wanted of one other machine.
type Peer struct {
	Key        key.NodePublic
	AllowedIPs []netip.Prefix // the only source addresses that it may use
	Disco      key.DiscoPublic
	Endpoints  []coord.Endpoint
	Relay      coord.RelayID
}

// NewPlan makes the plan for a netmap. A machine's addresses, and they alone, lead to it: the netmap is valid
// (coord.Netmap.Validate), so no two peers claim one.
func NewPlan(m *coord.Netmap) *Plan {
	p := &Plan{Network: m.Network, Addrs: host(m.Self.Addrs), Relays: m.Relays, Ticket: m.Ticket}
	p.DNS = DNS{Servers: free(m), Zone: zone.New(&m.Network, &m.DNS, &m.Self, m.Peers), Settings: m.DNS, Accept: true}
	for _, prefix := range []netip.Prefix{m.Network.IPv4, m.Network.IPv6} {
		if prefix.IsValid() {
			p.Routes = append(p.Routes, prefix.Masked())
		}
	}
	p.Peers = make([]Peer, 0, len(m.Peers))
	for i := range m.Peers {
		n := &m.Peers[i]
		p.Peers = append(p.Peers, Peer{Key: n.Key, AllowedIPs: host(n.Addrs), Disco: n.Disco, Endpoints: n.Endpoints, Relay: n.Relay})
	}
	return p
}

// free gives the resolver's addresses that no machine has: a server of another version may have given one away.
func free(m *coord.Netmap) []netip.Addr {
	return slices.DeleteFunc(m.Network.Resolver(), func(a netip.Addr) bool {
		has := func(n coord.Node) bool { return slices.Contains(n.Addrs, a) }
		return has(m.Self) || slices.ContainsFunc(m.Peers, has)
	})
}

// Hosts makes each address a prefix of its own.
func (d *DNS) Hosts() []netip.Prefix { return host(d.Servers) }

// host makes each address a prefix of its own.
func host(addrs []netip.Addr) []netip.Prefix {
	out := make([]netip.Prefix, len(addrs))
	for i, a := range addrs {
		out[i] = netip.PrefixFrom(a, a.BitLen())
	}
	return out
}
