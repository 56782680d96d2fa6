package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/warren-mesh/warren/coord"
)

// Question asks whether a flow may begin: from a machine, or from what lies behind it, to an address.
type Question struct {
	From   coord.NodeID
	Source netip.Addr // the zero address: the machine's own
	To     netip.Addr
	Proto  uint8
	Port   uint16 // of a protocol without ports: 0
}

// Verdict answers, with the reason.
type Verdict struct {
	Allowed bool           `json:"allowed"`
	Rule    Pos            `json:"rule,omitzero"`     // the first rule that allows it; in DefaultText, if that is in force
	Default bool           `json:"default"`           // the default is in force
	Through []coord.NodeID `json:"through,omitempty"` // the machine that is meant, or the routers through which it may go
	Nearest Pos            `json:"nearest,omitzero"`  // if none allows it: the rule that comes nearest
	Why     string         `json:"why"`               // in a sentence
}

// lacks is what a rule does not match of a question; the fewer and later, the nearer it comes.
type lacks int

const (
	nothing lacks = iota
	lacksService
	lacksSource
	lacksDest
	lacksAll
)

// Verdict works an answer out, rule after rule.
func (c *Compiled) Verdict(q Question) Verdict {
	v := Verdict{Default: c.isDefault()}
	from := c.machines[q.From]
	if from == nil {
		v.Why = textNoMachine
		return v
	}
	if q.Source, v.Why = sourceOf(from, q); v.Why != "" {
		return v
	}
	tos := c.leadingTo(q.To)
	if len(tos) == 0 {
		v.Why = fmt.Sprintf(textNobodyThere, q.To)
		return v
	}
	if tos = slices.DeleteFunc(tos, func(to *subject) bool { return to == from }); len(tos) == 0 {
		v.Why = textItself
		return v
	}
	nearest := lacksAll
	for i := range c.file.rules {
		r := &c.file.rules[i]
		for _, to := range tos {
			switch l := c.file.match(r, from, to, q, false); {
			case l == nothing:
				if !v.Allowed {
					v.Allowed, v.Rule = true, r.pos
				}
				v.Through = append(v.Through, to.ID)
			case l < nearest:
				nearest, v.Nearest = l, r.pos
			}
		}
	}
	slices.Sort(v.Through)
	v.Through = slices.Compact(v.Through)
	v.Why = v.sentence(nearest)
	return v
}

func (c *Compiled) isDefault() bool {
	return len(c.file.rules) > 0 && len(defaultFile.rules) > 0 && &c.file.rules[0] == &defaultFile.rules[0]
}

func (v *Verdict) sentence(nearest lacks) string {
	where := fmt.Sprintf(textLine, v.Rule.Line)
	if v.Default {
		where = textOfDefault
	}
	if v.Allowed {
		v.Nearest = Pos{}
		return fmt.Sprintf(textAllowed, where)
	}
	if v.Nearest != (Pos{}) {
		where = fmt.Sprintf(textLine, v.Nearest.Line)
		if v.Default {
			where = textOfDefault
		}
	}
	switch nearest {
	case lacksService:
		return fmt.Sprintf(textNearService, where)
	case lacksSource:
		return fmt.Sprintf(textNearSource, where)
	case lacksDest:
		return fmt.Sprintf(textNearDest, where)
	}
	return textNoneNear
}

// sourceOf finds the address that the flow comes from.
func sourceOf(from *subject, q Question) (netip.Addr, string) {
	if q.Source.IsValid() {
		if !slices.Contains(from.Addrs, q.Source) && !containsAddr(from.behind, q.Source) {
			return q.Source, fmt.Sprintf(textNotItsAddr, q.Source)
		}
		return q.Source, ""
	}
	for _, a := range from.Addrs {
		if familyOf(a) == familyOf(q.To) {
			return a, ""
		}
	}
	return q.Source, textNoFamily
}

// leadingTo gives the machine that has the address, or the routers that lead there, by ID.
func (c *Compiled) leadingTo(a netip.Addr) []*subject {
	if s := c.byAddr[a]; s != nil {
		return []*subject{s}
	}
	var out []*subject
	for _, r := range c.routers {
		if containsAddr(r.behind, a) || containsAddr(r.exit, a) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *subject) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// match says what a rule lacks for the flow, through or to this machine. Suspicious, it takes it that a machine without
// an address may have any: it is for what must not be allowed.
func (f *File) match(r *rule, from, to *subject, q Question, suspicious bool) lacks {
	source, best := false, lacksAll
	for i := range r.src {
		source = source || f.matchSource(&r.src[i], from, q.Source, suspicious)
	}
	for i := range r.targets {
		t := &r.targets[i]
		dest := f.matchDest(r, &t.selector, from, to, q, suspicious)
		service := slices.ContainsFunc(t.services, func(s coord.Service) bool { return s.Matches(q.Proto, q.Port) })
		l := lacksAll
		switch {
		case source && dest && service:
			return nothing
		case source && dest:
			l = lacksService
		case dest && service:
			l = lacksSource
		case source && service:
			l = lacksDest
		}
		best = min(best, l)
	}
	return best
}

func (f *File) matchSource(sel *selector, from *subject, a netip.Addr, suspicious bool) bool {
	own := slices.Contains(from.Addrs, a)
	switch sel.kind {
	case nets:
		return containsAddr(sel.nets, a) || suspicious && !a.IsValid() && f.mayBeMachine(sel.nets)
	case anyone:
		return own || containsAddr(from.behind, a)
	}
	return own && f.is(from, sel)
}

func (f *File) matchDest(r *rule, sel *selector, from, to *subject, q Question, suspicious bool) bool {
	if slices.Contains(to.Addrs, q.To) {
		switch {
		case len(r.via) > 0:
			return false
		case sel.kind == nets:
			return containsAddr(sel.nets, q.To) || suspicious && !q.To.IsValid() && f.mayBeMachine(sel.nets)
		case sel.kind == self:
			return to.login != "" && to.login == from.login && slices.Contains(from.Addrs, q.Source)
		}
		return f.is(to, sel)
	}
	if !r.leads(to) {
		return false
	}
	behind := containsAddr(to.behind, q.To)
	exit := containsAddr(to.exit, q.To)
	switch sel.kind {
	case anyone:
		return behind || exit
	case nets:
		return (behind || exit) && containsAddr(sel.nets, q.To)
	case subnets:
		return behind
	case internet:
		return exit
	}
	return false
}

// mayBeMachine reports whether addresses may be those of a machine that is not known: whole subnets of what networks
// have, but not a single address, which is that of another.
func (f *File) mayBeMachine(ps []netip.Prefix) bool {
	return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return !p.IsSingleIP() && overlapsAny(usual, p) })
}

// usual are the addresses of networks that are not described: the default IPv4, and unique local IPv6 (RFC 4193).
var usual = prefixes("100.64.0.0/10", "fd00::/8")

// Text of verdicts.
const (
	textNoMachine   = "there is no such machine"
	textNotItsAddr  = "%s is neither the machine's address nor behind it"
	textNobodyThere = "no machine has the address %s, and none leads there"
	textItself      = "that is the machine itself"
	textNoFamily    = "the machine has no address of that family"
	textLine        = "the rule on line %d"
	textOfDefault   = "the default policy"
	textAllowed     = "%s allows it"
	textNearService = "no rule allows it: %s is for this source and destination, but not for this protocol and port"
	textNearSource  = "no rule allows it: %s is for this destination and port, but not for this source"
	textNearDest    = "no rule allows it: %s is for this source and port, but not for this destination"
	textNoneNear    = "no rule allows it"
)
