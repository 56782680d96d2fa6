package server

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/relay/certificate/pebble"
)

func TestTheOwnCertificateCoversWhatTheServerIsCalled(t *testing.T) {
	dir := t.TempDir()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://coord.example.org:8443"}); err != nil {
		t.Fatal(err)
	}
	leaf := func(address string, now time.Time) *x509.Certificate {
		t.Helper()
		c, err := ownCertificate(dir, address, now)
		if err != nil {
			t.Fatal(err)
		}
		l, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	first := leaf("https://coord.example.org:8443", time.Now())
	names := []string{"coord.example.org", "localhost", "127.0.0.1"}
	for _, a := range OwnAddrs() {
		names = append(names, a.String())
	}
	for _, name := range names {
		if err := first.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if again := leaf("https://coord.example.org:8443", time.Now()); !again.Equal(first) {
		t.Error("it is made anew without need")
	}
	moved := leaf("https://192.0.2.77", time.Now())
	if err := moved.VerifyHostname("192.0.2.77"); err != nil {
		t.Error("for another address: ", err)
	}
	if late := leaf("https://192.0.2.77", time.Now().Add(certLife)); late.Equal(moved) {
		t.Error("it is not made anew before its end")
	}
}

func TestCertificateFilesAreReadAgainWhenTheyChange(t *testing.T) {
	files := t.TempDir()
	// As certbot has it: the names are links into an archive.
	put := func(version string) {
		t.Helper()
		c := pebble.Loopback(t)
		secret, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		pebble.WritePEM(t, filepath.Join(files, "cert"+version), "CERTIFICATE", c.Certificate[0])
		pebble.WritePEM(t, filepath.Join(files, "key"+version), "PRIVATE KEY", secret)
		for _, name := range []string{"cert", "key"} {
			_ = os.Remove(filepath.Join(files, name))
			if err := os.Symlink(name+version, filepath.Join(files, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	put("1")
	dir := t.TempDir()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	o := Options{TLSCert: filepath.Join(files, "cert"), TLSKey: filepath.Join(files, "key")}
	r := serveDir(t, dir, "127.0.0.1:0", o, func(s *Server) { s.certs.every = time.Hour }) // so that it looks when it is told to
	first := shown(t, r.addr, "localhost")
	d := r.device()
	d.join("laptop", r.authKey(KeyOptions{}))
	maps, _ := d.follow(nil)
	until(t, maps, "itself", func(m *coord.Netmap) bool { return m.Self.Online })

	// Half of a pair changes nothing.
	if err := os.WriteFile(filepath.Join(files, "cert2"), []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(files, "cert"))
	if err := os.Symlink("cert2", filepath.Join(files, "cert")); err != nil {
		t.Fatal(err)
	}
	r.ReloadCert()
	if c := shown(t, r.addr, "localhost"); !c.Equal(first) {
		t.Error("half a pair is served")
	}
	put("3")
	r.ReloadCert()
	eventually(t, "the new certificate", func() bool { return !shown(t, r.addr, "localhost").Equal(first) })
	select {
	case <-r.CertChanged():
	case <-time.After(patience):
		t.Error("nobody is told that the certificate is another")
	}
	// The machine of before goes on; what it asks on new connections it asks in a session with the new certificate.
	other := r.device()
	other.join("phone", r.authKey(KeyOptions{}))
	until(t, maps, "the other", func(m *coord.Netmap) bool { return peerNamed(m, "phone") != nil })
	d.Close()
	if err := d.Update(t.Context(), update(7)); err != nil {
		t.Errorf("after the change: %v", err)
	}
	r.greetAs("localhost")

	r.stop()
	r = serveDir(t, dir, "127.0.0.1:0", o, func(s *Server) { s.certs.every = look })
	second := shown(t, r.addr, "localhost")
	put("4") // and nobody says so
	eventually(t, "the third certificate", func() bool { return !shown(t, r.addr, "localhost").Equal(second) })
}

func TestAChosenAddressFollowsTheHost(t *testing.T) {
	dir := t.TempDir()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://192.0.2.200", Chosen: true}); err != nil {
		t.Fatal(err)
	}
	open := func(o Options) *Server {
		t.Helper()
		s, err := Open(t.Context(), dir, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := open(Options{Chosen: "https://127.0.0.1"}); s.URL() != "https://192.0.2.200" {
		t.Errorf("without a network it calls itself %s", s.URL())
	}
	if s := open(Options{Chosen: "https://192.0.2.201"}); s.URL() != "https://192.0.2.201" || s.MovedFrom() != "https://192.0.2.200" {
		t.Errorf("elsewhere it calls itself %s, before %s", s.URL(), s.MovedFrom())
	}
	if s := open(Options{}); s.URL() != "https://192.0.2.201" {
		t.Errorf("it forgets that: %s", s.URL())
	}

	said := t.TempDir()
	if err := Init(t.Context(), said, InitOptions{URL: "https://192.0.2.200"}); err != nil {
		t.Fatal(err)
	}
	dir = said
	if s := open(Options{Chosen: "https://192.0.2.201"}); s.URL() != "https://192.0.2.200" {
		t.Errorf("what somebody has said is not kept: %s", s.URL())
	}
}
