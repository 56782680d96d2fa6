package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/server"
	"github.com/warren-mesh/warren/relay/certificate"
	relayserver "github.com/warren-mesh/warren/relay/server"
)

// options says what the flags mean, and puts in what follows from one another.
func (f *serveFlags) options(ctx context.Context) (o server.Options, err error) {
	o = server.Options{URL: f.url, BehindProxy: f.proxied, TLSCert: f.cert, TLSKey: f.key}
	loopback := true
	for _, text := range f.proxies {
		p, err := prefix(text)
		if err != nil {
			return o, fmt.Errorf(textBadProxy, text)
		}
		loopback = loopback && p.Addr().IsLoopback()
		o.Proxies = append(o.Proxies, p)
	}
	if f.proxied && !f.ownListen {
		f.listen = ":8080"
		if loopback {
			f.listen = "127.0.0.1:8080"
		}
	}
	host, port, err := net.SplitHostPort(f.listen)
	if err != nil {
		return o, fmt.Errorf(textBadListen, f.listen)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return o, fmt.Errorf(textBadListen, f.listen)
	}
	if f.noRelay {
		f.relayUDP = ""
	} else if !f.ownRelayUDP && host != "" {
		f.relayUDP = net.JoinHostPort(host, "3478") // beside the server
	}
	if f.domain != "" {
		if err := f.getCertificate(&o, port); err != nil {
			return o, err
		}
	}
	if !f.proxied && port != "0" {
		o.Chosen = f.chooseURL(ctx, host, port)
	}
	return o, nil
}

func prefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(strings.TrimSpace(text)); err == nil {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(strings.TrimSpace(text))
	return p.Masked(), err
}

// getCertificate has the server get its certificate from a public authority.
func (f *serveFlags) getCertificate(o *server.Options, port string) error {
	f.domain = strings.ToLower(strings.TrimSuffix(f.domain, "."))
	address, _, err := coord.ParseServer("https://" + net.JoinHostPort(f.domain, port))
	u, err2 := url.Parse(address)
	if _, ip := netip.ParseAddr(f.domain); ip == nil || err != nil || err2 != nil || u.Hostname() != f.domain || !strings.Contains(f.domain, ".") {
		return fmt.Errorf(textBadDomain, f.domain)
	}
	if o.URL == "" {
		o.URL = address
	}
	o.ACME = &certificate.Options{Domain: f.domain, Email: f.acmeEmail, CA: f.ca, CARoot: f.caRoot, Listen: f.listen}
	return nil
}

// chooseURL is this host's name or address with the port that the server listens on.
func (f *serveFlags) chooseURL(ctx context.Context, host, port string) string {
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host, _ = server.OwnHost(ctx)
	}
	return "https://" + net.JoinHostPort(host, port)
}

// listeners are the sockets of the server.
type listeners struct{ main, metrics, http net.Listener }

// open listens. A port that is not to be had is told with the ways out.
func (l *listeners) open(f *serveFlags) (err error) {
	if l.main, err = relayserver.Listen(f.listen); err != nil {
		return sayListen(f, err)
	}
	if f.metrics != "" {
		if l.metrics, err = net.Listen("tcp", f.metrics); err != nil {
			return fmt.Errorf("cannot listen for metrics: %w", err)
		}
	}
	return nil
}

// openHTTP listens on port 80, if an authority can be told to ask there.
func (l *listeners) openHTTP(f *serveFlags, o *server.Options) {
	if o.ACME == nil {
		return
	}
	ln, err := certificate.ListenHTTP(f.listen)
	if err != nil {
		o.Log.Info("port 80 is not to be had: the authority can ask on port 443 only", "err", err)
		return
	}
	l.http, o.ACME.HTTP = ln, ln
}

func sayListen(f *serveFlags, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf(textNoPort, f.listen)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf(textPortTaken, f.listen)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf(textNotOurs, f.listen)
	}
	return fmt.Errorf("cannot listen: %w", err)
}

func (l *listeners) close() error {
	var errs []error
	for _, ln := range []net.Listener{l.main, l.metrics, l.http} {
		if ln == nil {
			continue
		}
		if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
