package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/state"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// Machines lists the machines.
func (s *Server) Machines() []MachineInfo {
	v := s.hub.view()
	out := make([]MachineInfo, 0, v.Len())
	for m := range v.Members() {
		out = append(out, machineInfo(m))
	}
	return out
}

// machineNamed finds a machine by name, or by number: 7, or #7. A machine may call itself by another's number, so
// that 7 alone is refused where it could mean two.
func (s *Server) machineNamed(name string) (state.Member, error) {
	v := s.hub.view()
	number, only := strings.CutPrefix(name, "#")
	id, err := strconv.ParseInt(number, 10, 64)
	byNumber, numbered := v.Member(coord.NodeID(id))
	if numbered = numbered && err == nil; numbered && only {
		return byNumber, nil
	}
	for m := range v.Members() {
		if m.Node.Name != name {
			continue
		}
		if numbered && byNumber.Node.ID != m.Node.ID {
			return state.Member{}, fmt.Errorf("%w machine: %q is the name of machine %d, and the number of %s: give '#%d' or '#%d'",
				coord.ErrInvalid, name, m.Node.ID, byNumber.Node.Name, m.Node.ID, byNumber.Node.ID)
		}
		return m, nil
	}
	if numbered {
		return byNumber, nil
	}
	return state.Member{}, fmt.Errorf("there is no machine %q: %w", name, store.ErrNotFound)
}

// RemoveMachine ends a machine's membership and forgets it.
func (s *Server) RemoveMachine(ctx context.Context, name string) error {
	m, err := s.machineNamed(name)
	if err != nil {
		return err
	}
	return s.removeMachine(ctx, operator, m)
}

func (s *Server) removeMachine(ctx context.Context, by caller, m state.Member) error {
	return s.dropMachine(ctx, by, actMachineRemove, m, nil, func(store.Node) error { return nil })
}

// dropMachine forgets a machine, unless allow refuses. The log calls it what, with more details.
func (s *Server) dropMachine(ctx context.Context, by caller, what action, m state.Member, more facts, allow func(store.Node) error) error {
	return s.store.Write(ctx, func(tx store.Tx) error {
		n, err := tx.Node(m.Node.ID)
		if err == nil {
			err = allow(n)
		}
		if err != nil {
			return err
		}
		if err := tx.RemoveNode(n.ID, s.now()); err != nil {
			return err
		}
		details := facts{"id": n.ID, "owner": m.Node.User.Login}
		maps.Copy(details, more)
		return s.record(tx, by, what, n.Name, details)
	})
}

// ExpireMachine makes a machine's key expire now: its person has to log in again.
func (s *Server) ExpireMachine(ctx context.Context, name string) error {
	m, err := s.machineNamed(name)
	if err != nil {
		return err
	}
	return s.expireMachine(ctx, operator, m)
}

func (s *Server) expireMachine(ctx context.Context, by caller, m state.Member) error {
	now := s.now()
	return s.changeMachine(ctx, m, func(tx store.Tx, n *store.Node) error {
		n.Expires = now
		if err := tx.SetExpiryNotice(store.ExpiryNotice{ID: n.ID, Expires: now, Said: string(actMachineExpired)}); err != nil {
			return err
		}
		return s.record(tx, by, actMachineExpire, n.Name, facts{"id": n.ID, "owner": m.Node.User.Login})
	})
}

// RenameMachine gives a machine a name that is valid and free. Its addresses stay.
func (s *Server) RenameMachine(ctx context.Context, name, next string) error {
	m, err := s.machineNamed(name)
	if err != nil {
		return err
	}
	return s.renameMachine(ctx, operator, m, next)
}

func (s *Server) renameMachine(ctx context.Context, by caller, m state.Member, next string) error {
	if !coord.ValidName(next) {
		return errNameBad
	}
	return s.changeMachine(ctx, m, func(tx store.Tx, n *store.Node) error {
		if n.Name == next {
			return nil
		}
		if err := vacate(tx, next); err != nil {
			return err
		}
		was := n.Name
		n.Name = next // and not Base: the name stays when its host is called the same as before
		return s.record(tx, by, actMachineRename, was, facts{"id": n.ID, "from": was, "to": next})
	})
}

// vacate makes a name free. A machine that has logged out stands in no list: it gives way, and is numbered when it comes
// back.
func vacate(tx store.Tx, name string) error {
	holder, err := tx.NodeByName(name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	case !holder.Key.IsZero():
		return errNameTaken
	}
	for i := 2; ; i++ {
		holder.Name = numbered(name, i)
		taken, err := tx.NameTaken(holder.Name)
		if err != nil {
			return err
		}
		if !taken {
			return tx.SetNode(holder)
		}
	}
}

// changeMachine changes what the store knows of a machine.
func (s *Server) changeMachine(ctx context.Context, m state.Member, change func(store.Tx, *store.Node) error) error {
	return s.store.Write(ctx, func(tx store.Tx) error {
		n, err := tx.Node(m.Node.ID)
		if err != nil {
			return err
		}
		if err := change(tx, &n); err != nil {
			return err
		}
		return tx.SetNode(n)
	})
}
