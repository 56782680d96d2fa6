package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/warren-mesh/warren/relay/internal/wsbatch"
)

// wire is a transport for one WebSocket. It gathers the writes of each message both above TLS and below it.
type wire struct {
	http.Transport
	above, below *wsbatch.Gatherer // nil before there is a connection
}

// over has the wire's connection be one of dial's.
func (w *wire) over(dial func(ctx context.Context, address string) (net.Conn, error)) {
	w.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) {
		conn, err := dial(ctx, address)
		if err != nil {
			return nil, err
		}
		w.below = &wsbatch.Gatherer{Out: conn}
		return gatheredConn{conn, w.below}, nil
	}
}

// RoundTrip is http.RoundTripper's. It is called once.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if c, ok := resp.Body.(io.ReadWriteCloser); ok {
		w.above = &wsbatch.Gatherer{Out: c}
		resp.Body = gatheredBody{c, w.above}
	}
	return resp, nil
}

// hold keeps what is written from now on until flush.
func (w *wire) hold() {
	w.below.Hold()
	w.above.Hold()
}

// flush writes what was held.
func (w *wire) flush() error { return errors.Join(w.above.Flush(), w.below.Flush()) }

type gatheredConn struct {
	net.Conn
	gather *wsbatch.Gatherer
}

func (c gatheredConn) Write(b []byte) (int, error) { return c.gather.Write(b) }

type gatheredBody struct {
	io.ReadWriteCloser
	gather *wsbatch.Gatherer
}

func (c gatheredBody) Write(b []byte) (int, error) { return c.gather.Write(b) }
