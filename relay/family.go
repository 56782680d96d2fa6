package relay

import (
	"context"
	"errors"
	"net"
	"sync"
)

// family is which of a relay's addresses its WebSocket is tried at first, where it has some of both families. A dialer takes
// whichever connects first, and that may be the wrong one: through a tunnel that swallows large packets TCP connects, and TLS
// waits for ever. So after an attempt whose connection came to nothing the next one begins with the other family.
type family struct {
	mu    sync.Mutex
	first string // the network that is dialed first; empty: any
	other string // that of the family which the present attempt's connection is not of; empty: there is no connection
}

// dial connects.
func (f *family) dial(ctx context.Context, d *net.Dialer, address string) (c net.Conn, err error) {
	f.mu.Lock()
	first := f.first
	f.mu.Unlock()
	if first != "" {
		c, err = d.DialContext(ctx, first, address)
	}
	if first == "" || err != nil {
		c, err = d.DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.other = "tcp6"
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok && a.IP.To4() == nil {
		f.other = "tcp4"
	}
	return c, nil
}

// judge takes how an attempt ended.
func (f *family) judge(ctx context.Context, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil && !errors.Is(err, ErrRefused) && !errors.Is(ctx.Err(), context.Canceled) { // nobody ended it
		f.first = f.other
	}
	f.other = ""
}
