package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord"
)

// The log: whatever a Tx changes that machines may see, it numbers and notes in the same transaction. A number is
// max(last+1, Unix milliseconds), and taken under the lock of the row that holds the last one, so that the order of
// the numbers is that of the commits, whichever process makes them.

const (
	// LogLength is how many changes the log holds at the least; whoever missed more begins anew.
	LogLength = 1 << 16
	// pruneEvery is after how many changes of one process it throws out what is older.
	pruneEvery = 1 << 13
	// unsaved is more than the numbers that are given while commits wait for the platter. Where these were lost (the
	// host's power, or PostgreSQL itself), machines know them: none is given twice, also if the clock was set back.
	unsaved = 1 << 20
)

// Kind says what a change is about.
type Kind string

// The kinds of changes.
const (
	NodeChanged    Kind = "node" // or removed, if it is not there
	TicketChanged  Kind = "ticket"
	RelaysChanged  Kind = "relays"
	NetworkChanged Kind = "network"
	DNSChanged     Kind = "dns"
	PolicyChanged  Kind = "policy"
	RoutesChanged  Kind = "routes" // that a machine offers, or may lead to, or its relaying; what others see of these is as before
	LoginChanged   Kind = "login"  // Node is its LoginTag
	Begun          Kind = "begun"  // nothing changed; numbers before it may have been lost
)

// Change is one line of the log.
type Change struct {
	Seq   uint64
	Kind  Kind
	Node  coord.NodeID // whose; 0: no machine's
	Facts bool         // of a machine: what the policy goes by is another now, also since it is a member now, or is none any more
}

// News is what the log says after some number, and how that is now.
type News struct {
	Log    []Change
	Nodes  []Node // those that the log names and that are there
	Users  map[int64]User
	Relays []coord.Relay // if the log names them
	// Network and DNS are the meta values, if the log names them.
	Network, DNS string
	Policy       string // its newest text, if the log names it
}

// Names of the meta values whose changes are in the log.
const (
	MetaNetwork = "network"
	MetaDNS     = "dns"
)

var metaKinds = map[string]Kind{MetaNetwork: NetworkChanged, MetaDNS: DNSChanged}

// numbering gives a transaction its numbers.
type numbering struct {
	now   time.Time
	last  uint64
	count int // of changes
}

func (n *numbering) next() uint64 {
	n.last = max(n.last+1, uint64(max(0, n.now.UnixMilli())))
	n.count++
	return n.last
}

// transaction is one that writes. It has the lock of the numbers.
type transaction struct {
	*sql.Tx
	id  string // PostgreSQL's, by which its outcome can be asked for
	log numbering
}

// begin starts a transaction. A relaxed one is safe from the end of this process, but not from that of the database's
// or the host's.
func (d *Database) begin(ctx context.Context, relaxed bool) (*transaction, error) {
	if !d.numbered {
		if err := errors.Join(d.there(), d.sync(ctx, relaxed)); err != nil {
			return nil, err
		}
	}
	t, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	x := &transaction{Tx: t, log: numbering{now: d.now()}}
	if err := d.number(ctx, x, relaxed); err != nil {
		_ = t.Rollback()
		return nil, err
	}
	return x, nil
}

// sync says what SQLite's next commits wait for.
func (d *Database) sync(ctx context.Context, relaxed bool) error {
	if relaxed == d.relaxed {
		return nil
	}
	mode := "FULL"
	if relaxed {
		mode = "NORMAL" // which keeps the file whole, but may lose the last commits with the power
	}
	if _, err := d.write.ExecContext(ctx, "PRAGMA synchronous = "+mode); err != nil {
		return err
	}
	d.relaxed = relaxed
	return nil
}

// lockNumbers waits until no other process writes. A process that stops within its transaction, or loses its
// connection, holds up the others for no longer than that timeout.
const lockNumbers = `SELECT last, born, pg_current_xact_id()::text,
	(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint::text,
	set_config('idle_in_transaction_session_timeout', '30s', true),
	CASE WHEN $1 THEN set_config('synchronous_commit', 'off', true) ELSE '' END
	FROM numbers FOR UPDATE`

// number reads the last number. Where the database (or the host of a file) has been started since that was given, there
// may have been others, which are lost.
func (d *Database) number(ctx context.Context, x *transaction, relaxed bool) error {
	var born, run, skip string
	var err error
	if d.numbered {
		err = x.QueryRowContext(ctx, lockNumbers, relaxed).Scan(&x.log.last, &born, &x.id, &run, &skip, &skip)
	} else {
		run = d.run
		err = x.QueryRowContext(ctx, "SELECT last, born FROM numbers").Scan(&x.log.last, &born)
	}
	if err != nil || born == run {
		return err
	}
	x.log.last += unsaved
	t := &tx{ctx: ctx, t: x.Tx, prepared: d.writes, numbered: d.numbered, log: &x.log}
	if _, err := t.note(Begun, 0, false); err != nil {
		return err
	}
	return t.must("UPDATE numbers SET born = ?", run)
}

// finish writes the last number, tells other processes that there is something, and commits.
func (d *Database) finish(ctx context.Context, x *transaction) error {
	if x.log.count > 0 {
		t := &tx{ctx: ctx, t: x.Tx, prepared: d.writes, numbered: d.numbered, log: &x.log}
		if err := t.must("UPDATE numbers SET last = ?", x.log.last); err != nil {
			return err
		}
		if d.logged += x.log.count; d.logged >= pruneEvery {
			d.logged = 0
			if _, err := t.exec("DELETE FROM changes WHERE seq < (SELECT seq FROM changes ORDER BY seq DESC LIMIT 1 OFFSET ?)", LogLength-1); err != nil {
				return err
			}
		}
		if d.numbered {
			if _, err := t.exec("SELECT pg_notify(" + channel + ", '')"); err != nil {
				return err
			}
		}
	}
	if err := d.outcome(x.id, x.Commit()); err != nil {
		return err
	}
	if x.log.count > 0 {
		d.committed.Store(x.log.last)
	}
	return nil
}

