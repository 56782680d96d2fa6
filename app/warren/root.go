package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/assets/wording"
	"github.com/warren-mesh/warren/ipc"
	"github.com/warren-mesh/warren/packaging/manual"
)

// root puts the verbs together.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use: "warren", Short: textShort, Long: textLong,
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		// From here on an error is not one of the command line.
		PersistentPreRun: func(*cobra.Command, []string) { p.begun = true },
	}
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.err)
	socket := p.env("WARREN_SOCKET")
	if socket == "" {
		socket = ipc.DefaultSocket
	}
	root.PersistentFlags().StringVar(&p.socket, "socket", socket, textFlagSocket)
	root.PersistentFlags().BoolP("help", "h", false, textFlagHelp)
	root.AddGroup(&cobra.Group{ID: groupNetwork, Title: textGroupNetwork}, &cobra.Group{ID: groupSee, Title: textGroupSee})
	cobra.EnableCommandSorting = false // the order below is that in which people need them
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			c.DisableFlagsInUseLine = true
			root.AddCommand(c)
		}
	}
	add(groupNetwork, p.up(), p.down(), p.set(), p.login(), p.logout(), p.switchTo(), p.exitNode())
	add(groupSee, p.status(), p.ping(), p.why(), p.netcheck(), p.doctor(), p.bugreport(), p.ip(), p.dns(), p.version())
	add("", wording.Completion(root), manual.Command(version), &cobra.Command{Use: "exit-codes", Short: textShortExitCodes, Long: exitHelp()})
	wording.Use(root)
	return root
}

const (
	groupNetwork = "network"
	groupSee     = "see"
)

// env reads the environment.
func (p *program) env(name string) string {
	for _, v := range p.environ {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// client has a person asked for a password only where there is one, at a terminal: no script should wait for a dialog.
func (p *program) client() *ipc.Client {
	c := ipc.NewClient(p.socket)
	if p.terminal {
		return c.Asking()
	}
	return c
}

// print writes a line of ours to the output. Text of others goes through package say first.
func (p *program) print(format string, args ...any) {
	_, _ = fmt.Fprintf(p.out, format+"\n", args...)
}

// note writes a line that is not the output.
func (p *program) note(format string, args ...any) {
	_, _ = fmt.Fprintf(p.err, format+"\n", args...)
}

// usage is a mistake in the command line that only the verb can see.
func usage(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...), cmd.CommandPath()}
}

// isTerminal takes any character device but the null device for one.
func isTerminal(f *os.File) bool {
	fi, err := f.Stat()
	if err != nil || fi.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err == nil && !os.SameFile(fi, null)
}

// widthOf is how many columns a terminal has; 0 for what is none.
func widthOf(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// profileNames completes the names of logins.
func (p *program) profileNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c := p.client()
	defer c.Close()
	all, err := c.Profiles(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, pr := range all.Profiles {
		names = append(names, say.Line(pr.Name)+"\t"+say.Line(account(pr)))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// peerNames completes the names of peers.
func (p *program) peerNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c := p.client()
	defer c.Close()
	s, err := c.Status(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for i := range s.Peers {
		names = append(names, say.Line(s.Peers[i].Name))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
