package policy

import (
	"slices"
	"strings"

	"github.com/tailscale/hujson"
	"github.com/warren-mesh/warren/coord"
)

// parser makes a File of a text.
type parser struct {
	*reader
	file  *File
	sets  map[string]*ipset
	total int // prefixes that all ipsets together had to be worked out of
}

// Parse reads a policy file. The error is Problems: all that is wrong with it, up to MaxProblems.
func Parse(text []byte) (*File, error) {
	p := &parser{reader: newReader(text), file: &File{}}
	if v, ok := p.tree(); ok {
		p.sections(v)
	}
	if len(p.problems) > 0 {
		return nil, p.problems.sorted()
	}
	return p.file, nil
}

// section is one of the file's, with what reads it.
type section struct {
	key  string
	read func(hujson.Value)
}

// sections reads the sections in the order in which they need each other, wherever they stand.
func (p *parser) sections(v hujson.Value) {
	known := []section{
		{"groups", p.groups},
		{"hosts", p.hosts},
		{"ipsets", p.ipsets},
		{"tagowners", p.tagOwners},
		{"acls", p.acls},
		{"grants", p.grants},
		{"autoapprovers", p.autoApprovers},
		{"tests", p.tests},
	}
	found := make(map[string]member)
	for _, m := range p.object(v, "a policy", true) {
		found[m.key.text] = m
		if refused, is := textRefused[m.key.text]; is {
			p.say(m.key.pos, "%s", refusal(refused))
		} else if !slices.ContainsFunc(known, func(s section) bool { return s.key == m.key.text }) {
			p.say(m.key.pos, textNoSection, m.key.text)
		}
	}
	for _, s := range known {
		if m, there := found[s.key]; there {
			s.read(m.value)
		}
	}
	slices.SortStableFunc(p.file.rules, func(a, b rule) int { return a.pos.compare(b.pos) })
	p.bound()
}

// bound holds the rules against what one machine's filter may have, for the machine that all of them concern.
func (p *parser) bound() {
	sources, ways := make(map[string]bool), 0
	for _, r := range p.file.rules {
		for _, s := range r.src {
			sources[s.text] = true
		}
		if ways += len(r.targets); 2*ways > coord.MaxFilterRules || len(sources) >= coord.MaxFilterSets {
			p.say(r.pos, textTooMuch, coord.MaxFilterSets-1, coord.MaxFilterRules/2)
			return
		}
	}
}

// refusal is a sentence that say does not shorten.
type refusal string

func (p *parser) groups(v hujson.Value) {
	p.file.groups = make(map[string][]string)
	for _, m := range p.object(v, "groups", false) {
		if name, ok := strings.CutPrefix(m.key.text, "group:"); !ok || !plainName(name, "-_") {
			p.say(m.key.pos, textGroupName, m.key.text)
		}
		logins := []string{}
		for _, w := range p.words(m.value, "a group") {
			switch {
			case strings.HasPrefix(w.text, "group:"):
				p.say(w.pos, textGroupGroup, w.text)
			case strings.HasPrefix(w.text, "user:*@"):
				p.say(w.pos, textDomain, w.text)
			case !plainName(w.text, "._-@+"):
				p.say(w.pos, textGroupMember, w.text)
			default:
				logins = append(logins, loginOf(w.text))
			}
		}
		slices.Sort(logins)
		p.file.groups[m.key.text] = slices.Compact(logins)
	}
}

func (p *parser) tagOwners(v hujson.Value) {
	p.file.tagOwners = make(map[string][]selector)
	members := p.object(v, "tagOwners", false)
	for _, m := range members { // first all: tags may own tags
		name, ok := strings.CutPrefix(m.key.text, "tag:")
		if !ok || !coord.ValidName(name) {
			p.say(m.key.pos, textTagName, m.key.text)
			continue
		}
		p.file.tagOwners[name] = []selector{}
	}
	for _, m := range members {
		name := strings.TrimPrefix(m.key.text, "tag:")
		p.file.tagOwners[name] = p.people(m.value, "a tag's owners", textTagOwner)
	}
}

// people reads a list of users, groups, tags and roles: of those who may do something.
func (p *parser) people(v hujson.Value, what, otherwise string) []selector {
	out := []selector{}
	for _, w := range p.words(v, what) {
		s, ok := p.selector(w)
		switch {
		case !ok:
		case s.kind == user, s.kind == group, s.kind == tag, s.kind == role:
			out = append(out, s)
		default:
			p.say(w.pos, otherwise, w.text)
		}
	}
	return out
}

func (p *parser) autoApprovers(v hujson.Value) {
	for _, m := range p.fields(v, "autoApprovers", "routes", "exitnode") {
		if m.key.text == "exitnode" {
			p.file.exitNode = p.people(m.value, "exitNode", textApprover)
			continue
		}
		for _, m := range p.object(m.value, "routes", false) {
			prefix, ok := p.prefix(m.key, textRoute)
			by := p.people(m.value, "a route's approvers", textApprover)
			if ok {
				p.file.routes = append(p.file.routes, approval{prefix: prefix, by: by})
			}
		}
	}
}

// fields gives the members of an object that may have only these.
func (p *parser) fields(v hujson.Value, what string, names ...string) []member {
	ms := p.object(v, what, true)
	return slices.DeleteFunc(ms, func(m member) bool {
		if slices.Contains(names, m.key.text) {
			return false
		}
		if refused, is := textRefused[m.key.text]; is {
			p.say(m.key.pos, "%s", refusal(refused))
		} else {
			p.say(m.key.pos, textNoField, what, m.key.text, refusal(strings.Join(names, ", ")))
		}
		return true
	})
}

// field finds one of them, under any of its names.
func (p *parser) field(ms []member, names ...string) (found member, ok bool) {
	for _, m := range ms {
		if !slices.Contains(names, m.key.text) {
			continue
		}
		if ok {
			p.say(m.key.pos, textBothFields, found.key.text, m.key.text)
			continue
		}
		found, ok = m, true
	}
	return found, ok
}
