package resolver

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/dns/zone"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func home(records ...coord.DNSRecord) *zone.Zone {
	n := coord.Network{Suffix: "warren.internal", IPv4: netip.MustParsePrefix("100.64.0.0/10"), IPv6: netip.MustParsePrefix("fd77:1:2::/48")}
	self := coord.Node{ID: 1, Name: "alice", Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.1")}}
	bob := coord.Node{ID: 2, Name: "bob", Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.2"), netip.MustParseAddr("fd77:1:2::2")}}
	return zone.New(&n, &coord.DNS{Records: records}, &self, []coord.Node{bob})
}

func listen(t testing.TB, s Settings) (*Resolver, *Server) {
	t.Helper()
	r := New(nil)
	r.Set(s)
	udp, tcp := both(t)
	at := udp.LocalAddr().(*net.UDPAddr).AddrPort()
	_, _ = udp.Close(), tcp.Close()
	srv, err := r.Listen(at, nil)
	if err != nil || srv.TCPError() != nil {
		t.Fatal(err, srv.TCPError())
	}
	t.Cleanup(srv.Close)
	return r, srv
}

// everything sends all that is not the network's to the upstreams.
func everything(us ...*upstream) []Route {
	var r Route
	for _, u := range us {
		r.Upstreams = append(r.Upstreams, Plain(u.addr))
	}
	return []Route{r}
}

func dig(t testing.TB, s *Server, network, name string, typ uint16) *dns.Msg {
	t.Helper()
	c := dns.Client{Net: network, Timeout: 6 * time.Second}
	m, _, err := c.Exchange(asking(name, typ), s.Addr().String())
	if err != nil {
		t.Fatalf("%s over %s: %v", name, network, err)
	}
	return m
}

func TestTheNetworksNamesAreAnsweredAndNeverAskedOfOthers(t *testing.T) {
	pub := serve(t, says(t, "@ 60 IN A 203.0.113.66"))
	_, srv := listen(t, Settings{
		Routes: everything(pub),
		Zone: home(coord.DNSRecord{Name: "far.warren.internal", Type: "CNAME", Value: "www.example.com"},
			coord.DNSRecord{Name: "note.warren.internal", Type: "TXT", Value: `a "quoted\" ` + strings.Repeat("long", 100)}),
	})
	for _, network := range []string{"udp", "tcp"} {
		for _, c := range []struct {
			name string
			typ  uint16
			want string
		}{
			{"bob.warren.internal.", dns.TypeA, "NOERROR; bob.warren.internal. A 100.64.0.2"},
			{"BoB.WARREN.internal.", dns.TypeAAAA, "NOERROR; BoB.WARREN.internal. AAAA fd77:1:2::2"},
			{"bob.", dns.TypeA, "NOERROR; bob. A 100.64.0.2"},
			{"bob.warren.internal.", dns.TypeMX, "NOERROR"},
			{"bob.warren.internal.", dns.TypeHTTPS, "NOERROR"},
			{"nobody.warren.internal.", dns.TypeA, "NXDOMAIN"},
			{"2.0.64.100.in-addr.arpa.", dns.TypePTR, "NOERROR; 2.0.64.100.in-addr.arpa. PTR bob.warren.internal."},
			{"9.0.64.100.in-addr.arpa.", dns.TypePTR, "NXDOMAIN"},
		} {
			m := dig(t, srv, network, c.name, c.typ)
			if got := text(m); got != c.want {
				t.Errorf("%s over %s: got %q, want %q", c.name, network, got, c.want)
			}
			if len(m.Answer) > 0 && m.Answer[0].Header().Ttl > 60 || len(m.Answer) == 0 && (len(m.Ns) != 1 || m.Ns[0].Header().Ttl > 60) {
				t.Errorf("%s may be kept too long: %v", c.name, m)
			}
		}
		txt := dig(t, srv, network, "note.warren.internal.", dns.TypeTXT).Answer[0].(*dns.TXT)
		if len(txt.Txt) != 2 || !strings.HasPrefix(txt.Txt[0], `a \"quoted\\\" longlong`) {
			t.Errorf("text: %q", txt.Txt)
		}
	}
	if n := pub.asked.Load(); n != 0 {
		t.Errorf("the public server was asked %d times", n)
	}
	if got := text(dig(t, srv, "udp", "far.warren.internal.", dns.TypeA)); got != "NOERROR; far.warren.internal. CNAME www.example.com.; www.example.com. A 203.0.113.66" {
		t.Errorf("a CNAME that leads out: %s", got)
	}
	pub.names.Range(func(name, _ any) bool {
		if strings.Contains(name.(string), "internal") {
			t.Errorf("the public server was asked for %s", name)
		}
		return true
	})
}

// TestHostileUpstreamsDoNotDelayTheNetworksNames asks for many public names of servers that are all of the bad kinds,
// and meanwhile for a machine.
func TestHostileUpstreamsDoNotDelayTheNetworksNames(t *testing.T) {
	flood := serve(t, func(*dns.Msg, bool) [][]byte { return make([][]byte, 200) })
	_, srv := listen(t, Settings{Zone: home(), Routes: everything(flood, serve(t, silent), serve(t, rcode(dns.RcodeServerFailure)))})
	conn, err := net.Dial("udp", srv.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var times []time.Duration
	for i := range 2 * maxFlying {
		_, _ = conn.Write(packed(asking(fmt.Sprintf("n%d.example.com.", i), dns.TypeA)))
		if i%8 != 0 {
			continue
		}
		began := time.Now()
		if got := text(dig(t, srv, "udp", "bob.warren.internal.", dns.TypeA)); got != "NOERROR; bob.warren.internal. A 100.64.0.2" {
			t.Fatal(got)
		}
		times = append(times, time.Since(began))
	}
	// 50 ms is the promise. All wait also for whatever else the machine of the tests does; had they waited for an upstream,
	// they would have taken hedge, and the slowest patience.
	slices.Sort(times)
	median, slowest := times[len(times)/2], times[len(times)-1]
	t.Logf("median %v, slowest %v", median, slowest)
	if median >= hedge || slowest >= patience {
		t.Errorf("median %v, slowest %v", median, slowest)
	}
}

func TestTheNextUpstreamAnswersForABadOne(t *testing.T) {
	good := serve(t, says(t, "@ 60 IN A 192.0.2.1"))
	for name, bad := range map[string]behaviour{
		"failing": rcode(dns.RcodeServerFailure), "refusing": rcode(dns.RcodeRefused), "silent": silent,
	} {
		_, srv := listen(t, Settings{Routes: everything(serve(t, bad), good)})
		began := time.Now()
		if got := text(dig(t, srv, "udp", "www.example.com.", dns.TypeA)); got != "NOERROR; www.example.com. A 192.0.2.1" {
			t.Errorf("%s: %s", name, got)
		}
		if took := time.Since(began); took >= patience { // what it takes to give up
			t.Errorf("%s: took %v", name, took)
		}
	}
}

func TestEachDomainHasItsUpstreams(t *testing.T) {
	all, corp, lab := serve(t, says(t, "@ 60 IN A 192.0.2.1")), serve(t, says(t, "@ 60 IN A 192.0.2.2")), serve(t, says(t, "@ 60 IN A 192.0.2.3"))
	routes := everything(all)
	for domain, u := range map[string]*upstream{"corp.example": corp, "lab.corp.example": lab} {
		routes = append(routes, Route{Domain: domain, Upstreams: []Upstream{Plain(u.addr)}})
	}
	_, srv := listen(t, Settings{Routes: routes})
	for name, want := range map[string]string{
		"www.example.com.": "192.0.2.1", "corp.example.": "192.0.2.2", "A.Corp.Example.": "192.0.2.2", "x.lab.corp.example.": "192.0.2.3", "xcorp.example.": "192.0.2.1",
	} {
		if got := text(dig(t, srv, "udp", name, dns.TypeA)); !strings.HasSuffix(got, want) {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// TestAChainOfNamesGoesOnWhereOthersKnowIt: from one domain's nameserver to another's, and home.
func TestAChainOfNamesGoesOnWhereOthersKnowIt(t *testing.T) {
	leads := func(q *dns.Msg, _ bool) [][]byte {
		m := new(dns.Msg).SetReply(q)
		name := q.Question[0].Name
		switch strings.ToLower(name) {
		case "app.corp.example.":
			m.Answer = append(m.Answer, rr(t, name+" 60 IN CNAME app.lab.example."))
		case "cdn.corp.example.": // and it asked others itself
			m.Answer = append(m.Answer, rr(t, name+" 60 IN CNAME cdn.example.com."), rr(t, "cdn.example.com. 60 IN A 198.51.100.7"))
		case "gone.corp.example.":
			m.Answer, m.Rcode = append(m.Answer, rr(t, name+" 60 IN CNAME www.example.com.")), dns.RcodeNameError
		case "files.corp.example.":
			m.Answer = append(m.Answer, rr(t, name+" 60 IN CNAME bob.warren.internal."), rr(t, "bob.warren.internal. 60 IN A 192.0.2.66"))
		case "nobody.corp.example.":
			m.Answer = append(m.Answer, rr(t, name+" 60 IN CNAME nobody.warren.internal."))
		case "loop.corp.example.":
			m.Answer = append(m.Answer, rr(t, name+" 60 IN CNAME loop.lab.example."))
		default:
			m.Answer = append(m.Answer, rr(t, name+" 60 IN A 192.0.2.2"))
		}
		return [][]byte{packed(m)}
	}
	inLab := func(q *dns.Msg, _ bool) [][]byte {
		if strings.HasPrefix(strings.ToLower(q.Question[0].Name), "loop.") {
			return says(t, "@ 60 IN CNAME loop.corp.example.")(q, false)
		}
		return says(t, "@ 60 IN A 192.0.2.3")(q, false)
	}
	all, corp, lab := serve(t, says(t, "@ 60 IN A 192.0.2.1")), serve(t, leads), serve(t, inLab)
	routes := append(everything(all), Route{"corp.example", []Upstream{Plain(corp.addr)}}, Route{"lab.example", []Upstream{Plain(lab.addr)}})
	_, srv := listen(t, Settings{Zone: home(coord.DNSRecord{Name: "own.warren.internal", Type: "CNAME", Value: "app.corp.example"}), Routes: routes})
	for range 2 { // the second time from the cache
		for name, want := range map[string]string{
			"app.corp.example.":    "NOERROR; app.corp.example. CNAME app.lab.example.; app.lab.example. A 192.0.2.3",
			"cdn.corp.example.":    "NOERROR; cdn.corp.example. CNAME cdn.example.com.; cdn.example.com. A 198.51.100.7",
			"gone.corp.example.":   "NOERROR; gone.corp.example. CNAME www.example.com.; www.example.com. A 192.0.2.1",
			"files.corp.example.":  "NOERROR; files.corp.example. CNAME bob.warren.internal.; bob.warren.internal. A 100.64.0.2",
			"nobody.corp.example.": "NXDOMAIN; nobody.corp.example. CNAME nobody.warren.internal.",
			"own.warren.internal.": "NOERROR; own.warren.internal. CNAME app.corp.example.; app.corp.example. CNAME app.lab.example.; app.lab.example. A 192.0.2.3",
		} {
			if got := text(dig(t, srv, "udp", name, dns.TypeA)); got != want {
				t.Errorf("%s:\n%s, want\n%s", name, got, want)
			}
		}
	}
	if got := text(dig(t, srv, "udp", "loop.corp.example.", dns.TypeA)); !strings.HasPrefix(got, "SERVFAIL; loop.corp.example. CNAME") {
		t.Errorf("a loop: %s", got)
	}
	for _, u := range []*upstream{all, corp, lab} {
		if _, asked := u.names.Load("bob.warren.internal."); asked {
			t.Error("others were asked for a name of the network")
		}
	}
}

func TestNobodyToAskIsAFailureAtOnce(t *testing.T) {
	r, srv := listen(t, Settings{Zone: home()})
	if got := text(dig(t, srv, "udp", "www.example.com.", dns.TypeA)); got != "SERVFAIL" {
		t.Error(got)
	}
	if a := r.Lookup(t.Context(), "www.example.com", dns.TypeA); a.Cause != errNoUpstream {
		t.Error(a.Cause)
	}
}

// TestALoopEnds gives the resolver itself as its upstream.
func TestALoopEnds(t *testing.T) {
	r, srv := listen(t, Settings{})
	r.Set(Settings{Zone: home(), Routes: []Route{{Upstreams: []Upstream{Plain(srv.Addr())}}}})
	before := r.Queries()
	if got := text(dig(t, srv, "udp", "www.example.com.", dns.TypeA)); got != "SERVFAIL" {
		t.Error(got)
	}
	if n := r.Queries() - before; n > 10 {
		t.Errorf("one question became %d", n)
	}
}

func TestAnswersAreKeptUntilTheUpstreamChanges(t *testing.T) {
	one, two := serve(t, says(t, "@ 60 IN A 192.0.2.1")), serve(t, says(t, "@ 60 IN A 192.0.2.2"))
	r, srv := listen(t, Settings{Routes: everything(one)})
	for range 3 {
		dig(t, srv, "udp", "www.example.com.", dns.TypeA)
		dig(t, srv, "udp", "WWW.example.com.", dns.TypeA)
	}
	if n := one.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	r.Set(Settings{Zone: home(), Routes: everything(one)})
	if a := r.Lookup(t.Context(), "www.example.com", dns.TypeA); a.From != FromCache {
		t.Errorf("a change of the network emptied the cache: %s", a.From)
	}
	r.Set(Settings{Routes: everything(two)})
	if got := text(dig(t, srv, "udp", "www.example.com.", dns.TypeA)); got != "NOERROR; www.example.com. A 192.0.2.2" {
		t.Errorf("after the change: %s", got)
	}
}

func TestTheCacheKeepsToItsBoundsAndTimes(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := newCache(func() time.Time { return now })
	put := func(name string, records, authority []string, code int) cacheKey {
		q := asking(name, dns.TypeA)
		m := new(dns.Msg).SetRcode(q, code)
		for _, s := range records {
			m.Answer = append(m.Answer, rr(t, s))
		}
		for _, s := range authority {
			m.Ns = append(m.Ns, rr(t, s))
		}
		c.put(keyOf(q), m)
		return keyOf(q)
	}
	soa := "example.com. 900 IN SOA ns. mail. 1 2 3 4 600"
	for _, tc := range []struct {
		name string
		key  cacheKey
		want time.Duration
	}{
		{"a record", put("a.example.com.", []string{"a.example.com. 30 IN A 192.0.2.1", "a.example.com. 20 IN A 192.0.2.2"}, nil, 0), 20 * time.Second},
		{"for days", put("b.example.com.", []string{"b.example.com. 864000 IN A 192.0.2.1"}, nil, 0), maxTTL},
		{"not to be kept", put("c.example.com.", []string{"c.example.com. 0 IN A 192.0.2.1"}, nil, 0), 0},
		{"denied", put("d.example.com.", nil, []string{soa}, dns.RcodeNameError), maxDeny},
		{"of that type nothing", put("e.example.com.", nil, []string{"example.com. 10 IN SOA ns. mail. 1 2 3 4 600"}, 0), 10 * time.Second},
		{"denied without SOA", put("f.example.com.", nil, nil, dns.RcodeNameError), 0},
		{"failed", put("g.example.com.", nil, []string{soa}, dns.RcodeServerFailure), 0},
	} {
		start := now
		if tc.want > 0 {
			now = start.Add(tc.want - time.Second)
			if m := c.get(tc.key); m == nil {
				t.Errorf("%s: gone before %v", tc.name, tc.want)
			} else if len(m.Answer) > 0 && m.Answer[len(m.Answer)-1].Header().Ttl != 1 {
				t.Errorf("%s: a second before its end it is given on for %v", tc.name, m.Answer)
			}
		}
		now = start.Add(tc.want)
		if c.get(tc.key) != nil {
			t.Errorf("%s: kept longer than %v", tc.name, tc.want)
		}
		now = start
	}
	for i := range maxEntries + 10 {
		name := fmt.Sprintf("n%d.example.com.", i)
		put(name, []string{name + " 60 IN A 192.0.2.1"}, nil, 0)
	}
	if len(c.entries) != maxEntries || c.recent.Len() != maxEntries {
		t.Errorf("%d entries", len(c.entries))
	}
	big := &dns.TXT{Hdr: dns.RR_Header{Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}, Txt: slices.Repeat([]string{strings.Repeat("x", 250)}, 32)}
	for i := range 2000 {
		q := asking(fmt.Sprintf("t%d.example.com.", i), dns.TypeTXT)
		big.Hdr.Name = q.Question[0].Name
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{big}
		c.put(keyOf(q), m)
	}
	if c.bytes > maxBytes {
		t.Errorf("%d bytes", c.bytes)
	}
	c.clear()
	if c.bytes != 0 || len(c.entries) != 0 {
		t.Error("not empty")
	}
}

func TestRepliesFitTheAskersBuffer(t *testing.T) {
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("@ 60 IN A 192.0.2.%d", i))
	}
	_, srv := listen(t, Settings{Routes: everything(serve(t, says(t, many...)))})
	m := dig(t, srv, "udp", "www.example.com.", dns.TypeA)
	m.Compress = true // as it was sent
	if !m.Truncated || m.Len() > minUDP {
		t.Errorf("%d bytes, truncated %v", m.Len(), m.Truncated)
	}
	if m := dig(t, srv, "tcp", "www.example.com.", dns.TypeA); len(m.Answer) != 100 || m.Truncated {
		t.Errorf("over TCP: %d records", len(m.Answer))
	}
	c := dns.Client{UDPSize: 4096}
	big, _, err := c.Exchange(asking("www.example.com.", dns.TypeA).SetEdns0(4096, false), srv.Addr().String())
	if err != nil || len(big.Answer) != 100 || big.IsEdns0() == nil {
		t.Errorf("with EDNS: %v, %v", big, err)
	}
}

func TestOnlyThisHostIsAnswered(t *testing.T) {
	var l localAddrs
	own := netip.MustParseAddr("100.127.255.254")
	for addr, want := range map[string]bool{"100.127.255.254": true, "127.0.0.1": true, "::1": true, "203.0.113.1": false, "100.64.0.2": false} {
		if got := l.has(netip.MustParseAddr(addr), own); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

// TestAConnectionsNextQuestionDoesNotWaitForTheLast: systemd-resolved sends many over one connection.
func TestAConnectionsNextQuestionDoesNotWaitForTheLast(t *testing.T) {
	slow := serve(t, silent)
	_, srv := listen(t, Settings{Zone: home(), Routes: everything(slow)})
	conn, err := dns.DialTimeout("tcp", srv.Addr().String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ids := make(map[uint16]string)
	for _, name := range []string{"slow.example.com.", "slow2.example.com.", "bob.warren.internal."} {
		q := asking(name, dns.TypeA)
		ids[q.Id] = name
		if err := conn.WriteMsg(q); err != nil {
			t.Fatal(err)
		}
	}
	_ = conn.Conn.(*net.TCPConn).CloseWrite() // whoever asks no more still wants its answers
	var order []string
	for range 3 {
		m, err := conn.ReadMsg()
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, ids[m.Id]+" "+text(m))
	}
	if order[0] != "bob.warren.internal. NOERROR; bob.warren.internal. A 100.64.0.2" || !strings.HasSuffix(order[1], "SERVFAIL") || !strings.HasSuffix(order[2], "SERVFAIL") {
		t.Errorf("answered: %q", order)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	_, srv := listen(t, Settings{Zone: home()})
	var conns []net.Conn
	for range maxConns {
		c, err := net.Dial("tcp", srv.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	// Each is in its place once it is answered.
	for _, c := range conns {
		dc := &dns.Conn{Conn: c}
		if err := dc.WriteMsg(asking("bob.warren.internal.", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		if _, err := dc.ReadMsg(); err != nil {
			t.Fatal(err)
		}
	}
	extra, err := net.Dial("tcp", srv.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer extra.Close()
	_ = extra.SetDeadline(time.Now().Add(time.Minute))
	if _, err := extra.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("one connection too many is kept: %v", err)
	}
	if got := text(dig(t, srv, "udp", "bob.warren.internal.", dns.TypeA)); !strings.HasPrefix(got, "NOERROR") {
		t.Error(got)
	}
}

func TestWhatIsNoQuestionIsRefused(t *testing.T) {
	with := func(f func(*dns.Msg)) []byte {
		m := asking("bob.warren.internal.", dns.TypeA)
		f(m)
		return packed(m)
	}
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"an answer":     {with(func(m *dns.Msg) { m.Response = true }), "nothing"},
		"a stump":       {[]byte{1, 2, 3}, "nothing"},
		"no question":   {with(func(m *dns.Msg) { m.Question = nil }), "FORMERR"},
		"two questions": {with(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), "FORMERR"},
		"an update":     {with(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), "NOTIMP"},
		"chaos":         {with(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), "REFUSED"},
		"a transfer":    {with(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAXFR }), "REFUSED"},
		"later EDNS":    {with(func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }), "BADVERS"},
		"garbage":       {append(make([]byte, 12), 0xff, 0xff), "nothing"},
	} {
		q, refusal := check(c.raw)
		got := "nothing"
		if refusal != nil {
			m := new(dns.Msg)
			if err := m.Unpack(pack(refusal, minUDP)); err != nil {
				t.Fatal(name, err)
			}
			got = dns.RcodeToString[m.Rcode]
			if m.Rcode == dns.RcodeBadVers {
				got = "BADVERS"
			}
		}
		if name == "garbage" && q == nil {
			t.Logf("garbage: %s", got)
			continue
		}
		if q != nil || got != c.want {
			t.Errorf("%s: got %s, %v; want %s", name, got, q, c.want)
		}
	}
}

func TestACallerThatLeavesDoesNotFailOthers(t *testing.T) {
	u := serve(t, silent)
	r, _ := listen(t, Settings{Routes: everything(u)})
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan Answer, 1)
	go func() { left <- r.Lookup(ctx, "www.example.com", dns.TypeA) }()
	for u.asked.Load() == 0 {
		time.Sleep(time.Millisecond) // until it is under way
	}
	cancel()
	if a := <-left; a.Cause == nil {
		t.Errorf("got %v", a.Msg)
	}
}

// FuzzQuestion gives the server any bytes: it answers what can be read, and never more than the asker can take.
func FuzzQuestion(f *testing.F) {
	f.Add(packed(asking("bob.warren.internal.", dns.TypeA)))
	f.Add(packed(asking("2.0.64.100.in-addr.arpa.", dns.TypePTR).SetEdns0(512, true)))
	f.Add(packed(asking("www.example.com.", dns.TypeANY)))
	r := New(nil)
	r.Set(Settings{Zone: home()})
	f.Fuzz(func(t *testing.T, raw []byte) {
		q, m := check(raw)
		size := minUDP
		if q != nil {
			size = udpSize(q)
			m = r.Answer(t.Context(), q).Msg
		}
		if m == nil {
			return
		}
		out := pack(m, size)
		if len(out) > size {
			t.Fatalf("%d bytes for %d", len(out), size)
		}
		back := new(dns.Msg)
		if out != nil && (back.Unpack(out) != nil || back.Id != uint16(raw[0])<<8|uint16(raw[1]) || !back.Response) {
			t.Fatalf("an answer that cannot be read: %x", out)
		}
	})
}

// FuzzAnswer gives the resolver any bytes as an upstream's answer: what comes of it can be sent on, and speaks of nothing
// but the question.
func FuzzAnswer(f *testing.F) {
	q := asking("www.example.com.", dns.TypeA)
	q.Id = 7
	m := new(dns.Msg).SetReply(q)
	m.Answer = []dns.RR{
		&dns.CNAME{Hdr: dns.RR_Header{Name: "www.example.com.", Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 9}, Target: "a.example."},
		&dns.A{Hdr: dns.RR_Header{Name: "a.example.", Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 9}, A: net.IPv4(192, 0, 2, 1)},
	}
	f.Add(packed(m))
	m.Answer, m.Rcode = nil, dns.RcodeNameError
	m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "example.com.", Rrtype: dns.TypeSOA, Class: dns.ClassINET}, Ns: ".", Mbox: "."}}
	f.Add(packed(m))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, v := matches(q, raw)
		if v == isStranger {
			return
		}
		m, err := usable(q, m)
		if err != nil {
			return
		}
		c := newCache(time.Now)
		c.put(keyOf(q), m)
		for _, m := range []*dns.Msg{m, c.get(keyOf(q))} {
			if m == nil {
				continue
			}
			out := new(dns.Msg)
			if packed := pack(replyFrom(q, m), minUDP); packed != nil && out.Unpack(packed) != nil {
				t.Fatalf("cannot be read: %x", packed)
			}
			if len(out.Answer) > 0 && !strings.EqualFold(out.Answer[0].Header().Name, "www.example.com.") {
				t.Fatalf("speaks of another name: %v", out)
			}
		}
	})
}

func TestOthersAreAnsweredOnlyIfTheyMayAsk(t *testing.T) {
	u := serve(t, says(t, "@ 60 IN A 192.0.2.1"))
	r := New(nil)
	r.Set(Settings{Routes: everything(u)})
	var may atomic.Bool
	srv, err := r.ListenFor(netip.MustParseAddrPort("127.0.0.1:0"), func(netip.Addr) bool { return may.Load() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	ask := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, err := Plain(srv.Addr()).Exchange(ctx, question(asking("www.example.com.", dns.TypeA)))
		return err
	}
	if err := ask(300 * time.Millisecond); err == nil {
		t.Error("one that may not ask is answered")
	}
	may.Store(true)
	if err := ask(time.Minute); err != nil {
		t.Error(err)
	}
}
