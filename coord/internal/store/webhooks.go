package store

import (
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord"
)

// Webhook is where lines of the audit log are sent to.
type Webhook struct {
	ID      int64
	URL     string
	Events  []string // actions; none: all
	Secret  []byte   // sealed
	Created time.Time

	Delivery
}

// Delivery says how far the sending to a webhook is.
type Delivery struct {
	Position int64     // the last line that is done with
	Tries    int       // that failed, since the last that did not
	Next     time.Time // not before then
	Status   int       // HTTP's, of the last answer; 0: none came
	Problem  string    // of the last try
	Tried    time.Time
	Sent     time.Time // the last time with success
	Dropped  int64     // lines that could not be sent in time
}

// ExpiryNotice says what was told of the end of a machine's key.
type ExpiryNotice struct {
	ID      coord.NodeID
	Expires time.Time // the end that was told of
	Said    string    // the last action that was
}

// Webhooks is the part of Tx that is about webhooks, and about what time makes happen.
type Webhooks interface {
	Webhooks() ([]Webhook, error)
	Webhook(id int64) (Webhook, error)
	AddWebhook(w Webhook) (int64, error)
	SetWebhook(w Webhook) error // all but how far it is, and when it was made
	SetDelivery(id int64, d Delivery) error
	RemoveWebhook(id int64) error

	ExpiryNotices() ([]ExpiryNotice, error)
	SetExpiryNotice(n ExpiryNotice) error
}

const webhookColumns = "id, url, events, secret, created, position, tries, next, status, problem, tried, sent, dropped"

func scanWebhook(r row) (w Webhook, err error) {
	var events string
	var created, next, tried, sent int64
	err = r.Scan(&w.ID, &w.URL, &events, &w.Secret, &created, &w.Position, &w.Tries, &next, &w.Status, &w.Problem, &tried, &sent, &w.Dropped)
	w.Events = strings.Fields(events)
	w.Created, w.Next, w.Tried, w.Sent = when(created), when(next), when(tried), when(sent)
	return w, err
}

func (t *tx) Webhooks() ([]Webhook, error) {
	return many(t, scanWebhook, "SELECT "+webhookColumns+" FROM webhooks ORDER BY id")
}

func (t *tx) Webhook(id int64) (Webhook, error) {
	return one(t, scanWebhook, "SELECT "+webhookColumns+" FROM webhooks WHERE id = ?", id)
}

func (t *tx) AddWebhook(w Webhook) (int64, error) {
	return t.insert("INSERT INTO webhooks (url, events, secret, created, position, tries, next, status, problem, tried, sent, dropped) "+
		"VALUES (?, ?, ?, ?, ?, 0, 0, 0, '', 0, 0, 0)",
		w.URL, strings.Join(w.Events, " "), w.Secret, ms(w.Created), w.Position)
}

func (t *tx) SetWebhook(w Webhook) error {
	return t.must("UPDATE webhooks SET url = ?, events = ?, secret = ? WHERE id = ?", w.URL, strings.Join(w.Events, " "), w.Secret, w.ID)
}

func (t *tx) SetDelivery(id int64, d Delivery) error {
	return t.must("UPDATE webhooks SET position = ?, tries = ?, next = ?, status = ?, problem = ?, tried = ?, sent = ?, dropped = ? WHERE id = ?",
		d.Position, d.Tries, ms(d.Next), d.Status, d.Problem, ms(d.Tried), ms(d.Sent), d.Dropped, id)
}

func (t *tx) RemoveWebhook(id int64) error { return t.must("DELETE FROM webhooks WHERE id = ?", id) }

func scanExpiryNotice(r row) (n ExpiryNotice, err error) {
	var expires int64
	err = r.Scan(&n.ID, &expires, &n.Said)
	n.Expires = when(expires)
	return n, err
}

func (t *tx) ExpiryNotices() ([]ExpiryNotice, error) {
	return many(t, scanExpiryNotice, "SELECT id, expires, said FROM expiry_notices ORDER BY id")
}

func (t *tx) SetExpiryNotice(n ExpiryNotice) error {
	return t.must("INSERT INTO expiry_notices (id, expires, said) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET "+
		"expires = excluded.expires, said = excluded.said", n.ID, ms(n.Expires), n.Said)
}
