package server

import (
	"context"
	"net/http"

	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/state"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// Machines that relay for others: one offers to, an admin allows it, and whoever sees the machine sees that it relays. As
// with routes, the admin's word stays whether it offers to or not, and goes with the machine.

// RelayingRequest allows a machine to relay for others, or does not.
type RelayingRequest struct {
	Allow bool `json:"allow" doc:"it may relay for others, whether it offers to now or not"`
}

// setRelaying changes whether a machine may relay for others.
func (s *Server) setRelaying(ctx context.Context, by caller, m state.Member, allow bool) error {
	return s.changeMachine(ctx, m, func(tx store.Tx, n *store.Node) error {
		if n.MayRelay == allow {
			return nil
		}
		n.MayRelay = allow
		return s.record(tx, by, actMachineRelaying, n.Name, facts{"id": n.ID, "owner": m.Node.User.Login, "allowed": allow})
	})
}

// relayingPage does so for the machine's page.
func (s *Server) relayingPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	m, err := s.machineInPath(r)
	if err != nil {
		return err
	}
	if err := s.setRelaying(r.Context(), v.caller(), m, r.PostForm.Get("do") == "allow"); err != nil {
		return err
	}
	return redirect(w, r, "/machines/"+r.PathValue("id"))
}

func (s *Server) relayingOperation() operation {
	return gives(operation{
		id: "setMachineRelaying", method: http.MethodPost, path: "/machines/{id}/relaying", about: "Allow a machine to relay for others, or no more",
		scope: account.ScopeMachines, right: account.Change, // nobody allows their own
	}, func(ctx context.Context, by caller, in *struct {
		NamePath
		Body RelayingRequest
	},
	) (MachineInfo, error) {
		m, err := s.machineNamed(in.Name)
		if err != nil {
			return MachineInfo{}, err
		}
		if err := s.setRelaying(ctx, by, m, in.Body.Allow); err != nil {
			return MachineInfo{}, err
		}
		if now, ok := s.hub.view().Member(m.Node.ID); ok {
			m = now
		}
		return machineInfo(m), nil
	})
}
