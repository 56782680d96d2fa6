// Package resolver is the small DNS server that every machine runs for itself alone.
//
//	this host's programs ──UDP, TCP──▶ Listen ─▶ Answer ─┬─▶ zone   the network's names: at once, whatever others do
//	                                                     ├─▶ cache
//	                                                     └─▶ Upstream of the longest domain that fits (plain, or HTTPS)
//
// The network's names are answered inside the loop that reads the question, and never asked of anybody. Everything else
// is bounded: questions under way, connections, cached bytes, the time that an upstream gets. What an upstream says is
// believed only of the name that it was asked for.
package resolver

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"

	"github.com/warren-mesh/warren/daemon/internal/dns/zone"
)

// Times of answers.
const (
	ownTTL    = 10              // seconds that programs may keep the network's names: they change by push
	denyTTL   = 2               // the same for names that are not there (yet)
	patience  = 4 * time.Second // for all upstreams together; glibc asks again after 5 s
	maxFlying = 256             // questions to upstreams at one time
	maxHops   = 4               // from what one says to another that knows where it leads
)

// Settings is what a Resolver answers by. It is never changed; Set takes another.
type Settings struct {
	Zone   *zone.Zone // nil: none
	Routes []Route    // the longest domain that fits a name has it; the root's is ""
}

// Route names who is asked for a domain and all below it.
type Route struct {
	Domain    string
	Upstreams []Upstream
}

// Upstream is a server that is asked for names. Its methods may be called from several goroutines.
type Upstream interface {
	// Exchange asks, and gives an answer that belongs to the question. It may change neither.
	Exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error)
	// String names it for people. Two of one name are the same.
	String() string
}

// Answer is what a question came to.
type Answer struct {
	Msg   *dns.Msg
	From  string // who said it: "network", "cache", or the Upstream's name
	Cause error  // why there is none; nil unless the answer is SERVFAIL
}

// The sources of answers that no upstream gave.
const (
	FromNetwork = "network"
	FromCache   = "cache"
)

// Resolver answers questions. Its methods may be called from several goroutines.
type Resolver struct {
	log      *slog.Logger
	settings atomic.Pointer[Settings]
	cache    *cache
	flights  singleflight.Group
	flying   chan struct{} // holds a token for each question to upstreams
	queries  atomic.Uint64
}

// New makes a Resolver that knows nothing yet.
func New(log *slog.Logger) *Resolver {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	r := &Resolver{log: log, cache: newCache(time.Now), flying: make(chan struct{}, maxFlying)}
	r.settings.Store(&Settings{})
	return r
}

// Set makes the resolver answer by other settings, from the next question on.
func (r *Resolver) Set(s Settings) {
	was := r.settings.Swap(&s)
	if !sameRoutes(was.Routes, s.Routes) {
		r.cache.clear() // what the others said may not be so where we are now
	}
}

func sameRoutes(a, b []Route) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Domain != b[i].Domain || len(a[i].Upstreams) != len(b[i].Upstreams) {
			return false
		}
		for j := range a[i].Upstreams {
			if a[i].Upstreams[j].String() != b[i].Upstreams[j].String() {
				return false
			}
		}
	}
	return true
}

// Queries counts the questions so far.
func (r *Resolver) Queries() uint64 { return r.queries.Load() }

// errNoUpstream is why a name is not answered that nobody can be asked for.
var errNoUpstream = errors.New("no nameserver is known that could be asked")

// errHops is why a name is not answered that leads on and on.
var errHops = errors.New("the name leads from one nameserver to the next, and on")

// errBusy is why a name is not answered while maxFlying others are being asked for.
var errBusy = errors.New("too many questions are under way")

// Answer answers a question, which must have passed check. It takes no longer than patience for each of maxHops.
func (r *Resolver) Answer(ctx context.Context, q *dns.Msg) Answer {
	r.queries.Add(1)
	return r.answer(ctx, r.settings.Load(), q, 0)
}

func (r *Resolver) answer(ctx context.Context, s *Settings, q *dns.Msg, hops int) Answer {
	if m, follow := r.own(s, q); m != nil {
		if follow == "" {
			return Answer{Msg: m, From: FromNetwork}
		}
		return r.follow(ctx, s, q, m, follow, hops)
	}
	a := r.ask(ctx, s, q)
	if name := s.leads(q, a.Msg); name != "" {
		return r.follow(ctx, s, q, a.Msg, name, hops)
	}
	return a
}

