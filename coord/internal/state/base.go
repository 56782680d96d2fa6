package state

import (
	"slices"
	"strconv"

	"github.com/warren-mesh/warren/coord"
)

// How far the network may have moved on before a base is made anew: a part of its size, so that what each newcomer
// gets beside it stays small, and what making it costs is shared by many changes.
const (
	basePart = 16
	baseLeft = 32
)

// basesSize is how many bytes of bases are kept. Where sights are many, those that were made last serve; the others are
// made again.
const basesSize = 64 << 20

// bases are the whole netmaps that were made, by sight.
type bases struct {
	made map[string]*Delivery
	size int
}

func newBases() bases { return bases{made: map[string]*Delivery{}} }

// base gives the whole network as a machine and all of its sight see it, or saw it a few changes ago: encoded once for
// all who need a whole netmap. missed are the changes that came after it.
func (s *State) base(viewer coord.NodeID) (d *Delivery, missed []Change) {
	sight := s.rules.Sight(viewer)
	if d = s.bases.made[sight]; d != nil {
		var known bool
		if missed, known = s.since(d.Seq); known && len(missed) <= max(baseLeft, s.nodes.count/basePart) {
			return d, missed
		}
		s.bases.size -= len(d.Body)
	}
	d = &Delivery{Seq: s.seq, Body: s.whole(viewer)}
	if s.bases.size += len(d.Body); s.bases.size > basesSize {
		s.bases = newBases()
		s.bases.size = len(d.Body)
	}
	s.bases.made[sight] = d
	return d, nil
}

// whole encodes a whole netmap that does not say who is Self, put together from what is encoded already.
func (s *State) whole(viewer coord.NodeID) []byte {
	b := make([]byte, 0, 1024+600*s.rules.CountSeers(viewer))
	b = append(b, `{"full":{"seq":`...)
	b = strconv.AppendUint(b, s.seq, 10)
	b = append(append(b, `,"network":`...), encode(s.common)...)
	b = append(b, `,"peers":[`...)
	first := true
	for _, id := range slices.Sorted(s.rules.Seers(viewer)) {
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, s.shownTo(viewer, s.nodes.get(id))...)
	}
	b = append(append(b, `],"relays":`...), encode(relaysOf(s.relays))...)
	if !s.dns.IsZero() {
		b = append(append(b, `,"dns":`...), encode(s.dns)...)
	}
	return append(b, "}}"...)
}
