package router

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Table is the routing table of our own, and the priorities are those of the rules that lead to it. They stand after those of
// Tailscale (5210 to 5270), so that what it knows goes its way, and before those of wg-quick (just before 32766) and the
// main table's: no route that a DHCP server or another program puts there goes first (CVE-2024-3661).
//
//	5310  fwmark MARK lookup main          our own sockets: never into the tunnel that they carry
//	5311  fwmark MARK unreachable
//	5315  lookup main suppress_prefixlength 0   without an exit node only: what the host leads to itself wins
//	5320  lookup Table
const (
	Table = 8787

	ruleMarked    = 5310
	ruleMarkedEnd = 5311
	ruleHost      = 5315
	ruleTable     = 5320
)

// loopback is the index of lo in every network namespace (LOOPBACK_IFINDEX, linux/net/flow.h).
const loopback = 1

// backstop is the metric of the default route that leads nowhere. It is taken when the tunnel's is gone with its interface:
// then nothing goes around the tunnel.
const backstop = 1 << 20

// Exit is what leaves the host through the interface, whatever its other routes say.
type Exit struct {
	IPv4, IPv6 bool // false: this version goes nowhere
	AllowLAN   bool // private subnets that the host is attached to are reached directly
}

// way is what a route of our table does.
type way uint8

const (
	viaTunnel way = iota
	viaHost       // back to the host's own tables (throw)
	nowhere       // with an error, for what has no other route
	aside         // to the loopback interface, which drops it: what comes from there passes the reverse path filter
)

// item is one rule, or one route of our table.
type item struct {
	six  bool
	rule int          // its priority; 0: a route
	dst  netip.Prefix // of a route
	way  way
}

// attachment is a subnet that the host is attached to.
type attachment struct {
	prefix netip.Prefix
	// inner: on a bridge between this host and its own containers or virtual machines.
	inner bool
}

// private are the addresses that a LAN may have (RFC 1918, RFC 4193, RFC 3927). What a DHCP server calls local beyond them is the
// internet (CVE-2023-36672).
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fc00::/7"),
}

var (
	linkLocal6  = netip.MustParsePrefix("fe80::/10") // is of one link, always: DHCPv6, router discovery
	multicast4  = netip.MustParsePrefix("224.0.0.0/4")
	broadcast4  = netip.MustParsePrefix("255.255.255.255/32")
	everywhere4 = netip.MustParsePrefix("0.0.0.0/0")
	everywhere6 = netip.MustParsePrefix("::/0")
)

// items are the rules and routes that a wish asks for, on a host that is attached to these subnets. Those of IPv6 are left
// out where the host has none.
func (w *Wish) items(attached []attachment, noIPv6 bool) []item {
	var routes []item
	add := func(dst netip.Prefix, how way) {
		routes = append(routes, item{six: dst.Addr().Is6(), dst: dst, way: how})
	}
	for _, p := range w.Subnets {
		if w.Exit == nil || !slices.ContainsFunc(attached, func(a attachment) bool { return a.private() && contains(a.prefix, p) }) {
			add(p, viaTunnel)
		}
	}
	if w.Exit != nil {
		w.exitItems(attached, add)
	}
	var items []item
	for _, six := range []bool{false, true} {
		if six && noIPv6 {
			break
		}
		of := slices.DeleteFunc(slices.Clone(routes), func(i item) bool { return i.six != six })
		if len(of) == 0 {
			continue
		}
		items = append(items, of...)
		items = append(items, item{six: six, rule: ruleMarked}, item{six: six, rule: ruleMarkedEnd}, item{six: six, rule: ruleTable})
		if w.Exit == nil {
			items = append(items, item{six: six, rule: ruleHost})
		}
	}
	slices.SortFunc(items, item.compare)
	return slices.Compact(items)
}

