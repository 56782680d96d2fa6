package certificate_test

import (
	"bytes"
	"crypto/x509"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/relay/certificate"
	"github.com/warren-mesh/warren/relay/certificate/pebble"
)

// A certificate that cannot be read when it is looked at, as it is copied before its readers are allowed to, is read as soon as
// it can be: neither its size nor its date is another then.
func TestACertificateThatCouldNotBeReadIsTriedAgain(t *testing.T) {
	dir := t.TempDir()
	cert, key := dir+"/cert", dir+"/key"
	put := func() []byte {
		c := pebble.Loopback(t)
		secret, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		pebble.WritePEM(t, key, "PRIVATE KEY", secret)
		pebble.WritePEM(t, cert, "CERTIFICATE", c.Certificate[0])
		return c.Certificate[0]
	}
	first := put()
	files, err := certificate.OpenFiles(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	second := put()
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(time.Minute)
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(key, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(key, at, at); err != nil {
			t.Fatal(err)
		}
	}
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	write(bytes.Repeat([]byte{'x'}, len(text)))
	for range 3 {
		files.Look(log)
	}
	if !bytes.Equal(files.Current().Certificate[0], first) {
		t.Error("another than the one before serves")
	}
	if n := strings.Count(said.String(), "the one before serves on"); n != 1 {
		t.Errorf("it was said %d times:\n%s", n, said.String())
	}
	write(text)
	files.Look(log)
	if !bytes.Equal(files.Current().Certificate[0], second) {
		t.Errorf("the new one does not serve:\n%s", said.String())
	}
	for range 3 {
		files.Look(log)
	}
	if n := strings.Count(said.String(), "is served from now on"); n != 1 {
		t.Errorf("it was read %d times", n)
	}
}
