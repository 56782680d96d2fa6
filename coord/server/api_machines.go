package server

import (
	"context"
	"iter"
	"net/http"
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/state"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// MachineList is a page of machines.
type MachineList struct {
	Machines []MachineInfo `json:"machines"`
	Next     string        `json:"next,omitempty" doc:"cursor of the next page; none: this is the last"`
}

// RenameRequest gives a machine another name.
type RenameRequest struct {
	Name string `json:"name" maxLength:"63"`
}

// TagsRequest gives a machine other tags.
type TagsRequest struct {
	Tags []string `json:"tags" maxItems:"32" doc:"all of them; a machine with tags belongs to nobody, and its key does not expire"`
}

type machineQuery struct {
	PageQuery
	Text  string `query:"q" maxLength:"100" doc:"words that are somewhere in it, as the console searches"`
	User  string `query:"user" maxLength:"128" doc:"login of its owner"`
	Tag   string `query:"tag" maxLength:"63"`
	State string `query:"state" enum:"online,offline,expired,waiting"`
	Asks  bool   `query:"asks" doc:"only those that offer routes, or to relay, which nobody has approved"`
}

func (s *Server) machineOperations() []operation {
	get, post := http.MethodGet, http.MethodPost
	// on is an operation on one machine.
	on := func(id, path, about string, do func(context.Context, caller, state.Member) error) operation {
		return does(operation{
			id: id, method: post, path: "/machines/{id}" + path, about: about, scope: account.ScopeMachines, right: account.Change, of: s.namedMachineOwner,
		}, func(ctx context.Context, by caller, in *NamePath) error {
			m, err := s.machineNamed(in.Name)
			if err != nil {
				return err
			}
			return do(ctx, by, m)
		})
	}
	remove := on("removeMachine", "", "Remove a machine", s.removeMachine)
	remove.method = http.MethodDelete
	approve := on("approveMachine", "/approve", "Let a machine in that waits for approval", s.approveMachine)
	deny := on("denyMachine", "/deny", "Forget a machine that waits for approval", s.denyMachine)
	approve.of, deny.of = nil, nil // nobody lets their own in
	return []operation{
		gives(operation{
			id: "listMachines", method: get, path: "/machines", about: "List the machines", scope: account.ScopeMachines, right: account.See, own: true,
		}, s.listMachines),
		gives(operation{
			id: "getMachine", method: get, path: "/machines/{id}", about: "Show a machine", scope: account.ScopeMachines, right: account.See, of: s.namedMachineOwner,
		}, func(_ context.Context, _ caller, in *NamePath) (MachineInfo, error) {
			m, err := s.machineNamed(in.Name)
			return machineInfo(m), err
		}),
		does(operation{
			id: "renameMachine", method: post, path: "/machines/{id}/name", about: "Rename a machine; its addresses stay", scope: account.ScopeMachines,
			right: account.Change, of: s.namedMachineOwner,
		}, func(ctx context.Context, by caller, in *struct {
			NamePath
			Body RenameRequest
		},
		) error {
			m, err := s.machineNamed(in.Name)
			if err != nil {
				return err
			}
			return s.renameMachine(ctx, by, m, in.Body.Name)
		}),
		does(operation{
			id: "tagMachine", method: post, path: "/machines/{id}/tags", about: "Replace a machine's tags", scope: account.ScopeMachines,
			right: account.Change, of: s.namedMachineOwner,
		}, func(ctx context.Context, by caller, in *struct {
			NamePath
			Body TagsRequest
		},
		) error {
			m, err := s.machineNamed(in.Name)
			if err != nil {
				return err
			}
			return s.tagMachine(ctx, by, m, in.Body.Tags)
		}),
		on("expireMachine", "/expire", "End a machine's key: its person has to log in again", s.expireMachine),
		does(operation{
			id: "extendMachine", method: post, path: "/machines/{id}/extend", about: "Give a machine's key another life", scope: account.ScopeMachines,
			right: account.Change,
		}, func(ctx context.Context, by caller, in *struct {
			NamePath
			Body ExtendRequest
		},
		) error {
			m, err := s.machineNamed(in.Name)
			if err != nil {
				return err
			}
			return s.extendMachine(ctx, by, m, in.Body.Forever)
		}),
		approve, deny, remove, s.routeOperation(), s.relayingOperation(),
	}
}

// namedMachineOwner is an ownerOf.
func (s *Server) namedMachineOwner(r *http.Request) (int64, error) {
	m, err := s.machineNamed(r.PathValue("id"))
	return m.Node.User.ID, err
}

func machineInfo(m state.Member) MachineInfo {
	return MachineInfo{
		Node: m.Node, Expired: m.Expired, Pending: m.Pending, Ephemeral: m.Ephemeral, OfferedRoutes: m.Offered, ApprovedRoutes: m.Approved,
		OffersRelay: m.OffersRelay != nil, MayRelay: m.MayRelay,
	}
}

func (s *Server) listMachines(_ context.Context, by caller, in *machineQuery) (l MachineList, err error) {
	l.Machines, l.Next, err = pageOf(in.PageQuery, s.machinesFor(by, in), func(m MachineInfo) int64 { return int64(m.ID) })
	return l, err
}

// machinesFor goes through the machines that the caller may see and asked for.
func (s *Server) machinesFor(by caller, in *machineQuery) iter.Seq[MachineInfo] {
	now, all := s.now(), authorize(by, account.See, false) == nil
	return func(yield func(MachineInfo) bool) {
		for m := range s.hub.view().Members() {
			n := m.Node
			if !all && (by.user == 0 || n.User.ID != by.user) || in.User != "" && n.User.Login != in.User || in.Tag != "" && !slices.Contains(n.Tags, in.Tag) || in.Asks && !asksAnything(m) {
				continue
			}
			if in.State != "" || in.Text != "" {
				row := rowOf(now, m)
				if in.State != "" && row.State != in.State || !row.matches(in.Text) {
					continue
				}
			}
			if !yield(machineInfo(m)) {
				return
			}
		}
	}
}

// tagMachine replaces a machine's tags. With some it belongs to nobody, and its key does not expire; who takes the last
// one leaves it nobody's, until a person logs in on it. Members give those of their own machines the tags that the policy
// says are theirs.
func (s *Server) tagMachine(ctx context.Context, by caller, m state.Member, tags []string) error {
	tags, err := cleanTags(tags)
	if err != nil {
		return err
	}
	return s.changeMachine(ctx, m, func(tx store.Tx, n *store.Node) error {
		if slices.Equal(n.Tags, tags) {
			return nil
		}
		if err := authorizeNow(tx, by, account.Change, n.User == by.user); err != nil {
			return err
		}
		if err := s.mayTag(tx, by, tags); err != nil {
			return err
		}
		details, was := facts{"id": n.ID, "owner": m.Node.User.Login, "from": n.Tags, "to": tags}, *n
		if n.Tags = tags; len(tags) > 0 {
			n.User, n.Expires, n.Lasting = 0, time.Time{}, false
		}
		if err := s.record(tx, by, actMachineTag, n.Name, details); err != nil {
			return err
		}
		return s.approveByTags(tx, &was, n)
	})
}
