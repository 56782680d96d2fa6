package policy

import (
	"net/netip"
	"strings"

	"github.com/warren-mesh/warren/coord"
)

// Roles that autogroups name. They are those of accounts.
const (
	roleMember  = "member"
	roleOwner   = "owner"
	roleAdmin   = "admin"
	roleAuditor = "auditor"
)

// selector reads one entry of a list of sources or destinations. What it cannot be is a problem.
func (p *parser) selector(w word) (s selector, ok bool) {
	prefix, rest, _ := strings.Cut(w.text, ":")
	switch {
	case w.text == "*":
		return selector{kind: anyone, text: "*"}, true
	case p.hasPorts(w.text):
		i := strings.LastIndex(w.text, ":")
		p.say(w.pos, textPortsHere, w.text[i+1:], w.text[:i])
		return s, false
	case prefix == "autogroup":
		return p.autogroup(w)
	case prefix == "group":
		if _, ok := p.file.groups[w.text]; !ok {
			p.say(w.pos, textNoGroup, w.text)
			return s, false
		}
		return selector{kind: group, name: w.text, text: w.text}, true
	case prefix == "tag":
		if _, ok := p.file.tagOwners[rest]; !ok {
			p.say(w.pos, textNoTag, w.text, w.text)
			return s, false
		}
		return selector{kind: tag, name: rest, text: w.text}, true
	case prefix == "ipset":
		ns, ok := p.file.ipsets[w.text]
		if !ok {
			p.say(w.pos, textNoIPSet, w.text)
			return s, false
		}
		return selector{kind: nets, name: w.text, nets: ns, text: w.text}, true
	case prefix == "svc":
		p.say(w.pos, textService, w.text)
		return s, false
	case strings.HasPrefix(w.text, "user:*@"):
		p.say(w.pos, textDomain, w.text)
		return s, false
	case strings.Contains(w.text, "@"):
		login := loginOf(w.text)
		if !plainName(login, "._-@+") {
			p.say(w.pos, textNoKind, w.text)
			return s, false
		}
		return selector{kind: user, name: login, text: userText(login)}, true
	}
	return p.place(w)
}

// hasPorts reports whether s has ports at its end, as only a destination of an acl may: "nas:22", "tag:web:80-90".
func (p *parser) hasPorts(s string) bool {
	i := strings.LastIndex(s, ":")
	if i <= 0 || isWord(s[:i]) {
		return false
	}
	_, err := netip.ParsePrefix(s[:i])
	word, name, named := strings.Cut(s[:i], ":")
	if !(named && isWord(word) && plainName(name, "-_")) && !hostName(s[:i]) && !strings.Contains(s[:i], "@") && err != nil && strings.Trim(s[:i], "0123456789.") != "" {
		return false
	}
	for part := range strings.SplitSeq(s[i+1:], ",") {
		if _, _, ok := coord.ParsePorts(part); !ok && part != "*" {
			return false
		}
	}
	return true
}

// place reads what has no word before it: a host's name, an address or a prefix.
func (p *parser) place(w word) (s selector, ok bool) {
	if n, ok := p.file.hosts[w.text]; ok {
		return selector{kind: nets, name: w.text, nets: []netip.Prefix{n}, text: w.text}, true
	}
	if looksLikeAddr(w.text) {
		n, ok := p.prefix(w, textBadAddr)
		return selector{kind: nets, name: w.text, nets: []netip.Prefix{n}, text: w.text}, ok
	}
	if hostName(w.text) {
		p.say(w.pos, textNoHost, w.text, w.text)
	} else {
		p.say(w.pos, textNoKind, w.text)
	}
	return s, false
}

func (p *parser) autogroup(w word) (selector, bool) {
	name := strings.TrimPrefix(w.text, "autogroup:")
	kinds := map[string]kind{
		roleMember: role, roleOwner: role, roleAdmin: role, roleAuditor: role, "members": role,
		"tagged": tagged, "self": self, "internet": internet, "subnets": subnets,
	}
	k, ok := kinds[name]
	if !ok {
		p.say(w.pos, textNoAutogroup, w.text)
		return selector{}, false
	}
	if name == "members" { // the older word, which files still have
		name = roleMember
	}
	return selector{kind: k, name: name, text: "autogroup:" + name}, true
}

// loginOf gives the login that is meant: one without "@" is written with an "@" at its end.
func loginOf(s string) string {
	if strings.Index(s, "@") == len(s)-1 {
		s = s[:len(s)-1]
	}
	return foldLogin(s)
}

func userText(login string) string {
	if !strings.Contains(login, "@") {
		return login + "@"
	}
	return login
}

