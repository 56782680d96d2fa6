package policy

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/warren-mesh/warren/coord"
)

// finder finds the atoms that a machine is of, without looking at all of them.
type finder struct {
	file     *File
	sources  names
	dests    names
	byLogin  map[string][]string // groups that a user is in
	srcNets  *netIndex
	dstNets  *netIndex
	subnets  []int // atoms of destinations of that kind, one for each via
	internet []int
}

// names are the atoms that go by what a machine or its user is called.
type names map[nameKey][]int

type nameKey struct {
	kind kind
	name string
}

func newFinder(c *Compiled) finder {
	f := finder{file: c.file, sources: make(names), dests: make(names), byLogin: make(map[string][]string), srcNets: &netIndex{}, dstNets: &netIndex{}}
	for i, s := range c.sources {
		f.sources.note(&s.selector, i, f.srcNets)
	}
	for i, d := range c.dests {
		switch d.kind {
		case subnets:
			f.subnets = append(f.subnets, i)
		case internet:
			f.internet = append(f.internet, i)
		default:
			f.dests.note(&d.selector, i, f.dstNets)
		}
	}
	f.srcNets.order()
	f.dstNets.order()
	used := func(name string) bool {
		return f.sources[nameKey{group, name}] != nil || f.dests[nameKey{group, name}] != nil
	}
	for name, logins := range c.file.groups {
		if !used(name) {
			continue
		}
		for _, login := range logins {
			f.byLogin[login] = append(f.byLogin[login], name)
		}
	}
	return f
}

func (ns names) note(s *selector, id int, index *netIndex) {
	switch s.kind {
	case nets:
		for _, n := range s.nets {
			index.nets = append(index.nets, netAtom{n, id})
		}
		return
	case anyone, tagged:
		ns[nameKey{kind: s.kind}] = append(ns[nameKey{kind: s.kind}], id)
	default:
		k := nameKey{s.kind, s.name}
		ns[k] = append(ns[k], id)
	}
}

// of gives the atoms that a machine is of by whose it is.
func (f *finder) of(ns names, s *subject) []int {
	out := slices.Clone(ns[nameKey{kind: anyone}])
	for _, t := range s.Tags {
		out = append(out, ns[nameKey{tag, t}]...)
	}
	if s.nobodys() {
		out = append(out, ns[nameKey{kind: tagged}]...)
	}
	if s.login == "" {
		return out
	}
	out = append(out, ns[nameKey{user, s.login}]...)
	out = append(out, ns[nameKey{role, roleMember}]...)
	if s.role != roleMember {
		out = append(out, ns[nameKey{role, s.role}]...)
	}
	for _, g := range f.byLogin[s.login] {
		out = append(out, ns[nameKey{group, g}]...)
	}
	return out
}

// find works out the atoms that the machine is of.
func (c *Compiled) find(s *subject) {
	f := &c.finder
	src, dst := f.of(f.sources, s), f.of(f.dests, s)
	for _, a := range s.Addrs {
		fam := familyOf(a)
		s.src[fam] = f.srcNets.containing(append(s.src[fam], src...), a)
		s.dst[fam] = append(s.dst[fam], dst...)
		for _, id := range f.dstNets.containing(nil, a) {
			if len(c.dests[id].rule.via) == 0 { // what goes through a router is not for the machine itself
				s.dst[fam] = append(s.dst[fam], id)
			}
		}
	}
	for _, r := range s.Routes {
		h := c.findRoute(s, r)
		fam := familyOf(r.Addr())
		s.src[fam] = append(s.src[fam], h.src...)
		s.dst[fam] = append(s.dst[fam], h.dst...)
		s.routes = append(s.routes, h)
	}
	for fam := range 2 {
		s.src[fam], s.dst[fam] = sorted(s.src[fam]), sorted(s.dst[fam])
	}
	for i := range c.selves {
		if s.login != "" && slices.ContainsFunc(c.selves[i].from, func(a int) bool { return c.file.is(s, &c.sources[a].selector) }) {
			s.selves = append(s.selves, i)
		}
	}
}

// findRoute works out the atoms that a route makes its router be of.
func (c *Compiled) findRoute(s *subject, route netip.Prefix) routeHits {
	f, h := &c.finder, routeHits{prefix: route}
	h.dst = slices.Clone(f.dests[nameKey{kind: anyone}])
	parts := intersect([]netip.Prefix{route}, s.behind)
	if coord.IsExitRoute(route) {
		parts = ofFamily(s.exit, familyOf(route.Addr()))
		h.dst = append(h.dst, f.internet...)
	} else {
		h.src = slices.Clone(f.sources[nameKey{kind: anyone}])
		h.dst = append(h.dst, f.subnets...)
	}
	if len(parts) == 0 { // the network's own addresses are nobody's route
		return routeHits{prefix: route}
	}
	for _, p := range parts {
		h.dst = f.dstNets.overlapping(h.dst, p)
		if !coord.IsExitRoute(route) {
			h.src = f.srcNets.overlapping(h.src, p)
		}
	}
	h.dst = slices.DeleteFunc(h.dst, func(id int) bool { return !c.dests[id].rule.leads(s) })
	h.src, h.dst = sorted(h.src), sorted(h.dst)
	return h
}

func sorted(ids []int) []int {
	slices.Sort(ids)
	return slices.Compact(ids)
}

// netIndex finds the atoms whose prefixes contain an address or overlap a prefix.
type netIndex struct {
	nets    []netAtom                  // ordered by prefix
	exact   map[netip.Prefix][]netAtom // parts of nets
	lengths [2][]int                   // that prefixes have, by family
}

type netAtom struct {
	prefix netip.Prefix
	atom   int
}

func (x *netIndex) order() {
	slices.SortFunc(x.nets, func(a, b netAtom) int {
		return cmp.Or(comparePrefixes(a.prefix, b.prefix), cmp.Compare(a.atom, b.atom))
	})
	x.exact = make(map[netip.Prefix][]netAtom)
	for i := 0; i < len(x.nets); {
		j, p := i, x.nets[i].prefix
		for j < len(x.nets) && x.nets[j].prefix == p {
			j++
		}
		x.exact[p] = x.nets[i:j]
		fam := familyOf(p.Addr())
		x.lengths[fam] = append(x.lengths[fam], p.Bits())
		i = j
	}
	for fam := range 2 {
		x.lengths[fam] = sorted(x.lengths[fam])
	}
}

// containing appends the atoms that contain the address.
func (x *netIndex) containing(to []int, a netip.Addr) []int {
	return x.around(to, a, a.BitLen())
}

// around appends the atoms with a prefix of at most that length around the address.
func (x *netIndex) around(to []int, a netip.Addr, longest int) []int {
	for _, length := range x.lengths[familyOf(a)] {
		if length > longest {
			break
		}
		p, _ := a.Prefix(length)
		for _, n := range x.exact[p] {
			to = append(to, n.atom)
		}
	}
	return to
}

// overlapping appends the atoms that overlap the prefix: those around it, and those in it.
func (x *netIndex) overlapping(to []int, p netip.Prefix) []int {
	to = x.around(to, p.Addr(), p.Bits()-1)
	i, _ := slices.BinarySearchFunc(x.nets, p, func(n netAtom, p netip.Prefix) int { return comparePrefixes(n.prefix, p) })
	for ; i < len(x.nets) && p.Contains(x.nets[i].prefix.Addr()); i++ {
		if x.nets[i].prefix.Bits() >= p.Bits() {
			to = append(to, x.nets[i].atom)
		}
	}
	return to
}
