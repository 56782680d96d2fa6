package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
)

// Replace gives the file the content, whole or not at all, and returns when it is on disk. The file is 0600.
func Replace(path string, content []byte) error { return replace(path, content, nil) }

// replace is Replace with a look between its steps: an error of step stands for the step's own.
func replace(path string, content []byte, step func(string) error) (err error) {
	if step == nil {
		step = func(string) error { return nil }
	}
	dir := filepath.Dir(path)
	defer func() {
		if err != nil {
			err = explain(path, err)
		}
	}()
	if err := step("create"); err != nil {
		return err
	}
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }() // does nothing after the rename
	if err := step("write"); err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := step("rename"); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil { // syncs the file first
		return err
	}
	if err := step("sync"); err != nil {
		return err
	}
	return SyncDir(dir)
}

// SyncDir puts the directory's entries on disk: without it a renamed or new file may be gone after a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// explain makes one sentence with what to do of the errors that people meet.
func explain(path string, err error) error {
	dir := filepath.Dir(path)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("cannot write %s: the disk is full; make room on the file system of %s (nothing that was there is lost): %w", path, dir, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("cannot write %s: its file system is mounted read-only: %w", path, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission for %s: run as root, or give %s to the user that the daemon runs as: %w", path, dir, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is gone: something removed it while the daemon ran; restart the daemon: %w", dir, err)
	}
	return fmt.Errorf("cannot write %s: %w", path, err)
}
