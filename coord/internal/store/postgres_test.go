package store

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord/internal/store/pgtest"
)

func openAt(t *testing.T, address string) *Database {
	t.Helper()
	d, err := OpenPostgres(t.Context(), address, filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	d.SetClock(func() time.Time { return start })
	return d
}

func TestPostgres(t *testing.T) {
	s := pgtest.Start(t)
	t.Run("conforms", func(t *testing.T) {
		address := s.Database("conforms")
		conform(t, func() Store { return openAt(t, address) })
	})
	t.Run("a newer one is refused", func(t *testing.T) {
		address := s.Database("newer")
		if err := openAt(t, address).Close(); err != nil {
			t.Fatal(err)
		}
		s.Exec("newer", "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)")
		_, err := OpenPostgres(t.Context(), address, "")
		wants(t, err, ErrNewer)
		wants(t, Backup(t.Context(), Place{URL: address}, filepath.Join(t.TempDir(), "b"), nil), ErrNewer)
	})
	t.Run("a transaction whose connection broke has one outcome", func(t *testing.T) {
		d := openAt(t, s.Database("outcome"))
		defer func() { _ = d.Close() }()
		for _, done := range []bool{true, false} {
			x, err := d.begin(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			if err := (&tx{ctx: t.Context(), t: x.Tx, numbered: true, log: &x.log}).SetMeta("x", "y"); err != nil {
				t.Fatal(err)
			}
			if done {
				err = x.Commit()
			} else {
				err = x.Rollback()
			}
			if err != nil {
				t.Fatal(err)
			}
			s.Exec("outcome", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'warren-coord'")
			if err := d.outcome(x.id, ErrAway); (err == nil) != done {
				t.Errorf("done %v: %v", done, err)
			}
		}
	})
	t.Run("it comes back", func(t *testing.T) {
		d := openAt(t, s.Database("back"))
		defer func() { _ = d.Close() }()
		put := func(v string) error {
			return d.Write(t.Context(), func(tx Tx) error { return tx.SetMeta("v", v) })
		}
		get := func() (v string, err error) {
			return v, d.Read(t.Context(), func(tx Tx) (err error) { v, err = tx.Meta("v"); return err })
		}
		if err := put("1"); err != nil {
			t.Fatal(err)
		}
		s.Down()
		wants(t, put("2"), ErrAway)
		_, err := get()
		wants(t, err, ErrAway)
		s.Up()
		if v, err := get(); err != nil || v != "1" {
			t.Errorf("it is %q, %v", v, err)
		}
		if err := put("3"); err != nil {
			t.Error(err)
		}
	})
}

func TestAURLIsNotRepeated(t *testing.T) {
	for _, address := range []string{
		"postgres://anna:s3cret%zz@localhost/db", "mysql://anna:s3cret@localhost/db", "s3cret",
		"postgres://anna:s3cret@localhost/db?sslmode=odd", "postgres://anna:s3cret@localhost:port/db",
		"postgres://anna:s3cret@127.0.0.1:1/db", "postgres://anna@127.0.0.1:1/db?password=s3cret",
	} {
		_, err := OpenPostgres(t.Context(), address, "")
		if err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
