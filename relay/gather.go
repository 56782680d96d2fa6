package relay

import (
	"io"
	"net/http"
	"sync"

	"github.com/warren-mesh/warren/relay/internal/wsbatch"
)

// gatherSize is room for a message with its head.
const gatherSize = wsbatch.MaxMessage + 64

// gathering is a transport that makes the connection of a WebSocket a gathered one.
type gathering struct {
	http.RoundTripper
	conn *gathered // nil before there is one
}

func (g *gathering) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := g.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if c, ok := resp.Body.(io.ReadWriteCloser); ok {
		g.conn = &gathered{ReadWriteCloser: c}
		resp.Body = g.conn
	}
	return resp, nil
}

// gathered is a connection on which the many small writes of one masked message, 4 KiB each, become one: a few TLS records
// of full length and not a lot of them, each of which costs both ends a system call.
type gathered struct {
	io.ReadWriteCloser

	mu      sync.Mutex
	holding bool
	buf     []byte
}

// hold keeps what is written from now on until flush.
func (g *gathered) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.buf == nil {
		g.buf = make([]byte, 0, gatherSize)
	}
	g.holding = true
}

func (g *gathered) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.buf)+len(b) > cap(g.buf) {
		if err := g.out(); err != nil {
			return 0, err
		}
	}
	if !g.holding || len(b) > cap(g.buf) {
		return g.ReadWriteCloser.Write(b)
	}
	g.buf = append(g.buf, b...)
	return len(b), nil
}

// flush writes what was held.
func (g *gathered) flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holding = false
	return g.out()
}

func (g *gathered) out() error {
	if len(g.buf) == 0 {
		return nil
	}
	_, err := g.ReadWriteCloser.Write(g.buf)
	g.buf = g.buf[:0]
	return err
}
