package policy

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// Bounds on a file. They are far beyond what people write, and keep a hostile one from costing more than it is worth.
const (
	MaxText    = 1 << 20 // bytes
	maxNesting = 8       // braces and brackets within each other: the language needs five
	maxEntries = 10_000  // of one list or object
	maxAddrs   = 10_000  // prefixes that one ipset comes to
	maxTotal   = 200_000 // prefixes that all ipsets are worked out of: they may contain each other
	maxShown   = 60      // bytes of the file that a problem repeats
)

// reader walks through the tree of a file and notes what is wrong with it.
type reader struct {
	text     []byte
	lines    []int // where each line begins
	runes    []int // how many characters begin before each chunk of the text: a file may be one long line
	problems Problems
}

// word is a string of the file, with its place.
type word struct {
	text string
	pos  Pos
}

// member is one of an object's.
type member struct {
	key   word
	value hujson.Value
}

// chunk is after how many bytes characters are counted anew, in bytes.
const chunk = 256

func newReader(text []byte) *reader {
	r := &reader{text: text, lines: []int{0}}
	count := 0
	for i, c := range text {
		if i%chunk == 0 {
			r.runes = append(r.runes, count)
		}
		if utf8.RuneStart(c) {
			count++
		}
		if c == '\n' {
			r.lines = append(r.lines, i+1)
		}
	}
	r.runes = append(r.runes, count)
	return r
}

// at finds the place of an offset.
func (r *reader) at(offset int) Pos {
	offset = min(offset, len(r.text))
	line := sort.SearchInts(r.lines, offset+1)
	return Pos{Line: line, Col: r.count(offset) - r.count(r.lines[line-1]) + 1}
}

// count counts the characters that begin before an offset.
func (r *reader) count(offset int) int {
	n := r.runes[offset/chunk]
	for _, c := range r.text[offset/chunk*chunk : offset] {
		if utf8.RuneStart(c) {
			n++
		}
	}
	return n
}

// say notes a problem, unless there are more already than anybody mends at once.
func (r *reader) say(pos Pos, format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok && len(s) > maxShown {
			args[i] = strings.ToValidUTF8(s[:maxShown], "") + "…"
		}
	}
	if len(r.problems) < MaxProblems {
		r.problems = append(r.problems, Problem{Pos: pos, Text: fmt.Sprintf(format, args...)})
	}
}

// tree parses the text. What nests too deeply is found before the parser, which calls itself, sees it.
func (r *reader) tree() (v hujson.Value, ok bool) {
	if len(r.text) > MaxText {
		r.say(Pos{1, 1}, textTooLong, len(r.text), MaxText)
		return v, false
	}
	if i := firstInvalid(r.text); i >= 0 {
		r.say(r.at(i), textNotUTF8)
		return v, false
	}
	if i := tooDeep(r.text); i >= 0 {
		r.say(r.at(i), textTooDeep, maxNesting)
		return v, false
	}
	v, err := hujson.Parse(r.text)
	if err != nil {
		pos, what := Pos{1, 1}, err.Error()
		if _, scan := fmt.Sscanf(what, "hujson: line %d, column %d:", &pos.Line, &pos.Col); scan == nil {
			_, what, _ = strings.Cut(what, ": ")
			_, what, _ = strings.Cut(what, ": ")
		}
		r.say(pos, textSyntax, strings.TrimPrefix(what, "hujson: "))
		return v, false
	}
	return v, true
}

func firstInvalid(text []byte) int {
	for i := 0; i < len(text); {
		c, n := utf8.DecodeRune(text[i:])
		if c == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// tooDeep finds the first brace or bracket beyond maxNesting, or gives -1. It steps over strings and comments.
func tooDeep(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case c == '/' && i+1 < len(text) && text[i+1] == '/':
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case c == '/' && i+1 < len(text) && text[i+1] == '*':
			end := bytes.Index(text[i+2:], []byte("*/"))
			if end < 0 {
				return -1
			}
			i += end + 3
		case c == '{' || c == '[':
			if depth++; depth > maxNesting {
				return i
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return -1
}

// object gives the members of an object, keys that are there twice refused. Keys are told apart as they are written but
// for case where fold is set: old files write "ACLs" and "Src".
func (r *reader) object(v hujson.Value, what string, fold bool) []member {
	o, ok := v.Value.(*hujson.Object)
	if !ok {
		r.say(r.at(v.StartOffset), textWantObject, what)
		return nil
	}
	if len(o.Members) > maxEntries {
		r.say(r.at(v.StartOffset), textTooMany, what, len(o.Members), maxEntries)
		return nil
	}
	seen := make(map[string]Pos, len(o.Members))
	ms := make([]member, 0, len(o.Members))
	for _, m := range o.Members {
		key := word{text: m.Name.Value.(hujson.Literal).String(), pos: r.at(m.Name.StartOffset)}
		if fold {
			key.text = strings.ToLower(key.text)
		}
		if first, twice := seen[key.text]; twice {
			r.say(key.pos, textTwice, key.text, first.Line)
			continue
		}
		seen[key.text] = key.pos
		ms = append(ms, member{key: key, value: m.Value})
	}
	return ms
}

// list gives the elements of an array.
func (r *reader) list(v hujson.Value, what string) []hujson.Value {
	a, ok := v.Value.(*hujson.Array)
	switch {
	case !ok:
		r.say(r.at(v.StartOffset), textWantList, what)
		return nil
	case len(a.Elements) > maxEntries:
		r.say(r.at(v.StartOffset), textTooMany, what, len(a.Elements), maxEntries)
		return nil
	}
	return a.Elements
}

// words gives the elements of an array of strings.
func (r *reader) words(v hujson.Value, what string) []word {
	var ws []word
	for _, e := range r.list(v, what) {
		if w, ok := r.word(e, what); ok {
			ws = append(ws, w)
		}
	}
	return ws
}

// word reads a string, which may not be empty.
func (r *reader) word(v hujson.Value, what string) (word, bool) {
	l, ok := v.Value.(hujson.Literal)
	if !ok || l.Kind() != '"' || l.String() == "" {
		r.say(r.at(v.StartOffset), textWantString, what)
		return word{}, false
	}
	return word{text: l.String(), pos: r.at(v.StartOffset)}, true
}
