package state

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/policy"
)

// Delivery is one body for all whom it concerns. A machine that already has Seq needs it no more.
type Delivery struct {
	To   []coord.NodeID
	Seq  uint64 // 0: the number that the machine has; there is nothing numbered in it
	Body []byte // a coord.Update
	// Packed is the body for readers that take packed ones; nil: it is not packed.
	Packed []byte
}

// Flush says who must be told what since the last Flush. Of a machine only its last state is told.
func (s *State) Flush() []Delivery {
	var out []Delivery
	p := s.pending
	s.pending = newPending()
	// Tickets come first, and under no number of their own: a machine that gets its ticket and then breaks off gets it
	// once more, with what the others were told.
	for id := range p.tickets {
		if e := s.nodes.get(id); e.ticket != nil {
			out = append(out, Delivery{To: []coord.NodeID{id}, Body: append(append([]byte(`{"changes":[{"ticket":`), encode(e.ticket)...), "}]}"...)})
		}
	}
	t := telling{s: s, pending: p, since: s.seq, shown: map[string][]coord.NodeID{}, apart: map[coord.NodeID]*apart{}, bodies: map[string]*Delivery{}}
	if p.shared {
		t.since = 0
	}
	t.gather()
	return append(out, t.deliver()...)
}

// telling makes deliveries: one body for all of a sight who hear the same, and one for those each that hear something
// else beside it.
type telling struct {
	s *State
	pending
	since  uint64                    // shared parts are told that are newer
	shown  map[string][]coord.NodeID // by sight: those touched that it shows
	apart  map[coord.NodeID]*apart
	bodies map[string]*Delivery
}

// apart is what one viewer hears beside what its sight shows.
type apart struct {
	ids    []coord.NodeID
	moves  []*policy.Move
	filter []byte // shared by those that hear the same
}

// key is alike for viewers of one sight that hear the same.
func (a *apart) key(sight string) string {
	key := fmt.Sprint(sight, " ", a.ids)
	for _, m := range a.moves {
		key += fmt.Sprintf(" %p", m)
	}
	if len(a.filter) > 0 {
		key += fmt.Sprintf(" %p", a.filter)
	}
	return key
}

// gather finds who hears of what.
func (t *telling) gather() {
	s := t.s
	for _, id := range slices.Sorted(maps.Keys(t.touched)) {
		self := s.Follows(id)
		for sight := range s.sightsOf(id) {
			t.shown[sight] = append(t.shown[sight], id)
			if self && s.followers[id].sight == sight && s.whollyShown(id) {
				self = false // what its peers hear of it serves the machine itself, too
			}
		}
		if self {
			t.of(id).ids = append(t.of(id).ids, id)
		}
	}
	for viewer, ids := range t.pairs {
		for id := range ids {
			t.of(viewer).ids = append(t.of(viewer).ids, id)
		}
	}
	for viewer, moves := range t.moves {
		t.of(viewer).moves = moves
		if !s.whollyShown(viewer) { // they may name it: it is to see itself whole
			t.of(viewer).ids = append(t.of(viewer).ids, viewer)
		}
	}
	changes := map[[2]*coord.Filter][]byte{}
	for id := range t.filters {
		f := s.followers[id]
		if d, known := t.drafted[id]; known && d.told == f.told {
			if f.told = d.now; len(d.change) > 0 {
				t.of(id).filter = d.change
			}
			continue
		}
		now := s.rules.Filter(id)
		change, known := changes[[2]*coord.Filter{f.told, now}]
		if !known {
			change = filterChange(f.told, now)
			changes[[2]*coord.Filter{f.told, now}] = change
		}
		if f.told = now; len(change) > 0 {
			t.of(id).filter = change
		}
	}
}

func (t *telling) of(viewer coord.NodeID) *apart {
	if t.apart[viewer] == nil {
		t.apart[viewer] = &apart{}
	}
	return t.apart[viewer]
}

