package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/warren-mesh/warren/coord/internal/policy"
	"github.com/warren-mesh/warren/coord/internal/store/pgtest"
)

func testPolicies(t *testing.T, s Store) {
	do(t, s, func(tx Tx) error {
		p, err := tx.Policy()
		if p != (PolicyVersion{}) {
			t.Errorf("a network without a file has %+v", p)
		}
		return err
	})
	at := newest(t, s)
	want := PolicyVersion{Text: "{} // ü", User: 7, By: "anna", Note: "restore", Created: start}
	do(t, s, func(tx Tx) (err error) { want.ID, err = tx.AddPolicy(want); return err })
	got, log := news(t, s, at)
	if d := cmp.Diff([]Change{{Kind: PolicyChanged}}, log); d != "" || got.Policy != want.Text {
		t.Errorf("it is in the log as %q\n%s", got.Policy, d)
	}
	do(t, s, func(tx Tx) error {
		p, err := tx.Policy()
		if d := cmp.Diff(want, p); d != "" {
			t.Error(d)
		}
		if _, err := tx.PolicyVersion(want.ID + 1); !errors.Is(err, ErrNotFound) {
			t.Errorf("a version that is not there: %v", err)
		}
		return err
	})
	do(t, s, func(tx Tx) error {
		for i := range PolicyHistory + 2 {
			if _, err := tx.AddPolicy(PolicyVersion{Text: fmt.Sprint(i), Created: start}); err != nil {
				return err
			}
		}
		all, err := tx.PolicyVersions()
		if len(all) != PolicyHistory || all[0].ID < all[1].ID || all[0].Text != "" {
			t.Errorf("the history has %d versions, the first %+v", len(all), all[0])
		}
		return err
	})
}

// before are the steps up to a version.
func before(t *testing.T, version string) migrationSet {
	t.Helper()
	with := func(of fs.FS) fs.FS {
		out := fstest.MapFS{}
		names, err := fs.Glob(of, "*.sql")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			b, err := fs.ReadFile(of, n)
			if err != nil {
				t.Fatal(err)
			}
			if n < version {
				out[n] = &fstest.MapFile{Data: b}
			}
		}
		return out
	}
	return migrationSet{sqlite: with(migrations.sqlite), postgres: with(migrations.postgres)}
}

// A network from before there were rules keeps what it had, and its machines hear of their filters; one that has not
// begun yet has the default.
func TestANetworkFromBeforeThereWereRulesKeepsWhatItHad(t *testing.T) {
	pg := pgtest.Start(t)
	open := func(path, address string, all migrationSet) Store {
		t.Helper()
		var db Store
		var err error
		if address == "" {
			db, err = openSQLite(t.Context(), path, false, all)
		} else {
			db, err = openPostgres(t.Context(), address, path, all)
		}
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	for name, begun := range map[string]bool{"begun": true, "new": false} {
		for _, address := range []string{"", pg.Database(name)} {
			path := filepath.Join(t.TempDir(), "db")
			db := open(path, address, before(t, "0010"))
			if begun {
				do(t, db, func(tx Tx) error { return tx.SetMeta(MetaNetwork, "{}") })
			} else {
				do(t, db, func(tx Tx) error { return tx.SetMeta("other", "") })
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			db = open(path, address, migrations)
			do(t, db, func(tx Tx) error {
				p, err := tx.Policy()
				if begun && (p.Text != policy.AllText || p.Note != "upgrade") || !begun && p != (PolicyVersion{}) {
					t.Errorf("%s has %+v", name, p)
				}
				if err != nil {
					return err
				}
				log, err := tx.Log()
				if begun && (len(log) == 0 || log[len(log)-1].Kind != PolicyChanged) {
					t.Errorf("the log ends with %+v", log)
				}
				return err
			})
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
