package main

import (
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

// versions is what version --json prints.
type versions struct {
	Version string `json:"version"`          // of this program
	Date    string `json:"date,omitempty"`   // of its commit
	Daemon  string `json:"daemon,omitempty"` // of the running warrend
}

func (p *program) version() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "version", Short: textShortVersion, Long: textLongVersion,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := p.client()
			defer c.Close()
			v := versions{Version: version, Date: date}
			s, err := c.Status(cmd.Context())
			if err == nil {
				v.Daemon = s.Version
			}
			if asJSON {
				return json.NewEncoder(p.out).Encode(v)
			}
			p.print("warren  %s", v.Version)
			switch {
			case errors.Is(err, &ipc.Error{Code: ipc.CodeNotRunning}):
				p.print(textDaemonNotRunning)
			case err != nil:
				p.print(textDaemonUnknown)
			default:
				p.print("warrend %s", say.Line(v.Daemon))
				if v.Daemon != v.Version {
					p.note(textVersionsDiffer)
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, textFlagJSON)
	return cmd
}
