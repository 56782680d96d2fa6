package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/state"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// How a membership begins, lasts and ends: an admin approves it, its key is extended, an ephemeral one runs out.

// Times of ephemeral machines: long enough for a reboot or a network that fails, short enough that the jobs of a day
// do not pile up.
const (
	ephemeralLife = 30 * time.Minute // of an ephemeral machine that is offline
	ephemeralWait = 24 * time.Hour   // of one that an admin has not decided on: people do not look every half hour
	sweepInterval = time.Minute
)

// ExtendRequest gives a machine's key another life.
type ExtendRequest struct {
	Forever bool `json:"forever,omitempty"` // it does not expire any more, also after another login
}

// ApproveMachine lets a machine in that waits for it.
func (s *Server) ApproveMachine(ctx context.Context, name string) error {
	m, err := s.machineNamed(name)
	if err != nil {
		return err
	}
	return s.approveMachine(ctx, operator, m)
}

func (s *Server) approveMachine(ctx context.Context, by caller, m state.Member) error {
	return s.changeMachine(ctx, m, func(tx store.Tx, n *store.Node) error {
		if !n.Pending {
			return errNotPending
		}
		n.Pending, n.Created = false, s.now() // it is a member from now on, and has the time of one to come
		return s.record(tx, by, actMachineApprove, n.Name, facts{"id": n.ID, "owner": m.Node.User.Login})
	})
}

// DenyMachine forgets a machine that waits to be let in.
func (s *Server) DenyMachine(ctx context.Context, name string) error {
	m, err := s.machineNamed(name)
	if err != nil {
		return err
	}
	return s.denyMachine(ctx, operator, m)
}

func (s *Server) denyMachine(ctx context.Context, by caller, m state.Member) error {
	return s.dropMachine(ctx, by, actMachineDeny, m, nil, func(n store.Node) error {
		if !n.Pending { // of two admins the other was quicker, and said yes
			return errNotPending
		}
		return nil
	})
}

// ExtendMachine gives a machine's key another life from now on, or one without end.
func (s *Server) ExtendMachine(ctx context.Context, name string, forever bool) error {
	m, err := s.machineNamed(name)
	if err != nil {
		return err
	}
	return s.extendMachine(ctx, operator, m, forever)
}

func (s *Server) extendMachine(ctx context.Context, by caller, m state.Member, forever bool) error {
	return s.changeMachine(ctx, m, func(tx store.Tx, n *store.Node) error {
		if n.User == 0 || len(n.Tags) > 0 {
			return errKeepsKey
		}
		c, err := settingsOf(tx)
		if err != nil {
			return err
		}
		if n.Lasting, n.Expires = forever, c.keyEnd(s.now()); forever {
			n.Expires = time.Time{}
		}
		details := facts{"id": n.ID, "owner": m.Node.User.Login, "forever": forever}
		if !n.Expires.IsZero() {
			details["expires"] = n.Expires
		}
		return s.record(tx, by, actMachineExtend, n.Name, details)
	})
}

// sweep removes ephemeral machines that have been offline for long enough, and tells of keys that end, until ctx ends.
func (s *Server) sweep(ctx context.Context) {
	every := time.NewTicker(sweepInterval)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			s.removeStale(ctx)
			if err := s.tellExpiries(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("cannot tell of keys that end", "err", err)
			}
		}
	}
}

// removeStale removes the ephemeral machines whose time is over.
func (s *Server) removeStale(ctx context.Context) {
	for m := range s.hub.view().Members() {
		if !s.ranOut(m) {
			continue
		}
		switch err := s.dropMachine(ctx, caller{via: viaServer}, actMachineRemove, m, facts{"why": "ephemeral, and offline"}, s.stillOut); {
		case err == nil:
		case ctx.Err() == nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, errBack):
			s.log.Warn("cannot remove an ephemeral machine yet", "id", m.Node.ID, "err", err)
		}
	}
}

// errBack says that a machine came online in the last moment.
var errBack = errors.New("it is back")

// ranOut reports whether a machine is ephemeral and has been offline for its time. What the store knew of last-seen
// times at the start may be old, so that time begins no sooner than the server.
func (s *Server) ranOut(m state.Member) bool {
	last := m.Node.LastSeen
	for _, t := range []time.Time{m.Node.Created, s.started} {
		if t.After(last) {
			last = t
		}
	}
	life := ephemeralLife
	if m.Pending {
		life = ephemeralWait
	}
	return m.Ephemeral && !m.Node.Online && s.now().Sub(last) >= life
}

func (s *Server) stillOut(n store.Node) error {
	if s.hub.serves(n.ID) || !s.ranOut(s.memberOf(n, store.User{})) {
		return errBack
	}
	return nil
}

// approvePage lets a waiting machine in.
func (s *Server) approvePage(w http.ResponseWriter, r *http.Request, v *visit) error {
	m, err := s.machineInPath(r)
	if err == nil {
		err = s.approveMachine(r.Context(), v.caller(), m)
	}
	if err != nil {
		return err
	}
	return redirect(w, r, "/")
}

func (s *Server) askDeny(w http.ResponseWriter, r *http.Request, v *visit) error {
	m, err := s.machineInPath(r)
	if err != nil {
		return err
	}
	return s.confirm(w, "/", v, confirmation{
		Ask: fmt.Sprintf(textDenyAsk, m.Node.Name), What: textDenyWhat, Action: r.URL.Path, Button: textDeny, Back: "/machines/" + r.PathValue("id"),
	})
}

func (s *Server) denyPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	m, err := s.machineInPath(r)
	if err == nil {
		err = s.denyMachine(r.Context(), v.caller(), m)
	}
	if err != nil {
		return err
	}
	return redirect(w, r, "/")
}

// extendPage gives a machine's key another life.
func (s *Server) extendPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	forever := r.PostForm.Get("do") == "forever"
	m, err := s.machineInPath(r)
	if err == nil {
		err = s.extendMachine(r.Context(), v.caller(), m, forever)
	}
	if err != nil {
		return err
	}
	return redirect(w, r, "/machines/"+r.PathValue("id"))
}

// mayDecide reports whether a visitor may let machines in.
func mayDecide(v *visit) bool { return authorize(v.caller(), account.Change, false) == nil }
