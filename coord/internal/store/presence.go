package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/warren-mesh/warren/coord"
)

// Soft is what machines say of themselves, and what a server sees of them: it comes often.
type Soft struct {
	ID     coord.NodeID
	Said   *coord.NodeUpdate // nil: nothing new
	Ticket time.Time         // until when its relay ticket holds; zero: as before

	// Join is the replica that has its netmap stream now; 0: nothing new.
	Join int64
	// Leave is the epoch whose stream has ended; 0: none. If another has begun since, nothing happens.
	Leave    uint64
	LastSeen time.Time // with Leave
}

// Replica is a process that serves the network.
type Replica struct {
	ID   int64
	Beat int64     // rises while it lives
	Seen time.Time // when it rose last, by its own clock
}

// Presence is the part of Tx that is about who is online, and where.
type Presence interface {
	// SetSoft gives the epoch that the machine's stream has.
	SetSoft(s Soft) (epoch uint64, err error)

	AddReplica(now time.Time) (int64, error)
	Beat(id int64, now time.Time) error // ErrNotFound: it was taken for dead
	Replicas() ([]Replica, error)
	// Sweep makes up to limit machines go offline that a dead replica had, and reports whether that was all. With the
	// last one it removes the replica.
	Sweep(id int64, limit int) (done bool, err error)
}

func (t *tx) SetSoft(s Soft) (uint64, error) {
	was, err := t.Node(s.ID)
	if err != nil {
		return 0, err
	}
	n := was
	if s.Said != nil {
		n.Said, n.OS, n.Version = *s.Said, s.Said.OS, s.Said.Version
	}
	if !s.Ticket.IsZero() {
		n.Ticket = s.Ticket
	}
	switch {
	case s.Join != 0 && !n.Key.IsZero():
		n.Replica = s.Join
		n.Epoch++
	case s.Leave != 0 && s.Leave == n.Epoch:
		n.Replica, n.LastSeen = 0, s.LastSeen
	}
	return n.Epoch, t.setSoft(was, n)
}

func (t *tx) setSoft(was, n Node) error {
	n.Expired = n.expiredAfter(was, t.log.now)
	if err := t.differ(was, &n); err != nil {
		return err
	}
	if text(was) == text(n) {
		return nil
	}
	return t.must("UPDATE nodes SET said = ?, os = ?, version = ?, last_seen = ?, expired = ?, ticket = ?, ticket_seq = ?, "+
		"replica = ?, epoch = ? WHERE id = ?",
		text(n.Said), n.OS, n.Version, ms(n.LastSeen), n.Expired, ms(n.Ticket), n.TicketSeq, n.Replica, n.Epoch, n.ID)
}

// expired reports whether a machine's key has expired.
func (n *Node) expired(now time.Time) bool { return !n.Expires.IsZero() && !n.Expires.After(now) }

// ClockTolerance is how far the clocks of replicas may be apart before they differ over whether a key has expired. What
// one has said holds against a clock that is behind by no more: else the two would take back each other's word, and tell
// it to all, until both clocks are past the time. A clock that was wrong by years and has been set makes members again.
const ClockTolerance = 10 * time.Minute

// expiredAfter is expired for a machine that was like that.
func (n *Node) expiredAfter(was Node, now time.Time) bool {
	if was.Expired && n.Expires.Equal(was.Expires) {
		now = now.Add(ClockTolerance)
	}
	return n.expired(now)
}

func (t *tx) AddReplica(now time.Time) (int64, error) {
	return t.insert("INSERT INTO replicas (beat, seen) VALUES (0, ?)", ms(now))
}

func (t *tx) Beat(id int64, now time.Time) error {
	return t.must("UPDATE replicas SET beat = beat + 1, seen = ? WHERE id = ?", ms(now), id)
}

func scanReplica(r row) (x Replica, err error) {
	var seen int64
	err = r.Scan(&x.ID, &x.Beat, &seen)
	x.Seen = when(seen)
	return x, err
}

func (t *tx) Replicas() ([]Replica, error) {
	return many(t, scanReplica, "SELECT id, beat, seen FROM replicas ORDER BY id")
}

func (t *tx) Sweep(id int64, limit int) (done bool, err error) {
	dead, err := one(t, scanReplica, "SELECT id, beat, seen FROM replicas WHERE id = ?", id)
	if errors.Is(err, ErrNotFound) {
		return true, nil // somebody else was quicker
	}
	if err != nil {
		return false, err
	}
	nodes, err := many(t, scanNode, "SELECT "+nodeColumns+" FROM nodes WHERE replica = ? LIMIT ?", id, limit)
	if err != nil {
		return false, err
	}
	for _, n := range nodes {
		was := n
		n.Replica, n.LastSeen = 0, dead.Seen
		if err := t.setSoft(was, n); err != nil {
			return false, fmt.Errorf("machine %d: %w", n.ID, err)
		}
	}
	if len(nodes) == limit {
		return false, nil
	}
	return true, t.must("DELETE FROM replicas WHERE id = ?", id)
}
