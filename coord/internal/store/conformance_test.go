package store

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/warren-mesh/warren/coord/key"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.UnixMilli(1_700_000_000_000).UTC()

// conform is the suite that every Store must pass. open gives the same database each time, empty at first.
func conform(t *testing.T, open func() Store) {
	t.Helper()
	for name, run := range map[string]func(*testing.T, Store){
		"hostile text": testHostileText,
		"nodes":        testNodes, "keys": testKeys, "users": testUsers, "owners": testOwners,
		"invitations": testInvitations, "sessions": testWebSessions, "sign-ins": testSignIns, "relays": testRelays, "audit": testAudit,
		"log": testLog, "following": testFollowing, "replicas": testReplicas, "logins": testLogins, "a failed write": testFailedWrite,
		"tokens": testTokens, "webhooks": testWebhooks, "policies": testPolicies,
	} {
		t.Run(name, func(t *testing.T) {
			s := open()
			defer func() { _ = s.Close() }()
			run(t, s)
		})
	}
	t.Run("what was written is there", func(t *testing.T) {
		s := open()
		do(t, s, func(tx Tx) error { return tx.SetMeta("kept", "yes") })
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open()
		defer func() { _ = s.Close() }()
		do(t, s, func(tx Tx) error {
			if v, err := tx.Meta("kept"); err != nil || v != "yes" {
				t.Errorf("kept is %q, %v", v, err)
			}
			return nil
		})
	})
}

func do(t *testing.T, s Store, fn func(Tx) error) {
	t.Helper()
	if err := s.Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func wants(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, not %v", err, want)
	}
}

func someNode(i int) Node {
	return Node{
		Machine: key.MachinePublic{9, byte(i)}, Key: key.NodePublic{1, byte(i)}, Name: fmt.Sprint("n", i), Base: "n", Number: uint32(1000 + i),
		Tags: []string{"a", "b"}, OS: "linux", Version: "1", Created: start, Expires: start.Add(time.Hour), AuthKey: 3,
		Pending: i%2 == 1, Ephemeral: i%3 == 1, Lasting: i%5 == 1, MayRelay: i%7 == 1,
		Approved: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("::/0")},
	}
}

