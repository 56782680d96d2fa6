package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/warren-mesh/warren/coord"
)

// The oracle says what the documentation says, one packet and one rule at a time, of rules as they are written. It
// shares nothing with the parser and the compiler.

type world struct {
	Network
	groups map[string][]string
	hosts  map[string]string
	ipsets map[string]ipsetModel
	tags   []string
	rules  []ruleModel
}

type ipsetModel struct{ add, remove []string }

type ruleModel struct {
	grant bool
	src   []string
	dst   []string // in an acl with ports
	proto string   // of an acl
	ip    []string // of a grant
	via   []string
}

// text writes the world's policy, each rule on a line of its own from firstRule on.
func (w *world) text() string {
	quote := func(ss []string) string {
		for i := range ss {
			ss[i] = strconv.Quote(ss[i])
		}
		return "[" + strings.Join(ss, ", ") + "]"
	}
	list := func(ss []string) string { return quote(slices.Clone(ss)) }
	var b strings.Builder
	b.WriteString("{")
	section := func(name string, entries []string) {
		slices.Sort(entries)
		fmt.Fprintf(&b, "%q: {%s}, ", name, strings.Join(entries, ", "))
	}
	var groups, hosts, ipsets, tags []string
	for name, logins := range w.groups {
		groups = append(groups, fmt.Sprintf("%q: %s", name, list(logins)))
	}
	for name, value := range w.hosts {
		hosts = append(hosts, fmt.Sprintf("%q: %q", name, value))
	}
	for name, s := range w.ipsets {
		entries := slices.Clone(s.add)
		for _, r := range s.remove {
			entries = append(entries, "remove "+r)
		}
		ipsets = append(ipsets, fmt.Sprintf("%q: %s", name, list(entries)))
	}
	for _, name := range w.tags {
		tags = append(tags, fmt.Sprintf("%q: []", "tag:"+name))
	}
	section("groups", groups)
	section("hosts", hosts)
	section("ipsets", ipsets)
	section("tagOwners", tags)
	for _, grant := range []bool{false, true} {
		fmt.Fprintf(&b, "%q: [\n", map[bool]string{false: "acls", true: "grants"}[grant])
		for _, r := range w.rules {
			switch {
			case r.grant != grant:
			case grant && len(r.via) > 0:
				fmt.Fprintf(&b, "{\"src\": %s, \"dst\": %s, \"ip\": %s, \"via\": %s},\n", list(r.src), list(r.dst), list(r.ip), list(r.via))
			case grant:
				fmt.Fprintf(&b, "{\"src\": %s, \"dst\": %s, \"ip\": %s},\n", list(r.src), list(r.dst), list(r.ip))
			default:
				fmt.Fprintf(&b, "{\"action\": \"accept\", \"src\": %s, \"proto\": %q, \"dst\": %s},\n", list(r.src), r.proto, list(r.dst))
			}
		}
		b.WriteString("], ")
	}
	b.WriteString("}\n")
	return b.String()
}

func (w *world) user(m *Machine) (User, bool) {
	if len(m.Tags) > 0 {
		return User{}, false
	}
	for _, u := range w.Users {
		if u.ID == m.User {
			return u, true
		}
	}
	return User{}, false
}

// whose reports whether a machine is of a selector by whose it is.
func (w *world) whose(sel string, m *Machine) bool {
	u, owned := w.user(m)
	switch {
	case strings.HasPrefix(sel, "group:"):
		return owned && slices.Contains(w.groups[sel], u.Login)
	case strings.HasPrefix(sel, "tag:"):
		return slices.Contains(m.Tags, strings.TrimPrefix(sel, "tag:"))
	case sel == "autogroup:member":
		return owned
	case sel == "autogroup:tagged":
		return len(m.Tags) > 0 || m.User == 0
	case strings.HasPrefix(sel, "autogroup:"):
		return owned && "autogroup:"+u.Role == sel
	case strings.HasSuffix(sel, "@"):
		return owned && u.Login+"@" == sel
	case strings.Contains(sel, "@"):
		return owned && u.Login == sel
	}
	return false
}

// place gives the addresses that a selector means by themselves.
func (w *world) place(sel string, a netip.Addr) (is, contains bool) {
	if v, ok := w.hosts[sel]; ok {
		sel = v
	}
	if s, ok := w.ipsets[sel]; ok {
		in := func(ss []string) bool {
			return slices.ContainsFunc(ss, func(e string) bool {
				if e == "autogroup:internet" {
					return public(a)
				}
				_, c := w.place(e, a)
				return c
			})
		}
		return true, in(s.add) && !in(s.remove)
	}
	if p, err := netip.ParsePrefix(sel); err == nil {
		return true, p.Contains(a)
	}
	if b, err := netip.ParseAddr(sel); err == nil {
		return true, a == b
	}
	return false, false
}

