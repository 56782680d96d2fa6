package policy

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/warren-mesh/warren/coord"
)

// Peers are the machines that a machine sees, ordered: those that it may reach, or be reached by.
func (c *Compiled) Peers(id coord.NodeID) []coord.NodeID {
	s := c.machines[id]
	if s == nil {
		return nil
	}
	ids := c.idsOf(c.peers(id), s.slot)
	slices.Sort(ids)
	return ids
}

// Sees reports whether two machines see each other. It is the same both ways.
func (c *Compiled) Sees(a, b coord.NodeID) bool {
	other := c.machines[b]
	return other != nil && a != b && c.peers(a).has(other.slot)
}

// idsOf gives the machines in these slots but one.
func (c *Compiled) idsOf(b bitset, but int) []coord.NodeID {
	var ids []coord.NodeID
	for i := range b.all {
		if i != but {
			ids = append(ids, c.slots[i].ID)
		}
	}
	return ids
}

// peers gives the slots of those that the machine sees; its own may be among them. The result is shared.
func (c *Compiled) peers(id coord.NodeID) bitset {
	s := c.machines[id]
	if s == nil {
		return nil
	}
	key := s.sight
	if b, known := c.seen[key]; known {
		return b
	}
	var b bitset
	for fam := range 2 {
		for _, a := range s.src[fam] {
			for _, d := range c.sources[a].outs {
				b.add(c.dests[d].members[fam])
			}
		}
		for _, d := range s.dst[fam] {
			for _, a := range c.dests[d].ins {
				b.add(c.sources[a].members[fam])
			}
		}
	}
	if len(s.selves) > 0 {
		for i := range c.ownedBy(s.User).all {
			if shareFamily(s, c.slots[i]) {
				b.set(i)
			}
		}
	}
	c.seen[key] = b
	return b
}

// class names what machines have in common that see the same. With sources, those count as well; without, it is what
// those have in common that have the same filter.
func (c *Compiled) class(s *subject, withSources bool) string {
	b := make([]byte, 0, 64)
	list := func(ids []int) {
		for _, id := range ids {
			b = append(strconv.AppendInt(b, int64(id), 36), ',')
		}
		b = append(b, ';')
	}
	for fam := range 2 {
		if withSources {
			list(s.src[fam])
		}
		list(s.dst[fam])
	}
	if len(s.selves) > 0 {
		b = strconv.AppendInt(b, s.User, 10)
		for _, a := range s.Addrs {
			b = append(b, "46"[familyOf(a)])
		}
	}
	return string(b)
}

func shareFamily(a, b *subject) bool {
	return slices.ContainsFunc(a.Addrs, func(x netip.Addr) bool {
		return slices.ContainsFunc(b.Addrs, func(y netip.Addr) bool { return familyOf(x) == familyOf(y) })
	})
}

// Routes are those of the router's routes that the viewer is to have: some rule lets it reach what lies there through
// this router, or lets what lies there reach it, and answers need the way back.
func (c *Compiled) Routes(viewer, router coord.NodeID) []netip.Prefix {
	if viewer == router {
		return nil
	}
	var out []netip.Prefix
	for i := range (bitset{uint64(c.Shown(viewer, router))}).all {
		out = append(out, c.machines[router].routes[i].prefix)
	}
	return out
}

func (c *Compiled) linksAny(from, to []int) bool {
	return slices.ContainsFunc(from, func(s int) bool {
		return slices.ContainsFunc(to, func(d int) bool { return c.linked[[2]int{s, d}] })
	})
}

// AutoApproves reports whether the file lets the machine offer the route without an admin's approval.
func (c *Compiled) AutoApproves(id coord.NodeID, route netip.Prefix) bool {
	s := c.machines[id]
	return s != nil && c.file.approves(s, route)
}

// AutoApproves is that of a Compiled, for a machine of this user, who is the zero User where it is nobody's, with these
// tags. Without a file none is approved.
func (f *File) AutoApproves(u User, tags []string, route netip.Prefix) bool {
	return f != nil && f.approves(subjectOf(Machine{User: u.ID, Tags: tags}, map[int64]User{u.ID: u}, nil), route)
}

func (f *File) approves(s *subject, route netip.Prefix) bool {
	may := func(by []selector) bool {
		return slices.ContainsFunc(by, func(sel selector) bool { return f.is(s, &sel) })
	}
	if coord.IsExitRoute(route) {
		return may(f.exitNode)
	}
	return slices.ContainsFunc(f.routes, func(a approval) bool {
		return a.prefix.Bits() <= route.Bits() && a.prefix.Contains(route.Addr()) && may(a.by)
	})
}

// TagsOf are the tags that the file lets a user give machines, without "tag:", in order.
func (c *Compiled) TagsOf(u User) (tags []string) {
	for name := range c.file.tagOwners {
		if c.file.MayTag(u, nil, name) {
			tags = append(tags, name)
		}
	}
	slices.Sort(tags)
	return tags
}

// MayTag reports whether the file lets a user give machines the tag, which is theirs to give beside owners and admins.
// A machine that has another tag may be given this one if the one owns the other: has names those that it has.
func (f *File) MayTag(u User, has []string, name string) bool {
	s := &subject{Machine: Machine{Tags: has}, login: foldLogin(u.Login), role: u.Role}
	return slices.ContainsFunc(f.tagOwners[strings.TrimPrefix(name, "tag:")], func(sel selector) bool { return f.is(s, &sel) })
}
