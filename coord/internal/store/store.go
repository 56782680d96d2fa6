// Package store keeps what a coordination server must not forget: accounts, machines, pre-auth keys, relays, browser
// sessions, and who did what. SQL appears nowhere else.
//
// A Write is one transaction, and on disk when it returns. Writes that come at the same time share one flush of the
// disk. Secrets are here only as SHA-256 (of at least 128 random bits) or argon2id (of passwords), or under a key that
// is not in the database: sealed where they are needed again, as an HMAC where not.
//
// What machines may see of a change is numbered and noted in a log, in the same transaction (log.go). Whoever has one
// number asks for the News since.
//
// The database is SQLite or PostgreSQL, with the same tables and columns under the same version, and the same suite of
// tests. SQLite's file has one process that writes it: it lies in a directory that the server locks. In PostgreSQL
// several processes write, one transaction after the other, and hear of each other's.
package store

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/key"
)

// Errors that callers tell apart.
var (
	ErrNotFound = errors.New("not found")
	ErrTaken    = errors.New("already taken")
	ErrFull     = errors.New("the disk is full or cannot be written")
	ErrMoved    = errors.New("the database's file was removed, or replaced, while it was in use: put it back, or stop the server and restore a backup")
	ErrDamaged  = errors.New("the database is damaged: restore it from a backup")
	ErrNewer    = errors.New("the database was written by a newer version of warren-coord: update this one, or restore the backup from before")
	ErrNoNumber = errors.New("no address is left in the network")
	ErrAway     = errors.New("the PostgreSQL database cannot be used now")
	ErrUnsure   = errors.New("the PostgreSQL database went away in the middle of a change")
	ErrEmpty    = errors.New("there is no network in it")
	ErrNotEmpty = errors.New("something is there already, and nothing was changed: name an empty place, or move away what is there")
	ErrNoBackup = errors.New("this is no whole backup of warren-coord: take another file")

	ErrForgotten = errors.New("the log does not go back to this number: it is too old, or of a history that was lost")

	ErrNewerBackup = errors.New("the backup was made by a newer version of warren-coord: use that version, or a newer one")
)

// Store is a database. Its methods may be called at the same time.
type Store interface {
	// Read runs fn on one consistent state of the database.
	Read(ctx context.Context, fn func(Tx) error) error
	// Write runs fn in a transaction. It is on disk if Write returns nil, and did nothing otherwise (but for
	// ErrUnsure: PostgreSQL went away in the commit, and did not come back in time to say). fn may
	// run more than once; it must not go on after an error of the Tx other than ErrNotFound.
	Write(ctx context.Context, fn func(Tx) error) error
	// WriteSoft is Write for what may be lost with the power: it does not wait for the disk. The end of this process
	// loses nothing, and a later Write has all that came before it on disk.
	WriteSoft(ctx context.Context, fn func(Tx) error) error
	// Committed is the number of the last change that this process has made; 0: none.
	Committed() uint64
	// News is signalled when other processes may have changed something; nil: there are none.
	News() <-chan struct{}
	Close() error
}

// User is an account.
type User struct {
	ID       int64
	Login    string
	Password string // as package account encodes it
	Role     account.Role
	Created  time.Time
}

// Node is a machine.
type Node struct {
	ID       coord.NodeID
	Machine  key.MachinePublic
	Key      key.NodePublic // zero: logged out
	User     int64          // 0: nobody's
	Name     string
	Base     string // Name without the number that makes it unique
	Number   uint32 // of its addresses
	Tags     []string
	OS       string
	Version  string
	Created  time.Time
	Expires  time.Time
	AuthKey  int64 // that let it in; 0: a person did
	LastSeen time.Time
	Said     coord.NodeUpdate
	// Approved are the routes that it may lead to, whether it offers them (Said.Routes) or not; see Routes.
	Approved []netip.Prefix
	// MayRelay: an admin allows it to relay for others, whether it offers to (Said.Relaying) or not; see Relaying.
	MayRelay bool

	Pending   bool      // waits for an admin's approval: no member yet
	Ephemeral bool      // removed a while after it went offline
	Lasting   bool      // its key does not expire, whoever logs it in
	Ticket    time.Time // until when its relay ticket holds
	TicketSeq uint64    // the number under which it got that, which the store gives
	// The store and SetSoft keep these.
	Expired bool   // its peers were told that its key has expired
	Replica int64  // that has its netmap stream; 0: it is offline
	Epoch   uint64 // how often it has come online
}

