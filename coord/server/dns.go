package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// What the network's machines answer to names, beside each other's: one value, which machines get whole with each change.

// DNSRequest changes the DNS settings that it names.
type DNSRequest struct {
	Names       *bool     `json:"names,omitempty" doc:"machines are found by name"`
	Nameservers *[]string `json:"nameservers,omitempty" maxItems:"6" nullable:"false" doc:"for all names but those of split domains, instead of each host's own: addresses, or URLs of DNS over HTTPS"`
	Search      *[]string `json:"search,omitempty" maxItems:"8" nullable:"false" doc:"domains that are tried after a short name, after the network's own"`
}

// DNSSplitRequest gives a domain nameservers of its own.
type DNSSplitRequest struct {
	Nameservers []string `json:"nameservers" minItems:"1" maxItems:"6"`
}

// DNSRecordsRequest changes the network's own records, all that it names or none.
type DNSRecordsRequest struct {
	Remove []coord.DNSRecord `json:"remove,omitempty" maxItems:"250" nullable:"false" doc:"as they are; these first"`
	Add    []coord.DNSRecord `json:"add,omitempty" maxItems:"250" nullable:"false" doc:"a name without a dot is below the network's suffix; *.NAME is a wildcard"`
}

// DNSSettings are the DNS settings as programs get them.
type DNSSettings struct {
	Names  bool   `json:"names"`
	Suffix string `json:"suffix" doc:"machines answer as NAME.suffix"`

	Nameservers []string          `json:"nameservers,omitempty"`
	Search      []string          `json:"search,omitempty"`
	Split       []coord.DNSSplit  `json:"split,omitempty"`
	Records     []coord.DNSRecord `json:"records,omitempty"`
}

// dnsOf reads the DNS settings within a transaction. In a network in which nobody has set any there are none.
func dnsOf(tx store.Tx) (coord.DNS, error) {
	text, err := tx.Meta(store.MetaDNS)
	if errors.Is(err, store.ErrNotFound) {
		return coord.DNS{}, nil
	}
	if err != nil {
		return coord.DNS{}, err
	}
	return parseDNS(text)
}

func parseDNS(text string) (d coord.DNS, err error) {
	if err = json.Unmarshal([]byte(text), &d); err != nil {
		return d, fmt.Errorf("%w: DNS settings: %w", store.ErrDamaged, err)
	}
	return d, nil
}

// DNS tells the DNS settings.
func (s *Server) DNS() coord.DNS { return s.hub.view().DNS }

// dnsSettings is DNS for programs.
func (s *Server) dnsSettings() DNSSettings {
	d := s.DNS()
	return DNSSettings{Names: !d.NoNames, Suffix: s.network.Suffix, Nameservers: d.Nameservers, Search: d.Search, Split: d.Split, Records: d.Records}
}

// SetDNS changes DNS settings, as the host's administrator.
func (s *Server) SetDNS(ctx context.Context, change func(*coord.DNS)) error {
	return s.setDNS(ctx, operator, func(d *coord.DNS) error { change(d); return nil })
}

// setDNS changes DNS settings in one transaction, so that two who change different ones at once both do. change gets a
// copy, and may run more than once. Nothing is changed where it fails, or where the whole would not be valid.
func (s *Server) setDNS(ctx context.Context, by caller, change func(*coord.DNS) error) error {
	return s.store.Write(ctx, func(tx store.Tx) error {
		if err := authorizeNow(tx, by, account.Change, false); err != nil {
			return err
		}
		was, err := dnsOf(tx)
		if err != nil {
			return err
		}
		next := coord.DNS{
			NoNames: was.NoNames, Nameservers: slices.Clone(was.Nameservers), Search: slices.Clone(was.Search),
			Split: slices.Clone(was.Split), Records: slices.Clone(was.Records),
		}
		if err := change(&next); err != nil {
			return err
		}
		slices.SortFunc(next.Split, func(a, b coord.DNSSplit) int { return cmp.Compare(a.Domain, b.Domain) })
		slices.SortFunc(next.Records, compareRecords)
		if err := next.Validate(); err != nil {
			return err
		}
		changed := dnsChanges(was, next)
		if len(changed) == 0 {
			return nil
		}
		text, err := json.Marshal(next)
		if err != nil {
			return err
		}
		if err := tx.SetMeta(store.MetaDNS, string(text)); err != nil {
			return err
		}
		return s.record(tx, by, actDNS, "DNS", changed)
	})
}

