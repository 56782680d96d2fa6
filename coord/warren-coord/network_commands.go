package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/coord/server"
)

func relayCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{Use: "relay", Short: "Relays of the network"}
	cmd.AddCommand(
		relayAddCommand(e),
		on("remove NAME", "Take a relay out of the network", func(cmd *cobra.Command, name string) error {
			return e.ask(cmd.Context(), http.MethodDelete, "/relays/"+url.PathEscape(name), nil, nil)
		}),
		jsonFlag(e, &cobra.Command{
			Use: "list", Short: "List the relays", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return list(e, cmd, "relays", "ID\tNAME\tUDP\tURL\tKEY", func(l coord.Relay) []string {
					return []string{strconv.Itoa(int(l.ID)), l.Name, l.UDP, l.URL, l.Key.String()}
				})
			},
		}),
	)
	return cmd
}

func relayAddCommand(e *env) *cobra.Command {
	var name string
	var q server.RelayRequest
	var relayKey, cert string
	cmd := &cobra.Command{
		Use: "add", Short: "Add a relay, or change the one of that name", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if q.Key, err = key.ParseRelayPublic(relayKey); err != nil {
				return fmt.Errorf("--key: %w", err)
			}
			q.Cert = strings.ReplaceAll(cert, ":", "")
			return e.ask(cmd.Context(), http.MethodPut, "/relays/"+url.PathEscape(name), q, nil)
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "name of the relay")
	f.StringVar(&q.UDP, "udp", "", "host:port of relaying and STUN over UDP")
	f.StringVar(&q.URL, "url", "", "https://host:port/relay of relaying over WebSocket")
	f.StringVar(&relayKey, "key", "", "the relay's public key, as it prints it")
	f.StringVar(&cert, "cert", "", "SHA-256 of its TLS certificate, where no public authority vouches for it")
	_ = cmd.MarkFlagRequired("name")
	_ = cmd.MarkFlagRequired("key")
	return cmd
}

func settingsCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{Use: "settings", Short: "What holds for the whole network"}
	cmd.AddCommand(
		settingsSetCommand(e),
		jsonFlag(e, &cobra.Command{
			Use: "show", Short: "Show the settings", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				var c server.Settings
				if err := e.ask(cmd.Context(), http.MethodGet, "/settings", nil, &c); err != nil {
					return err
				}
				return e.showSettings(cmd, c)
			},
		}),
	)
	return cmd
}

func (e *env) showSettings(cmd *cobra.Command, c server.Settings) error {
	if e.json {
		return printJSON(cmd.OutOrStdout(), c)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "sign-up        %s\ndomains        %s\napproval       %t\nkey-days       %d\nsecond-factor  %t\n",
		c.SignUp, strings.Join(c.Domains, ","), c.Approval, c.KeyDays, c.SecondFactor)
	return err
}

func settingsSetCommand(e *env) *cobra.Command {
	var c server.Settings
	var signUp string
	cmd := &cobra.Command{
		Use: "set", Short: "Change the settings that are named", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var q server.SettingsRequest
			c.SignUp = server.SignUp(signUp)
			for name, change := range map[string]func(){
				"sign-up": func() { q.SignUp = &c.SignUp }, "domains": func() { q.Domains = &c.Domains }, "approval": func() { q.Approval = &c.Approval },
				"key-days": func() { q.KeyDays = &c.KeyDays }, "second-factor": func() { q.SecondFactor = &c.SecondFactor },
			} {
				if cmd.Flags().Changed(name) {
					change()
				}
			}
			if q == (server.SettingsRequest{}) {
				return errors.New(textNoSetting)
			}
			if err := e.ask(cmd.Context(), http.MethodPatch, "/settings", q, &c); err != nil {
				return err
			}
			if q.Approval != nil && !*q.Approval {
				var st server.Status
				if err := e.ask(cmd.Context(), http.MethodGet, "/status", nil, &st); err == nil && st.Pending > 0 {
					_, _ = fmt.Fprintf(cmd.ErrOrStderr(), textStillWait, st.Pending)
				}
			}
			return e.showSettings(cmd, c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&signUp, "sign-up", "", textFlagSignUp)
	f.StringSliceVar(&c.Domains, "domains", nil, textFlagDomains)
	f.BoolVar(&c.Approval, "approval", false, textFlagSetApproval)
	f.IntVar(&c.KeyDays, "key-days", 0, textFlagKeyDays)
	f.BoolVar(&c.SecondFactor, "second-factor", false, textFlagSecond)
	return jsonFlag(e, cmd)
}
