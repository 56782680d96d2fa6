package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/relay/certificate"
	"github.com/warren-mesh/warren/relay/certificate/pebble"
)

const acmeDomain = "coord.example.org"

// forDomain serves on a loopback address of this test under the domain, which is not in any real DNS: the device's
// connections are led there.
func forDomain(t *testing.T, addr string, acme certificate.Options, logs io.Writer) *running {
	t.Helper()
	dir := t.TempDir()
	_, port, _ := net.SplitHostPort(addr)
	url := "https://" + net.JoinHostPort(acmeDomain, port)
	if err := Init(t.Context(), dir, InitOptions{URL: url}); err != nil {
		t.Fatal(err)
	}
	return serveDir(t, dir, addr, domainOptions(t, addr, acme, logs))
}

func domainOptions(t *testing.T, addr string, acme certificate.Options, logs io.Writer) Options {
	acme.Domain, acme.Listen = acmeDomain, addr
	return Options{
		URL: "https://" + addr, ACME: &acme, Log: slog.New(slog.NewTextHandler(io.MultiWriter(logs, t.Output()), nil)),
	}
}

// lines is a log that can be looked at.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) has(words string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := bufio.NewScanner(bytes.NewReader(l.b.Bytes())); s.Scan(); {
		if strings.Contains(s.Text(), words) {
			return true
		}
	}
	return false
}

func TestACertificateComesFromAnAuthorityAndIsRenewed(t *testing.T) {
	addr := "127.0.0.1:" + pebble.FreePort(t)
	_, port, _ := net.SplitHostPort(addr)
	p := pebble.New(t, port, pebble.FreePort(t), 20*time.Second)
	p.Start()
	var log lines
	r := forDomain(t, addr, certificate.Options{Email: "anna@example.org", CA: p.Dir, CARoot: p.Root, Every: 200 * time.Millisecond}, &log)
	d := r.device()
	d.join("laptop", r.authKey(KeyOptions{}))
	maps, _ := d.follow(nil) // its connection began before there was a certificate
	until(t, maps, "itself", func(m *coord.Netmap) bool { return m.Self.Online })

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.WaitACME(ctx); err != nil {
		t.Fatal(err)
	}
	first := shown(t, addr, acmeDomain)
	if _, err := first.Verify(x509.VerifyOptions{DNSName: acmeDomain, Roots: p.Roots(), Intermediates: intermediates(t, addr)}); err != nil {
		t.Errorf("nobody vouches for it: %v", err)
	}
	if own := shown(t, addr, "localhost"); own.Subject.CommonName != "warren-coord" {
		t.Errorf("under another name it shows %v", own.Subject)
	}

	eventually(t, "a renewal", func() bool { return shown(t, addr, acmeDomain).SerialNumber.Cmp(first.SerialNumber) != 0 })
	if again := shown(t, addr, acmeDomain); !again.NotAfter.After(first.NotAfter) {
		t.Errorf("the new one ends %v, the old one %v", again.NotAfter, first.NotAfter)
	}
	// The stream goes on, and new sessions are had with the certificate that the hello names.
	o := r.device()
	o.join("phone", r.authKey(KeyOptions{}))
	until(t, maps, "the other", func(m *coord.Netmap) bool { return peerNamed(m, "phone") != nil })
	r.greetAs(acmeDomain)
	r.greetAs("localhost")
	if !log.has("there is a certificate") {
		t.Error("the log does not say that it came")
	}
}

// greetAs says hello as a machine would that knows the server by the domain, and checks that the signed answer names the
// very certificate of its connection.
func (r *running) greetAs(name string) {
	r.t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", r.addr)
		},
		TLSClientConfig: &tls.Config{ServerName: name, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13},
	}
	defer transport.CloseIdleConnections()
	nonce := make([]byte, coord.NonceSize)
	_, _ = rand.Read(nonce)
	body, _ := json.Marshal(coord.HelloRequest{Nonce: nonce})
	resp, err := (&http.Client{Transport: transport}).Post("https://"+name+coord.PathHello, "application/json", bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var h coord.Hello
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		r.t.Fatal(err)
	}
	sum := sha256.Sum256(resp.TLS.PeerCertificates[0].Raw)
	if !h.Verify(nonce) || h.Server != r.Key() || !bytes.Equal(h.Cert, sum[:]) {
		r.t.Errorf("by the name %s the server does not attest the certificate that it shows", name)
	}
}

