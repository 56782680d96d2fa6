package coord

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestDNSSettingsKeepToTheirBounds(t *testing.T) {
	record := func(name, kind, value string) DNS { return DNS{Records: []DNSRecord{{name, kind, value}}} }
	many := func(n int) (d DNS) {
		for i := range n {
			d.Records = append(d.Records, DNSRecord{fmt.Sprintf("n%d.example", i), "A", "192.0.2.1"})
		}
		return d
	}
	for name, c := range map[string]struct {
		dns DNS
		ok  bool
	}{
		"nothing":               {DNS{}, true},
		"everything":            {DNS{Nameservers: []string{"192.0.2.53", "[2001:db8::53]:5353", "2001:db8::53", "https://dns.example/dns-query"}, Search: []string{"corp.example"}, Split: []DNSSplit{{"corp.example", []string{"192.0.2.1"}}}}, true},
		"a nameserver by name":  {DNS{Nameservers: []string{"dns.example"}}, false},
		"a loopback nameserver": {DNS{Nameservers: []string{"127.0.0.1"}}, false},
		"a zone":                {DNS{Nameservers: []string{"fe80::1%eth0"}}, false},
		"plain HTTP":            {DNS{Nameservers: []string{"http://dns.example/"}}, false},
		"a URL with a password": {DNS{Nameservers: []string{"https://a:b@dns.example/"}}, false},
		"a URL without host":    {DNS{Nameservers: []string{"https:///x"}}, false},
		"too many nameservers":  {DNS{Nameservers: strings.Split(strings.Repeat("192.0.2.1 ", 7), " ")[:7]}, false},
		"a domain without any":  {DNS{Split: []DNSSplit{{"corp.example", nil}}}, false},
		"a domain twice":        {DNS{Split: []DNSSplit{{"a.example", []string{"192.0.2.1"}}, {"a.example", []string{"192.0.2.1"}}}}, false},
		"the root":              {DNS{Split: []DNSSplit{{"", []string{"192.0.2.1"}}}}, false},
		"upper case":            {DNS{Search: []string{"Corp.example"}}, false},
		"a last dot":            {DNS{Search: []string{"corp.example."}}, false},
		"an address":            {record("a.example", "A", "192.0.2.1"), true},
		"a wildcard":            {record("*.a.example", "AAAA", "2001:db8::1"), true},
		"a wildcard inside":     {record("a.*.example", "A", "192.0.2.1"), false},
		"the wrong family":      {record("a.example", "AAAA", "192.0.2.1"), false},
		"an underscore":         {record("_acme-challenge.a.example", "TXT", "any \" text"), true},
		"a long text":           {record("a.example", "TXT", strings.Repeat("x", MaxTXT+1)), false},
		"another type":          {record("a.example", "MX", "10 b.example"), false},
		"an alias of itself":    {record("a.example", "CNAME", "a.example"), false},
		"an alias and more":     {DNS{Records: []DNSRecord{{"a.example", "CNAME", "b.example"}, {"a.example", "A", "192.0.2.1"}}}, false},
		"a record twice":        {DNS{Records: []DNSRecord{{"a.example", "A", "192.0.2.1"}, {"a.example", "A", "192.0.2.1"}}}, false},
		"as many as may be":     {many(MaxRecords), true},
		"too many records":      {many(MaxRecords + 1), false},
	} {
		err := c.dns.Validate()
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDNSSettingsTravelAsAChangeOfTheirOwn(t *testing.T) {
	was := netmapOf(t)
	is := *was
	is.DNS = DNS{Search: []string{"corp.example"}}
	cs := Diff(was, &is)
	if len(cs) != 1 || cs[0].DNS == nil {
		t.Fatalf("changes %+v", cs)
	}
	if got := Apply(was, cs); !reflect.DeepEqual(got, &is) || got.validateChanged(cs) != nil {
		t.Errorf("got %+v", got)
	}
	is.DNS.Search = []string{"not a domain"}
	cs = Diff(was, &is)
	if err := Apply(was, cs).validateChanged(cs); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if err := is.Validate(); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func netmapOf(t *testing.T) *Netmap {
	t.Helper()
	m := &Netmap{
		Network: Network{Suffix: "warren.internal", IPv4: netip.MustParsePrefix("100.64.0.0/10")},
		Self:    Node{ID: 1, Name: "a", Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.1")}},
	}
	m.Self.Key[0] = 1
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestTheResolverHasAddressesThatNoMachineGets(t *testing.T) {
	for _, c := range []struct{ v4, v6, want string }{
		{"100.64.0.0/10", "fd77:1:2::/48", "[100.127.255.254 fd77:1:2::ffff:53]"},
		{"10.1.2.0/24", "", "[10.1.2.254]"},
		{"10.1.2.8/29", "", "[10.1.2.14]"},
		{"10.1.2.8/30", "fd77:1:2::/48", "[fd77:1:2::ffff:53]"},
	} {
		n := Network{IPv4: netip.MustParsePrefix(c.v4)}
		if c.v6 != "" {
			n.IPv6 = netip.MustParsePrefix(c.v6)
		}
		if got := fmt.Sprint(n.Resolver()); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.v4, c.v6, got, c.want)
		}
	}
}
