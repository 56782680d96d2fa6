package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

// pingFlags are the flags of ping.
type pingFlags struct {
	count       int
	timeout     time.Duration
	interval    time.Duration
	untilDirect bool
}

func (p *program) ping() *cobra.Command {
	var f pingFlags
	cmd := &cobra.Command{
		Use: "ping NAME", Short: textShortPing, Long: textLongPing,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.peerNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.count < 0 || f.timeout <= 0 || f.timeout > 30*time.Second || f.interval < 0 {
				return usage(cmd, textPingBounds)
			}
			return p.pings(cmd, args[0], f)
		},
	}
	flags := cmd.Flags()
	flags.IntVarP(&f.count, "count", "c", 10, textFlagCount)
	flags.DurationVar(&f.timeout, "timeout", 5*time.Second, textFlagPingTimeout)
	flags.DurationVarP(&f.interval, "interval", "i", time.Second, textFlagInterval)
	flags.BoolVar(&f.untilDirect, "until-direct", true, textFlagUntilDirect)
	return cmd
}

// pings sends them one after another and says how each went.
func (p *program) pings(cmd *cobra.Command, peer string, f pingFlags) error {
	ctx := cmd.Context()
	c := p.client()
	defer c.Close()
	var last *ipc.PingReply
	for n := 1; ; n++ {
		reply, err := c.Ping(ctx, ipc.PingRequest{Peer: peer, Timeout: ipc.Millis(f.timeout)})
		switch {
		case errors.Is(err, &ipc.Error{Code: ipc.CodeTimeout}):
			p.print(textNoPong, say.Line(peer), f.timeout)
		case err != nil:
			return err
		default:
			last = reply
			p.print(textPong, say.Line(reply.Name), reply.Addr, say.Path(reply.Path), say.Latency(reply.Latency))
			if f.untilDirect && reply.Path.Kind == ipc.PathDirect {
				return nil
			}
		}
		if n == f.count {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(f.interval):
		}
	}
	switch {
	case last == nil:
		return &failure{exitPeer, ""}
	case f.untilDirect && cmd.Flags().Changed("until-direct"):
		return &failure{exitPeer, fmt.Sprintf(textNotDirect, say.Line(last.Name))}
	case f.untilDirect:
		p.note(textNotDirect, say.Line(last.Name))
	}
	return nil
}
