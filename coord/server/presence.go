package server

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// Times and bounds of what machines say of themselves, and of who is online.
const (
	// leaveGrace is how long a machine whose stream ended still counts as online: a reconnect is no news to its peers.
	leaveGrace   = 3 * time.Second
	beatInterval = 5 * time.Second
	// replicaSilence is after how long a process that does not beat is taken for dead, and its machines for gone that
	// have not joined another: longer than machines wait before they come again, also after a restart.
	replicaSilence = 45 * time.Second
	// longestStill is after how long without a sign of life of its own this process finds that it stood still: longer than
	// telling waits for the database.
	longestStill = 20 * time.Second
	saveLimit    = 1000 // machines in one transaction, which keeps other replicas waiting
)

// presence is a machine whose stream is here, or was so until just now.
type presence struct {
	stream *stream
	left   time.Time // when it ended, if it is nil
	epoch  uint64    // as the store knows it; 0: it does not yet
}

// wish is what the store is to learn of a machine. What it is to learn of its stream is what presence says then.
type wish struct {
	said *coord.NodeUpdate
	done []chan struct{} // closed when it was tried
}

// sight is what was seen of another replica, by the clock of this process alone.
type sight struct {
	beat  int64
	since time.Time
}

// standstill is the last time that this whole process stood still, as its host does when it sleeps or is moved. All
// streams end at once then, and their machines come back as after a restart: it is no news to their peers.
type standstill struct {
	from, to time.Time
	alive    time.Time // the last sign of life
}

// lives notes that the process lives. The clock is the wall's: the other may stand still too (clock_gettime(2)).
func (s *standstill) lives(now time.Time) {
	now = now.Round(0)
	if !s.alive.IsZero() && now.Sub(s.alive) > longestStill {
		s.from, s.to = s.alive, now
	}
	s.alive = now
}

// gone is when a machine whose stream ended then no longer counts as online.
func (s *standstill) gone(left time.Time) time.Time {
	t := left.Add(leaveGrace)
	if back := s.to.Add(replicaSilence); left.After(s.from) && t.Before(back) {
		return back
	}
	return t
}

func (h *hub) live() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.still.lives(h.now())
}

// wish has the store learn what there is of a machine: the lock is held.
func (h *hub) wish(id coord.NodeID) *wish {
	w := h.wishes[id]
	if w == nil {
		w = &wish{}
		h.wishes[id] = w
	}
	signal(h.dirty)
	return w
}

// follow puts the stream into the place of the one before: the lock is held.
func (h *hub) follow(id coord.NodeID, s *stream) {
	p := h.here[id]
	if p == nil {
		p = &presence{}
		h.here[id] = p
	}
	p.stream = s
	delete(h.leaving, id)
	h.st.Follow(id)
	if p.epoch == 0 {
		h.wish(id)
	}
}

// unfollow: the lock is held.
func (h *hub) unfollow(id coord.NodeID, p *presence) {
	p.stream, p.left = nil, h.now()
	h.leaving[id] = struct{}{}
	h.st.Unfollow(id)
}

