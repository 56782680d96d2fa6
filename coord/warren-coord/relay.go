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
	"strings"

	"github.com/google/renameio/v2"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/coord/server"
	relayserver "github.com/warren-mesh/warren/relay/server"
)

// embeddedName is what the embedded relay is called among the network's relays.
const embeddedName = "embedded"

// embedded is the relay inside this process. The nil one does nothing.
type embedded struct {
	relay  *relayserver.Server
	key    key.Relay
	host   string // what machines call it; empty: as the server
	served bool
}

// newEmbedded opens the relay's sockets, if one is asked for.
func newEmbedded(f serveFlags, keyFile string, issuer key.ServerPublic, log *slog.Logger) (*embedded, error) {
	if f.relayUDP == "" {
		return nil, nil //nolint:nilnil // no relay is asked for
	}
	k, err := relayKey(keyFile)
	if err != nil {
		return nil, err
	}
	r, err := relayserver.New(relayserver.Config{UDP: f.relayUDP, Key: k, Issuers: []key.ServerPublic{issuer}, Log: log.With("part", "relay")})
	if err != nil {
		return nil, err
	}
	return &embedded{relay: r, key: k, host: f.relayHost}, nil
}

// relayKey reads the relay's key, and makes it the first time.
func relayKey(path string) (key.Relay, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		k := key.NewRelay()
		return k, renameio.WriteFile(path, []byte(k.Reveal()+"\n"), 0o600, renameio.IgnoreUmask())
	}
	if err != nil {
		return key.Relay{}, err
	}
	k, err := key.ParseRelay(strings.TrimSpace(string(text)))
	if err != nil {
		return k, fmt.Errorf("%s is damaged, remove it and the relay gets another key: %w", path, err)
	}
	return k, nil
}

func (e *embedded) handler() http.Handler {
	if e == nil {
		return nil
	}
	return e.relay.Handler()
}

// register puts the relay among the network's, or takes out the one that is no longer run.
func (e *embedded) register(ctx context.Context, s *server.Server) error {
	if e == nil {
		return s.ForgetRelay(ctx, embeddedName)
	}
	if err := e.relay.Register(s.Registry()); err != nil {
		return err
	}
	u, err := url.Parse(s.URL())
	if err != nil {
		return err
	}
	host := e.host
	if host == "" {
		host = u.Hostname()
	}
	return s.PutRelay(ctx, coord.Relay{
		Name: embeddedName, Key: e.key.Public(), Cert: s.CertHash(),
		UDP: net.JoinHostPort(host, fmt.Sprint(e.relay.UDPAddr().Port())), URL: s.URL() + server.PathRelay,
	})
}

func (e *embedded) serve(ctx context.Context) error {
	if e == nil {
		return nil
	}
	e.served = true
	return e.relay.Serve(ctx)
}

func (e *embedded) close() error {
	if e == nil || e.served {
		return nil
	}
	return e.relay.Close()
}
