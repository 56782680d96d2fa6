package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/relay/certificate"
)

// certLook is how often it is looked whether certificate files have changed.
const certLook = 5 * time.Second

// certificates are those that connections get; whoever has one keeps it when there is another. There are three kinds:
//
//	own        made by the relay itself, and pinned by machines
//	files      of --tls-cert, in somebody else's care
//	authority  of --domain, from a public one; the own serves until there is one, and where another name is asked for
type certificates struct {
	flags     flags
	own       atomic.Pointer[tls.Certificate] // nil: the files serve, or there is no --https
	files     *certificate.Files              // nil: none
	authority *certificate.Authority          // nil: none
	http      net.Listener                    // at which the authority may ask; nil: none
}

// open reads what there is. Nothing is asked of an authority before run.
func (f *flags) open(log *slog.Logger) (*certificates, error) {
	c := &certificates{flags: *f}
	if f.https == "" {
		return c, nil
	}
	var err error
	if f.cert != "" {
		c.files, err = certificate.OpenFiles(f.cert, f.certKey)
		return c, err
	}
	own, err := f.ownCertificate()
	if err != nil {
		return nil, err
	}
	c.own.Store(&own)
	if f.domain == "" {
		return c, nil
	}
	o := f.acme
	o.Domain, o.Listen = f.domain, f.https
	if c.http, err = certificate.ListenHTTP(f.https); err != nil {
		log.Info("port 80 is not to be had: the authority can ask on port 443 only", "err", err)
	}
	o.HTTP = c.http
	if c.authority, err = certificate.NewAuthority(filepath.Join(f.state, certificate.Dir), o, log); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// close gives port 80 back.
func (c *certificates) close() {
	if c.http != nil {
		_ = c.http.Close()
	}
}

// config is what the relay serves with.
func (c *certificates) config() *tls.Config {
	conf := &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12}
	if c.authority != nil {
		conf.NextProtos = []string{certificate.Proto}
	}
	return conf
}

func (c *certificates) get(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.files != nil {
		return c.files.Current(), nil
	}
	if c.authority != nil {
		if cert, err := c.authority.Get(h); err != nil || cert != nil {
			return cert, err
		}
	}
	return c.own.Load(), nil
}

// run looks after the certificates until ctx ends, and reads them again whenever it is asked to (SIGHUP), and the settings with them.
func (c *certificates) run(ctx context.Context, log *slog.Logger, settings func() error) {
	if c.authority != nil {
		defer c.authority.Start(ctx)()
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGHUP)
	defer signal.Stop(asked)
	every := time.NewTicker(certLook)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			if c.files != nil {
				c.files.Look(log)
			}
		case <-asked:
			notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic()))
			if err := c.reload(); err != nil {
				log.Error("the certificate stays as it was", "err", err)
			} else {
				log.Info("reloaded the certificate")
			}
			if err := settings(); err != nil {
				log.Error("the settings stay as they were", "err", err)
			}
			notify("READY=1")
		}
	}
}

// reload reads the files. One that cannot be read leaves the present one.
func (c *certificates) reload() error {
	switch {
	case c.files != nil:
		return c.files.Read()
	case c.own.Load() == nil:
		return nil
	}
	own, err := c.flags.ownCertificate()
	if err != nil {
		return err
	}
	c.own.Store(&own)
	return nil
}

// monotonic is what sd_notify(3) wants with RELOADING=1, in microseconds.
func monotonic() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return t.Nano() / 1000
}

// checkCertificate reports flags that do not go together.
func (f *flags) checkCertificate() error {
	switch {
	case (f.cert == "") != (f.certKey == ""):
		return errors.New(textHalfTLS)
	case f.domain == "":
		return nil
	case f.cert != "":
		return errors.New(textTwoTLS)
	case f.https == "":
		return errors.New(textDomainAlone)
	case !publicName(f.domain):
		return fmt.Errorf(textBadDomain, f.domain)
	}
	return f.acme.Check()
}

// publicName reports whether a public authority could give a certificate for the name.
func publicName(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil || len(name) > 253 || !strings.Contains(name, ".") {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		letter := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' }
		if label == "" || len(label) > 63 || strings.Trim(label, "-") != label || strings.ContainsFunc(label, func(r rune) bool { return !letter(r) }) {
			return false
		}
	}
	return true
}
