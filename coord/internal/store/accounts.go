package store

import "github.com/warren-mesh/warren/coord/internal/account"

// Accounts is the part of Tx that is about what accounts may do.
type Accounts interface {
	RemoveMeta(name string) error
	SetRole(user int64, role account.Role) error
	// Owners counts the owners, and keeps other transactions from changing them until this one ends.
	Owners() (int64, error)
}

func (t *tx) RemoveMeta(name string) error { return t.must("DELETE FROM meta WHERE name = ?", name) }

func (t *tx) SetRole(user int64, role account.Role) error {
	return t.must("UPDATE users SET role = ? WHERE id = ?", string(role), user)
}

// Owners writes what it counts: with any database, of two transactions the second waits, and sees what the first did.
func (t *tx) Owners() (int64, error) {
	res, err := t.exec("UPDATE users SET role = role WHERE role = ?", string(account.Owner))
	if err != nil {
		return 0, translate(err)
	}
	return res.RowsAffected()
}
