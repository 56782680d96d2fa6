package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"

	_ "modernc.org/sqlite" // registers itself
)

// OpenSQLite opens the database, makes it where there is none, and brings an older one up to date after copying it
// to path.before-N, N being the version that it gets.
func OpenSQLite(ctx context.Context, path string) (*Database, error) {
	fresh := false
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		fresh = true
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600) // SQLite itself would take the umask's word
		if err != nil {
			return nil, fmt.Errorf("cannot make the database: %w", err)
		}
		_ = f.Close()
	}
	return openSQLite(ctx, path, fresh, migrations)
}

// openSQLite copies nothing that is fresh.
func openSQLite(ctx context.Context, path string, fresh bool, all migrationSet) (*Database, error) {
	d := newDatabase()
	var err error
	if d.write, err = open(path, 1, false); err != nil {
		return nil, err
	}
	if err := d.migrateSQLite(ctx, path, fresh, all); err != nil {
		_ = d.write.Close()
		return nil, fmt.Errorf("%s: %w", path, translate(err))
	}
	if d.read, err = open(path, 4, true); err != nil {
		_ = d.write.Close()
		return nil, err
	}
	d.path = path
	if d.file, err = os.Stat(path); err != nil {
		return nil, errors.Join(err, d.read.Close(), d.write.Close())
	}
	d.reads, d.writes = newStatements(d.read), newStatements(d.write)
	go d.writer()
	return d, nil
}

func open(path string, connections int, readOnly bool) (*sql.DB, error) {
	pragmas := []string{"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "journal_size_limit(67108864)"}
	if readOnly {
		pragmas = append(pragmas, "query_only(1)")
	}
	return connectSQLite(path, connections, pragmas...)
}

func connectSQLite(path string, connections int, pragmas ...string) (*sql.DB, error) {
	options := url.Values{"_pragma": pragmas, "_txlock": {"deferred"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+options.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}
