package sock

import (
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

const (
	missingFor   = 10 * time.Second // how long a missing peer is told of
	missingAgain = time.Minute      // before it may be told of anew
	maxMissing   = 8
)

// missing are peers that were looked for at their homes and not found there: the relay is gone, or has forgotten them. Who
// is idle would notice much later.
type missing struct {
	peers []key.NodePublic // never changed
	until time.Time        // zero: there are none
}

// absence is what a relay said of a node.
type absence struct {
	node relay.Address
	at   coord.RelayID
}

// addAbsent bounds how many there are at a time.
func (m *mail) addAbsent(a absence) {
	if len(m.absent) < maxMissing {
		m.absent = append(m.absent, a)
	}
}

// miss is for a peer that there is traffic with.
func (l *loop) miss(p *peer) {
	m := &l.missing
	if !p.missed.IsZero() && l.now.Sub(p.missed) < missingAgain || len(m.peers) == maxMissing {
		return
	}
	p.missed = l.now
	m.peers, m.until, l.dirty = append(slices.Clone(m.peers), p.Key), l.now.Add(missingFor), true
}

// missAt misses those that cannot be reached as the link to their home does not come up.
func (l *loop) missAt(is *link) {
	for p := range l.active {
		if p.Relay == is.relay.ID {
			l.miss(p)
		}
	}
}

// absent is for a peer that is not at its home, as that says.
func (l *loop) absent(a absence) {
	e := (*l.sources.Load())[a.node]
	if e == nil {
		return
	}
	p := l.peers[e.key]
	if p == nil || p.Relay != a.at {
		return
	}
	if _, traffic := l.active[p]; traffic {
		l.miss(p)
	}
}

// endMissing ends what is told of the missing, once it was told.
func (l *loop) endMissing() {
	if m := &l.missing; !m.until.IsZero() && !m.until.After(l.now) {
		*m, l.dirty = missing{}, true
	}
}
