package store

import (
	"strings"
	"time"
)

// Audit is one line of the log of who did what when.
type Audit struct {
	ID      int64 // higher is later
	Time    time.Time
	User    int64  // the account; 0: nobody's
	Login   string // what it was called then
	Via     string
	Address string
	Action  string
	Subject string
	Details string // a JSON object
}

// AuditQuery says which lines are wanted. What is empty leaves none out.
type AuditQuery struct {
	Login   string
	Via     string
	Action  string // with those below it: "machine" is also "machine.rename"
	Subject string // a part of it, in any case
	Since   time.Time
	Until   time.Time // and not then
	Before  int64     // older than that line
	After   int64     // newer than that line
	Forward bool      // the oldest first
	Limit   int
}

// Audits is the part of Tx that is about the log of who did what. Lines are added and, when they are old, removed;
// none is ever changed.
type Audits interface {
	AddAudit(a Audit) (int64, error)
	AuditLines(q AuditQuery) ([]Audit, error) // the newest first
	// PurgeAudit removes what is older, and the oldest beyond so many; of the action (if it is not empty) only.
	PurgeAudit(action string, before time.Time, keep int) error
}

const auditColumns = "id, time, user_id, login, via, address, action, subject, details"

func scanAudit(r row) (a Audit, err error) {
	var at int64
	err = r.Scan(&a.ID, &at, &a.User, &a.Login, &a.Via, &a.Address, &a.Action, &a.Subject, &a.Details)
	a.Time = when(at)
	return a, err
}

func (t *tx) AddAudit(a Audit) (int64, error) {
	return t.insert("INSERT INTO audit (time, user_id, login, via, address, action, subject, details) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		ms(a.Time), a.User, a.Login, a.Via, a.Address, a.Action, a.Subject, a.Details)
}

func (t *tx) AuditLines(q AuditQuery) ([]Audit, error) {
	where, args := q.where()
	order := " ORDER BY id DESC LIMIT ?"
	if q.Forward {
		order = " ORDER BY id LIMIT ?"
	}
	return many(t, scanAudit, "SELECT "+auditColumns+" FROM audit"+where+order, append(args, q.Limit)...)
}

func (q *AuditQuery) where() (text string, args []any) {
	var all []string
	add := func(condition string, values ...any) {
		all, args = append(all, condition), append(args, values...)
	}
	if q.Login != "" {
		add("login = ?", q.Login)
	}
	if q.Via != "" {
		add("via = ?", q.Via)
	}
	if q.Action != "" {
		add("(action = ? OR action LIKE ? ESCAPE '\\')", q.Action, literal(q.Action)+".%")
	}
	if q.Subject != "" {
		add("lower(subject) LIKE lower(?) ESCAPE '\\'", "%"+literal(q.Subject)+"%")
	}
	if !q.Since.IsZero() {
		add("time >= ?", ms(q.Since))
	}
	if !q.Until.IsZero() {
		add("time < ?", ms(q.Until))
	}
	if q.Before != 0 {
		add("id < ?", q.Before)
	}
	if q.After != 0 {
		add("id > ?", q.After)
	}
	if len(all) > 0 {
		text = " WHERE " + strings.Join(all, " AND ")
	}
	return text, args
}

// literal is a text within the pattern of a LIKE.
func literal(text string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text)
}

func (t *tx) PurgeAudit(action string, before time.Time, keep int) error {
	of, args := "", []any{}
	if action != "" {
		of, args = "action = ? AND ", []any{action}
	}
	if _, err := t.exec("DELETE FROM audit WHERE "+of+"time < ?", append(args, ms(before))...); err != nil {
		return translate(err)
	}
	all := args[:len(args):len(args)]
	all = append(append(all, args...), keep)
	_, err := t.exec("DELETE FROM audit WHERE "+of+"id <= (SELECT id FROM audit WHERE "+of+"id > 0 ORDER BY id DESC LIMIT 1 OFFSET ?)", all...)
	return translate(err)
}
