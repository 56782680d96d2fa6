package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store/pgtest"
	"github.com/warren-mesh/warren/coord/key"
)

var files = map[string][]byte{"identity": []byte("very secret, and found nowhere else")}

// fill writes something into each table.
func fill(t *testing.T, s Store) {
	t.Helper()
	do(t, s, func(tx Tx) error {
		user, err := tx.AddUser(User{Login: "anna", Password: "$x", Role: account.Owner, Created: start})
		if err != nil {
			return err
		}
		if _, err := tx.AddPolicy(PolicyVersion{Text: "// ünïcode\n{}", User: user, By: "anna", Note: "x", Created: start}); err != nil {
			return err
		}
		hash := [32]byte{7, 0, 255}
		if err := tx.AddWebSession(WebSession{Hash: hash, User: user, Created: start, Seen: start}); err != nil {
			return err
		}
		for i := range 20 {
			n := someNode(i)
			n.User = user * int64(i%2)
			n.Said = coord.NodeUpdate{OS: "ünïx", Relay: 3, Routes: n.Approved[:i%2]}
			if i == 5 {
				n.Key = key.NodePublic{}
			}
			if i == 19 { // peers have seen it
				n.Pending = false
			}
			id, err := tx.AddNode(n)
			if err != nil {
				return err
			}
			if i == 19 { // the highest id is gone, and must not be given again
				if err := tx.RemoveNode(id, start); err != nil {
					return err
				}
			}
		}
		if _, err := tx.AddAuthKey(AuthKey{Hash: hash, User: user, Tags: []string{"t"}, Created: start, Expires: start}); err != nil {
			return err
		}
		if _, err := tx.AddInvitation(Invitation{Hash: hash, Role: account.Admin, User: user, Created: start, Expires: start}); err != nil {
			return err
		}
		if _, err := tx.AddReplica(start); err != nil {
			return err
		}
		if err := tx.AddLogin(Login{Hash: hash, Machine: key.MachinePublic{7}, Asked: "{}", Started: start, Expires: start}); err != nil {
			return err
		}
		if _, err := tx.PutRelay(coord.Relay{Name: "r", Key: key.RelayPublic{1}, UDP: "u:1"}); err != nil {
			return err
		}
		if err := someSignIns(tx, user); err != nil {
			return err
		}
		if _, err := tx.AddToken(Token{Hash: hash, User: user, Name: "ci", Scopes: []string{"read"}, Created: start, Expires: start}); err != nil {
			return err
		}
		if _, err := tx.AddWebhook(Webhook{URL: "https://hooks.example", Secret: hash[:], Created: start}); err != nil {
			return err
		}
		if err := tx.SetExpiryNotice(ExpiryNotice{ID: 3, Expires: start, Said: "machine.expired"}); err != nil {
			return err
		}
		if _, err := tx.AddAudit(Audit{Time: start, User: user, Login: "anna", Via: "console", Action: "key.create", Subject: "1", Details: "{}"}); err != nil {
			return err
		}
		if err := tx.SetMeta(MetaDNS, "{}"); err != nil {
			return err
		}
		return tx.SetMeta("network", "{}")
	})
}

var samePrefix = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

