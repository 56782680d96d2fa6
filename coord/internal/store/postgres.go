package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// How long PostgreSQL may take.
const (
	connectTimeout = 5 * time.Second
	writePatience  = 30 * time.Second // for one transaction
	outcomeWait    = 10 * time.Second // to learn how a transaction ended whose connection broke
	outcomePause   = 100 * time.Millisecond
	pollInterval   = 5 * time.Second // between looks, if no notification comes
)

// migrating waits (lock_timeout) until no other process changes the tables of this schema, and keeps others out as long
// as the connection lasts. A lock_timeout in the URL is kept.
const migrating = `SELECT set_config('lock_timeout', '30s', false) WHERE current_setting('lock_timeout') = '0';
	SELECT pg_advisory_lock(hashtextextended('warren-coord in ' || current_schema(), 0))`

// channel is where the processes that use this schema tell each other of changes.
const channel = "'warren_' || md5(current_schema())"

// OpenPostgres opens the database at the URL, in the first schema of its search_path, and brings an older one up to
// date after copying it to the file backup.before-N, N being the version that it gets.
func OpenPostgres(ctx context.Context, address, backup string) (*Database, error) {
	return openPostgres(ctx, address, backup, migrations)
}

func openPostgres(ctx context.Context, address, backup string, all migrationSet) (*Database, error) {
	conf, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	d := newDatabase()
	d.numbered, d.patience, d.news = true, writePatience, make(chan struct{}, 1)
	first := stdlib.OpenDB(*conf) // for the migrations: what it locks it gives free with its connection
	first.SetMaxOpenConns(1)
	d.write = first
	err = lockSchema(ctx, first)
	if err == nil {
		err = d.migratePostgres(ctx, backup, all)
	}
	if err = errors.Join(translate(err), first.Close()); err != nil {
		return nil, err
	}
	d.write = stdlib.OpenDB(*conf)
	d.write.SetMaxOpenConns(1)
	d.write.SetMaxIdleConns(1)
	d.read = connectPostgres(conf)
	listening, stop := context.WithCancel(context.Background())
	d.deafen = stop
	d.ears.Go(func() { d.listen(listening, conf) })
	go d.writer()
	return d, nil
}

func lockSchema(ctx context.Context, db *sql.DB) error {
	c, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	err = c.Raw(func(driver any) error {
		_, err := driver.(*stdlib.Conn).Conn().PgConn().Exec(ctx, migrating).ReadAll()
		return err
	})
	return errors.Join(err, c.Close())
}

// listen signals news whenever another process may have changed something, until ctx ends. What is said while there is
// no connection nobody hears, and so it also looks now and then.
func (d *Database) listen(ctx context.Context, conf *pgx.ConnConfig) {
	var c *pgx.Conn
	for ctx.Err() == nil {
		if c == nil {
			c = d.tuneIn(ctx, conf)
		}
		select {
		case d.news <- struct{}{}:
		default:
		}
		wait, cancel := context.WithTimeout(ctx, pollInterval)
		if c == nil {
			<-wait.Done()
		} else if !hears(ctx, wait, c) {
			_ = c.Close(ctx)
			c = nil
		}
		cancel()
	}
	if c != nil {
		_ = c.Close(context.WithoutCancel(ctx))
	}
}

// hears waits for a notification, and reports whether the connection still serves.
func hears(ctx, wait context.Context, c *pgx.Conn) bool {
	_, err := c.WaitForNotification(wait)
	if err == nil {
		return true
	}
	limited, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return !c.IsClosed() && pgconn.Timeout(err) && c.Ping(limited) == nil // a host that vanished says no goodbye
}

// tuneIn makes the connection that hears; nil if it cannot be made now.
func (d *Database) tuneIn(ctx context.Context, conf *pgx.ConnConfig) *pgx.Conn {
	limited, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	c, err := pgx.ConnectConfig(limited, conf.Copy())
	if err != nil {
		return nil
	}
	var name string
	if err = c.QueryRow(limited, "SELECT "+channel).Scan(&name); err == nil {
		_, err = c.Exec(limited, "LISTEN "+pgx.Identifier{name}.Sanitize())
	}
	if err != nil {
		_ = c.Close(ctx)
		return nil
	}
	return c
}

// connectPostgres makes connections for reading.
func connectPostgres(conf *pgx.ConnConfig) *sql.DB {
	db := stdlib.OpenDB(*conf)
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(4)
	return db
}

// parseAddress never repeats the URL in an error: it may hold a password.
func parseAddress(address string) (*pgx.ConnConfig, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return nil, errors.New("the database's address is no URL such as postgres://user@host/database (is a character of the password to be written as %XX?)")
	}
	conf, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, fmt.Errorf("the database's URL: %w", errors.Unwrap(err)) // without pgx's own repetition of it
	}
	if conf.ConnectTimeout == 0 {
		conf.ConnectTimeout = connectTimeout
	}
	if conf.RuntimeParams["application_name"] == "" {
		conf.RuntimeParams["application_name"] = "warren-coord"
	}
	return conf, nil
}

// outcome says how a transaction ended, of which Commit returned err. A connection that breaks in a Commit leaves that
// open; then the database is asked, until it has seen that the connection is gone.
func (d *Database) outcome(id string, err error) error {
	var said *pgconn.PgError
	if err == nil || id == "" || errors.As(err, &said) && postgresName(said.Code) != ErrAway {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), outcomeWait)
	defer cancel()
	for {
		var status sql.NullString
		again := d.write.QueryRowContext(ctx, "SELECT pg_xact_status($1::text::xid8)", id).Scan(&status)
		switch {
		case again == nil && status.String == "committed":
			return nil
		case again == nil && status.String != "in progress":
			return err
		}
		pause := time.NewTimer(outcomePause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return fmt.Errorf("%w, and it is not known whether that was made: %w", ErrUnsure, err)
		}
	}
}
