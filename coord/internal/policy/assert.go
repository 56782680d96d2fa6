package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// end is one end of a flow in a test: a machine and the address there.
type end struct {
	subject *subject
	addr    netip.Addr // zero: of a machine that only the test knows, its own
}

// RunTests runs the file's tests. What a test names is a machine of its own: of the user, with the tag alone, with the
// address; and, if the network has such machines, each of them as well. What is accepted must be so for all of them;
// what is denied must be so for all, too, and then a rule for a whole subnet of the network's addresses counts for a
// machine whose address is not known. Without a network, users have no role but member.
func (c *Compiled) RunTests() Problems {
	var ps Problems
	for i := range c.file.asserts {
		a := &c.file.asserts[i]
		sources := c.ends(&a.src)
		for _, e := range a.accept {
			if why := c.expect(a, sources, e, true); why != "" {
				ps = append(ps, Problem{Pos: e.pos, Text: fmt.Sprintf(textTestDenied, a.src.text, e.text, why)})
			}
		}
		for _, e := range a.deny {
			if why := c.expect(a, sources, e, false); why != "" {
				ps = append(ps, Problem{Pos: e.pos, Text: fmt.Sprintf(textTestAllowed, a.src.text, e.text, why)})
			}
		}
	}
	return ps.sorted()
}

const (
	textTestDenied  = "%s should reach %s and does not: %s"
	textTestAllowed = "%s should not reach %s and does: %s"
)

// expect says why what is expected is not so; empty: it is.
func (c *Compiled) expect(a *assertion, sources [][]end, e expectation, accept bool) string {
	dests := c.ends(&e.dst)
	if accept && (len(sources) == 0 || len(dests) == 0) {
		return textNoUsers
	}
	for _, from := range sources {
		for _, to := range dests {
			if from[0].subject == to[0].subject {
				continue // the machine itself
			}
			v := c.flow(a, from, to, e.port, !accept)
			if v.Allowed != accept {
				return v.Why
			}
		}
	}
	return ""
}

const textNoUsers = "there is nobody in it"

// flow tries each address of one machine with each of another, for each of the protocols, until something is allowed.
func (c *Compiled) flow(a *assertion, from, to []end, port uint16, suspicious bool) Verdict {
	v, nearest := Verdict{Default: c.isDefault()}, lacksAll
	for i := range c.file.rules {
		r := &c.file.rules[i]
		for _, f := range from {
			for _, t := range to {
				if f.addr.IsValid() && t.addr.IsValid() && familyOf(f.addr) != familyOf(t.addr) {
					continue
				}
				for _, proto := range a.proto {
					q := Question{Source: f.addr, To: t.addr, Proto: proto, Port: port}
					switch l := c.file.match(r, f.subject, t.subject, q, suspicious); {
					case l == nothing:
						v.Allowed, v.Rule = true, r.pos
						v.Why = v.sentence(l)
						return v
					case l < nearest:
						nearest, v.Nearest = l, r.pos
					}
				}
			}
		}
	}
	v.Why = v.sentence(nearest)
	return v
}

// ends gives the machines that a test's selector stands for, each with its addresses.
func (c *Compiled) ends(sel *selector) [][]end {
	switch sel.kind {
	case nets:
		return c.endsAt(sel.nets[0].Addr())
	case group:
		var out [][]end
		for _, login := range c.file.groups[sel.name] {
			out = append(out, c.endsOf(&selector{kind: user, name: login})...)
		}
		return out
	}
	return c.endsOf(sel)
}

// unknown is whose the machines are that only a test knows, where it does not say it: somebody's, and no user's.
const unknown = -1

// endsOf gives a machine of the test's own, and those of the network.
func (c *Compiled) endsOf(sel *selector) [][]end {
	own := &subject{Machine: Machine{User: unknown, Addrs: []netip.Addr{{}}}}
	switch sel.kind {
	case user:
		own.login, own.role = sel.name, roleMember
		for _, u := range c.users {
			if foldLogin(u.Login) == sel.name {
				own.role = u.Role
			}
		}
	case role:
		own.login, own.role = "*", sel.name // no login is so
	case tag:
		own.Tags = []string{sel.name}
	}
	out := [][]end{{{subject: own}}}
	for _, id := range slices.Sorted(maps.Keys(c.machines)) {
		if s := c.machines[id]; len(s.Addrs) > 0 && c.file.is(s, sel) {
			out = append(out, endsAt(s))
		}
	}
	return out
}

func endsAt(s *subject) []end {
	out := make([]end, len(s.Addrs))
	for i, a := range s.Addrs {
		out[i] = end{s, a}
	}
	return out
}

// endsAt gives the machine that has an address, or those that lead there: then it is enough that one of them does. An
// address that nobody has is a machine's of the test's own, if it is of the network, and else behind a router of its own.
func (c *Compiled) endsAt(a netip.Addr) [][]end {
	var leading []end
	for _, s := range c.leadingTo(a) {
		leading = append(leading, end{s, a})
	}
	if len(leading) > 0 {
		return [][]end{leading}
	}
	s := &subject{Machine: Machine{User: unknown}}
	own := c.own
	if len(own) == 0 {
		own = usual
	}
	switch {
	case containsAddr(own, a):
		s.Addrs = []netip.Addr{a}
	case containsAddr(Internet, a):
		s.exit = []netip.Prefix{single(a)}
	default:
		s.behind = []netip.Prefix{single(a)}
	}
	s.Tags = slices.Sorted(maps.Keys(c.file.tagOwners))
	if len(s.Addrs) > 0 {
		s.Tags = nil
	}
	return [][]end{{{s, a}}}
}
