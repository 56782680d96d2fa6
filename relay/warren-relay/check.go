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
			say("https", askHTTPS(ctx, f.https, cert), "answers, with this certificate")
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
	if f.cert != "" {
		kind = "of " + f.cert
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

func askHTTPS(ctx context.Context, listen string, cert tls.Certificate) error {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: checkTime}, Config: &tls.Config{InsecureSkipVerify: true}} // compared below
	c, err := d.DialContext(ctx, "tcp", local(listen))
	if err != nil {
		return err
	}
	defer c.Close()
	theirs := c.(*tls.Conn).ConnectionState().PeerCertificates
	if sha256.Sum256(theirs[0].Raw) != sha256.Sum256(cert.Certificate[0]) {
		return fmt.Errorf("%s shows another certificate: another program has the port, or the relay has not been reloaded since it was renewed", listen)
	}
	return nil
}
