package server

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestOnlyProxiesOfOurOwnSayWhoTheClientIs(t *testing.T) {
	s := &Server{opts: Options{BehindProxy: true, Proxies: []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("10.1.0.0/16"),
	}}}
	for _, c := range []struct {
		what, from string
		said       []string
		want       string
	}{
		{"a proxy", "127.0.0.1:1", []string{"198.51.100.7"}, "198.51.100.7"},
		{"a proxy over IPv6", "[::1]:1", []string{"2001:db8::7"}, "2001:db8::7"},
		{"one that maps IPv4", "[::ffff:127.0.0.1]:1", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		{"a proxy that says nothing", "127.0.0.1:1", nil, "127.0.0.1"},
		{"a stranger who lies", "203.0.113.9:1", []string{"198.51.100.7"}, "203.0.113.9"},
		{"a lie that a proxy hands on", "127.0.0.1:1", []string{"1.2.3.4, 198.51.100.7"}, "198.51.100.7"},
		{"a lie in a line of its own", "127.0.0.1:1", []string{"1.2.3.4", "198.51.100.7"}, "198.51.100.7"},
		{"two proxies of ours", "127.0.0.1:1", []string{"1.2.3.4, 198.51.100.7, 10.1.2.3"}, "198.51.100.7"},
		{"a lie about one of ours", "127.0.0.1:1", []string{"10.1.2.3, 203.0.113.9"}, "203.0.113.9"},
		{"a proxy's own request", "127.0.0.1:1", []string{"10.1.2.3"}, "10.1.2.3"},
		{"nonsense", "127.0.0.1:1", []string{"1.2.3.4, unknown"}, "127.0.0.1"},
		{"nonsense further away", "127.0.0.1:1", []string{"unknown, 10.1.2.3"}, "10.1.2.3"},
		{"a port", "127.0.0.1:1", []string{"198.51.100.7:1234"}, "127.0.0.1"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.from
		for _, line := range c.said {
			r.Header.Add("X-Forwarded-For", line)
		}
		if a := s.clientAddr(r); a.String() != c.want {
			t.Errorf("%s: it is %s, not %s", c.what, a, c.want)
		}
	}
}