// public reports whether an address of the tests' universe is one of the internet.
func public(a netip.Addr) bool {
	return slices.Contains([]string{"1.1.1.1", "8.8.8.8", "9.9.9.9", "2606:4700::1"}, a.String())
}

func (w *world) behind(m *Machine, route netip.Prefix, a netip.Addr) bool {
	return route.Bits() > 0 && route.Contains(a) && !w.IPv4.Contains(a) && !w.IPv6.Contains(a)
}

func (w *world) comes(sel string, m *Machine, a netip.Addr) bool {
	own := slices.Contains(m.Addrs, a)
	if is, contains := w.place(sel, a); is {
		return contains
	}
	if sel == "*" {
		return own || slices.ContainsFunc(m.Routes, func(r netip.Prefix) bool { return w.behind(m, r, a) })
	}
	return own && w.whose(sel, m)
}

// goes reports whether a destination means address b, at machine m itself or (route) behind it.
func (w *world) goes(r *ruleModel, sel string, from *Machine, a netip.Addr, m *Machine, route *netip.Prefix, b netip.Addr) bool {
	is, contains := w.place(sel, b)
	if route == nil {
		switch {
		case !slices.Contains(m.Addrs, b), len(r.via) > 0, sel == "autogroup:internet", sel == "autogroup:subnets":
			return false
		case is:
			return contains
		case sel == "*":
			return true
		case sel == "autogroup:self":
			u, ok := w.user(m)
			v, same := w.user(from)
			return ok && same && u.ID == v.ID && slices.Contains(from.Addrs, a)
		}
		return w.whose(sel, m)
	}
	if len(r.via) > 0 && !slices.ContainsFunc(r.via, func(t string) bool { return w.whose(t, m) }) {
		return false
	}
	exit := route.Bits() == 0 && route.Addr().Is4() == b.Is4() && public(b)
	sub := w.behind(m, *route, b)
	switch {
	case is:
		return contains && (exit || sub)
	case sel == "*":
		return exit || sub
	case sel == "autogroup:internet":
		return exit
	case sel == "autogroup:subnets":
		return sub
	}
	return false
}

// serves reports whether "22", "tcp:80-90", "*" and the like mean the packet; proto is that of an acl.
func serves(entry string, proto uint8, port uint16) bool {
	name, ports, found := strings.Cut(entry, ":")
	if !found {
		name, ports = "", entry
	}
	numbers := map[string][]uint8{"": {1, 6, 17, 58}, "icmp": {1, 58}, "tcp": {6}, "udp": {17}, "sctp": {132}, "gre": {47}, "58": {58}}[name]
	if !slices.Contains(numbers, proto) {
		return false
	}
	if ports == "*" || proto == 1 || proto == 58 {
		return true
	}
	return slices.ContainsFunc(strings.Split(ports, ","), func(p string) bool {
		first, last, ranged := strings.Cut(p, "-")
		if !ranged {
			last = first
		}
		lo, _ := strconv.Atoi(first)
		hi, _ := strconv.Atoi(last)
		return lo <= int(port) && int(port) <= hi
	})
}

// allows reports whether a rule allows the packet to machine m itself, or through its route.
func (w *world) allows(r *ruleModel, from *Machine, m *Machine, route *netip.Prefix, p coord.Packet) bool {
	if !slices.ContainsFunc(r.src, func(sel string) bool { return w.comes(sel, from, p.From) }) {
		return false
	}
	return slices.ContainsFunc(r.dst, func(d string) bool {
		if r.grant {
			return w.goes(r, d, from, p.From, m, route, p.To) &&
				slices.ContainsFunc(r.ip, func(e string) bool { return serves(e, p.Proto, p.Port) })
		}
		i := strings.LastIndex(d, ":")
		host := strings.Trim(d[:i], "[]")
		entry := d[i+1:]
		if r.proto != "" {
			entry = r.proto + ":" + entry
		}
		return w.goes(r, host, from, p.From, m, route, p.To) && serves(entry, p.Proto, p.Port)
	})
}

// ways are the ways in which an address is at a machine: itself (nil), and each route that leads there.
func (w *world) ways(m *Machine, a netip.Addr) (ws []*netip.Prefix) {
	if slices.Contains(m.Addrs, a) {
		return []*netip.Prefix{nil}
	}
	if w.IPv4.Contains(a) || w.IPv6.Contains(a) {
		return nil
	}
	for i, r := range m.Routes {
		if r.Contains(a) && (r.Bits() > 0 || public(a)) {
			ws = append(ws, &m.Routes[i])
		}
	}
	return ws
}

// allowed gives the first rule that lets the packet in at machine m, or -1.
func (w *world) allowed(from, m *Machine, p coord.Packet) int {
	for i := range w.rules {
		for _, way := range w.ways(m, p.To) {
			if w.allows(&w.rules[i], from, m, way, p) {
				return i
			}
		}
	}
	return -1
}
