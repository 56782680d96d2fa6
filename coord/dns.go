package coord

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Bounds on the DNS settings of a network. Both ends hold them.
const (
	MaxNameservers  = 6    // for one domain; a resolver asks no more of them in the time that a program waits
	MaxSplitDomains = 64   // with nameservers of their own
	MaxSearch       = 8    // domains; glibc before 2.26 took 6
	MaxRecords      = 1000 // of the network's own
	MaxDomainLength = 253  // bytes without the last dot (RFC 1035, section 2.3.4)
	MaxTXT          = 1000 // bytes of a text record's value
	MaxURL          = 512  // bytes of a nameserver's URL
)

// DNS is what the network's machines answer to names, beside each other's.
type DNS struct {
	NoNames     bool        `json:"noNames,omitempty"`     // machines are not to be found by name
	Nameservers []string    `json:"nameservers,omitempty"` // for all other names, instead of the host's own
	Split       []DNSSplit  `json:"split,omitempty"`
	Search      []string    `json:"search,omitempty"` // domains, after the network's suffix
	Records     []DNSRecord `json:"records,omitempty"`
}

// DNSSplit gives a domain, and all below it, nameservers of its own.
type DNSSplit struct {
	Domain      string   `json:"domain"`
	Nameservers []string `json:"nameservers"`
}

// DNSRecord is a record of the network's own.
type DNSRecord struct {
	Name  string `json:"name"`  // whole, without the last dot; "*.DOMAIN" answers for all below DOMAIN that is not named
	Type  string `json:"type"`  // A, AAAA, CNAME or TXT
	Value string `json:"value"` // an address, a name, or a text
}

// IsZero reports whether nothing is set.
func (d DNS) IsZero() bool {
	return !d.NoNames && len(d.Nameservers)+len(d.Split)+len(d.Search)+len(d.Records) == 0
}

// Validate holds the settings against their bounds.
func (d *DNS) Validate() error {
	if err := validNameservers(d.Nameservers, "all names"); err != nil {
		return err
	}
	if len(d.Split) > MaxSplitDomains || len(d.Search) > MaxSearch || len(d.Records) > MaxRecords {
		return fmt.Errorf("%w DNS settings: %d domains with nameservers (%d at the most), %d search domains (%d), %d records (%d)",
			ErrInvalid, len(d.Split), MaxSplitDomains, len(d.Search), MaxSearch, len(d.Records), MaxRecords)
	}
	for i, s := range d.Split {
		switch {
		case !ValidDomain(s.Domain):
			return fmt.Errorf("%w DNS settings: %q is no domain", ErrInvalid, s.Domain)
		case len(s.Nameservers) == 0:
			return fmt.Errorf("%w DNS settings: %s has no nameserver", ErrInvalid, s.Domain)
		case slices.ContainsFunc(d.Split[:i], func(o DNSSplit) bool { return o.Domain == s.Domain }):
			return fmt.Errorf("%w DNS settings: %s is named twice", ErrInvalid, s.Domain)
		}
		if err := validNameservers(s.Nameservers, s.Domain); err != nil {
			return err
		}
	}
	for _, s := range d.Search {
		if !ValidDomain(s) {
			return fmt.Errorf("%w DNS settings: %q is no search domain", ErrInvalid, s)
		}
	}
	return validRecords(d.Records)
}

func validNameservers(servers []string, domain string) error {
	if len(servers) > MaxNameservers {
		return fmt.Errorf("%w DNS settings: %d nameservers for %s, %d at the most", ErrInvalid, len(servers), domain, MaxNameservers)
	}
	for _, s := range servers {
		if _, _, err := ParseNameserver(s); err != nil {
			return err
		}
	}
	return nil
}

