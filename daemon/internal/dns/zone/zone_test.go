package zone

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/warren-mesh/warren/coord"
)

var home = coord.Network{
	Name: "home", Suffix: "warren.internal",
	IPv4: netip.MustParsePrefix("100.64.0.0/10"), IPv6: netip.MustParsePrefix("fd77:1:2::/48"),
}

func node(id int, name string) coord.Node {
	return coord.Node{ID: coord.NodeID(id), Name: name, Addrs: []netip.Addr{
		netip.MustParseAddr(fmt.Sprintf("100.64.0.%d", id)), netip.MustParseAddr(fmt.Sprintf("fd77:1:2::%d", id)),
	}}
}

func newZone(d coord.DNS) *Zone {
	self := node(1, "alice")
	return New(&home, &d, &self, []coord.Node{node(2, "bob"), node(3, "carol")})
}

var own = coord.DNS{Records: []coord.DNSRecord{
	{Name: "web.warren.internal", Type: "CNAME", Value: "bob.warren.internal"},
	{Name: "far.warren.internal", Type: "CNAME", Value: "www.example.com"},
	{Name: "dead.warren.internal", Type: "CNAME", Value: "nobody.warren.internal"},
	{Name: "one.warren.internal", Type: "CNAME", Value: "two.warren.internal"},
	{Name: "two.warren.internal", Type: "CNAME", Value: "one.warren.internal"},
	{Name: "bob.warren.internal", Type: "A", Value: "192.0.2.66"}, // tries to take bob's name
	{Name: "note.warren.internal", Type: "TXT", Value: "hello"},
	{Name: "*.apps.warren.internal", Type: "A", Value: "100.64.0.3"},
	{Name: "db.apps.warren.internal", Type: "AAAA", Value: "fd77:1:2::9"},
	{Name: "*.bob.warren.internal", Type: "CNAME", Value: "bob.warren.internal"},
	{Name: "git.example.org", Type: "A", Value: "100.64.0.2"},
	{Name: "*.lab.example.org", Type: "A", Value: "100.64.0.3"},
}}

// said puts an answer into a line.
func said(a Answer, mine bool) string {
	if !mine {
		return "not mine"
	}
	var parts []string
	for _, r := range a.Records {
		value := r.Text
		if r.Addr.IsValid() {
			value = r.Addr.String()
		}
		parts = append(parts, r.Name+"="+value)
	}
	switch {
	case a.Follow != "":
		parts = append(parts, "follow "+a.Follow)
	case !a.Exists:
		parts = append(parts, "no such name in "+a.Domain)
	case len(parts) == 0:
		parts = append(parts, "nothing of that type in "+a.Domain)
	}
	return strings.Join(parts, ", ")
}

