// Warrend is Warren's daemon: it keeps this machine on its network.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/warren-mesh/warren/assets/wording"
	"github.com/warren-mesh/warren/daemon/internal/core"
	"github.com/warren-mesh/warren/daemon/internal/dns"
	"github.com/warren-mesh/warren/daemon/internal/engine"
	"github.com/warren-mesh/warren/daemon/internal/firewall"
	"github.com/warren-mesh/warren/daemon/internal/journal"
	"github.com/warren-mesh/warren/daemon/internal/localapi"
	"github.com/warren-mesh/warren/daemon/internal/router"
	"github.com/warren-mesh/warren/daemon/internal/store"
	"github.com/warren-mesh/warren/ipc"
	"github.com/warren-mesh/warren/packaging/manual"
)

var version = "dev" // stamped by make build

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "warrend:", err)
		stop()
		os.Exit(1)
	}
}

type flags struct {
	state, socket, tun string
	debug, hostDNS     bool
	service            bool
}

func command() *cobra.Command {
	var f flags
	root := &cobra.Command{
		Use:   "warrend",
		Short: "Keep this machine on its Warren network",
		Long: "Warrend keeps this machine on its Warren network: the WireGuard interface, the paths to its peers, addresses and\n" +
			"routes. It is started by systemd, once, as root; people talk to it with warren and warren-tray.",
		Args: cobra.NoArgs, Version: version, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), f) },
	}
	p := root.PersistentFlags()
	p.StringVar(&f.state, "state", "/var/lib/warren", "`directory` of keys, logins and the journal")
	p.BoolVar(&f.debug, "debug", false, "log more")
	root.Flags().StringVar(&f.socket, "socket", ipc.DefaultSocket, "Unix `socket` for warren and warren-tray")
	root.Flags().StringVar(&f.tun, "tun", "warren0", "`name` of the network interface")
	root.Flags().BoolVar(&f.hostDNS, "host-dns", true, "tell the host's programs to ask for names here; false where the host's network is not this one")
	const serviceFlag = "service"
	root.Flags().BoolVar(&f.service, serviceFlag, false, "at the end leave what keeps packets from going around an exit node to \"warrend recover --service\", which systemd runs then")
	var unlock, service bool
	recovery := &cobra.Command{
		Use:   "recover",
		Short: "Put back what a daemon that was killed left changed on this host",
		Long: "Recover undoes every change to this host that a killed daemon's journal still lists: interface, addresses, routes,\n" +
			"packet filter, forwarding, DNS. It needs no network, and twice is as once. Systemd runs it before each start and after\n" +
			"each end of the daemon, with --service: unless a person stops the service nothing goes around an exit node until the\n" +
			"next daemon runs: not at a restart, at an upgrade, or after a failure.\n" +
			"A lockdown that a person wants stays: with --unlock it ends, too, and is not wanted any more.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return recoverHost(cmd.Context(), f, unlock, service) },
	}
	recovery.Flags().BoolVar(&service, serviceFlag, false, "leave what keeps packets from going around an exit node to the daemon that systemd starts next")
	recovery.Flags().BoolVar(&unlock, "unlock", false, "end the lockdown, too")
	root.AddCommand(manual.Command(version), wording.Completion(root), recovery, &cobra.Command{
		Use:   "lockdown",
		Short: "Hold what leaves this host, if a person wants lockdown, before the network is there",
		Long: "Lockdown loads what \"warren set --lockdown\" asked for: nothing leaves this host but through its network. It needs no\n" +
			"daemon. Systemd runs it at boot before the network comes up; where no lockdown is wanted it does nothing.\n" +
			"The way out, also without a daemon: warrend recover --unlock",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := firewall.Boot(f.lockdownFile())
			return err
		},
	})
	wording.Use(root)
	return root
}

// lockdownFile says whether a person wants lockdown, to who comes before the state can be opened.
func (f flags) lockdownFile() string { return filepath.Join(f.state, "lockdown") }