// say takes in what a machine says of itself, and returns when the store knows it, or cannot know it now: it will then
// be told later.
func (h *hub) say(ctx context.Context, id coord.NodeID, u coord.NodeUpdate) {
	u.Hostname = ""
	h.mu.Lock()
	w := h.wishes[id]
	if m, ok := h.st.View().Member(id); ok && w == nil && !h.unread && h.store.News() == nil {
		n := m.Node
		if reflect.DeepEqual(u, coord.NodeUpdate{Disco: n.Disco, Endpoints: n.Endpoints, Relay: n.Relay, Doubt: n.Doubt, OS: n.OS, Version: n.Version, Routes: m.Offered, Cut: m.Cut, Relaying: m.OffersRelay}) {
			h.mu.Unlock()
			return // as after each reconnect
		}
	}
	w = h.wish(id)
	done := make(chan struct{})
	w.said, w.done = &u, append(w.done, done)
	h.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// saving is one wish in a transaction.
type saving struct {
	store.Soft
	wish  *wish
	here  *presence
	join  bool
	epoch uint64
}

// collect takes up to saveLimit wishes: the lock is held.
func (h *hub) collect(now time.Time) (out []saving) {
	for id, w := range h.wishes {
		if len(out) == saveLimit {
			signal(h.dirty)
			break
		}
		delete(h.wishes, id)
		s := saving{Soft: store.Soft{ID: id, Said: w.said}, wish: w, here: h.here[id]}
		switch p := s.here; {
		case p == nil:
		case p.stream != nil:
			s.join = p.epoch == 0
			if m, ok := h.st.View().Member(id); ok && m.TicketUntil.Sub(now) < ticketLife/2 {
				s.Ticket = now.Add(ticketLife).Truncate(time.Millisecond)
			}
		case now.Before(h.still.gone(p.left)):
		case p.epoch == 0:
			h.forget(id, p)
		default:
			s.Leave, s.LastSeen = p.epoch, p.left
		}
		out = append(out, s)
	}
	return out
}

// forget: the lock is held.
func (h *hub) forget(id coord.NodeID, p *presence) {
	if h.here[id] == p {
		delete(h.here, id)
		delete(h.leaving, id)
	}
}

// save writes what is wished.
func (h *hub) save(ctx context.Context) error {
	h.mu.Lock()
	batch := h.collect(h.now())
	h.unread = h.unread || len(batch) > 0
	replica := h.replica
	h.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	err := h.store.WriteSoft(ctx, func(tx store.Tx) (err error) {
		if replica, err = h.enroll(tx, replica); err != nil {
			return err
		}
		for i := range batch {
			s := &batch[i]
			if s.join {
				s.Join = replica
			}
			s.epoch, err = tx.SetSoft(s.Soft)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil && replica != h.replica {
		h.moved(replica)
	}
	for i := range batch {
		if err != nil {
			h.unsaved(&batch[i])
		} else {
			h.saved(&batch[i])
		}
		for _, done := range batch[i].wish.done {
			close(done)
		}
	}
	return err
}

// saveAll saves what is wished, and takes in what became of it. Until then what the state has of a machine may be older
// than what the store has.
func (h *hub) saveAll(ctx context.Context) error {
	err := h.save(ctx)
	if err == nil {
		err = h.catchUp(ctx)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unread = err != nil
	return err
}

// enroll says that this process lives, as the replica that it was or, if that was taken for dead, as another.
func (h *hub) enroll(tx store.Tx, replica int64) (int64, error) {
	err := tx.Beat(replica, h.now())
	if errors.Is(err, store.ErrNotFound) {
		return tx.AddReplica(h.now())
	}
	return replica, err
}

// moved: this process is another replica now, and all that it has it joins again, but for what saved then says of those
// that it has just joined. The lock is held.
func (h *hub) moved(replica int64) {
	h.replica = replica
	for id, p := range h.here {
		p.epoch = 0
		h.wish(id)
	}
}

// saved: the lock is held.
func (h *hub) saved(s *saving) {
	p := s.here
	switch {
	case p == nil:
	case s.join:
		p.epoch = s.epoch
	case s.Leave == 0:
	case p.stream == nil:
		h.forget(s.ID, p)
	default: // it has come back meanwhile
		p.epoch = 0
		h.wish(s.ID)
	}
}

// unsaved puts a wish back, but for what is newer: the lock is held.
func (h *hub) unsaved(s *saving) {
	w := h.wish(s.ID)
	if w.said == nil {
		w.said = s.wish.said
	}
}

// keep saves what is wished, and shows that this process lives.
func (h *hub) keep(ctx context.Context) error {
	beat := time.NewTicker(beatInterval)
	defer beat.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), beatInterval)
			defer cancel()
			return h.save(last)
		case <-beat.C:
			err = h.beat(ctx)
		case <-h.dirty:
			err = h.saveAll(ctx)
			pause(ctx, gather) // what is wished meanwhile is saved together
		}
		if err != nil && ctx.Err() == nil {
			pause(ctx, retryPause)
			signal(h.heard)
		}
	}
}

// beat shows that this process lives, and makes those go offline whom a dead one had.
func (h *hub) beat(ctx context.Context) error {
	h.mu.Lock()
	replica := h.replica
	h.mu.Unlock()
	var all []store.Replica
	err := h.store.WriteSoft(ctx, func(tx store.Tx) (err error) {
		if replica, err = h.enroll(tx, replica); err != nil {
			return err
		}
		all, err = tx.Replicas()
		return err
	})
	h.mu.Lock()
	if err != nil {
		h.blind()
		h.mu.Unlock()
		return err
	}
	if replica != h.replica {
		h.moved(replica)
	}
	dead := h.watch(h.now(), all)
	h.mu.Unlock()
	for _, id := range dead {
		for done := false; !done; {
			err := h.store.WriteSoft(ctx, func(tx store.Tx) (err error) {
				done, err = tx.Sweep(id, saveLimit)
				return err
			})
			if err != nil {
				return err
			}
			if err := h.catchUp(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// blind: nobody could be seen, and so nobody was silent. The lock is held.
func (h *hub) blind() { h.others = nil }

// watch gives the replicas that have not shown themselves for too long: the lock is held.
func (h *hub) watch(now time.Time, all []store.Replica) (dead []int64) {
	seen := make(map[int64]sight, len(all))
	for _, r := range all {
		if r.ID == h.replica {
			continue
		}
		s, known := h.others[r.ID]
		if !known || s.beat != r.Beat || now.Before(s.since) {
			s = sight{beat: r.Beat, since: now}
		}
		seen[r.ID] = s
		if now.Sub(s.since) >= replicaSilence {
			dead = append(dead, r.ID)
		}
	}
	h.others = seen
	return dead
}

// serves reports whether a machine has its stream here.
func (h *hub) serves(id coord.NodeID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.here[id]
	return p != nil && p.stream != nil
}
