// Package pebble runs pebble, Let's Encrypt's ACME server for tests (in a Debian package, see packaging/deps). Only tests
// import it.
package pebble

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Server is a real ACME server (letsencrypt's own for tests), with a DNS in which every name leads to 127.0.0.1.
type Server struct {
	t          *testing.T
	Dir        string // URL of its directory
	Root       string // file that vouches for it
	management string
	web        *http.Client
	command    *exec.Cmd
	config     string
	dns        string
}

// New prepares one that asks on the two ports, and whose certificates live so long.
func New(t *testing.T, tlsPort, httpPort string, life time.Duration) *Server {
	t.Helper()
	for _, name := range []string{"pebble", "pebble-challtestsrv"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("needs %s: make deps installs it", name)
		}
	}
	dir := t.TempDir()
	p := &Server{t: t, Root: filepath.Join(dir, "root.pem"), config: filepath.Join(dir, "config.json")}
	listen, management := "127.0.0.1:"+FreePort(t), "127.0.0.1:"+FreePort(t)
	p.Dir, p.management = "https://"+listen+"/dir", "https://"+management
	cert := Loopback(t)
	WritePEM(t, p.Root, "CERTIFICATE", cert.Certificate[0])
	secret, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	WritePEM(t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", secret)
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
	p.dns = "127.0.0.1:" + FreePort(t)
	p.run("pebble-challtestsrv", "-dns01", p.dns, "-http01", "", "-https01", "", "-tlsalpn01", "", "-management", "127.0.0.1:"+FreePort(t), "-defaultIPv6", "")
	return p
}

// Start starts it, and waits until it answers.
func (p *Server) Start() {
	p.t.Helper()
	p.command = p.run("pebble", "-config", p.config, "-dnsserver", p.dns, "-strict")
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if resp, err := p.web.Get(p.Dir); err == nil {
			_ = resp.Body.Close()
			return
		}
	}
	p.t.Fatal("pebble never answered")
}

func (p *Server) run(name string, args ...string) *exec.Cmd {
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

// Roots are those that vouch for the certificates that it gives.
func (p *Server) Roots() *x509.CertPool {
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

// WritePEM writes one block into a file.
func WritePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Loopback makes a certificate for 127.0.0.1.
func Loopback(t testing.TB) tls.Certificate {
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

// firstPort is far below those that the kernel gives out for port 0 and to clients (32768 to 60999, ip_local_port_range).
const firstPort = 20000

// FreePort is one that is the test's until it ends, also while nobody listens there: by an abstract socket, all tests of the host
// see which ports are taken.
func FreePort(t testing.TB) string {
	t.Helper()
	for port := firstPort; ; port++ {
		taken, err := net.Listen("unix", fmt.Sprint("@warren-test-port-", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = taken.Close() })
		if ln, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			_ = ln.Close()
			return strconv.Itoa(port)
		}
	}
}

func number(t testing.TB, port string) int {
	t.Helper()
	n, err := net.LookupPort("tcp", port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Shown is the certificate that a connection for the name gets, and its chain.
func Shown(t testing.TB, addr, name string) []*x509.Certificate {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: name, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates
}
