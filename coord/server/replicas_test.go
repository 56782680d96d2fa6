package server

import (
	"errors"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/store"
	"github.com/warren-mesh/warren/coord/internal/store/pgtest"
)

// pair are two servers of one network, on one database.
func pair(t testing.TB, database string, o Options) (a, b *running) {
	t.Helper()
	dirs := [2]string{t.TempDir(), filepath.Join(t.TempDir(), "replica")}
	backup := filepath.Join(t.TempDir(), "backup")
	if err := Init(t.Context(), dirs[0], InitOptions{URL: "https://127.0.0.1:1", Database: database}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		Backup(t.Context(), dirs[0], database, backup),
		RestoreReplica(t.Context(), dirs[1], database, backup),
	); err != nil {
		t.Fatal(err)
	}
	o.Database = database
	return serveDir(t, dirs[0], "127.0.0.1:0", o), serveDir(t, dirs[1], "127.0.0.1:0", o)
}

// at is the same machine at another server.
func (d *device) at(r *running) *device { return r.deviceOf(d.mach, d.node) }

// joined reports whether a machine has its stream at this server, and the database knows it.
func (r *running) joined(id coord.NodeID) bool {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	p := r.hub.here[id]
	return p != nil && p.stream != nil && p.epoch != 0
}

func endpointOf(name string, port uint16) func(*coord.Netmap) bool {
	return func(m *coord.Netmap) bool {
		p := peerNamed(m, name)
		return p != nil && len(p.Endpoints) == 1 && p.Endpoints[0].Addr.Port() == port
	}
}

