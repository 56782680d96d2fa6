package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay/server"
)

type flags struct {
	state, udp, https, cert, certKey string
	issuers                          []string
	metrics                          string
	debug                            bool
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
	cert, err := f.certificate()
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if f.debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	s, err := server.New(server.Config{
		UDP: f.udp, HTTPS: f.https, Metrics: f.metrics,
		TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		Key: k, Issuers: issuers, Log: log,
	})
	if err != nil {
		return hint(err)
	}
	log.Info("relaying", "version", version, "udp", s.UDPAddr(), "https", s.HTTPSAddr(), "key", k.Public(), "networks", len(issuers))
	notify("READY=1")
	err = s.Serve(ctx)
	notify("STOPPING=1")
	return err
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
	}
	return issuers, nil
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
