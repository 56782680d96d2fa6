package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
)

// The person's browser is on this machine, which has no way into the lab's network. So the two addresses that a login
// needs are forwarded from this machine's loopback: warren-coord's, as a plain stream (TLS and the certificate remain
// the server's), and the one where warren up waits on bob's loopback.

// joinByPerson runs warren up on bob and leaves its page to the person.
func (d *demo) joinByPerson(ctx context.Context) {
	d.leaveIfOver(ctx)
	up, page := d.startLogin(ctx)
	origin := d.openConsole(ctx)
	u, err := url.Parse(page)
	d.must(ctx, err)
	d.forwardCallback(ctx, u.Query().Get("port"), origin)
	d.screen.say(`
  Now it is your turn: 'warren up' on bob waits for somebody to log in. Open

    %s

  Your browser warns of the certificate, since it is the server's own and the address is a forwarded one: go on.
  Sign in as %s with the password %s, then click Connect.
  (This machine is far away? On yours: ssh -L %s:127.0.0.1:%s -L %s:127.0.0.1:%s …)
`, d.screen.bold(origin+strings.TrimPrefix(page, d.mesh.Coord.URL)), d.screen.bold(account), d.screen.bold(d.password),
		port(origin), port(origin), u.Query().Get("port"), u.Query().Get("port"))
	d.do(ctx, "bob joins through the login page, in your browser", func() {
		for up.Running() {
			select {
			case <-ctx.Done():
				d.leaveIfOver(ctx)
			default:
				_ = up.Wait(pollEvery)
			}
		}
		d.waitLogin(ctx, up)
	})
}

// openConsole forwards warren-coord to this machine's loopback, once, and returns its address there. It is a number
// and not "localhost": browsers remember that a name wants https (RFC 6797), and that would be every localhost.
func (d *demo) openConsole(ctx context.Context) string {
	if d.console == "" {
		target, err := url.Parse(d.mesh.Coord.URL)
		d.must(ctx, err)
		l, err := net.Listen("tcp4", "127.0.0.1:"+target.Port())
		if err != nil {
			l, err = net.Listen("tcp4", "127.0.0.1:0")
		}
		d.must(ctx, err)
		d.t.Cleanup(forward(l, d.mesh.Coord.Machine, target.Host))
		d.console = "https://" + l.Addr().String()
	}
	return d.console
}

// forwardCallback forwards the port where warren up waits. It has to be the same one here: warren up answers to no
// other name. At the end it sends the browser to the server, which has another address here.
func (d *demo) forwardCallback(ctx context.Context, port, origin string) {
	address := "127.0.0.1:" + port
	l, err := net.Listen("tcp4", address)
	if err != nil {
		d.fail(ctx, "%v: the same port is needed here and on bob; please run it again", err)
	}
	s := &http.Server{Handler: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", address
			r.Out.Host = address
		},
		Transport: &http.Transport{DialContext: d.bob.DialContext, DisableKeepAlives: true},
		ModifyResponse: func(res *http.Response) error {
			if rest, ok := strings.CutPrefix(res.Header.Get("Location"), d.mesh.Coord.URL+"/"); ok {
				res.Header.Set("Location", origin+"/"+rest)
			}
			return nil
		},
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	d.t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
}

// forward passes on every connection to the listener to an address that the machine reaches, until stop.
func forward(l net.Listener, m *lab.Machine, to string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			here, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				all.Go(func() { join(ctx, here, m, to) })
			}
		}
	})
	return func() {
		cancel()
		_ = l.Close()
		all.Wait()
	}
}

// join is one connection, until either end closes it or ctx ends.
func join(ctx context.Context, here net.Conn, m *lab.Machine, to string) {
	defer func() { _ = here.Close() }()
	there, err := m.DialContext(ctx, "tcp", to)
	if err != nil {
		return
	}
	defer func() { _ = there.Close() }()
	defer context.AfterFunc(ctx, func() { _, _ = here.Close(), there.Close() })()
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(here, there)
		_ = here.Close()
	}()
	_, _ = io.Copy(there, here)
	_ = there.Close()
	<-back
}

func port(origin string) string {
	return fmt.Sprint(origin[strings.LastIndex(origin, ":")+1:])
}
