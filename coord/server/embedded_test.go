package server

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// An embedded relay's WebSocket outlives its request, and may be silent for as long as the relay likes.
func TestAWebSocketMayBeSilent(t *testing.T) {
	dir := t.TempDir()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	taken := make(chan error, 1)
	r := serveDir(t, dir, "127.0.0.1:0", Options{Relay: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			taken <- err
			return
		}
		_, _ = io.WriteString(conn, "!")
		go func() { // as the relay does: the request is let go
			_, err := io.ReadFull(conn, make([]byte, 1))
			taken <- err
			_ = conn.Close()
		}()
	})})
	c := r.dialTLS()
	_, _ = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", PathRelay)
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-taken:
		t.Fatalf("the connection ended while it was silent: %v", err)
	case <-time.After(leftoverTimeout + leftoverTimeout/2):
	}
	_, _ = io.WriteString(c, "!")
	if err := <-taken; err != nil {
		t.Error(err)
	}
}
