package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// maxGroup is how many waiting writes share one transaction, and so one flush of the disk.
const maxGroup = 256

// SQLite is a Store in one file. The process that opens it is the only writer.
type SQLite struct {
	read  *sql.DB
	write *sql.DB // one connection

	queue  chan *job
	stop   chan struct{}
	done   chan struct{}
	closed sync.Once
}

type job struct {
	ctx   context.Context //nolint:containedctx // it lives as long as the call of Write that waits for it
	fn    func(Tx) error
	reply chan error
}

// OpenSQLite opens the database, makes it where there is none, and brings an older one up to date after copying it
// to path.before-N, N being the version that it then has.
func OpenSQLite(ctx context.Context, path string) (*SQLite, error) {
	fresh := false
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		fresh = true
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600) // SQLite itself would take the umask's word
		if err != nil {
			return nil, fmt.Errorf("cannot make the database: %w", err)
		}
		_ = f.Close()
	}
	s := &SQLite{queue: make(chan *job), stop: make(chan struct{}), done: make(chan struct{})}
	var err error
	if s.write, err = open(path, 1, false); err != nil {
		return nil, err
	}
	if err := migrate(ctx, s.write, path, fresh); err != nil {
		_ = s.write.Close()
		return nil, fmt.Errorf("%s: %w", path, translate(err))
	}
	if s.read, err = open(path, 4, true); err != nil {
		_ = s.write.Close()
		return nil, err
	}
	go s.writer()
	return s, nil
}

func open(path string, connections int, readOnly bool) (*sql.DB, error) {
	pragmas := url.Values{"_pragma": {
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "journal_size_limit(67108864)",
	}, "_txlock": {"deferred"}}
	if readOnly {
		pragmas.Add("_pragma", "query_only(1)")
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+pragmas.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// Close waits for the writes that are under way.
func (s *SQLite) Close() error {
	var err error
	s.closed.Do(func() {
		close(s.stop)
		<-s.done
		err = errors.Join(s.read.Close(), s.write.Close())
	})
	return err
}

// Read implements Store.
func (s *SQLite) Read(ctx context.Context, fn func(Tx) error) error {
	t, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return translate(err)
	}
	defer func() { _ = t.Rollback() }()
	return translate(fn(&tx{ctx, t}))
}

// Write implements Store.
func (s *SQLite) Write(ctx context.Context, fn func(Tx) error) error {
	j := &job{ctx: ctx, fn: fn, reply: make(chan error, 1)}
	select {
	case s.queue <- j:
		return <-j.reply // never given up half-way: the caller must know whether it is on disk
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stop:
		return errors.New("the store is closed")
	}
}

// writer takes what waits, and commits it together.
func (s *SQLite) writer() {
	defer close(s.done)
	for {
		var group []*job
		select {
		case j := <-s.queue:
			group = append(group, j)
		case <-s.stop:
			return
		}
		// The others are waiting at the queue already; none is waited for.
		for more := true; more && len(group) < maxGroup; {
			select {
			case j := <-s.queue:
				group = append(group, j)
			default:
				more = false
			}
		}
		s.commit(group)
	}
}

// commit runs the jobs in one transaction, each within its own savepoint. Where the transaction fails, all failed.
func (s *SQLite) commit(group []*job) {
	ctx := context.Background() // a caller that has left must not break the others' transaction
	results := make([]error, len(group))
	t, err := s.write.BeginTx(ctx, nil)
	if err == nil {
		for i, j := range group {
			if results[i] = within(ctx, t, j); errors.Is(results[i], errBroken) {
				err = results[i]
				break
			}
		}
		if err == nil {
			err = t.Commit()
		} else {
			_ = t.Rollback()
		}
	}
	for i, j := range group {
		if err != nil {
			j.reply <- translate(err)
		} else {
			j.reply <- translate(results[i])
		}
	}
}

// errBroken: the whole transaction is lost, not only one job's part.
var errBroken = errors.New("transaction broken")

func within(ctx context.Context, t *sql.Tx, j *job) error {
	if err := j.ctx.Err(); err != nil {
		return err
	}
	if _, err := t.ExecContext(ctx, "SAVEPOINT job"); err != nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	err := j.fn(&tx{ctx, t})
	if err != nil {
		if _, e := t.ExecContext(ctx, "ROLLBACK TO job"); e != nil {
			return fmt.Errorf("%w: %w", errBroken, errors.Join(err, e))
		}
	}
	if _, e := t.ExecContext(ctx, "RELEASE job"); e != nil {
		return fmt.Errorf("%w: %w", errBroken, errors.Join(err, e))
	}
	return err
}

// translate gives SQLite's errors the names that callers know.
func translate(err error) error {
	var e *sqlite.Error
	if err == nil || !errors.As(err, &e) {
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNotFound
		}
		return err
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN:
		return fmt.Errorf("%w: %w", ErrFull, err)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case sqlite3.SQLITE_CONSTRAINT:
		if c := e.Code(); c == sqlite3.SQLITE_CONSTRAINT_UNIQUE || c == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
			return fmt.Errorf("%w: %w", ErrTaken, err)
		}
	}
	return err
}
