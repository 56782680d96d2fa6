// Package zone answers names from a table. It is pure: a netmap's machines and records in, answers out.
//
//	machines, own records ─▶ New ─▶ Zone ─ Lookup(name, type) ─▶ records, "no such name", or: not mine
//
// A Zone is never changed, so that many may read it; a change of the network makes another. It speaks for the network's
// suffix and for the reverse names of its addresses, wholly: what it does not know there does not exist, and nobody else
// is ever asked. Of other domains it knows only the network's own records (RFC 1034; wildcards as in RFC 4592).
package zone

import (
	"net/netip"
	"strings"

	"github.com/warren-mesh/warren/coord"
)

// Type is a DNS record type (RFC 1035, section 3.2.2).
type Type uint16

// The types that a Zone holds, and the one that asks for all of them.
const (
	A     Type = 1
	CNAME Type = 5
	PTR   Type = 12
	TXT   Type = 16
	AAAA  Type = 28
	ANY   Type = 255
)

// maxChain bounds how many CNAMEs are followed: longer ones are mistakes, or loops.
const maxChain = 8

// Record is a record of the table.
type Record struct {
	Name string // whole, lower case, without the last dot
	Type Type
	Addr netip.Addr // of A and AAAA
	Text string     // of CNAME and PTR the name that they point to, of TXT the text
}

// Answer is what the table says of a name.
type Answer struct {
	Records []Record // a chain of CNAMEs first
	Exists  bool     // the name exists, if only with records of other types
	Domain  string   // whose answer it is: the owner of the SOA record that denies
	Follow  string   // the last CNAME leads here, outside of the table: ask others
}

// Zone is a table. Its methods may be called from several goroutines.
type Zone struct {
	suffix  string
	ranges  []netip.Prefix
	arpa    []string              // their reverse domains
	records map[string][]Record   // by name; wildcards under the name that follows "*."
	wild    map[string][]Record   //
	exists  map[string]bool       // names that have no records, but others below them
	reverse map[netip.Addr]string // machines
	search  map[string]bool       // machines' bare names
}

// New makes the table of a network: self is a machine as the others are.
func New(n *coord.Network, d *coord.DNS, self *coord.Node, peers []coord.Node) *Zone {
	z := &Zone{
		suffix: normal(n.Suffix), records: make(map[string][]Record, 2*len(peers)), wild: make(map[string][]Record),
		exists: make(map[string]bool), reverse: make(map[netip.Addr]string, 2*len(peers)), search: make(map[string]bool, len(peers)),
	}
	for _, p := range []netip.Prefix{n.IPv4, n.IPv6} {
		if p.IsValid() {
			z.ranges = append(z.ranges, p.Masked())
			z.arpa = append(z.arpa, ReverseDomains(p)...)
		}
	}
	if !d.NoNames {
		z.machine(self)
		for i := range peers {
			z.machine(&peers[i])
		}
	}
	for i := range d.Records {
		z.record(&d.Records[i])
	}
	if z.suffix != "" {
		z.exists[z.suffix] = true
	}
	return z
}

func (z *Zone) machine(n *coord.Node) {
	if n.Name == "" || z.suffix == "" {
		return
	}
	name := n.Name + "." + z.suffix
	z.search[n.Name] = true
	for _, a := range n.Addrs {
		z.add(name, addrRecord(name, a))
		z.reverse[a] = name
	}
}

func addrRecord(name string, a netip.Addr) Record {
	if a.Is4() {
		return Record{Name: name, Type: A, Addr: a}
	}
	return Record{Name: name, Type: AAAA, Addr: a}
}

// record adds one of the network's own records. A machine's name is the machine's: nobody can claim it.
func (z *Zone) record(d *coord.DNSRecord) {
	name, wild := strings.CutPrefix(normal(d.Name), "*.")
	if host, ok := strings.CutSuffix(name, "."+z.suffix); ok && !wild && z.search[host] {
		return
	}
	r := Record{Name: name, Text: d.Value}
	switch d.Type {
	case "A", "AAAA":
		a, err := netip.ParseAddr(d.Value)
		if err != nil {
			return
		}
		r = addrRecord(name, a)
	case "CNAME":
		r.Type, r.Text = CNAME, normal(d.Value)
	case "TXT":
		r.Type = TXT
	default:
		return
	}
	if !wild {
		z.add(name, r)
		return
	}
	z.wild[name] = append(z.wild[name], r)
	z.ancestors(name, true)
}

func (z *Zone) add(name string, r Record) {
	z.records[name] = append(z.records[name], r)
	z.ancestors(name, false)
}

// ancestors notes that the names above one exist, up to the domain that the table speaks for.
func (z *Zone) ancestors(name string, itself bool) {
	for ok := itself; ; ok = true {
		if ok {
			if z.exists[name] {
				return
			}
			z.exists[name] = true
		}
		var found bool
		if name, found = above(name); !found {
			return
		}
	}
}

