package policy

import (
	"net/netip"
	"strings"

	"github.com/tailscale/hujson"
)

func (p *parser) hosts(v hujson.Value) {
	p.file.hosts = make(map[string]netip.Prefix)
	for _, m := range p.object(v, "hosts", false) {
		if !hostName(m.key.text) {
			p.say(m.key.pos, textHostName, m.key.text)
		}
		if w, ok := p.word(m.value, "a host's address"); ok {
			// A host whose address is wrong stays known, so that its uses are no problems of their own.
			p.file.hosts[m.key.text], _ = p.prefix(w, textHostValue)
		}
	}
}

// ipset is one that is being worked out: sets may contain others that stand after them.
type ipset struct {
	member
	state int // 0: not looked at, 1: being worked out, 2: done
	nets  []netip.Prefix
}

func (p *parser) ipsets(v hujson.Value) {
	p.file.ipsets = make(map[string][]netip.Prefix)
	p.sets = make(map[string]*ipset)
	members := p.object(v, "ipsets", false)
	for _, m := range members {
		if name, ok := strings.CutPrefix(m.key.text, "ipset:"); !ok || !plainName(name, "-_") {
			p.say(m.key.pos, textIPSetName, m.key.text)
		}
		p.sets[m.key.text] = &ipset{member: m}
	}
	for _, m := range members {
		p.file.ipsets[m.key.text] = p.resolve(p.sets[m.key.text])
	}
}

// resolve works a set out: all that it adds, without all that it removes.
func (p *parser) resolve(s *ipset) []netip.Prefix {
	if s.state > 0 {
		return s.nets
	}
	s.state = 1
	var added, removed []netip.Prefix
	for _, w := range p.words(s.value, "an ipset") {
		to, name := &added, strings.TrimPrefix(w.text, "add ")
		if rest, ok := strings.CutPrefix(w.text, "remove "); ok {
			to, name = &removed, rest
		}
		*to = append(*to, p.resolveEntry(word{name, w.pos})...)
		if len(added)+len(removed) > 4*maxAddrs {
			break
		}
	}
	s.state = 2
	if p.total += len(added) + len(removed); p.total > maxTotal {
		p.say(s.key.pos, textIPSetsLarge, maxTotal)
		return nil
	}
	if s.nets = subtract(added, removed); len(s.nets) > maxAddrs || len(added)+len(removed) > 4*maxAddrs {
		p.say(s.key.pos, textIPSetLarge, s.key.text, maxAddrs)
		s.nets = nil
	}
	return s.nets
}

func (p *parser) resolveEntry(w word) []netip.Prefix {
	w.text = strings.TrimPrefix(w.text, "host:")
	if w.text == "autogroup:internet" {
		return Internet
	}
	if strings.HasPrefix(w.text, "ipset:") {
		s := p.sets[w.text]
		switch {
		case s == nil:
			p.say(w.pos, textNoIPSet, w.text)
			return nil
		case s.state == 1:
			p.say(w.pos, textIPSetLoop, w.text)
			return nil
		}
		return p.resolve(s)
	}
	if n, ok := p.file.hosts[w.text]; ok {
		return []netip.Prefix{n}
	}
	if n, ok := p.prefix(w, textIPSetEntry); ok {
		return []netip.Prefix{n}
	}
	return nil
}
