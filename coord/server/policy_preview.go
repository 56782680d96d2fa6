package server

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/policy"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// Bounds of a preview, which is for people.
const (
	maxPreviewed = 200 // machines
	maxNamed     = 50  // others, and lines, of each
)

// PolicyPreview says what a file would change if it were saved now.
type PolicyPreview struct {
	PolicyReport
	Version int64           `json:"version" doc:"the file in force, which it is compared with"`
	Changed int             `json:"changed" doc:"machines for which something changes"`
	Changes []MachinePolicy `json:"changes" doc:"the first 200 of them, by name"`
}

// MachinePolicy is what changes for one machine.
type MachinePolicy struct {
	Machine string   `json:"machine"`
	Gains   []string `json:"gains,omitempty" doc:"machines that it sees, and that see it, and did not before; the first 50"`
	Loses   []string `json:"loses,omitempty" doc:"those that it did see"`
	Opens   []string `json:"opens,omitempty" doc:"what may come in to it, or through it, and could not before"`
	Closes  []string `json:"closes,omitempty" doc:"what might come in, and could no more"`
	Routes  []string `json:"routes,omitempty" doc:"routes that it offers, and that the file approves by itself"`

	Gained, Lost int `json:"-"` // how many Gains and Loses there are, of which lists have the first
}

// previewPolicy works out what a file would change.
func (s *Server) previewPolicy(ctx context.Context, text string) (p PolicyPreview, err error) {
	var c checked
	var now *policy.File
	err = s.store.Read(ctx, func(tx store.Tx) error {
		if c, err = s.check(tx, text); err != nil {
			return err
		}
		v, err := tx.Policy()
		if err != nil {
			return err
		}
		p.Version = v.ID
		now, err = rulesIn(tx)
		return err
	})
	p.PolicyReport, p.Changes = c.PolicyReport, []MachinePolicy{}
	if err != nil || c.rules == nil {
		return p, err
	}
	old := policy.Compile(now, c.network)
	next := old.With(c.file)
	c.put(next)
	for _, m := range c.network.Machines {
		one := MachinePolicy{Machine: c.nodes[m.ID].Name}
		moved := next.MoveFrom(old, m.ID)
		one.Gains, one.Gained = c.named(m.ID, moved.Gained)
		one.Loses, one.Lost = c.named(m.ID, moved.Lost)
		was, is := old.Filter(m.ID), next.Filter(m.ID)
		if len(coord.DiffFilters(was, is)) > 0 {
			before, after := linesOf(was), linesOf(is)
			one.Opens, one.Closes = missingLines(after, before), missingLines(before, after)
		}
		for _, r := range c.approves[m.ID] {
			one.Routes = append(one.Routes, r.String())
		}
		if len(one.Gains)+len(one.Loses)+len(one.Opens)+len(one.Closes)+len(one.Routes) > 0 {
			p.Changed++
			p.Changes = append(p.Changes, one)
		}
	}
	slices.SortFunc(p.Changes, func(a, b MachinePolicy) int { return cmp.Compare(a.Machine, b.Machine) })
	p.Changes = p.Changes[:min(len(p.Changes), maxPreviewed)]
	return p, nil
}

// named gives the names of machines but one, in order, and how many they are; of many names the first, and how many more
// there are.
func (c *checked) named(but coord.NodeID, ids []coord.NodeID) (names []string, count int) {
	for _, id := range ids {
		if id != but {
			names = append(names, c.nodes[id].Name)
		}
	}
	slices.Sort(names)
	return few(names), len(names)
}

// few shortens a list to what people look at.
func few(names []string) []string {
	if more := len(names) - maxNamed; more > 0 {
		return append(names[:maxNamed:maxNamed], fmt.Sprintf(textAndMore, more))
	}
	return names
}

