package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// digestFile is what a backup holds beside the server's files: the digest of all else in it. SQLite's own check finds
// damage to its trees and not to what is in them, and a disk or a copy that fails changes that as easily.
const digestFile = "sha256"

// digest is SHA-256, in hexadecimal, of every row of every table, as one transaction sees them.
func digest(ctx context.Context, t *sql.Tx) (string, error) {
	tables, err := texts(ctx, t, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	shape, err := texts(ctx, t, "SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_master ORDER BY type, name")
	if err != nil {
		return "", err
	}
	_, _ = fmt.Fprintf(sum, "%q\n", shape)
	for _, table := range tables {
		columns, err := texts(ctx, t, "SELECT name FROM pragma_table_info(?) ORDER BY cid", table)
		if err != nil {
			return "", err
		}
		parts := make([]string, len(columns))
		for i, c := range columns {
			parts[i] = "typeof(" + quote(c) + ") || ' ' || hex(" + quote(c) + ")"
		}
		where := ""
		if table == "backup_files" {
			where = " WHERE name <> '" + digestFile + "'"
		}
		rows, err := t.QueryContext(ctx, "SELECT "+strings.Join(parts, " || ' ' || ")+" FROM "+quote(table)+where)
		if err != nil {
			return "", err
		}
		_, _ = fmt.Fprintf(sum, "%q %q\n", table, columns)
		for rows.Next() {
			var row sql.RawBytes
			if err := rows.Scan(&row); err != nil {
				return "", errors.Join(err, rows.Close())
			}
			_, _ = sum.Write(append(row, '\n'))
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func texts(ctx context.Context, t *sql.Tx, query string, args ...any) (all []string, err error) {
	rows, err := t.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}

// checkDigest refuses a backup in which something is not as it was written. One of an older version has no digest.
func checkDigest(ctx context.Context, db *sql.DB) error {
	t, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = t.Rollback() }()
	var want []byte
	err = t.QueryRowContext(ctx, "SELECT content FROM backup_files WHERE name = ?", digestFile).Scan(&want)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	got, err := digest(ctx, t)
	if err == nil && got != string(want) {
		return ErrNoBackup
	}
	return err
}
