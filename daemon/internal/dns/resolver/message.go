package resolver

import (
	"strings"

	"github.com/miekg/dns"

	"github.com/warren-mesh/warren/daemon/internal/dns/zone"
)

// Sizes of messages, in bytes.
const (
	maxQuestion = 4096 // that a program may send; real ones have less than 300
	minUDP      = 512  // RFC 1035, section 2.3.4
	maxUDP      = 4096 // to programs: they are on this host, nothing is fragmented
	askUDP      = 1232 // from upstreams (the DNS flag day of 2020: no fragments on any path)
	maxMessage  = 65535
)

// maxChain bounds how many CNAMEs of an upstream are believed.
const maxChain = 16

// check reads a question. If it cannot be answered, it gives the refusal to send, or nil where even that is too much.
func check(raw []byte) (q, refusal *dns.Msg) {
	q = new(dns.Msg)
	if len(raw) < 12 || raw[2]&0x80 != 0 { // no header, or no question: two servers must not talk to each other
		return nil, nil
	}
	if err := q.Unpack(raw); err != nil {
		m := new(dns.Msg)
		m.Id, m.Response, m.Rcode = uint16(raw[0])<<8|uint16(raw[1]), true, dns.RcodeFormatError
		return nil, m
	}
	refuse := func(rcode int) (*dns.Msg, *dns.Msg) {
		m := new(dns.Msg)
		m.SetRcode(q, rcode)
		return nil, m
	}
	switch {
	case q.Opcode != dns.OpcodeQuery:
		return refuse(dns.RcodeNotImplemented)
	case len(q.Question) != 1:
		return refuse(dns.RcodeFormatError)
	case q.Question[0].Qclass != dns.ClassINET:
		return refuse(dns.RcodeRefused)
	}
	switch q.Question[0].Qtype {
	case dns.TypeAXFR, dns.TypeIXFR, dns.TypeMAILA, dns.TypeMAILB, dns.TypeOPT, dns.TypeTSIG, dns.TypeTKEY:
		return refuse(dns.RcodeRefused)
	}
	if opt := q.IsEdns0(); opt != nil && opt.Version() != 0 {
		_, m := refuse(dns.RcodeSuccess)
		m.SetEdns0(maxUDP, false)
		m.Rcode = dns.RcodeBadVers // packed into the OPT record (RFC 6891, section 6.1.3)
		return nil, m
	}
	return q, nil
}

// begin makes a reply to a question that check let pass.
func begin(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	m.CheckingDisabled = q.CheckingDisabled
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(maxUDP, opt.Do())
	}
	return m
}

// failed makes the answer to a question that could not be answered.
func failed(q *dns.Msg, cause error) Answer {
	m := begin(q)
	m.Rcode = dns.RcodeServerFailure
	return Answer{Msg: m, Cause: cause}
}

// ownReply makes a reply of what the zone says.
func ownReply(q *dns.Msg, a zone.Answer) *dns.Msg {
	m := begin(q)
	m.Authoritative = true
	question := q.Question[0].Name
	for _, r := range a.Records {
		name := dns.Fqdn(r.Name)
		if strings.EqualFold(name, question) {
			name = question // as it was spelled
		}
		h := dns.RR_Header{Name: name, Class: dns.ClassINET, Rrtype: uint16(r.Type), Ttl: ownTTL}
		switch r.Type {
		case zone.A:
			m.Answer = append(m.Answer, &dns.A{Hdr: h, A: r.Addr.AsSlice()})
		case zone.AAAA:
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: h, AAAA: r.Addr.AsSlice()})
		case zone.CNAME:
			m.Answer = append(m.Answer, &dns.CNAME{Hdr: h, Target: dns.Fqdn(r.Text)})
		case zone.PTR:
			m.Answer = append(m.Answer, &dns.PTR{Hdr: h, Ptr: dns.Fqdn(r.Text)})
		case zone.TXT:
			m.Answer = append(m.Answer, &dns.TXT{Hdr: h, Txt: chunks(r.Text)})
		}
	}
	if a.Follow != "" || (a.Exists && len(a.Records) > 0) {
		return m
	}
	if !a.Exists {
		m.Rcode = dns.RcodeNameError
	}
	domain := dns.Fqdn(a.Domain)
	m.Ns = []dns.RR{&dns.SOA{ // how long the denial holds (RFC 2308, section 5)
		Hdr: dns.RR_Header{Name: domain, Class: dns.ClassINET, Rrtype: dns.TypeSOA, Ttl: denyTTL},
		Ns:  domain, Mbox: "hostmaster." + domain, Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: denyTTL,
	}}
	return m
}