func TestReplicasServeOneNetwork(t *testing.T) {
	pg := pgtest.Start(t)
	t.Run("what one hears the other tells", func(t *testing.T) {
		var later atomic.Int64
		a, b := pair(t, pg.Database("one"), Options{Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
		k := a.authKey(KeyOptions{Reusable: true})
		x, y := a.device(), b.device()
		x.join("x", k)
		mapsX, stopX := x.follow(nil)
		y.join("y", k)
		mapsY, _ := y.follow(nil)
		until(t, mapsX, "y online", func(m *coord.Netmap) bool { p := peerNamed(m, "y"); return p != nil && p.Online })
		until(t, mapsY, "x online", func(m *coord.Netmap) bool { p := peerNamed(m, "x"); return p != nil && p.Online })
		if err := y.Update(t.Context(), update(7)); err != nil {
			t.Fatal(err)
		}
		have := until(t, mapsX, "what y said at the other server", endpointOf("y", 7))

		// It moves with its number, and nobody hears of it: not even that it left.
		_ = stopX()
		seq := a.hub.view().Seq
		eventually(t, "the other server knows as much", func() bool { return b.hub.view().Seq == seq })
		mapsX, _ = x.at(b).follow(have)
		eventually(t, "it is at the other server", func() bool { return b.joined(have.Self.ID) })
		later.Store(int64(leaveGrace))
		a.hub.flush()
		eventually(t, "the first server has forgotten it", func() bool {
			a.hub.mu.Lock()
			defer a.hub.mu.Unlock()
			return len(a.hub.here) == 0
		})
		if now := b.hub.view(); now.Seq != seq || len(streamsOf(a)) != 0 {
			t.Errorf("it moved, and the number rose from %d to %d", seq, now.Seq)
		}

		// Each request may come to another server: whoever was let in here is in there.
		for i, r := range []*running{a, b, a, b} {
			other := []*running{b, a, b, a}[i]
			d := r.device()
			d.join("z", k)
			if err := d.at(other).Update(t.Context(), update(uint16(100+i))); err != nil {
				t.Errorf("at the other server: %v", err)
			}
			if err := d.Logout(t.Context()); err != nil {
				t.Fatal(err)
			}
			left := d.at(other)
			eventually(t, "the other server lets it in no more", func() bool {
				return errors.Is(left.Update(t.Context(), update(1)), &coord.Error{Code: coord.CodeNotRegistered})
			})
		}
		if err := a.RemoveMachine(t.Context(), "y"); err != nil {
			t.Fatal(err)
		}
		until(t, mapsX, "y is gone", func(m *coord.Netmap) bool { return len(m.Peers) == 0 })
		wantCode(t, y.Update(t.Context(), update(8)), coord.CodeNotRegistered)
	})
	t.Run("a login goes on at the other", func(t *testing.T) {
		a, b := pair(t, pg.Database("login"), Options{})
		a.user("anna", "correct horse")
		w := b.web()
		w.signIn("anna", "correct horse", nil)
		d := a.device()
		reply := d.login("laptop", "")
		done := make(chan error, 1)
		go func() { done <- d.WaitLogin(t.Context(), reply.LoginID) }()
		path := coord.PathLogin + reply.LoginID
		for i, code := range []string{"BBBBBB", reply.Code} {
			w.post(b, path, url.Values{"do": {"connect"}, "code": {code}})
			if in := len(a.Machines()) + len(b.Machines()); in > 0 && i == 0 {
				t.Error("a wrong code lets it in")
			}
		}
		if err := <-done; err != nil {
			t.Errorf("where it waits: %v", err)
		}
		if err := d.at(b).Update(t.Context(), update(1)); err != nil {
			t.Error(err)
		}
		again := a.device()
		reply = again.login("second", "")
		for range maxTries {
			w.post(b, coord.PathLogin+reply.LoginID, url.Values{"do": {"connect"}, "code": {"BBBBBB"}})
		}
		wantCode(t, again.WaitLogin(t.Context(), reply.LoginID), errLoginUnknown.Code)
	})
	t.Run("who was at one that is gone", func(t *testing.T) { testDeadReplica(t, pg) })
	t.Run("without the database", func(t *testing.T) { testLostDatabase(t, pg) })
	t.Run("a replica needs the network's database", func(t *testing.T) {
		dir, backup := t.TempDir(), filepath.Join(t.TempDir(), "backup")
		if err := errors.Join(Init(t.Context(), dir, InitOptions{URL: "https://127.0.0.1:1"}), Backup(t.Context(), dir, "", backup)); err != nil {
			t.Fatal(err)
		}
		for _, database := range []string{"", pg.Database("empty")} {
			if err := RestoreReplica(t.Context(), filepath.Join(t.TempDir(), "x"), database, backup); !errors.Is(err, ErrNoReplica) {
				t.Errorf("in %q: %v", database, err)
			}
		}
		other := pg.Database("other")
		if err := Init(t.Context(), t.TempDir(), InitOptions{URL: "https://127.0.0.1:1", Database: other}); err != nil {
			t.Fatal(err)
		}
		if err := RestoreReplica(t.Context(), filepath.Join(t.TempDir(), "x"), other, backup); !errors.Is(err, ErrForeign) {
			t.Errorf("of another network: %v", err)
		}
	})
}

// testDeadReplica: who was at a server that is gone goes offline, unless it came to another.
func testDeadReplica(t *testing.T, pg *pgtest.Server) {
	var later atomic.Int64
	a, b := pair(t, pg.Database("dead"), Options{Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	k := a.authKey(KeyOptions{Reusable: true})
	moves, stays, sees := a.device(), a.device(), b.device()
	moves.join("moves", k)
	stays.join("stays", k)
	sees.join("sees", k)
	mapsMoves, stopMoves := moves.follow(nil)
	_, stopStays := stays.follow(nil)
	maps, _ := sees.follow(nil)
	online := func(m *coord.Netmap, name string) bool { p := peerNamed(m, name); return p != nil && p.Online }
	until(t, maps, "both online", func(m *coord.Netmap) bool { return online(m, "moves") && online(m, "stays") })
	have := until(t, mapsMoves, "the others", func(m *coord.Netmap) bool { return m.Self.Online && online(m, "stays") && online(m, "sees") })
	a.stop() // which says nothing of its machines, as a kill
	_, _ = stopMoves(), stopStays()
	beat := func() {
		t.Helper()
		if err := b.hub.beat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	beat()
	mapsMoves, _ = moves.at(b).follow(have)
	eventually(t, "it is at the other", func() bool { return b.joined(have.Self.ID) })
	later.Store(int64(replicaSilence))
	beat()
	m := until(t, maps, "one is offline", func(m *coord.Netmap) bool { return !online(m, "stays") })
	if !online(m, "moves") {
		t.Error("it moved, and counts as offline")
	}
	until(t, mapsMoves, "one is offline, at the one that moved", func(m *coord.Netmap) bool { return !online(m, "stays") && m.Self.Online })
	// What was taken for dead, and is not, is there again, as another.
	was := b.hub.replica
	err := b.hub.store.WriteSoft(t.Context(), func(tx store.Tx) error { _, err := tx.Sweep(was, saveLimit); return err })
	if err != nil {
		t.Fatal(err)
	}
	beat()
	until(t, maps, "they are back", func(m *coord.Netmap) bool { return m.Self.Online && online(m, "moves") })
	err = b.hub.store.Read(t.Context(), func(tx store.Tx) error {
		nodes, err := tx.Nodes()
		all, err2 := tx.Replicas()
		for _, n := range nodes {
			if n.Replica == was || n.Replica != 0 && !slices.ContainsFunc(all, func(r store.Replica) bool { return r.ID == n.Replica }) {
				t.Errorf("%s is at %d, of %+v", n.Name, n.Replica, all)
			}
		}
		return errors.Join(err, err2)
	})
	if err != nil {
		t.Error(err)
	}
}

// testLostDatabase: without its database a server keeps its streams, refuses changes in words, and catches up after.
func testLostDatabase(t *testing.T, pg *pgtest.Server) {
	a, b := pair(t, pg.Database("lost"), Options{})
	k := a.authKey(KeyOptions{Reusable: true})
	x, y := a.device(), b.device()
	x.join("x", k)
	y.join("y", k)
	mapsX, _ := x.follow(nil)
	mapsY, _ := y.follow(nil)
	until(t, mapsX, "y", func(m *coord.Netmap) bool { p := peerNamed(m, "y"); return p != nil && p.Online })
	until(t, mapsY, "x", func(m *coord.Netmap) bool { p := peerNamed(m, "x"); return p != nil && p.Online })
	pg.Down()
	if _, _, err := a.CreateKey(t.Context(), KeyOptions{}); !errors.Is(err, store.ErrAway) {
		t.Errorf("CreateKey = %v", err)
	}
	if _, err := a.device().Register(t.Context(), x.node, coord.RegisterRequest{Hostname: "n", AuthKey: k}); err == nil || !strings.Contains(err.Error(), "again") {
		t.Errorf("what it says: %v", err)
	}
	if err := y.Update(t.Context(), update(9)); err != nil { // it is told later
		t.Error(err)
	}
	if len(streamsOf(a)) != 1 || len(streamsOf(b)) != 1 {
		t.Error("the streams were not kept")
	}
	pg.Up()
	until(t, mapsX, "what y said meanwhile", endpointOf("y", 9))
	b.device().join("z", k)
	until(t, mapsX, "z", func(m *coord.Netmap) bool { return peerNamed(m, "z") != nil })

	// The database comes back without the newest of its history, and has another: all begin anew.
	before := a.hub.view().Seq
	pg.Exec("lost", "DELETE FROM changes WHERE seq = (SELECT max(seq) FROM changes); DELETE FROM nodes WHERE name = 'z'")
	x.at(b).join("x", k)
	eventually(t, "both begin anew", func() bool {
		return a.hub.view().Seq != before && len(a.Machines()) == 2 && len(b.Machines()) == 2
	})
	have := &coord.Netmap{}
	for have = range mapsX { // to the end of the stream
	}
	mapsX, _ = x.follow(have)
	until(t, mapsX, "the netmap without z, and y online", func(m *coord.Netmap) bool {
		return len(m.Peers) == 1 && m.Peers[0].Name == "y" && m.Self.Online
	})
}
