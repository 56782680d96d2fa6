package disco

import "slices"

// windowSize is how many messages of one peer may overtake each other: probes to all its candidates, sent directly and
// through a relay a second behind, stay below it.
const windowSize = 64

// Window refuses messages that were seen before. It is a set of the greatest numbers seen rather than a bitmap, since the
// sender counts all its messages, to whomever they go. The zero value has seen nothing.
type Window struct {
	floor uint64   // this number and all below are refused
	seen  []uint64 // ascending, all above floor
}

// Accept reports whether the number is new, and remembers it.
func (w *Window) Accept(seq uint64) bool {
	if seq <= w.floor {
		return false
	}
	i, found := slices.BinarySearch(w.seen, seq)
	if found {
		return false
	}
	w.seen = slices.Insert(w.seen, i, seq)
	if len(w.seen) > windowSize {
		w.floor = w.seen[0]
		w.seen = slices.Delete(w.seen, 0, 1)
	}
	return true
}
