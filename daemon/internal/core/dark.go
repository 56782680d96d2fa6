package core

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/ipc"
)

// darkness says to which subnets nobody leads now, and who should. Subnets of the same machines are told together.
func (f *Facts) darkness() (ps []ipc.Problem) {
	if f.Netmap == nil || f.Leads == nil || f.State() != ipc.StateRunning {
		return nil
	}
	type group struct {
		subnets []netip.Prefix
		first   string // of its machines
		names   string // of the first ones
	}
	routers := f.routersOf(f.Leads.Dark)
	groups := make(map[string]*group)
	var order []string
	for _, p := range f.Leads.Dark {
		why := blame(routers[p], p)
		if groups[why] == nil {
			groups[why] = &group{first: routers[p][0].Name, names: names(routers[p])}
			order = append(order, why)
		}
		groups[why].subnets = append(groups[why].subnets, p)
	}
	for _, why := range order[:min(len(order), ipc.MaxListed)] {
		g := groups[why]
		ps = append(ps, ipc.Problem{
			Code: ipc.ProblemRouteDown, Text: fmt.Sprintf("Nobody leads to %s now: %s.", ipc.Listed(g.subnets), why),
			Fix:   "See whether that machine runs and is on its network: warren ping " + g.first,
			About: ipc.ListedAbout(g.subnets) + " (" + g.names + ")",
		})
	}
	if more := len(order) - ipc.MaxListed; more > 0 {
		ps = append(ps, ipc.Problem{
			Code: ipc.ProblemRouteDown, Text: fmt.Sprintf("Nor does anybody lead to the subnets of %d other groups of machines.", more), Fix: "Which those are: warren status", About: fmt.Sprintf("+%d", more),
		})
	}
	return ps
}

// routersOf lists who should lead to each of some subnets, which are in order.
func (f *Facts) routersOf(ps []netip.Prefix) map[netip.Prefix][]*coord.Node {
	of := make(map[netip.Prefix][]*coord.Node, len(ps))
	for i := range f.Netmap.Peers {
		n := &f.Netmap.Peers[i]
		for _, p := range n.Routes {
			if among(ps, p) {
				of[p] = append(of[p], n)
			}
		}
	}
	return of
}

// blame says of each machine that should lead to a subnet why it does not.
func blame(routers []*coord.Node, p netip.Prefix) string {
	var why []string
	for _, n := range routers[:min(len(routers), ipc.MaxListed)] {
		switch {
		case slices.Contains(n.Cut, p):
			why = append(why, n.Name+" does not reach it itself")
		case !n.Online:
			why = append(why, n.Name+" is offline")
		default:
			why = append(why, n.Name+" does not answer")
		}
	}
	if more := len(routers) - ipc.MaxListed; more > 0 {
		why = append(why, fmt.Sprintf("and %d more do not either", more))
	}
	return strings.Join(why, ", ")
}

// cutOff says what this machine leads others to, and does not reach itself.
func (f *Facts) cutOff() []ipc.Problem {
	if len(f.Cut) == 0 {
		return nil
	}
	return []ipc.Problem{{
		Code:  ipc.ProblemRouteCut,
		Text:  fmt.Sprintf("This machine leads others to %s, and does not reach it itself: the interface towards it is down or not connected, or the route is gone.", ipc.Listed(f.Cut)),
		Fix:   "See to that interface and its routes (ip address, ip route). Meanwhile others go through another machine, if one leads there.",
		About: ipc.ListedAbout(f.Cut),
	}}
}

// names are those of the first machines of a list.
func names(of []*coord.Node) string {
	words := make([]string, 0, ipc.MaxListed+1)
	for _, n := range of[:min(len(of), ipc.MaxListed)] {
		words = append(words, n.Name)
	}
	if len(of) > ipc.MaxListed {
		words = append(words, "…")
	}
	return strings.Join(words, ", ")
}