func testNodes(t *testing.T, s Store) {
	n := someNode(1)
	do(t, s, func(tx Tx) (err error) { n.ID, err = tx.AddNode(n); return err })
	for _, clash := range []func(*Node){
		func(o *Node) { o.Machine = n.Machine }, func(o *Node) { o.Key = n.Key }, func(o *Node) { o.Name = n.Name }, func(o *Node) { o.Number = n.Number },
	} {
		o := someNode(2)
		clash(&o)
		wants(t, s.Write(t.Context(), func(tx Tx) error { _, err := tx.AddNode(o); return err }), ErrTaken)
	}
	said := coord.NodeUpdate{
		OS: "bsd", Relay: 2, Routes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, Endpoints: []coord.Endpoint{{Addr: netip.MustParseAddrPort("192.0.2.1:1"), Kind: coord.EndpointLocal}},
	}
	do(t, s, func(tx Tx) error {
		n.Pending, n.Ephemeral, n.Lasting = false, false, false
		err := tx.SetNode(n)
		n.Lasting = true
		return errors.Join(err, tx.SetNode(n))
	})
	out1, out2 := someNode(3), someNode(4)
	out1.Key, out2.Key = key.NodePublic{}, key.NodePublic{} // two that are logged out do not clash
	do(t, s, func(tx Tx) error {
		_, err1 := tx.AddNode(out1)
		_, err2 := tx.AddNode(out2)
		_, err3 := tx.SetSoft(Soft{ID: n.ID, Said: &said})
		return errors.Join(err1, err2, err3)
	})
	n.Said, n.OS, n.Version = said, "bsd", ""
	do(t, s, func(tx Tx) error {
		for name, find := range map[string]func() (Node, error){
			"machine": func() (Node, error) { return tx.NodeByMachine(n.Machine) }, "key": func() (Node, error) { return tx.NodeByKey(n.Key) },
			"id": func() (Node, error) { return tx.Node(n.ID) }, "name": func() (Node, error) { return tx.NodeByName(n.Name) },
		} {
			got, err := find()
			if n.TicketSeq = got.TicketSeq; n.TicketSeq == 0 {
				t.Error("its ticket has no number")
			}
			if d := cmp.Diff(n, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }), samePrefix); err != nil || d != "" {
				t.Errorf("by %s: %v\n%s", name, err, d)
			}
		}
		_, err := tx.NodeByKey(key.NodePublic{7})
		wants(t, err, ErrNotFound)
		return nil
	})
	var second coord.NodeID
	do(t, s, func(tx Tx) (err error) {
		if err := tx.RemoveNode(n.ID, start); err != nil {
			return err
		}
		o := someNode(1)
		o.Number = 5000
		second, err = tx.AddNode(o)
		return err
	})
	if second <= n.ID {
		t.Errorf("the id %d was used again", second)
	}
	none := func(uint32) bool { return false }
	do(t, s, func(tx Tx) error {
		if f, err := tx.FreeNumber(1<<20, none); err != nil || f != 5001 {
			t.Errorf("the next number is %d, %v", f, err)
		}
		if f, err := tx.FreeNumber(5000, func(n uint32) bool { return n <= 1003 }); err != nil || f != 1005 {
			t.Errorf("the first gap is at %d, %v", f, err) // 1001 is removed but not released, 1003 and 1004 are logged out
		}
		if err := tx.ReleaseNumbers(start.Add(time.Second)); err != nil {
			return err
		}
		if f, err := tx.FreeNumber(1001, func(n uint32) bool { return n <= 1000 }); err != nil || f != 1001 {
			t.Errorf("a released number: %d, %v", f, err)
		}
		_, err := tx.FreeNumber(3, func(uint32) bool { return true })
		wants(t, err, ErrNoNumber)
		return nil
	})
	testFullOfGone(t, s, second)
}

// testFullOfGone: the numbers 1003 and 1004 are of machines that have logged out, 5000 of one that is there.
func testFullOfGone(t *testing.T, s Store, there coord.NodeID) {
	do(t, s, func(tx Tx) error {
		for i, n := range []Node{someNode(6), someNode(5), someNode(7)} { // the last two wait for approval
			id, err := tx.AddNode(n)
			if err != nil {
				return err
			}
			if err := tx.RemoveNode(id, start.Add(time.Duration(i)*time.Minute)); err != nil {
				return err
			}
		}
		if err := tx.RemoveNode(there, start.Add(-time.Minute)); err != nil { // waits, too
			return err
		}
		only := func(numbers ...uint32) func(uint32) bool {
			return func(n uint32) bool { return !slices.Contains(numbers, n) }
		}
		if f, err := tx.FreeNumber(1005, only(1005)); err != nil || f != 1005 {
			t.Errorf("the number of a machine that nobody has seen: %d, %v", f, err)
		}
		if f, err := tx.FreeNumber(1006, only(1006)); err != nil || f != 1006 {
			t.Errorf("where nothing else is free: %d, %v", f, err)
		}
		return nil
	})
	do(t, s, func(tx Tx) error {
		gone, err := tx.LongestGone()
		if err != nil || gone.Number != 1003 {
			t.Errorf("gone the longest is %d, %v", gone.Number, err)
		}
		in := someNode(8)
		if in.ID, err = tx.AddNode(in); err != nil {
			return err
		}
		in.Key = key.NodePublic{}
		if err := tx.SetNode(in); err != nil { // logs out now
			return err
		}
		gone.Key = key.NodePublic{77}
		if err := tx.SetNode(gone); err != nil { // and this one is back
			return err
		}
		if gone, err = tx.LongestGone(); err != nil || gone.Number != 1004 {
			t.Errorf("gone the longest is %d, %v", gone.Number, err)
		}
		if err := tx.RemoveNode(gone.ID, start); err != nil {
			return err
		}
		if gone, err = tx.LongestGone(); err != nil || gone.ID != in.ID || gone.LastSeen.IsZero() {
			t.Errorf("gone the longest is %d, since %s, %v", gone.Number, gone.LastSeen, err)
		}
		return nil
	})
}