// normal gives a name in lower case without the last dot.
func normal(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// Domains lists the domains that the table speaks for: the suffix, the reverse names, and each record of its own outside.
func (z *Zone) Domains() []string {
	var ds []string
	if z.suffix != "" {
		ds = append(ds, z.suffix)
	}
	ds = append(ds, z.arpa...)
	seen := make(map[string]bool)
	for _, table := range []map[string][]Record{z.records, z.wild} {
		for name := range table {
			if !within(name, z.suffix) && !seen[name] {
				seen[name] = true
				ds = append(ds, name)
			}
		}
	}
	return ds
}

// Len counts the names with records.
func (z *Zone) Len() int { return len(z.records) + len(z.wild) }

// Lookup answers a name. It reports false for names that others have to be asked for.
func (z *Zone) Lookup(name string, t Type) (Answer, bool) {
	name = normal(name)
	if z.search[name] && !t.delegates() { // as people type it, where no search domain was added
		ans, ok := z.Lookup(name+"."+z.suffix, t)
		for i := range ans.Records {
			ans.Records[i].Name = name
		}
		return ans, ok
	}
	if a, ok := z.lookupReverse(name, t); ok {
		return a, true
	}
	if domain, ok := z.withSearchDomain(name); ok {
		return Answer{Domain: domain}, true
	}
	domain := name
	if within(name, z.suffix) {
		domain = z.suffix
	}
	ans := Answer{Domain: domain}
	for range maxChain {
		rs, exists := z.find(name)
		if !exists {
			if len(ans.Records) > 0 && !within(name, z.suffix) {
				ans.Follow = name
				return ans, true
			}
			ans.Exists = false // of the last name (RFC 6604, section 3)
			return ans, within(name, z.suffix)
		}
		ans.Exists = true
		next := ""
		for _, r := range rs {
			r.Name = name // of a wildcard's record
			if r.Type == t || t == ANY {
				ans.Records = append(ans.Records, r)
			} else if r.Type == CNAME {
				ans.Records = append(ans.Records, r)
				next = r.Text
			}
		}
		if next == "" {
			return ans, true
		}
		name = next
	}
	return Answer{Domain: domain, Exists: true}, true // a loop has no answer
}

// delegates reports whether a type says to whom a domain was given, and who signs it. Of a machine's bare name others are asked for
// that: it may be a top-level domain's, and all below could not be verified without.
func (t Type) delegates() bool {
	switch t {
	case 2, 6, 43, 46, 47, 48, 50, 51, 59, 60: // NS, SOA, DS, RRSIG, NSEC, DNSKEY, NSEC3, NSEC3PARAM, CDS, CDNSKEY
		return true
	}
	return false
}

// withSearchDomain reports whether a name is one of the network's with another domain behind it: so the C library asks
// for one that it was told is not there, with each search domain of the host, and so it would leave this machine.
func (z *Zone) withSearchDomain(name string) (domain string, ok bool) {
	if !strings.Contains(z.suffix, ".") { // a word, that others use too
		return "", false
	}
	for domain, ok := name, true; ok; domain, ok = above(domain) {
		if strings.HasPrefix(domain, z.suffix+".") {
			return domain, true
		}
	}
	return "", false
}

// find gives the records of a name, and whether it exists.
func (z *Zone) find(name string) ([]Record, bool) {
	if rs, ok := z.records[name]; ok {
		return rs, true
	}
	if z.exists[name] && within(name, z.suffix) {
		return nil, true
	}
	if _, wild := z.wild[name]; z.exists[name] && !wild {
		return nil, false // of others' domains only the records are ours
	}
	for parent := name; ; {
		var ok bool
		if parent, ok = above(parent); !ok {
			return nil, false
		}
		if rs, ok := z.wild[parent]; ok {
			return rs, true
		}
		if _, has := z.records[parent]; has || z.exists[parent] {
			return nil, false // the closest name that exists has no wildcard (RFC 4592, section 3.3.1)
		}
	}
}

// within reports whether a name is the domain or lies below it.
func within(name, domain string) bool {
	if domain == "" {
		return false
	}
	rest, ok := strings.CutSuffix(name, domain)
	if !ok || rest == "" {
		return ok
	}
	label, dot := strings.CutSuffix(rest, ".")
	return dot && !escapes(label)
}

// above gives the name without its first label. A dot with a backslash before it is a part of a label (RFC 1035, section 5.1).
func above(name string) (parent string, ok bool) {
	for i := range len(name) {
		if name[i] == '.' && !escapes(name[:i]) {
			return name[i+1:], true
		}
	}
	return "", false
}

// escapes reports whether what follows the text has a backslash that is not one itself.
func escapes(text string) bool {
	return (len(text)-len(strings.TrimRight(text, `\`)))%2 == 1
}

// Within reports whether a name is the domain or lies below it, in any spelling. The empty domain is the root.
func Within(name, domain string) bool {
	domain = normal(domain)
	return domain == "" || within(normal(name), domain)
}
