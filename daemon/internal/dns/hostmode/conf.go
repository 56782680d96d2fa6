package hostmode

import (
	"net/netip"
	"slices"
	"strings"
)

// Bounds on what is read of a resolv.conf.
const (
	MaxConf    = 64 << 10 // bytes; real ones have a thousand
	maxServers = 8        // that are asked; glibc asks three
)

// The marks of ours in a resolv.conf.
const (
	begin = "# BEGIN warren: the lines up to END are warrend's. It takes them out when it stops; so does: warrend recover"
	end   = "# END warren"
	aside = "#warren# " // before a line of the file that must not count while ours do
)

// Conf is what a resolv.conf says (resolv.conf(5)).
type Conf struct {
	Head    []string // its comments before the first setting
	Servers []netip.Addr
	Search  []string
}

// Parse reads a resolv.conf. What cannot be read is left out, as the C library does.
func Parse(text string) Conf {
	var c Conf
	text = text[:min(len(text), MaxConf)]
	setting := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ";") {
			if !setting {
				c.Head = append(c.Head, line)
			}
			continue
		}
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		setting = true
		switch {
		case fields[0] == "nameserver" && len(fields) > 1:
			a, err := netip.ParseAddr(strings.TrimRight(fields[1], "#;"))
			if err == nil && len(c.Servers) < maxServers && !slices.Contains(c.Servers, a) {
				c.Servers = append(c.Servers, a)
			}
		case fields[0] == "search" || fields[0] == "domain": // the last one counts
			c.Search = fields[1:]
		}
	}
	return c
}

// Theirs reads what a resolv.conf said before our edit, and has been told since.
func Theirs(text string) Conf { return Parse(Strip(text)) }

// Marked reports whether a text has anything of ours.
func Marked(text string) bool { return Strip(text) != text }

// Edit gives a resolv.conf that asks us alone. What it said before stays in it, set aside line by line, so that Strip
// gives exactly it back, with whatever others have changed in it meanwhile.
func Edit(text string, p Plan) string {
	text = Strip(text)
	var b strings.Builder
	b.WriteString(begin + "\n")
	for _, s := range p.Servers[:min(len(p.Servers), 3)] { // MAXNS of the C library
		b.WriteString("nameserver " + s.String() + "\n")
	}
	search := slices.Clone(p.Search)
	for _, s := range Parse(text).Search {
		if !slices.Contains(search, s) && s != "." {
			search = append(search, s)
		}
	}
	if len(search) > 0 {
		b.WriteString("search " + strings.Join(search, " ") + "\n")
	}
	b.WriteString(end + "\n")
	for line := range strings.Lines(text) {
		if counts(line) {
			b.WriteString(aside)
		}
		b.WriteString(line)
	}
	return b.String()
}

// counts reports whether a line says whom to ask, or where to search.
func counts(line string) bool {
	fields := strings.Fields(line)
	return len(fields) > 0 && (fields[0] == "nameserver" || fields[0] == "search" || fields[0] == "domain")
}

// Strip takes everything of ours out of a resolv.conf.
func Strip(text string) string {
	if !strings.Contains(text, "warren") {
		return text
	}
	var b strings.Builder
	inside := false
	for line := range strings.Lines(text) {
		bare := strings.TrimRight(line, "\r\n")
		switch {
		case bare == begin:
			inside = true
		case inside && bare == end:
			inside = false
		case inside && counts(line): // ours
		default:
			inside = false // somebody took the end away: only what can be ours goes
			b.WriteString(unset(line))
		}
	}
	return b.String()
}

// unset takes our mark off a line that was set aside.
func unset(line string) string {
	for {
		rest, ok := strings.CutPrefix(line, aside)
		if !ok || !counts(rest) {
			return line
		}
		line = rest
	}
}
