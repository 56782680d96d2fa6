package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/warren-mesh/warren/coord"
)

// selfSet is the name of the set of a machine's user's own machines.
const selfSet = "autogroup:self"

// Filter is what may come in to a machine, and through it. It is shared: it must not be changed.
func (c *Compiled) Filter(id coord.NodeID) *coord.Filter {
	s := c.machines[id]
	if s == nil {
		return &coord.Filter{}
	}
	key := ""
	if c.common(s) {
		key = c.class(s, false)
		if f, known := c.filters[key]; known {
			return f
		}
	}
	f := c.filter(s)
	if key != "" {
		c.filters[key] = f
	}
	return f
}

// common reports whether the machine's filter has nothing that is its alone: destinations by their addresses.
func (c *Compiled) common(s *subject) bool {
	return len(s.Routes) == 0 && !slices.ContainsFunc(slices.Concat(s.dst[0], s.dst[1]), func(d int) bool { return c.dests[d].kind == nets })
}

func (c *Compiled) filter(s *subject) *coord.Filter {
	f, used := &coord.Filter{}, make(map[int]bool)
	rule := func(to *[]coord.FilterRule, e *edge, nets []netip.Prefix) {
		r := coord.FilterRule{To: nets, Allow: e.services}
		for _, a := range e.from {
			if len(c.netsOf(a)) > 0 {
				r.From = append(r.From, c.sources[a].text)
				used[a] = true
			}
		}
		if len(r.From) > 0 {
			*to = append(*to, r)
		}
	}
	for _, d := range sorted(slices.Concat(s.dst[0], s.dst[1])) {
		dest := c.dests[d]
		in, whole := dest.toSelf(s)
		through := dest.through(s)
		for _, i := range dest.edges {
			if len(in) > 0 || whole {
				rule(&f.In, &c.edges[i], in)
			}
			if len(through) > 0 {
				rule(&f.Forward, &c.edges[i], through)
			}
		}
	}
	for a := range used {
		f.Sets = append(f.Sets, coord.FilterSet{Name: c.sources[a].text, Nets: c.netsOf(a)})
	}
	c.filterSelf(f, s)
	slices.SortFunc(f.Sets, func(a, b coord.FilterSet) int { return strings.Compare(a.Name, b.Name) })
	f.In, f.Forward = joined(f.In), joined(f.Forward)
	return f
}

// MaxLargest is how many prefixes the largest filter may come to where a file is checked. The network may grow to four
// times that before a machine would refuse its filter.
const MaxLargest = coord.MaxFilterPrefixes / 4

// Largest names a machine with the largest filter, and says how many prefixes its sets, or its rules, have: whichever are
// more. It is 0 where there is no machine.
func (c *Compiled) Largest() (id coord.NodeID, prefixes int) {
	sizes, seen := make([]int, len(c.sources)), make(map[string]int)
	for i, s := range c.sources {
		switch s.kind {
		case nets:
			sizes[i] = len(s.nets)
		case anyone:
			sizes[i] = len(c.own) + len(c.subnets)
		default:
			sizes[i] = s.members[0].count() + s.members[1].count() // a machine has an address of each
		}
	}
	used := make([]int, len(c.sources)) // by which class a source was counted last
	for _, s := range c.slots {
		if s == nil {
			continue
		}
		key := c.class(s, false)
		n, known := seen[key]
		if !known {
			n = c.setSizes(s, sizes, used, len(seen)+1)
			seen[key] = n
		}
		if len(s.selves) > 0 {
			n += 2 * c.ownedBy(s.User).count()
		}
		if len(s.Routes) > 0 {
			n = max(n, c.targetSizes(s))
		}
		if id == 0 || n > prefixes {
			id, prefixes = s.ID, n
		}
	}
	return id, prefixes
}

// setSizes counts the prefixes of the sets that a machine's filter names.
func (c *Compiled) setSizes(s *subject, sizes, used []int, mark int) (n int) {
	for _, dests := range s.dst {
		for _, d := range dests {
			for _, a := range c.dests[d].ins {
				if used[a] != mark {
					used[a] = mark
					n += sizes[a]
				}
			}
		}
	}
	return n
}

// targetSizes counts, about, the prefixes that the rules of a router's filter lead to.
func (c *Compiled) targetSizes(s *subject) (n int) {
	for _, d := range sorted(slices.Concat(s.dst[0], s.dst[1])) {
		n += len(c.dests[d].through(s)) * len(c.dests[d].edges)
	}
	return n
}

// toSelf gives the machine's own addresses that the destination means, or that it means the machine as a whole.
func (d *dest) toSelf(s *subject) (in []netip.Prefix, whole bool) {
	switch {
	case d.kind == internet, d.kind == subnets, len(d.rule.via) > 0:
		return nil, false
	case d.kind != nets:
		return nil, true
	}
	for _, a := range s.Addrs {
		if containsAddr(d.nets, a) {
			in = append(in, single(a))
		}
	}
	if len(in) == len(s.Addrs) {
		return nil, len(in) > 0
	}
	return in, false
}

// through gives what lies behind the machine that the destination means.
func (d *dest) through(s *subject) []netip.Prefix {
	if !d.rule.leads(s) {
		return nil
	}
	switch d.kind {
	case anyone:
		return union(slices.Concat(s.behind, s.exit))
	case subnets:
		return s.behind
	case internet:
		return s.exit
	case nets:
		return intersect(d.nets, slices.Concat(s.behind, s.exit))
	}
	return nil
}

// filterSelf adds what the machine's user may do from their other machines.
func (c *Compiled) filterSelf(f *coord.Filter, s *subject) {
	for _, i := range s.selves {
		f.In = append(f.In, coord.FilterRule{From: []string{selfSet}, Allow: c.selves[i].services})
	}
	if len(s.selves) > 0 {
		f.Sets = append(f.Sets, coord.FilterSet{Name: selfSet, Nets: c.addrs(c.ownedBy(s.User))})
	}
}

// netsOf gives the addresses of a source.
func (c *Compiled) netsOf(a int) []netip.Prefix {
	s := c.sources[a]
	switch {
	case s.kind == nets:
		return s.nets
	case s.fresh:
	case s.kind == anyone:
		s.addrs = c.anywhere()
	default:
		var all bitset
		all.add(s.members[0])
		all.add(s.members[1])
		s.addrs = c.addrs(all)
	}
	s.fresh = true
	return s.addrs
}

// addrs gives the own addresses of the machines in these slots.
func (c *Compiled) addrs(b bitset) []netip.Prefix {
	var out []netip.Prefix
	for i := range b.all {
		for _, a := range c.slots[i].Addrs {
			out = append(out, single(a))
		}
	}
	slices.SortFunc(out, comparePrefixes)
	return out
}

// joined makes one of rules that differ in their sources alone, and leaves out those that are there twice.
func joined(rs []coord.FilterRule) []coord.FilterRule {
	compare := func(a, b coord.FilterRule) int {
		return cmp.Or(
			slices.CompareFunc(a.To, b.To, comparePrefixes),
			slices.CompareFunc(a.Allow, b.Allow, func(a, b coord.Service) int {
				return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
			}))
	}
	slices.SortStableFunc(rs, compare)
	out := rs[:0]
	for _, r := range rs {
		if n := len(out); n > 0 && compare(out[n-1], r) == 0 {
			out[n-1].From = append(out[n-1].From, r.From...)
			continue
		}
		out = append(out, r)
	}
	for i := range out {
		slices.Sort(out[i].From)
		out[i].From = slices.Compact(out[i].From)
	}
	return slices.Clip(out)
}
