package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

const (
	// dirACME in the state directory holds the account at the authority, and the certificates.
	dirACME = "acme"
	// protoACME is the protocol in which an authority asks (TLS-ALPN-01, RFC 8737, section 6.2).
	protoACME = "acme-tls/1"
	// acmeEvery is how often it is looked whether the certificate is to be renewed.
	acmeEvery = 10 * time.Minute
)

// ACMEOptions says how the server gets its certificate from a public authority (RFC 8555).
type ACMEOptions struct {
	Domain string // whose certificate it is
	Email  string // at which the authority reaches the operator; may be empty
	CA     string // URL of the authority's directory; empty: Let's Encrypt
	CARoot string // file with the certificates (PEM) that vouch for the CA's own; empty: the system's
	Listen string // the address that Serve listens on
	// HTTP is a listener on port 80, for authorities that ask there (HTTP-01); browsers it sends on to https. Nil: none.
	HTTP net.Listener

	every time.Duration // instead of acmeEvery
}

// authority is the way to a public authority's certificates.
type authority struct {
	o      ACMEOptions
	log    *slog.Logger
	cache  *certmagic.Cache
	magic  *certmagic.Config
	issuer *certmagic.ACMEIssuer

	mu    sync.Mutex
	err   error         // what the last try came to
	tried chan struct{} // closed when the first try has ended
	once  sync.Once
}

// newAuthority prepares; start begins. Before start there is no certificate.
func newAuthority(dir string, o ACMEOptions, log *slog.Logger) (*authority, error) {
	a := &authority{o: o, log: log, tried: make(chan struct{})}
	if a.o.CA == "" {
		a.o.CA = certmagic.LetsEncryptProductionCA
	}
	roots, err := o.roots()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return nil, err
	}
	number, err := net.LookupPort("tcp", port)
	if err != nil {
		return nil, err
	}
	silent := zap.NewNop() // what is worth a line comes as an event
	every := o.every
	if every == 0 {
		every = acmeEvery
	}
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return a.magic, nil }, RenewCheckInterval: every, Logger: silent,
	})
	a.magic = certmagic.New(a.cache, certmagic.Config{Storage: &certmagic.FileStorage{Path: dir}, OnEvent: a.event, Logger: silent})
	a.issuer = certmagic.NewACMEIssuer(a.magic, certmagic.ACMEIssuer{
		CA: a.o.CA, Email: o.Email, Agreed: true, TrustedRoots: roots, Logger: silent,
		DisableHTTPChallenge: o.HTTP == nil, ListenHost: host, AltTLSALPNPort: number,
	})
	a.magic.Issuers = []certmagic.Issuer{a.issuer}
	return a, nil
}

// roots checks what names the authority, and reads what vouches for it; nil is the system's.
func (o *ACMEOptions) roots() (*x509.CertPool, error) {
	if u, err := url.Parse(o.CA); o.CA != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		return nil, fmt.Errorf("--acme-ca %q is no https:// address of an authority's directory", o.CA)
	}
	if o.CARoot == "" {
		return nil, nil //nolint:nilnil // the system's
	}
	text, err := os.ReadFile(o.CARoot)
	if err != nil {
		return nil, fmt.Errorf("cannot read what --acme-ca-root names: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--acme-ca-root %s holds no certificate in PEM", o.CARoot)
	}
	return roots, nil
}

// start gets the certificate and renews it until ctx ends; then stop waits for the end.
func (a *authority) start(ctx context.Context) (stop func()) {
	var work sync.WaitGroup
	if a.o.HTTP != nil {
		srv := &http.Server{
			Handler:           a.issuer.HTTPChallengeHandler(http.HandlerFunc(a.toHTTPS)),
			ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: writeTimeout, IdleTimeout: headerTimeout, MaxHeaderBytes: maxHeader,
			ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		}
		work.Go(func() { _ = srv.Serve(a.o.HTTP) })
		context.AfterFunc(ctx, func() { _ = srv.Close() })
	}
	if err := a.magic.ManageAsync(ctx, []string{a.o.Domain}); err != nil {
		a.ended(err)
	}
	return func() {
		a.cache.Stop()
		work.Wait()
	}
}

// toHTTPS sends browsers on, to the right name only.
func (a *authority) toHTTPS(w http.ResponseWriter, r *http.Request) {
	_, port, _ := net.SplitHostPort(a.o.Listen)
	host := a.o.Domain
	if port != "443" {
		host = net.JoinHostPort(host, port)
	}
	w.Header().Set("Connection", "close")
	http.Redirect(w, r, "https://"+host+r.URL.RequestURI(), http.StatusPermanentRedirect)
}

// get gives the certificate of a connection that asks for the domain, or is the authority's question. It is nil where
// there is none yet, or another name is asked for.
func (a *authority) get(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	asks := slices.Equal(h.SupportedProtos, []string{protoACME})
	if !asks && !strings.EqualFold(strings.TrimSuffix(h.ServerName, "."), a.o.Domain) {
		return nil, nil //nolint:nilnil // the server's own will do
	}
	c, err := a.magic.GetCertificate(h)
	if err != nil && asks {
		return nil, err
	}
	if err != nil || c.Leaf != nil && time.Now().After(c.Leaf.NotAfter) { // one that is over is worse than the own, which machines trust
		return nil, nil //nolint:nilnil,nilerr // as above
	}
	return c, nil
}

// event says what happens to the certificate.
func (a *authority) event(_ context.Context, name string, data map[string]any) error {
	switch name {
	case "cert_obtaining":
		a.log.Info("asking for a certificate", "domain", a.o.Domain, "authority", a.o.CA)
	case "cert_obtained":
		a.log.Info("there is a certificate", "domain", a.o.Domain, "renewed", data["renewal"])
	case "cached_managed_cert":
		a.ended(nil)
	case "cert_failed":
		err, _ := data["error"].(error)
		if err == nil {
			err = errors.New("it was refused")
		}
		a.log.Warn("no certificate: it is tried again", "domain", a.o.Domain, "authority", a.o.CA, "err", err)
		a.ended(err)
	}
	return nil
}

func (a *authority) ended(err error) {
	a.mu.Lock()
	a.err = err
	a.mu.Unlock()
	a.once.Do(func() { close(a.tried) })
}

// WaitACME waits until the first try to get a certificate from the authority has ended, and tells how. Serve must run.
func (s *Server) WaitACME(ctx context.Context) error {
	if s.certs == nil || s.certs.authority == nil {
		return nil
	}
	a := s.certs.authority
	select {
	case <-a.tried:
	case <-ctx.Done():
		return ctx.Err()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}
