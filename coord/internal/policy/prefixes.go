package policy

import (
	"cmp"
	"net/netip"
	"slices"
)

// Internet are the public addresses: what autogroup:internet means and an exit node leads to. All but what is for
// special purposes (RFC 6890): private, shared, loopback, link-local, multicast, reserved; of IPv6 the global unicast range
// without the tunnels that hide an IPv4 address (6to4, Teredo). Addresses of documentation are nobody's, so they may stay: what
// an exit node's own packet filter leads to is the same then.
var Internet = func() []netip.Prefix {
	all := prefixes("0.0.0.0/0", "2000::/3")
	return subtract(all, prefixes(
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3", "2001::/23", "2002::/16"))
}()

func prefixes(ss ...string) []netip.Prefix {
	ps := make([]netip.Prefix, len(ss))
	for i, s := range ss {
		ps[i] = netip.MustParsePrefix(s)
	}
	return ps
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// union gives the same addresses in order and without overlaps.
func union(ps []netip.Prefix) []netip.Prefix {
	out := slices.Clone(ps)
	slices.SortFunc(out, comparePrefixes)
	kept := out[:0]
	for _, p := range out { // what contains p comes before it
		if n := len(kept); n == 0 || !kept[n-1].Contains(p.Addr()) {
			kept = append(kept, p)
		}
	}
	return kept
}

// subtract gives the addresses of as that are not in bs.
func subtract(as, bs []netip.Prefix) []netip.Prefix {
	bs = union(bs)
	var out []netip.Prefix
	for _, a := range union(as) {
		out = without(out, a, bs)
	}
	return out
}

// without appends what is left of a when bs, which are in order and without overlaps, are taken out of it.
func without(to []netip.Prefix, a netip.Prefix, bs []netip.Prefix) []netip.Prefix {
	// Those that overlap a are one that contains it, which then stands alone, or lie in it, side by side.
	i, _ := slices.BinarySearchFunc(bs, a, comparePrefixes)
	if i > 0 && bs[i-1].Overlaps(a) || i < len(bs) && bs[i] == a {
		return to
	}
	n := 0
	for i+n < len(bs) && a.Contains(bs[i+n].Addr()) {
		n++
	}
	if n == 0 {
		return append(to, a)
	}
	low, high := halves(a)
	return without(without(to, low, bs[i:i+n]), high, bs[i:i+n])
}

// halves splits a prefix that is no single address.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits() + 1
	b := p.Addr().AsSlice()
	b[(bits-1)/8] |= 0x80 >> ((bits - 1) % 8)
	upper, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(p.Addr(), bits), netip.PrefixFrom(upper, bits)
}

func containsAddr(ps []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// intersect gives the addresses that are in both.
func intersect(as, bs []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range as {
		for _, b := range bs {
			if a.Overlaps(b) { // then one contains the other
				out = append(out, narrower(a, b))
			}
		}
	}
	return union(out)
}

func narrower(a, b netip.Prefix) netip.Prefix {
	if a.Bits() >= b.Bits() {
		return a
	}
	return b
}

func overlapsAny(ps []netip.Prefix, q netip.Prefix) bool {
	return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Overlaps(q) })
}
