package server

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// maxServersTyped bounds what is shown back of a field with nameservers or domains, in bytes.
const maxServersTyped = (coord.MaxURL + 1) * coord.MaxNameservers

// recordTypes are the types of records, as the page offers them.
var recordTypes = []string{"A", "AAAA", "CNAME", "TXT"}

// dnsView is the page of DNS settings. What was typed and not taken stands in the fields again.
type dnsView struct {
	Suffix, Resolver          string
	Names, Change             bool
	Nameservers, Search       string
	Split                     []splitRow
	Domain, Servers           string // typed
	Records                   []coord.DNSRecord
	Total, Hidden             int
	Query                     string
	Record                    coord.DNSRecord // typed
	Types                     []string
	Part                      string // the form that a problem is with: settings, split or records
	MaxNameservers, MaxSearch int
}

type splitRow struct{ Domain, Servers string }

func (s *Server) dnsPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	return s.showDNS(w, r, http.StatusOK, v, s.dnsView(r, v), "")
}

// dnsView is the page as things are.
func (s *Server) dnsView(r *http.Request, v *visit) dnsView {
	d := s.DNS()
	p := dnsView{
		Suffix: s.network.Suffix, Names: !d.NoNames, Change: authorize(v.caller(), account.Change, false) == nil,
		Nameservers: strings.Join(d.Nameservers, " "), Search: strings.Join(d.Search, " "),
		Total: len(d.Records), Query: cleanText(r.URL.Query().Get("q"), maxQuery), Types: recordTypes, Record: coord.DNSRecord{Type: "A"},
		MaxNameservers: coord.MaxNameservers, MaxSearch: coord.MaxSearch,
	}
	if own := s.network.Resolver(); len(own) > 0 {
		p.Resolver = own[0].String()
	}
	for _, o := range d.Split {
		p.Split = append(p.Split, splitRow{Domain: o.Domain, Servers: strings.Join(o.Nameservers, " ")})
	}
	for _, rec := range d.Records {
		if !strings.Contains(strings.ToLower(rec.Name+" "+rec.Type+" "+rec.Value), strings.ToLower(p.Query)) {
			continue
		}
		if len(p.Records) == maxRows {
			p.Hidden++
			continue
		}
		p.Records = append(p.Records, rec)
	}
	return p
}

func (s *Server) showDNS(w http.ResponseWriter, _ *http.Request, status int, v *visit, p dnsView, problem string) error {
	return s.showConsole(w, status, "dns", "/dns", v, page{Title: textDNS, Problem: problem, Body: p})
}

// changedDNS answers a form of the page: at its part of the page, or with what is wrong in its place.
func (s *Server) changedDNS(w http.ResponseWriter, r *http.Request, v *visit, err error, part string, typed func(*dnsView)) error {
	if errors.Is(err, coord.ErrInvalid) {
		p := s.dnsView(r, v)
		p.Part = part
		typed(&p)
		return s.showDNS(w, r, http.StatusUnprocessableEntity, v, p, sentence(err))
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) { // what is to be removed is gone: as wished
		return err
	}
	return redirect(w, r, "/dns#"+part)
}

func (s *Server) changeDNSPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	names := r.PostForm.Get("names") == "yes"
	servers, search := splitWords(r.PostForm.Get("servers")), splitWords(r.PostForm.Get("search"))
	q := DNSRequest{Names: &names, Nameservers: &servers, Search: &search}
	return s.changedDNS(w, r, v, s.setDNS(r.Context(), v.caller(), q.apply), "settings", func(p *dnsView) {
		p.Names = names
		p.Nameservers, p.Search = cleanText(strings.Join(servers, " "), maxServersTyped), cleanText(strings.Join(search, " "), maxServersTyped)
	})
}

func (s *Server) splitPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	domain, servers := r.PostForm.Get("domain"), splitWords(r.PostForm.Get("servers"))
	if r.PostForm.Get("do") == "remove" {
		servers = nil
	} else if len(servers) == 0 {
		servers = []string{""} // which is no nameserver, and said to be none
	}
	return s.changedDNS(w, r, v, s.setSplit(r.Context(), v.caller(), domain, servers), "split", func(p *dnsView) {
		p.Domain, p.Servers = cleanText(domain, coord.MaxDomainLength), cleanText(strings.Join(servers, " "), maxServersTyped)
	})
}

func (s *Server) recordsPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	rec := coord.DNSRecord{Name: r.PostForm.Get("name"), Type: r.PostForm.Get("type"), Value: r.PostForm.Get("value")}
	q := DNSRecordsRequest{Add: []coord.DNSRecord{rec}}
	if r.PostForm.Get("do") == "remove" {
		q = DNSRecordsRequest{Remove: q.Add}
	}
	return s.changedDNS(w, r, v, s.changeRecords(r.Context(), v.caller(), q), "records", func(p *dnsView) {
		p.Record = coord.DNSRecord{Name: cleanText(rec.Name, coord.MaxDomainLength), Type: "A", Value: cleanText(rec.Value, coord.MaxTXT)}
		if slices.Contains(recordTypes, rec.Type) {
			p.Record.Type = rec.Type
		}
	})
}
