package policy

import (
	"net/netip"
	"slices"

	"github.com/warren-mesh/warren/coord"
)

// Network describes who and what there is. Addresses of machines are in IPv4 or IPv6.
type Network struct {
	IPv4, IPv6 netip.Prefix
	Users      []User
	Machines   []Machine
}

// User is an account, as far as rules look at it.
type User struct {
	ID    int64
	Login string
	Role  string // owner, admin, auditor or member
}

// Machine is a machine, as far as rules look at it. One with tags belongs to no user, whatever User says.
type Machine struct {
	ID     coord.NodeID
	User   int64 // 0: nobody's
	Tags   []string
	Addrs  []netip.Addr
	Routes []netip.Prefix // as approved; 0.0.0.0/0 and ::/0 are an exit node's
}

// subject is a machine with all that selectors ask of it worked out.
type subject struct {
	Machine
	slot        int
	sight       string         // see Compiled.Sight
	login, role string         // of its user; empty: nobody's
	behind      []netip.Prefix // the subnets that it leads to, without the network's own addresses
	exit        []netip.Prefix // the public addresses that it leads to

	// The atoms that it is of, ordered, by family (0 is IPv4); see compile.go.
	src, dst [2][]int
	routes   []routeHits
	selves   []int // the edges to autogroup:self that are for its user
}

// routeHits are the atoms that a route alone makes its router be of.
type routeHits struct {
	prefix   netip.Prefix
	src, dst []int
}

// subjectOf works out what does not depend on a file.
func subjectOf(m Machine, users map[int64]User, own []netip.Prefix) *subject {
	s := &subject{Machine: m}
	if u, ok := users[m.User]; ok && len(m.Tags) == 0 {
		s.login, s.role = foldLogin(u.Login), u.Role
	}
	for _, r := range m.Routes {
		if coord.IsExitRoute(r) {
			s.exit = append(s.exit, subtract(ofFamily(Internet, familyOf(r.Addr())), own)...)
		} else {
			s.behind = append(s.behind, subtract([]netip.Prefix{r.Masked()}, own)...)
		}
	}
	s.behind, s.exit = union(s.behind), union(s.exit)
	return s
}

// familyOf is 0 for IPv4 and 1 for IPv6.
func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

func ofFamily(ps []netip.Prefix, family int) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(ps), func(p netip.Prefix) bool { return familyOf(p.Addr()) != family })
}

// nobodys reports whether the machine belongs to no user: it has a tag, or a pre-auth key without a user let it in.
func (s *subject) nobodys() bool { return len(s.Tags) > 0 || s.User == 0 }

func (s *subject) hasTag(name string) bool { return slices.Contains(s.Tags, name) }

// is reports whether the machine itself is of a selector that goes by whose it is.
func (f *File) is(s *subject, sel *selector) bool {
	switch sel.kind {
	case anyone:
		return true
	case user:
		return s.login != "" && s.login == sel.name
	case group:
		return s.login != "" && contains(f.groups[sel.name], s.login)
	case role:
		return s.login != "" && (sel.name == roleMember || s.role == sel.name)
	case tag:
		return s.hasTag(sel.name)
	case tagged:
		return s.nobodys()
	}
	return false
}

// contains looks a login up in a group.
func contains(logins []string, login string) bool {
	_, found := slices.BinarySearch(logins, login)
	return found
}

// leads reports whether a rule's traffic may go through the machine, as a router.
func (r *rule) leads(s *subject) bool {
	return len(r.via) == 0 || slices.ContainsFunc(r.via, s.hasTag)
}
