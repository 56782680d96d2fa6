package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/warren-mesh/warren/relay/certificate"
)

// Times of certificates.
const (
	// certLife is that of the server's own certificate. What vouches for it is the signed hello, so it need not be short.
	certLife = 10 * 365 * 24 * time.Hour
	// certRenew before its end the own certificate is made anew.
	certRenew = 30 * 24 * time.Hour
	// certLook is how often files are looked at, and whether the certificate is another one.
	certLook = 5 * time.Second
)

// certificates gives each connection its certificate. There are three kinds:
//
//	own        made by the server itself; what vouches for it is the signed hello
//	files      in somebody else's care, and read again when they change
//	authority  from a public one, which the server asks for it; its own serves until then, and where another name is asked for
type certificates struct {
	host      string // of the server's URL
	log       *slog.Logger
	every     time.Duration // between looks: certLook, but in tests
	own       *tls.Certificate
	files     *certificate.Files     // nil: none
	authority *certificate.Authority // nil: none

	changed chan struct{} // holds one token while somebody should look
	reload  chan struct{} // holds one token when the files are to be looked at now
}

// choose gives the certificate of a connection. It is tls.Config.GetCertificate.
func (c *certificates) choose(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	chosen := c.own
	switch {
	case c.files != nil:
		chosen = c.files.Current()
	case c.authority != nil:
		cert, err := c.authority.Get(h)
		if err != nil {
			return nil, err
		}
		if cert != nil {
			chosen = cert
		}
	}
	if s, ok := h.Conn.(*servedConn); ok {
		s.served.Store(chosen)
	}
	return chosen, nil
}

// current is the certificate of connections to the server's URL.
func (c *certificates) current() *tls.Certificate {
	cert, err := c.choose(&tls.ClientHelloInfo{ServerName: c.host})
	if err != nil {
		return c.own
	}
	return cert
}

// run looks after the certificates until ctx ends.
func (c *certificates) run(ctx context.Context) {
	if c.authority != nil {
		defer c.authority.Start(ctx)()
	}
	every := time.NewTicker(c.every)
	defer every.Stop()
	last := certHash(c.current())
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		case <-c.reload:
		}
		if c.files != nil {
			c.files.Look(c.log)
		}
		if now := certHash(c.current()); now != last {
			last = now
			select {
			case c.changed <- struct{}{}:
			default:
			}
		}
	}
}

func certHash(c *tls.Certificate) [sha256.Size]byte { return sha256.Sum256(c.Certificate[0]) }

// vouched reports whether the public authorities that this host knows vouch for the certificate.
func (c *certificates) vouched(cert *tls.Certificate) bool {
	between := x509.NewCertPool()
	for _, der := range cert.Certificate[1:] {
		if ca, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(ca)
		}
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return false
	}
	_, err = leaf.Verify(x509.VerifyOptions{DNSName: c.host, Intermediates: between})
	return err == nil
}

// loadCertificates reads the certificates from the files of the options, or the server's own where none are named. Its
// own it makes anew where it is gone, about to end, or for another address: machines trust the identity that attests it.
func loadCertificates(dir, address string, o *Options) (*certificates, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	c := &certificates{every: certLook, host: u.Hostname(), log: o.Log, changed: make(chan struct{}, 1), reload: make(chan struct{}, 1)}
	if o.TLSCert != "" {
		c.files, err = certificate.OpenFiles(o.TLSCert, o.TLSKey)
		return c, err
	}
	if c.own, err = ownCertificate(dir, address, o.Now()); err != nil {
		return nil, err
	}
	if o.ACME != nil {
		c.authority, err = certificate.NewAuthority(filepath.Join(dir, certificate.Dir), *o.ACME, o.Log)
	}
	return c, err
}

func ownCertificate(dir, address string, now time.Time) (*tls.Certificate, error) {
	cert, key := filepath.Join(dir, fileCert), filepath.Join(dir, fileKey)
	_, err1 := os.Stat(cert)
	_, err2 := os.Stat(key)
	if errors.Is(err1, fs.ErrNotExist) || errors.Is(err2, fs.ErrNotExist) {
		if err := makeCertificate(dir, address); err != nil {
			return nil, err
		}
	}
	load := func() (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("cannot load the TLS certificate %s: remove it, and the server makes another: %w", cert, err)
		}
		return &c, nil
	}
	c, err := load()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err == nil && leaf.VerifyHostname(u.Hostname()) == nil && now.Before(leaf.NotAfter.Add(-certRenew)) {
		return c, nil
	}
	if err := makeCertificate(dir, address); err != nil {
		return nil, err
	}
	return load()
}

