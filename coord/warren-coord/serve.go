package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/warren-mesh/warren/assets/wording"
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

const serveName = "serve"

type serveFlags struct {
	initFlags
	listen, metrics, logFormat      string
	cert, key                       string
	domain, acmeEmail, ca, caRoot   string
	proxies                         []string
	relayUDP, relayHost             string
	noRelay, ownListen, ownRelayUDP bool // own: the flag was given
	ownNetwork, ownIPv4             bool
	proxied, verbose                bool
}

func serveCommand(e *env) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use: serveName, Short: "Run the server", Long: textServeLong,
		Args: cobra.NoArgs, Annotations: map[string]string{wording.ExtraWord: textServeArgs},
		RunE: func(cmd *cobra.Command, _ []string) error {
			fl := cmd.Flags()
			f.proxied, f.ownListen, f.ownRelayUDP = fl.Changed("behind-proxy"), fl.Changed("listen"), fl.Changed("relay-udp")
			f.ownNetwork, f.ownIPv4 = fl.Changed("network"), fl.Changed("ipv4")
			return serve(cmd.Context(), cmd.OutOrStdout(), e, f)
		},
	}
	f.add(cmd)
	e.databaseFlag(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", ":443", textFlagListen)
	fl.StringVar(&f.domain, "domain", "", textFlagDomain)
	fl.StringVar(&f.acmeEmail, "acme-email", "", textFlagEmail)
	fl.StringVar(&f.ca, "acme-ca", "", textFlagCA)
	fl.StringVar(&f.caRoot, "acme-ca-root", "", textFlagCARoot)
	fl.StringVar(&f.cert, "tls-cert", "", textFlagCert)
	fl.StringVar(&f.key, "tls-key", "", textFlagKey)
	fl.StringSliceVar(&f.proxies, "behind-proxy", nil, textFlagProxy)
	fl.Lookup("behind-proxy").NoOptDefVal = "127.0.0.0/8,::1"
	fl.StringVar(&f.metrics, "metrics", "", textFlagMetrics)
	fl.StringVar(&f.relayUDP, "relay-udp", ":3478", textFlagRelay)
	fl.StringVar(&f.relayHost, "relay-host", "", textFlagRelayHost)
	fl.BoolVar(&f.noRelay, "no-relay", false, textFlagNoRelay)
	fl.StringVar(&f.logFormat, "log-format", "text", textFlagLogFormat)
	fl.BoolVar(&f.verbose, "verbose", false, textFlagVerbose)
	cmd.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	cmd.MarkFlagsMutuallyExclusive("tls-cert", "behind-proxy", "domain")
	cmd.MarkFlagsMutuallyExclusive("no-relay", "relay-udp")
	return cmd
}

func (f *serveFlags) logger(w io.Writer) (*slog.Logger, error) {
	o := &slog.HandlerOptions{Level: slog.LevelInfo}
	if f.verbose {
		o.Level = slog.LevelDebug
	}
	switch f.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("--log-format %q is none: give text or json", f.logFormat)
}

// serve runs until ctx ends: the server, and what was asked for beside it.
func serve(ctx context.Context, out io.Writer, e *env, f serveFlags) (err error) {
	log, err := f.logger(os.Stderr)
	if err != nil {
		return err
	}
	database, err := e.postgres()
	if err != nil {
		return err
	}
	o, err := f.options(ctx)
	if err != nil {
		return err
	}
	o.Version, o.Log, o.Database, o.Check = version, log, database, f.keeps
	var l listeners
	defer func() { err = errors.Join(err, l.close()) }()
	l.openHTTP(&f, &o)
	// The socket comes before the set-up: what cannot be served leaves nothing behind.
	fresh, err := newDir(e.dir)
	if err == nil && fresh {
		if err = l.open(&f); err == nil {
			err = server.CheckCertificate(o)
		}
		if err == nil {
			err = setUp(ctx, e.dir, &f, o)
		}
	}
	if err != nil {
		return err
	}
	emb := &embedded{}
	if f.relayUDP != "" {
		o.Relay = emb
	}
	s, err := server.Open(ctx, e.dir, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if !fresh {
		if err := l.open(&f); err != nil {
			return err
		}
	}
	if err := emb.open(f, filepath.Join(e.dir, server.FileRelay), s, log); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, emb.close()) }()
	if err := emb.register(ctx, s); err != nil {
		return err
	}
	if fresh {
		sayFresh(ctx, out, e.dir, s, &f)
	}
	log.Info("serving", "listen", l.main.Addr().String(), "url", s.URL(), "fingerprint", s.Key().Short(), "version", version)
	main := l.main
	l.main = nil
	serving, stop := emb.outlive(ctx, s, log)
	defer stop()
	return together(
		serving,
		func(ctx context.Context) error { return s.Serve(ctx, main) },
		func(ctx context.Context) error { return serveMetrics(ctx, l.metrics, s.Metrics()) },
		func(ctx context.Context) error { return sayReady(ctx, out, s, &f) },
		func(ctx context.Context) error { return reloads(ctx, s, f.cert != "") },
		func(ctx context.Context) error { return emb.follow(ctx, s, log) },
		emb.serve,
	)
}

// newDir reports whether nothing has been set up in the directory.
func newDir(dir string) (bool, error) {
	_, err := server.Identity(dir)
	if errors.Is(err, server.ErrNotInitialized) {
		return true, nil
	}
	return false, err
}

// keeps refuses flags that want of a network what it is not, and cannot become.
func (f *serveFlags) keeps(n coord.Network) error {
	p, err := netip.ParsePrefix(f.ipv4)
	switch {
	case f.ownNetwork && f.network != n.Name:
		return fmt.Errorf(textSetNetwork, n.Name)
	case f.ownIPv4 && (err != nil || p.Masked() != n.IPv4):
		return fmt.Errorf(textSetIPv4, n.IPv4)
	}
	return nil
}

// setUp makes the server's state.
func setUp(ctx context.Context, dir string, f *serveFlags, o server.Options) error {
	i, err := f.initFlags.options(o.Database)
	if err != nil {
		return err
	}
	if i.URL = o.URL; i.URL == "" {
		i.URL, i.Chosen = o.Chosen, true
	}
	if i.URL == "" {
		return errors.New(textProxyURL)
	}
	return server.Init(ctx, dir, i)
}

// reloads has the certificate's files read again at SIGHUP, as services are told to. Where there are none, SIGHUP is
// what it always is: the terminal is closed.
func reloads(ctx context.Context, s *server.Server, files bool) error {
	if !files {
		return nil
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGHUP)
	defer signal.Stop(told)
	for {
		select {
		case <-told:
			s.ReloadCert()
		case <-ctx.Done():
			return nil
		}
	}
}

func serveMetrics(ctx context.Context, ln net.Listener, h http.Handler) error {
	if ln == nil {
		return nil
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
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
