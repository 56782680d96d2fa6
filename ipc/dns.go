package ipc

import "net/netip"

// DNS is how this host's programs find names.
type DNS struct {
	Accept    bool          `json:"accept"`              // the host's DNS may be changed (Prefs.IgnoreDNS is not set)
	Mode      string        `json:"mode"`                // "resolved", "network-manager", "resolvconf", "resolv.conf" or "off"
	Reason    string        `json:"reason"`              // why that one, in words
	Advice    string        `json:"advice,omitempty"`    // what would be better, and how
	Resolver  []netip.Addr  `json:"resolver"`            // where this machine answers its own programs, port 53
	Suffix    string        `json:"suffix,omitempty"`    // of the machines' names
	Search    []string      `json:"search"`              // domains that bare names are tried in
	Domains   []string      `json:"domains"`             // further domains that are asked here, but for reverse names
	All       bool          `json:"all,omitempty"`       // every name is asked here
	Upstreams []DNSUpstream `json:"upstreams"`           // who is asked for what is not the network's; the root last
	Names     int           `json:"names"`               // of machines and records
	Contested int           `json:"contested,omitempty"` // how often another program changed it lately, and it was set again
}

// lists gives a copy without null lists.
func (d DNS) lists() *DNS {
	d.Resolver, d.Search, d.Domains, d.Upstreams = list(d.Resolver), list(d.Search), list(d.Domains), list(d.Upstreams)
	return &d
}

// DNSUpstream says who is asked for a domain.
type DNSUpstream struct {
	Domain  string   `json:"domain"` // "" is the root
	Servers []string `json:"servers"`
	Host    bool     `json:"host,omitempty"` // they are the host's own, not the network's
}

// DNSQuery asks the daemon's resolver for a name.
type DNSQuery struct {
	Name string `json:"name"`
	Type string `json:"type,omitempty"` // of records, such as AAAA; A if empty
}

// DNSAnswer is what the resolver said.
type DNSAnswer struct {
	Code    string       `json:"code"`    // NOERROR, NXDOMAIN, SERVFAIL...
	Records []string     `json:"records"` // as zone files write them (RFC 1035, section 5)
	From    string       `json:"from"`    // "network", "cache", or the nameserver
	Error   string       `json:"error,omitempty"`
	Took    Milliseconds `json:"took"`
}