func (f flags) log() *slog.Logger {
	level := slog.LevelInfo
	if f.debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// open opens the state and undoes what an earlier daemon left changed. If another one follows, what keeps packets from going
// around an exit node stays for it.
func open(ctx context.Context, f flags, log *slog.Logger, follows bool) (*store.Store, *journal.Journal, journal.Report, error) {
	st, err := store.Open(f.state, log)
	if err != nil {
		return nil, nil, journal.Report{}, err
	}
	j, err := journal.Open(st.Path("journal"), log)
	if err != nil {
		return nil, nil, journal.Report{}, errors.Join(err, st.Close())
	}
	routes := router.Undo()
	if follows {
		routes = router.UndoPassing()
	}
	report, err := j.Recover(ctx, journal.Join(routes, dns.Undo(), firewall.Undo()))
	if report.Undone+report.Left+report.Passed > 0 {
		log.Info("put the host back after a daemon that did not end well", "undone", report.Undone, "left", report.Left, "kept for the next", report.Passed)
	}
	if err != nil {
		log.Error("the host could not be put back wholly", "err", err)
	}
	locked, err := firewall.Boot(f.lockdownFile())
	if err != nil {
		log.Error("the lockdown is not as it should be", "err", err)
	}
	if locked {
		log.Warn("lockdown: nothing leaves this host but through its network", "way out", "warren set --lockdown=false, or warrend recover --unlock")
	}
	return st, j, report, nil
}

func recoverHost(ctx context.Context, f flags, unlock, service bool) error {
	if _, err := os.Stat(f.state); errors.Is(err, os.ErrNotExist) {
		return nil // no daemon ever ran here
	}
	if unlock { // first: whatever else is wrong, this is the way out
		if err := firewall.Unlock(f.lockdownFile()); err != nil {
			return err
		}
	}
	log := f.log()
	st, j, report, err := open(ctx, f, log, service && !unlock && follows(ctx, log))
	if err != nil {
		return err
	}
	if unlock {
		err = forgetLockdown(st)
	}
	left := len(j.Live()) - report.Passed
	if err := errors.Join(err, j.Close(), st.Close()); err != nil {
		return err
	}
	if left > 0 {
		return fmt.Errorf("%d changes to this host could not be undone; the log above says which", left)
	}
	return nil
}

// forgetLockdown has the next daemon want none.
func forgetLockdown(st *store.Store) error {
	state, err := st.Load()
	if err != nil || !state.Lockdown {
		return err
	}
	state.Lockdown = false
	return st.Save(state)
}

func run(ctx context.Context, f flags) error {
	log := f.log()
	st, j, _, err := open(ctx, f, log, true)
	if err != nil {
		return err
	}
	defer func() { _ = errors.Join(j.Close(), st.Close()) }()
	if skipped, err := st.RecordStart(time.Now()); err != nil {
		log.Warn("could not note this start", "err", err)
	} else if skipped {
		log.Warn("the last starts failed one after another: starting without the saved netmap, this time")
	}
	lockdown := firewall.NewLockdown(firewall.LockdownConfig{File: f.lockdownFile(), Interface: f.tun, Mark: core.Mark, Log: log})
	e, err := engine.New(engine.Config{
		Version: version, Store: st, Journal: j, Interface: f.tun, NoHostDNS: !f.hostDNS, Service: f.service, Lockdown: lockdown, Log: log,
	})
	if err != nil {
		return err
	}
	listener, err := ipc.Listen(f.socket)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	go ready(ctx, e)
	go watchdog(ctx, e)
	log.Info("warrend runs", "version", version, "socket", f.socket)
	serveErr := ipc.Serve(ctx, listener, localapi.Backend{Engine: e}, new(localapi.Polkit), log)
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	cancel(serveErr)
	return errors.Join(serveErr, <-ended)
}
