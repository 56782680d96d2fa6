package server

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
)

func TestNobodyHearsOfARestart(t *testing.T) {
	r := serve(t)
	k := r.authKey(KeyOptions{Reusable: true})
	all := []*device{r.device(), r.device(), r.device()}
	have := make([]*coord.Netmap, len(all))
	say := make([]coord.NodeUpdate, len(all))
	for i, d := range all {
		d.join(fmt.Sprint("m", i), k)
		say[i] = update(uint16(i + 1))
		if err := d.Update(t.Context(), say[i]); err != nil {
			t.Fatal(err)
		}
	}
	stops := make([]func() error, len(all))
	maps := make([]<-chan *coord.Netmap, len(all))
	for i, d := range all {
		maps[i], stops[i] = d.follow(nil)
	}
	online := func(m *coord.Netmap) bool {
		return m.Self.Online && len(m.Peers) == 2 && m.Peers[0].Online && m.Peers[1].Online
	}
	for i := range all {
		have[i] = until(t, maps[i], "all online", online)
	}
	r.stop()
	for i := range all {
		_ = stops[i]()
	}
	r = serveDir(t, r.dir, r.addr, Options{})
	last := r.hub.view().Seq
	for i, d := range all {
		if base, body, _ := r.hub.st.Since(have[i].Self.ID, have[i].Seq); body != nil || base != nil {
			t.Errorf("m%d would hear %s", i, body)
		}
		maps[i], _ = d.follow(have[i])
	}
	eventually(t, "they are back", func() bool { return len(streamsOf(r)) == len(all) })
	for i, d := range all {
		if err := d.Update(t.Context(), say[i]); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the store knows it", func() bool {
		r.hub.mu.Lock()
		defer r.hub.mu.Unlock()
		return len(r.hub.wishes) == 0 && !r.hub.unread
	})
	if now := r.hub.view().Seq; now != last {
		t.Errorf("their coming back changed something: %d became %d", last, now)
	}
	// And what is new they all hear.
	if err := all[0].Update(t.Context(), update(99)); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(all); i++ {
		got := 0
		until(t, maps[i], "the new endpoint", func(m *coord.Netmap) bool {
			got++
			return m.Peers[0].Endpoints[0].Addr.Port() == 99
		})
		if got != 1 {
			t.Errorf("m%d heard %d lines", i, got)
		}
	}
}

func TestWhoDoesNotComeBackAfterARestartGoesOffline(t *testing.T) {
	r := serve(t)
	r.stop()
	var later atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	r = serveDir(t, r.dir, "127.0.0.1:0", Options{Now: now})
	k := r.authKey(KeyOptions{Reusable: true})
	a, b := r.device(), r.device()
	a.join("a", k)
	b.join("b", k)
	mapsA, stopA := a.follow(nil)
	_, stopB := b.follow(nil)
	have := until(t, mapsA, "both online", func(m *coord.Netmap) bool { return m.Self.Online && len(m.Peers) == 1 && m.Peers[0].Online })
	r.stop()
	_, _ = stopA(), stopB()
	r = serveDir(t, r.dir, r.addr, Options{Now: now})
	mapsA, _ = a.follow(have)
	beat := func() {
		t.Helper()
		if err := r.hub.beat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "a is here", func() bool {
		r.hub.mu.Lock()
		defer r.hub.mu.Unlock()
		p := r.hub.here[have.Self.ID]
		return p != nil && p.epoch != 0
	})
	beat()
	later.Store(int64(replicaSilence - time.Second))
	beat()
	if m, _ := r.hub.view().Member(have.Peers[0].ID); !m.Node.Online {
		t.Error("b was taken for gone too early")
	}
	later.Store(int64(replicaSilence + time.Second))
	beat()
	m := until(t, mapsA, "b is gone", func(m *coord.Netmap) bool { return !m.Peers[0].Online })
	if m.Peers[0].LastSeen.IsZero() || !m.Self.Online {
		t.Errorf("b is %+v, and a itself %+v", m.Peers[0], m.Self)
	}
}

// A database that has lost what machines were told, as one from a backup.
func TestAHistoryThatWasLostIsReplaced(t *testing.T) {
	r := serve(t)
	k := r.authKey(KeyOptions{Reusable: true})
	a := r.device()
	a.join("a", k)
	mapsA, stopA := a.follow(nil)
	until(t, mapsA, "itself", func(m *coord.Netmap) bool { return m.Self.Online })
	backup := filepath.Join(t.TempDir(), "backup")
	if err := Backup(t.Context(), r.dir, "", backup); err != nil {
		t.Fatal(err)
	}
	r.device().join("lost", k)
	have := until(t, mapsA, "the machine that will be lost", func(m *coord.Netmap) bool { return len(m.Peers) == 1 })
	r.stop()
	_ = stopA()
	dir := t.TempDir()
	if err := Restore(t.Context(), dir, "", backup); err != nil {
		t.Fatal(err)
	}
	r = serveDir(t, dir, r.addr, Options{})
	mapsA, _ = a.follow(have)
	m := until(t, mapsA, "the netmap without it", func(m *coord.Netmap) bool { return len(m.Peers) == 0 })
	if m.Seq <= have.Seq {
		t.Errorf("its number is %d, after %d", m.Seq, have.Seq)
	}
	r.device().join("other", k)
	until(t, mapsA, "another machine", func(m *coord.Netmap) bool { return peerNamed(m, "other") != nil })
}