// contents is all that a store holds.
func contents(t *testing.T, s Store) (all []any) {
	t.Helper()
	err := s.Read(t.Context(), func(tx Tx) error {
		users, err1 := tx.Users()
		nodes, err2 := tx.Nodes()
		keys, err3 := tx.AuthKeys()
		relays, err4 := tx.Relays()
		session, err5 := tx.WebSession([32]byte{7, 0, 255})
		network, err6 := tx.Meta("network")
		free, err7 := tx.FreeNumber(1<<20, func(uint32) bool { return false })
		invitations, err8 := tx.Invitations()
		passkeys, err9 := tx.Passkeys(users[0].ID)
		providers, err10 := tx.Providers()
		identities, err11 := tx.Identities(users[0].ID)
		second, err12 := tx.SecondFactor(users[0].ID)
		left, err13 := tx.RecoveryCodes(users[0].ID)
		tokens, err15 := tx.Tokens(0)
		webhooks, err16 := tx.Webhooks()
		notices, err17 := tx.ExpiryNotices()
		audit, err14 := tx.AuditLines(AuditQuery{Limit: 10})
		all = []any{users, nodes, keys, relays, session, network, free, invitations, passkeys, providers, identities, second, left, audit, tokens, webhooks, notices}
		for _, err := range []error{err1, err2, err3, err4, err5, err6, err7, err8, err9, err10, err11, err12, err13, err14, err15, err16, err17} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestABackupMovesBetweenDatabases(t *testing.T) {
	s := pgtest.Start(t)
	for _, c := range []struct{ name, from, to string }{
		{"sqlite to sqlite", "", ""},
		{"sqlite to postgres", "", s.Database("to1")},
		{"postgres to postgres", s.Database("from2"), s.Database("to2")},
		{"postgres to sqlite", s.Database("from3"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			from, to := Place{filepath.Join(dir, "from"), c.from}, Place{filepath.Join(dir, "to"), c.to}
			backup, work := filepath.Join(dir, "backup"), filepath.Join(dir, "work")
			db, err := Open(t.Context(), from)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			fill(t, db)
			// The server writes on meanwhile: the backup is of one moment.
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					_ = db.Write(ctx, func(tx Tx) error {
						return tx.SetMeta("busy", fmt.Sprint(i))
					})
				}
			})
			err = Backup(t.Context(), from, backup, files)
			stop()
			wg.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(backup); err != nil || info.Mode() != 0o600 {
				t.Errorf("the backup is %v, %v", info, err)
			}
			if err := Backup(t.Context(), from, backup, files); !os.IsExist(err) {
				t.Errorf("over a backup: %v", err)
			}
			everyTableHasRows(t, backup)
			got, err := Unpack(t.Context(), backup, work)
			if d := cmp.Diff(files, got); err != nil || d != "" {
				t.Fatal(err, d)
			}
			if b, err := os.ReadFile(work); err != nil || bytes.Contains(b, files["identity"]) {
				t.Errorf("the identity lies in the database: %v", err)
			}
			if err := Install(t.Context(), work, to); err != nil {
				t.Fatal(err)
			}
			if err := Install(t.Context(), backup, to); err == nil {
				t.Error("something was overwritten")
			}
			there, err := Open(t.Context(), to)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = there.Close() }()
			if d := cmp.Diff(contents(t, db), contents(t, there), cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }), samePrefix); d != "" {
				t.Error(d)
			}
			do(t, there, func(tx Tx) error {
				n := someNode(99)
				id, err := tx.AddNode(n)
				if id != 21 {
					t.Errorf("the next machine has id %d", id)
				}
				return err
			})
			left, _ := filepath.Glob(filepath.Join(dir, "*"))
			if extra := slices.DeleteFunc(left, func(p string) bool {
				base := filepath.Base(p)
				return base == "backup" || base == "work" && c.to != "" || slices.Contains([]string{"from", "from-wal", "from-shm", "to", "to-wal", "to-shm"}, base)
			}); len(extra) > 0 {
				t.Errorf("left behind: %v", extra)
			}
		})
	}
}

// everyTableHasRows keeps fill honest: a table without rows would be moved without proof.
func everyTableHasRows(t *testing.T, path string) {
	t.Helper()
	db, err := connectSQLite(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	x, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Rollback() }()
	in := &tx{ctx: t.Context(), t: x}
	tables, err := in.tables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if n, err := one(in, count, "SELECT count(*) FROM "+quote(table)); err != nil || n == 0 {
			t.Errorf("table %s has %d rows, %v: let fill write some", table, n, err)
		}
	}
}

func TestWhatIsNoBackupIsRefused(t *testing.T) {
	dir := t.TempDir()
	good, work := filepath.Join(dir, "good"), filepath.Join(dir, "work")
	place := Place{File: filepath.Join(dir, "db")}
	db, err := Open(t.Context(), place)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Backup(t.Context(), place, good, files); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"empty": {}, "text": []byte("some text that is no database at all"), "cut": whole[:len(whole)/2], "cut a little": whole[:len(whole)-4096],
		"bent": append(append(slices.Clone(whole[:8192]), make([]byte, 4096)...), whole[12288:]...),
	} {
		path := filepath.Join(dir, "bad")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Unpack(t.Context(), path, work)
		if wants(t, err, ErrNoBackup); t.Failed() {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := os.Stat(work); err == nil {
			t.Errorf("%s: the working copy stays", name)
		}
	}
	_, err = Unpack(t.Context(), place.File, work) // a database is no backup: the server's files are not in it
	wants(t, err, ErrNoBackup)
	if _, err := Unpack(t.Context(), filepath.Join(dir, "none"), work); !os.IsNotExist(err) {
		t.Errorf("a file that is not there: %v", err)
	}

	newer, err := connectSQLite(place.File, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newer.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)"); err != nil {
		t.Fatal(err)
	}
	_ = newer.Close()
	later := filepath.Join(dir, "later")
	if err := Backup(t.Context(), place, later, files); err != nil {
		t.Fatal(err)
	}
	_, err = Unpack(t.Context(), later, work)
	wants(t, err, ErrNewerBackup)
}

