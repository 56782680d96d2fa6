// Warren-coord is the coordination server: accounts, login pages, keys, and the netmaps that its machines follow.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/warren-mesh/warren/assets/wording"
	"github.com/warren-mesh/warren/packaging/manual"
)

var (
	version = "dev"
	date    string
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, textProgram+": "+explain(err))
		stop()
		os.Exit(1)
	}
}

// env is what all commands share.
type env struct {
	dir      string
	database string // as --database names it
	json     bool
}

func root() *cobra.Command {
	e := &env{}
	cmd := &cobra.Command{
		Use: textProgram, Short: textShort, Long: textLong, Version: version + dated(date),
		SilenceUsage: true, SilenceErrors: true, Args: cobra.NoArgs,
	}
	cmd.PersistentFlags().StringVar(&e.dir, "state", defaultState(), textFlagState)
	_ = cmd.MarkPersistentFlagDirname("state")
	cmd.AddCommand(initCommand(e), serveCommand(e), userCommand(e), keyCommand(e), machineCommand(e), relayCommand(e),
		inviteCommand(e), invitationCommand(e), dnsCommand(e), settingsCommand(e), tokenCommand(e), auditCommand(e), webhookCommand(e), providerCommand(e), setupCommand(e), statusCommand(e), policyCommand(e), backupCommand(e), restoreCommand(e), migrateStorageCommand(e), wording.Completion(cmd), manual.Command(version))
	for _, c := range append(cmd.Commands(), cmd) {
		if c.HasSubCommands() { // help alone, for a word that is none, would look like success to a script
			c.Args, c.RunE = cobra.NoArgs, func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
	wording.Use(cmd)
	return cmd
}

func dated(date string) string {
	if date == "" {
		return ""
	}
	return " (" + date + ")"
}

// systemState is where a service of the whole host keeps its state.
const systemState = "/var/lib/warren-coord"

// defaultState is the directory that systemd gives a service, or the usual one. Who is not root has one in their home
// (XDG Base Directory Specification), unless there is one of the host's alone.
func defaultState() string {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return systemState
	}
	dir := os.Getenv("XDG_STATE_HOME")
	if home, err := os.UserHomeDir(); !filepath.IsAbs(dir) && err == nil {
		dir = filepath.Join(home, ".local", "state")
	}
	if dir = filepath.Join(dir, "warren-coord"); !filepath.IsAbs(dir) || there(systemState) && !there(dir) {
		return systemState
	}
	return dir
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