// ParseNameserver takes a nameserver apart: an address (port 53 if none is given), or the URL of DNS over HTTPS (RFC 8484).
func ParseNameserver(s string) (netip.AddrPort, *url.URL, error) {
	refused := fmt.Errorf("%w nameserver %.100q: give an address, such as 192.0.2.53 or [2001:db8::53]:5353, or a URL of DNS over HTTPS",
		ErrInvalid, s)
	if strings.HasPrefix(s, "https://") {
		u, err := url.Parse(s)
		if err != nil || len(s) > MaxURL || u.Hostname() == "" || u.User != nil || u.Fragment != "" || u.RawQuery != "" {
			return netip.AddrPort{}, nil, refused
		}
		if _, err := netip.ParseAddr(u.Hostname()); err != nil && !ValidDomain(u.Hostname()) {
			return netip.AddrPort{}, nil, refused
		}
		return netip.AddrPort{}, u, nil
	}
	ap, err := netip.ParseAddrPort(s)
	if a, bare := netip.ParseAddr(s); bare == nil {
		ap, err = netip.AddrPortFrom(a, 53), nil
	}
	a := ap.Addr()
	if err != nil || ap.Port() == 0 || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" || a.Is4In6() ||
		a.IsLoopback() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.AddrPort{}, nil, refused
	}
	return ap, nil, nil
}

func validRecords(rs []DNSRecord) error {
	types := make(map[string]string, len(rs)) // of each name: "CNAME", or another
	seen := make(map[DNSRecord]bool, len(rs))
	for _, r := range rs {
		if !ValidDomain(strings.TrimPrefix(r.Name, "*.")) || len(r.Name) > MaxDomainLength {
			return fmt.Errorf("%w DNS record %.100q: that is no name", ErrInvalid, r.Name)
		}
		if err := r.validValue(); err != nil {
			return err
		}
		if was, known := types[r.Name]; known && (was == "CNAME" || r.Type == "CNAME") {
			return fmt.Errorf("%w DNS record %s: a name with a CNAME can have no other record (RFC 1034, section 3.6.2)", ErrInvalid, r.Name)
		}
		if seen[r] {
			return fmt.Errorf("%w DNS record %s %s: it is there twice", ErrInvalid, r.Name, r.Type)
		}
		types[r.Name], seen[r] = r.Type, true
	}
	return nil
}

func (r *DNSRecord) validValue() error {
	a, err := netip.ParseAddr(r.Value)
	isAddr := err == nil && a.Zone() == "" && !a.Is4In6()
	ok := false
	switch r.Type {
	case "A":
		ok = isAddr && a.Is4()
	case "AAAA":
		ok = isAddr && a.Is6()
	case "CNAME":
		ok = ValidDomain(r.Value) && r.Value != r.Name
	case "TXT":
		ok = len(r.Value) <= MaxTXT
	default:
		return fmt.Errorf("%w DNS record %s: its type is %.20q, not A, AAAA, CNAME or TXT", ErrInvalid, r.Name, r.Type)
	}
	if !ok {
		return fmt.Errorf("%w DNS record %s: %.100q is no value of type %s", ErrInvalid, r.Name, r.Value, r.Type)
	}
	return nil
}

// ValidDomain reports whether s is a lower-case domain of letters, digits, inner hyphens and leading underscores
// (RFC 8552), without the last dot. The root is none.
func ValidDomain(s string) bool {
	if s == "" || len(s) > MaxDomainLength {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !ValidName(strings.TrimPrefix(label, "_")) || len(label) > MaxNameLength {
			return false
		}
	}
	return true
}

// Resolver gives the addresses at which every machine answers its own host's DNS questions, on its own interface: the
// last but one of the IPv4 range (the last is its broadcast address), and ::ffff:53 of the IPv6 range. They are the same
// on all machines, so that people can know them by heart, and no machine ever has one of them.
func (n *Network) Resolver() (addrs []netip.Addr) {
	if p := n.IPv4; p.IsValid() && p.Addr().Is4() && p.Bits() <= 29 {
		addrs = append(addrs, lastOf(p).Prev())
	}
	if p := n.IPv6; p.IsValid() && p.Addr().Is6() && p.Bits() <= 96 {
		a := p.Masked().Addr().As16()
		a[12], a[13], a[15] = 0xff, 0xff, 0x53
		addrs = append(addrs, netip.AddrFrom16(a))
	}
	return addrs
}

// lastOf gives the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	raw := p.Addr().AsSlice()
	for i := range raw {
		for bit := range 8 {
			if i*8+bit >= p.Bits() {
				raw[i] |= 0x80 >> bit
			}
		}
	}
	a, _ := netip.AddrFromSlice(raw)
	return a
}
