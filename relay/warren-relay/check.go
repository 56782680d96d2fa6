package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/warren-mesh/warren/relay"
	"github.com/warren-mesh/warren/relay/server"
)

// checkTime is how long an answer of this host's own relay may take.
const checkTime = 2 * time.Second

// errCheck is for what check has told already.
var errCheck = errors.New("the relay would not, or does not, serve as it should: see above")

// check tries what serve would do, or asks the relay that has the ports.
func check(ctx context.Context, w io.Writer, f flags) error {
	ok := true
	say := func(what string, err error, good string) {
		if err != nil {
			ok, good = false, "NOT OK: "+err.Error()
		}
		_, _ = fmt.Fprintf(w, "%-12s %s\n", what, good)
	}
	issuers, err := f.check()
	say("settings", err, fmt.Sprintf("ok, for %d networks", len(issuers)))
	if err != nil {
		return errCheck
	}
	k, err := loadKey(f.state)
	say("key", err, k.Public().String())
	cert, err := f.certificate()
	say("certificate", errors.Join(err, worn(cert)), aboutCertificate(f, cert))
	if !ok {
		return errCheck
	}
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	s, err := server.New(server.Config{UDP: f.udp, HTTPS: f.https, Metrics: f.metrics, TLS: conf, Key: k, Issuers: issuers})
	switch {
	case err == nil:
		_ = s.Close()
		say("ports", nil, "free: the relay is not running, and could")
	case errors.Is(err, syscall.EADDRINUSE):
		if f.udp != "" {
			seen, err := askSTUN(ctx, f.udp)
			say("udp", err, "answers; it sees this host as "+seen.String())
		}
		if f.https != "" {
			shows, err := askHTTPS(ctx, f, cert)
			say("https", err, "answers, with "+shows)
		}
	default:
		say("ports", hint(err), "")
	}
	if !ok {
		return errCheck
	}
	return nil
}

// worn reports a certificate that has ended.
func worn(c tls.Certificate) error {
	if len(c.Certificate) == 0 {
		return nil
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err == nil && time.Now().After(leaf.NotAfter) {
		err = fmt.Errorf("it ended on %s: get a new one", leaf.NotAfter.Format(time.DateOnly))
	}
	return err
}

func aboutCertificate(f flags, c tls.Certificate) string {
	if len(c.Certificate) == 0 {
		return "none, since there is no --https"
	}
	kind := "the relay's own, which machines pin"
	switch {
	case f.cert != "":
		kind = "of " + f.cert
	case f.domain != "":
		kind = "of a public authority for " + f.domain + "; until there is one, the relay's own"
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return kind
	}
	return kind + ", until " + leaf.NotAfter.Format(time.DateOnly)
}

// local gives the address at which this host reaches itself.
func local(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

func askSTUN(ctx context.Context, listen string) (seen netip.AddrPort, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", local(listen))
	if err != nil {
		return seen, err
	}
	defer c.Close()
	id := relay.STUNTransaction{1}
	_ = c.SetDeadline(time.Now().Add(checkTime))
	if _, err := c.Write(relay.AppendSTUNRequest(nil, id)); err != nil {
		return seen, err
	}
	b := make([]byte, 1500)
	n, err := c.Read(b)
	if err != nil {
		return seen, fmt.Errorf("%s is taken, but what has it answers no STUN: another program, or a relay that is stopping (%w)", listen, err)
	}
	got, seen, ok := relay.ParseSTUNResponse(b[:n])
	if !ok || got != id {
		return seen, fmt.Errorf("%s is taken by something that is no relay", listen)
	}
	return seen, nil
}

// askHTTPS tells which certificate the relay shows.
func askHTTPS(ctx context.Context, f flags, cert tls.Certificate) (string, error) {
	conf := &tls.Config{InsecureSkipVerify: true, ServerName: f.domain} // compared below
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: checkTime}, Config: conf}
	c, err := d.DialContext(ctx, "tcp", local(f.https))
	if err != nil {
		return "", err
	}
	defer c.Close()
	leaf := c.(*tls.Conn).ConnectionState().PeerCertificates[0]
	same := sha256.Sum256(leaf.Raw) == sha256.Sum256(cert.Certificate[0])
	switch {
	case f.domain == "" && same:
		return "this certificate", nil
	case f.domain == "":
		return "", fmt.Errorf("%s shows another certificate: another program has the port, or the relay has not been reloaded since it was renewed", f.https)
	case same:
		return "", fmt.Errorf("there is no certificate for %s yet: the relay's log says what the authority answered", f.domain)
	case leaf.VerifyHostname(f.domain) != nil:
		return "", fmt.Errorf("%s shows a certificate for another name than %s: another program has the port", f.https, f.domain)
	case time.Now().After(leaf.NotAfter):
		return "", fmt.Errorf("the certificate for %s ended on %s: the relay's log says why there is no other", f.domain, leaf.NotAfter.Format(time.DateOnly))
	}
	return fmt.Sprintf("a certificate for %s, until %s", f.domain, leaf.NotAfter.Format(time.DateOnly)), nil
}
