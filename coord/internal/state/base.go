package state

import (
	"strconv"

	"github.com/warren-mesh/warren/coord/internal/policy"
)

// How far the network may have moved on before a base is made anew: a part of its size, so that what each newcomer
// gets beside it stays small, and what making it costs is shared by many changes.
const (
	basePart = 16
	baseLeft = 32
)

// base gives the whole network as a class of machines sees it, or saw it a few changes ago: encoded once for all who
// need a whole netmap. missed are the changes that came after it.
func (s *State) base(class policy.Class) (d *Delivery, missed []Change) {
	if d = s.bases[class]; d != nil {
		var known bool
		if missed, known = s.since(d.Seq); known && len(missed) <= max(baseLeft, s.nodes.count/basePart) {
			return d, missed
		}
	}
	d = &Delivery{Seq: s.seq, Body: s.whole(class)}
	s.bases[class] = d
	return d, nil
}

// whole encodes a whole netmap that does not say who is Self, put together from what is encoded already.
func (s *State) whole(class policy.Class) []byte {
	size := 1024
	for e := range s.nodes.all() {
		size += len(e.json) + 1
	}
	b := make([]byte, 0, size)
	b = append(b, `{"full":{"seq":`...)
	b = strconv.AppendUint(b, s.seq, 10)
	b = append(append(b, `,"network":`...), encode(s.common)...)
	b = append(b, `,"peers":[`...)
	first := true
	for e := range s.nodes.all() {
		if e.hidden() || !s.policy.Sees(class, e.facts) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, e.json...)
	}
	b = append(append(b, `],"relays":`...), encode(relaysOf(s.relays))...)
	if !s.dns.IsZero() {
		b = append(append(b, `,"dns":`...), encode(s.dns)...)
	}
	return append(b, "}}"...)
}
