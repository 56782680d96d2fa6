package resolver

import (
	"container/list"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Bounds of the cache.
const (
	maxEntries = 4096
	maxBytes   = 4 << 20
	maxEntry   = 16 << 10 // bytes of one answer
	maxTTL     = time.Hour
	maxDeny    = 5 * time.Minute // of a denial (RFC 2308, section 5, allows hours; people wait for new names)
)

// cacheKey is what makes two questions one.
type cacheKey struct {
	name     string // lower case
	typ      uint16
	do, nock bool // DNSSEC OK; checking disabled
}

func keyOf(q *dns.Msg) cacheKey {
	k := cacheKey{name: strings.ToLower(q.Question[0].Name), typ: q.Question[0].Qtype, nock: q.CheckingDisabled}
	if opt := q.IsEdns0(); opt != nil {
		k.do = opt.Do()
	}
	return k
}

func (k cacheKey) String() string { return fmt.Sprint(k.name, " ", k.typ, k.do, k.nock) }

// cache keeps answers, the least used go first.
type cache struct {
	now func() time.Time

	mu      sync.Mutex
	entries map[cacheKey]*list.Element // guarded by mu
	recent  *list.List                 // of *entry, guarded by mu
	bytes   int                        // guarded by mu
}

type entry struct {
	key    cacheKey
	packed []byte
	at     time.Time
	ttl    time.Duration
}

func newCache(now func() time.Time) *cache {
	return &cache{now: now, entries: make(map[cacheKey]*list.Element), recent: list.New()}
}

// get gives a copy of the answer with what is left of its time, or nil.
func (c *cache) get(k cacheKey) *dns.Msg {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.entries[k]
	if !ok {
		return nil
	}
	e := el.Value.(*entry)
	age := c.now().Sub(e.at)
	m := new(dns.Msg)
	if age < 0 || age >= e.ttl || m.Unpack(e.packed) != nil {
		c.drop(el)
		return nil
	}
	c.recent.MoveToFront(el)
	for _, section := range [][]dns.RR{m.Answer, m.Ns} {
		for _, rr := range section {
			h := rr.Header()
			h.Ttl = min(h.Ttl, uint32(maxTTL/time.Second))
			h.Ttl -= min(h.Ttl, uint32(age/time.Second))
		}
	}
	return m
}

// put keeps an answer for as long as it says, within bounds. Failures are not kept.
func (c *cache) put(k cacheKey, m *dns.Msg) {
	ttl := lifetime(m)
	if ttl <= 0 {
		return
	}
	packed, err := m.Pack()
	if err != nil || len(packed) > maxEntry {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.entries[k]; ok {
		c.drop(el)
	}
	c.entries[k] = c.recent.PushFront(&entry{k, packed, c.now(), ttl})
	c.bytes += len(packed)
	for len(c.entries) > maxEntries || c.bytes > maxBytes {
		c.drop(c.recent.Back())
	}
}

func (c *cache) drop(el *list.Element) {
	e := c.recent.Remove(el).(*entry)
	delete(c.entries, e.key)
	c.bytes -= len(e.packed)
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
	c.recent.Init()
	c.bytes = 0
}

// lifetime is how long an answer may be kept.
func lifetime(m *dns.Msg) time.Duration {
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return 0
	}
	ttl := maxTTL
	for _, rr := range m.Answer {
		ttl = min(ttl, time.Duration(rr.Header().Ttl)*time.Second)
	}
	if len(m.Answer) > 0 && len(m.Ns) == 0 && m.Rcode == dns.RcodeSuccess {
		return ttl
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(ttl, maxDeny, time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second)
		}
	}
	return 0 // a denial without SOA is not to be kept (RFC 2308, section 5)
}
