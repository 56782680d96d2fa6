package router

import (
	"net/netip"
	"slices"
)

// Wish is how the interface should be.
type Wish struct {
	MTU    int            // in bytes; 0: as it is
	Least  int            // how large packets may be where Fit says no more, in bytes; 0: as large as MTU
	Addrs  []netip.Prefix // the machine's own, as single addresses (/32, /128)
	Routes []netip.Prefix // what is reached through the interface
	Host   []netip.Prefix // addresses as Addrs, but for this host's own programs: packets to others never come from them

	Subnets []netip.Prefix // what is reached through the interface, unless the host leads there itself
	Exit    *Exit          // nil: the host's own way out

	Offers []netip.Prefix // subnets to which this host leads others; see Cut
}

// detour reports whether the wish needs rules.
func (w *Wish) detour() bool { return len(w.Subnets) > 0 || w.Exit != nil }

// detour4 reports whether it needs some for IPv4.
func (w *Wish) detour4() bool { return w.Exit != nil || len(ipv4(w.Subnets)) > 0 }

// fact is how the interface is.
type fact struct {
	index  int
	up     bool
	mtu    int
	addrs  []netip.Prefix
	routes []netip.Prefix // through it, with our Protocol
}

// plan is what leads from a fact to a wish, in the order of its fields.
type plan struct {
	delRoutes []netip.Prefix
	delAddrs  []netip.Prefix
	setMTU    int // 0: no
	setUp     bool
	addAddrs  []netip.Prefix
	addRoutes []netip.Prefix
	host      []netip.Prefix // of addAddrs, those of the wish's Host
}

func (p *plan) empty() bool {
	return len(p.delRoutes)+len(p.delAddrs)+len(p.addAddrs)+len(p.addRoutes) == 0 && p.setMTU == 0 && !p.setUp
}

// diff plans the way from f to w. Only addresses that are ours may go: a person may have added others.
func diff(f fact, w Wish, ours []netip.Prefix) plan {
	w = w.clean()
	all := slices.Concat(w.Addrs, w.Host)
	p := plan{
		delRoutes: without(f.routes, w.Routes),
		addAddrs:  without(all, f.addrs),
		host:      w.Host,
		addRoutes: without(w.Routes, f.routes),
		setUp:     !f.up,
	}
	for _, a := range without(f.addrs, all) {
		if slices.Contains(ours, a) {
			p.delAddrs = append(p.delAddrs, a)
		}
	}
	if w.MTU != 0 && w.MTU != f.mtu {
		p.setMTU = w.MTU
	}
	return p
}

// clean gives the wish in the form in which the kernel tells facts.
func (w Wish) clean() Wish {
	addrs := make([]netip.Prefix, 0, len(w.Addrs))
	for _, a := range w.Addrs {
		addrs = append(addrs, unmap(a))
	}
	routes := make([]netip.Prefix, 0, len(w.Routes))
	for _, r := range w.Routes {
		routes = append(routes, unmap(r).Masked())
	}
	var host []netip.Prefix
	for _, a := range w.Host {
		if a = unmap(a); !slices.Contains(addrs, a) {
			host = append(host, a)
		}
	}
	subnets := make([]netip.Prefix, 0, len(w.Subnets))
	for _, r := range w.Subnets {
		subnets = append(subnets, unmap(r).Masked())
	}
	return Wish{MTU: w.MTU, Least: w.Least, Addrs: unique(addrs), Routes: unique(routes), Host: unique(host), Subnets: unique(subnets), Exit: w.Exit, Offers: w.Offers}
}

// unmap turns an IPv4-mapped IPv6 prefix into the IPv4 prefix that it means.
func unmap(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

func unique(ps []netip.Prefix) []netip.Prefix {
	slices.SortFunc(ps, netip.Prefix.Compare)
	return slices.Compact(ps)
}

// without gives what is in a and not in b.
func without(a, b []netip.Prefix) []netip.Prefix {
	var rest []netip.Prefix
	for _, p := range a {
		if !slices.Contains(b, p) {
			rest = append(rest, p)
		}
	}
	return rest
}
