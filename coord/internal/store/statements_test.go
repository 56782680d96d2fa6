package store

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
)

func TestStatementsStayPrepared(t *testing.T) {
	db, err := connectSQLite(filepath.Join(t.TempDir(), "x.db"), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	s := newStatements(db)
	ask := func(query string) error {
		defer s.prepare(t.Context())
		x, err := db.BeginTx(t.Context(), nil) // has the only connection until it is rolled back
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = x.Rollback() }()
		_, err = (&tx{ctx: t.Context(), t: x, prepared: s}).exec(query)
		return err
	}
	if err := ask("SELECT 1"); err != nil || s.find("SELECT 1") == nil {
		t.Errorf("it is not prepared after its first use (%v)", err)
	}
	if err := ask("SELECT 1"); err != nil {
		t.Errorf("prepared: %v", err)
	}
	if err := ask("SELECT nonsense"); err == nil || s.find("SELECT nonsense") != nil {
		t.Errorf("what cannot be parsed: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.find("SELECT 2")
	s.prepare(ended)
	if _ = ask("SELECT 2"); s.find("SELECT 2") == nil {
		t.Error("what was given up once is never prepared")
	}
	for i := range 2 * maxStatements {
		if err := ask(fmt.Sprint("SELECT 1, ", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.ready) > maxStatements || len(s.asked) > maxStatements {
		t.Errorf("%d are kept, %d asked for", len(s.ready), len(s.asked))
	}
}

// The tests of both databases run each statement only once or twice, with and without it being prepared; here what is
// written through prepared statements is read through prepared ones.
func TestPreparedStatementsWriteAndRead(t *testing.T) {
	s, err := OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for i := range 20 {
		do(t, s, func(tx Tx) error { return tx.SetMeta("x", fmt.Sprint(i)) })
		var got string
		err := s.Read(t.Context(), func(tx Tx) (err error) { got, err = tx.Meta("x"); return err })
		if err != nil || got != fmt.Sprint(i) {
			t.Fatalf("%d is read as %q (%v)", i, got, err)
		}
	}
}
