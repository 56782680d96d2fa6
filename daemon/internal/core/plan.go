package core

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/dns/zone"
)

// Plan is how the host should be while it is on the network.
type Plan struct {
	Network coord.Network
	Addrs   []netip.Prefix // of the interface
	Routes  []netip.Prefix // through the interface
	Peers   []Peer         // in the netmap's order
	Relays  []coord.Relay
	Ticket  []byte
	DNS     DNS

	Relaying  bool        // this machine relays for others: it offers to, and an admin allows it
	RelayRate int64       // bytes per second, at the most; 0: no bound
	Through   []NodeRelay // machines that do, in the netmap's order

	Subnets []netip.Prefix // behind other machines: through the interface, unless the host itself leads there
	Exit    *Exit          // nil: the host's own way out
	Forward Forward
	Filter  *coord.Filter // what may come in from the network; nil: everything
	// Lockdown: nothing leaves the host but through the network.
	Lockdown bool
}

// NodeRelay is a machine that relays for others. Who can reach it, each pair finds out for itself.
type NodeRelay struct {
	Node  coord.NodeID
	Name  string
	Key   key.RelayPublic
	Addrs []netip.AddrPort
}

// Mark is the mark of the sockets that are never routed into the tunnel (SO_MARK): those of paths and relays, of the
// coordination server, and of the host's own nameservers. The bits that it has are in nobody's list: kube-proxy and others
// use single bits below 0x00ff0000, wg-quick the whole of 0xca6c.
const Mark = 0x57000000

// Exit is what leaves this host through an exit node: everything that no other rule of the plan leads elsewhere. What the
// exit node does not lead to is blocked.
type Exit struct {
	IPv4, IPv6 bool
	AllowLAN   bool // private subnets that this host is attached to are reached directly
}

// Forward is what this host forwards for other machines: what it offers, and an admin has approved.
type Forward struct {
	Subnets []netip.Prefix
	Exit4   bool
	Exit6   bool
	NoSNAT  bool // packets to Subnets keep their source
}

// DNS is how names are to be resolved.
type DNS struct {
	Servers  []netip.Addr // where this machine answers its own programs
	Zone     *zone.Zone   // the network's names
	Settings coord.DNS
	Accept   bool // the host is to ask us: nobody said that it is not

	ViaExit bool           // questions leave through the exit node
	Exit    []netip.Addr   // where that answers; none: there is none
	Serve   []netip.Addr   // where this machine answers those that use it as exit node
	Clients []netip.Prefix // and those alone
}

// Peer is what is wanted of one other machine.
type Peer struct {
	Key        key.NodePublic
	AllowedIPs []netip.Prefix // the only source addresses that it may use
	Disco      key.DiscoPublic
	Endpoints  []coord.Endpoint
	Relay      coord.RelayID
}

// NewPlan makes the plan for a netmap, what people want and who leads where. A machine's addresses lead to it, and the routes
// that it was chosen for: the netmap is valid (coord.Netmap.Validate), so no two peers claim one address, and each route has
// one machine.
func NewPlan(m *coord.Netmap, w *Wants, l *Leads) *Plan {
	p := &Plan{Network: m.Network, Addrs: host(m.Self.Addrs), Relays: m.Relays, Ticket: m.Ticket, Lockdown: w.Lockdown, Forward: forward(m, w)}
	p.Relaying, p.RelayRate = w.Relay && m.Self.Relaying != nil, w.RelayRate
	p.DNS = DNS{Servers: free(m), Zone: zone.New(&m.Network, &m.DNS, &m.Self, m.Peers), Settings: m.DNS, Accept: true}
	for _, prefix := range []netip.Prefix{m.Network.IPv4, m.Network.IPv6} {
		if prefix.IsValid() {
			p.Routes = append(p.Routes, prefix.Masked())
		}
	}
	p.Peers = make([]Peer, 0, len(m.Peers))
	for i := range m.Peers {
		n := &m.Peers[i]
		p.Peers = append(p.Peers, Peer{
			Key: n.Key, AllowedIPs: append(host(n.Addrs), l.through(n, &m.Network)...), Disco: n.Disco, Endpoints: n.Endpoints, Relay: n.Relay,
		})
		if n.Relaying != nil && n.Online {
			p.Through = append(p.Through, NodeRelay{Node: n.ID, Name: n.Name, Key: n.Relaying.Key, Addrs: n.Relaying.Addrs})
		}
	}
	p.Subnets = slices.SortedFunc(maps.Keys(l.Routers), netip.Prefix.Compare)
	if len(w.Exits) > 0 {
		p.Exit = &Exit{AllowLAN: w.AllowLAN}
		if n := m.Peer(l.Exit); n != nil {
			p.Exit.IPv4, p.Exit.IPv6 = leadsTo(n, true), leadsTo(n, false)
			p.DNS.Exit = n.Addrs
		}
		p.DNS.ViaExit = true
	}
	if p.Forward.Exit4 || p.Forward.Exit6 {
		p.DNS.Serve, p.DNS.Clients = m.Self.Addrs, exitClients(m, &p.Forward)
	}
	p.Filter = admission(m, w, p)
	return p
}

