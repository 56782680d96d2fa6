package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"sync"
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
	ctx, cancel := context.WithTimeout(t.Context(), concurrentWait/2)
	defer cancel()
	if _, err := r.device().Connect(ctx); err != nil {
		t.Error(err)
	}
}

func TestABodyThatNobodyReadsHoldsNoConnection(t *testing.T) {
	r := serve(t)
	var wg sync.WaitGroup
	for _, request := range []string{"POST /v1/logout", "GET /healthz", "PUT /nowhere", "POST /v1/node"} {
		c := r.dialTLS()
		_ = c.SetDeadline(time.Now().Add(10 * leftoverTimeout))
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
	for range maxRedeemed {
		s.greet(now, mine)
	}
	if len(s.redeemed)+len(s.ring) != 0 {
		t.Errorf("%d hellos are remembered", len(s.ring))
	}
	if !s.genuine(now, n, mine) || !s.redeem(n) {
		t.Error("who came before the flood does not get in")
	}
}
