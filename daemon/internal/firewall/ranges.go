package firewall

import (
	"net/netip"
	"slices"

	"github.com/google/nftables"
)

// span is a range of addresses of one family, both ends included.
type span struct{ first, last netip.Addr }

// spans gives the family's prefixes as ranges that neither touch nor overlap, in order: what an interval set holds.
func spans(prefixes []netip.Prefix, is4 bool) []span {
	var all []span
	for _, p := range prefixes {
		if p = unmap(p).Masked(); p.IsValid() && p.Addr().Is4() == is4 {
			all = append(all, span{p.Addr(), last(p)})
		}
	}
	slices.SortFunc(all, func(a, b span) int { return a.first.Compare(b.first) })
	var merged []span
	for _, s := range all {
		if n := len(merged); n > 0 && (!merged[n-1].last.Next().IsValid() || s.first.Compare(merged[n-1].last.Next()) <= 0) {
			if s.last.Compare(merged[n-1].last) > 0 {
				merged[n-1].last = s.last
			}
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// elements gives ranges in the form of an interval set: each start, and the first address after each end.
func elements(all []span) []nftables.SetElement {
	var es []nftables.SetElement
	for _, s := range all {
		es = append(es, nftables.SetElement{Key: s.first.AsSlice()})
		if next := s.last.Next(); next.IsValid() {
			es = append(es, nftables.SetElement{Key: next.AsSlice(), IntervalEnd: true})
		}
	}
	return es
}

// last is a prefix's last address.
func last(p netip.Prefix) netip.Addr {
	bytes := p.Addr().AsSlice()
	for i := p.Bits(); i < len(bytes)*8; i++ {
		bytes[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(bytes)
	return a
}

// unmap turns an IPv4-mapped IPv6 prefix into the IPv4 prefix that it means.
func unmap(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

// never is where an exit node leads nobody: what is not the public internet (RFC 6890, RFC 4193, RFC 6598), and what
// would be translated into that (RFC 6052, RFC 3056, RFC 4380).
var never = withTranslated(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
	"224.0.0.0/3",
	"::/8", "64:ff9b:1::/48", "2001::/32", "2002::/16", "fc00::/7", "fe80::/9", "ff00::/8",
)

// strange is from where nothing comes through the tunnel, though an exit node may send from anywhere: what is of one machine or
// one link (RFC 6890), and the private networks that this host is on, which its services may trust. Others with public
// addresses in its networks are reached through the exit node, and answer from there.
func (w *wish) strange() []netip.Prefix {
	ps := slices.Concat(single(w.rules.Host), nobodys)
	for _, p := range w.host.attached {
		ours := slices.ContainsFunc(w.rules.Network, p.Overlaps)
		if !ours && slices.ContainsFunc(private, func(q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) }) {
			ps = append(ps, p)
		}
	}
	return ps
}

// nobodys are addresses that no packet from elsewhere comes from.
var nobodys = prefixList("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8")

// single makes each address a prefix of its own.
func single(addrs []netip.Addr) (ps []netip.Prefix) {
	for _, a := range addrs {
		a = a.Unmap().WithZone("")
		ps = append(ps, netip.PrefixFrom(a, a.BitLen()))
	}
	return ps
}

func withTranslated(texts ...string) (ps []netip.Prefix) {
	for _, text := range texts {
		p := netip.MustParsePrefix(text)
		ps = append(ps, p)
		if p.Addr().Is4() {
			nat64 := netip.MustParseAddr("64:ff9b::").As16()
			copy(nat64[12:], p.Addr().AsSlice())
			ps = append(ps, netip.PrefixFrom(netip.AddrFrom16(nat64), 96+p.Bits()))
		}
	}
	return ps
}

// sourcePorts is the widest range of ports from 1024 on that leaves these out: a masqueraded flow that got a port on
// which this machine listens would draw strangers' packets to its own machine (CVE-2021-3773).
func sourcePorts(listening []uint16) (lo, hi uint16) {
	marks := append([]uint16{1023}, slices.Sorted(slices.Values(listening))...)
	for i, low := range marks {
		next := 1 << 16
		if i+1 < len(marks) {
			next = int(marks[i+1])
		}
		if low >= 1023 && int(low)+1 < next && next-int(low) > int(hi)-int(lo)+1+1 {
			lo, hi = low+1, uint16(next-1)
		}
	}
	return lo, hi
}
