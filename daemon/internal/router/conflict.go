package router

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/ipc"
)

// rival is a route of the host that takes packets which are meant for the tunnel.
type rival struct {
	link    string
	dst     netip.Prefix
	ours    netip.Prefix
	shadows bool // it takes all of ours, not a part
}

// conflicts looks for what goes before the wish's routes and subnets, and past its exit node.
func (r *Router) conflicts(index int, w *Wish, attached []attachment) ([]ipc.Problem, error) {
	rules, err := again(func() ([]netlink.Rule, error) { return r.handle.RuleList(netlink.FAMILY_ALL) })
	if err != nil {
		return nil, explain("read the routing rules", err)
	}
	all, err := again(func() ([]netlink.Route, error) {
		return r.handle.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE) // every table
	})
	if err != nil {
		return nil, explain("read the routes", err)
	}
	ps := r.rivals(index, w, rules, all)
	if w.Exit != nil {
		ps = append(ps, r.past(index, rules, all)...)
	}
	ps = append(append(ps, r.trespasses(index, w, all)...), shadowed(w, attached)...)
	return append(ps, r.overtaken(index, w, attached, rules, all)...), nil
}

// past looks for rules that send packets to the internet before ours are asked.
func (r *Router) past(index int, rules []netlink.Rule, all []netlink.Route) (ps []ipc.Problem) {
	for _, rule := range rules {
		if !early(&rule) {
			continue
		}
		for i := range all {
			o := &all[i]
			dst, ok := destination(o)
			if !ok || dst.Bits() > 1 || !leadsAway(&rule, o, dst, index) {
				continue
			}
			link := r.linkName(o.LinkIndex)
			ps = append(ps, ipc.Problem{
				Code: ipc.ProblemRouteConflict, Level: ipc.ProblemUrgent,
				Text:  fmt.Sprintf("Packets to the internet go to %s, past the exit node: the routing rule of priority %d is asked before ours", link, rule.Priority),
				Fix:   fmt.Sprintf("Stop what runs %s (another VPN?), or do without the exit node: warren exit-node off", link),
				About: fmt.Sprintf("%s → %s (ip rule %d)", dst, link, rule.Priority),
			})
			break
		}
	}
	return ps
}

// rivals looks for routes that go before ours: the same prefix in the main table, a longer one inside ours, or one that
// overlaps ours in a table that a rule asks earlier (as other VPNs have). Default routes are none: rules of full-tunnel
// VPNs let the main table's longer prefixes go first (suppress_prefixlength).
func (r *Router) rivals(index int, w *Wish, rules []netlink.Rule, all []netlink.Route) []ipc.Problem {
	early := earlyTables(rules, w)
	names := make(map[int]string)
	var rivals []rival
	for i := range all {
		o := &all[i]
		dst, ok := destination(o)
		if !ok || dst.Bits() == 0 || o.LinkIndex == index || o.Type != unix.RTN_UNICAST || o.Table == unix.RT_TABLE_LOCAL {
			continue
		}
		for _, ours := range w.Routes {
			if !ours.Overlaps(dst) || !before(o, dst, ours, early, w.Exit != nil) {
				continue
			}
			if _, known := names[o.LinkIndex]; !known {
				names[o.LinkIndex] = r.linkName(o.LinkIndex)
			}
			rivals = append(rivals, rival{names[o.LinkIndex], dst, ours, dst.Bits() <= ours.Bits()})
		}
	}
	return problems(rivals)
}

// before reports whether a packet to ours that o matches too takes o. With an exit node, ours stand before the main table.
func before(o *netlink.Route, dst, ours netip.Prefix, early map[int]bool, exit bool) bool {
	switch {
	case early[o.Table]:
		return true
	case exit || o.Table != unix.RT_TABLE_MAIN:
		return false
	case dst.Bits() != ours.Bits():
		return dst.Bits() > ours.Bits()
	}
	metric := 0 // of ours
	if ours.Addr().Is6() {
		metric = 1024 // what the kernel makes of 0 (IP6_RT_PRIO_USER)
	}
	return o.Priority <= metric
}

// earlyTables lists the tables that some rule asks before the one that has the network's routes: the main table, or with an
// exit node ours.
func earlyTables(rules []netlink.Rule, w *Wish) map[int]bool {
	first := 32766 // of the rule "from all lookup main", ip-rule(8)
	if w.Exit != nil {
		first = ruleTable
	}
	early := make(map[int]bool)
	for _, rule := range rules {
		if rule.Priority < first && rule.Table != unix.RT_TABLE_MAIN && rule.Table != unix.RT_TABLE_LOCAL && rule.Table != Table {
			early[rule.Table] = true
		}
	}
	return early
}

func (r *Router) linkName(index int) string {
	if link, err := r.handle.LinkByIndex(index); err == nil {
		return link.Attrs().Name
	}
	return "another interface"
}

// problems tells the rivals, one problem for each interface and prefix of ours.
func problems(rivals []rival) []ipc.Problem {
	type pair struct {
		link string
		ours netip.Prefix
	}
	worst := make(map[pair]rival)
	for _, rv := range rivals {
		p := pair{rv.link, rv.ours}
		if was, seen := worst[p]; !seen || rv.dst.Bits() < was.dst.Bits() {
			worst[p] = rv
		}
	}
	var ps []ipc.Problem
	for _, rv := range worst {
		p := ipc.Problem{Code: ipc.ProblemRouteConflict, About: towards(rv.dst, rv.link)}
		if rv.shadows {
			p.Text = fmt.Sprintf("%s is routed to %s: no machine of this network in %s can be reached", rv.dst, rv.link, rv.ours)
			p.Fix = fmt.Sprintf("Stop what runs %s (another VPN?), or give this network another address range.", rv.link)
		} else {
			p.Text = fmt.Sprintf("%s is routed to %s: machines of this network with addresses in it cannot be reached", rv.dst, rv.link)
			p.Fix = fmt.Sprintf("Give this network an address range that does not overlap with that of %s.", rv.link)
		}
		ps = append(ps, p)
	}
	return sorted(ps)
}

// towards is a route as a Problem's About has it.
func towards(to netip.Prefix, link string) string { return to.String() + " → " + link }

func sorted(ps []ipc.Problem) []ipc.Problem {
	slices.SortFunc(ps, func(a, b ipc.Problem) int { return cmp.Compare(a.Text, b.Text) })
	return ps
}
