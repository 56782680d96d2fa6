package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/server"
)

// initFlags are the flags of a new network.
type initFlags struct{ url, network, ipv4 string }

func (f *initFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.url, "url", "", textFlagURL)
	cmd.Flags().StringVar(&f.network, "network", server.DefaultNetwork, textFlagNetwork)
	cmd.Flags().StringVar(&f.ipv4, "ipv4", server.DefaultIPv4.String(), textFlagIPv4)
}

func (f *initFlags) options(database string) (server.InitOptions, error) {
	p, err := netip.ParsePrefix(f.ipv4)
	if err != nil {
		return server.InitOptions{}, fmt.Errorf("--ipv4 %q is no prefix, give one such as %s", f.ipv4, server.DefaultIPv4)
	}
	return server.InitOptions{URL: f.url, Network: f.network, IPv4: p, Database: database}, nil
}

func initCommand(e *env) *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use: "init", Short: "Set up a server: identity, certificate, database", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			database, err := e.postgres()
			if err != nil {
				return err
			}
			o, err := f.options(database)
			if err != nil {
				return err
			}
			if err := server.Init(cmd.Context(), e.dir, o); err != nil {
				return err
			}
			s, err := server.Open(cmd.Context(), e.dir, server.Options{BehindProxy: true, Database: database})
			if err != nil {
				return err
			}
			sayInit(cmd.OutOrStdout(), e, s)
			return s.Close()
		},
	}
	f.add(cmd)
	e.databaseFlag(cmd)
	cmd.Flags().BoolVar(&e.json, "json", false, textFlagJSON)
	return cmd
}

func sayInit(w io.Writer, e *env, s *server.Server) {
	invite := coord.FormatInvite(s.URL(), s.Key())
	if e.json {
		_ = json.NewEncoder(w).Encode(map[string]string{"url": s.URL(), "server": s.Key().String(), "invite": invite})
		return
	}
	_, _ = fmt.Fprintf(w, textInit, s.Network().Name, e.dir, s.URL(), s.Key().Short(), invite)
}

type serveFlags struct {
	initFlags
	listen, cert, key, metrics, relayUDP, relayHost string
	proxy, verbose                                  bool
}

func serveCommand(e *env) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the server", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), cmd.OutOrStdout(), e, f) },
	}
	f.add(cmd)
	e.databaseFlag(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", ":443", textFlagListen)
	fl.StringVar(&f.cert, "tls-cert", "", textFlagCert)
	fl.StringVar(&f.key, "tls-key", "", textFlagKey)
	fl.BoolVar(&f.proxy, "behind-proxy", false, textFlagProxy)
	fl.StringVar(&f.metrics, "metrics", "", textFlagMetrics)
	fl.StringVar(&f.relayUDP, "relay-udp", "", textFlagRelay)
	fl.StringVar(&f.relayHost, "relay-host", "", textFlagRelayHost)
	fl.BoolVar(&f.verbose, "verbose", false, textFlagVerbose)
	cmd.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	cmd.MarkFlagsMutuallyExclusive("tls-cert", "behind-proxy")
	return cmd
}

// serve runs until ctx ends: the server, and what was asked for beside it.
func serve(ctx context.Context, out io.Writer, e *env, f serveFlags) (err error) {
	level := slog.LevelInfo
	if f.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	database, err := e.postgres()
	if err != nil {
		return err
	}
	if err := ensureInit(ctx, out, e, f, database); err != nil {
		return err
	}
	identity, err := server.Identity(e.dir)
	if err != nil {
		return err
	}
	emb, err := newEmbedded(f, filepath.Join(e.dir, server.FileRelay), identity, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, emb.close()) }()
	s, err := server.Open(ctx, e.dir, server.Options{
		URL: f.url, BehindProxy: f.proxy, TLSCert: f.cert, TLSKey: f.key, Version: version, Log: log, Relay: emb.handler(),
		Database: database,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := emb.register(ctx, s); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", f.listen)
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	metrics, err := listenMetrics(f.metrics)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	if err := saySetup(ctx, out, s, f); err != nil {
		return errors.Join(err, ln.Close())
	}
	_, _ = fmt.Fprintf(out, textReady, s.URL())
	log.Info("serving", "listen", ln.Addr().String(), "url", s.URL(), "fingerprint", s.Key().Short(), "version", version)
	return together(ctx,
		func(ctx context.Context) error { return s.Serve(ctx, ln) },
		func(ctx context.Context) error { return serveMetrics(ctx, metrics, s.Metrics()) },
		emb.serve,
	)
}

// saySetup shows the way to the first owner's account while there is none.
func saySetup(ctx context.Context, out io.Writer, s *server.Server, f serveFlags) error {
	link, err := s.SetupLink(ctx)
	if err != nil || link == "" {
		return err
	}
	_, _ = fmt.Fprintf(out, textSetup, link)
	if f.cert == "" && !f.proxy {
		hash := strings.ReplaceAll(fmt.Sprintf("% X", s.CertHash()), " ", ":")
		_, _ = fmt.Fprintf(out, textOwnCert, hash)
	}
	return nil
}

// ensureInit sets the server up where nothing is yet.
func ensureInit(ctx context.Context, out io.Writer, e *env, f serveFlags, database string) error {
	_, err := server.Identity(e.dir)
	if !errors.Is(err, server.ErrNotInitialized) {
		return err
	}
	o, err := f.options(database)
	if err != nil {
		return err
	}
	if o.URL == "" {
		if o.URL, err = ownURL(f.listen); err != nil {
			return err
		}
	}
	if err := server.Init(ctx, e.dir, o); err != nil {
		return err
	}
	s, err := server.Open(ctx, e.dir, server.Options{BehindProxy: true, Database: database})
	if err != nil {
		return err
	}
	sayInit(out, e, s)
	return s.Close()
}

// ownURL is this host's name with the port that the server listens on.
func ownURL(listen string) (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", err
	}
	h, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("--listen %q: %w", listen, err)
	}
	if ip, err := netip.ParseAddr(h); h != "" && (err != nil || !ip.IsUnspecified()) {
		host = h
	}
	return "https://" + net.JoinHostPort(host, port), nil
}

func listenMetrics(addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil //nolint:nilnil // no listener is asked for
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for metrics: %w", err)
	}
	return ln, nil
}

func serveMetrics(ctx context.Context, ln net.Listener, h http.Handler) error {
	if ln == nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", h)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// together runs all until ctx ends or one fails; one that has nothing to do returns nil at once.
func together(ctx context.Context, runs ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(runs))
	var wg sync.WaitGroup
	for i, run := range runs {
		wg.Go(func() {
			if errs[i] = run(ctx); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
