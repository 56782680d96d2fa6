package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/warren-mesh/warren/coord/internal/store"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay/certificate"
)

// Names beside the database while it moves.
const (
	fileWork  = "warren.db.restoring"
	fileMoved = "warren.db.moved"
)

// locksOf is where, among what a public authority gave, a running server says what it is at.
const locksOf = "locks"

// Backup writes the whole server (database, identity, certificates and the account at the authority that gives them, the
// embedded relay's key) into a new file for its owner alone. The server may run meanwhile, or not.
func Backup(ctx context.Context, dir, database, file string) error {
	if _, err := readIdentity(dir); err != nil {
		return err
	}
	if err := present(place(dir, database)); err != nil {
		return err
	}
	files := map[string][]byte{}
	for _, name := range []string{fileIdentity, fileCert, fileKey, FileRelay} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) && name != fileIdentity {
			continue // no relay was ever embedded; a certificate is made anew
		}
		if err != nil {
			return fmt.Errorf("cannot back up: %w", err)
		}
		files[name] = b
	}
	if err := fromAuthority(dir, files); err != nil {
		return fmt.Errorf("cannot back up: %w", err)
	}
	if err := store.Backup(ctx, place(dir, database), file, files); err != nil {
		return fmt.Errorf("cannot back up: %w", err)
	}
	return nil
}

// fromAuthority takes what a public authority gave: authorities give but a few certificates for one name in a week.
func fromAuthority(dir string, files map[string][]byte) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return fs.WalkDir(root.FS(), certificate.Dir, func(name string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // there is none, or another one came just now
			return nil
		case err != nil:
			return err
		case e.IsDir() && e.Name() == locksOf:
			return fs.SkipDir
		case !e.Type().IsRegular():
			return nil
		}
		b, err := root.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		files[name] = b
		return err
	})
}

// toAuthority gives back what fromAuthority took. A name that leads elsewhere is refused.
func toAuthority(dir string, files map[string][]byte) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	for name, b := range files {
		if !strings.HasPrefix(name, certificate.Dir+"/") {
			continue
		}
		if err := errors.Join(root.MkdirAll(path.Dir(name), 0o700), root.WriteFile(name, b, 0o600)); err != nil {
			return err
		}
	}
	return nil
}

// Restore sets a server up from a backup, in a directory without one and in an empty database. What it refuses it
// leaves as it was.
func Restore(ctx context.Context, dir, database, file string) error {
	return restore(ctx, dir, file, []string{fileCert, fileKey, FileRelay}, func(work string, _ key.ServerPublic) error {
		return store.Install(ctx, work, place(dir, database))
	})
}

// RestoreReplica sets up another server of the same network, on another host, from a backup of the first: all but the
// database, which has to be the network's already and stays as it is, and the key of an embedded relay.
func RestoreReplica(ctx context.Context, dir, database, file string) error {
	if database == "" {
		return ErrNoReplica
	}
	return restore(ctx, dir, file, []string{fileCert, fileKey}, func(_ string, identity key.ServerPublic) error {
		db, err := store.Open(ctx, place(dir, database))
		if err != nil {
			return err
		}
		err = db.Read(ctx, func(tx store.Tx) error {
			if _, err := tx.Meta(metaNetwork); err != nil {
				return fmt.Errorf("%w (%w)", ErrNoReplica, err)
			}
			return ours(tx, identity)
		})
		return errors.Join(err, db.Close())
	})
}

// restore sets up what a backup holds: install takes the database, of which work is a copy, and then come the files.
func restore(ctx context.Context, dir, file string, names []string, install func(work string, identity key.ServerPublic) error) error {
	if _, err := os.Stat(file); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the state directory: %w", err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	for _, name := range []string{fileIdentity, fileDatabase} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", dir, ErrOccupied)
		}
	}
	work := filepath.Join(dir, fileWork)
	defer func() { _ = os.Remove(work) }()
	_ = os.Remove(work) // of a restore that was cut off
	files, err := store.Unpack(ctx, file, work)
	var identity key.ServerPublic
	if err == nil {
		identity, err = whole(ctx, work, files)
	}
	if err == nil {
		err = install(work, identity)
	}
	if err != nil {
		return fmt.Errorf("cannot restore %s: %w", file, err)
	}
	if err := toAuthority(dir, files); err != nil {
		return fmt.Errorf("cannot restore %s: %w", file, err)
	}
	// The identity comes last: with it the server is set up.
	for _, name := range append(names, fileIdentity) {
		if b, ok := files[name]; ok {
			if err := writeFile(dir, name, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// whole looks whether a server can run on what a backup holds, and gives the identity that it has then.
func whole(ctx context.Context, work string, files map[string][]byte) (key.ServerPublic, error) {
	identity, err := key.ParseServer(strings.TrimSpace(string(files[fileIdentity])))
	if err != nil {
		return key.ServerPublic{}, fmt.Errorf("the server's identity in it is damaged: %w", err)
	}
	if _, err := tls.X509KeyPair(files[fileCert], files[fileKey]); err != nil && files[fileCert] != nil && files[fileKey] != nil {
		return key.ServerPublic{}, fmt.Errorf("the certificate in it is damaged: %w", err)
	}
	db, err := store.OpenSQLite(ctx, work)
	if err != nil {
		return key.ServerPublic{}, err
	}
	err = db.Read(ctx, func(tx store.Tx) error {
		if _, err := tx.Meta(metaNetwork); err != nil {
			return fmt.Errorf("no network is in it: %w", err)
		}
		return ours(tx, identity.Public())
	})
	return identity.Public(), errors.Join(err, db.Close())
}

// MoveToPostgres copies a stopped server's SQLite database into an empty PostgreSQL database. The old file stays under
// another name, which it returns, so that no server goes on with it by mistake.
func MoveToPostgres(ctx context.Context, dir, database string) (old string, err error) {
	unlock, err := lock(dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	from := filepath.Join(dir, fileDatabase)
	if err := present(place(dir, "")); err != nil {
		return "", err
	}
	work := filepath.Join(dir, fileWork)
	defer func() { _ = os.Remove(work) }()
	_ = os.Remove(work) // of a move that was cut off
	db, err := store.OpenSQLite(ctx, from)
	if err != nil {
		return "", err
	}
	if err := db.Close(); err != nil { // which also writes the log into the file
		return "", err
	}
	part := work + ".part"
	defer func() { _ = os.Remove(part) }()
	_ = os.Remove(part)
	err = store.Backup(ctx, place(dir, ""), part, nil)
	if err == nil {
		_, err = store.Unpack(ctx, part, work)
	}
	if err == nil {
		err = store.Install(ctx, work, place(dir, database))
	}
	if err != nil {
		return "", fmt.Errorf("cannot move the database: %w", err)
	}
	old = filepath.Join(dir, fileMoved)
	return old, os.Rename(from, old)
}
