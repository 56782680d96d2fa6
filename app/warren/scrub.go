package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// scrubber takes out of texts what nobody else should read. Secrets go; what names a person, a machine or a place is replaced,
// the same each time it comes, so that a report still shows which belongs to which. In doubt it takes out too much.
type scrubber struct {
	known map[string]string // what it stands for, by kind and value in small letters
	count map[string]int    // by kind
	names []string          // of people and machines, the longest first
}

func newScrubber() *scrubber {
	return &scrubber{known: map[string]string{}, count: map[string]int{}}
}

const removed = "[removed]"

var (
	// A key, a token, a hash: long, and no word. What is shorter than that has too little in it for a secret of ours (16 bytes
	// are 22 letters).
	longToken = regexp.MustCompile(`[A-Za-z0-9_/+-]{20,}={0,2}`)
	named     = regexp.MustCompile(`(?i)((?:pass(?:word|wd)?|secret|token|auth[-_]?key|authorization|cookie|verifier)["']?\s*[:=]\s*["']?)[^\s"',}]+`)
	userinfo  = regexp.MustCompile(`://[^/\s@"']+@`)
	query     = regexp.MustCompile(`(://[^\s"'?#]*)[?#][^\s"']*`)
	mail      = regexp.MustCompile(`[\w.+-]+@[\w-]+(?:\.[\w-]+)*`)
	mac       = regexp.MustCompile(`(?i)\b[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}\b`)
	v4        = regexp.MustCompile(`\b\d{1,3}(?:\.\d{1,3}){3}\b`)
	v6        = regexp.MustCompile(`[0-9a-fA-F]*:[0-9a-fA-F:]*:[0-9a-fA-F:.]*`)
	dotted    = regexp.MustCompile(`(?i)\b[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.[a-z][a-z0-9-]*\b`)
	urlHost   = regexp.MustCompile(`(://)([^/\s:"'\[\]]+)`)
)

// files are the last parts of what has dots and is no host.
var files = []string{"conf", "service", "sock", "socket", "db", "json", "target", "slice", "scope", "go", "log", "pid", "timer", "mount", "device", "txt"}

// learn remembers the name of a person, a machine or a network.
func (s *scrubber) learn(name string) {
	name = strings.ToLower(strings.TrimSpace(name))
	if name == "" || name == "root" || slices.Contains(s.names, name) {
		return
	}
	s.names = append(s.names, name)
	slices.SortFunc(s.names, func(a, b string) int { return len(b) - len(a) })
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
				name, _ := v.(string)
				first, _, _ := strings.Cut(name, ".")
				s.learn(first)
			case "name", "user", "profile", "hostname", "relay", "wanted", "exitNodes", "network":
				all, list := v.([]any)
				if !list {
					all = []any{v}
				}
				for _, one := range all {
					if name, ok := one.(string); ok {
						s.learn(name)
					}
				}
			}
		}
	}
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
	t = userinfo.ReplaceAllString(t, "://"+removed+"@")
	t = query.ReplaceAllString(t, "$1?"+removed)
	t = named.ReplaceAllString(t, "${1}"+removed)
	t = longToken.ReplaceAllStringFunc(t, func(token string) string {
		if isWord(token) {
			return token
		}
		return removed
	})
	t = mail.ReplaceAllStringFunc(t, func(m string) string { return s.alias("user", m) })
	t = mac.ReplaceAllStringFunc(t, func(m string) string { return s.alias("mac", m) })
	t = v6.ReplaceAllStringFunc(t, s.addrs)
	t = v4.ReplaceAllStringFunc(t, s.addrs)
	t = urlHost.ReplaceAllStringFunc(t, func(u string) string {
		host := strings.TrimPrefix(u, "://")
		for _, kind := range kinds { // an address was there
			if strings.HasPrefix(host, kind+"-") {
				return u
			}
		}
		return "://" + s.alias("host", host)
	})
	t = dotted.ReplaceAllStringFunc(t, func(host string) string {
		if slices.Contains(files, strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])) {
			return host
		}
		return s.alias("host", host)
	})
	for _, name := range s.names {
		t = replaceWord(t, name, s.alias("name", name))
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
	return token
}

// replaceWord replaces a name where it stands as a word of its own, in capitals or not.
func replaceWord(t, name, alias string) string {
	var b strings.Builder
	part := func(c byte) bool {
		return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
	}
	lower := strings.ToLower(t)
	if len(lower) != len(t) { // letters that have no small one of their length: compare as it is
		lower = t
	}
	for {
		i := strings.Index(lower, name)
		if i < 0 {
			b.WriteString(t)
			return b.String()
		}
		end := i + len(name)
		b.WriteString(t[:i])
		if i > 0 && part(lower[i-1]) && part(name[0]) || end < len(lower) && part(lower[end]) && part(name[len(name)-1]) {
			b.WriteString(t[i:end])
		} else {
			b.WriteString(alias)
		}
		t, lower = t[end:], lower[end:]
	}
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
