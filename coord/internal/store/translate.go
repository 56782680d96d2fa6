package store

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// translate gives the databases' errors the names that callers know.
func translate(err error) error {
	var lite *sqlite.Error
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	var network net.Error
	var file *fs.PathError // it holds a number of the system's, which looks like an error of the network
	switch {
	case err == nil, errors.Is(err, ErrUnsure):
		return err
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case errors.As(err, &lite):
		return named(sqliteName(lite.Code()), err)
	case errors.As(err, &connect):
		// Its text has a line for each address that was tried, and no password.
		return fmt.Errorf("%w: %s", ErrAway, strings.Join(strings.Fields(err.Error()), " "))
	case errors.As(err, &pg):
		return named(postgresName(pg.Code), err)
	case errors.As(err, &file):
		for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO} {
			if errors.Is(err, full) {
				return named(ErrFull, err)
			}
		}
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network):
		return named(ErrAway, err)
	}
	return err
}

// named adds the name, if there is one.
func named(name, err error) error {
	if name == nil || errors.Is(err, name) {
		return err
	}
	return fmt.Errorf("%w: %w", name, err)
}

func sqliteName(code int) error {
	switch code & 0xff {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN:
		return ErrFull
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return ErrDamaged
	case sqlite3.SQLITE_CONSTRAINT:
		if code == sqlite3.SQLITE_CONSTRAINT_UNIQUE || code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
			return ErrTaken
		}
	}
	return nil
}

// postgresName goes by PostgreSQL's error codes (its documentation, appendix A).
func postgresName(code string) error {
	switch code {
	case "23505": // unique_violation
		return ErrTaken
	case "53100", "58030", "25006": // disk_full, io_error, read_only_sql_transaction (of a standby)
		return ErrFull
	case "XX001", "XX002": // data_corrupted, index_corrupted
		return ErrDamaged
	case "53300", "57P01", "57P02", "57P03", "25P03", "55P03": // too_many_connections, *_shutdown, cannot_connect_now, *_timeout, lock_not_available
		return ErrAway
	}
	if strings.HasPrefix(code, "08") { // connection exceptions
		return ErrAway
	}
	return nil
}
