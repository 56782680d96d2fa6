package store

import (
	"errors"
	"time"

	"github.com/warren-mesh/warren/coord/internal/account"
)

// Invitation lets somebody make an account, once.
type Invitation struct {
	ID      int64
	Hash    [32]byte
	Role    account.Role
	User    int64 // who invites
	Created time.Time
	Expires time.Time
}

// Accounts is the part of Tx that is about what accounts may do, how they come to be, and where they are signed in.
type Accounts interface {
	RemoveMeta(name string) error
	SetRole(user int64, role account.Role) error
	// Owners counts the owners, and keeps other transactions from changing them until this one ends.
	Owners() (int64, error)

	Invitations() ([]Invitation, error)
	InvitationByHash(hash [32]byte) (Invitation, error)
	AddInvitation(i Invitation) (int64, error)
	RemoveInvitation(id int64) error // of two that remove it, one gets ErrNotFound
	PurgeInvitations(expiredBefore time.Time) error

	WebSessions(user int64) ([]WebSession, error)
	// RemoveWebSessions ends the user's browser sessions, all but the one to keep.
	RemoveWebSessions(user int64, keep [32]byte) error
}

func (t *tx) RemoveMeta(name string) error { return t.must("DELETE FROM meta WHERE name = ?", name) }

func (t *tx) SetRole(user int64, role account.Role) error {
	if err := t.must("UPDATE users SET role = ? WHERE id = ? AND role <> ?", string(role), user, string(role)); err != nil {
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		_, err = t.User(user)
		return err
	}
	nodes, err := many(t, scanNode, "SELECT "+nodeColumns+" FROM nodes WHERE user_id = ? ORDER BY id", user)
	if err != nil {
		return err
	}
	for i := range nodes { // the policy may go by it
		if nodes[i].member() {
			if _, err := t.note(NodeChanged, nodes[i].ID, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// Owners writes what it counts: with any database, of two transactions the second waits, and sees what the first did.
func (t *tx) Owners() (int64, error) {
	res, err := t.exec("UPDATE users SET role = role WHERE role = ?", string(account.Owner))
	if err != nil {
		return 0, translate(err)
	}
	return res.RowsAffected()
}

const invitationColumns = "id, hash, role, user_id, created, expires"

func scanInvitation(r row) (i Invitation, err error) {
	var hash []byte
	var created, expires int64
	err = r.Scan(&i.ID, &hash, &i.Role, &i.User, &created, &expires)
	copy(i.Hash[:], hash)
	i.Created, i.Expires = when(created), when(expires)
	return i, err
}

func (t *tx) Invitations() ([]Invitation, error) {
	return many(t, scanInvitation, "SELECT "+invitationColumns+" FROM invitations ORDER BY id")
}

func (t *tx) InvitationByHash(hash [32]byte) (Invitation, error) {
	return one(t, scanInvitation, "SELECT "+invitationColumns+" FROM invitations WHERE hash = ?", hash[:])
}

func (t *tx) AddInvitation(i Invitation) (int64, error) {
	return t.insert("INSERT INTO invitations (hash, role, user_id, created, expires) VALUES (?, ?, ?, ?, ?)",
		i.Hash[:], string(i.Role), i.User, ms(i.Created), ms(i.Expires))
}

func (t *tx) RemoveInvitation(id int64) error {
	return t.must("DELETE FROM invitations WHERE id = ?", id)
}

func (t *tx) PurgeInvitations(expiredBefore time.Time) error {
	_, err := t.exec("DELETE FROM invitations WHERE expires < ?", ms(expiredBefore))
	return translate(err)
}

const webSessionColumns = "hash, user_id, created, seen, agent, address"

func scanWebSession(r row) (s WebSession, err error) {
	var hash []byte
	var created, seen int64
	err = r.Scan(&hash, &s.User, &created, &seen, &s.Agent, &s.Address)
	copy(s.Hash[:], hash)
	s.Created, s.Seen = when(created), when(seen)
	return s, err
}

func (t *tx) WebSessions(user int64) ([]WebSession, error) {
	return many(t, scanWebSession, "SELECT "+webSessionColumns+" FROM web_sessions WHERE user_id = ? ORDER BY seen DESC, created DESC", user)
}

func (t *tx) RemoveWebSessions(user int64, keep [32]byte) error {
	_, err := t.exec("DELETE FROM web_sessions WHERE user_id = ? AND hash <> ?", user, keep[:])
	return translate(err)
}