// compareRecords orders records by name from its end, so that what is of one domain stands together.
func compareRecords(a, b coord.DNSRecord) int {
	return cmp.Or(slices.Compare(reversed(a.Name), reversed(b.Name)), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Value, b.Value))
}

func reversed(name string) []string {
	labels := strings.Split(name, ".")
	slices.Reverse(labels)
	return labels
}

// shownChanges is how many records a line of the log names.
const shownChanges = 6

// dnsChanges are the differences, for the log.
func dnsChanges(was, next coord.DNS) facts {
	all := facts{}
	splits := func(d coord.DNS) string {
		var parts []string
		for _, s := range d.Split {
			parts = append(parts, s.Domain+" "+strings.Join(s.Nameservers, " "))
		}
		return strings.Join(parts, "; ")
	}
	for name, pair := range map[string][2]any{
		"names": {!was.NoNames, !next.NoNames}, "split": {splits(was), splits(next)},
		"nameservers": {strings.Join(was.Nameservers, " "), strings.Join(next.Nameservers, " ")},
		"search":      {strings.Join(was.Search, " "), strings.Join(next.Search, " ")},
	} {
		if pair[0] != pair[1] {
			all[name] = facts{"from": short(pair[0]), "to": short(pair[1])}
		}
	}
	before, after := recordSet(was.Records), recordSet(next.Records)
	for name, pair := range map[string][2]map[coord.DNSRecord]bool{"added": {after, before}, "removed": {before, after}} {
		var lines []string
		count := 0
		for r := range pair[0] {
			if pair[1][r] {
				continue
			}
			if count++; len(lines) < shownChanges {
				lines = append(lines, bounded(r.Name+" "+r.Type+" "+r.Value, maxSubject))
			}
		}
		if slices.Sort(lines); count > 0 {
			all[name] = lines
		}
		if count > len(lines) {
			all[name+"Count"] = count
		}
	}
	return all
}

// short bounds a text of the log's details.
func short(v any) any {
	if text, ok := v.(string); ok {
		return cleanText(text, maxFactLength)
	}
	return v
}

func recordSet(rs []coord.DNSRecord) map[coord.DNSRecord]bool {
	set := make(map[coord.DNSRecord]bool, len(rs))
	for _, r := range rs {
		set[r] = true
	}
	return set
}

// domainOf is a domain as somebody wrote it, as we keep it.
func domainOf(text string) string {
	return strings.TrimSuffix(strings.ToLower(strings.TrimSpace(text)), ".")
}

func domainsOf(texts []string) (all []string) {
	for _, t := range texts {
		all = append(all, domainOf(t))
	}
	return all
}

// recordOf is a record as somebody wrote it, as we keep it: names whole, types in capitals, addresses in one way.
func (s *Server) recordOf(r coord.DNSRecord) coord.DNSRecord {
	r.Name, r.Type = domainOf(r.Name), strings.ToUpper(strings.TrimSpace(r.Type))
	if !strings.Contains(strings.TrimPrefix(r.Name, "*."), ".") && r.Name != "" && r.Name != "*" {
		r.Name += "." + s.network.Suffix
	}
	switch r.Type {
	case "A", "AAAA":
		r.Value = strings.TrimSpace(r.Value)
		if a, err := netip.ParseAddr(r.Value); err == nil {
			r.Value = a.String()
		}
	case "CNAME":
		if r.Value = domainOf(r.Value); !strings.Contains(r.Value, ".") && r.Value != "" {
			r.Value += "." + s.network.Suffix
		}
	}
	return r
}