// leads gives the name for which others than who gave this answer are to be asked, if its chain of CNAMEs comes to one, and cuts
// off what was said of that: the network speaks for its own names, and each domain's nameservers for theirs. A nameserver for
// all names may know nothing of them, and one of a domain's may know nothing else.
func (s *Settings) leads(q, m *dns.Msg) string {
	want := q.Question[0]
	if want.Qtype == dns.TypeCNAME || want.Qtype == dns.TypeANY {
		return ""
	}
	from := s.route(want.Name)
	known := slices.ContainsFunc(m.Answer, func(rr dns.RR) bool { return rr.Header().Rrtype == want.Qtype })
	for i, rr := range m.Answer {
		c, ok := rr.(*dns.CNAME)
		if !ok {
			continue
		}
		to := s.route(c.Target)
		if s.has(c.Target) || to != nil && to != from && (to.Domain != "" || !known) {
			m.Answer, m.Ns = m.Answer[:i+1], nil
			return c.Target
		}
	}
	return ""
}

// has reports whether the network speaks for a name.
func (s *Settings) has(name string) bool {
	if s.Zone == nil {
		return false
	}
	_, mine := s.Zone.Lookup(name, zone.ANY)
	return mine
}

// Own answers what the network alone answers, without waiting, or returns nil.
func (r *Resolver) Own(q *dns.Msg) *dns.Msg {
	m, follow := r.own(r.settings.Load(), q)
	if m == nil || follow != "" {
		return nil
	}
	r.queries.Add(1)
	return m
}

func (r *Resolver) own(s *Settings, q *dns.Msg) (m *dns.Msg, follow string) {
	if s.Zone == nil {
		return nil, ""
	}
	a, mine := s.Zone.Lookup(q.Question[0].Name, zone.Type(q.Question[0].Qtype))
	if !mine {
		return nil, ""
	}
	return ownReply(q, a), a.Follow
}

// follow answers with a chain of CNAMEs, m, and what is said of the name that it leads to.
func (r *Resolver) follow(ctx context.Context, s *Settings, q, m *dns.Msg, name string, hops int) Answer {
	next := q.Copy()
	next.Question[0].Name = dns.Fqdn(name)
	a := failed(next, errHops)
	if hops < maxHops {
		a = r.answer(ctx, s, next, hops+1)
	}
	m.Rcode = a.Msg.Rcode
	m.Answer = append(m.Answer, a.Msg.Answer...)
	m.Ns = a.Msg.Ns
	a.Msg = m
	return a
}

// ask asks the cache, then the upstreams.
func (r *Resolver) ask(ctx context.Context, s *Settings, q *dns.Msg) Answer {
	key := keyOf(q)
	if m := r.cache.get(key); m != nil {
		return Answer{Msg: replyFrom(q, m), From: FromCache}
	}
	route := s.route(q.Question[0].Name)
	if route == nil || len(route.Upstreams) == 0 {
		return failed(q, errNoUpstream)
	}
	select {
	case r.flying <- struct{}{}:
		defer func() { <-r.flying }()
	default:
		return failed(q, errBusy)
	}
	// One question from many programs is asked once. The routes are part of it: after a change it is another.
	for range 2 {
		v, err, _ := r.flights.Do(key.String()+" "+route.String(), func() (any, error) {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			got, err := forward(ctx, route.Upstreams, q)
			if err == nil && sameRoutes(r.settings.Load().Routes, s.Routes) {
				r.cache.put(key, got.msg)
			}
			return got, err
		})
		if err == nil {
			got := v.(reply)
			return Answer{Msg: replyFrom(q, got.msg), From: got.from}
		}
		if ctx.Err() != nil || !errors.Is(err, context.Canceled) { // else another's end ended the flight
			return failed(q, err)
		}
	}
	return failed(q, context.Canceled)
}

// route finds who is asked for a name.
func (s *Settings) route(name string) *Route {
	var best *Route
	for i := range s.Routes {
		if rt := &s.Routes[i]; zone.Within(name, rt.Domain) && (best == nil || len(rt.Domain) > len(best.Domain)) {
			best = rt
		}
	}
	return best
}

func (rt *Route) String() string {
	names := make([]string, len(rt.Upstreams))
	for i, u := range rt.Upstreams {
		names[i] = u.String()
	}
	return strings.Join(names, " ")
}

// Lookup asks for a name on behalf of a person. The name may be bare.
func (r *Resolver) Lookup(ctx context.Context, name string, t uint16) Answer {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), t)
	return r.Answer(ctx, q)
}

// Addrs gives the addresses in an answer.
func (a Answer) Addrs() (addrs []netip.Addr) {
	for _, rr := range a.Msg.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			if addr, ok := netip.AddrFromSlice(rr.A.To4()); ok {
				addrs = append(addrs, addr)
			}
		case *dns.AAAA:
			if addr, ok := netip.AddrFromSlice(rr.AAAA); ok {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs
}
