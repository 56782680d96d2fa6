package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
)

// pebble is a real ACME server (letsencrypt's own for tests), with a DNS in which every name leads to 127.0.0.1.
type pebble struct {
	t          *testing.T
	Dir        string // URL of its directory
	Root       string // file that vouches for it
	management string
	web        *http.Client
	command    *exec.Cmd
	config     string
	dns        string
}

// newPebble prepares one that asks on the two ports, and whose certificates live so long.
func newPebble(t *testing.T, tlsPort, httpPort string, life time.Duration) *pebble {
	t.Helper()
	for _, name := range []string{"pebble", "pebble-challtestsrv"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("needs %s: make deps installs it", name)
		}
	}
	dir := t.TempDir()
	p := &pebble{t: t, Root: filepath.Join(dir, "root.pem"), config: filepath.Join(dir, "config.json")}
	listen, management := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	p.Dir, p.management = "https://"+listen+"/dir", "https://"+management
	cert := loopbackCert(t)
	writePEM(t, p.Root, "CERTIFICATE", cert.Certificate[0])
	secret, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", secret)
	config, _ := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": management, "certificate": p.Root, "privateKey": filepath.Join(dir, "key.pem"),
		"httpPort": number(t, httpPort), "tlsPort": number(t, tlsPort), "certificateValidityPeriod": int(life.Seconds()),
	}})
	if err := os.WriteFile(p.config, config, 0o600); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(leaf)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	p.web = &http.Client{Transport: transport, Timeout: 5 * time.Second}
	t.Cleanup(transport.CloseIdleConnections)
	p.dns = "127.0.0.1:" + freePort(t)
	p.run("pebble-challtestsrv", "-dns01", p.dns, "-http01", "", "-https01", "", "-tlsalpn01", "", "-management", "127.0.0.1:"+freePort(t), "-defaultIPv6", "")
	return p
}

// start starts it, and waits until it answers.
func (p *pebble) start() {
	p.t.Helper()
	p.command = p.run("pebble", "-config", p.config, "-dnsserver", p.dns, "-strict")
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if resp, err := p.web.Get(p.Dir); err == nil {
			_ = resp.Body.Close()
			return
		}
	}
	p.t.Fatal("pebble never answered")
}

func (p *pebble) run(name string, args ...string) *exec.Cmd {
	p.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	cmd.Stdout, cmd.Stderr = p.t.Output(), p.t.Output()
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

// authorities are those that vouch for the certificates that it gives.
func (p *pebble) authorities() *x509.CertPool {
	p.t.Helper()
	pool := x509.NewCertPool()
	resp, err := p.web.Get(p.management + "/roots/0")
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || !pool.AppendCertsFromPEM(text) {
		p.t.Fatal("pebble shows no root: ", err)
	}
	return pool
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// loopbackCert makes a certificate for 127.0.0.1.
func loopbackCert(t testing.TB) tls.Certificate {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
}

func freePort(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

func number(t testing.TB, port string) int {
	t.Helper()
	n, err := net.LookupPort("tcp", port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const acmeDomain = "coord.example.org"

// shown is the certificate that a connection for the name gets.
func shown(t testing.TB, addr, name string) *x509.Certificate {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: name, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0]
}

// eventually waits until ok.
func eventually(t testing.TB, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never came: %s", what)
		}
		time.Sleep(20 * time.Millisecond) // another process's work
	}
}

// forDomain serves on a loopback address of this test under the domain, which is not in any real DNS: the device's
// connections are led there.
func forDomain(t *testing.T, addr string, acme ACMEOptions, logs io.Writer) *running {
	t.Helper()
	dir := t.TempDir()
	_, port, _ := net.SplitHostPort(addr)
	url := "https://" + net.JoinHostPort(acmeDomain, port)
	if err := Init(t.Context(), dir, InitOptions{URL: url}); err != nil {
		t.Fatal(err)
	}
	acme.Domain, acme.Listen = acmeDomain, addr
	return serveDir(t, dir, addr, Options{
		URL: "https://" + addr, ACME: &acme, Log: slog.New(slog.NewTextHandler(io.MultiWriter(logs, t.Output()), nil)),
	})
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
	addr := "127.0.0.1:" + freePort(t)
	_, port, _ := net.SplitHostPort(addr)
	p := newPebble(t, port, freePort(t), 20*time.Second)
	p.start()
	var log lines
	r := forDomain(t, addr, ACMEOptions{Email: "anna@example.org", CA: p.Dir, CARoot: p.Root, every: 200 * time.Millisecond}, &log)
	d := r.device()
	d.join("laptop", r.authKey(KeyOptions{}))
	maps, _ := d.follow(nil) // its connection began before there was a certificate
	until(t, maps, "itself", func(m *coord.Netmap) bool { return m.Self.Online })

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := r.WaitACME(ctx); err != nil {
		t.Fatal(err)
	}
	first := shown(t, addr, acmeDomain)
	if _, err := first.Verify(x509.VerifyOptions{DNSName: acmeDomain, Roots: p.authorities(), Intermediates: intermediates(t, addr)}); err != nil {
		t.Errorf("nobody vouches for it: %v", err)
	}
	if own := shown(t, addr, "localhost"); own.Subject.CommonName != "warren-coord" {
		t.Errorf("under another name it shows %v", own.Subject)
	}

	eventually(t, "a renewal", 40*time.Second, func() bool { return shown(t, addr, acmeDomain).SerialNumber.Cmp(first.SerialNumber) != 0 })
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

func intermediates(t *testing.T, addr string) *x509.CertPool {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: acmeDomain, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	pool := x509.NewCertPool()
	for _, ca := range c.ConnectionState().PeerCertificates[1:] {
		pool.AddCert(ca)
	}
	return pool
}

func TestAnAuthorityMayAskOverHTTP(t *testing.T) {
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := "127.0.0.1:" + freePort(t)
	_, httpPort, _ := net.SplitHostPort(web.Addr().String())
	p := newPebble(t, freePort(t), httpPort, time.Hour) // what it would ask by TLS goes nowhere
	p.start()
	var log lines
	r := forDomain(t, addr, ACMEOptions{CA: p.Dir, CARoot: p.Root, HTTP: web}, &log)
	eventually(t, "a certificate", 60*time.Second, func() bool { return shown(t, addr, acmeDomain).Subject.CommonName != "warren-coord" })
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

func TestWithoutItsAuthorityTheServerServesWithItsOwnCertificate(t *testing.T) {
	addr := "127.0.0.1:" + freePort(t)
	_, port, _ := net.SplitHostPort(addr)
	p := newPebble(t, port, freePort(t), time.Hour) // and it is not started
	var log lines
	r := forDomain(t, addr, ACMEOptions{CA: p.Dir, CARoot: p.Root}, &log)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
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
	if !log.has("no certificate: it is tried again") {
		t.Error("the log does not say that it did not come")
	}
}
