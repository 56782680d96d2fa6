package server

import (
	"context"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/state"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// expirySoon is how long before its end a machine's key is told of.
const expirySoon = 7 * 24 * time.Hour

// tellExpiries writes into the log whose key ends soon, and whose has ended: each once for each end.
func (s *Server) tellExpiries(ctx context.Context) error {
	now := s.now()
	due := map[coord.NodeID]state.Member{}
	for m := range s.hub.view().Members() {
		if e := m.Node.Expires; !e.IsZero() && !m.Pending && e.Sub(now) < expirySoon {
			due[m.Node.ID] = m
		}
	}
	if len(due) == 0 {
		return nil
	}
	if err := s.store.Read(ctx, func(tx store.Tx) error { return told(tx, now, due) }); err != nil || len(due) == 0 {
		return err
	}
	return s.store.Write(ctx, func(tx store.Tx) error {
		if err := told(tx, now, due); err != nil { // another server may have been quicker
			return err
		}
		for id, m := range due {
			what := expiryAction(now, m.Node.Expires)
			if _, err := tx.Node(id); err != nil {
				continue // it is gone
			}
			if err := tx.SetExpiryNotice(store.ExpiryNotice{ID: id, Expires: m.Node.Expires, Said: string(what)}); err != nil {
				return err
			}
			err := s.record(tx, caller{via: viaServer}, what, m.Node.Name, facts{"id": id, "owner": m.Node.User.Login, "expires": m.Node.Expires})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func expiryAction(now, expires time.Time) action {
	if expires.After(now) {
		return actMachineExpiring
	}
	return actMachineExpired
}

// told takes out of due what was told of already.
func told(tx store.Tx, now time.Time, due map[coord.NodeID]state.Member) error {
	notices, err := tx.ExpiryNotices()
	for _, n := range notices {
		m, ok := due[n.ID]
		if ok && n.Expires.Equal(m.Node.Expires.Truncate(time.Millisecond)) &&
			(n.Said == string(actMachineExpired) || n.Said == string(expiryAction(now, m.Node.Expires))) {
			delete(due, n.ID)
		}
	}
	return err
}
