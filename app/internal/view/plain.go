package view

import (
	"strings"
	"unicode"

	"github.com/warren-mesh/warren/app/internal/say"
)

// Bounds of other people's words, in characters.
const (
	maxShort = 40  // a name
	maxLong  = 120 // a sentence
	maxText  = 300 // some sentences, in the window
	maxMarks = 2   // accents on one letter; no language needs more
	maxRead  = 8   // bytes for each character that is shown: some are left out
)

// The marks of the Unicode bidirectional algorithm (UAX #9) that keep a text's direction to itself.
const (
	isolate    = "\u2068" // FSI
	endIsolate = "\u2069" // PDI
)

// short makes a name fit for a menu.
func short(s string) string { return plain(s, maxShort) }

// long makes a sentence fit for a menu.
func long(s string) string { return plain(strings.ReplaceAll(s, "\n", " "), maxLong) }

// plain makes text of others fit for a menu. Letters that are written from right to left are kept from turning around what
// stands beside them.
func plain(s string, limit int) string {
	text := bare(s, limit)
	if strings.ContainsFunc(text, func(r rune) bool {
		return unicode.In(r, unicode.Hebrew, unicode.Arabic, unicode.Syriac, unicode.Thaana, unicode.Nko)
	}) {
		return isolate + text + endIsolate
	}
	return text
}

// firstMark is the first that is written above or below another letter.
const firstMark = '\u0300'

// bare makes text of others harmless, and cuts it: for a place that has nothing beside it. It reads no further than it must:
// thousands of machines may have names of any length.
func bare(s string, limit int) string {
	if len(s) <= limit && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return s // as most are
	}
	cut := len(s) > maxRead*limit
	if cut {
		s = s[:maxRead*limit]
	}
	if s = strings.ToValidUTF8(s, "\uFFFD"); cut {
		s = strings.TrimSuffix(s, "\uFFFD")
	}
	var b strings.Builder
	n, marks := 0, 0
	for _, r := range s {
		switch {
		case say.Harmful(r):
			continue
		case r >= firstMark && unicode.In(r, unicode.Mn, unicode.Me):
			if marks++; marks > maxMarks {
				continue
			}
		default:
			marks = 0
		}
		if unicode.IsSpace(r) {
			r = ' '
		}
		if n++; n > limit {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}

// host is a server's address, or an invite link, without what is the same for all.
func host(server string) string {
	server = strings.TrimPrefix(strings.TrimSpace(server), "https://")
	if i := strings.IndexAny(server, "/?#"); i >= 0 {
		server = server[:i]
	}
	return short(server)
}