// sightsOf gives the sights of followers that show the machine, by whichever way is shorter: sight is mutual.
func (s *State) sightsOf(id coord.NodeID) map[string]struct{} {
	out := map[string]struct{}{}
	if s.rules.CountSeers(id) < len(s.sights) {
		for seer := range s.rules.Seers(id) {
			if f := s.followers[seer]; f != nil {
				out[f.sight] = struct{}{}
			}
		}
		return out
	}
	for sight, viewers := range s.sights {
		for viewer := range viewers {
			if s.rules.Shows(viewer, id) {
				out[sight] = struct{}{}
			}
			break
		}
	}
	return out
}

// deliver encodes.
func (t *telling) deliver() (out []Delivery) {
	for sight, viewers := range t.s.sights {
		if len(t.shown[sight]) == 0 && !t.shared {
			continue
		}
		// All of them, also one that counts as expired until the log says otherwise: it has not been refused.
		var to []coord.NodeID
		for id := range viewers {
			if t.apart[id] == nil {
				to = append(to, id)
			}
		}
		if len(to) > 0 {
			out = append(out, Delivery{To: to, Seq: t.s.seq, Body: t.body(to[0], nil)})
		}
	}
	for viewer, a := range t.apart {
		slices.Sort(a.ids)
		a.ids = slices.Compact(a.ids)
		key := a.key(t.s.followers[viewer].sight)
		if slices.Contains(a.ids, viewer) {
			key = fmt.Sprint("self ", viewer)
		}
		d := t.bodies[key]
		if d == nil {
			d = &Delivery{Seq: t.s.seq, Body: t.body(viewer, a)}
			t.bodies[key] = d
		}
		d.To = append(d.To, viewer)
	}
	for _, d := range t.bodies {
		out = append(out, *d)
	}
	return out
}

// body encodes what viewers hear that are like this one.
func (t *telling) body(viewer coord.NodeID, a *apart) []byte {
	ids := slices.Clone(t.shown[t.s.followers[viewer].sight])
	var filter []byte
	alone := a != nil && slices.Contains(a.ids, viewer)
	if a != nil {
		ids, filter = append(ids, a.ids...), a.filter
		for _, m := range a.moves {
			ids = slices.Concat(ids, m.Gained, m.Lost, m.Rerouted)
		}
	}
	return t.s.changes(viewer, alone, ids, t.since, 0, filter)
}

// Since gives what machine id, which has the number after, must hear, and the number that it then has. The body is
// nil where there is nothing. It needs a whole netmap where the log lacks the number, where the rules have changed since,
// and where it is itself another to the rules: also where it has changed hands or is another node than the machine was
// then, which saw other things. base is what many get of that, and comes first; the body then is the rest: who the machine is, its filter, and
// what has changed since the base was made.
func (s *State) Since(id coord.NodeID, after uint64) (base *Delivery, body []byte, seq uint64) {
	e := s.nodes.get(id)
	if e == nil {
		return nil, nil, s.seq
	}
	filter := s.rules.Filter(id)
	if f := s.followers[id]; f != nil {
		f.told = filter
	}
	missed, known := s.since(after)
	if !known || slices.ContainsFunc(missed, func(c Change) bool {
		return c.Kind == RulesChange || c.Kind == NodeChange && c.ID == id && c.Facts
	}) {
		base, missed = s.base(id)
		after = base.Seq
	}
	ids := s.news(id, missed)
	if base != nil {
		return base, s.own(e, filter, s.changes(id, true, ids, after, after, nil), after), s.seq
	}
	var changed []byte
	if max(s.begun, s.filterSeq[id]) > after {
		changed = filterChange(nil, filter)
	}
	if len(ids)+len(changed) == 0 && s.networkSeq <= after && s.relaysSeq <= after && s.dnsSeq <= after && (e.ticket == nil || e.TicketSeq <= after) {
		return nil, nil, s.seq
	}
	return nil, s.changes(id, true, ids, after, after, changed), s.seq
}