// foldLogin writes a login as accounts have it, in lower case: people write e-mail addresses in any.
func foldLogin(s string) string { return strings.ToLower(s) }

// prefix reads an address or a prefix.
func (p *parser) prefix(w word, otherwise string) (n netip.Prefix, ok bool) {
	if strings.Contains(w.text, "/") {
		n, err := netip.ParsePrefix(w.text)
		switch {
		case err != nil:
			p.say(w.pos, otherwise, w.text)
		case n.Addr().Is4In6():
			p.say(w.pos, textMapped, w.text)
		case n != n.Masked():
			p.say(w.pos, textHostMask, w.text, n.Masked().String())
		default:
			return n, true
		}
		return n, false
	}
	a, err := netip.ParseAddr(w.text)
	switch {
	case err != nil:
		p.say(w.pos, otherwise, w.text)
	case a.Is4In6():
		p.say(w.pos, textMapped, w.text)
	case a.Zone() != "":
		p.say(w.pos, textZone, w.text)
	default:
		return single(a), true
	}
	return n, false
}

// looksLikeAddr reports whether s is meant as an address or prefix, right or wrong.
func looksLikeAddr(s string) bool {
	if strings.ContainsAny(s, ":/") {
		return true
	}
	return strings.Trim(s, "0123456789.") == "" && strings.Contains(s, ".")
}

// plainName reports whether s has letters, digits and the given others only, and not too many of them.
func plainName(s, more string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(more, c) {
			return false
		}
	}
	return true
}

func hostName(s string) bool { return plainName(s, "-_.") && !looksLikeAddr(s) }

// hostPorts splits a destination of an acl, "host:ports", at its last colon.
func (p *parser) hostPorts(w word) (host, ports word, ok bool) {
	if rest, bracketed := strings.CutPrefix(w.text, "["); bracketed {
		a, after, found := strings.Cut(rest, "]:")
		if !found {
			p.say(w.pos, textNoPort, w.text, w.text, w.text, w.text)
			return host, ports, false
		}
		return word{a, w.pos}, word{after, w.pos}, true
	}
	if a, err := netip.ParseAddr(w.text); err == nil && a.Is6() {
		p.say(w.pos, textBrackets, w.text)
		return host, ports, false
	}
	i := strings.LastIndex(w.text, ":")
	if i <= 0 || isWord(w.text[:i]) {
		p.say(w.pos, textNoPort, w.text, w.text, w.text, w.text)
		return host, ports, false
	}
	return word{w.text[:i], w.pos}, word{w.text[i+1:], w.pos}, true
}

// isWord reports whether s only says what is to follow: then the colon is not before ports.
func isWord(s string) bool {
	return s == "group" || s == "tag" || s == "autogroup" || s == "ipset" || s == "user"
}

// services makes protocols and ports of what is written. No protocol means TCP, UDP, ICMP and ICMPv6.
func (p *parser) services(protos []uint8, ports word) ([]coord.Service, bool) {
	all := ports.text == "*"
	type span struct{ first, last uint16 }
	spans := []span{{0, 0}}
	if !all {
		spans = spans[:0]
		for part := range strings.SplitSeq(ports.text, ",") {
			first, last, ok := coord.ParsePorts(part)
			if !ok {
				p.say(ports.pos, textPorts, ports.text)
				return nil, false
			}
			spans = append(spans, span{first, last})
		}
	}
	implied := len(protos) == 0
	if implied {
		protos = []uint8{coord.ProtoICMP, coord.ProtoTCP, coord.ProtoUDP, coord.ProtoICMPv6}
	}
	var out []coord.Service
	for _, proto := range protos {
		switch {
		case all, implied && !coord.HasPorts(proto):
			out = append(out, coord.Service{Proto: proto})
		case !coord.HasPorts(proto):
			p.say(ports.pos, textProtoPort, coord.ProtoName(proto))
			return nil, false
		default:
			for _, s := range spans {
				out = append(out, coord.Service{Proto: proto, First: s.first, Last: s.last})
			}
		}
	}
	return p.tidy(out, ports.pos)
}

// protocols reads a protocol's name or number. The name "icmp" means both IPv4's and IPv6's.
func (p *parser) protocols(w word) ([]uint8, bool) {
	name := strings.ToLower(w.text)
	switch name {
	case "icmp":
		return []uint8{coord.ProtoICMP, coord.ProtoICMPv6}, true
	case "icmpv6":
		name = "ipv6-icmp"
	case "ip-in-ip":
		name = "ipv4"
	}
	n, ok := coord.ParseProto(name)
	if !ok {
		p.say(w.pos, textProto, w.text)
		return nil, false
	}
	return []uint8{n}, true
}
