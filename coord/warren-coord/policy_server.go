package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/warren-mesh/warren/coord/server"
)

// The commands on the policy file in force, which need the running server.

func (e *env) policyServerCommands() []*cobra.Command {
	return []*cobra.Command{
		jsonFlag(e, &cobra.Command{
			Use: "get [VERSION]", Short: "Print the policy file in force, or an older version of it", Args: cobra.MaximumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				p, err := e.policy(cmd.Context(), args)
				if err != nil {
					return err
				}
				if e.json {
					return printJSON(cmd.OutOrStdout(), p)
				}
				_, err = io.WriteString(cmd.OutOrStdout(), p.Text)
				return err
			},
		}),
		policySetCommand(e),
		policyPreviewCommand(e),
		jsonFlag(e, &cobra.Command{
			Use: "history", Short: "List the versions of the policy file, the newest first", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				var l server.PolicyVersions
				if err := e.ask(cmd.Context(), http.MethodGet, "/policy/versions", nil, &l); err != nil {
					return err
				}
				return e.table(cmd, l.Versions, "VERSION\tSAVED\tBY\tNOTE", func(w io.Writer) {
					for _, v := range l.Versions {
						_, _ = fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", v.Version, saved(v.Saved), v.By, v.Note)
					}
				})
			},
		}),
		{
			Use: "restore VERSION", Short: "Put an older version of the policy file in force again", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				var p server.Policy
				if err := e.ask(cmd.Context(), http.MethodPost, "/policy/versions/"+url.PathEscape(args[0])+"/restore", nil, &p); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), textPolicySaved, p.Version)
				return err
			},
		},
		policyWhyCommand(e),
	}
}

func saved(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (e *env) policy(ctx context.Context, version []string) (p server.Policy, err error) {
	path := "/policy"
	if len(version) > 0 {
		path += "/versions/" + url.PathEscape(version[0])
	}
	return p, e.ask(ctx, http.MethodGet, path, nil, &p)
}

func policySetCommand(e *env) *cobra.Command {
	var version int64
	cmd := jsonFlag(e, &cobra.Command{
		Use: "set FILE", Short: "Put a policy file in force, if its tests pass", Long: textPolicySetLong, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readPolicyText(cmd, args[0])
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if cmd.Flags().Changed("version") {
				ctx = ifMatch(ctx, strconv.Quote(strconv.FormatInt(version, 10)))
			}
			var p server.Policy
			if err := e.ask(ctx, http.MethodPut, "/policy", server.PolicyText{Text: string(text)}, &p); err != nil {
				return err
			}
			if e.json {
				return printJSON(cmd.OutOrStdout(), p)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), textPolicySaved, p.Version)
			return err
		},
	})
	cmd.Flags().Int64Var(&version, "version", 0, textFlagPolicyVersion)
	return cmd
}

func policyPreviewCommand(e *env) *cobra.Command {
	return jsonFlag(e, &cobra.Command{
		Use: "preview FILE", Short: "Say what a policy file would change for whom in the network; nothing changes", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readPolicyText(cmd, args[0])
			if err != nil {
				return err
			}
			var p server.PolicyPreview
			if err := e.ask(cmd.Context(), http.MethodPost, "/policy/preview", server.PolicyText{Text: string(text)}, &p); err != nil {
				return err
			}
			if !p.OK() {
				return e.sayCheck(cmd, args[0], &checkReport{Rules: p.Rules, Tests: p.Tests, Problems: p.Problems, Failed: p.Failed})
			}
			if e.json {
				return printJSON(cmd.OutOrStdout(), p)
			}
			return printPreview(cmd.OutOrStdout(), &p)
		},
	})
}

func printPreview(w io.Writer, p *server.PolicyPreview) error {
	var b strings.Builder
	fmt.Fprintf(&b, textPolicyChanges, p.Changed)
	for _, m := range p.Changes {
		b.WriteString(m.Machine + "\n")
		for _, part := range []struct {
			what  string
			names []string
		}{{textPolicyGains, m.Gains}, {textPolicyLoses, m.Loses}, {textPolicyOpens, m.Opens}, {textPolicyCloses, m.Closes}, {textPolicyRoutes, m.Routes}} {
			for _, name := range part.names {
				b.WriteString("  " + part.what + " " + name + "\n")
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func policyWhyCommand(e *env) *cobra.Command {
	var proto string
	cmd := jsonFlag(e, &cobra.Command{
		Use: "why FROM TO [PORT]", Short: "Say whether a machine may reach another, or an address, and by which rule", Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"from": {args[0]}, "to": {args[1]}, "proto": {proto}}
			if len(args) > 2 {
				q.Set("port", args[2])
			}
			var a server.Access
			if err := e.ask(cmd.Context(), http.MethodGet, "/policy/explain?"+q.Encode(), nil, &a); err != nil {
				return err
			}
			if e.json {
				return printJSON(cmd.OutOrStdout(), a)
			}
			answer := textPolicyNo
			if a.Allowed {
				answer = textPolicyYes
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), answer, a.From, a.To, a.Service, a.Why)
			if err == nil && a.Text != "" {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "  %s\n", a.Text)
			}
			return err
		},
	})
	cmd.Flags().StringVar(&proto, "proto", "tcp", textFlagPolicyProto)
	return cmd
}
