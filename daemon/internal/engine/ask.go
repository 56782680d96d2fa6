package engine

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/core"
)

// asking is the questions to exit nodes, and to routers of subnets: one round at a time, while there is a plane.
type asking struct {
	timer *time.Timer   // when the next round is due
	armed bool          // there will be one
	every time.Duration // how often there is one
	round bool          // one is under way
	began time.Time     // when the last one did
	seen  map[key.NodePublic]core.Traffic
}

// questions are those of one round.
type questions struct {
	exits   map[coord.NodeID]key.NodePublic
	routers map[coord.NodeID]key.NodePublic
	unsure  map[coord.NodeID]bool           // of the routers
	seen    map[key.NodePublic]core.Traffic // at the last round
}

// planAsks sees to it that exit nodes and routers are asked while they matter. sooner: something tells against the exit node in use.
func (e *Engine) planAsks(sooner bool) {
	a := &e.asks
	every := time.Duration(0)
	if e.plane != nil && e.connects() {
		every = e.leads.Every(e.net.netmap, e.wants)
	}
	often := every < a.every
	if a.every = every; every == 0 {
		a.timer.Stop()
		a.armed = false
		return
	}
	switch {
	case a.round:
	case sooner:
		a.timer.Reset(0)
		a.armed = true
	case !a.armed, often:
		a.timer.Reset(every)
		a.armed = true
	}
}

// ask begins a round.
func (e *Engine) ask() {
	e.asks.armed = false
	if e.plane == nil || !e.connects() || e.asks.round {
		return
	}
	plane, ok := e.plane.(*cancelling)
	if !ok {
		return
	}
	q := questions{
		exits: make(map[coord.NodeID]key.NodePublic), routers: make(map[coord.NodeID]key.NodePublic), unsure: make(map[coord.NodeID]bool), seen: e.asks.seen,
	}
	for _, id := range e.leads.Ask(e.net.netmap, e.wants) {
		q.exits[id] = e.net.netmap.Peer(id).Key
	}
	for _, id := range e.leads.Used() {
		if n := e.net.netmap.Peer(id); n != nil && q.exits[id] == (key.NodePublic{}) {
			q.routers[id], q.unsure[id] = n.Key, e.leads.Unsure(id)
		}
	}
	if len(q.exits)+len(q.routers) == 0 {
		return
	}
	e.asks.round, e.asks.began = true, time.Now()
	plane.wg.Go(func() {
		answered, seen := q.put(plane.ctx, plane.Plane)
		e.post(plane.ctx, func() { e.answered(plane, answered, seen) })
	})
}

// put asks all exit nodes at once, and the routers that are in doubt, or get packets and send none: nobody who is silent because
// nobody asks it for anything is disturbed.
func (q *questions) put(ctx context.Context, p Plane) (answered map[coord.NodeID]bool, seen map[key.NodePublic]core.Traffic) {
	ask, heard := maps.Clone(q.exits), make(map[coord.NodeID]bool)
	if len(q.routers) > 0 {
		seen = p.Traffic()
	}
	for id, k := range q.routers {
		was, now := q.seen[k], seen[k]
		switch {
		case q.unsure[id], now.Tx > was.Tx && now.Rx == was.Rx:
			ask[id] = k
		case now.Rx > was.Rx:
			heard[id] = true
		}
	}
	answered = askAll(ctx, p, ask)
	maps.Copy(answered, heard)
	return answered, seen
}

// askAll asks several peers at once.
func askAll(ctx context.Context, p Plane, keys map[coord.NodeID]key.NodePublic) map[coord.NodeID]bool {
	ctx, cancel := context.WithTimeout(ctx, core.ExitAnswer)
	defer cancel()
	answered := make(map[coord.NodeID]bool, len(keys))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for id, k := range keys {
		wg.Go(func() {
			_, err := p.Ping(ctx, k)
			mu.Lock()
			defer mu.Unlock()
			answered[id] = err == nil
		})
	}
	wg.Wait()
	return answered
}

// answered takes a round's answers; settle follows.
func (e *Engine) answered(from *cancelling, answered map[coord.NodeID]bool, seen map[key.NodePublic]core.Traffic) {
	if e.plane != Plane(from) {
		return // of a plane that is closed
	}
	e.asks.round, e.asks.seen = false, seen
	next := e.asks.every - time.Since(e.asks.began) // however long another one was waited for
	for id, ok := range answered {
		e.leads.Answered(id, ok, time.Now())
		if !ok && (id == e.leads.Exit && e.leads.Up || e.leads.Missed(id)) {
			next = core.ExitRetry
		}
	}
	e.asks.timer.Reset(next)
	e.asks.armed = true
}
