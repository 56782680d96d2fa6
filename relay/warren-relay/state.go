package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay/certificate"
	"github.com/warren-mesh/warren/relay/server"
)

// The files in the state directory. Each is written whole or not at all.
const (
	keyFile  = "relay.key"
	certFile = "tls.pem" // private key and certificate in one, so that they cannot differ

	// certLife is long because machines pin the certificate: its end protects nobody and would stop everybody.
	certLife = 50 * 365 * 24 * time.Hour
)

// loadKey reads the relay's key, and makes it the first time.
func loadKey(dir string) (key.Relay, error) {
	text, err := once(dir, keyFile, func() ([]byte, error) { return []byte(key.NewRelay().Reveal() + "\n"), nil })
	if err != nil {
		return key.Relay{}, err
	}
	k, err := key.ParseRelay(strings.TrimSpace(string(text)))
	if err != nil {
		return k, fmt.Errorf("%s is damaged (%w): restore it from a backup, or remove it and add the relay to its networks anew", filepath.Join(dir, keyFile), err)
	}
	return k, nil
}

// certificate gives the certificate of the flags, or else the relay's own; none without --https.
func (f *flags) certificate() (tls.Certificate, error) {
	switch {
	case f.https == "":
		return tls.Certificate{}, nil
	case f.cert == "":
		return f.ownCertificate()
	}
	files, err := certificate.OpenFiles(f.cert, f.certKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	return *files.Current(), nil
}

// ownCertificate gives the relay's own, made the first time.
func (f *flags) ownCertificate() (tls.Certificate, error) {
	both, err := once(f.state, certFile, newCertificate)
	if err != nil {
		return tls.Certificate{}, err
	}
	c, err := tls.X509KeyPair(both, both)
	if err != nil {
		return c, fmt.Errorf("%s is damaged (%w): restore it from a backup, or remove it and add the relay to its networks anew", filepath.Join(f.state, certFile), err)
	}
	return c, nil
}

func newCertificate() ([]byte, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "warren-relay"},
		NotBefore: time.Unix(0, 0), // whatever the clocks say: machines pin it
		NotAfter:  time.Now().Add(certLife),
		KeyUsage:  x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...), nil
}

// once reads a file of the state directory, and makes it if it is not there.
func once(dir, name string, make func() ([]byte, error)) ([]byte, error) {
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if err == nil {
		return b, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the relay's state: %w", err)
	}
	if b, err = make(); err != nil {
		return nil, err
	}
	err = os.MkdirAll(dir, 0o700)
	if err == nil {
		err = renameio.WriteFile(path, b, 0o600, renameio.IgnoreUmask())
	}
	if err != nil {
		return nil, fmt.Errorf("cannot write the relay's state (choose a directory that may be written with --state): %w", err)
	}
	return b, nil
}

// show prints what the relay is, and how a network gets to know it.
func show(w io.Writer, f flags) error {
	if err := f.checkCertificate(); err != nil {
		return err
	}
	k, err := loadKey(f.state)
	if err != nil {
		return err
	}
	cert, err := f.certificate()
	if err != nil {
		return err
	}
	line := "warren-coord relay add --name " + f.name
	_, _ = fmt.Fprintf(w, "key          %s\n", k.Public())
	if f.udp != "" {
		port, err := portOf("--udp", f.udp)
		if err != nil {
			return err
		}
		line += " --udp " + net.JoinHostPort(f.host, port)
	}
	if f.https != "" {
		port, err := portOf("--https", f.https)
		if err != nil {
			return err
		}
		line += " --url https://" + net.JoinHostPort(f.host, port) + server.Path
	}
	line += " --key " + k.Public().String()
	switch {
	case f.https == "":
	case f.domain != "":
		_, _ = fmt.Fprintf(w, "certificate  of a public authority, for %s\n", f.domain)
	default:
		sum := sha256.Sum256(cert.Certificate[0])
		pin := hex.EncodeToString(sum[:])
		_, _ = fmt.Fprintf(w, "certificate  %s (SHA-256)\n", pin)
		if f.cert == "" { // a public authority vouches for another, and it is renewed
			line += " --cert " + pin
		}
	}
	_, err = fmt.Fprintf(w, "\nTo add it to a network, run on its coordination server:\n\n  %s\n", line)
	return err
}

func portOf(flag, address string) (string, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("%s %s is no address: it should be like :3478 or 192.0.2.1:3478", flag, address)
	}
	return port, nil
}
