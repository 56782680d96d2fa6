package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/warren-mesh/warren/coord/server"
)

func providerCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{Use: "provider", Short: textProviderShort}
	cmd.AddCommand(
		providerAddCommand(e),
		providerSetCommand(e),
		on("remove ID", "Remove a provider; accounts stay, and those without another way in need a password", func(cmd *cobra.Command, id string) error {
			return e.ask(cmd.Context(), http.MethodDelete, "/providers/"+url.PathEscape(id), nil, nil)
		}),
		jsonFlag(e, &cobra.Command{
			Use: "list", Short: "List the providers", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return list(e, cmd, "providers", "ID\tNAME\tISSUER\tCLIENT\tSIGN-UP\tDOMAINS\tGROUPS", func(p server.ProviderInfo) []string {
					return []string{
						strconv.FormatInt(p.ID, 10), p.Name, p.Issuer, p.Client, strconv.FormatBool(p.SignUp), strings.Join(p.Domains, ","), strings.Join(p.Groups, ","),
					}
				})
			},
		}),
	)
	return cmd
}

func providerAddCommand(e *env) *cobra.Command {
	var q server.ProviderRequest
	cmd := &cobra.Command{
		Use: "add", Short: textProviderAdd, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if q.Secret, err = readSecret(cmd, fmt.Sprintf(textProviderSecret, q.Name)); err != nil {
				return err
			}
			return e.ask(cmd.Context(), http.MethodPost, "/providers", q, nil)
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.Name, "name", "", textFlagProvName)
	f.StringVar(&q.Issuer, "issuer", "", textFlagIssuer)
	f.StringVar(&q.Client, "client", "", textFlagClient)
	f.BoolVar(&q.SignUp, "sign-up", false, textFlagProvSignUp)
	f.StringSliceVar(&q.Domains, "domains", nil, textFlagProvDomains)
	f.StringSliceVar(&q.Groups, "groups", nil, textFlagProvGroups)
	for _, name := range []string{"name", "issuer", "client"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

func providerSetCommand(e *env) *cobra.Command {
	var name, client string
	var secret, signUp bool
	domains, groups := []string{}, []string{}
	cmd := on("set ID", textProviderSet, func(cmd *cobra.Command, id string) error {
		var q server.ProviderChange
		for flag, change := range map[string]func(){
			"name": func() { q.Name = &name }, "client": func() { q.Client = &client }, "sign-up": func() { q.SignUp = &signUp },
			"domains": func() { q.Domains = &domains }, "groups": func() { q.Groups = &groups },
		} {
			if cmd.Flags().Changed(flag) {
				change()
			}
		}
		if secret {
			text, err := readSecret(cmd, fmt.Sprintf(textProviderSecret, id))
			if err != nil {
				return err
			}
			q.Secret = &text
		}
		return e.ask(cmd.Context(), http.MethodPatch, "/providers/"+url.PathEscape(id), q, nil)
	})
	f := cmd.Flags()
	f.StringVar(&name, "name", "", textFlagProvName)
	f.StringVar(&client, "client", "", textFlagClient)
	f.BoolVar(&secret, "secret", false, textFlagNewSecret)
	f.BoolVar(&signUp, "sign-up", false, textFlagProvSignUp)
	f.StringSliceVar(&domains, "domains", domains, textFlagProvDomains)
	f.StringSliceVar(&groups, "groups", groups, textFlagProvGroups)
	cmd.MarkFlagsOneRequired("name", "client", "secret", "sign-up", "domains", "groups")
	return cmd
}

// readSecret asks for a secret on a terminal, without showing it; elsewhere it is the first line of stdin.
func readSecret(cmd *cobra.Command, prompt string) (string, error) {
	if in, tty := cmd.InOrStdin().(*os.File); tty && isTerminal(in) {
		return hidden(in, cmd.ErrOrStderr(), prompt)
	}
	return firstLine(cmd.InOrStdin())
}

func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 4096)).ReadString('\n')
	if err == io.EOF { //nolint:errorlint // ReadString wraps nothing
		err = nil
	}
	return strings.TrimRight(line, "\r\n"), err
}
