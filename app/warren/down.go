package main

import (
	"github.com/spf13/cobra"

	"github.com/warren-mesh/warren/assets/wording"
	"github.com/warren-mesh/warren/ipc"
)

func (p *program) down() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: textShortDown, Long: textLongDown,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := p.client()
			defer c.Close()
			if err := c.Down(cmd.Context()); err != nil {
				return err
			}
			p.print(textDisconnected)
			return nil
		},
	}
}

func (p *program) logout() *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: textShortLogout, Long: textLongLogout,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := p.client()
			defer c.Close()
			if err := c.Logout(cmd.Context()); err != nil {
				return err
			}
			p.print(textLoggedOut)
			return nil
		},
	}
}

func (p *program) set() *cobra.Command {
	var (
		hostname, profile string
		port              uint16
		acceptDNS         bool
		routes            routeFlags
	)
	cmd := &cobra.Command{
		Use: "set --FLAG=VALUE ...", Short: textShortSet, Long: textLongSet,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var e ipc.PrefsEdit
			if cmd.Flags().Changed("hostname") {
				e.Hostname = &hostname
			}
			if cmd.Flags().Changed("port") {
				e.Port = &port
			}
			if cmd.Flags().Changed("profile-name") {
				e.Profile = &profile
			}
			if cmd.Flags().Changed("accept-dns") {
				e.AcceptDNS = &acceptDNS
			}
			if err := routes.edit(cmd, &e); err != nil {
				return err
			}
			if e == (ipc.PrefsEdit{}) {
				return usage(cmd, textSetNothing)
			}
			c := p.client()
			defer c.Close()
			prefs, err := c.EditPrefs(cmd.Context(), e)
			if err != nil {
				return err
			}
			p.print("%s", prefsText(prefs, e))
			return nil
		},
	}
	cmd.Flags().StringVar(&hostname, "hostname", "", textFlagHostname)
	cmd.Flags().Uint16Var(&port, "port", 0, textFlagPort)
	cmd.Flags().BoolVar(&acceptDNS, "accept-dns", true, textFlagAcceptDNS)
	cmd.Flags().StringVar(&profile, "profile-name", "", textFlagProfileName)
	routes.add(cmd, p, true)
	cmd.Annotations = map[string]string{wording.ExtraWord: textSetWord}
	return cmd
}