// chunks cuts a text into character strings (RFC 1035, section 3.3.14), written as the dns package reads them.
func chunks(s string) []string {
	var parts []string
	for len(s) > 255 {
		parts, s = append(parts, s[:255]), s[255:]
	}
	parts = append(parts, s)
	for i := range parts {
		parts[i] = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(parts[i])
	}
	return parts
}

// replyFrom makes a reply of what an upstream once said, for this asker: its ID, its spelling, its EDNS.
func replyFrom(q, m *dns.Msg) *dns.Msg {
	out := begin(q)
	out.Rcode = m.Rcode
	do := false
	if opt := q.IsEdns0(); opt != nil {
		do = opt.Do()
	}
	question := q.Question[0].Name
	for _, rr := range m.Answer {
		rr = dns.Copy(rr)
		if h := rr.Header(); strings.EqualFold(h.Name, question) {
			h.Name = question
		}
		out.Answer = append(out.Answer, rr)
	}
	for _, rr := range m.Ns {
		if do || rr.Header().Rrtype == dns.TypeSOA {
			out.Ns = append(out.Ns, dns.Copy(rr))
		}
	}
	return out
}

// believable reduces what an upstream says to what it was asked for: the chain of CNAMEs from the question's name, and
// where there is no answer the denial of a domain above it. The rest may be poison, and nobody needs it.
func believable(q, m *dns.Msg) *dns.Msg {
	out := new(dns.Msg)
	out.Rcode = m.Rcode
	want := q.Question[0]
	chain := []string{want.Name}
	found := false
	for range maxChain {
		at, next := chain[len(chain)-1], ""
		for _, rr := range m.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || !strings.EqualFold(h.Name, at) {
				continue
			}
			c, isCNAME := rr.(*dns.CNAME)
			switch {
			case h.Rrtype == want.Qtype || want.Qtype == dns.TypeANY:
				out.Answer = append(out.Answer, rr)
				found = true
			case isCNAME && next == "":
				out.Answer = append(out.Answer, rr)
				next = c.Target
			case h.Rrtype == dns.TypeRRSIG:
				out.Answer = append(out.Answer, rr)
			}
		}
		if next == "" || found {
			break
		}
		chain = append(chain, next)
	}
	if found {
		return out
	}
	last := chain[len(chain)-1]
	for _, rr := range m.Ns {
		h := rr.Header()
		if h.Class != dns.ClassINET {
			continue
		}
		switch h.Rrtype {
		case dns.TypeSOA:
			if zone.Within(last, h.Name) {
				out.Ns = append(out.Ns, rr)
			}
		case dns.TypeNSEC, dns.TypeNSEC3, dns.TypeRRSIG:
			out.Ns = append(out.Ns, rr)
		}
	}
	return out
}

// usable is believable for what can be passed on: a record without its data can be read, but what is written of it cannot.
func usable(q, m *dns.Msg) (*dns.Msg, error) {
	m = believable(q, m)
	raw, err := m.Pack()
	if err != nil || new(dns.Msg).Unpack(raw) != nil {
		return nil, errGarbage
	}
	return m, nil
}

// pack writes a reply so that it fits, with the mark of what was cut off (RFC 2181, section 9).
func pack(m *dns.Msg, size int) []byte {
	m.Truncate(size)
	raw, err := m.Pack()
	if err != nil || len(raw) > size {
		// An upstream's record that can be read but not written.
		fail := new(dns.Msg)
		fail.Id, fail.Response, fail.Rcode, fail.Question = m.Id, true, dns.RcodeServerFailure, m.Question
		if raw, err = fail.Pack(); err != nil || len(raw) > size {
			return nil
		}
	}
	return raw
}

// udpSize is how large a reply over UDP may be.
func udpSize(q *dns.Msg) int {
	if opt := q.IsEdns0(); opt != nil {
		return min(max(int(opt.UDPSize()), minUDP), maxUDP)
	}
	return minUDP
}
