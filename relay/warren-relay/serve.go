package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay/certificate"
	"github.com/warren-mesh/warren/relay/server"
)

type flags struct {
	state, udp, https, cert, certKey string
	domain                           string
	acme                             certificate.Options
	issuers                          []string
	metrics                          string
	debug                            bool
	drain                            time.Duration
	limits                           server.Limits
	host, name                       string
}

func serve(ctx context.Context, f flags) error {
	issuers, err := f.check()
	if err != nil {
		return err
	}
	k, err := loadKey(f.state)
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if f.debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	certs, err := f.open(log)
	if err != nil {
		return err
	}
	defer certs.close()
	s, err := server.New(server.Config{
		UDP: f.udp, HTTPS: f.https, Metrics: f.metrics, TLS: certs.config(),
		Key: k, Issuers: issuers, Limits: f.limits, Log: log,
	})
	if err != nil {
		return hint(err)
	}
	log.Info("relaying", "version", version, "udp", s.UDPAddr(), "https", s.HTTPSAddr(), "key", k.Public(), "networks", len(issuers))
	notify("READY=1")
	return f.run(ctx, s, certs, log)
}

// run relays until ctx ends, then until the clients have gone to other relays or it is told to stop a second time.
func (f *flags) run(ctx context.Context, s *server.Server, certs *certificates, log *slog.Logger) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	var work sync.WaitGroup
	work.Go(func() { certs.run(serving, log, func() error { return f.reload(s, log) }) })
	work.Go(func() {
		defer stop()
		select {
		case <-ctx.Done():
		case <-serving.Done():
			return
		}
		notify("STOPPING=1")
		again, cancel := signal.NotifyContext(serving, os.Interrupt, syscall.SIGTERM)
		defer cancel()
		s.Drain(again, f.drain)
	})
	err := s.Serve(serving)
	stop()
	work.Wait()
	return err
}

// reload reads the settings again. Limits and issuers take effect at once, and everything else when the relay is started anew.
func (f *flags) reload(s *server.Server, log *slog.Logger) error {
	var now flags
	again := command(func(_ context.Context, read flags) error { now = read; return nil })
	again.SetArgs(os.Args[1:])
	if err := again.Execute(); err != nil {
		return err
	}
	issuers, err := now.check()
	if err != nil {
		return err
	}
	if !slices.Equal(now.issuers, f.issuers) {
		if err := s.SetIssuers(issuers); err != nil {
			return err
		}
		f.issuers = now.issuers
		log.Info("other networks from now on", "networks", len(issuers))
	}
	if now.limits != f.limits {
		s.SetLimits(now.limits)
		f.limits = now.limits
		log.Info("other limits from now on", "client", now.limits.ClientRate, "network", now.limits.NetworkRate, "clients", now.limits.NetworkClients)
	}
	if !reflect.DeepEqual(now, *f) {
		log.Warn("settings other than the limits and issuers have changed: they take effect when the relay is started anew")
	}
	return nil
}

// check reads the flags that can be wrong by themselves.
func (f *flags) check() (issuers []key.ServerPublic, err error) {
	for _, text := range f.issuers {
		k, err := key.ParseServerPublic(text)
		if err != nil {
			return nil, fmt.Errorf("--issuer %s: %w", text, err)
		}
		issuers = append(issuers, k)
	}
	switch {
	case len(issuers) == 0:
		return nil, errors.New(textNoIssuer)
	case f.udp == "" && f.https == "":
		return nil, errors.New(textNoWay)
	case f.limits.NetworkClients < 0:
		return nil, fmt.Errorf(textNegative, "--network-clients", f.limits.NetworkClients)
	case f.drain < 0:
		return nil, fmt.Errorf(textNegative, "--drain", f.drain)
	}
	return issuers, f.checkCertificate()
}

// hint adds what to do to errors that people meet.
func hint(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another program has this address (a second relay?); stop it or choose another with --udp, --https or --metrics", err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: ports below 1024 need the capability CAP_NET_BIND_SERVICE", err)
	}
	return err
}

// notify tells systemd, where it started us with Type=notify (sd_notify(3): one datagram).
func notify(state string) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(state))
}