// news gives the machines of which a viewer hears by these lines. What the rules go by is alike for the viewer then and
// now, and so what it saw of all others is what it sees, but for those that are others to the rules: of these it hears
// that they are gone, whether it saw them or not.
func (s *State) news(viewer coord.NodeID, missed []Change) (ids []coord.NodeID) {
	concerned := make(map[coord.NodeID]bool, len(missed))
	for _, c := range missed {
		if c.Kind != NodeChange || concerned[c.ID] {
			continue
		}
		if c.ID == viewer || c.Facts || s.rules.Shows(viewer, c.ID) {
			concerned[c.ID] = true
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// own puts what the base does not say of the viewer itself in front of the changes since.
func (s *State) own(viewer *entry, filter *coord.Filter, changes []byte, after uint64) []byte {
	b := append([]byte(`{"changes":[{"self":`), viewer.json...)
	b = append(append(b, "},"...), filterChange(nil, filter)...)
	if viewer.ticket != nil && viewer.TicketSeq <= after { // a newer one is among the changes
		b = append(append(append(b, `,{"ticket":`...), encode(viewer.ticket)...), '}')
	}
	if rest := changes[len(`{"changes":[`):]; rest[0] != ']' {
		b = append(append(b, ','), rest...)
	} else {
		b = append(b, rest...)
	}
	return b
}

// changes encodes an update for a viewer and, unless it hears it alone, for those like it: what has become of the ids,
// what of the shared things is newer than since and of the viewer's ticket than after, and a change of its filter.
// Removals come first, since a name or an address may pass from one machine to another.
func (s *State) changes(viewer coord.NodeID, alone bool, ids []coord.NodeID, since, after uint64, filter []byte) []byte {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	b := []byte(`{"changes":[`)
	part := func(text ...[]byte) {
		if b[len(b)-1] != '[' {
			b = append(b, ',')
		}
		for _, t := range text {
			b = append(b, t...)
		}
	}
	add := func(kind string, value []byte) { part([]byte(`{"`+kind+`":`), value, []byte("}")) }
	self := func(id coord.NodeID) bool { return alone && id == viewer }
	for _, id := range ids {
		if !s.rules.Shows(viewer, id) && !self(id) { // of itself it would mean nothing
			add("remove", strconv.AppendInt(nil, int64(id), 10))
		}
	}
	if s.networkSeq > since {
		add("network", encode(s.common))
	}
	if s.relaysSeq > since {
		add("relays", encode(relaysOf(s.relays)))
	}
	if s.dnsSeq > since {
		add("dns", encode(s.dns))
	}
	if e := s.nodes.get(viewer); alone && after > 0 && e.ticket != nil && e.TicketSeq > after {
		add("ticket", encode(e.ticket))
	}
	for _, id := range ids {
		switch e := s.nodes.get(id); {
		case self(id):
			if !e.hidden() {
				add("self", e.json)
			}
		case s.rules.Shows(viewer, id):
			add("upsert", s.shownTo(viewer, e))
		}
	}
	if len(filter) > 0 {
		part(filter)
	}
	return append(b, "]}"...)
}

// whollyShown reports whether those that have a machine's sight see all of its routes.
func (s *State) whollyShown(id coord.NodeID) bool {
	return s.rules.Shown(id, id) == policy.AllRoutes(len(s.nodes.get(id).Node.Routes))
}

// shownTo encodes a node with those of its routes that a viewer, and those like it, see.
func (s *State) shownTo(viewer coord.NodeID, e *entry) []byte {
	count := len(e.Node.Routes)
	if count == 0 {
		return e.json
	}
	shown := s.rules.Shown(viewer, e.Node.ID)
	if shown == policy.AllRoutes(count) {
		return e.json
	}
	n := e.Node
	n.Routes = nil
	for i, r := range e.Node.Routes {
		if shown&(1<<i) != 0 {
			n.Routes = append(n.Routes, r)
		}
	}
	n.Cut = slices.DeleteFunc(slices.Clone(n.Cut), func(p netip.Prefix) bool { return !slices.Contains(n.Routes, p) })
	return encode(n)
}

// relaysOf makes no relays an empty list: no list would say that nothing has changed.
func relaysOf(rs []coord.Relay) []coord.Relay {
	if rs == nil {
		return []coord.Relay{}
	}
	return rs
}

func encode(v any) []byte {
	b, _ := json.Marshal(v) // of our own types, which hold nothing that cannot be encoded
	return b
}
