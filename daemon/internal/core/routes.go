package core

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/ipc"
)

// exit says how the exit node stands, or nil where none is wanted.
func (f *Facts) exit() *ipc.Exit {
	if len(f.Wants.Exits) == 0 {
		return nil
	}
	e := &ipc.Exit{Wanted: f.wanted(), AllowLAN: f.Wants.AllowLAN}
	if f.Leads == nil || f.Netmap == nil {
		return e
	}
	if n := f.Netmap.Peer(f.Leads.Exit); n != nil {
		e.Name, e.Up = n.Name, f.Leads.Up
		e.IPv4, e.IPv6 = leadsTo(n, true), leadsTo(n, false)
	}
	return e
}

// wanted names the exit nodes that people want, as they are called now.
func (f *Facts) wanted() (names []string) {
	for _, w := range f.Wants.Exits {
		name := w.Name
		if f.Netmap != nil {
			if n := f.Netmap.Peer(w.Node); n != nil {
				name = n.Name
			}
		}
		names = append(names, name)
	}
	return names
}

// offers lists what this machine offers, and whether an admin has approved it.
func (f *Facts) offers() (offers []ipc.Offer) {
	for _, p := range f.Wants.Offer {
		offers = append(offers, ipc.Offer{Route: p, Approved: slices.Contains(f.Netmap.Self.Routes, p), Cut: slices.Contains(f.Cut, p)})
	}
	return offers
}

// peerRoutes adds what a machine leads to.
func (f *Facts) peerRoutes(p *ipc.Peer, n *coord.Node) {
	p.ExitOption = n.IsExit()
	for _, route := range n.Routes {
		if coord.IsExitRoute(route) {
			continue
		}
		p.Routes = append(p.Routes, route)
		if f.Leads != nil && f.Leads.Routers[route] == n.ID {
			p.Serves = append(p.Serves, route)
		}
	}
	p.Exit = f.Leads != nil && len(f.Wants.Exits) > 0 && f.Leads.Exit == n.ID
}

// held says that what was to go through an exit node goes nowhere, because this machine is not on its network.
func (f *Facts) held() []ipc.Problem {
	state := f.State()
	waits := state == ipc.StateNeedsLogin || state == ipc.StatePending || state == ipc.StateStarting && f.Netmap == nil
	if !waits || !f.Prefs.Up || len(f.Wants.Exits) == 0 || !f.Paused.IsZero() {
		return nil
	}
	p := ipc.Problem{
		Code: ipc.ProblemExitHeld, Level: ipc.ProblemUrgent, Fix: "Go around the exit node: warren exit-node off",
		Text: fmt.Sprintf("Nothing goes to the internet, because it would go around the exit node %s: this machine is not on its network.", strings.Join(f.wanted(), ", ")),
	}
	if state == ipc.StateNeedsLogin {
		p.Fix = "Log in: warren login. This machine's own browser reaches the page after: warren exit-node portal. Or go around the exit node: warren exit-node off"
	}
	return []ipc.Problem{p}
}

// exitProblems are those of an exit node that does not do its work: nothing goes around it, so they are loud.
func (f *Facts) exitProblems() []ipc.Problem {
	if f.Netmap == nil || f.Leads == nil || len(f.Wants.Exits) == 0 || f.State() != ipc.StateRunning {
		return nil
	}
	const leave = "Go around it: warren exit-node off. Or use another: warren exit-node list"
	e := f.exit()
	switch {
	case e.Name == "" && len(e.Wanted) == 1:
		return []ipc.Problem{{
			Code: ipc.ProblemExitGone, Level: ipc.ProblemUrgent, Fix: leave,
			Text: fmt.Sprintf("%s is no exit node of this network now: nothing goes to the internet.", e.Wanted[0]),
		}}
	case e.Name == "":
		return []ipc.Problem{{
			Code: ipc.ProblemExitGone, Level: ipc.ProblemUrgent, Fix: leave,
			Text: fmt.Sprintf("None of %s is an exit node of this network now: nothing goes to the internet.", strings.Join(e.Wanted, ", ")),
		}}
	case !e.Up && len(e.Wanted) > 1:
		return []ipc.Problem{{
			Code: ipc.ProblemExitDown, Level: ipc.ProblemUrgent, Fix: leave,
			Text: fmt.Sprintf("No exit node answers (%s): nothing goes to the internet until one does.", strings.Join(e.Wanted, ", ")),
		}}
	case !e.Up:
		return []ipc.Problem{{
			Code: ipc.ProblemExitDown, Level: ipc.ProblemUrgent, Fix: leave,
			Text: fmt.Sprintf("The exit node %s does not answer: nothing goes to the internet until it does.", e.Name),
		}}
	}
	return nil
}

