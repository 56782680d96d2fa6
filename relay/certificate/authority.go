package certificate

import (
	"cmp"
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
	// Dir in a server's state directory is for the account at the authority, and the certificates.
	Dir = "acme"
	// Proto is the protocol in which an authority asks (TLS-ALPN-01, RFC 8737, section 6.2).
	Proto = "acme-tls/1"
	// renewEvery is how often it is looked whether the certificate is to be renewed.
	renewEvery = 10 * time.Minute

	// What a stranger may hold of the server on port 80: a header this long, for this time.
	headerBytes = 8 << 10
	headerTime  = 5 * time.Second
)

// Options says how a server gets its certificate from a public authority (RFC 8555).
type Options struct {
	Domain string // whose certificate it is
	Email  string // at which the authority reaches the operator; may be empty
	CA     string // URL of the authority's directory; empty: Let's Encrypt
	CARoot string // file with the certificates (PEM) that vouch for the CA's own; empty: the system's
	Listen string // "host:port" on which the server listens with Get
	// HTTP is a listener on port 80, for authorities that ask there (HTTP-01); browsers it sends on to https. Nil: none.
	HTTP net.Listener

	Every time.Duration // how often it is looked whether to renew; 0: as is good for certificates of weeks and months
}

// Authority is the way to a public authority's certificates.
type Authority struct {
	o      Options
	log    *slog.Logger
	cache  *certmagic.Cache
	magic  *certmagic.Config
	issuer *certmagic.ACMEIssuer

	mu    sync.Mutex
	err   error         // what the last try came to
	tried chan struct{} // closed when the first try has ended
	once  sync.Once
}

// NewAuthority prepares; Start begins. Before Start there is no certificate. The directory is made when there is one.
func NewAuthority(dir string, o Options, log *slog.Logger) (*Authority, error) {
	a := &Authority{o: o, log: log, tried: make(chan struct{})}
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
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return a.magic, nil }, RenewCheckInterval: cmp.Or(o.Every, renewEvery), Logger: silent,
	})
	a.magic = certmagic.New(a.cache, certmagic.Config{Storage: &certmagic.FileStorage{Path: dir}, OnEvent: a.event, Logger: silent})
	a.issuer = certmagic.NewACMEIssuer(a.magic, certmagic.ACMEIssuer{
		CA: a.o.CA, Email: o.Email, Agreed: true, TrustedRoots: roots, Logger: silent,
		DisableHTTPChallenge: o.HTTP == nil, ListenHost: host, AltTLSALPNPort: number,
	})
	a.magic.Issuers = []certmagic.Issuer{a.issuer}
	return a, nil
}

// Check reports what is wrong with the options, before anything is set up for them.
func (o *Options) Check() error {
	_, err := o.roots()
	return err
}

// ListenHTTP opens port 80 beside a server on port 443, so that an authority may also ask there: Options.HTTP. Beside
// another port it gives nil, since who listens elsewhere leaves these two to somebody else.
func ListenHTTP(listen string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port != "443" {
		return nil, err
	}
	return net.Listen("tcp", net.JoinHostPort(host, "80"))
}

// roots checks what names the authority, and reads what vouches for it; nil is the system's.
func (o *Options) roots() (*x509.CertPool, error) {
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

// Start gets the certificate and renews it until ctx ends; then stop waits for the end.
func (a *Authority) Start(ctx context.Context) (stop func()) {
	var work sync.WaitGroup
	if a.o.HTTP != nil {
		srv := &http.Server{
			Handler:           a.issuer.HTTPChallengeHandler(http.HandlerFunc(a.toHTTPS)),
			ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, WriteTimeout: 2 * headerTime, IdleTimeout: headerTime, MaxHeaderBytes: headerBytes,
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
func (a *Authority) toHTTPS(w http.ResponseWriter, r *http.Request) {
	_, port, _ := net.SplitHostPort(a.o.Listen)
	host := a.o.Domain
	if port != "443" {
		host = net.JoinHostPort(host, port)
	}
	w.Header().Set("Connection", "close")
	http.Redirect(w, r, "https://"+host+r.URL.RequestURI(), http.StatusPermanentRedirect)
}

// Get gives the certificate of a connection that asks for the domain, or is the authority's question. It is nil where
// there is none yet, or another name is asked for.
func (a *Authority) Get(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	asks := slices.Equal(h.SupportedProtos, []string{Proto})
	if !asks && !strings.EqualFold(strings.TrimSuffix(h.ServerName, "."), a.o.Domain) {
		return nil, nil //nolint:nilnil // the server's own will do
	}
	if h.Conn == nil { // it is asked without a connection: certmagic looks whose it is where it has no certificate
		h = &tls.ClientHelloInfo{ServerName: h.ServerName, SupportedProtos: h.SupportedProtos, Conn: nobody{}}
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

// nobody is the connection where there is none.
type nobody struct{ net.Conn }

// LocalAddr implements net.Conn.
func (nobody) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr implements net.Conn.
func (nobody) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// event says what happens to the certificate.
func (a *Authority) event(_ context.Context, name string, data map[string]any) error {
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

func (a *Authority) ended(err error) {
	a.mu.Lock()
	a.err = err
	a.mu.Unlock()
	a.once.Do(func() { close(a.tried) })
}

// Wait waits until the first try to get a certificate has ended, and tells how. Start must have been called.
func (a *Authority) Wait(ctx context.Context) error {
	select {
	case <-a.tried:
	case <-ctx.Done():
		return ctx.Err()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}
