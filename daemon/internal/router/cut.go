package router

import (
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What this host offers to lead others to it may itself have lost: a cable, an interface, a route. Others are told, so that they use
// another machine that leads there. Only what is sure is told: a subnet of which nothing can be reached, since every interface that
// leads there is down or has no carrier, or there is no route at all. That there is nothing but the default route may be meant so, and
// tells something only of a subnet to which there was more while we looked.

// ground is how this host reaches subnets, by others' routes than ours.
type ground struct {
	ways       []path // routes, but for the default ones
	attached   []path // the host's own networks
	has4, has6 bool   // a default route that leads somewhere
}

// path is a prefix, and whether an interface that leads there is up and connected.
type path struct {
	dst  netip.Prefix
	live bool
}

// Cut lists those of Wish.Offers that this host does not reach itself, as of the last Apply.
func (r *Router) Cut() []netip.Prefix {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.cut)
}

// survey finds out which of the subnets offered this host does not reach, and remembers to which it has more than the default route.
func (r *Router) survey(index int, offers []netip.Prefix) error {
	if len(offers) == 0 {
		r.cut, r.led = nil, nil
		return nil
	}
	g, err := r.ground(index)
	if err != nil {
		return err
	}
	was := r.led
	r.cut, r.led = nil, make(map[netip.Prefix]bool)
	for _, p := range offers {
		cut, leads := g.cut(p, was[p])
		if cut {
			r.cut = append(r.cut, p)
		}
		if was[p] || leads {
			r.led[p] = true
		}
	}
	return nil
}

// cut reports whether nothing of a subnet can be reached, and whether a route beside the default one leads to all of it. had: one did.
func (g *ground) cut(p netip.Prefix, had bool) (cut, leads bool) {
	longest := 1 // of the routes that lead to all of it, which the kernel takes
	for _, w := range g.ways {
		if contains(w.dst, p) {
			longest = max(longest, w.dst.Bits())
		}
	}
	known := false // a way to all of it
	for _, w := range slices.Concat(g.ways, g.attached) {
		switch whole := contains(w.dst, p); {
		case whole && w.dst.Bits() < longest:
		case whole:
			known, leads = true, leads || w.live
		case contains(p, w.dst) && w.live:
			return false, leads
		}
	}
	return !leads && (known || had || !g.byDefault(p)), leads
}

// byDefault reports whether a default route could lead to a subnet.
func (g *ground) byDefault(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return g.has4
	}
	return g.has6
}

// ground looks at the host. index is our interface.
func (r *Router) ground(index int) (*ground, error) {
	links, err := again(func() ([]netlink.Link, error) { return r.handle.LinkList() })
	if err != nil {
		return nil, explain("read the interfaces", err)
	}
	addrs, err := again(func() ([]netlink.Addr, error) { return r.handle.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, explain("read the addresses", err)
	}
	routes, err := again(func() ([]netlink.Route, error) {
		return r.handle.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE) // every table
	})
	if err != nil {
		return nil, explain("read the routes", err)
	}
	live := connected(links)
	g := &ground{}
	for _, a := range addrs {
		if p, ok := prefix(a.IPNet); ok && a.LinkIndex != index {
			g.attached = append(g.attached, path{p.Masked(), live[a.LinkIndex]})
		}
	}
	for i := range routes {
		o := &routes[i]
		dst, ok := destination(o)
		switch {
		case !ok || o.Type != unix.RTN_UNICAST || o.LinkIndex == index || o.Protocol == Protocol || o.Table == unix.RT_TABLE_LOCAL || o.Table == Table:
		case dst.Bits() > 0:
			g.ways = append(g.ways, path{dst, reaches(o, live)})
		case dst.Addr().Is4():
			g.has4 = g.has4 || reaches(o, live)
		default:
			g.has6 = g.has6 || reaches(o, live)
		}
	}
	return g, nil
}

// reaches reports whether some interface of a route is live; of one that names none nothing is known.
func reaches(o *netlink.Route, live map[int]bool) bool {
	if len(o.MultiPath) == 0 {
		return o.LinkIndex == 0 || live[o.LinkIndex]
	}
	return slices.ContainsFunc(o.MultiPath, func(hop *netlink.NexthopInfo) bool { return live[hop.LinkIndex] })
}

// connected tells which interfaces are up and have a carrier. A bridge without ports never has one: it is the host's own, for
// containers that may come.
func connected(links []netlink.Link) map[int]bool {
	ports := make(map[int]bool)
	for _, l := range links {
		ports[l.Attrs().MasterIndex] = true
	}
	live := make(map[int]bool)
	for _, l := range links {
		a := l.Attrs()
		live[a.Index] = a.Flags&net.FlagUp != 0 && (a.RawFlags&unix.IFF_RUNNING != 0 || l.Type() == "bridge" && !ports[a.Index])
	}
	return live
}
