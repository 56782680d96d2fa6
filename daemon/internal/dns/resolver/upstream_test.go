package resolver

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// upstream is a nameserver on UDP and TCP of one port. What it does with a question is up to the test.
type upstream struct {
	addr  netip.AddrPort
	asked atomic.Int64
	names sync.Map // every name that it was asked for, in lower case
}

// behaviour says what a nameserver sends for a question: any number of datagrams, or over TCP messages.
type behaviour func(q *dns.Msg, overTCP bool) [][]byte

func serve(t testing.TB, f behaviour) *upstream {
	t.Helper()
	u := &upstream{}
	udp, tcp := both(t)
	u.addr = udp.LocalAddr().(*net.UDPAddr).AddrPort()
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = udp.Close(); _ = tcp.Close(); wg.Wait() })
	take := func(raw []byte, overTCP bool) [][]byte {
		q := new(dns.Msg)
		if err := q.Unpack(raw); err != nil {
			t.Errorf("a broken question: %v", err)
			return nil
		}
		u.asked.Add(1)
		u.names.Store(strings.ToLower(q.Question[0].Name), true)
		return f(q, overTCP)
	}
	wg.Go(func() {
		buf := make([]byte, 65535)
		for {
			n, from, err := udp.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			for _, out := range take(buf[:n], false) {
				_, _ = udp.WriteToUDPAddrPort(out, from)
			}
		}
	})
	wg.Go(func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				var size [2]byte
				for {
					if _, err := io.ReadFull(conn, size[:]); err != nil {
						return
					}
					raw := make([]byte, binary.BigEndian.Uint16(size[:]))
					if _, err := io.ReadFull(conn, raw); err != nil {
						return
					}
					for _, out := range take(raw, true) {
						_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
					}
				}
			})
		}
	})
	return u
}

// both gives a UDP and a TCP socket of one port.
func both(t testing.TB) (*net.UDPConn, net.Listener) {
	t.Helper()
	for range 20 {
		udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		if tcp, err := net.Listen("tcp", udp.LocalAddr().String()); err == nil {
			return udp, tcp
		}
		_ = udp.Close() // the other's port is taken
	}
	t.Fatal("no port is free for both")
	return nil, nil
}

