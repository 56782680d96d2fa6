package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/warren-mesh/warren/coord/server"
)

func invitationCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{Use: "invitation", Short: "Links that make an account each"}
	var q server.InvitationRequest
	create := jsonFlag(e, &cobra.Command{
		Use: "create", Short: "Make an invitation by an account, and print its link, once", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.Days < 1 { // or it would be as many as where nothing is said
				return errors.New(textNoDays)
			}
			var n server.NewInvitation
			if err := e.ask(cmd.Context(), http.MethodPost, "/invitations", q, &n); err != nil {
				return err
			}
			return e.once(cmd, n, n.Link)
		},
	})
	create.Flags().StringVar(&q.By, "by", "", textFlagBy)
	create.Flags().StringVar(&q.Role, "role", "member", textFlagRole)
	create.Flags().IntVar(&q.Days, "days", 7, textFlagDays)
	_ = create.MarkFlagRequired("by")
	cmd.AddCommand(
		create,
		on("revoke ID", "Take an invitation back", func(cmd *cobra.Command, id string) error {
			return e.ask(cmd.Context(), http.MethodDelete, "/invitations/"+url.PathEscape(id), nil, nil)
		}),
		jsonFlag(e, &cobra.Command{
			Use: "list", Short: "List the invitations", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return list(e, cmd, "invitations", "ID\tROLE\tBY\tEXPIRES", func(i server.InvitationInfo) []string {
					return []string{strconv.FormatInt(i.ID, 10), i.Role, i.By, show(i.Expires)}
				})
			},
		}),
	)
	return cmd
}

// once prints what is shown only now.
func (e *env) once(cmd *cobra.Command, all any, secret string) error {
	if e.json {
		return printJSON(cmd.OutOrStdout(), all)
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), secret)
	return err
}

func tokenCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Tokens, with which programs call the API"}
	var q server.TokenRequest
	create := jsonFlag(e, on("create NAME", "Make a token of an account and print it, once; the name says what it is for", func(cmd *cobra.Command, name string) error {
		if q.Name = name; q.Days < 1 {
			return errors.New(textNoDays)
		}
		var n server.NewToken
		if err := e.ask(cmd.Context(), http.MethodPost, "/tokens", q, &n); err != nil {
			return err
		}
		return e.once(cmd, n, n.Token)
	}))
	create.Flags().StringVar(&q.User, "user", "", textFlagTokenUser)
	create.Flags().StringSliceVar(&q.Scopes, "scope", []string{"read"}, textFlagScopes)
	create.Flags().IntVar(&q.Days, "days", 90, textFlagTokenDays)
	_ = create.MarkFlagRequired("user")
	cmd.AddCommand(
		create,
		on("revoke ID", "Make a token useless", func(cmd *cobra.Command, id string) error {
			return e.ask(cmd.Context(), http.MethodDelete, "/tokens/"+url.PathEscape(id), nil, nil)
		}),
		jsonFlag(e, &cobra.Command{
			Use: "list", Short: "List everybody's tokens", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				tokens, err := all[server.TokenInfo](cmd.Context(), e, "/tokens", "tokens", url.Values{"all": {"true"}}, 0)
				if err != nil {
					return err
				}
				return e.table(cmd, tokens, "ID\tUSER\tNAME\tSCOPES\tEXPIRES\tLAST USED", func(w io.Writer) {
					for _, t := range tokens {
						_, _ = fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.User, t.Name, strings.Join(t.Scopes, ","), show(t.Expires), show(t.Used))
					}
				})
			},
		}),
	)
	return cmd
}

