// Package say puts facts into words: times, sizes, paths; and it makes the words of others harmless, before they
// reach a terminal or a window.
package say

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/warren-mesh/warren/ipc"
)

// These bound what somebody else's text may take of a screen, in characters.
const (
	maxLine      = 300
	maxParagraph = 1000
)

// Line makes text of others fit for one line: no control characters (they move the cursor), no direction
// overrides and no invisible ones (they make one name look like another), and no more than 300 characters.
func Line(s string) string { return fit(s, maxLine) }

// Paragraph does as Line, for the daemon's longest sentences: it leaves 1,000 characters.
func Paragraph(s string) string { return fit(s, maxParagraph) }

func fit(s string, most int) string {
	if bytes := most * utf8.UTFMax; len(s) > bytes {
		s = s[:bytes] // what is cut anyway is not read: it may be long, and there may be thousands
	}
	n := 0
	return strings.Map(func(r rune) rune {
		if n++; n > most || Harmful(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// Lines does as Line, for text of several.
func Lines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = Line(lines[i])
	}
	return strings.Join(lines, "\n")
}

// Harmful tells which characters must not reach a terminal as they are.
func Harmful(r rune) bool {
	if ' ' <= r && r <= '~' {
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp)
}

// Span is a duration in its largest unit: "5 s", "12 min", "3 h", "4 d".
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%d h", d/time.Hour)
	default:
		return fmt.Sprintf("%d d", d/day)
	}
}

// Latency is a round trip with as many digits as mean something: "0.31 ms", "1.2 ms", "30 ms".
func Latency(m ipc.Milliseconds) string {
	switch {
	case m < 1:
		return fmt.Sprintf("%.2f ms", float64(m))
	case m < 10:
		return fmt.Sprintf("%.1f ms", float64(m))
	default:
		return fmt.Sprintf("%.0f ms", float64(m))
	}
}

// Bytes is an amount in decimal units: "0 B", "999 B", "1.2 kB", "34 MB".
func Bytes(n uint64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), ""
	for _, u := range []string{"kB", "MB", "GB", "TB", "PB", "EB"} {
		if unit = u; f < 999_500 {
			f /= 1000
			break
		}
		f /= 1000
	}
	if f < 9.95 {
		return fmt.Sprintf("%.1f %s", f, unit)
	}
	return fmt.Sprintf("%.0f %s", f, unit)
}

// Path is how packets reach a peer: "direct 203.0.113.7:41641", "relay fra", or "" where they do not.
func Path(p ipc.Path) string {
	switch p.Kind {
	case ipc.PathDirect:
		return "direct " + p.Endpoint.String()
	case ipc.PathRelay:
		return "relay " + Line(p.Relay)
	default:
		return ""
	}
}

// Peer is how a peer stands at now: its path with the latency, "idle", or "offline" and since when. A path that
// works says more than the coordination server, which may be the one that cannot be reached.
func Peer(p *ipc.Peer, now time.Time) string {
	path := Path(p.Path)
	switch {
	case path != "" && p.Path.Latency > 0:
		return path + ", " + Latency(p.Path.Latency)
	case path != "":
		return path
	case p.Online:
		return "idle"
	case p.LastSeen.IsZero():
		return "offline"
	default:
		return "offline, " + Span(now.Sub(p.LastSeen))
	}
}
