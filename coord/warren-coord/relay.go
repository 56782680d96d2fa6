package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/coord/server"
	relayserver "github.com/warren-mesh/warren/relay/server"
)

// embeddedName is what the embedded relay is called among the network's relays.
const embeddedName = "embedded"

// drainMost is how long at the end machines may take to move to another relay; systemd lets a service have 30 s.
const drainMost = 20 * time.Second

// embedded is the relay inside this process. The zero one does nothing.
type embedded struct {
	relay  *relayserver.Server // nil: none is asked for
	web    http.Handler
	key    key.Relay // also of the relay that there was, if none is asked for
	host   string    // what machines call it; empty: as the server
	served bool
}

// open opens the relay's sockets, if one is asked for.
func (e *embedded) open(f serveFlags, keyFile string, s *server.Server, log *slog.Logger) (err error) {
	if f.relayUDP == "" {
		e.key, _ = readRelayKey(keyFile)
		return nil
	}
	if e.key, err = relayKey(keyFile); err != nil {
		return err
	}
	e.relay, err = relayserver.New(relayserver.Config{UDP: f.relayUDP, Key: e.key, Issuers: []key.ServerPublic{s.Key()}, Log: log.With("part", "relay")})
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf(textRelayTaken, f.relayUDP)
	case err != nil:
		return fmt.Errorf(textRelayFailed, err)
	}
	e.web, e.host = e.relay.Handler(), f.relayHost
	return nil
}

// ServeHTTP serves the WebSockets. The server is open before the relay is, and serves after it.
func (e *embedded) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.web.ServeHTTP(w, r) }

// relayKey reads the relay's key, and makes it the first time.
func relayKey(path string) (key.Relay, error) {
	k, err := readRelayKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		k = key.NewRelay()
		err = renameio.WriteFile(path, []byte(k.Reveal()+"\n"), 0o600, renameio.IgnoreUmask())
	}
	return k, err
}

func readRelayKey(path string) (key.Relay, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return key.Relay{}, err
	}
	k, err := key.ParseRelay(strings.TrimSpace(string(text)))
	if err != nil {
		return k, fmt.Errorf("%s is damaged, remove it and the relay gets another key: %w", path, err)
	}
	return k, nil
}

// register puts the relay among the network's, or takes out this server's own, which is no longer run.
func (e *embedded) register(ctx context.Context, s *server.Server) error {
	if e.relay == nil {
		return s.ForgetRelay(ctx, embeddedName, e.key.Public())
	}
	return errors.Join(e.relay.Register(s.Registry()), e.announce(ctx, s))
}

// announce tells the machines of the relay, and how they know its WebSockets.
func (e *embedded) announce(ctx context.Context, s *server.Server) error {
	u, err := url.Parse(s.URL())
	if err != nil {
		return err
	}
	host := e.host
	if host == "" {
		host = u.Hostname()
	}
	return s.PutRelay(ctx, coord.Relay{
		Name: embeddedName, Key: e.key.Public(), Cert: s.RelayCert(),
		UDP: net.JoinHostPort(host, fmt.Sprint(e.relay.UDPAddr().Port())), URL: s.URL() + server.PathRelay,
	})
}

// follow tells the machines when the server has another certificate.
func (e *embedded) follow(ctx context.Context, s *server.Server, log *slog.Logger) error {
	for {
		select {
		case <-s.CertChanged():
		case <-ctx.Done():
			return nil
		}
		if e.relay == nil {
			continue
		}
		if err := e.announce(ctx, s); err != nil && ctx.Err() == nil {
			log.Error("machines cannot be told of the relay's new certificate", "err", err)
		}
	}
}

// outlive gives a context that ends once the machines have moved to other relays after ctx has ended, or at a second
// signal: meanwhile the server goes on, too, since it is what tells each machine where the others are now. Where there is
// no other relay it ends with ctx. stop ends it, and waits.
func (e *embedded) outlive(ctx context.Context, s *server.Server, log *slog.Logger) (serving context.Context, stop func()) {
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	var work sync.WaitGroup
	work.Go(func() {
		defer end()
		select {
		case <-ctx.Done():
		case <-serving.Done():
			return
		}
		if e.relay == nil || e.relay.Sessions() == 0 || !s.OtherRelays(embeddedName) {
			return
		}
		log.Info("stopping once the machines have moved to other relays", "machines", e.relay.Sessions(), "at the latest in", drainMost)
		again, cancel := signal.NotifyContext(serving, os.Interrupt, syscall.SIGTERM)
		defer cancel()
		e.relay.Drain(again, drainMost)
	})
	return serving, func() { end(); work.Wait() }
}

func (e *embedded) serve(ctx context.Context) error {
	if e.relay == nil {
		return nil
	}
	e.served = true
	return e.relay.Serve(ctx)
}

func (e *embedded) close() error {
	if e.relay == nil || e.served {
		return nil
	}
	return e.relay.Close()
}
