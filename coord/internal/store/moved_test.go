package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What SQLite writes into a file that nobody finds any more is lost with the process.
func TestAFileThatWasMovedTakesNoWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	s, err := OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	write := func(v string) error {
		return s.Write(t.Context(), func(tx Tx) error { return tx.SetMeta("x", v) })
	}
	if err := errors.Join(write("1"), os.Rename(path, path+".away")); err != nil {
		t.Fatal(err)
	}
	if err := write("2"); !errors.Is(err, ErrMoved) || errors.Is(err, ErrAway) {
		t.Errorf("removed: %v", err)
	}
	if err := os.WriteFile(path, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := write("2"); !errors.Is(err, ErrMoved) {
		t.Errorf("replaced: %v", err)
	}
	if err := errors.Join(os.Rename(path+".away", path), write("3")); err != nil {
		t.Errorf("put back: %v", err)
	}
	var got string
	err = s.Read(t.Context(), func(tx Tx) (err error) { got, err = tx.Meta("x"); return err })
	if err != nil || got != "3" {
		t.Errorf("it holds %q (%v)", got, err)
	}
}

// An error of a file has a number of the system's in it, as those of connections have.
func TestErrorsOfFilesAreNotTheDatabases(t *testing.T) {
	for number, want := range map[syscall.Errno]error{syscall.ENOENT: nil, syscall.EACCES: nil, syscall.ENOSPC: ErrFull, syscall.EROFS: ErrFull} {
		err := translate(fmt.Errorf("backing up: %w", &fs.PathError{Op: "open", Path: "x", Err: number}))
		if errors.Is(err, ErrAway) || errors.Is(err, ErrFull) != (want == ErrFull) {
			t.Errorf("%v: %v", number, err)
		}
	}
}
