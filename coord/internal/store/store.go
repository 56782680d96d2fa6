// Package store keeps what a coordination server must not forget: accounts, machines, pre-auth keys, relays, browser
// sessions, and who did what. SQL appears nowhere else.
//
// A Write is one transaction, and on disk when it returns. Writes that come at the same time share one flush of the
// disk. Secrets are here only as SHA-256 (of at least 128 random bits) or argon2id (of passwords), or under a key that
// is not in the database: sealed where they are needed again, as an HMAC where not.
//
// The database is SQLite or PostgreSQL, with the same tables and columns under the same version, and the same suite of
// tests. One process writes it at a time: SQLite's file lies in a directory that the server locks, and in PostgreSQL
// the connection that writes holds a lock. Several servers of one network are not there yet; they will take that
// lock for each transaction instead, and hear of each other's.
package store

import (
	"context"
	"errors"
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
	ErrDamaged  = errors.New("the database is damaged: restore it from a backup")
	ErrNewer    = errors.New("the database was written by a newer version of warren-coord: update this one, or restore the backup from before")
	ErrNoNumber = errors.New("no address is left in the network")
	ErrAway     = errors.New("the PostgreSQL database cannot be used now")
	ErrInUse    = errors.New("another warren-coord uses the PostgreSQL database: stop that one first")
	ErrEmpty    = errors.New("there is no network in it")
	ErrNotEmpty = errors.New("something is there already, and nothing was changed: name an empty place, or move away what is there")
	ErrNoBackup = errors.New("this is no whole backup of warren-coord: take another file")

	ErrNewerBackup = errors.New("the backup was made by a newer version of warren-coord: use that version, or a newer one")
)

// Store is a database. Its methods may be called at the same time.
type Store interface {
	// Read runs fn on one consistent state of the database.
	Read(ctx context.Context, fn func(Tx) error) error
	// Write runs fn in a transaction. It is on disk if Write returns nil, and did nothing otherwise (but for one
	// case that its error tells: PostgreSQL went away in the commit, and did not come back in time to say). fn may
	// run more than once; it must not go on after an error of the Tx other than ErrNotFound.
	Write(ctx context.Context, fn func(Tx) error) error
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

	Pending   bool // waits for an admin's approval: no member yet
	Ephemeral bool // removed a while after it went offline
	Lasting   bool // its key does not expire, whoever logs it in
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

// Soft is what may be a little old after a crash.
type Soft struct {
	ID       coord.NodeID
	LastSeen time.Time
	Said     coord.NodeUpdate
}

// Tx is what can be done in one transaction. What looks for one thing returns ErrNotFound, what makes a second of
// what there can be one of, ErrTaken.
type Tx interface {
	Meta(name string) (string, error)
	SetMeta(name, value string) error
	Accounts
	SignIns
	Audits

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
	SetNode(n Node) error // all but LastSeen and Said
	SetSoft(s Soft) error
	RemoveNode(id coord.NodeID, now time.Time) error // its number stays taken until ReleaseNumbers
	NameTaken(name string) (bool, error)
	CountBase(base string) (int, error)
	FreeNumber(last uint32, skip func(uint32) bool) (uint32, error) // of 1 to last, not in skip; ErrNoNumber
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
