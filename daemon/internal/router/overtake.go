package router

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/ipc"
)

// early reports whether a rule of others is asked before the one that leads to our table, and by all packets. Those that single
// some out (by source, mark, user) are somebody's purpose; "all but some", as wg-quick's, are all.
func early(rule *netlink.Rule) bool {
	some := rule.Mark != 0 || rule.Src != nil || rule.Dst != nil || rule.IifName != "" || rule.OifName != "" || rule.UIDRange != nil ||
		rule.IPProto != 0 || rule.Dport != nil || rule.Sport != nil || rule.Tos != 0
	return rule.Priority < ruleTable && rule.Protocol != Protocol && rule.Table != unix.RT_TABLE_LOCAL && (!some || rule.Invert)
}

// leadsAway reports whether a rule takes a route that leads elsewhere than into the tunnel.
func leadsAway(rule *netlink.Rule, o *netlink.Route, dst netip.Prefix, index int) bool {
	return o.Table == rule.Table && dst.Bits() > rule.SuppressPrefixlen && dst.Addr().Is6() == (rule.Family == netlink.FAMILY_V6) &&
		o.LinkIndex != index && o.Type == unix.RTN_UNICAST
}

// overtaking is a route by which the host itself leads to a subnet of others, or to a part of it.
type overtaking struct {
	link  string
	dst   netip.Prefix
	early int // the priority of the rule that is asked before ours; 0: it is the main table's own
}

// overtaken says which subnets of others are not reached through the machines that lead there, because the host has a route there
// itself. Of the networks that it is on shadowed tells.
func (r *Router) overtaken(index int, w *Wish, attached []attachment, rules []netlink.Rule, all []netlink.Route) (ps []ipc.Problem) {
	if len(w.Subnets) == 0 {
		return nil
	}
	names := make(map[int]string)
	lost := make(map[overtaking][]netip.Prefix)
	for i := range rules {
		rule := &rules[i]
		host := rule.Priority == ruleHost && rule.Protocol == Protocol
		if !host && !early(rule) {
			continue
		}
		for n := range all {
			o := &all[n]
			dst, ok := destination(o)
			told := w.Exit != nil && dst.Bits() <= 1 // by past
			if !ok || told || !leadsAway(rule, o, dst, index) || slices.ContainsFunc(attached, func(a attachment) bool { return contains(a.prefix, dst) }) {
				continue
			}
			if _, known := names[o.LinkIndex]; !known {
				names[o.LinkIndex] = r.linkName(o.LinkIndex)
			}
			by := overtaking{link: names[o.LinkIndex], dst: dst}
			if !host {
				by.early = rule.Priority
			}
			for _, p := range w.Subnets {
				if p.Overlaps(dst) && !slices.Contains(lost[by], p) {
					lost[by] = append(lost[by], p)
				}
			}
		}
	}
	for by, subnets := range lost {
		ps = append(ps, by.problem(subnets))
	}
	return sorted(ps)
}

func (by overtaking) problem(subnets []netip.Prefix) ipc.Problem {
	p := ipc.Problem{
		Code: ipc.ProblemRouteConflict, Level: ipc.ProblemNotice,
		Text:  fmt.Sprintf("This machine has a route of its own to %s, by %s: what is there is not reached through the machine that leads to %s.", by.dst, by.link, ipc.Listed(subnets)),
		Fix:   "If it should be: remove that route",
		About: towards(by.dst, by.link),
	}
	if by.early != 0 {
		p.Level = ""
		p.About = fmt.Sprintf("%s → %s (ip rule %d)", ipc.ListedAbout(subnets), by.link, by.early)
		p.Text = fmt.Sprintf("Packets to %s go to %s, past the machine that leads there: the routing rule of priority %d is asked before ours", ipc.Listed(subnets), by.link, by.early)
		p.Fix = fmt.Sprintf("Stop what runs %s (another VPN?), or connect to this network after it: warren down, warren up", by.link)
	}
	return p
}

// trespasses looks for routes of others in our table. They stay, as others' do everywhere, and where ours was to be is theirs.
func (r *Router) trespasses(index int, w *Wish, all []netlink.Route) (ps []ipc.Problem) {
	if !w.detour() {
		return nil
	}
	for i := range all {
		o := &all[i]
		dst, ok := destination(o)
		if !ok || o.Table != Table || o.Protocol == Protocol || o.LinkIndex == index || o.Type != unix.RTN_UNICAST {
			continue
		}
		ps = append(ps, ipc.Problem{
			Code: ipc.ProblemRouteConflict, Level: ipc.ProblemUrgent,
			Text:  fmt.Sprintf("Packets to %s go to %s, past this network: another program has put that route into Warren's routing table %d.", dst, r.linkName(o.LinkIndex), Table),
			Fix:   fmt.Sprintf("Have that program use another table, and: sudo ip route del %s table %d", dst, Table),
			About: towards(dst, r.linkName(o.LinkIndex)),
		})
	}
	return sorted(ps)
}

// shadowed says which subnets of others the networks that the host is on win over.
func shadowed(w *Wish, attached []attachment) (ps []ipc.Problem) {
	for _, a := range attached {
		var direct, kept []netip.Prefix
		for _, p := range w.Subnets {
			switch own := a.prefix; {
			case !own.Overlaps(p) || w.Exit != nil && !a.private():
			case w.Exit == nil || w.Exit.AllowLAN || a.inner:
				direct = append(direct, p)
			default:
				kept = append(kept, p)
			}
		}
		tell := func(format string, of []netip.Prefix) {
			if len(of) > 0 {
				ps = append(ps, ipc.Problem{
					Code: ipc.ProblemRouteShadow, Level: ipc.ProblemNotice,
					Text:  fmt.Sprintf(format, a.prefix, ipc.Listed(of)),
					About: ipc.ListedAbout(of) + " ⊂⊃ " + a.prefix.String(),
				})
			}
		}
		tell("%s is a network that this machine is on itself: what is there is reached directly, not through the machine that leads to %s.", direct)
		tell("%s is a network that this machine is on itself, and the exit node keeps it off its LAN: what is there is not reached through the machine that leads to %s either.", kept)
	}
	return ps
}