// Most bytes of a backup are what people wrote: to SQLite any of these are as good as others.
func TestABackupWithOneWrongByteIsRefused(t *testing.T) {
	dir := t.TempDir()
	good, bad, work := filepath.Join(dir, "good"), filepath.Join(dir, "bad"), filepath.Join(dir, "work")
	place := Place{File: filepath.Join(dir, "db")}
	db, err := Open(t.Context(), place)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, db)
	if err := errors.Join(db.Close(), Backup(t.Context(), place, good, files)); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	sum := func(path string) string {
		db, err := connectSQLite(path, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		x, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = x.Rollback() }()
		text, err := digest(t.Context(), x)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if _, err := Unpack(t.Context(), good, work); err != nil {
		t.Fatal(err)
	}
	want, refused := sum(work), 0
	_ = os.Remove(work)
	var texts []int // bytes that are not empty space
	for i := range whole {
		if i >= 8 && !bytes.Contains(whole[i-8:i+1], []byte{0}) {
			texts = append(texts, i)
		}
	}
	for n := range 24 { // each takes an unpacking
		i := texts[n*len(texts)/24]
		flipped := slices.Clone(whole)
		flipped[i] ^= 0x01
		if err := os.WriteFile(bad, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Unpack(t.Context(), bad, work); err != nil {
			refused++
			continue
		}
		if sum(work) != want {
			t.Errorf("with another byte at %d it was taken, and says something else", i)
		}
		_ = os.Remove(work)
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
}

// next is what there is, and one step more.
func next(t *testing.T) migrationSet {
	t.Helper()
	with := func(of fs.FS) fs.FS {
		out := fstest.MapFS{"9000_next.sql": {Data: []byte("-- +goose Up\nALTER TABLE users ADD COLUMN hat TEXT NOT NULL DEFAULT 'none';\nDELETE FROM meta;\n")}}
		names, err := fs.Glob(of, "*.sql")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			b, err := fs.ReadFile(of, n)
			if err != nil {
				t.Fatal(err)
			}
			out[n] = &fstest.MapFile{Data: b}
		}
		return out
	}
	return migrationSet{sqlite: with(migrations.sqlite), postgres: with(migrations.postgres)}
}

func TestAnOlderDatabaseIsBackedUpFirst(t *testing.T) {
	s := pgtest.Start(t)
	for _, address := range []string{"", s.Database("older")} {
		t.Run("postgres "+fmt.Sprint(address != ""), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			db, err := Open(t.Context(), Place{path, address})
			if err != nil {
				t.Fatal(err)
			}
			fill(t, db)
			want := contents(t, db)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path+".before-9000", []byte("of an earlier try"), 0o600); err != nil {
				t.Fatal(err)
			}
			if address == "" {
				db, err = openSQLite(t.Context(), path, false, next(t))
			} else {
				db, err = openPostgres(t.Context(), address, path, next(t))
			}
			if err != nil {
				t.Fatal(err)
			}
			wants(t, db.Read(t.Context(), func(tx Tx) error { _, err := tx.Meta("network"); return err }), ErrNotFound)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			_, err = Open(t.Context(), Place{path, address})
			wants(t, err, ErrNewer) // the older program does not touch it
			backup, err := OpenSQLite(t.Context(), path+".before-9000")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = backup.Close() }()
			if d := cmp.Diff(want, contents(t, backup), samePrefix); d != "" {
				t.Error(d)
			}
			if info, err := os.Stat(path + ".before-9000"); err != nil || info.Mode() != 0o600 {
				t.Errorf("the backup is %v, %v", info, err)
			}
		})
	}
}

// TestBothHaveTheSameTables holds what a migrationSet promises.
func TestBothHaveTheSameTables(t *testing.T) {
	steps := func(of fs.FS) (names []string) {
		names, err := fs.Glob(of, "*.sql")
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	if d := cmp.Diff(steps(migrations.sqlite), steps(migrations.postgres)); d != "" {
		t.Fatal("each step is there for both databases:\n", d)
	}
	s := pgtest.Start(t)
	columns := func(d *Database, query string) map[string]bool {
		defer func() { _ = d.Close() }()
		x, err := d.read.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = x.Rollback() }()
		all, err := many(&tx{ctx: t.Context(), t: x}, func(r row) (s string, err error) { return s, r.Scan(&s) }, query)
		if err != nil {
			t.Fatal(err)
		}
		return maps.Collect(func(yield func(string, bool) bool) {
			for _, c := range all {
				if !yield(c, true) {
					return
				}
			}
		})
	}
	lite, err := OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	d := cmp.Diff(
		columns(lite, "SELECT m.name || '.' || p.name || (CASE WHEN p.\"notnull\" + p.pk > 0 THEN '' ELSE ' or null' END) "+
			"FROM sqlite_master AS m, pragma_table_info(m.name) AS p WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' AND m.name <> 'goose_db_version'"),
		columns(openAt(t, s.Database("columns")), "SELECT table_name || '.' || column_name || (CASE is_nullable WHEN 'YES' THEN ' or null' ELSE '' END) "+
			"FROM information_schema.columns WHERE table_schema = current_schema() AND table_name <> 'goose_db_version'"))
	if d != "" {
		t.Error(d)
	}
}
