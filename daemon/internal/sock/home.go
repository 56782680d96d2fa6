package sock

import (
	"cmp"
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord"
)

const (
	// failedFor is how long a relay whose link broke or did not come up stands behind all others.
	failedFor = time.Minute
	// deafFor is that of a relay that forwards nothing, though it answers: a move there would cost seconds each time.
	deafFor = time.Hour

	// Another relay becomes the home when in so many rounds of STUN, one after the other, it was nearer by this much at
	// the least, and by a quarter of the home's latency. A busy line makes all relays slow for a while, and a move costs a
	// moment of everybody's.
	moveRounds = 3
	moveGain   = 5 * time.Millisecond
)

// homing decides which relay is to be the home. It is pure: time and what was measured come in.
type homing struct {
	latency map[coord.RelayID]time.Duration // smoothed; none for one that does not answer
	failed  map[coord.RelayID]time.Time     // until when it stands behind, after a disappointment

	better coord.RelayID // that was nearer than the home in the last rounds; 0: none
	rounds int           // how many these are
}

// measured takes an answer to STUN.
func (h *homing) measured(id coord.RelayID, took time.Duration) {
	if h.latency == nil {
		h.latency = make(map[coord.RelayID]time.Duration)
	}
	h.latency[id] = smooth(h.latency[id], took)
}

// silent takes that a relay did not answer where others did.
func (h *homing) silent(id coord.RelayID) { delete(h.latency, id) }

// disappointed takes that the link to a relay broke, or did not come up.
func (h *homing) disappointed(id coord.RelayID, now time.Time) { h.standBack(id, now.Add(failedFor)) }

// deaf takes that a relay forwards nothing.
func (h *homing) deaf(id coord.RelayID, now time.Time) { h.standBack(id, now.Add(deafFor)) }

func (h *homing) standBack(id coord.RelayID, until time.Time) {
	if h.failed == nil {
		h.failed = make(map[coord.RelayID]time.Time)
	}
	if until.After(h.failed[id]) {
		h.failed[id] = until
	}
}

// keep forgets all but these relays.
func (h *homing) keep(list []coord.Relay) {
	gone := func(id coord.RelayID) bool {
		return !slices.ContainsFunc(list, func(r coord.Relay) bool { return r.ID == id })
	}
	for id := range h.latency {
		if gone(id) {
			delete(h.latency, id)
		}
	}
	for id := range h.failed {
		if gone(id) {
			delete(h.failed, id)
		}
	}
	h.better, h.rounds = 0, 0
}

// best gives the best relay but one: those that have not failed of late first, the longest ago before others, then by
// latency, and those that have not answered last. 0 is none.
func (h *homing) best(list []coord.Relay, but coord.RelayID, now time.Time) coord.RelayID {
	var best coord.RelayID
	for _, r := range list {
		if r.ID != but && (best == 0 || h.compare(r.ID, best, now) < 0) {
			best = r.ID
		}
	}
	return best
}

func (h *homing) compare(a, b coord.RelayID, now time.Time) int {
	if c := h.behind(a, now).Compare(h.behind(b, now)); c != 0 {
		return c
	}
	return cmp.Compare(h.rank(a), h.rank(b))
}

// behind is until when a relay stands behind others, the zero time if it does not.
func (h *homing) behind(id coord.RelayID, now time.Time) time.Time {
	if until := h.failed[id]; until.After(now) {
		return until
	}
	return time.Time{}
}

func (h *homing) rank(id coord.RelayID) time.Duration {
	if d, ok := h.latency[id]; ok {
		return d
	}
	return time.Hour
}

// round ends a round of STUN, and gives the relay that the home is to move to; 0: it stays.
func (h *homing) round(list []coord.Relay, home coord.RelayID, now time.Time) coord.RelayID {
	best := h.best(list, home, now)
	at, known := h.latency[best]
	if now, ok := h.latency[home]; !known || ok && at+max(moveGain, now/4) > now {
		h.better, h.rounds = 0, 0
		return 0
	}
	if best != h.better {
		h.better, h.rounds = best, 0
	}
	if h.rounds++; h.rounds < moveRounds {
		return 0
	}
	h.better, h.rounds = 0, 0
	return best
}
