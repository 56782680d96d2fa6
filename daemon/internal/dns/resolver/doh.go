package resolver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// mediaType is that of DNS messages (RFC 8484, section 6).
const mediaType = "application/dns-message"

// doubt is how long an answer may take before the connection is doubted.
const doubt = time.Second

// doh asks over HTTPS (RFC 8484).
type doh struct {
	url    *url.URL
	roots  *x509.CertPool
	client atomic.Pointer[http.Client]
	find   func(ctx context.Context, host string) ([]netip.Addr, error)
}

// HTTPS is a nameserver that speaks DNS over HTTPS. Its host's own name is looked up with find, and never through itself.
// The roots are those that may vouch for it; nil: the system's. Idle connections are given up after a minute.
func HTTPS(u *url.URL, roots *x509.CertPool, find func(ctx context.Context, host string) ([]netip.Addr, error)) Upstream {
	d := &doh{url: u, roots: roots, find: find}
	d.client.Store(d.newClient())
	return d
}

func (d *doh) newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: d.dial, TLSClientConfig: &tls.Config{RootCAs: d.roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true, MaxConnsPerHost: 8, IdleConnTimeout: time.Minute,
			TLSHandshakeTimeout: patience, ResponseHeaderTimeout: patience, MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// String implements Upstream.
func (d *doh) String() string { return d.url.String() }

// Close gives up idle connections.
func (d *doh) Close() error {
	d.client.Load().CloseIdleConnections()
	return nil
}

func (d *doh) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	addrs := []netip.Addr{}
	if a, err := netip.ParseAddr(host); err == nil {
		addrs = append(addrs, a)
	} else if addrs, err = d.find(ctx, host); err != nil {
		return nil, fmt.Errorf("its own name is not found: %w", err)
	}
	var failures []error
	var dialer net.Dialer
	for i, a := range addrs[:min(len(addrs), 4)] {
		limit, cancel := context.WithTimeout(ctx, patience/time.Duration(min(len(addrs), 4)-i+1))
		conn, err := dialer.DialContext(limit, network, net.JoinHostPort(a.String(), port))
		cancel()
		if err == nil {
			return conn, nil
		}
		failures = append(failures, err)
	}
	return nil, errors.Join(append(failures, errors.New("its own name has no address that answers"))...)
}

// Exchange implements Upstream. A connection that does not answer may be one of a network that this host has left: nobody tells,
// and all that share it would wait. So the question is asked once more, over a new one.
func (d *doh) Exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	q = q.Copy()
	q.Id = 0 // so that caches on the way can serve (RFC 8484, section 4.1)
	raw, err := q.Pack()
	if err != nil {
		return nil, err
	}
	client := d.client.Load()
	first, cancel := context.WithTimeout(ctx, doubt)
	body, err := d.post(first, client, raw)
	cancel()
	if err != nil && errors.Is(first.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		if d.client.CompareAndSwap(client, d.newClient()) {
			defer client.CloseIdleConnections()
		}
		body, err = d.post(ctx, d.client.Load(), raw)
	}
	if err != nil {
		return nil, err
	}
	m, v := matches(q, body)
	if v == isStranger || m.Truncated {
		return nil, errGarbage
	}
	return m, nil
}

// post gives what the server answers.
func (d *doh) post(ctx context.Context, client *http.Client, raw []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url.String(), bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("Accept", mediaType)
	resp, err := client.Do(req)
	if err != nil {
		return nil, spoken(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode != http.StatusOK || kind != mediaType {
		return nil, fmt.Errorf("it answers HTTP %d of type %.60q, which is no DNS", resp.StatusCode, kind)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage+1))
	if err != nil {
		return nil, spoken(ctx, err)
	}
	if len(body) > maxMessage {
		return nil, errGarbage
	}
	return body, nil
}
