package resolver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/miekg/dns"
)

// mediaType is that of DNS messages (RFC 8484, section 6).
const mediaType = "application/dns-message"

// doh asks over HTTPS (RFC 8484).
type doh struct {
	url    *url.URL
	client *http.Client
	find   func(ctx context.Context, host string) ([]netip.Addr, error)
}

// HTTPS is a nameserver that speaks DNS over HTTPS. Its host's own name is looked up with find, and never through itself.
// The roots are those that may vouch for it; nil: the system's. Idle connections are given up after a minute.
func HTTPS(u *url.URL, roots *x509.CertPool, find func(ctx context.Context, host string) ([]netip.Addr, error)) Upstream {
	d := &doh{url: u, find: find}
	d.client = &http.Client{
		Transport: &http.Transport{
			DialContext: d.dial, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true, MaxConnsPerHost: 8, IdleConnTimeout: time.Minute,
			TLSHandshakeTimeout: patience, ResponseHeaderTimeout: patience, MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return d
}

// String implements Upstream.
func (d *doh) String() string { return d.url.String() }

// Close gives up idle connections.
func (d *doh) Close() error {
	d.client.CloseIdleConnections()
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

// Exchange implements Upstream.
func (d *doh) Exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	q = q.Copy()
	q.Id = 0 // so that caches on the way can serve (RFC 8484, section 4.1)
	raw, err := q.Pack()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url.String(), bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("Accept", mediaType)
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, spoken(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != mediaType {
		return nil, fmt.Errorf("it answers HTTP %d of type %.60q, which is no DNS", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage+1))
	if err != nil {
		return nil, spoken(ctx, err)
	}
	if len(body) > maxMessage {
		return nil, errGarbage
	}
	m, v := matches(q, body)
	if v == isStranger || m.Truncated {
		return nil, errGarbage
	}
	return m, nil
}
