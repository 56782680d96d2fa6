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
)

// takeLock waits (lock_timeout) until no other process writes this schema, and keeps others out as long as the
// connection lasts. A process whose connection broke writes again only if nobody took its place. A lock_timeout in the
// URL is kept.
const takeLock = `SELECT set_config('lock_timeout', '5s', false) WHERE current_setting('lock_timeout') = '0';
	SELECT pg_advisory_lock(hashtextextended('warren-coord in ' || current_schema(), 0));
	RESET lock_timeout`

// lockNotAvailable is the code of a lock that did not come within lock_timeout.
const lockNotAvailable = "55P03"

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
	d.numbered, d.patience = true, writePatience
	d.write = stdlib.OpenDB(*conf, stdlib.OptionAfterConnect(alone))
	d.write.SetMaxOpenConns(1)
	d.write.SetMaxIdleConns(1)
	if err := d.migratePostgres(ctx, backup, all); err != nil {
		return nil, errors.Join(translate(err), d.write.Close())
	}
	d.read = connectPostgres(conf)
	go d.writer()
	return d, nil
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

func alone(ctx context.Context, c *pgx.Conn) error {
	_, err := c.PgConn().Exec(ctx, takeLock).ReadAll()
	if err == nil {
		return nil
	}
	_ = c.Close(ctx) // nobody else would
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == lockNotAvailable {
		return ErrInUse
	}
	return err
}

// begin starts a transaction. On PostgreSQL it has an id, by which its outcome can be asked for.
func (d *Database) begin(ctx context.Context) (t *sql.Tx, id string, err error) {
	if t, err = d.write.BeginTx(ctx, nil); err != nil || !d.numbered {
		return t, "", err
	}
	if err = t.QueryRowContext(ctx, "SELECT pg_current_xact_id()::text").Scan(&id); err != nil {
		_ = t.Rollback()
	}
	return t, id, err
}

// outcome says how a transaction ended, of which Commit returned err. A connection that breaks in a Commit leaves that
// open; then the database is asked. The lock of the new connection shows that the old one is gone.
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
		case again == nil:
			return err
		}
		pause := time.NewTimer(outcomePause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return fmt.Errorf("%w, and it is not known whether the last change was made: %w", ErrAway, err)
		}
	}
}
