package server

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/warren-mesh/warren/coord/internal/store"
)

// stopped is a stopped server's directory with a user in it, and its files' hashes.
func stopped(t *testing.T) (dir string, sums func() map[string][sha256.Size]byte) {
	t.Helper()
	r := serve(t)
	r.user("anna", "correct horse")
	r.stop()
	// Connections of SQLite's that close at the same time may leave the log beside the database; the last one takes it in.
	for range 100 {
		if _, err := os.Stat(filepath.Join(r.dir, fileDatabase+"-wal")); errors.Is(err, fs.ErrNotExist) {
			break
		}
		db, err := store.Open(t.Context(), place(r.dir, ""))
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return r.dir, func() map[string][sha256.Size]byte {
		all := map[string][sha256.Size]byte{}
		entries, err := os.ReadDir(r.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if text, err := os.ReadFile(filepath.Join(r.dir, e.Name())); err == nil {
				all[e.Name()] = sha256.Sum256(text)
			}
		}
		return all
	}
}

func same(t *testing.T, before, after map[string][sha256.Size]byte) {
	t.Helper()
	for name, sum := range after {
		if before[name] != sum {
			t.Errorf("%s has changed", name)
		}
	}
	if len(before) != len(after) {
		t.Errorf("there were %d files, now %d", len(before), len(after))
	}
}

func TestAnIdentityThatIsGoneIsNotReplaced(t *testing.T) {
	dir, sums := stopped(t)
	if err := os.Remove(filepath.Join(dir, fileIdentity)); err != nil {
		t.Fatal(err)
	}
	before := sums()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://127.0.0.1:1"}); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("Init = %v", err)
	}
	same(t, before, sums())
}

func TestADatabaseThatIsGoneIsNotReplaced(t *testing.T) {
	dir, sums := stopped(t)
	for _, spoil := range []func(string) error{func(path string) error { return os.Truncate(path, 0) }, os.Remove} {
		if err := spoil(filepath.Join(dir, fileDatabase)); err != nil {
			t.Fatal(err)
		}
		before := sums()
		if _, err := Open(t.Context(), dir, Options{}); !errors.Is(err, ErrNoDatabase) {
			t.Errorf("Open = %v", err)
		}
		same(t, before, sums())
	}
}

func TestACertificateThatIsGoneIsMadeAnew(t *testing.T) {
	dir, _ := stopped(t)
	if err := os.Remove(filepath.Join(dir, fileKey)); err != nil {
		t.Fatal(err)
	}
	r := serveDir(t, dir, "127.0.0.1:0", Options{})
	if _, err := r.device().Connect(t.Context()); err != nil {
		t.Error(err)
	}
}
