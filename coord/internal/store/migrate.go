package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

//go:embed migrations/sqlite/*.sql
var migrations embed.FS

// migrate brings the schema up to date. It copies the database first if it holds something.
func migrate(ctx context.Context, db *sql.DB, path string, fresh bool) error {
	files, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(database.DialectSQLite3, db, files)
	if err != nil {
		return err
	}
	if !fresh {
		if err := checkIntegrity(ctx, db); err != nil {
			return err
		}
	}
	have, want, err := p.GetVersions(ctx)
	switch {
	case err != nil:
		return err
	case have > want:
		return fmt.Errorf("%w (it is at version %d, this program knows %d)", ErrNewer, have, want)
	case have == want:
		return nil
	}
	if !fresh {
		if err := backUp(ctx, db, fmt.Sprintf("%s.before-%d", path, want)); err != nil {
			return err
		}
	}
	_, err = p.Up(ctx)
	return err
}

// backUp copies the database, as secret as itself. What is there from an attempt that failed is replaced.
func backUp(ctx context.Context, db *sql.DB, to string) error {
	part := to + ".part"
	_ = os.Remove(part)
	f, err := os.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // SQLite fills an empty file, and keeps its mode
	if err == nil {
		_, err = db.ExecContext(ctx, "VACUUM INTO ?", part)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err == nil {
		err = os.Rename(part, to)
	}
	if err != nil {
		return fmt.Errorf("cannot back up the database to %s before changing it: %w", to, err)
	}
	return nil
}

// checkIntegrity finds a damaged file before the first request does.
func checkIntegrity(ctx context.Context, db *sql.DB) error {
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%w (%s)", ErrDamaged, verdict)
	}
	return nil
}
