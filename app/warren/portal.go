package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/warren-mesh/warren/ipc"
)

// portalUsual is how long signing in to a network takes a person who has the room number to look up.
const portalUsual = 5 * time.Minute

func (p *program) portal() *cobra.Command {
	var (
		long   time.Duration
		closed bool
	)
	cmd := &cobra.Command{
		Use: "portal [--for DURATION | --close]", Short: textShortPortal, Long: textLongPortal,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case closed && cmd.Flags().Changed("for"), !closed && long <= 0:
				return usage(cmd, textPortalFor)
			case closed:
				long = 0
			}
			c := p.client()
			defer c.Close()
			r, err := c.Portal(cmd.Context(), ipc.PortalRequest{Duration: ipc.Millis(long)})
			switch {
			case err != nil:
				return err
			case r.Until.IsZero():
				p.print("%s", textPortalClosed)
			default:
				p.print(textPortalOpened, long)
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&long, "for", portalUsual, textFlagPortalFor)
	cmd.Flags().BoolVar(&closed, "close", false, textFlagPortalClose)
	return cmd
}
