package server

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/state"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// A machine that says something else and then the first again, while the server has not read yet what it wrote.
func TestWhatAMachineTakesBackIsNotLost(t *testing.T) {
	r := serve(t)
	k := r.authKey(KeyOptions{Reusable: true})
	a, b := r.device(), r.device()
	a.join("a", k)
	b.join("b", k)
	first, second := update(1), update(2)
	if err := b.Update(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	maps, _ := a.follow(nil)
	until(t, maps, "what it said first", endpointOf("b", 1))
	eventually(t, "all is written and read", func() bool {
		r.hub.mu.Lock()
		defer r.hub.mu.Unlock()
		return len(r.hub.wishes) == 0 && !r.hub.unread
	})
	r.hub.reading <- struct{}{} // so that what is written from here on is not read
	r.hub.say(t.Context(), 2, second)
	said := make(chan struct{})
	go func() {
		defer close(said)
		r.hub.say(t.Context(), 2, first)
	}()
	eventually(t, "it is wished, or taken for known", func() bool {
		select {
		case <-said:
			return true
		default:
		}
		r.hub.mu.Lock()
		defer r.hub.mu.Unlock()
		return r.hub.wishes[2] != nil
	})
	<-r.hub.reading
	<-said
	if err := a.Update(t.Context(), update(3)); err != nil {
		t.Fatal(err)
	}
	m := until(t, maps, "what came after", func(m *coord.Netmap) bool { return len(m.Self.Endpoints) == 1 && m.Self.Endpoints[0].Addr.Port() == 3 })
	if !endpointOf("b", 1)(m) {
		t.Errorf("b is at %v", peerNamed(m, "b").Endpoints)
	}
}

// A machine that does not read, in a small network: the others hear as soon as ever.
func TestAFewThatDoNotReadKeepNobodyWaiting(t *testing.T) {
	h := &hub{here: map[coord.NodeID]*presence{}}
	for i := range coord.NodeID(3) {
		h.here[i+1] = &presence{stream: &stream{id: i + 1, queue: make(chan *state.Delivery, queueLength)}}
	}
	h.here[1].stream.queue <- &state.Delivery{}
	if h.writing() {
		t.Error("one of three keeps the others waiting")
	}
	for i := range coord.NodeID(200) {
		h.here[i+1] = &presence{stream: &stream{id: i + 1, queue: make(chan *state.Delivery, queueLength)}}
		h.here[i+1].stream.queue <- &state.Delivery{}
	}
	if !h.writing() {
		t.Error("two hundred that have to be written to get no time")
	}
}

// While the database was away no replica could show itself.
func TestNobodyIsTakenForDeadForTheDatabasesSilence(t *testing.T) {
	var h hub
	start := time.Now()
	all := []store.Replica{{ID: 1, Beat: 1}, {ID: 2, Beat: 1}}
	if dead := h.watch(start, all); len(dead) > 0 {
		t.Fatalf("at once: %v", dead)
	}
	h.blind()
	back := start.Add(10 * replicaSilence)
	for _, after := range []time.Duration{0, beatInterval, replicaSilence - time.Second} {
		if dead := h.watch(back.Add(after), all); len(dead) > 0 {
			t.Errorf("%v after the database came back: %v", after, dead)
		}
	}
	all[0].Beat++
	if dead := h.watch(back.Add(replicaSilence), all); fmt.Sprint(dead) != "[2]" {
		t.Errorf("the one that is dead: %v", dead)
	}
}

// A host that slept finds all streams ended. Who comes back soon was never gone.
func TestAStandstillOfTheServerTakesNobodyOffline(t *testing.T) {
	var later atomic.Int64
	r := serve(t)
	r.stop()
	r = serveDir(t, r.dir, r.addr, Options{Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	k := r.authKey(KeyOptions{Reusable: true})
	a, b := r.device(), r.device()
	a.join("a", k)
	b.join("b", k)
	mapsA, _ := a.follow(nil)
	_, stopB := b.follow(nil)
	have := until(t, mapsA, "both online", func(m *coord.Netmap) bool { return m.Self.Online && len(m.Peers) == 1 && m.Peers[0].Online })
	id := have.Peers[0].ID
	online := func() bool {
		m, _ := r.hub.view().Member(id)
		return m.Node.Online
	}
	passes := func(d time.Duration) {
		t.Helper()
		later.Add(int64(d))
		r.hub.live()
		r.hub.flush()
		if err := r.hub.saveAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	passes(time.Minute)
	_ = stopB()
	eventually(t, "its stream has ended", func() bool { return len(streamsOf(r)) == 1 })
	for range 4 {
		if passes(10 * time.Second); !online() {
			t.Fatal("b is offline, and the server stood still just now")
		}
	}
	passes(10 * time.Second)
	until(t, mapsA, "b is offline: it did not come back", func(m *coord.Netmap) bool { return !m.Peers[0].Online })
}

func TestWhoLeavesWhileTheServerLivesIsGoneSoon(t *testing.T) {
	start := time.Now()
	var s standstill
	for i := range 10 {
		s.lives(start.Add(time.Duration(i) * longestSleep))
	}
	last := start.Add(9 * longestSleep)
	if at := s.gone(last); !at.Equal(last.Add(leaveGrace)) {
		t.Errorf("it is gone %v after it left", at.Sub(last))
	}
	s.lives(last.Add(-time.Hour)) // the clock was set
	s.lives(last.Add(-time.Hour).Add(longestSleep))
	if at := s.gone(last); !at.Equal(last.Add(leaveGrace)) {
		t.Errorf("after the clock was set it is gone %v after it left", at.Sub(last))
	}
	woke := last.Add(-time.Hour).Add(time.Minute)
	s.lives(woke)
	for left, want := range map[time.Time]time.Time{
		woke:                               woke.Add(replicaSilence),
		woke.Add(40 * time.Second):         woke.Add(replicaSilence),
		woke.Add(replicaSilence):           woke.Add(replicaSilence + leaveGrace),
		woke.Add(-time.Minute):             woke.Add(leaveGrace - time.Minute),
		woke.Add(leaveGrace - time.Minute): woke.Add(2*leaveGrace - time.Minute),
	} {
		if at := s.gone(left); !at.Equal(want) {
			t.Errorf("left %v after the server woke: gone at %v, want %v", left.Sub(woke), at.Sub(woke), want.Sub(woke))
		}
	}
}