// Hold is the plan of a machine that a person wants behind an exit node, and that is not on its network now: it has expired, was
// removed, waits for approval, or has no netmap yet. Nothing goes around the exit node until somebody says so.
func Hold(w *Wants) *Plan {
	return &Plan{Exit: &Exit{AllowLAN: w.AllowLAN}, DNS: DNS{ViaExit: true}, Lockdown: w.Lockdown, Filter: &coord.Filter{}}
}

// through lists the routes that a machine was chosen for. An exit node leads everywhere but into the network itself: it may
// not send as a machine that is not there, and gets no packets to one.
func (l *Leads) through(n *coord.Node, network *coord.Network) (ps []netip.Prefix) {
	for _, p := range n.Routes {
		switch {
		case coord.IsExitRoute(p) && n.ID == l.Exit && p.Addr().Is4():
			ps = append(ps, without(p, network.IPv4)...)
		case coord.IsExitRoute(p) && n.ID == l.Exit:
			ps = append(ps, without(p, network.IPv6)...)
		case l.Routers[p] == n.ID:
			ps = append(ps, p)
		}
	}
	return ps
}

// without gives the least prefixes that are all of p but its part.
func without(p, part netip.Prefix) (rest []netip.Prefix) {
	if !part.IsValid() || !p.Overlaps(part) || part.Bits() < p.Bits() {
		return []netip.Prefix{p}
	}
	for bits := p.Bits() + 1; bits <= part.Bits(); bits++ {
		bytes := part.Masked().Addr().AsSlice()
		bytes[(bits-1)/8] ^= 0x80 >> ((bits - 1) % 8)
		other, _ := netip.AddrFromSlice(bytes)
		rest = append(rest, netip.PrefixFrom(other, bits).Masked())
	}
	return rest
}

// leadsTo reports whether a machine leads to the internet of a version.
func leadsTo(n *coord.Node, four bool) bool {
	return slices.ContainsFunc(n.Routes, func(p netip.Prefix) bool { return coord.IsExitRoute(p) && p.Addr().Is4() == four })
}

// forward is what both the people of this machine and the network's admins want it to forward.
func forward(m *coord.Netmap, w *Wants) (f Forward) {
	for _, p := range m.Self.Routes {
		switch {
		case !slices.Contains(w.Offer, p):
		case !coord.IsExitRoute(p):
			f.Subnets = append(f.Subnets, p)
		case p.Addr().Is4():
			f.Exit4 = true
		default:
			f.Exit6 = true
		}
	}
	f.NoSNAT = w.NoSNAT
	return f
}

// exitClients are the machines that may go to the internet through this one: whom a rule forwards somewhere beyond the subnets
// that it leads to. A server that knows no rules lets all.
func exitClients(m *coord.Netmap, f *Forward) (clients []netip.Prefix) {
	if m.Filter == nil {
		for _, p := range []netip.Prefix{m.Network.IPv4, m.Network.IPv6} {
			if p.IsValid() {
				clients = append(clients, p.Masked())
			}
		}
		return clients
	}
	var names []string
	for i := range m.Filter.Forward {
		if r := &m.Filter.Forward[i]; leadsBeyond(r, f.Subnets) {
			names = append(names, r.From...)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		clients = append(clients, m.Filter.Set(name)...)
	}
	slices.SortFunc(clients, netip.Prefix.Compare)
	return slices.Compact(clients)
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
