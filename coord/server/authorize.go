package server

import (
	"context"

	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// caller is who wants something done.
type caller struct {
	user int64 // 0: nobody's account
	role account.Role

	// For the log of who did what.
	login   string
	token   int64 // of the API that was brought; 0: none
	via     string
	address string
}

// operator is whoever can open the admin socket: the host's administrator, above all accounts.
var operator = caller{role: account.Owner, via: viaHost}

// authorize is what every page and every call of the admin API passes, with the right that its route states. own is
// whether the thing that it is about is the caller's own.
func authorize(c caller, right account.Right, own bool) error {
	if c.role.May(right, own) {
		return nil
	}
	return errNotAllowed
}

// authorizeNow is authorize for what may have changed since the request came in: within the transaction.
func authorizeNow(tx store.Tx, c caller, right account.Right, own bool) error {
	if c.user != 0 {
		u, err := tx.User(c.user)
		if err != nil {
			return err
		}
		c.role = u.Role
	}
	return authorize(c, right, own)
}

// finder finds the account that something is to be done with.
type finder func(store.Tx) (store.User, error)

func byLogin(login string) finder {
	return func(tx store.Tx) (store.User, error) { return userNamed(tx, login) }
}

// govern holds what is done with an account to what the caller may do with it, and keeps the last owner: next is the
// role that the account is to have, empty if it goes.
func govern(tx store.Tx, by caller, find finder, next account.Role) (u store.User, err error) {
	owners, err := tx.Owners() // first: of two demotions at once, the second sees what the first did
	if err != nil {
		return u, err
	}
	if u, err = find(tx); err != nil {
		return u, err
	}
	right := account.Change
	if u.Role == account.Owner || next == account.Owner {
		right = account.Govern
	}
	if err := authorizeNow(tx, by, right, false); err != nil {
		return u, err
	}
	if u.Role == account.Owner && next != account.Owner && owners <= 1 {
		return u, errLastOwner
	}
	return u, nil
}

// SetRole gives a user another role.
func (s *Server) SetRole(ctx context.Context, login, role string) error {
	return s.setRole(ctx, operator, byLogin(login), role)
}

func (s *Server) setRole(ctx context.Context, by caller, find finder, name string) error {
	role, err := account.ParseRole(name)
	if err != nil {
		return err
	}
	return s.store.Write(ctx, func(tx store.Tx) error {
		u, err := govern(tx, by, find, role)
		if err != nil {
			return err
		}
		if err := tx.SetRole(u.ID, role); err != nil {
			return err
		}
		if err := s.record(tx, by, actUserRole, u.Login, facts{"id": u.ID, "from": u.Role, "to": role}); err != nil {
			return err
		}
		return s.approveByRole(tx, u, role)
	})
}

// RemoveUser removes an account, its machines and its pre-auth keys.
func (s *Server) RemoveUser(ctx context.Context, login string) error {
	return s.removeUser(ctx, operator, byLogin(login))
}

func (s *Server) removeUser(ctx context.Context, by caller, find finder) error {
	machines := 0
	return s.store.Write(ctx, func(tx store.Tx) error {
		machines = 0
		u, err := govern(tx, by, find, "")
		if err != nil {
			return err
		}
		nodes, err := tx.Nodes()
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if n.User != u.ID {
				continue
			}
			if err := tx.RemoveNode(n.ID, s.now()); err != nil {
				return err
			}
			if err := s.record(tx, by, actMachineRemove, n.Name, facts{"id": n.ID, "owner": u.Login}); err != nil {
				return err
			}
			machines++
		}
		if err := tx.RemoveUser(u.ID); err != nil {
			return err
		}
		return s.record(tx, by, actUserRemove, u.Login, facts{"id": u.ID, "role": u.Role, "machines": machines})
	})
}
