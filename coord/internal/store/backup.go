package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// A backup is an SQLite database, whichever database it is of: our tables at the version that they had, and beside
// them the server's files, which are written last. What was cut off therefore shows.

// Place says where a database is.
type Place struct {
	File string // of SQLite; with a URL only the backups before migrations lie there
	URL  string // of PostgreSQL, or empty
}

// Open opens the database, makes its tables where there are none, and brings older ones up to date.
func Open(ctx context.Context, p Place) (*Database, error) {
	if p.URL != "" {
		return OpenPostgres(ctx, p.URL, p.File)
	}
	return OpenSQLite(ctx, p.File)
}

// Backup copies the database, at one moment of it and also while a server uses it, with the files into the new file
// to (mode 0600).
func Backup(ctx context.Context, p Place, to string, files map[string][]byte) (err error) {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(to)
		}
	}()
	if err := f.Close(); err != nil {
		return err
	}
	if p.URL != "" {
		err = backupPostgres(ctx, p.URL, to)
	} else {
		err = backupSQLite(ctx, p.File, to)
	}
	if err == nil {
		err = seal(ctx, to, files)
	}
	return translate(err)
}

func backupSQLite(ctx context.Context, path, to string) error {
	if _, err := os.Stat(path); err != nil {
		return err
	}
	db, err := open(path, 1, false)
	if err != nil {
		return err
	}
	return errors.Join(vacuumInto(ctx, db, to), db.Close())
}

func backupPostgres(ctx context.Context, address, to string) error {
	conf, err := parseAddress(address)
	if err != nil {
		return err
	}
	db := connectPostgres(conf)
	defer func() { _ = db.Close() }()
	p, err := goose.NewProvider(database.DialectPostgres, db, migrations.postgres)
	if err != nil {
		return err
	}
	have, want, err := p.GetVersions(ctx)
	switch {
	case err != nil:
		return err
	case have > want:
		return fmt.Errorf("%w (it is at version %d, this program knows %d)", ErrNewer, have, want)
	case have == 0:
		return fmt.Errorf("the PostgreSQL database: %w", ErrEmpty)
	}
	return dumpPostgres(ctx, db, have, migrations, to)
}

// vacuumInto copies an SQLite database as it is at one moment to a file that is empty or not there.
func vacuumInto(ctx context.Context, db *sql.DB, to string) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o600) // SQLite itself would take the umask's word
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		return err
	}
	return f.Sync()
}

// dumpPostgres copies a PostgreSQL database of that version, as it is at one moment, to a file as vacuumInto does.
func dumpPostgres(ctx context.Context, from *sql.DB, version int64, all migrationSet, to string) (err error) {
	db, err := openFile(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := goose.NewProvider(database.DialectSQLite3, db, all.sqlite)
	if err != nil {
		return err
	}
	if _, err := p.UpTo(ctx, version); err != nil {
		return err
	}
	src, err := from.BeginTx(ctx, (&Database{numbered: true}).reading())
	if err != nil {
		return err
	}
	defer func() { _ = src.Rollback() }()
	dst, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = dst.Rollback() }()
	if err := copyAll(&tx{ctx: ctx, t: src, numbered: true}, &tx{ctx: ctx, t: dst}); err != nil {
		return err
	}
	return dst.Commit()
}

// openFile opens an SQLite file that nobody else uses, and makes it where it is not there. Nothing lies beside it
// once it is closed.
func openFile(path string) (*sql.DB, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	return connectSQLite(path, 1, "journal_mode(DELETE)", "synchronous(FULL)", "foreign_keys(1)", "secure_delete(1)")
}

// seal writes the files into the backup, and looks whether all of it can be read.
func seal(ctx context.Context, path string, files map[string][]byte) (err error) {
	db, err := openFile(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	t, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = t.Rollback() }()
	if _, err := t.ExecContext(ctx, "CREATE TABLE backup_files (name TEXT PRIMARY KEY, content BLOB NOT NULL)"); err != nil {
		return err
	}
	for name, content := range files {
		if _, err := t.ExecContext(ctx, "INSERT INTO backup_files VALUES (?, ?)", name, content); err != nil {
			return err
		}
	}
	sum, err := digest(ctx, t)
	if err != nil {
		return err
	}
	if _, err := t.ExecContext(ctx, "INSERT INTO backup_files VALUES (?, ?)", digestFile, []byte(sum)); err != nil {
		return err
	}
	if err := t.Commit(); err != nil {
		return err
	}
	return checkIntegrity(ctx, db, "integrity_check")
}

// Unpack checks a backup and makes of it the new file work: an SQLite database of the newest version. It returns the
// server's files.
func Unpack(ctx context.Context, from, work string) (files map[string][]byte, err error) {
	if err := copyFile(from, work); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(work)
		}
	}()
	db, err := openFile(work)
	if err != nil {
		return nil, err
	}
	files, err = unpack(ctx, db)
	if err = errors.Join(err, db.Close()); err != nil {
		return nil, err
	}
	d, err := openSQLite(ctx, work, true, migrations) // no backup of the backup
	if errors.Is(err, ErrNewer) {
		return nil, ErrNewerBackup
	}
	if err != nil {
		return nil, err
	}
	// Numbers may have been given since the backup was made: the next ones are well beyond.
	_, err = d.write.ExecContext(ctx, "UPDATE numbers SET born = ''")
	return files, errors.Join(err, d.Close())
}

