package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// scrubber takes out of texts what nobody else should read. Secrets go; what names a person, a machine or a place is replaced,
// the same each time it comes, so that a report still shows which belongs to which. In doubt it takes out too much.
type scrubber struct {
	known map[string]string   // what it stands for, by kind and value in small letters
	count map[string]int      // by kind
	names map[string][]string // of people and machines, in small letters, by the first word of each; the longest first
}

func newScrubber() *scrubber {
	return &scrubber{known: map[string]string{}, count: map[string]int{}, names: map[string][]string{}}
}

const (
	removed = "[removed]"
	// Of all languages: names of hosts may have them, and people's. And what stands in the middle of words.
	letters = `\w\x{80}-\x{10ffff}`
)

var (
	// A key, a token, a hash: long, and no word. What is shorter than that has too little in it for a secret of ours (16 bytes
	// are 22 letters).
	longToken = regexp.MustCompile(`[A-Za-z0-9_/+-]{20,}={0,2}`)
	// A secret's name, and what follows it: in quotes (of a text in quotes, too) whole, else one word.
	named = regexp.MustCompile(`(?i)((?:pass(?:word|wd|phrase)?|secret|token|auth[-_]?key|private[-_]?key|preshared[-_]?key|psk|verifier)\\?["']?\s*[:=]\s*)` +
		`(?:\\?"[^"]*"?|'[^']*'?|[^\s"',}]+)`)
	header   = regexp.MustCompile(`(?i)((?:authorization|cookie)\\?["']?\s*[:=]\s*)[^\n]+`) // the rest of the line
	flag     = regexp.MustCompile(`(?i)(--(?:password|secret|token|auth[-_]?key)\s+)\S+`)
	userinfo = regexp.MustCompile(`://(?:[^/\s@"']+@|[^/\s@"':]*:[^\s"'@]*@)`)
	query    = regexp.MustCompile(`(://[^\s"'?#]*)[?#][^\s"']*`)
	mail     = regexp.MustCompile(`[` + letters + `.+-]+@[` + letters + `-]+(?:\.[` + letters + `-]+)*`)
	mac      = regexp.MustCompile(`(?i)\b[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}\b`)
	v4       = regexp.MustCompile(`\d{1,3}(?:\.\d{1,3}){3}`)
	v6       = regexp.MustCompile(`[0-9a-fA-F]*:[0-9a-fA-F:]*:[0-9a-fA-F:.]*`)
	dotted   = regexp.MustCompile(`[` + letters + `-][` + letters + `.-]*\.[a-zA-Z\x{80}-\x{10ffff}][` + letters + `-]*`)
	urlHost  = regexp.MustCompile(`(://)([^/\s:"'\[\]]+)`)
)

// files are the last parts of what has dots and is no host.
var files = []string{"conf", "service", "sock", "socket", "db", "json", "target", "slice", "scope", "go", "log", "pid", "timer", "mount", "device", "txt"}

// learn remembers the name of a person, a machine or a network.
func (s *scrubber) learn(name string) {
	name = strings.TrimFunc(small(name), func(c rune) bool { return c < utf8.RuneSelf && !part(byte(c)) })
	first := firstWord(name)
	if name == "" || name == "root" || slices.Contains(s.names[first], name) {
		return
	}
	s.names[first] = append(s.names[first], name)
	slices.SortFunc(s.names[first], func(a, b string) int { return len(b) - len(a) })
}

// learnHost remembers a host's name: what has dots is replaced in any case, but its first part may also come alone.
func (s *scrubber) learnHost(name string) {
	s.learn(name)
	first, _, _ := strings.Cut(name, ".")
	s.learn(first)
}

// learnFrom learns the names in a document of ours: what stands under the keys that hold some.
func (s *scrubber) learnFrom(doc any) {
	switch d := doc.(type) {
	case []any:
		for _, v := range d {
			s.learnFrom(v)
		}
	case map[string]any:
		for key, v := range d {
			s.learnFrom(v)
			switch key {
			case "dnsName":
				s.learnHost(texts(v)[0])
			case "server":
				if u, err := url.Parse(texts(v)[0]); err == nil && u.Hostname() != "" {
					s.learn(u.Hostname())
				}
			case "via": // an address, or a relay's name
				if _, err := netip.ParseAddrPort(texts(v)[0]); err != nil {
					s.learn(texts(v)[0])
				}
			case "user":
				name, _, _ := strings.Cut(texts(v)[0], "@")
				s.learn(texts(v)[0])
				s.learn(name)
			case "name", "profile", "hostname", "relay", "wanted", "exitNodes", "network", "suffix", "search", "domain", "domains":
				for _, name := range texts(v) {
					s.learn(name)
				}
			}
		}
	}
}

// texts are the texts of a value that is one, or a list of some; one that is empty, if there is none.
func texts(v any) []string {
	all, list := v.([]any)
	if !list {
		all = []any{v}
	}
	var found []string
	for _, one := range all {
		if text, ok := one.(string); ok {
			found = append(found, text)
		}
	}
	if found == nil {
		return []string{""}
	}
	return found
}

// alias is what stands for a value.
func (s *scrubber) alias(kind, value string) string {
	key := kind + " " + strings.ToLower(value)
	if s.known[key] == "" {
		s.count[kind]++
		s.known[key] = fmt.Sprintf("%s-%d", kind, s.count[kind])
	}
	return s.known[key]
}

