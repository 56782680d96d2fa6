// Package control keeps one session with the coordination server alive: it publishes what this machine says of
// itself, follows the netmap, and comes back by itself after anything that ends a session.
//
//	          Publish, Retry                  Events
//	engine ───────────────────▶ Session ─────────────────▶ engine
//	                              │  ▲
//	                 hello, node  ▼  │ signed lines
//	                        coordination server
package control

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/warren-mesh/warren/coord"
)

// How long a session that ended waits before the next: at first nearly at once, so that a restart of the server
// is hardly seen, then longer, and always with jitter, so that a whole network does not come back in step.
const (
	firstWait   = 200 * time.Millisecond
	longestWait = 30 * time.Second
	refusedWait = 5 * time.Minute // after a refusal that only a person can mend
	publishWait = 20 * time.Second
	mostGaps    = 3 // in a row, before the session is started anew
)

// Client is what a Session asks of the server; *coord.Client is one. Each call may return at any error, which ends
// the session.
type Client interface {
	Connect(ctx context.Context) (*coord.Session, error)
	WaitApproval(ctx context.Context) error
	Update(ctx context.Context, u coord.NodeUpdate) error
	Netmap(ctx context.Context, have *coord.Netmap, got func(*coord.Netmap) error) error
}

// Event is what happened to the session: Waiting, Connected, Lost, Refused or Changed.
type Event interface{ event() }

// Waiting tells that the server knows this machine, and that an admin has to approve it. The session waits for that.
type Waiting struct{}

// Connected tells that the server answers and knows this machine.
type Connected struct{}

// Lost tells that the session ended, and that another is on its way.
type Lost struct{ Err error }

// Refused tells that the server does not take this machine: its key has expired, or it is no node any more.
type Refused struct {
	Err     error
	Expired bool
}

// Changed brings a new netmap, verified and valid.
type Changed struct{ Netmap *coord.Netmap }

func (Waiting) event()   {}
func (Connected) event() {}
func (Lost) event()      {}
func (Refused) event()   {}
func (Changed) event()   {}

// Session follows one network of one server.
type Session struct {
	client Client
	events func(Event) // called from Run's goroutines; must not block for long
	log    *slog.Logger

	have  *coord.Netmap // owned by Run
	retry chan struct{}

	mu      sync.Mutex
	node    *coord.NodeUpdate // guarded by mu: what to publish; nil until the first Publish
	changed chan struct{}     // signalled after node was set
}

// New makes a session that starts from a netmap that is known already, or nil.
func New(client Client, have *coord.Netmap, events func(Event), log *slog.Logger) *Session {
	return &Session{client: client, events: events, log: log, have: have, retry: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
}

// Publish replaces what this machine says of itself, now and in every later session.
func (s *Session) Publish(u coord.NodeUpdate) {
	s.mu.Lock()
	s.node = &u
	s.mu.Unlock()
	signal(s.changed)
}

// Retry ends the wait for the next session, as after a change of the host's network.
func (s *Session) Retry() { signal(s.retry) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run follows the network until ctx ends.
func (s *Session) Run(ctx context.Context) {
	wait := firstWait
	for {
		started := time.Now()
		err := s.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) > longestWait {
			wait = firstWait // it had worked
		}
		pause := wait/2 + rand.N(wait)
		switch {
		case errors.Is(err, &coord.Error{Code: coord.CodePending}): // decided otherwise meanwhile, by another login
			s.events(Waiting{})
		case errors.Is(err, &coord.Error{Code: coord.CodeExpired}), errors.Is(err, &coord.Error{Code: coord.CodeNotRegistered}):
			s.events(Refused{Err: err, Expired: errors.Is(err, &coord.Error{Code: coord.CodeExpired})})
			pause = refusedWait
		default:
			s.log.Info("the session with the coordination server ended", "err", err, "next", pause.Round(time.Millisecond))
			s.events(Lost{Err: err})
			wait = min(2*wait, longestWait)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.retry:
			wait = firstWait
		case <-time.After(pause):
		}
	}
}

// once is one session, from hello to its end, which is never without an error.
func (s *Session) once(ctx context.Context) error {
	session, err := s.client.Connect(ctx)
	if err != nil {
		return err
	}
	if !session.Registered {
		return &coord.Error{Code: coord.CodeNotRegistered, Message: "This machine is not a node of the network"}
	}
	if session.Expired {
		return &coord.Error{Code: coord.CodeExpired, Message: "This machine's key has expired"}
	}
	if session.Pending {
		s.events(Waiting{})
		if err := s.client.WaitApproval(ctx); err != nil {
			return err
		}
	}
	s.events(Connected{})

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var publisher sync.WaitGroup
	defer publisher.Wait()
	publisher.Go(func() { cancel(s.publish(ctx)) })
	for gaps := 0; ; gaps++ {
		err := s.client.Netmap(ctx, s.have, func(m *coord.Netmap) error {
			s.have, gaps = m, 0
			s.events(Changed{Netmap: m})
			return nil
		})
		if errors.Is(err, coord.ErrGap) && gaps < mostGaps {
			continue // asks again from what we have
		}
		if errors.Is(err, coord.ErrInvalid) || errors.Is(err, coord.ErrForged) {
			s.have = nil // what came does not go with it: a whole one does
		}
		cancel(err)
		return context.Cause(ctx)
	}
}

// publish sends what this machine says of itself: once at the start of a session, then whenever it changes.
func (s *Session) publish(ctx context.Context) error {
	signal(s.changed)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.changed:
		}
		s.mu.Lock()
		node := s.node
		s.mu.Unlock()
		if node == nil {
			continue
		}
		one, done := context.WithTimeout(ctx, publishWait)
		err := s.client.Update(one, *node)
		done()
		if err != nil {
			return err
		}
	}
}