// unpack takes the files out of the working copy.
func unpack(ctx context.Context, db *sql.DB) (map[string][]byte, error) {
	var sealed int
	err := checkIntegrity(ctx, db, "integrity_check")
	if err == nil {
		err = db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE name = 'backup_files'").Scan(&sealed)
	}
	switch err = translate(err); {
	case errors.Is(err, ErrDamaged), err == nil && sealed == 0:
		return nil, ErrNoBackup
	case err != nil:
		return nil, err
	}
	if err := checkDigest(ctx, db); err != nil {
		return nil, translate(err)
	}
	rows, err := db.QueryContext(ctx, "SELECT name, content FROM backup_files")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	files := map[string][]byte{}
	for rows.Next() {
		var name string
		var content []byte
		if err := rows.Scan(&name, &content); err != nil {
			return nil, err
		}
		if name != digestFile {
			files[name] = content
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	for _, q := range []string{"DROP TABLE backup_files", "VACUUM"} { // a secret must not lie in the free pages
		if _, err := db.ExecContext(ctx, q); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = out.ReadFrom(in)
	if err = errors.Join(err, out.Close()); err != nil {
		_ = os.Remove(to)
	}
	return err
}

// Install puts what Unpack made where the database is to be; nothing may be there yet.
func Install(ctx context.Context, work string, p Place) error {
	if p.URL != "" {
		return installPostgres(ctx, work, p)
	}
	if _, err := os.Lstat(p.File); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", p.File, ErrNotEmpty)
	}
	if err := os.Rename(work, p.File); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(p.File))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func installPostgres(ctx context.Context, work string, p Place) (err error) {
	d, err := OpenPostgres(ctx, p.URL, p.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	db, err := openFile(work)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	src, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = src.Rollback() }()
	dst, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return translate(err)
	}
	defer func() { _ = dst.Rollback() }()
	from, to := &tx{ctx: ctx, t: src}, &tx{ctx: ctx, t: dst, numbered: true}
	id, err := one(to, func(r row) (s string, err error) { return s, r.Scan(&s) }, "SELECT pg_current_xact_id()::text FROM numbers FOR UPDATE")
	if err != nil {
		return err
	}
	tables, err := from.tables()
	if err != nil {
		return err
	}
	for _, table := range tables {
		if n, err := one(to, count, "SELECT count(*) FROM "+quote(table)); err != nil || n > 0 && table != tableNumbers {
			return errors.Join(err, fmt.Errorf("the PostgreSQL database: %w", ErrNotEmpty))
		}
	}
	if err := copyAll(from, to); err != nil {
		return translate(err)
	}
	return translate(d.outcome(id, dst.Commit()))
}

// tableNumbers has its one row from the beginning.
const tableNumbers = "numbers"

// tables are ours, of an SQLite database, in the order in which they were made: what refers to another comes later.
func (t *tx) tables() ([]string, error) {
	name := func(r row) (s string, err error) { return s, r.Scan(&s) }
	return many(t, name, "SELECT name FROM sqlite_master WHERE type = 'table' "+
		"AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name <> 'goose_db_version' ORDER BY rowid")
}

// copyAll copies all rows of our tables between databases of one version, of which one is SQLite's, and with them
// which ids have been used.
func copyAll(from, to *tx) error {
	lite := from
	if from.numbered {
		lite = to
	}
	tables, err := lite.tables()
	if err != nil {
		return err
	}
	for _, table := range tables {
		name := func(r row) (s string, err error) { return s, r.Scan(&s) }
		columns, err := many(lite, name, "SELECT name FROM pragma_table_info(?) ORDER BY cid", table)
		if err != nil {
			return err
		}
		if err := copyTable(from, to, table, columns); err != nil {
			return fmt.Errorf("table %s: %w", table, err)
		}
		if counted, err := one(lite, count, "SELECT count(*) FROM sqlite_master WHERE name = ? AND sql LIKE '%AUTOINCREMENT%'", table); err != nil {
			return err
		} else if counted == 0 {
			continue
		}
		if err := copyCounter(from, to, table); err != nil {
			return fmt.Errorf("ids of table %s: %w", table, err)
		}
	}
	return nil
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func copyTable(from, to *tx, table string, columns []string) (err error) {
	if table == tableNumbers {
		if _, err := to.exec("DELETE FROM " + quote(table)); err != nil {
			return err
		}
	}
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = quote(c)
	}
	list := strings.Join(quoted, ", ")
	rows, err := from.t.QueryContext(from.ctx, "SELECT "+list+" FROM "+quote(table))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	insert, err := to.t.PrepareContext(to.ctx, to.query("INSERT INTO "+quote(table)+" ("+list+") VALUES (?"+strings.Repeat(", ?", len(columns)-1)+")"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, insert.Close()) }()
	values, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if _, err := insert.ExecContext(to.ctx, to.args(values)...); err != nil {
			return err
		}
	}
	return rows.Err()
}

// copyCounter copies the highest id that the table has given, so that none is given twice. Both may have none yet.
func copyCounter(from, to *tx, table string) error {
	number := func(r row) (n int64, err error) { return n, r.Scan(&n) }
	if from.numbered {
		sequence, err := one(from, func(r row) (s string, err error) { return s, r.Scan(&s) }, "SELECT pg_get_serial_sequence(?, 'id')", table)
		if err != nil {
			return err
		}
		last, err := one(from, number, "SELECT last_value FROM "+sequence+" WHERE is_called")
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := to.exec("DELETE FROM sqlite_sequence WHERE name = ?", table); err != nil {
			return err
		}
		_, err = to.exec("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", table, last)
		return err
	}
	last, err := one(from, number, "SELECT seq FROM sqlite_sequence WHERE name = ? AND seq > 0", table)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = to.exec("SELECT setval(pg_get_serial_sequence(?, 'id'), ?)", table, last)
	return err
}
