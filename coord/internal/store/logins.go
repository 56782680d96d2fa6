package store

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
)

// Login is a machine that waits for a person.
type Login struct {
	Hash    [32]byte // SHA-256 of its id
	Machine key.MachinePublic
	Asked   string // JSON: what it wants to be admitted as
	Address string // that it asked from
	Started time.Time
	Expires time.Time

	State int      // the caller's to name
	User  int64    // who said yes; 0: nobody yet
	Code  [32]byte // SHA-256 of the code that the browser carries to the machine; zero: none
	Tries int
}

// LoginTag is what the log names a login by.
func LoginTag(hash [32]byte) coord.NodeID {
	return coord.NodeID(binary.BigEndian.Uint64(hash[:8]) >> 1)
}

// Logins is the part of Tx that is about machines that wait.
type Logins interface {
	Login(hash [32]byte) (Login, error)
	LoginOf(m key.MachinePublic) (Login, error)
	AddLogin(l Login) error // a machine has one at a time
	SetLogin(l Login) error // what comes after Expires
	RemoveLogin(hash [32]byte) error
	PurgeLogins(expiredBefore time.Time) error
	OpenLogins(now time.Time) ([]Login, error) // that have not expired
	// CountLogins says how many there are, and how many from the address.
	CountLogins(address string) (all, from int, err error)
}

const loginColumns = "hash, machine, asked, address, started, expires, state, user_id, code, tries"

func scanLogin(r row) (l Login, err error) {
	var hash, mach, code []byte
	var started, expires int64
	err = r.Scan(&hash, &mach, &l.Asked, &l.Address, &started, &expires, &l.State, &l.User, &code, &l.Tries)
	copy(l.Hash[:], hash)
	copy(l.Code[:], code)
	l.Machine = machine(mach)
	l.Started, l.Expires = when(started), when(expires)
	return l, err
}

func (t *tx) Login(hash [32]byte) (Login, error) {
	return one(t, scanLogin, "SELECT "+loginColumns+" FROM logins WHERE hash = ?", hash[:])
}

func (t *tx) LoginOf(m key.MachinePublic) (Login, error) {
	return one(t, scanLogin, "SELECT "+loginColumns+" FROM logins WHERE machine = ?", m[:])
}

func (t *tx) OpenLogins(now time.Time) ([]Login, error) {
	return many(t, scanLogin, "SELECT "+loginColumns+" FROM logins WHERE expires > ? ORDER BY started, hash", ms(now))
}

// loginCode stores none as NULL.
func loginCode(hash [32]byte) []byte {
	if hash == [32]byte{} {
		return nil
	}
	return hash[:]
}

func (t *tx) AddLogin(l Login) error {
	return t.must("INSERT INTO logins ("+loginColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		l.Hash[:], l.Machine[:], l.Asked, l.Address, ms(l.Started), ms(l.Expires), l.State, l.User, loginCode(l.Code), l.Tries)
}

func (t *tx) SetLogin(l Login) error {
	if err := t.must("UPDATE logins SET state = ?, user_id = ?, code = ?, tries = ? WHERE hash = ?",
		l.State, l.User, loginCode(l.Code), l.Tries, l.Hash[:]); err != nil {
		return err
	}
	_, err := t.note(LoginChanged, LoginTag(l.Hash), false)
	return err
}

func (t *tx) RemoveLogin(hash [32]byte) error {
	if err := t.must("DELETE FROM logins WHERE hash = ?", hash[:]); err != nil {
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	_, err := t.note(LoginChanged, LoginTag(hash), false)
	return err
}

func (t *tx) PurgeLogins(expiredBefore time.Time) error {
	_, err := t.exec("DELETE FROM logins WHERE expires < ?", ms(expiredBefore))
	return translate(err)
}

func (t *tx) CountLogins(address string) (all, from int, err error) {
	if all, err = one(t, count, "SELECT count(*) FROM logins"); err != nil {
		return 0, 0, err
	}
	from, err = one(t, count, "SELECT count(*) FROM logins WHERE address = ?", address)
	return all, from, err
}
