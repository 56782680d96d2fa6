package firewall

import (
	"errors"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// host is what was seen of the host that the tables depend on.
type host struct {
	links    []string       // names of all links but loopback
	attached []netip.Prefix // networks of all links but the tunnel
	gateways []netip.Addr   // whom the host's routes lead to
	inner    []netip.Prefix // networks of guests
	guests   []string       // links to what runs on this machine: bridges of containers and virtual machines
	forwards struct{ four, six bool }
	opened   []string // links that forward IPv4 because of us
	opened6  bool     // the host forwards IPv6 because of us
}

// look reads the host.
func (f *Firewall) look() (h host, err error) {
	links, err := again(f.route.LinkList)
	if err != nil {
		return h, explain("look at the network interfaces", err)
	}
	addrs, err := again(func() ([]netlink.Addr, error) { return f.route.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return h, explain("look at the addresses", err)
	}
	own := 0
	for _, l := range links {
		switch name := l.Attrs().Name; name {
		case f.link:
			own = l.Attrs().Index
			h.links = append(h.links, name)
		case "lo":
		default:
			h.links = append(h.links, name)
		}
	}
	for _, a := range addrs {
		if p, ok := prefix(a); ok && a.LinkIndex != own {
			h.attached = append(h.attached, p.Masked())
		}
	}
	slices.SortFunc(h.attached, netip.Prefix.Compare)
	h.attached = slices.Compact(h.attached)
	slices.Sort(h.links)
	routes, err := again(func() ([]netlink.Route, error) {
		return f.route.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE) // every table
	})
	if err != nil {
		return h, explain("look at the routes", err)
	}
	h.guests, h.gateways = guests(links, routes), gateways(routes)
	for _, l := range links {
		if !slices.Contains(h.guests, l.Attrs().Name) {
			continue
		}
		for _, a := range addrs {
			if p, ok := prefix(a); ok && a.LinkIndex == l.Attrs().Index && !p.Addr().IsLinkLocalUnicast() {
				h.inner = append(h.inner, p.Masked())
			}
		}
	}
	h.forwards.four, h.forwards.six = sysctl(forward4) == "1", sysctl(forward6) == "1"
	return h, nil
}

// guests lists the bridges that have no port to the outside, and over which no default route goes: what sends there runs
// on this machine.
func guests(links []netlink.Link, routes []netlink.Route) (names []string) {
	outside := make(map[int]bool)
	for _, l := range links {
		if kind := l.Type(); kind != "veth" && kind != "tuntap" {
			outside[l.Attrs().MasterIndex] = true
		}
	}
	for _, r := range routes {
		if r.Dst == nil || r.Dst.IP.IsUnspecified() {
			outside[r.LinkIndex] = true
			for _, hop := range r.MultiPath {
				outside[hop.LinkIndex] = true
			}
		}
	}
	for _, l := range links {
		if l.Type() == "bridge" && !outside[l.Attrs().Index] {
			names = append(names, l.Attrs().Name)
		}
	}
	slices.Sort(names)
	return names
}

// gateways lists the routers that routes name, each once.
func gateways(routes []netlink.Route) (all []netip.Addr) {
	add := func(gateway net.IP) {
		if a, ok := netip.AddrFromSlice(gateway); ok && !a.IsUnspecified() {
			all = append(all, a.Unmap())
		}
	}
	for _, r := range routes {
		add(r.Gw)
		if via, ok := r.Via.(*netlink.Via); ok {
			add(via.Addr)
		}
		for _, hop := range r.MultiPath {
			add(hop.Gw)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// again repeats a dump that changes interrupted (NLM_F_DUMP_INTR), a few times.
func again[T any](dump func() ([]T, error)) (all []T, err error) {
	for range 5 {
		if all, err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return all, err
}

func prefix(a netlink.Addr) (p netip.Prefix, ok bool) {
	if a.IPNet == nil || a.Scope == unix.RT_SCOPE_HOST {
		return p, false
	}
	ip, ok := netip.AddrFromSlice(a.IP)
	bits, size := a.Mask.Size()
	if !ok || size != ip.BitLen() {
		return p, false
	}
	return unmap(netip.PrefixFrom(ip, bits)), true
}