func TestNamesAreAnsweredFromTheTable(t *testing.T) {
	for _, c := range []struct {
		name string
		t    Type
		want string
	}{
		{"bob.warren.internal.", A, "bob.warren.internal=100.64.0.2"},
		{"BOB.Warren.Internal", AAAA, "bob.warren.internal=fd77:1:2::2"},
		{"bob", A, "bob=100.64.0.2"},
		{"bob", 65, "nothing of that type in warren.internal"}, // HTTPS (RFC 9460), as browsers ask
		{"bob", 43, "not mine"},                                // DS
		{"bob", 48, "not mine"},                                // DNSKEY
		{"bob", 2, "not mine"},                                 // NS
		{"bob.warren.internal", 43, "nothing of that type in warren.internal"},
		{"alice.warren.internal", A, "alice.warren.internal=100.64.0.1"},
		{"bob.warren.internal", TXT, "nothing of that type in warren.internal"},
		{"nobody.warren.internal", A, "no such name in warren.internal"},
		{"a.b.nobody.warren.internal", A, "no such name in warren.internal"},
		{"warren.internal", A, "nothing of that type in warren.internal"},
		{"nobody", A, "not mine"},
		{"nobody.warren.internal.lan.example", A, "no such name in warren.internal.lan.example"},
		{"nobody.xwarren.internal.lan.example", A, "not mine"},
		{"xwarren.internal", A, "not mine"},
		{"", A, "not mine"},
		{`bob\.warren.internal`, A, "not mine"}, // "bob.warren" in "internal"
		{`bob\\.warren.internal`, A, "no such name in warren.internal"},
		{`x\.nas.bob.warren.internal`, A, `x\.nas.bob.warren.internal=bob.warren.internal, bob.warren.internal=100.64.0.2`},
		{`nas\.bob.warren.internal`, A, "no such name in warren.internal"},
		{`nobody.x\.warren.internal.lan.example`, A, "not mine"},

		{"2.0.64.100.in-addr.arpa", PTR, "2.0.64.100.in-addr.arpa=bob.warren.internal"},
		{"9.9.64.100.in-addr.arpa", PTR, "no such name in 64.100.in-addr.arpa"},
		{"1.2.128.100.in-addr.arpa", PTR, "not mine"},
		{"64.100.in-addr.arpa", PTR, "nothing of that type in 64.100.in-addr.arpa"},
		{"100.in-addr.arpa", PTR, "not mine"},
		{"in-addr.arpa", PTR, "not mine"},
		{"02.0.64.100.in-addr.arpa", PTR, "not mine"},
		{ReverseName(netip.MustParseAddr("fd77:1:2::3")), PTR, ReverseName(netip.MustParseAddr("fd77:1:2::3")) + "=carol.warren.internal"},
		{ReverseName(netip.MustParseAddr("fd77:1:3::3")), PTR, "not mine"},

		{"web.warren.internal", A, "web.warren.internal=bob.warren.internal, bob.warren.internal=100.64.0.2"},
		{"web.warren.internal", CNAME, "web.warren.internal=bob.warren.internal"},
		{"far.warren.internal", A, "far.warren.internal=www.example.com, follow www.example.com"},
		{"dead.warren.internal", A, "dead.warren.internal=nobody.warren.internal, no such name in warren.internal"},
		{"one.warren.internal", A, "nothing of that type in warren.internal"},
		{"note.warren.internal", TXT, "note.warren.internal=hello"},
		{"x.apps.warren.internal", A, "x.apps.warren.internal=100.64.0.3"},
		{"y.x.apps.warren.internal", A, "y.x.apps.warren.internal=100.64.0.3"},
		{"db.apps.warren.internal", A, "nothing of that type in warren.internal"},
		{"x.db.apps.warren.internal", A, "no such name in warren.internal"},
		{"apps.warren.internal", A, "nothing of that type in warren.internal"},
		{"nas.bob.warren.internal", A, "nas.bob.warren.internal=bob.warren.internal, bob.warren.internal=100.64.0.2"},
		{"git.example.org", A, "git.example.org=100.64.0.2"},
		{"git.example.org", AAAA, "nothing of that type in git.example.org"},
		{"example.org", A, "not mine"},
		{"lab.example.org", A, "not mine"},
		{"x.lab.example.org", A, "x.lab.example.org=100.64.0.3"},
		{"www.example.org", A, "not mine"},
	} {
		if got := said(newZone(own).Lookup(c.name, c.t)); got != c.want {
			t.Errorf("%s %d: got %q, want %q", c.name, c.t, got, c.want)
		}
	}
}

func TestWithoutNamesTheSuffixStaysOurs(t *testing.T) {
	z := newZone(coord.DNS{NoNames: true})
	for _, name := range []string{"bob.warren.internal", "bob.warren.internal."} {
		if got := said(z.Lookup(name, A)); got != "no such name in warren.internal" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := said(z.Lookup("bob", A)); got != "not mine" {
		t.Errorf("bob: %s", got)
	}
}

func TestDomainsAreThoseThatTheTableSpeaksFor(t *testing.T) {
	ds := newZone(own).Domains()
	for _, want := range []string{
		"warren.internal", "64.100.in-addr.arpa", "127.100.in-addr.arpa", "2.0.0.0.1.0.0.0.7.7.d.f.ip6.arpa", "git.example.org", "lab.example.org",
	} {
		if !slices.Contains(ds, want) {
			t.Errorf("%s is missing in %v", want, ds)
		}
	}
	if len(ds) != 1+64+1+2 {
		t.Errorf("%d domains: %v", len(ds), ds)
	}
}

// TestReverseDomainsHoldExactlyTheRange asks of random addresses whether their reverse names lie in the domains.
func TestReverseDomainsHoldExactlyTheRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{4, 16}).Draw(t, "size")
		addr := func(label string) netip.Addr {
			a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, label))
			return a
		}
		p := netip.PrefixFrom(addr("range"), rapid.IntRange(1, size*8).Draw(t, "bits")).Masked()
		for _, a := range []netip.Addr{addr("any"), p.Addr()} {
			name, in := ReverseName(a), 0
			for _, d := range ReverseDomains(p) {
				if Within(name, d) {
					in++
				}
			}
			if want := p.Contains(a); (in == 1) != want || in > 1 {
				t.Fatalf("%s in %s: %v, but its name is in %d domains", a, p, want, in)
			}
			if back, whole, ok := parseReverse(name); back != a || !whole || !ok {
				t.Fatalf("%s became %s", a, back)
			}
		}
	})
}

func FuzzLookup(f *testing.F) {
	f.Add("bob.warren.internal", uint16(A))
	f.Add("1.0.64.100.in-addr.arpa", uint16(PTR))
	f.Add("*.apps.warren.internal", uint16(ANY))
	z := newZone(own)
	f.Fuzz(func(t *testing.T, name string, typ uint16) {
		a, mine := z.Lookup(name, Type(typ))
		if Within(name, "warren.internal") && !mine {
			t.Errorf("%q would be sent to others", name)
		}
		if len(a.Records) > 100 {
			t.Errorf("%q has %d records", name, len(a.Records))
		}
	})
}
