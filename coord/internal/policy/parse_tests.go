package policy

import (
	"slices"

	"github.com/tailscale/hujson"
	"github.com/warren-mesh/warren/coord"
)

func (p *parser) tests(v hujson.Value) {
	for _, v := range p.list(v, "tests") {
		p.test(v)
	}
}

func (p *parser) test(v hujson.Value) {
	pos := p.at(v.StartOffset)
	ms := p.fields(v, "a test", "src", "proto", "accept", "deny", "user", "allow")
	var a assertion
	m, ok := p.field(ms, "src", "user")
	if !ok {
		p.say(pos, textMissing, "the test", "src")
		return
	}
	if w, ok := p.word(m.value, "src"); ok {
		a.src, _ = p.tested(w)
	}
	if m, ok := p.field(ms, "proto"); ok && !emptyString(m.value) {
		if w, ok := p.word(m.value, "proto"); ok {
			if a.proto, ok = p.protocols(w); !ok {
				return
			}
		}
	}
	accept, okAccept := p.field(ms, "accept", "allow")
	deny, okDeny := p.field(ms, "deny")
	if !okAccept && !okDeny {
		p.say(pos, textTestEmpty)
		return
	}
	if okAccept {
		a.accept = p.expectations(accept, a.proto)
	}
	if okDeny {
		a.deny = p.expectations(deny, a.proto)
	}
	if len(a.proto) == 0 {
		a.proto = []uint8{coord.ProtoTCP, coord.ProtoUDP}
	}
	p.file.asserts = append(p.file.asserts, a)
}

func (p *parser) expectations(m member, protos []uint8) []expectation {
	portless := len(protos) > 0 && !coord.HasPorts(protos[0])
	var out []expectation
	for _, w := range p.words(m.value, m.key.text) {
		host, ports, ok := p.hostPorts(w)
		if !ok {
			continue
		}
		e := expectation{pos: w.pos, text: w.text}
		if portless {
			if ports.text != "*" {
				p.say(w.pos, textProtoPort, coord.ProtoName(protos[0]))
				continue
			}
		} else if first, last, ok := coord.ParsePorts(ports.text); ok && first == last {
			e.port = first
		} else {
			p.say(w.pos, textTestPort, ports.text)
			continue
		}
		if e.dst, ok = p.tested(host); ok {
			out = append(out, e)
		}
	}
	return out
}

// tested reads a test's source, or a destination without its port: what stands for machines that are all in one case, or
// is one address.
func (p *parser) tested(w word) (selector, bool) {
	s, ok := p.selector(w)
	if !ok {
		return s, false
	}
	if s.kind == nets && (len(s.nets) != 1 || !s.nets[0].IsSingleIP()) || !slices.Contains([]kind{user, group, tag, role, nets}, s.kind) {
		p.say(w.pos, textTestWho, w.text)
		return s, false
	}
	return s, true
}
