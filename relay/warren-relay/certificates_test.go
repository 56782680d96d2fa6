package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
	"github.com/warren-mesh/warren/relay/certificate"
	"github.com/warren-mesh/warren/relay/certificate/pebble"
	"github.com/warren-mesh/warren/relay/server"
)

const domain = "relay.example.org"

// patience is for other processes' work on a busy host.
const patience = time.Minute

// relaying runs a relay with the flags until the test ends.
func relaying(t *testing.T, f flags) (*server.Server, key.RelayPublic, key.Server) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	certs, err := f.open(log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(certs.close)
	k, issuer := key.NewRelay(), key.NewServer()
	s, err := server.New(server.Config{HTTPS: f.https, TLS: certs.config(), Key: k, Issuers: []key.ServerPublic{issuer.Public()}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- f.run(ctx, s, certs, log) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s, k.Public(), issuer
}

// joined is a client over WebSocket.
func joined(t *testing.T, addr string, cert []byte, to key.RelayPublic, issuer key.Server) *relay.Client {
	t.Helper()
	node := key.NewNode()
	c := relay.NewClient(relay.ClientConfig{
		Node: node, Key: to, URL: "https://" + addr + server.Path, Cert: cert,
		Ticket: func() []byte {
			return relay.Ticket{Node: node.Public(), NotAfter: time.Now().Add(time.Hour)}.Sign(issuer)
		},
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- c.Run(ctx) }()
	go func() {
		for {
			if _, err := c.Receive([][]byte{make([]byte, relay.MaxPayload)}, make([]int, 1), make([]relay.Address, 1)); errors.Is(err, relay.ErrClosed) {
				return
			}
		}
	}()
	t.Cleanup(func() { stop(); <-ended })
	eventually(t, "a session over WebSocket", func() bool { return c.State().Connected })
	return c
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) { // another process's work
		if time.Now().After(end) {
			t.Fatalf("never came: %s", what)
		}
	}
}

// vouched reports whether the authority vouches for what the relay shows for the domain.
func vouched(t *testing.T, p *pebble.Server, shown []*x509.Certificate) error {
	t.Helper()
	between := x509.NewCertPool()
	for _, ca := range shown[1:] {
		between.AddCert(ca)
	}
	_, err := shown[0].Verify(x509.VerifyOptions{DNSName: domain, Roots: p.Roots(), Intermediates: between})
	return err
}

func TestACertificateComesFromAnAuthorityAndIsRenewedWithoutALostConnection(t *testing.T) {
	addr := "127.0.0.1:" + pebble.FreePort(t)
	_, port, _ := net.SplitHostPort(addr)
	p := pebble.New(t, port, pebble.FreePort(t), 20*time.Second)
	p.Start()
	f := flags{state: t.TempDir(), https: addr, domain: domain, acme: certificate.Options{CA: p.Dir, CARoot: p.Root, Every: 200 * time.Millisecond}}
	own, err := f.ownCertificate()
	if err != nil {
		t.Fatal(err)
	}
	_, k, issuer := relaying(t, f)
	// It asks by the address, gets the relay's own certificate, and pins that.
	c := joined(t, addr, sum(own.Certificate[0]), k, issuer)
	before := c.State().Connects

	eventually(t, "the authority's certificate", func() bool { return pebble.Shown(t, addr, domain)[0].Subject.CommonName != "warren-relay" })
	first := pebble.Shown(t, addr, domain)
	if err := vouched(t, p, first); err != nil {
		t.Errorf("nobody vouches for it: %v", err)
	}
	if other := pebble.Shown(t, addr, "localhost")[0]; other.Subject.CommonName != "warren-relay" {
		t.Errorf("under another name it shows %v", other.Subject)
	}
	eventually(t, "a renewal", func() bool { return pebble.Shown(t, addr, domain)[0].SerialNumber.Cmp(first[0].SerialNumber) != 0 })
	if s := c.State(); !s.Connected || s.Connects != before {
		t.Errorf("the client of before: %+v", s)
	}
	if shows, err := askHTTPS(t.Context(), f, own); err != nil || !strings.Contains(shows, "a certificate for "+domain) {
		t.Errorf("check says %q, %v", shows, err)
	}
}

func TestWithoutItsAuthorityTheRelayServesWithItsOwnCertificate(t *testing.T) {
	addr := "127.0.0.1:" + pebble.FreePort(t)
	f := flags{state: t.TempDir(), https: addr, domain: domain, acme: certificate.Options{CA: "https://127.0.0.1:" + pebble.FreePort(t)}}
	own, err := f.ownCertificate()
	if err != nil {
		t.Fatal(err)
	}
	_, k, issuer := relaying(t, f)
	joined(t, addr, sum(own.Certificate[0]), k, issuer)
	if _, err := askHTTPS(t.Context(), f, own); err == nil || !strings.Contains(err.Error(), "there is no certificate for "+domain+" yet") {
		t.Errorf("check says %v", err)
	}
}

func TestCertificateFilesAreReadAgainWithoutALostConnection(t *testing.T) {
	dir := t.TempDir()
	f := flags{state: t.TempDir(), https: "127.0.0.1:0", cert: dir + "/cert", certKey: dir + "/key"}
	put := func() []byte {
		c := pebble.Loopback(t)
		secret, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		pebble.WritePEM(t, f.certKey, "PRIVATE KEY", secret)
		pebble.WritePEM(t, f.cert, "CERTIFICATE", c.Certificate[0])
		return c.Certificate[0]
	}
	first := put()
	s, k, issuer := relaying(t, f)
	addr := s.HTTPSAddr().String()
	c := joined(t, addr, sum(first), k, issuer)
	before := c.State().Connects
	second := put() // and nobody says so
	eventually(t, "the new certificate", func() bool { return string(pebble.Shown(t, addr, "localhost")[0].Raw) == string(second) })
	joined(t, addr, sum(second), k, issuer)
	if s := c.State(); !s.Connected || s.Connects != before {
		t.Errorf("the client of before: %+v", s)
	}
	// A web server beside it is none of HTTP/2's: a WebSocket needs a connection of its own.
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if got := conn.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
		t.Errorf("it speaks %q", got)
	}
}

func sum(der []byte) []byte {
	s := sha256.Sum256(der)
	return s[:]
}
