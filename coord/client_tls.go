package coord

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/warren-mesh/warren/coord/key"
)

// DialControl is the type of net.Dialer.Control.
type DialControl func(network, address string, conn syscall.RawConn) error

// maxSkew is how far the clocks may differ before a certificate that fails its check is blamed on the clock.
const maxSkew = 24 * time.Hour

// guard decides which certificates may serve a link. A certificate that public authorities vouch for will do; any
// other must be the one whose SHA-256 the server's signed hello names.
type guard struct {
	host string // that the certificate must name
	addr string // as people are told

	mu       sync.Mutex
	seen     [sha256.Size]byte // the certificate behind which the hello came; zero before
	vouched  error             // what the public authorities say of it: nil is good
	attested bool              // seen may serve
	server   key.ServerPublic  // that attested it
}

// newLink makes a transport of its own for each session: no connection outlives the certificate that it was
// accepted by. It speaks HTTP/1.1: a netmap stream then has its connection for itself, which can be cut alone.
func (c *Client) newLink() *link {
	g := &guard{host: c.host, addr: c.host}
	if h, _, err := net.SplitHostPort(c.host); err == nil {
		g.host = h
	}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{
			Timeout: requestTimeout, KeepAlive: -1, Control: c.cfg.Control, Resolver: c.cfg.Resolver, // a stream's heartbeats keep it
		}).DialContext,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS13,
			InsecureSkipVerify: true, // guard.check decides instead: it also takes what the server's identity attests
			VerifyConnection:   g.check,
		},
		TLSHandshakeTimeout:    requestTimeout,
		ResponseHeaderTimeout:  requestTimeout + MaxLoginWait,
		IdleConnTimeout:        3 * Heartbeat,
		MaxIdleConnsPerHost:    2,
		MaxResponseHeaderBytes: 16 << 10,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	return &link{
		transport: t, guard: g,
		http: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// check is tls.Config.VerifyConnection. Before the hello it takes any certificate, but only one.
func (g *guard) check(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("the server has no certificate")
	}
	sum := sha256.Sum256(cs.PeerCertificates[0].Raw)
	vouched := vouch(cs.PeerCertificates, g.host)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.seen == [sha256.Size]byte{}:
		g.seen, g.vouched = sum, vouched
		return nil
	case g.seen == sum:
		return nil
	case g.attested && vouched == nil: // one of several that a load balancer has
		return nil
	default:
		return errCertChanged
	}
}

// vouch asks the public authorities.
func vouch(chain []*x509.Certificate, host string) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: host, Intermediates: between})
	return err
}

// attest binds the link to the certificate behind which the verified hello came.
func (g *guard) attest(h *Hello, pinned bool, skew time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	named := pinned && len(h.Cert) == sha256.Size && [sha256.Size]byte(h.Cert) == g.seen
	switch {
	case g.vouched == nil || named:
		g.attested, g.server = true, h.Server
		return nil
	case skew.Abs() > maxSkew && expired(g.vouched):
		return sayClock(g.addr, skew, g.vouched)
	case !pinned:
		return sayUnverified(g.addr, h.Server, g.vouched)
	default:
		return sayProxySwap(g.addr)
	}
}

func expired(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}