// lockedOffers says that a machine with lockdown leads nobody anywhere. The two cannot be asked for together, but lockdown is the
// machine's, and what is offered the login's: switching may bring them together.
func (f *Facts) lockedOffers() []ipc.Problem {
	if !f.Wants.Lockdown || len(f.Wants.Offer) == 0 {
		return nil
	}
	return []ipc.Problem{{
		Code: ipc.ProblemLockedOffer, Fix: "End one of them: sudo warren set --lockdown=false, or sudo warren set --advertise-exit-node=false --advertise-routes=",
		Text: "With lockdown nothing leaves this machine, not even what others send through it: nobody reaches what it offers to lead to.",
	}}
}

// routeNotices are what people may want to know of routes, and has time.
func (f *Facts) routeNotices() (ps []ipc.Problem) {
	if f.Netmap == nil || f.State() != ipc.StateRunning {
		return nil
	}
	if e := f.exit(); e != nil && e.Name != "" && e.IPv4 != e.IPv6 {
		leads, blocked := "IPv4", "IPv6"
		if e.IPv6 {
			leads, blocked = blocked, leads
		}
		ps = append(ps, ipc.Problem{
			Code: ipc.ProblemExitNoIPv6, Level: ipc.ProblemNotice,
			Text:  fmt.Sprintf("The exit node %s leads to %s only: %s is blocked while it is used.", e.Name, leads, blocked),
			About: e.Name + ": " + leads,
		})
	}
	if f.DNS != nil && len(f.Wants.Exits) > 0 && f.DNS.Mode == "off" {
		ps = append(ps, ipc.Problem{
			Code: ipc.ProblemExitDNS, Level: ipc.ProblemNotice,
			Text: "This host's programs do not ask for names through the exit node: they ask its own nameserver, which they may not reach now.",
			Fix:  "Let them ask here: warren set --accept-dns",
		})
	}
	if waiting, exit := unapproved(f.offers()); exit || len(waiting) > 0 {
		words, about := ipc.Listed(waiting), ipc.ListedAbout(waiting)
		if exit {
			words, about = strings.TrimPrefix(words+", use as exit node", ", "), strings.TrimPrefix(about+", 0.0.0.0/0, ::/0", ", ")
		}
		ps = append(ps, ipc.Problem{
			Code: ipc.ProblemUnapproved, Level: ipc.ProblemNotice, Text: "Waits for an admin's approval: " + words + ".",
			Fix: "An admin of the network approves it for this machine.", About: about,
		})
	}
	if offered := f.unaccepted(); len(offered) > 0 {
		ps = append(ps, ipc.Problem{
			Code: ipc.ProblemUnaccepted, Level: ipc.ProblemNotice, Text: "Other machines lead to subnets that are not used here: " + ipc.Listed(offered) + ".",
			Fix: "Use them: sudo warren set --accept-routes", About: ipc.ListedAbout(offered),
		})
	}
	return ps
}

// unapproved lists what waits, and tells whether being an exit node does.
func unapproved(offers []ipc.Offer) (waiting []netip.Prefix, exit bool) {
	exits := 0
	for _, o := range offers {
		switch {
		case o.Approved && coord.IsExitRoute(o.Route):
			exits++
		case o.Approved:
		case coord.IsExitRoute(o.Route):
			exits--
		default:
			waiting = append(waiting, o.Route)
		}
	}
	return waiting, exits < 0 // with one of the two it is an exit node
}

// unaccepted lists subnets that other machines lead to, and this one does not use.
func (f *Facts) unaccepted() (seen []netip.Prefix) {
	if f.Wants.Accept {
		return nil
	}
	for i := range f.Netmap.Peers {
		for _, p := range f.Netmap.Peers[i].Routes {
			if !coord.IsExitRoute(p) && !slices.Contains(f.Wants.Offer, p) && !slices.Contains(seen, p) {
				seen = append(seen, p)
			}
		}
	}
	slices.SortFunc(seen, netip.Prefix.Compare)
	return seen
}
