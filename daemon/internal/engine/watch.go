package engine

import (
	"context"
	"sync"
	"time"

	"github.com/warren-mesh/warren/ipc"
)

// watchGap is the least time between two snapshots for one watcher: changes that come faster are told once.
const watchGap = 50 * time.Millisecond

// liveGap is how often who watches live is told what no change tells: traffic and latencies.
const liveGap = time.Second

// watchers are those who want to know that something has changed. The zero value has none.
type watchers struct {
	mu  sync.Mutex
	all map[chan struct{}]struct{} // guarded by mu
}

func (w *watchers) add() chan struct{} {
	c := make(chan struct{}, 1)
	c <- struct{}{}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = make(map[chan struct{}]struct{})
	}
	w.all[c] = struct{}{}
	return c
}

func (w *watchers) remove(c chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all, c)
}

func (w *watchers) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.all {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Watch calls f with a snapshot now and after every change, until ctx ends or f fails.
func (e *Engine) Watch(ctx context.Context, f func(*ipc.Status) error) error {
	return e.watchWith(ctx, nil, f)
}

// WatchLive does as Watch, and calls f each second too.
func (e *Engine) WatchLive(ctx context.Context, f func(*ipc.Status) error) error {
	tick := time.NewTicker(liveGap)
	defer tick.Stop()
	return e.watchWith(ctx, tick.C, f)
}

func (e *Engine) watchWith(ctx context.Context, tick <-chan time.Time, f func(*ipc.Status) error) error {
	changed := e.watch.add()
	defer e.watch.remove(changed)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.done:
			return errStopping
		case <-changed:
		case <-tick:
		}
		s, err := e.Status(ctx)
		if err != nil {
			return err
		}
		if err := f(s); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(watchGap):
		}
	}
}
