package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord/key"
)

// tx implements Tx.
type tx struct {
	ctx context.Context //nolint:containedctx // it lives as long as the transaction
	t   *sql.Tx

	prepared *statements // nil: the driver sees to it
	numbered bool        // placeholders are $1, $2, …
	log      *numbering  // nil: it only reads
}

type row interface{ Scan(dest ...any) error }

func (t *tx) exec(query string, args ...any) (sql.Result, error) {
	if p := t.prepared.find(query); p != nil {
		return t.t.StmtContext(t.ctx, p).ExecContext(t.ctx, t.args(args)...)
	}
	return t.t.ExecContext(t.ctx, t.query(query), t.args(args)...)
}

func (t *tx) rows(query string, args ...any) (*sql.Rows, error) {
	if p := t.prepared.find(query); p != nil {
		return t.t.StmtContext(t.ctx, p).QueryContext(t.ctx, t.args(args)...)
	}
	return t.t.QueryContext(t.ctx, t.query(query), t.args(args)...)
}

func (t *tx) row(query string, args ...any) *sql.Row {
	if p := t.prepared.find(query); p != nil {
		return t.t.StmtContext(t.ctx, p).QueryRowContext(t.ctx, t.args(args)...)
	}
	return t.t.QueryRowContext(t.ctx, t.query(query), t.args(args)...)
}

// query is the query with the database's own placeholders: ours are question marks.
func (t *tx) query(query string) string {
	if !t.numbered {
		return query
	}
	var b strings.Builder
	for n, part := range strings.Split(query, "?") {
		if n > 0 {
			b.WriteString("$" + strconv.Itoa(n))
		}
		b.WriteString(part)
	}
	return b.String()
}

// args are the arguments as either database takes them: truth is a number, and a text that a machine sent has no byte
// that PostgreSQL would refuse, with all that is in the same transaction.
func (t *tx) args(args []any) []any {
	for i, a := range args {
		switch v := a.(type) {
		case bool:
			args[i] = 0
			if v {
				args[i] = 1
			}
		case string:
			if t.numbered {
				args[i] = strings.ReplaceAll(strings.ToValidUTF8(v, "\ufffd"), "\x00", "\ufffd")
			}
		}
	}
	return args
}

// must is exec for what has to change a row.
func (t *tx) must(query string, args ...any) error {
	res, err := t.exec(query, args...)
	if err != nil {
		return translate(err)
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return ErrNotFound
}

func (t *tx) insert(query string, args ...any) (int64, error) {
	return one(t, func(r row) (id int64, err error) { return id, r.Scan(&id) }, query+" RETURNING id", args...)
}

func one[T any](t *tx, scan func(row) (T, error), query string, args ...any) (T, error) {
	v, err := scan(t.row(query, args...))
	return v, translate(err)
}

func many[T any](t *tx, scan func(row) (T, error), query string, args ...any) (all []T, err error) {
	rows, err := t.rows(query, args...)
	if err != nil {
		return nil, translate(err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, translate(rows.Err())
}

// ms stores a time; 0 is none.
func ms(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// when reads what ms stored.
func when(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// text encodes what is stored as JSON: our own types, which hold nothing that cannot be encoded.
func text(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// userID stores nobody as NULL.
func userID(id int64) sql.NullInt64 { return sql.NullInt64{Int64: id, Valid: id != 0} }

func machine(b []byte) (m key.MachinePublic) {
	copy(m[:], b)
	return m
}

func (t *tx) Meta(name string) (string, error) {
	return one(t, func(r row) (v string, err error) { return v, r.Scan(&v) }, "SELECT value FROM meta WHERE name = ?", name)
}

func (t *tx) SetMeta(name, value string) error {
	if kind, ok := metaKinds[name]; ok {
		if _, err := t.note(kind, 0, false); err != nil {
			return err
		}
	}
	return t.must("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)
}

const userColumns = "id, login, password, role, created"

func scanUser(r row) (u User, err error) {
	var created int64
	err = r.Scan(&u.ID, &u.Login, &u.Password, &u.Role, &created)
	u.Created = when(created)
	return u, err
}

func (t *tx) Users() ([]User, error) {
	return many(t, scanUser, "SELECT "+userColumns+" FROM users ORDER BY login")
}

func (t *tx) UserByLogin(login string) (User, error) {
	return one(t, scanUser, "SELECT "+userColumns+" FROM users WHERE login = ?", login)
}

func (t *tx) User(id int64) (User, error) {
	return one(t, scanUser, "SELECT "+userColumns+" FROM users WHERE id = ?", id)
}

func (t *tx) AddUser(u User) (int64, error) {
	return t.insert("INSERT INTO users (login, password, role, created) VALUES (?, ?, ?, ?)",
		u.Login, u.Password, string(u.Role), ms(u.Created))
}

func (t *tx) SetPassword(user int64, password string) error {
	if err := t.must("UPDATE users SET password = ? WHERE id = ?", password, user); err != nil {
		return err
	}
	_, err := t.exec("DELETE FROM web_sessions WHERE user_id = ?", user)
	return err
}

func (t *tx) RemoveUser(user int64) error { return t.must("DELETE FROM users WHERE id = ?", user) }

func (t *tx) AddWebSession(s WebSession) error {
	return t.must("INSERT INTO web_sessions ("+webSessionColumns+") VALUES (?, ?, ?, ?, ?, ?)",
		s.Hash[:], s.User, ms(s.Created), ms(s.Seen), s.Agent, s.Address)
}

func (t *tx) WebSession(hash [32]byte) (WebSession, error) {
	return one(t, scanWebSession, "SELECT "+webSessionColumns+" FROM web_sessions WHERE hash = ?", hash[:])
}

func (t *tx) TouchWebSession(hash [32]byte, now time.Time) error {
	return t.must("UPDATE web_sessions SET seen = ? WHERE hash = ?", ms(now), hash[:])
}

func (t *tx) RemoveWebSession(hash [32]byte) error {
	_, err := t.exec("DELETE FROM web_sessions WHERE hash = ?", hash[:])
	return translate(err)
}

func (t *tx) PurgeWebSessions(createdBefore, seenBefore time.Time) error {
	_, err := t.exec("DELETE FROM web_sessions WHERE created < ? OR seen < ?", ms(createdBefore), ms(seenBefore))
	return translate(err)
}
