package policy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
	"github.com/warren-mesh/warren/coord"
)

func (p *parser) acls(v hujson.Value) {
	p.file.declared = true
	for _, v := range p.list(v, "acls") {
		p.acl(v)
	}
}

func (p *parser) acl(v hujson.Value) {
	pos := p.at(v.StartOffset)
	ms := p.fields(v, "a rule of acls", "action", "src", "dst", "proto", "users", "ports")
	r := rule{pos: pos}
	if m, ok := p.field(ms, "action"); !ok {
		p.say(pos, textMissing, "the rule", "action")
	} else if w, ok := p.word(m.value, "action"); ok && w.text != "accept" {
		p.say(w.pos, textAction, w.text)
	}
	var protos []uint8
	if m, ok := p.field(ms, "proto"); ok && !emptyString(m.value) { // Tailscale's own console writes it empty
		if w, ok := p.word(m.value, "proto"); ok {
			if protos, ok = p.protocols(w); !ok {
				return
			}
		}
	}
	r.src = p.sources(ms, pos, "src", "users")
	m, ok := p.field(ms, "dst", "ports")
	if !ok {
		p.say(pos, textMissing, "the rule", "dst")
		return
	}
	for _, w := range p.words(m.value, "dst") {
		host, ports, ok := p.hostPorts(w)
		if !ok {
			continue
		}
		services, okPorts := p.services(protos, ports)
		if s, ok := p.selector(host); ok && okPorts {
			r.targets = append(r.targets, target{selector: s, services: services})
		}
	}
	p.add(r)
}

func emptyString(v hujson.Value) bool {
	l, ok := v.Value.(hujson.Literal)
	return ok && l.Kind() == '"' && l.String() == ""
}

// sources reads a rule's list of sources, which it must have.
func (p *parser) sources(ms []member, pos Pos, names ...string) []selector {
	m, ok := p.field(ms, names...)
	if !ok {
		p.say(pos, textMissing, "the rule", names[0])
		return nil
	}
	var out []selector
	for _, w := range p.words(m.value, names[0]) {
		s, ok := p.selector(w)
		switch {
		case !ok:
		case s.kind == self, s.kind == internet, s.kind == subnets:
			p.say(w.pos, textOnlyDst, w.text)
		default:
			out = append(out, s)
		}
	}
	return out
}

func (p *parser) grants(v hujson.Value) {
	p.file.declared = true
	for _, v := range p.list(v, "grants") {
		p.grant(v)
	}
}

func (p *parser) grant(v hujson.Value) {
	pos := p.at(v.StartOffset)
	ms := p.fields(v, "a grant", "src", "dst", "ip", "via")
	r := rule{pos: pos, src: p.sources(ms, pos, "src")}
	var services []coord.Service
	if m, ok := p.field(ms, "ip"); !ok {
		p.say(pos, textNeedsIP)
	} else {
		for _, w := range p.words(m.value, "ip") {
			services = append(services, p.capability(w)...)
		}
		services, _ = p.tidy(services, p.at(m.value.StartOffset))
	}
	if m, ok := p.field(ms, "via"); ok {
		r.via = p.via(m.value)
	}
	m, ok := p.field(ms, "dst")
	if !ok {
		p.say(pos, textMissing, "the rule", "dst")
		return
	}
	for _, w := range p.words(m.value, "dst") {
		if s, ok := p.selector(w); ok {
			r.targets = append(r.targets, target{selector: s, services: services})
		}
	}
	p.add(r)
}

// via reads the tags of the routers that a grant goes through.
func (p *parser) via(v hujson.Value) []string {
	var tags []string
	ws := p.words(v, "via")
	if len(ws) == 0 {
		p.say(p.at(v.StartOffset), textViaEmpty)
	}
	for _, w := range ws {
		if s, ok := p.selector(w); ok && s.kind != tag {
			p.say(w.pos, textViaTag, w.text)
		} else if ok {
			tags = append(tags, s.name)
		}
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}

// capability reads one entry of a grant's ip: "*", "443", "tcp:443", "udp:*", "icmp:*", and a protocol's name alone.
func (p *parser) capability(w word) []coord.Service {
	name, ports, found := strings.Cut(w.text, ":")
	if !found {
		if w.text != "*" && strings.Trim(w.text, "0123456789-,") != "" { // no ports: then a protocol
			name, ports = w.text, "*"
		} else {
			name, ports = "", w.text
		}
	}
	var protos []uint8
	if found || name != "" {
		var ok bool
		if protos, ok = p.protocols(word{name, w.pos}); !ok {
			return nil
		}
	}
	services, _ := p.services(protos, word{ports, w.pos})
	return services
}

// tidy orders services, each once, and joins what one of them contains.
func (p *parser) tidy(in []coord.Service, pos Pos) ([]coord.Service, bool) {
	out := slices.Clone(in)
	slices.SortFunc(out, func(a, b coord.Service) int {
		return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.First, b.First), cmp.Compare(b.Last, a.Last))
	})
	kept := out[:0]
	for _, s := range out {
		if n := len(kept); n > 0 && kept[n-1].Proto == s.Proto && (kept[n-1].Last == 0 || s.Last <= kept[n-1].Last) {
			continue // all of the protocol has First and Last 0, and comes first
		}
		kept = append(kept, s)
	}
	if len(kept) > coord.MaxFilterServices {
		p.say(pos, textServices, len(kept), coord.MaxFilterServices)
		return nil, false
	}
	return kept, true
}

// add takes a rule whose parts go together.
func (p *parser) add(r rule) {
	for _, t := range r.targets {
		if t.kind == self {
			for _, s := range r.src {
				if s.kind != anyone && s.kind != user && s.kind != group && s.kind != role {
					p.say(r.pos, textSelfSource, s.text)
					return
				}
			}
		}
		if len(r.via) > 0 && t.kind != nets && t.kind != internet && t.kind != subnets {
			p.say(r.pos, textViaDst, t.text)
			return
		}
	}
	p.file.rules = append(p.file.rules, r)
}
