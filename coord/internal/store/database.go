package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxGroup is how many waiting writes share one transaction, and so one flush of the disk.
const maxGroup = 256

// drainTimeout is how long Close waits for connections that are still at work.
const drainTimeout = 2 * time.Second

// Database is a Store in SQL.
type Database struct {
	// fixed
	read     *sql.DB
	write    *sql.DB // one connection
	reads    *statements
	writes   *statements
	numbered bool          // PostgreSQL: placeholders are $1, $2, …
	patience time.Duration // for one transaction; 0: without end, as the disk is here
	run      string        // of the host, where the database is a file
	path     string        // of that file; empty: it is none
	file     os.FileInfo   // which one that was when it was opened
	now      func() time.Time
	news     chan struct{}  // nil: nobody else writes
	ears     sync.WaitGroup // of who hears them
	deafen   func()

	// owned by writer
	relaxed bool // SQLite's commits do not wait for the platter
	logged  int  // changes since the log was pruned

	committed atomic.Uint64
	queue     chan *job
	stop      chan struct{}
	done      chan struct{}
	closed    sync.Once
}

type job struct {
	ctx   context.Context //nolint:containedctx // it lives as long as the call of Write that waits for it
	fn    func(Tx) error
	soft  bool
	reply chan error
}

func newDatabase() *Database {
	return &Database{run: bootID(), now: time.Now, deafen: func() {}, queue: make(chan *job), stop: make(chan struct{}), done: make(chan struct{})}
}

// SetClock replaces the clock that numbers changes. It is called before the first Write.
func (d *Database) SetClock(now func() time.Time) { d.now = now }

// Committed implements Store.
func (d *Database) Committed() uint64 { return d.committed.Load() }

// News implements Store.
func (d *Database) News() <-chan struct{} { return d.news }

// Close waits for the writes that are under way.
func (d *Database) Close() error {
	var err error
	d.closed.Do(func() {
		close(d.stop)
		<-d.done
		d.deafen()
		d.ears.Wait()
		err = errors.Join(d.read.Close(), d.write.Close())
		d.drained()
	})
	return err
}

// drained waits until the connections are gone: database/sql ends a transaction whose context has ended by itself, and
// closes its connection after Close. The last one to go tidies SQLite's files up.
func (d *Database) drained() {
	for end := time.Now().Add(drainTimeout); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if d.read.Stats().OpenConnections+d.write.Stats().OpenConnections == 0 {
			return
		}
	}
}

// there reports whether the file is still where it was opened. SQLite itself would go on writing into one that nobody
// finds any more.
func (d *Database) there() error {
	if d.file == nil {
		return nil
	}
	now, err := os.Stat(d.path)
	switch {
	case err == nil && !os.SameFile(d.file, now):
		err = errors.New("it is another file")
	case err == nil:
		return nil
	}
	return fmt.Errorf("%w: %w", ErrMoved, err)
}

// Read implements Store.
func (d *Database) Read(ctx context.Context, fn func(Tx) error) error {
	defer d.reads.prepare(ctx)
	t, err := d.read.BeginTx(ctx, d.reading())
	if err != nil {
		return translate(err)
	}
	defer func() { _ = t.Rollback() }()
	return translate(fn(&tx{ctx: ctx, t: t, prepared: d.reads, numbered: d.numbered}))
}

// reading are the options of a transaction that sees one state from its first statement to its last.
func (d *Database) reading() *sql.TxOptions {
	o := &sql.TxOptions{ReadOnly: true}
	if d.numbered {
		o.Isolation = sql.LevelRepeatableRead // SQLite knows nothing less
	}
	return o
}

// Write implements Store.
func (d *Database) Write(ctx context.Context, fn func(Tx) error) error {
	return d.do(&job{ctx: ctx, fn: fn, reply: make(chan error, 1)})
}

// WriteSoft implements Store.
func (d *Database) WriteSoft(ctx context.Context, fn func(Tx) error) error {
	return d.do(&job{ctx: ctx, fn: fn, soft: true, reply: make(chan error, 1)})
}

func (d *Database) do(j *job) error {
	select {
	case d.queue <- j:
		return <-j.reply // never given up half-way: the caller must know whether it is on disk
	case <-j.ctx.Done():
		return j.ctx.Err()
	case <-d.stop:
		return errors.New("the store is closed")
	}
}

// writer takes what waits, and commits it together.
func (d *Database) writer() {
	defer close(d.done)
	for {
		var group []*job
		select {
		case j := <-d.queue:
			group = append(group, j)
		case <-d.stop:
			return
		}
		// The others are waiting at the queue already; none is waited for.
		for more := true; more && len(group) < maxGroup; {
			select {
			case j := <-d.queue:
				group = append(group, j)
			default:
				more = false
			}
		}
		d.commit(group)
		d.writes.prepare(context.Background())
	}
}

// commit runs the jobs in one transaction, each within its own savepoint. Where the transaction fails, all failed.
func (d *Database) commit(group []*job) {
	ctx := context.Background() // a caller that has left must not break the others' transaction
	if d.patience > 0 {
		limited, cancel := context.WithTimeout(ctx, d.patience)
		defer cancel()
		ctx = limited
	}
	results := make([]error, len(group))
	relaxed := !slices.ContainsFunc(group, func(j *job) bool { return !j.soft })
	t, err := d.begin(ctx, relaxed)
	if err == nil {
		for i, j := range group {
			if results[i] = d.within(ctx, t, j); errors.Is(results[i], errBroken) {
				err = results[i]
				break
			}
		}
		if err == nil {
			err = d.finish(ctx, t)
		}
		if err != nil {
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

func (d *Database) within(ctx context.Context, t *transaction, j *job) error {
	if err := j.ctx.Err(); err != nil {
		return err
	}
	if _, err := t.ExecContext(ctx, "SAVEPOINT job"); err != nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	before := t.log
	err := j.fn(&tx{ctx: ctx, t: t.Tx, prepared: d.writes, numbered: d.numbered, log: &t.log})
	if err != nil {
		t.log = before
		if _, e := t.ExecContext(ctx, "ROLLBACK TO job"); e != nil {
			return fmt.Errorf("%w: %w", errBroken, errors.Join(err, e))
		}
	}
	if _, e := t.ExecContext(ctx, "RELEASE job"); e != nil {
		return fmt.Errorf("%w: %w", errBroken, errors.Join(err, e))
	}
	return err
}