// linesOf writes a filter as lines for people: one for each source and what it may do.
func linesOf(f *coord.Filter) map[string]bool {
	out := map[string]bool{}
	add := func(rules []coord.FilterRule) {
		for _, r := range rules {
			for _, from := range r.From {
				for _, a := range r.Allow {
					line := fmt.Sprintf(textFilterIn, from, a)
					if len(r.To) > 0 {
						line = fmt.Sprintf(textFilterTo, from, a, prefixList(r.To))
					}
					out[line] = true
				}
			}
		}
	}
	add(f.In)
	add(f.Forward)
	return out
}

// prefixList names a few of many prefixes.
func prefixList(ps []netip.Prefix) string {
	var names []string
	for _, p := range ps[:min(len(ps), 3)] {
		if p.IsSingleIP() {
			names = append(names, p.Addr().String())
		} else {
			names = append(names, p.String())
		}
	}
	if more := len(ps) - len(names); more > 0 {
		names = append(names, fmt.Sprintf(textAndMore, more))
	}
	return strings.Join(names, ", ")
}

func missingLines(all, these map[string]bool) (out []string) {
	for line := range all {
		if !these[line] {
			out = append(out, line)
		}
	}
	slices.Sort(out)
	return few(out)
}

// Access answers whether a flow may begin.
type Access struct {
	policy.Verdict
	From    string     `json:"from"`
	To      netip.Addr `json:"to"`
	Service string     `json:"service"`
	Text    string     `json:"text,omitempty" doc:"the line of the policy file that decides, or the nearest"`
	Routers []string   `json:"routers,omitempty" doc:"machines that the flow may go through"`
}

// AccessQuestion asks whether a machine may reach another, or an address.
type AccessQuestion struct {
	From  string `query:"from" maxLength:"128" required:"true" doc:"the machine that begins: its name, or its number"`
	To    string `query:"to" maxLength:"128" required:"true" doc:"the machine that it wants to reach, or an address"`
	Port  int    `query:"port" minimum:"0" maximum:"65535" doc:"of a protocol without ports: none"`
	Proto string `query:"proto" maxLength:"16" default:"tcp" doc:"a protocol's name, such as tcp, udp or icmp, or its number"`
}

// explain answers by the rules in force.
func (s *Server) explain(ctx context.Context, q *AccessQuestion) (a Access, err error) {
	from, err := s.machineNamed(q.From)
	if err != nil {
		return a, err
	}
	proto, ok := coord.ParseProto(strings.ToLower(cmp.Or(q.Proto, "tcp")))
	if !ok {
		return a, badRequest("There is no such protocol: it is a name such as tcp, udp or icmp, or a number from 1 to 255")
	}
	if !coord.HasPorts(proto) {
		q.Port = 0
	} else if q.Port == 0 {
		return a, badRequest("The port is missing: give one from 1 to 65535")
	}
	question := policy.Question{From: from.Node.ID, Proto: proto, Port: uint16(q.Port)} //nolint:gosec // at most 65535
	service := coord.Service{Proto: proto, First: question.Port, Last: question.Port}
	a.From, a.Service = from.Node.Name, service.String()
	if question.To, err = netip.ParseAddr(q.To); err != nil {
		to, err := s.machineNamed(q.To)
		if err != nil {
			return a, err
		}
		question.To = to.Node.Addrs[0]
	}
	a.To = question.To.Unmap()
	question.To = a.To
	s.hub.rules(func(rules *policy.Compiled) { a.Verdict = rules.Verdict(question) })
	p, err := s.Policy(ctx)
	if err != nil {
		return a, err
	}
	v := s.hub.view()
	for _, id := range a.Through {
		if m, ok := v.Member(id); ok && !slices.Contains(m.Node.Addrs, a.To) {
			a.Routers = append(a.Routers, m.Node.Name)
		}
	}
	a.Text = lineAt(p.Text, max(a.Rule.Line, a.Nearest.Line))
	return a, nil
}

// lineAt gives a line of a text, which counts from 1, without what is around it.
func lineAt(text string, line int) string {
	lines := strings.Split(text, "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	return bounded(strings.TrimSpace(lines[line-1]), maxForm)
}