// changeRecords removes records and adds others: all of it, or nothing.
func (s *Server) changeRecords(ctx context.Context, by caller, q DNSRecordsRequest) error {
	return s.setDNS(ctx, by, func(d *coord.DNS) error {
		for _, r := range q.Remove {
			i := slices.Index(d.Records, s.recordOf(r))
			if i < 0 {
				return fmt.Errorf("there is no record %s %s %s: %w", bounded(r.Name, maxSubject), bounded(r.Type, maxSubject), bounded(r.Value, maxSubject), store.ErrNotFound)
			}
			d.Records = slices.Delete(d.Records, i, i+1)
		}
		for _, r := range q.Add {
			d.Records = append(d.Records, s.recordOf(r))
		}
		return nil
	})
}

// setSplit gives a domain nameservers of its own; without any it has none.
func (s *Server) setSplit(ctx context.Context, by caller, domain string, servers []string) error {
	domain = domainOf(domain)
	if domain == s.network.Suffix {
		return fmt.Errorf("%w DNS settings: %s is the network's own, its machines answer for it", coord.ErrInvalid, domain)
	}
	return s.setDNS(ctx, by, func(d *coord.DNS) error {
		i := slices.IndexFunc(d.Split, func(o coord.DNSSplit) bool { return o.Domain == domain })
		switch {
		case i < 0 && len(servers) == 0:
			return fmt.Errorf("no nameservers are set for %s: %w", bounded(domain, maxSubject), store.ErrNotFound)
		case len(servers) == 0:
			d.Split = slices.Delete(d.Split, i, i+1)
		case i < 0:
			d.Split = append(d.Split, coord.DNSSplit{Domain: domain, Nameservers: servers})
		default:
			d.Split[i].Nameservers = servers
		}
		return nil
	})
}

// apply changes the settings that are named.
func (q *DNSRequest) apply(d *coord.DNS) error {
	if q.Names != nil {
		d.NoNames = !*q.Names
	}
	set(&d.Nameservers, q.Nameservers)
	if q.Search != nil {
		d.Search = domainsOf(*q.Search)
	}
	return nil
}

// DomainPath is a domain in a path.
type DomainPath struct {
	Domain string `path:"id" maxLength:"254"`
}

// dnsOperations are those on DNS settings.
func (s *Server) dnsOperations() []operation {
	on := func(id, method, path, about string) operation {
		return operation{id: id, method: method, path: "/dns" + path, about: about, scope: account.ScopeSettings, right: account.Change}
	}
	get := on("getDNS", http.MethodGet, "", "Show the DNS settings")
	get.right = account.See
	return []operation{
		gives(get, func(context.Context, caller, *none) (DNSSettings, error) { return s.dnsSettings(), nil }),
		gives(on("setDNS", http.MethodPatch, "", "Change the DNS settings that are named"),
			func(ctx context.Context, by caller, in *struct{ Body DNSRequest }) (DNSSettings, error) {
				err := s.setDNS(ctx, by, in.Body.apply)
				return s.dnsSettings(), err
			}),
		does(on("setDNSSplit", http.MethodPut, "/split/{id}", "Give a domain, and all below it, nameservers of its own"), func(ctx context.Context, by caller, in *struct {
			DomainPath
			Body DNSSplitRequest
		},
		) error {
			return s.setSplit(ctx, by, in.Domain, in.Body.Nameservers)
		}),
		does(on("removeDNSSplit", http.MethodDelete, "/split/{id}", "Take a domain's own nameservers away"),
			func(ctx context.Context, by caller, in *DomainPath) error { return s.setSplit(ctx, by, in.Domain, nil) }),
		does(on("changeDNSRecords", http.MethodPost, "/records", "Add and remove records of the network's own"),
			func(ctx context.Context, by caller, in *struct{ Body DNSRecordsRequest }) error {
				return s.changeRecords(ctx, by, in.Body)
			}),
	}
}
