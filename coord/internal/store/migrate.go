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

//go:embed migrations
var embedded embed.FS

// migrationSet holds the same numbered steps for each database: a version has the same tables and columns in both.
type migrationSet struct{ sqlite, postgres fs.FS }

var migrations = migrationSet{sqlite: below("migrations/sqlite"), postgres: below("migrations/postgres")}

func below(dir string) fs.FS {
	f, err := fs.Sub(embedded, dir)
	if err != nil {
		panic(err) // of a path that is no path
	}
	return f
}

// migrateSQLite brings the schema up to date. It copies the database first if it holds something.
func (d *Database) migrateSQLite(ctx context.Context, path string, fresh bool, all migrationSet) error {
	p, err := goose.NewProvider(database.DialectSQLite3, d.write, all.sqlite)
	if err != nil {
		return err
	}
	if !fresh {
		if err := checkIntegrity(ctx, d.write, "quick_check"); err != nil {
			return err
		}
	}
	return up(ctx, p, path, func(_ int64, to string) error {
		if fresh {
			return nil
		}
		return vacuumInto(ctx, d.write, to)
	})
}

// migratePostgres does so too.
func (d *Database) migratePostgres(ctx context.Context, backup string, all migrationSet) error {
	p, err := goose.NewProvider(database.DialectPostgres, d.write, all.postgres)
	if err != nil {
		return err
	}
	return up(ctx, p, backup, func(have int64, to string) error {
		if have == 0 {
			return nil
		}
		return dumpPostgres(ctx, d.write, have, all, to)
	})
}

// up makes the steps that are missing. save copies the database of the version have to a file that is not there.
func up(ctx context.Context, p *goose.Provider, path string, save func(have int64, to string) error) error {
	have, want, err := p.GetVersions(ctx)
	switch {
	case err != nil:
		return err
	case have > want:
		return fmt.Errorf("%w (it is at version %d, this program knows %d)", ErrNewer, have, want)
	case have == want:
		return nil
	}
	backup := fmt.Sprintf("%s.before-%d", path, want)
	if err := replace(backup, func(part string) error { return save(have, part) }); err != nil {
		return fmt.Errorf("cannot back up the database to %s before changing it: %w", backup, err)
	}
	_, err = p.Up(ctx)
	return err
}

// replace lets write make a file, which takes the place of path when it is whole. None is no error.
func replace(path string, write func(part string) error) error {
	part := path + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := write(part); err != nil {
		_ = os.Remove(part)
		return err
	}
	if err := os.Rename(part, path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// checkIntegrity finds a damaged file before the first request does. The check is quick_check or integrity_check.
func checkIntegrity(ctx context.Context, db *sql.DB, check string) error {
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA "+check+"(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%w (%s)", ErrDamaged, verdict)
	}
	return nil
}