// makeCertificate makes a self-signed certificate for the address, this host's name and its addresses.
func makeCertificate(dir, address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	now := time.Now()
	serial := make([]byte, 16)
	_, _ = rand.Read(serial)
	tmpl := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), Subject: pkix.Name{CommonName: "warren-coord"},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(certLife), // other clocks may be behind
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, DNSNames: []string{"localhost"},
	}
	for _, a := range OwnAddrs() {
		tmpl.IPAddresses = append(tmpl.IPAddresses, a.AsSlice())
	}
	if name, err := os.Hostname(); err == nil && plainName(name) {
		tmpl.DNSNames = append(tmpl.DNSNames, name)
	}
	if ip := net.ParseIP(u.Hostname()); ip != nil {
		tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
	} else {
		tmpl.DNSNames = append(tmpl.DNSNames, u.Hostname())
	}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return err
	}
	if err := writeFile(dir, fileKey, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})); err != nil {
		return err
	}
	return writeFile(dir, fileCert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// CheckCertificate reports what is wrong with the certificate that the options name, or with the authority that it is to
// come from, before a server is set up for them.
func CheckCertificate(o Options) error {
	switch {
	case o.TLSCert != "":
		_, err := certificate.OpenFiles(o.TLSCert, o.TLSKey)
		return err
	case o.ACME != nil:
		return o.ACME.Check()
	}
	return nil
}

// servedConn is a connection that knows which certificate TLS gave it.
type servedConn struct {
	net.Conn
	served atomic.Pointer[tls.Certificate]
}

// servedListener makes its connections servedConns.
type servedListener struct{ net.Listener }

func (l servedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &servedConn{Conn: c}, nil
}

type servedKey struct{}

// withServed puts the servedConn below a connection into its requests' contexts. It is http.Server.ConnContext.
func withServed(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		if s, ok := t.NetConn().(*servedConn); ok {
			return context.WithValue(ctx, servedKey{}, s)
		}
	}
	return ctx
}

// certOf is the SHA-256 of the certificate that a request's connection was given; nil behind a proxy.
func (s *Server) certOf(ctx context.Context) []byte {
	if c, ok := ctx.Value(servedKey{}).(*servedConn); ok {
		if cert := c.served.Load(); cert != nil {
			sum := certHash(cert)
			return sum[:]
		}
	}
	return s.CertHash()
}

// CertHash is the SHA-256 of the certificate that this server itself serves now; nil behind a proxy.
func (s *Server) CertHash() []byte {
	if s.certs == nil {
		return nil
	}
	sum := certHash(s.certs.current())
	return sum[:]
}

// RelayCert is what machines are to pin of the embedded relay's WebSockets, which have the server's certificate: nothing
// where public authorities vouch for it.
func (s *Server) RelayCert() []byte {
	if s.certs == nil || s.certs.vouched(s.certs.current()) {
		return nil
	}
	return s.CertHash()
}

// CertChanged tells that CertHash has become another.
func (s *Server) CertChanged() <-chan struct{} {
	if s.certs == nil {
		return nil
	}
	return s.certs.changed
}

// ReloadCert reads certificate files again now, if they have changed.
func (s *Server) ReloadCert() {
	if s.certs != nil {
		select {
		case s.certs.reload <- struct{}{}:
		default:
		}
	}
}

// WaitACME waits until the first try to get a certificate from the authority has ended, and tells how. Serve must run.
func (s *Server) WaitACME(ctx context.Context) error {
	if s.certs == nil || s.certs.authority == nil {
		return nil
	}
	return s.certs.authority.Wait(ctx)
}

// TLS is the configuration of a listener that serves as the server does; nil behind a proxy.
func (s *Server) TLS() *tls.Config {
	if s.certs == nil {
		return nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: s.certs.choose, NextProtos: []string{"h2", "http/1.1"}}
	if s.certs.authority != nil {
		c.NextProtos = append(c.NextProtos, certificate.Proto)
	}
	return c
}
