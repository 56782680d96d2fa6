package policy

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/warren-mesh/warren/coord"
)

// Touched says whom a change concerns; all IDs are ordered. The machine itself is not named.
type Touched struct {
	Gained  []coord.NodeID // they see the machine, and it sees them, and did not before
	Lost    []coord.NodeID // they did, and do not any more
	Kept    []coord.NodeID // they did and do; what they see of it may be another
	Filters []coord.NodeID // their filters may be others
}

// Put adds a machine, or takes it as it is now.
func (c *Compiled) Put(m Machine) Touched { return c.change(m.ID, func() { c.put(m) }) }

// Remove takes a machine out.
func (c *Compiled) Remove(id coord.NodeID) Touched { return c.change(id, func() { c.remove(id) }) }

// PutUser adds a user, or takes them as they are now, and gives the machines that are theirs: each has to be Put again
// to hear whom that concerns.
func (c *Compiled) PutUser(u User) []coord.NodeID {
	c.users[u.ID] = u
	return c.idsOf(c.ownedBy(u.ID), -1)
}

// RemoveUser takes a user out, and gives their machines as PutUser does.
func (c *Compiled) RemoveUser(id int64) []coord.NodeID {
	delete(c.users, id)
	return c.idsOf(c.ownedBy(id), -1)
}

func (c *Compiled) ownedBy(user int64) bitset {
	if b := c.owned[user]; b != nil {
		return *b
	}
	return nil
}

// change makes a change of one machine and compares.
func (c *Compiled) change(id coord.NodeID, do func()) Touched {
	before, was := c.peers(id), c.concern(id, nil)
	do()
	c.forget()
	after := c.peers(id)
	was = c.concern(id, was)
	var t Touched
	for i := range max(len(before), len(after)) * 64 {
		if c.slotOf(i) == nil || c.slots[i].ID == id {
			continue
		}
		switch other := c.slots[i].ID; {
		case before.has(i) && after.has(i):
			t.Kept = append(t.Kept, other)
		case before.has(i):
			t.Lost = append(t.Lost, other)
		case after.has(i):
			t.Gained = append(t.Gained, other)
		}
	}
	for other := range was {
		if other != id && c.machines[other] != nil {
			t.Filters = append(t.Filters, other)
		}
	}
	for _, ids := range [][]coord.NodeID{t.Gained, t.Lost, t.Kept, t.Filters} {
		slices.Sort(ids)
	}
	return t
}

func (c *Compiled) slotOf(i int) *subject {
	if i >= len(c.slots) {
		return nil
	}
	return c.slots[i]
}

// concern adds those whose filters have the machine's addresses in a set: it is a member of what they let in.
func (c *Compiled) concern(id coord.NodeID, to map[coord.NodeID]bool) map[coord.NodeID]bool {
	if to == nil {
		to = make(map[coord.NodeID]bool)
	}
	s := c.machines[id]
	if s == nil {
		return to
	}
	var slots bitset
	for fam := range 2 {
		for _, a := range s.src[fam] {
			// The sets of these have no machine's addresses in them: the whole network's, and those that were written.
			if k := c.sources[a].kind; k == nets || k == anyone && len(s.behind) == 0 {
				continue
			}
			for _, d := range c.sources[a].outs {
				slots.add(c.dests[d].members[0])
				slots.add(c.dests[d].members[1])
			}
		}
	}
	if len(s.selves) > 0 {
		slots.add(c.ownedBy(s.User))
	}
	for i := range slots.all {
		to[c.slots[i].ID] = true
	}
	return to
}

func (c *Compiled) put(m Machine) {
	m.Tags, m.Addrs, m.Routes = slices.Clone(m.Tags), slices.Clone(m.Addrs), slices.Clone(m.Routes)
	slot := -1
	if old := c.machines[m.ID]; old != nil {
		slot = old.slot // who sees it now and before, is told apart by slots
		c.detach(old)
	}
	switch {
	case slot >= 0:
	case len(c.free) > 0:
		slot = c.free[len(c.free)-1]
		c.free = c.free[:len(c.free)-1]
	default:
		slot = len(c.slots)
		c.slots = append(c.slots, nil)
	}
	c.putAt(m, slot)
}

func (c *Compiled) putAt(m Machine, slot int) {
	s := subjectOf(m, c.users, c.own)
	s.slot = slot
	c.slots[slot], c.machines[m.ID] = s, s
	c.find(s)
	s.sight = c.class(s, true)
	c.attach(s)
}

func (c *Compiled) remove(id coord.NodeID) {
	if s := c.machines[id]; s != nil {
		c.detach(s)
		c.slots[s.slot] = nil
		c.free = append(c.free, s.slot)
		delete(c.machines, id)
	}
}

func (c *Compiled) attach(s *subject) {
	for fam := range 2 {
		for _, a := range s.src[fam] {
			c.sources[a].members[fam].set(s.slot)
			c.sources[a].fresh = false
		}
		for _, a := range s.dst[fam] {
			c.dests[a].members[fam].set(s.slot)
		}
	}
	for _, a := range s.Addrs {
		c.byAddr[a] = s
	}
	if s.login != "" {
		if c.owned[s.User] == nil {
			c.owned[s.User] = &bitset{}
		}
		c.owned[s.User].set(s.slot)
	}
	if len(s.Routes) > 0 {
		c.routers[s.ID] = s
	}
	c.count(s.behind, 1)
}

func (c *Compiled) detach(s *subject) {
	for fam := range 2 {
		for _, a := range s.src[fam] {
			c.sources[a].members[fam].clear(s.slot)
			c.sources[a].fresh = false
		}
		for _, a := range s.dst[fam] {
			c.dests[a].members[fam].clear(s.slot)
		}
	}
	for _, a := range s.Addrs {
		if c.byAddr[a] == s {
			delete(c.byAddr, a)
		}
	}
	if b := c.owned[s.User]; b != nil {
		b.clear(s.slot)
	}
	delete(c.routers, s.ID)
	c.count(s.behind, -1)
}

// count keeps what lies behind routers, for the sources "*".
func (c *Compiled) count(ps []netip.Prefix, by int) {
	for _, p := range ps {
		if c.subnets[p] += by; c.subnets[p] == 0 {
			delete(c.subnets, p)
		}
	}
}

// anywhere are the addresses of the sources "*": the network's, and what lies behind routers.
func (c *Compiled) anywhere() []netip.Prefix {
	return union(slices.AppendSeq(slices.Clone(c.own), maps.Keys(c.subnets)))
}
