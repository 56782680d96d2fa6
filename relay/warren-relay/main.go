// Warren-relay forwards sealed packets between machines that cannot reach each other directly, and answers STUN.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/warren-mesh/warren/assets/wording"
	"github.com/warren-mesh/warren/packaging/manual"
)

var version = "dev" // stamped by make build

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(serve).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "warren-relay:", err)
		return 1
	}
	return 0
}

// command gives the program, with what is to be done to serve.
func command(serve func(context.Context, flags) error) *cobra.Command {
	var f flags
	settled := func(cmd *cobra.Command, _ []string) error {
		for _, name := range strays(cmd.Root(), os.Environ()) {
			_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "warren-relay: the variable %s is no setting, and is ignored ('warren-relay serve --help' lists them)\n", name)
		}
		err := settle(cmd)
		if f.domain = strings.ToLower(strings.TrimSuffix(f.domain, ".")); f.domain != "" {
			f.besides(cmd.Flags())
		}
		return err
	}
	root := &cobra.Command{
		Use: "warren-relay", Short: textShort, Long: textLong, Version: version,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true, PersistentPreRunE: settled,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), f) },
	}
	serving := &cobra.Command{
		Use: "serve", Short: textServe, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), f) },
	}
	showing := &cobra.Command{
		Use: "key", Short: textKey, Long: textKeyLong, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return show(cmd.OutOrStdout(), f) },
	}
	checking := &cobra.Command{
		Use: "check", Short: textCheck, Long: textCheckLong, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return check(cmd.Context(), cmd.OutOrStdout(), f) },
	}
	root.AddCommand(serving, showing, checking, wording.Completion(root), manual.Command(version))
	common := root.PersistentFlags()
	common.String("config", "", textConfig)
	common.StringVar(&f.state, "state", "/var/lib/warren-relay", textState)
	common.StringVar(&f.udp, "udp", ":3478", textUDP)
	common.StringVar(&f.https, "https", ":8443", textHTTPS)
	common.StringVar(&f.cert, "tls-cert", "", textCert)
	common.StringVar(&f.certKey, "tls-key", "", textCertKey)
	common.StringVar(&f.domain, "domain", "", textDomain)
	for _, c := range []*cobra.Command{root, serving, checking} {
		c.Flags().Var((*wording.Rate)(&f.limits.ClientRate), "client-rate", textClientRate)
		c.Flags().Var((*wording.Rate)(&f.limits.NetworkRate), "network-rate", textNetworkRate)
		c.Flags().IntVar(&f.limits.NetworkClients, "network-clients", 0, textNetworkClients)
		c.Flags().StringArrayVar(&f.issuers, "issuer", nil, textIssuer)
		c.Flags().StringVar(&f.acme.Email, "acme-email", "", textEmail)
		c.Flags().StringVar(&f.acme.CA, "acme-ca", "", textCA)
		c.Flags().StringVar(&f.acme.CARoot, "acme-ca-root", "", textCARoot)
		c.Flags().StringVar(&f.metrics, "metrics", "", textMetrics)
		c.Flags().DurationVar(&f.drain, "drain", 20*time.Second, textDrain)
		c.Flags().BoolVar(&f.debug, "debug", false, textDebug)
	}
	showing.Flags().StringVar(&f.host, "host", "HOST", textHost)
	showing.Flags().StringVar(&f.name, "name", "NAME", textName)
	wording.Use(root)
	return root
}