// exitItems are the routes of an exit node.
func (w *Wish) exitItems(attached []attachment, add func(netip.Prefix, way)) {
	for _, p := range w.Routes { // the network's own too: no route of the host's may pull them out
		add(p, viaTunnel)
	}
	add(everywhere4, nowhere)
	add(everywhere6, nowhere)
	// IPv4 that is blocked ends in the tunnel, where nobody may take it: a route that refuses would have the kernel's
	// reverse path filter refuse what our own sockets receive.
	add(everywhere4, viaTunnel)
	if w.Exit.IPv6 {
		add(everywhere6, viaTunnel)
	}
	add(linkLocal6, viaHost)
	if w.Exit.AllowLAN {
		add(multicast4, viaHost)
		add(broadcast4, viaHost)
	}
	for _, a := range attached {
		ours := slices.ContainsFunc(w.Routes, a.prefix.Overlaps)
		switch {
		case !a.private() || ours:
		case a.inner || w.Exit.AllowLAN:
			add(a.prefix, viaHost)
		case !slices.ContainsFunc(w.Subnets, a.prefix.Overlaps): // the exit node leads nobody there
		case a.prefix.Addr().Is4():
			add(a.prefix, aside)
		default:
			add(a.prefix, nowhere)
		}
	}
}

func (a attachment) private() bool {
	return slices.ContainsFunc(private, func(p netip.Prefix) bool { return contains(p, a.prefix) })
}

func contains(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// compare gives the order in which items are added: routes before the rules that lead to them, and of these the ones that
// keep packets out of our table first. They are removed in reverse.
func (i item) compare(o item) int {
	return cmp.Or(cmp.Compare(i.rule, o.rule), cmp.Compare(boolInt(i.six), boolInt(o.six)), cmp.Compare(backstopFirst(i), backstopFirst(o)), i.dst.Compare(o.dst), cmp.Compare(i.way, o.way))
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// backstopFirst puts routes that lead back to the host, or nowhere, before those into the tunnel.
func backstopFirst(i item) int { return boolInt(i.way == viaTunnel) }

// family is as netlink numbers it.
func (i item) family() int {
	if i.six {
		return netlink.FAMILY_V6
	}
	return netlink.FAMILY_V4
}

// asRule is the item as netlink takes it.
func (i item) asRule(mark uint32) *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.Priority, r.Protocol = i.family(), i.rule, Protocol
	switch i.rule {
	case ruleMarked:
		r.Mark, r.Table = mark, unix.RT_TABLE_MAIN
	case ruleMarkedEnd:
		r.Mark, r.Type = mark, unix.RTN_UNREACHABLE // FR_ACT_UNREACHABLE is the same number (linux/fib_rules.h)
	case ruleHost:
		r.Table, r.SuppressPrefixlen = unix.RT_TABLE_MAIN, 0
	case ruleTable:
		r.Table = Table
	}
	return r
}

// asRoute is the item as netlink takes it.
func (i item) asRoute(index int) *netlink.Route {
	switch i.way {
	case viaTunnel:
		r := route(index, i.dst)
		r.Table, r.Type = Table, unix.RTN_UNICAST
		return r
	case aside:
		r := route(loopback, i.dst)
		r.Table, r.Type = Table, unix.RTN_UNICAST
		return r
	case viaHost:
		return &netlink.Route{Dst: ipNet(i.dst), Family: i.family(), Protocol: Protocol, Table: Table, Type: unix.RTN_THROW}
	default:
		return &netlink.Route{Dst: ipNet(i.dst), Family: i.family(), Protocol: Protocol, Table: Table, Type: unix.RTN_UNREACHABLE, Priority: backstop}
	}
}

// present reads which of our rules and routes are there.
func present(h *netlink.Handle, index int) ([]item, error) {
	var items []item
	rules, err := again(func() ([]netlink.Rule, error) { return h.RuleList(netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	for _, r := range rules {
		switch r.Priority {
		case ruleMarked, ruleMarkedEnd, ruleHost, ruleTable:
			if r.Protocol == Protocol {
				items = append(items, item{six: r.Family == netlink.FAMILY_V6, rule: r.Priority})
			}
		}
	}
	filter := &netlink.Route{Protocol: Protocol, Table: Table}
	routes, err := again(func() ([]netlink.Route, error) {
		return h.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, err
	}
	for i := range routes {
		r := &routes[i]
		dst, ok := destination(r)
		is := item{six: dst.Addr().Is6(), dst: dst}
		switch {
		case !ok || r.Table != Table:
			continue
		case r.Type == unix.RTN_THROW:
			is.way = viaHost
		case r.Type == unix.RTN_UNREACHABLE && r.Priority == backstop:
			is.way = nowhere
		case r.Type == unix.RTN_UNICAST && r.LinkIndex == loopback:
			is.way = aside
		case r.Type != unix.RTN_UNICAST || r.LinkIndex != index:
			continue // somebody else's
		}
		items = append(items, is)
	}
	slices.SortFunc(items, item.compare)
	return slices.Compact(items), nil
}
