package state

import (
	"encoding/json"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/policy"
)

// Delivery is one body for all whom it concerns. A machine that already has Seq needs it no more.
type Delivery struct {
	To   []coord.NodeID
	Seq  uint64
	Body []byte // a coord.Update
}

// Flush says who must be told what since the last Flush. Of a machine only its last state is told.
func (s *State) Flush(now time.Time) []Delivery {
	var out []Delivery
	if len(s.touched) > 0 || s.shared {
		for class, viewers := range s.online {
			out = append(out, s.tell(class, viewers)...)
		}
	}
	// Tickets come after, with a number of their own: a machine that has it has all of the above.
	if len(s.tickets) > 0 {
		seq := s.next(now)
		for id := range s.tickets {
			e := *s.nodes.get(id)
			e.ticketSeq = seq
			s.nodes = s.nodes.with(id, &e)
			if e.epoch != 0 && !e.hidden() {
				out = append(out, Delivery{To: []coord.NodeID{id}, Seq: seq, Body: s.changes(&e, nil, seq-1)})
			}
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
	for id, facts := range s.touched {
		switch _, viewing := viewers[id]; {
		case s.policy.Sees(class, facts):
			ids = append(ids, id)
		case viewing: // it sees itself, whatever the policy says
			e := s.nodes.get(id)
			out = append(out, Delivery{To: []coord.NodeID{id}, Seq: s.seq, Body: s.changes(e, []coord.NodeID{id}, since)})
		}
	}
	if len(viewers) == 0 || (len(ids) == 0 && !s.shared) {
		return out
	}
	to := make([]coord.NodeID, 0, len(viewers))
	for id := range viewers {
		if e := s.nodes.get(id); !e.hidden() {
			to = append(to, id)
		}
	}
	body := s.changes(&entry{class: class}, ids, since)
	return append(out, Delivery{To: to, Seq: s.seq, Body: body})
}

// Since gives what machine id, which has the number after, must hear, and the number that it then has. The body is
// nil where there is nothing, and full says that it is a whole netmap.
func (s *State) Since(id coord.NodeID, after uint64) (body []byte, seq uint64, full bool) {
	e := s.nodes.get(id)
	if e == nil {
		return nil, s.seq, false
	}
	if after < s.oldest || after > s.seq {
		return s.View().Full(id), s.seq, true
	}
	from := sort.Search(len(s.log), func(i int) bool { return s.log[i].seq > after })
	seen := make(map[coord.NodeID]struct{}, len(s.log)-from)
	var ids []coord.NodeID
	for _, c := range s.log[from:] {
		if _, twice := seen[c.id]; twice || !(c.id == id || s.policy.Sees(e.class, c.facts)) {
			continue
		}
		seen[c.id] = struct{}{}
		ids = append(ids, c.id)
	}
	if len(ids) == 0 && s.networkSeq <= after && s.relaysSeq <= after && (e.ticket == nil || e.ticketSeq <= after) {
		return nil, s.seq, false
	}
	return s.changes(e, ids, after), s.seq, false
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
		add("network", encode(s.network))
	}
	if s.relaysSeq > after {
		add("relays", encode(relaysOf(s.relays)))
	}
	if viewer.ticket != nil && viewer.ticketSeq > after {
		add("ticket", encode(viewer.ticket))
	}
	for _, id := range ids {
		if e := s.nodes.get(id); s.visible(viewer, e) {
			add("upsert", e.json)
		}
	}
	return append(b, "]}"...)
}

// visible reports whether the viewer may see the node, which may be nil.
func (s *State) visible(viewer, e *entry) bool {
	return e != nil && !e.hidden() && (e.node.ID == viewer.node.ID || s.policy.Sees(viewer.class, e.facts))
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
