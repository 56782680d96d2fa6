package state

import (
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/policy"
)

// What the rules make of a change: whose sight and whose filters are others now.

// Rules are the network's rules as they are now. Who asks them must do so before the next call of the State.
func (s *State) Rules() *policy.Compiled { return s.rules }

// judge tells the rules how a machine is now.
func (s *State) judge(m *Member) {
	id := m.Node.ID
	if m.hidden() {
		s.concern(id, s.rules.Remove(id))
		return
	}
	if u := m.user(); u.ID != 0 {
		s.rules.PutUser(u) // the user's other machines are in the log, too
	}
	s.concern(id, s.rules.Put(m.machine()))
}

// concern notes whom a change of a machine concerns. Those that see it now hear of it as of any that was touched.
func (s *State) concern(id coord.NodeID, t policy.Touched) {
	for _, other := range t.Lost {
		s.pair(other, id)
		s.pair(id, other)
	}
	for _, other := range t.Gained {
		s.pair(id, other)
	}
	for _, other := range t.Kept {
		if e := s.nodes.get(other); e != nil && len(e.Node.Routes) > 0 { // it may use others of its routes now
			s.pair(id, other)
		}
	}
	s.moved++
	for _, other := range append(t.Filters, id) {
		s.filterSeq[other] = s.seq
		delete(s.pending.drafted, other)
		if s.Follows(other) {
			s.pending.filters[other] = struct{}{}
		}
	}
	s.resight(id)
}

// pair has a viewer told how another machine is, if it follows.
func (s *State) pair(viewer, id coord.NodeID) {
	if !s.Follows(viewer) || viewer == id {
		return
	}
	if s.pending.pairs[viewer] == nil {
		s.pending.pairs[viewer] = map[coord.NodeID]struct{}{}
	}
	s.pending.pairs[viewer][id] = struct{}{}
}

// resight takes in that a machine may have another sight.
func (s *State) resight(id coord.NodeID) {
	f := s.followers[id]
	if f == nil {
		return
	}
	if now := s.rules.Sight(id); now != f.sight {
		s.unwatch(id, f.sight)
		f.sight = now
		s.watch(id, now)
	}
}

// filterChange encodes what leads from the filter that a machine has to the one it is to have, as elements of a list of
// changes; empty: nothing.
func filterChange(told, now *coord.Filter) (b []byte) {
	switch {
	case told == now:
		return nil
	case told == nil:
		return append(append([]byte(`{"filter":`), encode(now)...), '}')
	}
	for i, c := range coord.DiffFilters(told, now) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, encode(c)...)
	}
	return b
}