func testHostileText(t *testing.T, s Store) {
	do(t, s, func(tx Tx) error {
		n := someNode(60)
		id, err := tx.AddNode(n)
		if err != nil {
			return err
		}
		_, err = tx.SetSoft(Soft{ID: id, Said: &coord.NodeUpdate{OS: "a\x00b", Version: "\xff'\"?$1"}})
		return err
	})
}

func testKeys(t *testing.T, s Store) {
	once := AuthKey{Hash: [32]byte{1}, Tags: []string{"x"}, Created: start, Expires: start.Add(time.Hour)}
	many := AuthKey{Hash: [32]byte{2}, Reusable: true, Ephemeral: true, Approval: true, Created: start, Expires: start.Add(time.Hour)}
	do(t, s, func(tx Tx) (err error) {
		if once.ID, err = tx.AddAuthKey(once); err != nil {
			return err
		}
		many.ID, err = tx.AddAuthKey(many)
		return err
	})
	use := func(id int64, by byte, at time.Time) (ok bool) {
		do(t, s, func(tx Tx) (err error) { ok, err = tx.UseAuthKey(id, key.MachinePublic{by}, at); return err })
		return ok
	}
	var first atomic.Int32
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if use(once.ID, byte(i+1), start) {
				first.Add(1)
			}
		})
	}
	wg.Wait()
	if first.Load() != 1 {
		t.Errorf("a key for one was used by %d", first.Load())
	}
	if !use(many.ID, 1, start) || !use(many.ID, 2, start) || use(many.ID, 3, start.Add(time.Hour)) {
		t.Error("a reusable key is not, or does not expire")
	}
	do(t, s, func(tx Tx) error { return tx.RevokeAuthKey(many.ID) })
	if use(many.ID, 4, start) {
		t.Error("a revoked key was used")
	}
	do(t, s, func(tx Tx) error {
		k, err := tx.AuthKeyByHash(many.Hash)
		if err != nil || k.Uses != 2 || !k.Revoked || k.UsedBy != (key.MachinePublic{2}) || !k.Used.Equal(start) ||
			!k.Ephemeral || !k.Approval {
			t.Errorf("the key is %+v, %v", k, err)
		}
		wants(t, tx.RevokeAuthKey(99), ErrNotFound)
		return nil
	})
}

func testUsers(t *testing.T, s Store) {
	u := User{Login: "anna", Password: "$x", Created: start}
	do(t, s, func(tx Tx) (err error) { u.ID, err = tx.AddUser(u); return err })
	wants(t, s.Write(t.Context(), func(tx Tx) error { _, err := tx.AddUser(u); return err }), ErrTaken)
	ws := WebSession{Hash: [32]byte{5}, User: u.ID, Created: start, Seen: start, Agent: "a browser", Address: "192.0.2.1"}
	do(t, s, func(tx Tx) error {
		if err := tx.AddWebSession(ws); err != nil {
			return err
		}
		got, err := tx.WebSession(ws.Hash)
		if d := cmp.Diff(ws, got); d != "" {
			t.Error(d)
		}
		return err
	})
	do(t, s, func(tx Tx) error {
		if err := tx.SetPassword(u.ID, "$y"); err != nil {
			return err
		}
		_, err := tx.WebSession(ws.Hash)
		wants(t, err, ErrNotFound)
		got, err := tx.UserByLogin("anna")
		if got.Password != "$y" {
			t.Errorf("the password is %q", got.Password)
		}
		return err
	})
	n := someNode(50)
	n.User = u.ID
	do(t, s, func(tx Tx) error { _, err := tx.AddNode(n); return err })
	if err := s.Write(t.Context(), func(tx Tx) error { return tx.RemoveUser(u.ID) }); err == nil {
		t.Error("a user was removed from under a machine")
	}
}