func rr(t testing.TB, s string) dns.RR {
	t.Helper()
	r, err := dns.NewRR(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func packed(m *dns.Msg) []byte {
	raw, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return raw
}

// says answers every question with the records, whose owner "@" is the question's name.
func says(t testing.TB, records ...string) behaviour {
	return func(q *dns.Msg, _ bool) [][]byte {
		m := new(dns.Msg)
		m.SetReply(q)
		for _, r := range records {
			m.Answer = append(m.Answer, rr(t, strings.ReplaceAll(r, "@", q.Question[0].Name)))
		}
		return [][]byte{packed(m)}
	}
}

func rcode(code int) behaviour {
	return func(q *dns.Msg, _ bool) [][]byte { return [][]byte{packed(new(dns.Msg).SetRcode(q, code))} }
}

func silent(*dns.Msg, bool) [][]byte { return nil }

// text puts an answer into a line.
func text(m *dns.Msg) string {
	parts := []string{dns.RcodeToString[m.Rcode]}
	for _, r := range m.Answer {
		f := strings.Fields(r.String())
		parts = append(parts, f[0]+" "+strings.Join(f[3:], " "))
	}
	return strings.Join(parts, "; ")
}

func asking(name string, typ uint16) *dns.Msg { return new(dns.Msg).SetQuestion(name, typ) }

// TestAnUpstreamIsBelievedOnlyWhatItWasAsked sends what a spoofer, a broken box or a thief would send.
func TestAnUpstreamIsBelievedOnlyWhatItWasAsked(t *testing.T) {
	good := says(t, "@ 60 IN A 192.0.2.1")
	with := func(change func(m *dns.Msg)) behaviour { // before the good answer comes one that was changed
		return func(q *dns.Msg, tcp bool) [][]byte {
			if tcp { // where nobody can slip one in
				return good(q, tcp)
			}
			bad := new(dns.Msg).SetReply(q)
			bad.Answer = []dns.RR{rr(t, "www.example.com. 60 IN A 203.0.113.66")}
			change(bad)
			return append([][]byte{packed(bad)}, good(q, tcp)...)
		}
	}
	for _, c := range []struct {
		name string
		f    behaviour
		want string // of text; "" is an error
	}{
		{"a good answer", good, "NOERROR; www.example.com. A 192.0.2.1"},
		{"another ID", with(func(m *dns.Msg) { m.Id++ }), "NOERROR; www.example.com. A 192.0.2.1"},
		{"another question", with(func(m *dns.Msg) { m.Question[0].Name = "evil.example.com." }), "NOERROR; www.example.com. A 192.0.2.1"},
		{"another type", with(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeMX }), "NOERROR; www.example.com. A 192.0.2.1"},
		{"a question", with(func(m *dns.Msg) { m.Response = false }), "NOERROR; www.example.com. A 192.0.2.1"},
		{"no question", with(func(m *dns.Msg) { m.Question = nil }), "NOERROR; www.example.com. A 192.0.2.1"},
		{"the name in one case", with(func(m *dns.Msg) { m.Question[0].Name = "www.example.com." }), "NOERROR; www.example.com. A 192.0.2.1"},
		{"bytes without sense", func(q *dns.Msg, tcp bool) [][]byte {
			return append([][]byte{{}, {1, 2, 3}, make([]byte, 1500)}, good(q, tcp)...)
		}, "NOERROR; www.example.com. A 192.0.2.1"},
		{"a flood of garbage", func(q *dns.Msg, tcp bool) [][]byte {
			if tcp {
				return good(q, tcp)
			}
			return make([][]byte, 2*maxGarbage)
		}, "NOERROR; www.example.com. A 192.0.2.1"},
		{"garbage over TCP too", func(*dns.Msg, bool) [][]byte { return make([][]byte, 2*maxGarbage) }, ""},
		{"a server that does not keep the case", func(q *dns.Msg, tcp bool) [][]byte {
			q.Question[0].Name = strings.ToLower(q.Question[0].Name)
			return good(q, tcp)
		}, "NOERROR; www.example.com. A 192.0.2.1"},
		{"too long for UDP", func(q *dns.Msg, tcp bool) [][]byte {
			if tcp {
				return good(q, tcp)
			}
			m := new(dns.Msg).SetReply(q)
			m.Truncated = true
			return [][]byte{packed(m)}
		}, "NOERROR; www.example.com. A 192.0.2.1"},
		{"too long for TCP too", func(q *dns.Msg, _ bool) [][]byte {
			m := new(dns.Msg).SetReply(q)
			m.Truncated = true
			m.Answer = []dns.RR{rr(t, "www.example.com. 60 IN A 192.0.2.1")}
			return [][]byte{packed(m)}
		}, ""},
		{"no EDNS", func(q *dns.Msg, tcp bool) [][]byte {
			if q.IsEdns0() != nil {
				return rcode(dns.RcodeFormatError)(q, tcp)
			}
			return good(q, tcp)
		}, "NOERROR; www.example.com. A 192.0.2.1"},
		{
			"records for others", says(t, "@ 60 IN A 192.0.2.1", "bank.example. 60 IN A 203.0.113.66", "bob.warren.internal. 60 IN A 203.0.113.66"),
			"NOERROR; www.example.com. A 192.0.2.1",
		},
		{
			"a chain", says(t, "cdn.example.net. 60 IN A 192.0.2.2", "@ 60 IN CNAME cdn.example.net."),
			"NOERROR; www.example.com. CNAME cdn.example.net.; cdn.example.net. A 192.0.2.2",
		},
		{"a loop", says(t, "@ 60 IN CNAME a.example.", "a.example. 60 IN CNAME b.example.", "b.example. 60 IN CNAME a.example."), "NOERROR; www.example.com. CNAME a.example." + strings.Repeat("; a.example. CNAME b.example.; b.example. CNAME a.example.", 7) + "; a.example. CNAME b.example."},
		{"a refusal", rcode(dns.RcodeRefused), "REFUSED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := serve(t, c.f)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			q := asking("www.example.com.", dns.TypeA)
			m, err := Plain(u.addr).Exchange(ctx, question(q))
			got := ""
			if err == nil {
				got = text(replyFrom(q, believable(q, m)))
			}
			if got != c.want {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestASilentUpstreamCostsNoMoreThanItsTime(t *testing.T) {
	u := serve(t, silent)
	ctx, cancel := context.WithTimeout(t.Context(), hedge/5)
	defer cancel()
	if _, err := Plain(u.addr).Exchange(ctx, question(asking("www.example.com.", dns.TypeA))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestDNSOverHTTPS(t *testing.T) {
	var answer atomic.Pointer[func(http.ResponseWriter, *dns.Msg)]
	var asked atomic.Int64
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		raw, _ := io.ReadAll(r.Body)
		q := new(dns.Msg)
		if q.Unpack(raw) != nil || r.Header.Get("Content-Type") != mediaType || q.Id != 0 {
			t.Errorf("a strange request: %v %v", r.Header, raw)
		}
		(*answer.Load())(w, q)
	}))
	t.Cleanup(srv.Close)
	at := netip.MustParseAddrPort(srv.Listener.Addr().String())
	// Its certificate is for example.com too.
	u, _ := url.Parse("https://example.com:" + at.String()[strings.LastIndex(at.String(), ":")+1:] + "/dns-query")
	roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	find := func(_ context.Context, host string) ([]netip.Addr, error) {
		if host != "example.com" {
			return nil, errors.New("no such name")
		}
		return []netip.Addr{at.Addr()}, nil
	}
	d := HTTPS(u, roots, find)
	t.Cleanup(func() { _ = d.(io.Closer).Close() })
	good := func(w http.ResponseWriter, q *dns.Msg) {
		w.Header().Set("Content-Type", mediaType)
		_, _ = w.Write(says(t, "@ 60 IN A 192.0.2.1")(q, true)[0])
	}
	for _, c := range []struct {
		name string
		f    func(http.ResponseWriter, *dns.Msg)
		want string
	}{
		{"a good answer", good, ""},
		{"a page", func(w http.ResponseWriter, _ *dns.Msg) { _, _ = io.WriteString(w, "<html>sign in</html>") }, "which is no DNS"},
		{"an error", func(w http.ResponseWriter, _ *dns.Msg) { w.WriteHeader(500) }, "HTTP 500"},
		{"a redirect", func(w http.ResponseWriter, _ *dns.Msg) { w.Header().Set("Location", "/x"); w.WriteHeader(302) }, "HTTP 302"},
		{"garbage", func(w http.ResponseWriter, _ *dns.Msg) {
			w.Header().Set("Content-Type", mediaType)
			_, _ = w.Write(make([]byte, 70000))
		}, errGarbage.Error()},
		{"another question", func(w http.ResponseWriter, q *dns.Msg) { q.Question[0].Name = "evil."; good(w, q) }, errGarbage.Error()},
	} {
		answer.Store(&c.f)
		asked.Store(0)
		began := time.Now()
		m, err := d.Exchange(t.Context(), question(asking("www.example.com.", dns.TypeA)))
		switch {
		case c.want == "" && (err != nil || text(m) != "NOERROR; www.example.com. A 192.0.2.1"):
			t.Errorf("%s: %v, %v", c.name, m, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v", c.name, err)
		}
		if n := asked.Load(); n != 1 && time.Since(began) < doubt {
			t.Errorf("%s: it was asked %d times", c.name, n)
		}
	}
	answer.Store(&good)
	if _, err := HTTPS(u, nil, find).Exchange(t.Context(), question(asking("a.", dns.TypeA))); err == nil {
		t.Error("a certificate that nobody vouches for was taken")
	}
}

// TestDNSOverHTTPSLeavesADeadConnection: the host slept or is in another network now, and nobody says that the connection is gone.
func TestDNSOverHTTPSLeavesADeadConnection(t *testing.T) {
	for _, http2 := range []bool{true, false} {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			raw, _ := io.ReadAll(r.Body)
			q := new(dns.Msg)
			if q.Unpack(raw) == nil {
				w.Header().Set("Content-Type", mediaType)
				_, _ = w.Write(says(t, "@ 60 IN A 192.0.2.1")(q, true)[0])
			}
		}))
		srv.EnableHTTP2 = http2
		srv.StartTLS()
		t.Cleanup(srv.Close)
		// A way to it that forgets connections, as a NAT does.
		front, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var conns atomic.Int64
		var dead atomic.Int64 // those up to this one
		wg.Go(func() {
			for {
				in, err := front.Accept()
				if err != nil {
					return
				}
				n := conns.Add(1)
				out, err := net.Dial("tcp", srv.Listener.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
					wg.Go(func() {
						defer way[1].Close()
						buf := make([]byte, 4096)
						for {
							size, err := way[0].Read(buf)
							if err != nil {
								return
							}
							if dead.Load() < n {
								_, _ = way[1].Write(buf[:size])
							}
						}
					})
				}
			}
		})
		u, _ := url.Parse("https://" + front.Addr().String() + "/dns-query")
		d := HTTPS(u, srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, nil)
		t.Cleanup(func() { _, _ = d.(io.Closer).Close(), front.Close(); srv.Close(); wg.Wait() })
		r := New(nil)
		r.Set(Settings{Routes: []Route{{Upstreams: []Upstream{d}}}})
		for range 2 {
			for i := range 3 {
				name := string(rune('a'+i)) + ".example." // not yet in the cache
				if a := r.Lookup(t.Context(), name, dns.TypeA); len(a.Addrs()) != 1 {
					t.Fatalf("HTTP/2 %t: %s: %v", http2, name, a.Cause)
				}
			}
			r.cache.clear()
			dead.Store(conns.Load())
		}
		if n := conns.Load(); n > 4 {
			t.Errorf("HTTP/2 %t: %d connections", http2, n)
		}
	}
}