func auditCommand(e *env) *cobra.Command {
	var who, what, subject, since, until, format string
	var most int
	cmd := jsonFlag(e, &cobra.Command{
		Use: "audit", Short: "Show who did what when, the newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			for name, v := range map[string]string{"who": who, "what": what, "subject": subject, "since": since, "until": until} {
				if v != "" {
					q.Set(name, v)
				}
			}
			if format != "" {
				q.Set("format", format)
				answer, err := e.call(cmd.Context(), http.MethodGet, "/audit/export?"+q.Encode(), nil)
				if err != nil {
					return err
				}
				defer func() { _ = answer.Close() }()
				_, err = io.Copy(cmd.OutOrStdout(), answer)
				return err
			}
			lines, err := all[server.AuditLine](cmd.Context(), e, "/audit", "lines", q, most)
			if err != nil {
				return err
			}
			return e.table(cmd, lines, "WHEN\tWHO\tVIA\tDID\tTO\tDETAILS", func(w io.Writer) {
				for _, l := range lines {
					_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", show(l.Time), l.Login, l.Via, l.Action, l.Subject, l.Details)
				}
			})
		},
	})
	f := cmd.Flags()
	f.StringVar(&who, "who", "", textFlagWho)
	f.StringVar(&what, "what", "", textFlagWhat)
	f.StringVar(&subject, "subject", "", textFlagSubject)
	f.StringVar(&since, "since", "", textFlagSince)
	f.StringVar(&until, "until", "", textFlagUntil)
	f.StringVar(&format, "export", "", textFlagExport)
	f.IntVar(&most, "limit", 100, textFlagLimit)
	return cmd
}

func webhookCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{Use: "webhook", Short: "Addresses that what happens is posted to"}
	var q server.WebhookRequest
	add := jsonFlag(e, on("add URL", "Add a webhook and print its secret, once", func(cmd *cobra.Command, address string) error {
		q.URL = address
		var n server.NewWebhook
		if err := e.ask(cmd.Context(), http.MethodPost, "/webhooks", q, &n); err != nil {
			return err
		}
		return e.once(cmd, n, n.Secret)
	}))
	add.Flags().StringSliceVar(&q.Events, "event", nil, textFlagEvents)
	cmd.AddCommand(
		add,
		webhookSetCommand(e),
		on("remove ID", "Remove a webhook", func(cmd *cobra.Command, id string) error {
			return e.ask(cmd.Context(), http.MethodDelete, "/webhooks/"+url.PathEscape(id), nil, nil)
		}),
		on("test ID", "Send a test event now", func(cmd *cobra.Command, id string) error {
			var t server.WebhookTest
			if err := e.ask(cmd.Context(), http.MethodPost, "/webhooks/"+url.PathEscape(id)+"/test", nil, &t); err != nil {
				return err
			}
			if !t.OK {
				return fmt.Errorf(textTestFailed, t.Problem)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), textTestTaken, t.Status)
			return err
		}),
		jsonFlag(e, &cobra.Command{
			Use: "list", Short: "List the webhooks, and how sending to them goes", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return list(e, cmd, "webhooks", "ID\tURL\tEVENTS\tSTATE\tLAST SENT\tDROPPED\tPROBLEM", func(w server.WebhookInfo) []string {
					events := strings.Join(w.Events, ",")
					if events == "" {
						events = "all"
					}
					return []string{strconv.FormatInt(w.ID, 10), w.URL, events, w.State, show(w.Sent), strconv.FormatInt(w.Dropped, 10), w.Problem}
				})
			},
		}),
	)
	return cmd
}

func webhookSetCommand(e *env) *cobra.Command {
	var address string
	var events []string
	cmd := on("set ID", "Change the address or the events of a webhook; its secret stays", func(cmd *cobra.Command, id string) error {
		var q server.WebhookChange
		if cmd.Flags().Changed("url") {
			q.URL = &address
		}
		if cmd.Flags().Changed("event") {
			q.Events = &events
		}
		return e.ask(cmd.Context(), http.MethodPatch, "/webhooks/"+url.PathEscape(id), q, nil)
	})
	cmd.Flags().StringVar(&address, "url", "", textFlagHookURL)
	cmd.Flags().StringSliceVar(&events, "event", nil, textFlagEvents)
	cmd.MarkFlagsOneRequired("url", "event")
	return cmd
}