// bootID names the run of this host, so that a database file shows whether the power may have failed since.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

// note puts a change into the log, and gives its number.
func (t *tx) note(kind Kind, id coord.NodeID, facts bool) (uint64, error) {
	if t.log == nil {
		return 0, errors.New("this transaction only reads")
	}
	was := ""
	if facts {
		was = "{}" // an older version wrote what they were
	}
	seq := t.log.next()
	return seq, t.must("INSERT INTO changes (seq, kind, node, was) VALUES (?, ?, ?, ?)", seq, string(kind), id, was)
}

func scanChange(r row) (c Change, err error) {
	var was string
	err = r.Scan(&c.Seq, &c.Kind, &c.Node, &was)
	c.Facts = was != ""
	return c, err
}

func (t *tx) Log() ([]Change, error) {
	return many(t, scanChange, "SELECT seq, kind, node, was FROM changes ORDER BY seq")
}

func (t *tx) Newest() (uint64, error) {
	return one(t, func(r row) (seq uint64, err error) { return seq, r.Scan(&seq) }, "SELECT coalesce(max(seq), 0) FROM changes")
}

func (t *tx) News(after uint64) (n News, err error) {
	n.Log, err = many(t, scanChange, "SELECT seq, kind, node, was FROM changes WHERE seq >= ? ORDER BY seq", after)
	if err != nil {
		return n, err
	}
	if len(n.Log) == 0 || n.Log[0].Seq != after {
		return n, ErrForgotten
	}
	n.Log = n.Log[1:]
	about := map[Kind]bool{}
	for _, c := range n.Log {
		about[c.Kind] = true
	}
	const named = "(SELECT node FROM changes WHERE seq > ? AND kind IN ('node', 'ticket', 'routes'))"
	if about[NodeChanged] || about[TicketChanged] || about[RoutesChanged] {
		if n.Nodes, err = many(t, scanNode, "SELECT "+nodeColumns+" FROM nodes WHERE id IN "+named, after); err != nil {
			return n, err
		}
		users, err := many(t, scanUser, "SELECT "+userColumns+" FROM users WHERE id IN (SELECT user_id FROM nodes WHERE id IN "+named+")", after)
		if err != nil {
			return n, err
		}
		n.Users = UsersByID(users)
	}
	if about[RelaysChanged] {
		if n.Relays, err = t.Relays(); err != nil {
			return n, err
		}
	}
	if about[NetworkChanged] {
		if n.Network, err = t.Meta(MetaNetwork); err != nil {
			return n, err
		}
	}
	if about[PolicyChanged] {
		p, err := t.Policy()
		if err != nil {
			return n, err
		}
		n.Policy = p.Text
	}
	if about[DNSChanged] {
		n.DNS, err = t.Meta(MetaDNS)
	}
	return n, err
}

// UsersByID orders accounts by their numbers.
func UsersByID(all []User) map[int64]User {
	out := make(map[int64]User, len(all))
	for _, u := range all {
		out[u.ID] = u
	}
	return out
}

// sameFacts reports whether what the policy goes by is alike: a machine that is no member is none to it.
func (n *Node) sameFacts(o *Node) bool {
	is, was := n.member(), o.member()
	return is == was && (!is || n.User == o.User && n.Number == o.Number && slices.Equal(n.Tags, o.Tags) && slices.Equal(n.Routes(), o.Routes()))
}

func (n *Node) member() bool { return !n.Key.IsZero() && !n.Pending && !n.Expired }

// look is what peers see of a machine, to be compared: empty if they do not see it.
func (n Node) look() string {
	if n.Key.IsZero() {
		return ""
	}
	online := n.Replica != 0
	if online {
		n.LastSeen = time.Time{}
	}
	if len(n.Tags) == 0 {
		n.Tags = nil
	}
	if len(n.Said.Endpoints) == 0 {
		n.Said.Endpoints = nil
	}
	return text([]any{
		n.Machine, n.Key, n.User, n.Name, n.Number, n.Tags, n.OS, n.Version, ms(n.Created), ms(n.Expires), n.Expired, n.Pending, n.Ephemeral,
		online, ms(n.LastSeen), n.Said.Disco, n.Said.Endpoints, n.Said.Relay, n.Said.Doubt, n.Routes(), n.Relaying(), n.Cut(),
	})
}

// differ notes what has become of a machine that was another before, and numbers its ticket.
func (t *tx) differ(was Node, n *Node) error {
	before, after := was.look(), n.look()
	ticket := !n.Key.IsZero() && (n.Key != was.Key || !n.Ticket.Equal(was.Ticket))
	kind := NodeChanged
	switch {
	case before != after:
	case ticket:
		kind = TicketChanged
	case after != "" && (!slices.Equal(was.Said.Routes, n.Said.Routes) || !slices.Equal(was.Approved, n.Approved) ||
		was.MayRelay != n.MayRelay || !reflect.DeepEqual(was.Said.Relaying, n.Said.Relaying)):
		kind = RoutesChanged
	default:
		return nil
	}
	seq, err := t.note(kind, n.ID, kind == NodeChanged && !n.sameFacts(&was))
	if ticket {
		n.TicketSeq = seq
	}
	return err
}
