package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

func (p *program) switchTo() *cobra.Command {
	var list, asJSON bool
	cmd := &cobra.Command{
		Use: "switch NAME | --list", Short: textShortSwitch, Long: textLongSwitch,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: p.profileNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			c := p.client()
			defer c.Close()
			switch {
			case list && len(args) == 0:
				return p.listProfiles(cmd.Context(), c, asJSON)
			case list || len(args) == 0:
				return usage(cmd, textSwitchWhat)
			}
			reply, err := c.Switch(cmd.Context(), ipc.SwitchRequest{Profile: args[0]})
			if err != nil {
				return err
			}
			return p.switched(cmd.Context(), c, reply, upFlags{timeout: 30 * time.Second})
		},
	}
	cmd.Flags().BoolVarP(&list, "list", "l", false, textFlagList)
	cmd.Flags().BoolVar(&asJSON, "json", false, textFlagJSON)
	return cmd
}

// switched says how the login stands that is used from now on.
func (p *program) switched(ctx context.Context, c *ipc.Client, reply *ipc.UpReply, f upFlags) error {
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	p.print(textSwitched, say.Line(s.Profile), say.Line(s.Server))
	switch reply.State {
	case ipc.StateDown:
		p.print(textSwitchedOff)
		return nil
	case ipc.StateNeedsLogin:
		return &failure{exitNotUp, textNeedsLogin}
	}
	if s, err = p.awaitRunning(ctx, c, f); err != nil {
		return err
	}
	p.print("%s", connected(s))
	return nil
}

// account says whose login it is, and where.
func account(pr ipc.Profile) string {
	if pr.User == "" {
		return pr.Server
	}
	return pr.User + " at " + pr.Server
}

func (p *program) listProfiles(ctx context.Context, c *ipc.Client, asJSON bool) error {
	all, err := c.Profiles(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(p.out, all, "  ")
	}
	if len(all.Profiles) == 0 {
		p.note(textNoProfiles)
		return nil
	}
	t := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, textProfileHeader)
	for _, pr := range all.Profiles {
		mark, state := " ", ""
		if pr.Current {
			mark = "*"
		}
		switch {
		case pr.NeedsLogin:
			state = textProfileLogin
		case pr.Pending:
			state = textProfilePending
		}
		line := strings.Join([]string{mark + " " + orDash(pr.Name), orDash(pr.User), orDash(pr.Network), orDash(pr.Server), pr.ID}, "\t")
		if state != "" {
			line += "\t" + state
		}
		_, _ = fmt.Fprintln(t, line)
	}
	return t.Flush()
}
