package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/warren-mesh/warren/coord"
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
//
// Tests multiply: machines with machines, with rules. Those of a file that would be more work than maxTestWork are not run to their
// end, and that is a problem too.
func (c *Compiled) RunTests() Problems { return c.runTests(maxTestWork) }

func (c *Compiled) runTests(work int) Problems {
	var ps Problems
	t := &trial{Compiled: c, left: work, ids: slices.Sorted(maps.Keys(c.machines)), known: make(map[string][][]end)}
	for i := range c.file.asserts {
		a := &c.file.asserts[i]
		sources := t.ends(&a.src)
		for _, e := range a.accept {
			if why := t.expect(a, sources, e, true); why != "" {
				ps = append(ps, Problem{Pos: e.pos, Text: fmt.Sprintf(textTestDenied, a.src.text, e.text, why)})
			}
			if t.left < 0 {
				return append(ps, Problem{Pos: e.pos, Text: textTestsLarge}).sorted()
			}
		}
		for _, e := range a.deny {
			if why := t.expect(a, sources, e, false); why != "" {
				ps = append(ps, Problem{Pos: e.pos, Text: fmt.Sprintf(textTestAllowed, a.src.text, e.text, why)})
			}
			if t.left < 0 {
				return append(ps, Problem{Pos: e.pos, Text: textTestsLarge}).sorted()
			}
		}
	}
	return ps.sorted()
}

// maxTestWork bounds what the tests of a file may cost, in looks at a rule's source, target or service, or at a machine: some seconds.
const maxTestWork = 1 << 25

// trial is the tests of a file while they run.
type trial struct {
	*Compiled
	left  int // of the work that they may be; less than 0: it is used up
	ids   []coord.NodeID
	known map[string][][]end // by selector
}

const (
	textTestsLarge  = "up to here the file's tests are too much work: they try each machine of one side with each of the other. Test fewer, or single users instead of large groups"
	textTestDenied  = "%s should reach %s and does not: %s"
	textTestAllowed = "%s should not reach %s and does: %s"
)

// expect says why what is expected is not so; empty: it is.
func (c *trial) expect(a *assertion, sources [][]end, e expectation, accept bool) string {
	dests := c.ends(&e.dst)
	if accept && c.left >= 0 && (len(sources) == 0 || len(dests) == 0) {
		return textNoUsers
	}
	for _, from := range sources {
		rules := c.rulesFrom(from, !accept)
		for _, to := range dests {
			if c.left < 0 {
				return ""
			}
			if from[0].subject == to[0].subject {
				continue // the machine itself
			}
			if v := c.flow(a, rules, from, to, e.port, !accept); v.Allowed == accept {
				continue
			}
			return c.flow(a, c.allRules(), from, to, e.port, !accept).Why
		}
	}
	return ""
}

func (c *trial) allRules() []*rule {
	all := make([]*rule, len(c.file.rules))
	for i := range all {
		all[i] = &c.file.rules[i]
	}
	return all
}

// rulesFrom lists the rules that a machine is a source of, at any of its addresses: no other allows it anything.
func (c *trial) rulesFrom(from []end, suspicious bool) (rules []*rule) {
	for i := range c.file.rules {
		r := &c.file.rules[i]
		c.left -= len(r.src) * len(from)
		if slices.ContainsFunc(from, func(f end) bool {
			return slices.ContainsFunc(r.src, func(s selector) bool { return c.file.matchSource(&s, f.subject, f.addr, suspicious) })
		}) {
			rules = append(rules, r)
		}
	}
	return rules
}

const textNoUsers = "there is nobody in it"

// flow tries each address of one machine with each of another, for each of the protocols, until something is allowed.
func (c *trial) flow(a *assertion, rules []*rule, from, to []end, port uint16, suspicious bool) Verdict {
	v, nearest := Verdict{Default: c.isDefault()}, lacksAll
	c.left -= len(from) * len(to)
	for _, r := range rules {
		c.left -= len(from) * len(to) * len(a.proto) * r.weight()
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

// weight is what it costs to ask a rule, as maxTestWork counts.
func (r *rule) weight() int {
	n := len(r.src)
	for i := range r.targets {
		n += 1 + len(r.targets[i].services)
	}
	return n
}

// ends gives the machines that a test's selector stands for, each with its addresses.
func (c *trial) ends(sel *selector) [][]end {
	key := fmt.Sprint(sel.kind, " ", sel.text)
	if _, known := c.known[key]; !known {
		c.known[key] = c.find(sel)
	}
	return c.known[key]
}

func (c *trial) find(sel *selector) [][]end {
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
func (c *trial) endsOf(sel *selector) [][]end {
	if c.left -= len(c.users) + len(c.ids); c.left < 0 {
		return nil
	}
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
	for _, id := range c.ids {
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
func (c *trial) endsAt(a netip.Addr) [][]end {
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