func testRelays(t *testing.T, s Store) {
	l := coord.Relay{Name: "one", Key: key.RelayPublic{1}, UDP: "a:1", URL: "https://a/relay", Cert: make([]byte, 32)}
	do(t, s, func(tx Tx) (err error) { l.ID, err = tx.PutRelay(l); return err })
	l.UDP = "b:1"
	do(t, s, func(tx Tx) error {
		id, err := tx.PutRelay(l)
		if id != l.ID {
			t.Errorf("the number went from %d to %d", l.ID, id)
		}
		all, err2 := tx.Relays()
		if d := cmp.Diff([]coord.Relay{l}, all); d != "" {
			t.Error(d)
		}
		return errors.Join(err, err2, tx.RemoveRelay("one"))
	})
	wants(t, s.Write(t.Context(), func(tx Tx) error { return tx.RemoveRelay("one") }), ErrNotFound)
}

func testFailedWrite(t *testing.T, s Store) {
	mine := errors.New("mine")
	var wg sync.WaitGroup
	for i := range 100 { // some of them share a transaction
		wg.Go(func() {
			name := fmt.Sprint("w", i)
			err := s.Write(context.Background(), func(tx Tx) error {
				if err := tx.SetMeta(name, "x"); err != nil {
					return err
				}
				if i%2 == 0 {
					return mine
				}
				return nil
			})
			if (i%2 == 0) != errors.Is(err, mine) {
				t.Errorf("write %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	err := s.Read(t.Context(), func(tx Tx) error {
		for i := range 100 {
			if _, err := tx.Meta(fmt.Sprint("w", i)); (err == nil) != (i%2 == 1) {
				t.Errorf("write %d: %v", i, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	wants(t, s.Read(t.Context(), func(tx Tx) error { _, err := tx.Meta("none"); return err }), ErrNotFound)
	if err := s.Read(t.Context(), func(tx Tx) error { return tx.SetMeta("read", "x") }); err == nil {
		t.Error("a Read wrote")
	}
}

func TestSQLite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c.db")
	conform(t, func() Store {
		s, err := OpenSQLite(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		s.SetClock(func() time.Time { return start })
		return s
	})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
}

func TestAFullDiskRefusesWritesAndReadsGoOn(t *testing.T) {
	s, err := OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	do(t, s, func(tx Tx) error { return tx.SetMeta("a", "1") })
	if _, err := s.write.Exec("PRAGMA max_page_count = 1"); err != nil { // SQLite then answers as on a full disk
		t.Fatal(err)
	}
	big := string(make([]byte, 1<<20))
	wants(t, s.Write(t.Context(), func(tx Tx) error { return tx.SetMeta("b", big) }), ErrFull)
	if err := s.Read(t.Context(), func(tx Tx) error { _, err := tx.Meta("a"); return err }); err != nil {
		t.Error(err)
	}
	if _, err := s.write.Exec("PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	do(t, s, func(tx Tx) error { return tx.SetMeta("b", big) })
}

func TestDatabasesThatAreNotOurs(t *testing.T) {
	dir := t.TempDir()
	damaged := filepath.Join(dir, "damaged")
	if err := os.WriteFile(damaged, []byte("this is no database, and long enough to be looked at as one................."), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenSQLite(t.Context(), damaged)
	wants(t, err, ErrDamaged)

	newer := filepath.Join(dir, "newer")
	s, err := OpenSQLite(t.Context(), newer)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.write.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = OpenSQLite(t.Context(), newer)
	wants(t, err, ErrNewer)
}
