package server

import (
	"context"
	"net/http"
	"net/netip"
	"slices"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/state"
	"github.com/warren-mesh/warren/coord/internal/store"
	"github.com/warren-mesh/warren/coord/key"
)

// What lies behind a machine: it offers routes, an admin approves them, and the network's machines see what is both. An
// approval is the admin's word on the machine and stays whether the machine offers the route at the moment or not; it goes
// with the machine, so that who takes a machine over has none of its approvals.

// exitRoutes make an exit node. To people they are one thing: there is no approving the one without the other.
var exitRoutes = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}

// RoutesRequest changes what a machine may lead to.
type RoutesRequest struct {
	Approve  []netip.Prefix `json:"approve,omitempty" maxItems:"64" nullable:"false" doc:"routes that the machine may lead to, whether it offers them now or not; 0.0.0.0/0 or ::/0 is both"`
	Withdraw []netip.Prefix `json:"withdraw,omitempty" maxItems:"64" nullable:"false" doc:"routes that it may lead to no more"`
}

// routeInfo is one route of a machine, or its being an exit node.
type routeInfo struct {
	Route             netip.Prefix // 0.0.0.0/0 stands for an exit node
	Exit              bool
	Only              string // of an exit node: the family that it offers without the other; empty: both, or none
	Offered, Approved bool
	Cut               bool // the machine says that it does not reach it itself now
}

// inOrder gives the prefixes in their order, each once, as a list of its own; none is nil.
func inOrder(ps []netip.Prefix) []netip.Prefix {
	if len(ps) == 0 {
		return nil
	}
	ps = slices.Clone(ps)
	slices.SortFunc(ps, netip.Prefix.Compare)
	return slices.Compact(ps)
}

// wholeExit makes either of an exit node's routes both.
func wholeExit(ps []netip.Prefix) []netip.Prefix {
	if slices.ContainsFunc(ps, coord.IsExitRoute) {
		ps = slices.Concat(ps, exitRoutes)
	}
	return inOrder(ps)
}

// without gives those of ps that are not in out.
func without(ps, out []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(ps), func(p netip.Prefix) bool { return slices.Contains(out, p) })
}

// asks are the routes that a machine offers and nobody has approved.
func asks(m state.Member) []netip.Prefix { return without(m.Offered, m.Approved) }

// asksAnything reports whether a machine offers what nobody has approved: routes, or to relay.
func asksAnything(m state.Member) bool {
	return len(asks(m)) > 0 || m.OffersRelay != nil && !m.MayRelay
}

// routesOf lists what a machine offers and what is approved: an exit node first.
func routesOf(m state.Member) (all []routeInfo) {
	both := wholeExit(slices.Concat(m.Offered, m.Approved))
	for _, p := range both {
		r := routeInfo{Route: p, Offered: slices.Contains(m.Offered, p), Approved: slices.Contains(m.Approved, p), Cut: slices.Contains(m.Cut, p)}
		if !coord.IsExitRoute(p) {
			all = append(all, r)
			continue
		}
		if p.Addr().Is6() {
			continue // it is said with the other
		}
		other := slices.Contains(m.Offered, exitRoutes[1])
		switch {
		case r.Offered && !other:
			r.Only = "IPv4"
		case other && !r.Offered:
			r.Only = "IPv6"
		}
		r.Exit, r.Offered = true, r.Offered || other
		all = slices.Insert(all, 0, r)
	}
	return all
}

// noteOffer writes into the log that a machine offers what waits for an approval, so that an admin hears of it.
func (s *Server) noteOffer(ctx context.Context, from netip.Addr, m key.MachinePublic, what action, details facts) error {
	return s.store.Write(ctx, func(tx store.Tx) error {
		n, err := tx.NodeByMachine(m)
		if err != nil {
			return err
		}
		details["id"] = n.ID
		return s.record(tx, ofMachine(n, from), what, n.Name, details)
	})
}

// SetRoutes approves routes of a machine and withdraws others, as the host's administrator.
func (s *Server) SetRoutes(ctx context.Context, name string, q RoutesRequest) error {
	m, err := s.machineNamed(name)
	if err != nil {
		return err
	}
	return s.setRoutes(ctx, operator, m, q)
}

// setRoutes changes what a machine may lead to. What is approved and withdrawn at once is withdrawn.
func (s *Server) setRoutes(ctx context.Context, by caller, m state.Member, q RoutesRequest) error {
	approve, withdraw := wholeExit(q.Approve), wholeExit(q.Withdraw)
	if err := coord.ValidateRoutes(approve, &s.network); err != nil {
		return err
	}
	return s.changeMachine(ctx, m, func(tx store.Tx, n *store.Node) error {
		next := without(inOrder(slices.Concat(n.Approved, approve)), withdraw)
		if err := coord.ValidateRoutes(next, &s.network); err != nil { // they may be too many together
			return err
		}
		gained, lost := without(next, n.Approved), without(n.Approved, next)
		if len(gained)+len(lost) == 0 {
			return nil
		}
		n.Approved = next
		details := facts{"id": n.ID, "owner": m.Node.User.Login}
		if len(gained) > 0 {
			details["approved"] = gained
		}
		if len(lost) > 0 {
			details["withdrawn"] = lost
		}
		return s.record(tx, by, actMachineRoutes, n.Name, details)
	})
}

// routesPage approves a route, or withdraws it.
func (s *Server) routesPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	m, err := s.machineInPath(r)
	if err != nil {
		return err
	}
	p, err := netip.ParsePrefix(r.PostForm.Get("route"))
	if err != nil {
		return badRequest("The form names no route")
	}
	q := RoutesRequest{Approve: []netip.Prefix{p}}
	if r.PostForm.Get("do") == "withdraw" {
		q = RoutesRequest{Withdraw: q.Approve}
	}
	if err := s.setRoutes(r.Context(), v.caller(), m, q); err != nil {
		return err
	}
	return redirect(w, r, "/machines/"+r.PathValue("id"))
}

// routeOperation is the operation on a machine's routes. What there is, its own operation shows.
func (s *Server) routeOperation() operation {
	return gives(operation{
		id: "setMachineRoutes", method: http.MethodPost, path: "/machines/{id}/routes", about: "Approve routes that a machine offers, or withdraw the approval",
		scope: account.ScopeMachines, right: account.Change, // nobody approves their own
	}, func(ctx context.Context, by caller, in *struct {
		NamePath
		Body RoutesRequest
	},
	) (MachineInfo, error) {
		m, err := s.machineNamed(in.Name)
		if err != nil {
			return MachineInfo{}, err
		}
		if err := s.setRoutes(ctx, by, m, in.Body); err != nil {
			return MachineInfo{}, err
		}
		if now, ok := s.hub.view().Member(m.Node.ID); ok {
			m = now
		}
		return machineInfo(m), nil
	})
}
