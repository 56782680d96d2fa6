package server

import (
	"context"
	"time"

	"github.com/warren-mesh/warren/relay"
)

const (
	drainEvery = time.Second
	// drainQuiet is how long no client leaves before those that stay are taken to have no other relay.
	drainQuiet = 6 * time.Second
)

// Drain asks the clients to move to another relay, and serves them until they have, at the most until ctx ends or for the
// time. It returns when nobody is left who would move. Serve goes on meanwhile and after.
func (s *Server) Drain(ctx context.Context, most time.Duration) {
	s.hub.draining.Store(true)
	begun := time.Now()
	sessions, left := s.Sessions(), begun
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for now := begun; ; {
		if n := s.Sessions(); n < sessions {
			sessions, left = n, now
		}
		rest := most - now.Sub(begun)
		if s.Sessions() == 0 || rest <= 0 || now.Sub(left) > drainQuiet {
			return
		}
		sender := s.borrow()
		s.hub.drain(asOutlet(sender), rest)
		s.giveBack(sender)
		select {
		case <-ctx.Done():
			return
		case now = <-tick.C:
		}
	}
}

// drain tells every client that the relay will stop.
func (h *hub) drain(out outlet, rest time.Duration) {
	for _, s := range h.sessions.all() {
		h.send(out, origin{addr: *s.remote.Load(), ws: s.ws}, relay.AppendDrain(nil, s.shared, s.tag, rest))
	}
}