// text gives a text without all that.
func (s *scrubber) text(t string) string {
	if strings.Contains(t, "://") {
		t = userinfo.ReplaceAllString(t, "://"+removed+"@")
		t = query.ReplaceAllString(t, "$1?"+removed)
	}
	t = header.ReplaceAllString(t, "${1}"+removed)
	t = named.ReplaceAllString(t, "${1}"+removed)
	t = flag.ReplaceAllString(t, "${1}"+removed)
	t = longToken.ReplaceAllStringFunc(t, func(token string) string {
		if isWord(token) {
			return token
		}
		return removed
	})
	if strings.Contains(t, "@") {
		t = mail.ReplaceAllStringFunc(t, func(m string) string { return s.alias("user", m) })
	}
	t = mac.ReplaceAllStringFunc(t, func(m string) string { return s.alias("mac", m) })
	if strings.Contains(t, ":") {
		t = v6.ReplaceAllStringFunc(t, s.addrs)
	}
	t = v4.ReplaceAllStringFunc(t, s.addrs)
	t = s.hosts(t)
	return s.withoutNames(t)
}

// hosts replaces the names of hosts: those of addresses of pages, and all that have dots.
func (s *scrubber) hosts(t string) string {
	if strings.Contains(t, "://") {
		t = urlHost.ReplaceAllStringFunc(t, func(u string) string {
			host := strings.TrimPrefix(u, "://")
			for _, kind := range kinds { // an address was there
				if strings.HasPrefix(host, kind+"-") {
					return u
				}
			}
			return "://" + s.alias("host", host)
		})
	}
	if strings.Contains(t, ".") {
		t = dotted.ReplaceAllStringFunc(t, func(host string) string {
			if slices.Contains(files, strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])) {
				return host
			}
			return s.alias("host", host)
		})
	}
	return t
}

// isWord says of a long token whether it is a word or a path: small letters and signs only.
func isWord(token string) bool {
	return !strings.ContainsAny(token, "0123456789+=") && strings.ToLower(token) == token && strings.ContainsAny(token, "/-_")
}

// kinds of addresses, each told from the others.
var kinds = []string{"mesh", "lan", "link", "public", removed}

// addrs replaces an address, if it is one.
func (s *scrubber) addrs(token string) string {
	for _, cut := range []struct{ left, right string }{{"", ""}, {"", ":."}, {":", ""}, {":", ":."}} {
		inner := strings.TrimRight(strings.TrimLeft(token, cut.left), cut.right)
		a, err := netip.ParseAddr(inner)
		if err != nil || inner == "" {
			continue
		}
		a = a.Unmap()
		kind := "public"
		switch {
		case a.IsLoopback() || a.IsUnspecified() || a.IsMulticast():
			return token // the same on all machines
		case unassigned.Contains(a) || a.Is6() && a.IsPrivate():
			kind = "mesh"
		case a.IsPrivate():
			kind = "lan"
		case a.IsLinkLocalUnicast():
			kind = "link"
		}
		return strings.Replace(token, inner, s.alias(kind, a.String()), 1)
	}
	// More than a time of day has: addresses with something at their ends that looks like a part of them.
	if inner := strings.Trim(token, ":."); strings.Count(inner, ":") > 2 || strings.Contains(inner, "::") {
		return removed
	}
	return token
}

// withoutNames replaces the names that were learnt, where they stand as words of their own, in capitals or not.
func (s *scrubber) withoutNames(t string) string {
	var b strings.Builder
	lower := small(t)
	for i := 0; i < len(t); {
		word := firstWord(lower[i:])
		if word == "" {
			b.WriteByte(t[i])
			i++
			continue
		}
		name := word
		at := slices.IndexFunc(s.names[word], func(n string) bool {
			end := i + len(n)
			return strings.HasPrefix(lower[i:], n) && (end == len(lower) || !part(lower[end]) || !part(n[len(n)-1]))
		})
		if at >= 0 {
			name = s.names[word][at]
			b.WriteString(s.alias("name", name))
		} else {
			b.WriteString(t[i : i+len(name)])
		}
		i += len(name)
	}
	return b.String()
}

// part says of a byte whether it belongs to a word: letters of all languages, and digits.
func part(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf
}

// firstWord is the word that a text begins with.
func firstWord(t string) string {
	for i := range len(t) {
		if !part(t[i]) {
			return t[:i]
		}
	}
	return t
}

// small gives a text in small letters, each of them where it was: one whose small letter has another length stays, and so does
// what is no letter of UTF-8.
func small(t string) string {
	b := make([]byte, 0, len(t))
	for i := 0; i < len(t); {
		c, n := utf8.DecodeRuneInString(t[i:])
		if l := unicode.ToLower(c); c != utf8.RuneError && utf8.RuneLen(l) == n {
			b = utf8.AppendRune(b, l)
		} else {
			b = append(b, t[i:i+n]...)
		}
		i += n
	}
	return string(b)
}

// document scrubs the values of a JSON document; its keys are ours.
func (s *scrubber) document(doc any) any {
	switch d := doc.(type) {
	case string:
		return s.text(d)
	case []any:
		for i := range d {
			d[i] = s.document(d[i])
		}
	case map[string]any:
		for key := range d {
			d[key] = s.document(d[key])
		}
	}
	return doc
}

// plain turns a value of ours into what document takes.
func plain(v any) (doc any) {
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &doc)
	}
	if err != nil {
		return map[string]any{"error": "cannot be shown"}
	}
	return doc
}
