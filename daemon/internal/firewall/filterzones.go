package firewall

import (
	"cmp"
	"net/netip"
	"slices"
)

// owned is a range with one of those that have it.
type owned struct {
	span
	owner int
}

// ownedZone is a range with all that have all of it.
type ownedZone struct {
	span
	owners []int // in order, at least one
}

// divide cuts ranges that overlap into such as do not.
func divide(all []owned, is4 bool) (zones []ownedZone) {
	type edge struct {
		at    netip.Addr
		owner int
		begin bool
	}
	var edges []edge
	for _, o := range all {
		if o.first.Is4() != is4 {
			continue
		}
		edges = append(edges, edge{o.first, o.owner, true})
		if next := o.last.Next(); next.IsValid() {
			edges = append(edges, edge{next, o.owner, false})
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return a.at.Compare(b.at) })
	depth := make(map[int]int) // how often each owner has the present address
	for i := 0; i < len(edges); {
		at := edges[i].at
		for ; i < len(edges) && edges[i].at == at; i++ {
			if edges[i].begin {
				depth[edges[i].owner]++
			} else if depth[edges[i].owner]--; depth[edges[i].owner] == 0 {
				delete(depth, edges[i].owner)
			}
		}
		if len(depth) == 0 {
			continue
		}
		z := ownedZone{span: span{first: at, last: highest(is4)}}
		if i < len(edges) {
			z.last = edges[i].at.Prev()
		}
		for owner := range depth {
			z.owners = append(z.owners, owner)
		}
		slices.Sort(z.owners)
		zones = append(zones, z)
	}
	return zones
}

func highest(is4 bool) netip.Addr {
	if is4 {
		return last(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	}
	return last(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
}

// findZone finds the zone that an address is in.
func findZone(zones []ownedZone, a netip.Addr) (ownedZone, bool) {
	i, found := slices.BinarySearchFunc(zones, a, func(z ownedZone, a netip.Addr) int { return z.first.Compare(a) })
	if !found {
		i--
	}
	if i < 0 || zones[i].last.Less(a) {
		return ownedZone{}, false
	}
	return zones[i], true
}

// joinZones puts zones in order; neighbours that lead to the same become one.
func joinZones(zones []zone) (out []zone) {
	slices.SortFunc(zones, func(a, b zone) int { return a.first.Compare(b.first) })
	for _, z := range zones {
		if n := len(out); n > 0 && out[n-1].name == z.name && out[n-1].last.Next() == z.first {
			out[n-1].last = z.last
			continue
		}
		out = append(out, z)
	}
	return out
}

// joinPorts gives ranges that neither touch nor overlap, in order.
func joinPorts(all []portRange) (out []portRange) {
	slices.SortFunc(all, func(a, b portRange) int { return cmp.Compare(a.first, b.first) })
	for _, p := range all {
		if n := len(out); n > 0 && int(p.first) <= int(out[n-1].last)+1 {
			out[n-1].last = max(out[n-1].last, p.last)
			continue
		}
		out = append(out, p)
	}
	return out
}

// union is of two lists in order.
func union(a, b []int) []int {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
