package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// maxGroup is how many waiting writes share one transaction, and so one flush of the disk.
const maxGroup = 256

// Database is a Store in SQL. The process that opens it is the only writer.
type Database struct {
	// fixed
	read     *sql.DB
	write    *sql.DB       // one connection
	numbered bool          // PostgreSQL: placeholders are $1, $2, …
	patience time.Duration // for one transaction; 0: without end, as the disk is here

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

func newDatabase() *Database {
	return &Database{queue: make(chan *job), stop: make(chan struct{}), done: make(chan struct{})}
}

// Close waits for the writes that are under way.
func (d *Database) Close() error {
	var err error
	d.closed.Do(func() {
		close(d.stop)
		<-d.done
		err = errors.Join(d.read.Close(), d.write.Close())
	})
	return err
}

// Read implements Store.
func (d *Database) Read(ctx context.Context, fn func(Tx) error) error {
	t, err := d.read.BeginTx(ctx, d.reading())
	if err != nil {
		return translate(err)
	}
	defer func() { _ = t.Rollback() }()
	return translate(fn(&tx{ctx, t, d.numbered}))
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
	j := &job{ctx: ctx, fn: fn, reply: make(chan error, 1)}
	select {
	case d.queue <- j:
		return <-j.reply // never given up half-way: the caller must know whether it is on disk
	case <-ctx.Done():
		return ctx.Err()
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
	t, id, err := d.begin(ctx)
	if err == nil {
		for i, j := range group {
			if results[i] = d.within(ctx, t, j); errors.Is(results[i], errBroken) {
				err = results[i]
				break
			}
		}
		if err == nil {
			err = d.outcome(id, t.Commit())
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

func (d *Database) within(ctx context.Context, t *sql.Tx, j *job) error {
	if err := j.ctx.Err(); err != nil {
		return err
	}
	if _, err := t.ExecContext(ctx, "SAVEPOINT job"); err != nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	err := j.fn(&tx{ctx, t, d.numbered})
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
