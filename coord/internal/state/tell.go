package state

import (
	"encoding/json"
	"maps"
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
	// Tickets come first, and under no number of their own: a machine that gets its ticket and then breaks off gets it
	// once more, with what the others were told.
	for id := range s.tickets {
		if e := s.nodes.get(id); e.ticket != nil {
			out = append(out, Delivery{To: []coord.NodeID{id}, Body: append(append([]byte(`{"changes":[{"ticket":`), encode(e.ticket)...), "}]}"...)})
		}
	}
	if len(s.touched) > 0 || s.shared {
		for class, viewers := range s.followers {
			out = append(out, s.tell(class, viewers)...)
		}
	}
	clear(s.touched)
	clear(s.tickets)
	s.shared = false
	return out
}

// tell makes the deliveries for the viewers of one class.
func (s *State) tell(class policy.Class, viewers map[coord.NodeID]struct{}) []Delivery {
	var ids []coord.NodeID
	var out []Delivery
	since := s.seq // no shared part, but where it is among the news
	if s.shared {
		since = 0
	}
	for id, was := range s.touched {
		switch _, viewing := viewers[id]; {
		case s.concerns(class, id, was):
			ids = append(ids, id)
		case viewing: // it sees itself, whatever the policy says
			e := &entry{Member: Member{Node: coord.Node{ID: id}}, class: class}
			out = append(out, Delivery{To: []coord.NodeID{id}, Seq: s.seq, Body: s.changes(e, []coord.NodeID{id}, since)})
		}
	}
	if len(viewers) == 0 || (len(ids) == 0 && !s.shared) {
		return out
	}
	// All of them, also one that counts as expired until the log says otherwise: it has not been refused.
	to := slices.Collect(maps.Keys(viewers))
	return append(out, Delivery{To: to, Seq: s.seq, Body: s.changes(&entry{class: class}, ids, since)})
}

// concerns reports whether machines of the class see the node, or saw it as it was.
func (s *State) concerns(class policy.Class, id coord.NodeID, was []policy.Facts) bool {
	if e := s.nodes.get(id); e != nil && s.policy.Sees(class, e.facts) {
		return true
	}
	return slices.ContainsFunc(was, func(f policy.Facts) bool { return s.policy.Sees(class, f) })
}

// Since gives what machine id, which has the number after, must hear, and the number that it then has. The body is
// nil where there is nothing. Where the log lacks the number, or the machine was another node then, it needs
// a whole netmap: base is what many get of it, and comes first; the body then is the rest: who the machine is, and what has changed since the base was made.
func (s *State) Since(id coord.NodeID, after uint64) (base *Delivery, body []byte, seq uint64) {
	e := s.nodes.get(id)
	if e == nil {
		return nil, nil, s.seq
	}
	missed, known := s.since(after)
	// A machine has numbers from before it became this node where it has changed hands: another saw other things.
	if !known || e.Node.Created.UnixMilli() > int64(after) {
		base, missed = s.base(e.class)
		after = base.Seq
	}
	concerned := make(map[coord.NodeID]bool, len(missed))
	var ids []coord.NodeID
	for _, c := range missed {
		if c.Kind != NodeChange {
			continue
		}
		concerns, twice := concerned[c.ID]
		if !twice {
			concerns = c.ID == id || s.concerns(e.class, c.ID, nil)
		}
		if c.Was != nil && !concerns {
			concerns = s.policy.Sees(e.class, *c.Was)
		}
		if concerns && !concerned[c.ID] {
			ids = append(ids, c.ID)
		}
		concerned[c.ID] = concerns
	}
	if base != nil {
		return base, s.own(e, s.changes(e, ids, after), after), s.seq
	}
	if len(ids) == 0 && s.networkSeq <= after && s.relaysSeq <= after && s.dnsSeq <= after && (e.ticket == nil || e.TicketSeq <= after) {
		return nil, nil, s.seq
	}
	return nil, s.changes(e, ids, after), s.seq
}

// own puts what the base does not say of the viewer itself in front of the changes since.
func (s *State) own(viewer *entry, changes []byte, after uint64) []byte {
	b := append([]byte(`{"changes":[{"self":`), viewer.json...)
	b = append(b, '}')
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

// changes encodes an update for a viewer: what has become of the ids, and what of the shared things is newer than
// after. Removals come first, since a name or an address may pass from one machine to another.
func (s *State) changes(viewer *entry, ids []coord.NodeID, after uint64) []byte {
	slices.Sort(ids)
	b := []byte(`{"changes":[`)
	add := func(kind string, value []byte) {
		if b[len(b)-1] != '[' {
			b = append(b, ',')
		}
		b = append(b, `{"`...)
		b = append(b, kind...)
		b = append(b, `":`...)
		b = append(b, value...)
		b = append(b, '}')
	}
	for _, id := range ids {
		if !s.visible(viewer, s.nodes.get(id)) {
			add("remove", strconv.AppendInt(nil, int64(id), 10))
		}
	}
	if s.networkSeq > after {
		add("network", encode(s.common))
	}
	if s.relaysSeq > after {
		add("relays", encode(relaysOf(s.relays)))
	}
	if s.dnsSeq > after {
		add("dns", encode(s.dns))
	}
	if viewer.ticket != nil && viewer.TicketSeq > after {
		add("ticket", encode(viewer.ticket))
	}
	for _, id := range ids {
		switch e := s.nodes.get(id); {
		case !s.visible(viewer, e):
		case id == viewer.Node.ID:
			add("self", e.json)
		default:
			add("upsert", e.json)
		}
	}
	return append(b, "]}"...)
}

// visible reports whether the viewer may see the node, which may be nil.
func (s *State) visible(viewer, e *entry) bool {
	return e != nil && !e.hidden() && (e.Node.ID == viewer.Node.ID || s.policy.Sees(viewer.class, e.facts))
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
