package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warren-mesh/warren/coord"
)

// server plays the coordination server: each session runs its script.
type server struct {
	mu       sync.Mutex
	connects []time.Time
	updates  []string
	from     []uint64 // Seq that each stream started from
	connect  func(n int) (*coord.Session, error)
	approval func(ctx context.Context) error
	stream   func(ctx context.Context, n int, got func(*coord.Netmap) error) error
}

func (s *server) Connect(context.Context) (*coord.Session, error) {
	s.mu.Lock()
	s.connects = append(s.connects, time.Now())
	n := len(s.connects)
	s.mu.Unlock()
	if s.connect != nil {
		return s.connect(n)
	}
	return &coord.Session{Registered: true}, nil
}

func (s *server) WaitApproval(ctx context.Context) error { return s.approval(ctx) }

func (s *server) Update(_ context.Context, u coord.NodeUpdate) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.updates = append(s.updates, u.Hostname)
	return nil
}

func (s *server) Netmap(ctx context.Context, have *coord.Netmap, got func(*coord.Netmap) error) error {
	s.mu.Lock()
	seq := uint64(0)
	if have != nil {
		seq = have.Seq
	}
	s.from = append(s.from, seq)
	n := len(s.from)
	s.mu.Unlock()
	return s.stream(ctx, n, got)
}

func hold(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func run(s *Session) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	return func() { cancel(); wg.Wait() }
}

func TestItComesBackFromWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{stream: func(ctx context.Context, n int, got func(*coord.Netmap) error) error {
			if n == 1 {
				_ = got(&coord.Netmap{Seq: 7})
				return errors.New("cut")
			}
			return hold(ctx)
		}}
		var events []string
		s := New(srv, &coord.Netmap{Seq: 3}, func(e Event) { events = append(events, fmt.Sprintf("%T", e)) }, slog.New(slog.DiscardHandler))
		s.Publish(coord.NodeUpdate{Hostname: "one"})
		stop := run(s)
		time.Sleep(5 * time.Second)
		s.Publish(coord.NodeUpdate{Hostname: "two"})
		synctest.Wait()
		stop()
		if !slices.Equal(srv.from, []uint64{3, 7}) {
			t.Errorf("the streams started from %v", srv.from)
		}
		want := []string{"control.Connected", "control.Changed", "control.Lost", "control.Connected"}
		if !slices.Equal(events, want) {
			t.Errorf("events %v", events)
		}
		if last := srv.updates[len(srv.updates)-1]; last != "two" || srv.updates[0] != "one" {
			t.Errorf("updates %v", srv.updates)
		}
	})
}

func TestAGapAsksAgainAtOnceOverTheSameSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{stream: func(ctx context.Context, n int, _ func(*coord.Netmap) error) error {
			if n == 1 {
				return coord.ErrGap
			}
			return hold(ctx)
		}}
		stop := run(New(srv, nil, func(Event) {}, slog.New(slog.DiscardHandler)))
		synctest.Wait()
		stop()
		if len(srv.connects) != 1 || len(srv.from) != 2 {
			t.Errorf("%d sessions, %d streams", len(srv.connects), len(srv.from))
		}
	})
}

func TestAnUnreachableServerIsAskedEverMoreSlowlyUntilTheNetworkChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{connect: func(int) (*coord.Session, error) { return nil, errors.New("refused") }}
		s := New(srv, nil, func(Event) {}, slog.New(slog.DiscardHandler))
		stop := run(s)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		n := len(srv.connects)
		if n < 10 || n > 60 {
			t.Errorf("%d attempts in ten minutes", n)
		}
		s.Retry()
		synctest.Wait()
		if len(srv.connects) != n+1 {
			t.Error("Retry did not end the wait")
		}
		stop()
	})
}

func TestARefusalIsToldAndNotHammered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var expired bool
		srv := &server{connect: func(int) (*coord.Session, error) { return nil, &coord.Error{Code: coord.CodeExpired} }}
		stop := run(New(srv, nil, func(e Event) {
			if r, ok := e.(Refused); ok {
				expired = r.Expired
			}
		}, slog.New(slog.DiscardHandler)))
		time.Sleep(time.Hour)
		stop()
		if !expired || len(srv.connects) > 13 {
			t.Errorf("expired %v, %d attempts in an hour", expired, len(srv.connects))
		}
	})
}

func TestAMachineThatWaitsSaysNothingOfItselfUntilItIsLetIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := make(chan struct{})
		srv := &server{
			connect: func(int) (*coord.Session, error) {
				select {
				case <-in:
					return &coord.Session{Registered: true}, nil
				default:
					return &coord.Session{Registered: true, Pending: true}, nil
				}
			},
			stream: func(ctx context.Context, _ int, got func(*coord.Netmap) error) error {
				_ = got(&coord.Netmap{Seq: 7})
				return hold(ctx)
			},
		}
		// The server goes away while the machine waits, and an admin lets it in after it has come back.
		waits := 0
		srv.approval = func(ctx context.Context) error {
			if waits++; waits == 1 {
				return errors.New("cut")
			}
			select {
			case <-in:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		var events []string
		s := New(srv, nil, func(e Event) { events = append(events, fmt.Sprintf("%T", e)) }, slog.New(slog.DiscardHandler))
		s.Publish(coord.NodeUpdate{Hostname: "one"})
		stop := run(s)
		time.Sleep(time.Hour)
		if len(srv.updates)+len(srv.from) != 0 {
			t.Errorf("it said %v and asked for %v while it waited", srv.updates, srv.from)
		}
		close(in)
		synctest.Wait()
		stop()
		want := []string{"control.Waiting", "control.Lost", "control.Waiting", "control.Connected", "control.Changed"}
		if !slices.Equal(events, want) || !slices.Equal(srv.updates, []string{"one"}) {
			t.Errorf("events %v, updates %v", events, srv.updates)
		}
	})
}

func TestWhatCannotBeAppliedIsAskedForAnew(t *testing.T) {
	for name, err := range map[string]error{
		"invalid": fmt.Errorf("%w netmap: two nodes claim one key", coord.ErrInvalid), "forged": coord.ErrForged,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &server{stream: func(ctx context.Context, n int, got func(*coord.Netmap) error) error {
					if n == 1 {
						return err
					}
					_ = got(&coord.Netmap{Seq: 9})
					return hold(ctx)
				}}
				changed := 0
				s := New(srv, &coord.Netmap{Seq: 3}, func(e Event) {
					if _, ok := e.(Changed); ok {
						changed++
					}
				}, slog.New(slog.DiscardHandler))
				stop := run(s)
				time.Sleep(time.Second)
				stop()
				if !slices.Equal(srv.from, []uint64{3, 0}) || changed != 1 {
					t.Errorf("asked from %v, %d netmaps came", srv.from, changed)
				}
			})
		})
	}
}