// shown is the certificate that a connection for the name gets.
func shown(t testing.TB, addr, name string) *x509.Certificate {
	t.Helper()
	return pebble.Shown(t, addr, name)[0]
}

func intermediates(t *testing.T, addr string) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	for _, ca := range pebble.Shown(t, addr, acmeDomain)[1:] {
		pool.AddCert(ca)
	}
	return pool
}

func TestAnAuthorityMayAskOverHTTP(t *testing.T) {
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := "127.0.0.1:" + pebble.FreePort(t)
	_, httpPort, _ := net.SplitHostPort(web.Addr().String())
	p := pebble.New(t, pebble.FreePort(t), httpPort, time.Hour) // what it would ask by TLS goes nowhere
	p.Start()
	var log lines
	r := forDomain(t, addr, certificate.Options{CA: p.Dir, CARoot: p.Root, HTTP: web}, &log)
	eventually(t, "a certificate", func() bool { return shown(t, addr, acmeDomain).Subject.CommonName != "warren-coord" })
	_ = r
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Get("http://" + web.Addr().String() + "/add?a=b")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, port, _ := net.SplitHostPort(addr)
	if to := resp.Header.Get("Location"); to != fmt.Sprintf("https://%s:%s/add?a=b", acmeDomain, port) {
		t.Errorf("http leads to %q", to)
	}
}

// Authorities give few certificates for one name in a week: whoever restores a server has the one that it had.
func TestTheAuthoritysCertificateIsInTheBackup(t *testing.T) {
	addr := "127.0.0.1:" + pebble.FreePort(t)
	_, port, _ := net.SplitHostPort(addr)
	p := pebble.New(t, port, pebble.FreePort(t), time.Hour)
	p.Start()
	acme := certificate.Options{CA: p.Dir, CARoot: p.Root}
	r := forDomain(t, addr, acme, io.Discard)
	eventually(t, "a certificate", func() bool { return shown(t, addr, acmeDomain).Subject.CommonName != "warren-coord" })
	was := shown(t, addr, acmeDomain).SerialNumber

	backup, dir := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "restored")
	if err := Backup(t.Context(), r.dir, "", backup); err != nil {
		t.Fatal(err)
	}
	r.stop()
	if err := Restore(t.Context(), dir, "", backup); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, certificate.Dir, locksOf)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what the old server was at is in the backup (%v)", err)
	}
	serveDir(t, dir, addr, domainOptions(t, addr, acme, io.Discard))
	eventually(t, "the same certificate", func() bool { return shown(t, addr, acmeDomain).SerialNumber.Cmp(was) == 0 })
}

func TestWithoutItsAuthorityTheServerServesWithItsOwnCertificate(t *testing.T) {
	addr := "127.0.0.1:" + pebble.FreePort(t)
	_, port, _ := net.SplitHostPort(addr)
	p := pebble.New(t, port, pebble.FreePort(t), time.Hour) // and it is not started
	var log lines
	r := forDomain(t, addr, certificate.Options{CA: p.Dir, CARoot: p.Root}, &log)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.WaitACME(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("without an authority there is a certificate: %v", err)
	}
	if c := shown(t, addr, acmeDomain); c.Subject.CommonName != "warren-coord" {
		t.Errorf("it shows %v", c.Subject)
	}
	d := r.device()
	d.join("laptop", r.authKey(KeyOptions{}))
	r.greetAs(acmeDomain)
	named := *r.certs
	named.host = acmeDomain // as of a server that machines know by the name
	if c := named.current(); c != named.own {
		t.Errorf("it takes %v for the one that it serves", c)
	}
	if !log.has("no certificate: it is tried again") {
		t.Error("the log does not say that it did not come")
	}
}
