package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
)

// dialTLS is a stranger's connection, which speaks HTTP/1.1 by hand.
func (r *running) dialTLS() *tls.Conn {
	r.t.Helper()
	c, err := tls.Dial("tcp", r.addr, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}) //nolint:gosec // loopback
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestSlowBodiesKeepNobodyOut(t *testing.T) {
	r := serve(t)
	for range maxConcurrent + 16 {
		_, _ = fmt.Fprintf(r.dialTLS(), "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", coord.PathHello)
	}
	if _, err := r.device().Connect(t.Context()); err != nil { // who waits for them in vain is told so after concurrentWait
		t.Error(err)
	}
}

func TestABodyThatNobodyReadsHoldsNoConnection(t *testing.T) {
	r := serve(t)
	var wg sync.WaitGroup
	for _, request := range []string{"POST /v1/logout", "GET /healthz", "PUT /nowhere", "POST /v1/node"} {
		c := r.dialTLS()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, request+" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
		wg.Go(func() {
			if n, err := io.Copy(io.Discard, c); err != nil {
				t.Errorf("%s: after %d bytes: %v", request, n, err)
			}
		})
	}
	wg.Wait()
}

func TestAFloodOfHellosLeavesNothing(t *testing.T) {
	s, now := newSessions(key.NewServer()), time.Now()
	mine := randomNonce()
	n, _ := s.greet(now, mine)
	for range 200 {
		s.greet(now, mine)
	}
	if len(s.redeemed)+len(s.ring) != 0 {
		t.Errorf("%d hellos are remembered", len(s.ring))
	}
	if !s.genuine(now, n, mine) || !s.redeem(n) {
		t.Error("who came before the flood does not get in")
	}
}

// TestConnectionFloodsKeepNobodyOut floods a server that has little room with each kind of connection that costs its
// maker nothing, from many more connections than it has room for, while a member's stream is there and another comes.
func TestConnectionFloodsKeepNobodyOut(t *testing.T) {
	const room, flood = 64, 256
	silent := func(*running, net.Conn) {}
	for _, c := range []struct {
		name string
		do   func(*running, net.Conn)
	}{
		{"that say nothing", silent},
		{"that finish no TLS handshake", func(_ *running, c net.Conn) { _, _ = c.Write([]byte{22, 3, 1, 0, 200, 1}) }},
		{"that finish no headers", func(_ *running, c net.Conn) {
			_, _ = io.WriteString(tls.Client(c, &tls.Config{InsecureSkipVerify: true}), "GET / HTTP/1.1\r\nHost: x\r\nX: ") //nolint:gosec // loopback
		}},
		{"that finish no bodies", func(_ *running, c net.Conn) {
			_, _ = fmt.Fprintf(tls.Client(c, &tls.Config{InsecureSkipVerify: true}), //nolint:gosec // loopback
				"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", coord.PathHello)
		}},
		{"that read no answers", func(_ *running, c net.Conn) {
			_, _ = io.WriteString(tls.Client(c, &tls.Config{InsecureSkipVerify: true}), //nolint:gosec // loopback
				strings.Repeat("GET /static/style.css HTTP/1.1\r\nHost: x\r\n\r\n", 20))
		}},
	} {
		t.Run(c.name, func(t *testing.T) { floodWith(t, room, flood, c.do) })
	}
}

func floodWith(t *testing.T, room, flood int, do func(*running, net.Conn)) {
	dir := t.TempDir()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	r := serveDir(t, dir, "127.0.0.1:0", Options{Connections: room})
	k := r.authKey(KeyOptions{Reusable: true})
	member := r.device()
	member.join("member", k)
	maps, _ := member.follow(nil)
	until(t, maps, "the first netmap", func(m *coord.Netmap) bool { return m.Self.Online })

	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var opened atomic.Int64
	for range 8 { // keep it up until the newcomer is in
		wg.Go(func() {
			var mine []net.Conn
			defer func() {
				for _, c := range mine {
					_ = c.Close()
				}
			}()
			for ctx.Err() == nil {
				if len(mine) > flood/8 {
					_ = mine[0].Close()
					mine = mine[1:]
				}
				c, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.addr)
				if err != nil {
					continue
				}
				mine = append(mine, c)
				_ = c.SetDeadline(time.Now().Add(time.Second))
				do(r, c)
				opened.Add(1)
			}
		})
	}
	eventually(t, "the flood", func() bool { return opened.Load() >= int64(flood) })
	if n := r.gate.len(); n > room {
		t.Errorf("%d connections are in", n)
	}
	newcomer := r.device()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); { // as the daemon does: one attempt may be turned out
		if _, err = newcomer.Register(ctx, newcomer.node, coord.RegisterRequest{Hostname: "newcomer", AuthKey: k}); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatalf("the newcomer did not get in, with %d connections in: %v", r.gate.len(), err)
	}
	until(t, maps, "the newcomer, on a stream that was there before", func(m *coord.Netmap) bool { return peerNamed(m, "newcomer") != nil })
	cancel()
	wg.Wait()
	eventually(t, "no handshake's place is lost", func() bool { return len(r.gate.shaking) == 0 })
}

// TestAFloodOfRegistrationsKeepsNobodyOut asks for more logins than one customer may have open, from as many addresses
// as a customer has: their own /64 is full then, others are served, and so is who brings a key.
func TestAFloodOfRegistrationsKeepsNobodyOut(t *testing.T) {
	dir := t.TempDir()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	r := serveDir(t, dir, "127.0.0.1:0", Options{Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}) // httptest's callers
	h := r.Handler()
	register := func(from, authKey string) (int, string) {
		m, n := key.NewMachine().Public(), randomNonce()
		token, _ := r.sessions.start(r.now(), m, n)
		req := coord.RegisterRequest{Hostname: "m", AuthKey: authKey}
		if err := req.Prove(key.NewNode(), r.sessions.challenge(n).Public(), coord.Stream{Machine: m, Nonce: n[:]}); err != nil {
			t.Fatal(err)
		}
		text, _ := json.Marshal(req)
		ask := httptest.NewRequest(http.MethodPost, coord.PathRegister, bytes.NewReader(text))
		ask.Header.Set("Content-Type", "application/json")
		ask.Header.Set("Authorization", "Bearer "+token)
		ask.Header.Set("X-Forwarded-For", from)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, ask)
		return w.Code, w.Body.String()
	}
	refused := 0
	for i := range maxLoginsAddress + 20 {
		if status, _ := register(fmt.Sprintf("2001:db8:1:2::%x", i+1), ""); status != http.StatusOK {
			refused++
		}
	}
	if refused != 20 {
		t.Errorf("%d of %d were refused, not 20", refused, maxLoginsAddress+20)
	}
	if status, body := register("2001:db8:1:3::1", ""); status != http.StatusOK {
		t.Errorf("another customer: %d %s", status, body)
	}
	if status, body := register("2001:db8:1:2::1", r.authKey(KeyOptions{})); status != http.StatusOK || !strings.Contains(body, `"registered":true`) {
		t.Errorf("with a key: %d %s", status, body)
	}
}
