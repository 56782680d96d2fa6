package say

import (
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/warren-mesh/warren/ipc"
)

func TestTheWordsOfOthersAreMadeHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"bob":                          "bob",
		"Bürö-東京":                      "Bürö-東京",
		"\x1b[2Jbob\x07":               "[2Jbob",
		"a\r\nb\tc\x00":                "abc",
		"evil\u202Egnp.exe":            "evilgnp.exe",
		"\u2066a\u2069\u200b\ufeff":    "a",
		"\u009b31mred\u007f":           "31mred",
		"a\u2028b\u2029c":              "abc",
		"a\xffb":                       "a\uFFFDb",
		strings.Repeat("é", maxLine+9): strings.Repeat("é", maxLine),
	} {
		if got := Line(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got := Lines("a\x1b\nb\r"); got != "a\nb" {
		t.Errorf("got %q", got)
	}
}

func FuzzLine(f *testing.F) {
	f.Add("a\u202Eb\x1b[0m\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := Line(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, Harmful) || utf8.RuneCountInString(got) > maxLine {
			t.Errorf("%q: got %q", s, got)
		}
	})
}

func TestAmounts(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 1234: "1.2 kB", 9949: "9.9 kB", 10_400: "10 kB", 999_499: "999 kB",
		999_999: "1.0 MB", 34_000_000: "34 MB", 1_500_000_000: "1.5 GB", 18_446_744_073_709_551_615: "18 EB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		-time.Hour: "0 s", 59 * time.Second: "59 s", time.Minute: "1 min", 3*time.Hour + 59*time.Minute: "3 h", 47 * time.Hour: "47 h", 96 * time.Hour: "4 d",
	} {
		if got := Span(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
	for m, want := range map[ipc.Milliseconds]string{0.312: "0.31 ms", 1.24: "1.2 ms", 30.4: "30 ms"} {
		if got := Latency(m); got != want {
			t.Errorf("%v: got %s, want %s", m, got, want)
		}
	}
}

func TestPeers(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	direct := ipc.Path{Kind: ipc.PathDirect, Endpoint: netip.MustParseAddrPort("203.0.113.7:41641"), Latency: 12}
	for want, p := range map[string]ipc.Peer{
		"direct 203.0.113.7:41641, 12 ms": {Online: true, Path: direct},
		"relay fra":                       {Path: ipc.Path{Kind: ipc.PathRelay, Relay: "fra\x1b"}},
		"idle":                            {Online: true, Path: ipc.Path{Kind: ipc.PathNone}},
		"offline":                         {},
		"offline, 3 h":                    {LastSeen: now.Add(-3 * time.Hour)},
	} {
		if got := Peer(&p, now); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
