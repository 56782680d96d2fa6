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

// bare makes text of others harmless, and cuts it: for a place that has nothing beside it.
func bare(s string, limit int) string {
	var b strings.Builder
	n, marks := 0, 0
	for _, r := range say.Line(s) {
		if unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r) {
			if marks++; marks > maxMarks {
				continue
			}
		} else {
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

// host is a server's address without what is the same for all.
func host(server string) string {
	return short(strings.TrimSuffix(strings.TrimPrefix(server, "https://"), "/"))
}