// Routes are what a machine leads to: what it offers and somebody has approved, in the order of prefixes.
func (n *Node) Routes() (both []netip.Prefix) {
	for _, p := range n.Said.Routes {
		if slices.Contains(n.Approved, p) {
			both = append(both, p)
		}
	}
	slices.SortFunc(both, netip.Prefix.Compare)
	return both
}

// Cut are those of Routes that the machine does not reach itself, as it says.
func (n *Node) Cut() []netip.Prefix {
	if len(n.Said.Cut) == 0 {
		return nil
	}
	return slices.DeleteFunc(n.Routes(), func(p netip.Prefix) bool { return !slices.Contains(n.Said.Cut, p) })
}

// Relaying is how a machine relays for others: as it offers to, if an admin allows it.
func (n *Node) Relaying() *coord.Relaying {
	if !n.MayRelay {
		return nil
	}
	return n.Said.Relaying
}

// AuthKey is a pre-auth key.
type AuthKey struct {
	ID       int64
	Hash     [32]byte
	User     int64 // whose machines it lets in; 0: nobody's
	Reusable bool
	Tags     []string
	Created  time.Time
	Expires  time.Time
	Revoked  bool
	Uses     int64
	Used     time.Time
	UsedBy   key.MachinePublic

	Ephemeral bool // so are the machines that it lets in
	Approval  bool // they wait for an admin's approval
}

// WebSession is a browser's.
type WebSession struct {
	Hash    [32]byte
	User    int64
	Created time.Time
	Seen    time.Time
	Agent   string // what the browser calls itself
	Address string // that signed in
}

// Tx is what can be done in one transaction. What looks for one thing returns ErrNotFound, what makes a second of
// what there can be one of, ErrTaken.
type Tx interface {
	Meta(name string) (string, error)
	SetMeta(name, value string) error
	Accounts
	SignIns
	Audits
	Tokens
	Webhooks
	Policies
	Presence
	Logins

	// Log is the whole log, in order. It is never empty once something was written.
	Log() ([]Change, error)
	// Newest is the number of the newest change; 0 if nothing was ever written.
	Newest() (uint64, error)
	// News is what came after the number of a change that the log has; ErrForgotten if it has not.
	News(after uint64) (News, error)

	Users() ([]User, error)
	UserByLogin(login string) (User, error)
	User(id int64) (User, error)
	AddUser(u User) (int64, error)
	SetPassword(user int64, password string) error // also ends the user's browser sessions
	RemoveUser(user int64) error

	Nodes() ([]Node, error)
	NodeByMachine(m key.MachinePublic) (Node, error)
	NodeByKey(k key.NodePublic) (Node, error)
	Node(id coord.NodeID) (Node, error)
	AddNode(n Node) (coord.NodeID, error)
	SetNode(n Node) error                            // all but what is SetSoft's
	RemoveNode(id coord.NodeID, now time.Time) error // its number stays taken until ReleaseNumbers, if peers have seen it
	LongestGone() (Node, error)                      // of those that have logged out
	NodeByName(name string) (Node, error)
	NameTaken(name string) (bool, error)
	CountBase(base string) (int, error)
	FreeNumber(last uint32, skip func(uint32) bool) (uint32, error) // of 1 to last, not in skip; before ErrNoNumber a removed machine's
	ReleaseNumbers(before time.Time) error                          // of machines removed before then

	AuthKeys() ([]AuthKey, error)
	AuthKeyByHash(hash [32]byte) (AuthKey, error)
	AddAuthKey(k AuthKey) (int64, error)
	UseAuthKey(id int64, by key.MachinePublic, now time.Time) (bool, error) // false: used up, over or revoked
	RevokeAuthKey(id int64) error

	Relays() ([]coord.Relay, error)
	PutRelay(r coord.Relay) (coord.RelayID, error) // by its name
	RemoveRelay(name string) error

	AddWebSession(s WebSession) error
	WebSession(hash [32]byte) (WebSession, error)
	TouchWebSession(hash [32]byte, now time.Time) error
	RemoveWebSession(hash [32]byte) error
	PurgeWebSessions(createdBefore, seenBefore time.Time) error
}
