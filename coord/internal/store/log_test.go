package store

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/key"
)

// newest is the number of the last change.
func newest(t *testing.T, s Store) (seq uint64) {
	t.Helper()
	read(t, s, func(tx Tx) error {
		all, err := tx.Log()
		if len(all) > 0 {
			seq = all[len(all)-1].Seq
		}
		return err
	})
	return seq
}

func read(t *testing.T, s Store, fn func(Tx) error) {
	t.Helper()
	if err := s.Read(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// news is what came after the number, without the numbers themselves.
func news(t *testing.T, s Store, after uint64) (n News, log []Change) {
	t.Helper()
	read(t, s, func(tx Tx) (err error) { n, err = tx.News(after); return err })
	for _, c := range n.Log {
		if c.Seq <= after {
			t.Errorf("change %d came after %d", c.Seq, after)
		}
		after, c.Seq = c.Seq, 0
		log = append(log, c)
	}
	return n, log
}

// testLog holds each change against what the log says of it.
func testLog(t *testing.T, s Store) {
	do(t, s, func(tx Tx) error { return tx.SetMeta("anything", "") })
	var n Node
	var user, replica int64
	var epoch uint64
	edit := func(what string, change func(tx Tx) error, want ...Change) {
		t.Helper()
		before := newest(t, s)
		do(t, s, change)
		if s.Committed() != newest(t, s) && len(want) > 0 {
			t.Errorf("%s: committed is %d, and the newest change %d", what, s.Committed(), newest(t, s))
		}
		got, log := news(t, s, before)
		if d := cmp.Diff(want, log); d != "" {
			t.Errorf("%s is in the log as\n%s", what, d)
		}
		if len(got.Nodes) == 1 {
			n = got.Nodes[0]
			if n.User != 0 && got.Users[n.User].Login != "lotte" {
				t.Errorf("%s: whose it is: %+v", what, got.Users)
			}
		}
	}
	set := func(change func(*Node)) func(Tx) error {
		return func(tx Tx) error { m := n; change(&m); return tx.SetNode(m) }
	}
	soft := func(x Soft) func(Tx) error {
		return func(tx Tx) (err error) { x.ID = n.ID; epoch, err = tx.SetSoft(x); return err }
	}
	edit("an account", func(tx Tx) (err error) {
		user, err = tx.AddUser(User{Login: "lotte", Password: "x", Created: start})
		return err
	})
	first := someNode(70)
	before := newest(t, s)
	do(t, s, func(tx Tx) (err error) { first.ID, err = tx.AddNode(first); return err })
	got, log := news(t, s, before)
	if d := cmp.Diff([]Change{{Kind: NodeChanged, Node: first.ID, Facts: true}}, log); d != "" {
		t.Errorf("a machine is in the log as\n%s", d)
	}
	n = got.Nodes[0]
	node := Change{Kind: NodeChanged, Node: first.ID}
	facts := Change{Kind: NodeChanged, Node: first.ID, Facts: true}
	edit("its name", set(func(n *Node) { n.Name = "other" }), node)
	edit("nothing", set(func(*Node) {}))
	edit("the base of its name", set(func(n *Node) { n.Base = "other" }))
	edit("its person", set(func(n *Node) { n.User, n.Tags = user, nil }), facts)
	edit("what it says", soft(Soft{Said: &coord.NodeUpdate{Relay: 1}}), node)
	edit("the same again", soft(Soft{Said: &coord.NodeUpdate{Relay: 1}}))
	offer := func(texts ...string) func(Tx) error {
		u := coord.NodeUpdate{Relay: 1}
		for _, text := range texts {
			u.Routes = append(u.Routes, netip.MustParsePrefix(text))
		}
		return soft(Soft{Said: &u})
	}
	behind := Change{Kind: RoutesChanged, Node: first.ID} // which no peer sees
	edit("it offers what nobody has approved", offer("10.7.0.0/16", "10.8.0.0/16"), behind)
	edit("the same offer", offer("10.7.0.0/16", "10.8.0.0/16"))
	edit("one is approved", set(func(n *Node) { n.Approved = []netip.Prefix{netip.MustParsePrefix("10.8.0.0/16")} }), facts)
	if len(n.Routes()) != 1 {
		t.Errorf("it leads to %v", n.Routes())
	}
	edit("it offers less", offer("10.8.0.0/16"), behind)
	edit("it offers nothing", offer(), facts)
	edit("nothing is approved", set(func(n *Node) { n.Approved = nil }), behind)
	relays := soft(Soft{Said: &coord.NodeUpdate{Relay: 1, Relaying: &coord.Relaying{Key: key.RelayPublic{1}}}})
	edit("it offers to relay", relays, behind)
	edit("the same offer", relays)
	edit("it may relay", set(func(n *Node) { n.MayRelay = true }), node)
	edit("it offers no more", offer(), node)
	edit("it may relay no more", set(func(n *Node) { n.MayRelay = false }), behind)
	was := n.TicketSeq
	edit("its ticket", soft(Soft{Ticket: start.Add(time.Hour)}), Change{Kind: TicketChanged, Node: first.ID})
	if n.TicketSeq <= was || n.TicketSeq != newest(t, s) {
		t.Errorf("the ticket's number was %d and is %d", was, n.TicketSeq)
	}
	edit("a replica", func(tx Tx) (err error) { replica, err = tx.AddReplica(start); return err })
	edit("it joins", soft(Soft{Join: replica}), node)
	joined := epoch
	edit("it joins again", soft(Soft{Join: replica}))
	edit("the stream from before ends", soft(Soft{Leave: joined, LastSeen: start}))
	if n.Replica != replica || epoch != joined+1 {
		t.Errorf("it is at %d in epoch %d, after %d", n.Replica, epoch, joined)
	}
	edit("it leaves", soft(Soft{Leave: epoch, LastSeen: start}), node)
	if n.Replica != 0 || !n.LastSeen.Equal(start) {
		t.Errorf("it is %+v", n)
	}
	edit("its key", set(func(n *Node) { n.Key[7]++ }), node)
	if n.TicketSeq != newest(t, s) {
		t.Error("the ticket of another key has the number of the old one")
	}
	edit("its key has expired", set(func(n *Node) { n.Expires = start }), facts)
	if !n.Expired {
		t.Error("nobody is told that its key has expired")
	}
	edit("it logs in", set(func(n *Node) { n.Expires = time.Time{} }), facts)
	edit("its person's role", func(tx Tx) error { return tx.SetRole(user, account.Auditor) }, facts)
	edit("the same role", func(tx Tx) error { return tx.SetRole(user, account.Auditor) })
	edit("it logs out", set(func(n *Node) { n.Key = key.NodePublic{} }), facts)
	edit("it is renamed meanwhile", set(func(n *Node) { n.Name = "third" }))
	edit("it is back", set(func(n *Node) { n.Key = key.NodePublic{5} }), facts)
	edit("it is removed", func(tx Tx) error { return tx.RemoveNode(first.ID, start) }, facts)
	edit("a relay", func(tx Tx) error { _, err := tx.PutRelay(coord.Relay{Name: "r"}); return err }, Change{Kind: RelaysChanged})
	edit("the same relay", func(tx Tx) error { _, err := tx.PutRelay(coord.Relay{Name: "r"}); return err })
	edit("no relay", func(tx Tx) error { return tx.RemoveRelay("r") }, Change{Kind: RelaysChanged})
	edit("names", func(tx Tx) error { return tx.SetMeta(MetaDNS, "{}") }, Change{Kind: DNSChanged})
	edit("the network", func(tx Tx) error { return tx.SetMeta(MetaNetwork, "{}") }, Change{Kind: NetworkChanged})

	wants(t, s.Read(t.Context(), func(tx Tx) error { _, err := tx.News(newest(t, s) + 1); return err }), ErrForgotten)
	wants(t, s.Read(t.Context(), func(tx Tx) error { _, err := tx.News(1); return err }), ErrForgotten)
	before = newest(t, s)
	broken := errors.New("no")
	wants(t, s.Write(t.Context(), func(tx Tx) error { return errors.Join(tx.RemoveRelay("r"), broken) }), broken)
	wants(t, s.Write(t.Context(), func(tx Tx) error { _, err := tx.PutRelay(coord.Relay{Name: "q"}); return errors.Join(err, broken) }), broken)
	if _, log = news(t, s, before); len(log) > 0 {
		t.Errorf("what was not done is in the log: %+v", log)
	}
}

// testFollowing follows the log while many write: it misses nothing, and sees all in order.
func testFollowing(t *testing.T, s Store) {
	do(t, s, func(tx Tx) error { return tx.SetMeta(MetaNetwork, "") })
	at := newest(t, s)
	const writers, each = 8, 50
	var wg sync.WaitGroup
	var made atomic.Int64
	for w := range writers {
		wg.Go(func() {
			write := s.Write
			if w%2 == 0 {
				write = s.WriteSoft
			}
			for range each {
				if err := write(t.Context(), func(tx Tx) error { return tx.SetMeta(MetaNetwork, "") }); err != nil {
					t.Error(err)
				}
				made.Add(1)
			}
		})
	}
	seen := 0
	for done := false; !done; {
		done = made.Load() == writers*each
		n, _ := news(t, s, at)
		if seen += len(n.Log); len(n.Log) > 0 {
			at = n.Log[len(n.Log)-1].Seq
		}
	}
	wg.Wait()
	if seen != writers*each {
		t.Errorf("of %d changes %d were seen", writers*each, seen)
	}
}

func testReplicas(t *testing.T, s Store) {
	var dead, alive int64
	do(t, s, func(tx Tx) (err error) {
		if dead, err = tx.AddReplica(start); err != nil {
			return err
		}
		if alive, err = tx.AddReplica(start); err != nil {
			return err
		}
		for i := range 5 {
			id, err := tx.AddNode(someNode(30 + i))
			if err != nil {
				return err
			}
			at := dead
			if i == 0 {
				at = alive
			}
			if _, err := tx.SetSoft(Soft{ID: id, Join: at}); err != nil {
				return err
			}
		}
		return tx.Beat(dead, start.Add(time.Second))
	})
	for i, want := range []bool{false, false, true, true} {
		do(t, s, func(tx Tx) error {
			if done, err := tx.Sweep(dead, 2); done != want || err != nil {
				t.Errorf("sweep %d: %v, %v", i, done, err)
			}
			return nil
		})
	}
	read(t, s, func(tx Tx) error {
		nodes, err := tx.Nodes()
		online := 0
		for _, n := range nodes {
			switch {
			case n.Number < 1030 || n.Number > 1034:
			case n.Replica != 0:
				online++
			case !n.LastSeen.Equal(start.Add(time.Second)):
				t.Errorf("it was last seen at %v", n.LastSeen)
			}
		}
		left, err2 := tx.Replicas()
		if online != 1 || left[len(left)-1].ID != alive || slices.ContainsFunc(left, func(r Replica) bool { return r.ID == dead }) {
			t.Errorf("%d are online, at %+v", online, left)
		}
		return errors.Join(err, err2)
	})
	wants(t, s.Write(t.Context(), func(tx Tx) error { return tx.Beat(dead, start) }), ErrNotFound)
}

func testLogins(t *testing.T, s Store) {
	l := Login{Hash: [32]byte{1, 2}, Machine: key.MachinePublic{1}, Asked: "{}", Address: "192.0.2.1", Started: start, Expires: start.Add(time.Hour)}
	do(t, s, func(tx Tx) error { return tx.AddLogin(l) })
	second := l
	second.Hash[0] = 9
	wants(t, s.Write(t.Context(), func(tx Tx) error { return tx.AddLogin(second) }), ErrTaken)
	before := newest(t, s)
	l.State, l.User, l.Code, l.Tries = 2, 7, [32]byte{3}, 4
	do(t, s, func(tx Tx) error { return tx.SetLogin(l) })
	if _, log := news(t, s, before); len(log) != 1 || log[0] != (Change{Kind: LoginChanged, Node: LoginTag(l.Hash)}) {
		t.Errorf("the log says %+v", log)
	}
	read(t, s, func(tx Tx) error {
		got, err := tx.LoginOf(l.Machine)
		if d := cmp.Diff(l, got); d != "" {
			t.Error(d)
		}
		all, from, err2 := tx.CountLogins("192.0.2.2")
		if all != 1 || from != 0 {
			t.Errorf("there are %d, %d from there", all, from)
		}
		open, err3 := tx.OpenLogins(start)
		if d := cmp.Diff([]Login{l}, open); d != "" {
			t.Error(d)
		}
		over, err4 := tx.OpenLogins(l.Expires)
		if len(over) > 0 {
			t.Errorf("open, after they have expired: %+v", over)
		}
		return errors.Join(err, err2, err3, err4)
	})
	do(t, s, func(tx Tx) error { return tx.PurgeLogins(start.Add(time.Hour)) })
	do(t, s, func(tx Tx) error { _, err := tx.Login(l.Hash); return err })
	do(t, s, func(tx Tx) error { return tx.PurgeLogins(start.Add(2 * time.Hour)) })
	wants(t, s.Read(t.Context(), func(tx Tx) error { _, err := tx.Login(l.Hash); return err }), ErrNotFound)
}

func TestTheLogIsPruned(t *testing.T) {
	s, err := OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for range (LogLength + 2*pruneEvery) / 1000 {
		do(t, s, func(tx Tx) error {
			for range 1000 {
				if err := tx.SetMeta(MetaNetwork, ""); err != nil {
					return err
				}
			}
			return nil
		})
	}
	read(t, s, func(tx Tx) error {
		all, err := tx.Log()
		if len(all) < LogLength || len(all) > LogLength+pruneEvery+1000 {
			t.Errorf("the log has %d changes", len(all))
		}
		return err
	})
}

// With the power the last soft commits may go. Machines know their numbers; none is given to another change, also where
// the clock was set back meanwhile.
func TestNumbersThatWereLostAreNotGivenTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	open := func(run string, now time.Time) *Database {
		s, err := OpenSQLite(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		s.run = run
		s.SetClock(func() time.Time { return now })
		return s
	}
	change := func(s *Database) {
		if err := s.WriteSoft(t.Context(), func(tx Tx) error { return tx.SetMeta(MetaNetwork, "") }); err != nil {
			t.Fatal(err)
		}
	}
	s := open("one", start)
	change(s)
	kept, err := os.ReadFile(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	for range 50 { // these the platter never sees
		change(s)
	}
	lost := newest(t, s)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{path: file, path + "-wal": kept} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open("two", start.Add(-time.Hour))
	if newest(t, s) >= lost {
		t.Fatal("nothing was lost")
	}
	change(s)
	next := newest(t, s)
	if next <= lost {
		t.Errorf("the next number is %d, and %d was given before", next, lost)
	}
	change(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open("two", start)
	defer func() { _ = s.Close() }()
	change(s)
	if got := newest(t, s); got != next+2 {
		t.Errorf("after a mere restart of the process it goes on at %d, after %d", got, next+1)
	}
}

// Two servers whose clocks are apart do not take back each other's word.
func TestClocksThatAreApartDoNotQuarrelOverAKey(t *testing.T) {
	s, err := OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	now := start
	s.SetClock(func() time.Time { return now })
	n := someNode(1)
	n.Expires = start.Add(time.Hour)
	do(t, s, func(tx Tx) (err error) { n.ID, err = tx.AddNode(n); return err })
	for _, c := range []struct {
		at      time.Duration // by the clock of who writes
		soft    bool
		expired bool
	}{
		{59 * time.Minute, true, false},
		{60 * time.Minute, true, true},
		{59 * time.Minute, true, true},
		{59 * time.Minute, false, true},
		{time.Hour - ClockTolerance, true, true},
		{time.Hour - ClockTolerance - time.Millisecond, true, false}, // a clock that was wrong
		{60 * time.Minute, false, true},
		{0, false, false},
	} {
		now = start.Add(c.at)
		do(t, s, func(tx Tx) error {
			if c.soft {
				_, err := tx.SetSoft(Soft{ID: n.ID})
				return err
			}
			is, err := tx.Node(n.ID)
			if err != nil {
				return err
			}
			return tx.SetNode(is)
		})
		read(t, s, func(tx Tx) error {
			is, err := tx.Node(n.ID)
			if is.Expired != c.expired {
				t.Errorf("at %v (soft: %v): expired is %v", c.at, c.soft, is.Expired)
			}
			return err
		})
	}
	now = start.Add(time.Hour)
	do(t, s, func(tx Tx) error { _, err := tx.SetSoft(Soft{ID: n.ID}); return err })
	do(t, s, func(tx Tx) error { // a new login counts at once
		is, err := tx.Node(n.ID)
		if err != nil {
			return err
		}
		is.Expires = now.Add(time.Minute)
		return tx.SetNode(is)
	})
	read(t, s, func(tx Tx) error {
		is, err := tx.Node(n.ID)
		if is.Expired {
			t.Error("it was extended, and counts as expired")
		}
		return err
	})
}
