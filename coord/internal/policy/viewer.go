package policy

import (
	"maps"
	"slices"

	"github.com/warren-mesh/warren/coord"
)

// What who keeps netmaps asks: machines of one sight are answered together.

// Sight names what machines have in common that see the same of every other, as long as the file is the same; it is empty
// for who is no machine of the network.
func (c *Compiled) Sight(id coord.NodeID) string {
	if s := c.machines[id]; s != nil {
		return s.sight
	}
	return ""
}

// Shows is Sees for all of a viewer's sight: it may be true of the viewer itself, if another like it sees it.
func (c *Compiled) Shows(viewer, id coord.NodeID) bool {
	s := c.machines[id]
	return s != nil && c.peers(viewer).has(s.slot)
}

// Seers gives all that Shows is true of with the machine as viewer: they see it, as it sees them.
func (c *Compiled) Seers(id coord.NodeID) func(yield func(coord.NodeID) bool) {
	seen := c.peers(id)
	return func(yield func(coord.NodeID) bool) {
		for i := range seen.all {
			if !yield(c.slots[i].ID) {
				return
			}
		}
	}
}

// CountSeers counts Seers.
func (c *Compiled) CountSeers(id coord.NodeID) int { return c.peers(id).count() }

// RouteMask are routes of a machine, by their places in Machine.Routes; what is beyond the 64th is never among them.
type RouteMask uint64

// AllRoutes is the mask of all of so many routes.
func AllRoutes(count int) RouteMask { return 1<<min(count, 64) - 1 }

// Shown is Routes for all of a viewer's sight.
func (c *Compiled) Shown(viewer, router coord.NodeID) (m RouteMask) {
	v, r := c.machines[viewer], c.machines[router]
	if v == nil || r == nil {
		return 0
	}
	for i, h := range r.routes[:min(len(r.routes), 64)] {
		fam := familyOf(h.prefix.Addr())
		if c.linksAny(v.src[fam], h.dst) || c.linksAny(h.src, v.dst[fam]) {
			m |= 1 << i
		}
	}
	return m
}

// Aside is the same for another goroutine to ask about sight, until the next change; it may make a policy With another
// file of it meanwhile.
func (c *Compiled) Aside() *Compiled {
	aside := *c
	aside.seen, aside.filters = maps.Clone(c.seen), nil
	return &aside
}

// With is the same network under another file; nil is the default. It costs what Compile does.
func (c *Compiled) With(f *File) *Compiled {
	next := newCompiled(f, c.own, len(c.machines))
	next.users = maps.Clone(c.users)
	next.slots, next.free = make([]*subject, len(c.slots)), slices.Clone(c.free)
	for slot, s := range c.slots { // in the same places, so that what is seen can be compared
		if s != nil {
			next.putAt(s.Machine, slot)
		}
	}
	return next
}

// Move is what an edit of the file changes for the machines of one sight; IDs are ordered by age.
type Move struct {
	Gained, Lost []coord.NodeID
	Rerouted     []coord.NodeID // routers of which they see other routes
}

// MoveFrom says what is other for a machine, and for all that had its sight and have the one it has now, than it was in a
// policy of which this one is made by With.
func (c *Compiled) MoveFrom(old *Compiled, id coord.NodeID) (m Move) {
	before, after := old.peers(id), c.peers(id)
	for i := range max(len(before), len(after)) {
		was, is := before.word(i), after.word(i)
		for j := range (bitset{was &^ is}).all {
			m.Lost = append(m.Lost, c.slots[i*64+j].ID)
		}
		for j := range (bitset{is &^ was}).all {
			m.Gained = append(m.Gained, c.slots[i*64+j].ID)
		}
	}
	for _, router := range slices.Sorted(maps.Keys(c.routers)) {
		if slot := c.routers[router].slot; before.has(slot) && after.has(slot) && old.Shown(id, router) != c.Shown(id, router) {
			m.Rerouted = append(m.Rerouted, router)
		}
	}
	return m
}
