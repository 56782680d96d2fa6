package state

import (
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/policy"
)

// Draft is what an edit of the policy file comes to. Its Work may be done by another goroutine while the State answers
// questions, machines follow and others do no more, so that its owner keeps nobody waiting; only Apply must wait for it.
type Draft struct {
	file  *policy.File
	moved uint64           // State.moved, when it was begun
	old   *policy.Compiled // aside
	told  map[coord.NodeID]watcher

	rules   *policy.Compiled
	moves   map[[2]string]*policy.Move // by what was a machine's sight and is; nil: it sees the same
	filters map[coord.NodeID]filterMove
}

// filterMove leads a machine from the filter that it has to the one that it is to have.
type filterMove struct {
	told, now *coord.Filter
	change    []byte // see filterChange
}

// Draft begins one for a file; nil is the default.
func (s *State) Draft(f *policy.File) *Draft {
	d := &Draft{file: f, moved: s.moved, old: s.rules.Aside(), told: make(map[coord.NodeID]watcher, len(s.followers))}
	for id, w := range s.followers {
		d.told[id] = *w
	}
	return d
}

// Work compares, for all that follow, those of one sight together, and those of one filter.
func (d *Draft) Work() {
	d.rules, d.moves = d.old.With(d.file), make(map[[2]string]*policy.Move)
	d.filters = make(map[coord.NodeID]filterMove, len(d.told))
	changes := map[[2]*coord.Filter][]byte{}
	for id, w := range d.told {
		d.move(d.old, w.sight, id)
		now := d.rules.Filter(id)
		change, known := changes[[2]*coord.Filter{w.told, now}]
		if !known {
			change = filterChange(w.told, now)
			changes[[2]*coord.Filter{w.told, now}] = change
		}
		d.filters[id] = filterMove{w.told, now, change}
	}
}

// move says what is other for a machine that had this sight; nil: nothing.
func (d *Draft) move(old *policy.Compiled, sight string, id coord.NodeID) *policy.Move {
	way := [2]string{sight, d.rules.Sight(id)}
	m, known := d.moves[way]
	if !known {
		if moved := d.rules.MoveFrom(old, id); len(moved.Gained)+len(moved.Lost)+len(moved.Rerouted) > 0 {
			m = &moved
		}
		d.moves[way] = m
	}
	return m
}

// edit puts another file in force: the draft's, if nothing that it goes by has changed since it was begun. All that
// follow are to hear of it whom it concerns.
func (s *State) edit(f *policy.File, d *Draft) {
	if d == nil || d.rules == nil || d.file != f || d.moved != s.moved {
		d = s.Draft(f)
		d.Work()
	}
	old := s.rules
	s.rules, s.bases = d.rules, newBases()
	s.moved++
	s.pending.drafted = d.filters
	clear(s.sights) // the names of sights mean something within one file only
	for id, w := range s.followers {
		if m := d.move(old, w.sight, id); m != nil {
			s.pending.moves[id] = append(s.pending.moves[id], m)
		}
		if f, known := d.filters[id]; known && f.told == w.told && len(f.change) == 0 {
			w.told = f.now // which says the same
		} else {
			s.pending.filters[id] = struct{}{}
		}
		w.sight = s.rules.Sight(id)
		s.watch(id, w.sight)
	}
}
