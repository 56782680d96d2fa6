package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/warren-mesh/warren/coord/server"
)

func userCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "Accounts of people"}
	var role string
	add := on("add NAME", "Make an account; the password is asked for, or read from stdin", func(cmd *cobra.Command, login string) error {
		password, err := readPassword(cmd, login)
		if err != nil {
			return err
		}
		return e.ask(cmd.Context(), http.MethodPost, "/users", server.UserRequest{Login: login, Password: password, Role: role}, nil)
	})
	add.Flags().StringVar(&role, "role", "member", textFlagRole)
	cmd.AddCommand(
		add,
		&cobra.Command{
			Use: "role NAME ROLE", Short: "Give an account another role: owner, admin, auditor or member", Args: cobra.ExactArgs(2),
			RunE: func(cmd *cobra.Command, args []string) error {
				if args[0] == "" {
					return errors.New(textNoName)
				}
				return e.ask(cmd.Context(), http.MethodPost, "/users/"+url.PathEscape(args[0])+"/role", server.RoleRequest{Role: args[1]}, nil)
			},
		},
		on("password NAME", "Replace a password, which also signs all browsers out", func(cmd *cobra.Command, login string) error {
			password, err := readPassword(cmd, login)
			if err != nil {
				return err
			}
			return e.ask(cmd.Context(), http.MethodPost, "/users/"+url.PathEscape(login)+"/password", server.PasswordRequest{Password: password}, nil)
		}),
		on("reset-second NAME", "Take an account's second step away, for who has lost phone and recovery codes", func(cmd *cobra.Command, name string) error {
			return e.ask(cmd.Context(), http.MethodPost, "/users/"+url.PathEscape(name)+"/second/reset", nil, nil)
		}),
		on("remove NAME", "Remove an account with its machines and keys", func(cmd *cobra.Command, name string) error {
			return e.ask(cmd.Context(), http.MethodDelete, "/users/"+url.PathEscape(name), nil, nil)
		}),
		jsonFlag(e, &cobra.Command{
			Use: "list", Short: "List the accounts", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return list(e, cmd, "users", "NAME\tROLE\tMACHINES\tCREATED\tSECOND STEP\tLAST SEEN", func(u server.UserInfo) []string {
					return []string{u.Login, u.Role, strconv.Itoa(u.Machines), show(u.Created), strconv.FormatBool(u.Second), show(u.Seen)}
				})
			},
		}),
	)
	return cmd
}

func keyCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Pre-auth keys, which let machines in without a login page"}
	cmd.AddCommand(
		keyCreateCommand(e),
		on("revoke ID", "Make a key useless; machines that it let in stay", func(cmd *cobra.Command, id string) error {
			return e.ask(cmd.Context(), http.MethodDelete, "/keys/"+url.PathEscape(id), nil, nil)
		}),
		jsonFlag(e, &cobra.Command{
			Use: "list", Short: "List the keys", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return list(e, cmd, "keys", "ID\tFOR\tREUSABLE\tEPHEMERAL\tSTATE\tUSES\tEXPIRES", func(k server.KeyInfo) []string {
					return []string{
						strconv.FormatInt(k.ID, 10), owner(k.User, k.Tags), strconv.FormatBool(k.Reusable),
						strconv.FormatBool(k.Ephemeral), k.State,
						strconv.FormatInt(k.Uses, 10), show(k.Expires),
					}
				})
			},
		}),
	)
	return cmd
}

func owner(user string, tags []string) string {
	switch {
	case user != "":
		return user
	case len(tags) > 0:
		return "tag:" + strings.Join(tags, ",tag:")
	}
	return "-"
}

// bare takes tags also as the policy file writes them, "tag:web".
func bare(tags []string) []string {
	out := make([]string, len(tags))
	for i, t := range tags {
		out[i] = strings.TrimPrefix(t, "tag:")
	}
	return out
}

func keyCreateCommand(e *env) *cobra.Command {
	var q server.KeyRequest
	var life time.Duration
	var out string
	cmd := &cobra.Command{
		Use: "create", Short: "Make a key and print it, once", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if life < time.Second {
				return errors.New(textNoLife)
			}
			var file *os.File
			if out != "" { // first: a key that cannot be written would be lost
				if file, err = os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
					return fmt.Errorf("cannot write the key: %w", err)
				}
				defer func() { err = errors.Join(err, file.Close()) }()
			}
			q.ExpirySeconds, q.Tags = int64(life/time.Second), bare(q.Tags)
			var k server.NewKey
			if err := e.ask(cmd.Context(), http.MethodPost, "/keys", q, &k); err != nil {
				if file != nil {
					_ = os.Remove(out)
				}
				return err
			}
			switch {
			case file != nil:
				_, err = fmt.Fprintln(file, k.Key)
				return errors.Join(err, file.Sync())
			case e.json:
				return printJSON(cmd.OutOrStdout(), k)
			}
			if f, ok := cmd.OutOrStdout().(*os.File); ok && isTerminal(f) {
				_, _ = fmt.Fprintln(cmd.ErrOrStderr(), textKeyOnce)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), k.Key)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.User, "user", "", textFlagUser)
	f.BoolVar(&q.Reusable, "reusable", false, textFlagReusable)
	f.BoolVar(&q.Ephemeral, "ephemeral", false, textFlagEphemeral)
	f.BoolVar(&q.Approval, "needs-approval", false, textFlagApproval)
	f.DurationVar(&life, "expires", time.Hour, textFlagExpires)
	f.StringSliceVar(&q.Tags, "tag", nil, textFlagTags)
	f.StringVar(&out, "out", "", textFlagOut)
	return jsonFlag(e, cmd)
}

func machineCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{Use: "machine", Short: "Machines of the network"}
	cmd.AddCommand(
		on("remove NAME", "Remove a machine (by name or number)", func(cmd *cobra.Command, name string) error {
			return e.ask(cmd.Context(), http.MethodDelete, "/machines/"+url.PathEscape(name), nil, nil)
		}),
		&cobra.Command{
			Use: "rename NAME NEW", Short: "Give a machine (by name or number) another name; its addresses stay", Args: cobra.ExactArgs(2),
			RunE: func(cmd *cobra.Command, args []string) error {
				if args[0] == "" {
					return errors.New(textNoName)
				}
				q := server.RenameRequest{Name: args[1]}
				return e.ask(cmd.Context(), http.MethodPost, "/machines/"+url.PathEscape(args[0])+"/name", q, nil)
			},
		},
		on("approve NAME", "Let a machine in that waits for approval (by name or number)", func(cmd *cobra.Command, name string) error {
			return e.ask(cmd.Context(), http.MethodPost, "/machines/"+url.PathEscape(name)+"/approve", nil, nil)
		}),
		on("deny NAME", "Refuse a machine that waits for approval", func(cmd *cobra.Command, name string) error {
			return e.ask(cmd.Context(), http.MethodPost, "/machines/"+url.PathEscape(name)+"/deny", nil, nil)
		}),
		machineExtendCommand(e),
		machineRoutesCommand(e),
		machineRelayCommand(e),
		on("expire NAME", "Make a machine's key expire: its person has to log in again", func(cmd *cobra.Command, name string) error {
			return e.ask(cmd.Context(), http.MethodPost, "/machines/"+url.PathEscape(name)+"/expire", nil, nil)
		}),
		&cobra.Command{
			Use: "tag NAME [TAG]...", Short: "Replace a machine's tags; with some it belongs to nobody, and its key does not expire", Args: cobra.MinimumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				if args[0] == "" {
					return errors.New(textNoName)
				}
				return e.ask(cmd.Context(), http.MethodPost, "/machines/"+url.PathEscape(args[0])+"/tags", server.TagsRequest{Tags: bare(args[1:])}, nil)
			},
		},
		jsonFlag(e, &cobra.Command{
			Use: "list", Short: "List the machines", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return list(e, cmd, "machines", "ID\tNAME\tADDRESSES\tOWNER\tSTATE\tLAST SEEN\tEXPIRES", machineRow)
			},
		}),
	)
	return cmd
}

func machineExtendCommand(e *env) *cobra.Command {
	var q server.ExtendRequest
	cmd := on("extend NAME", "Give a machine's key another life, as if its person had logged in again; no connection breaks", func(cmd *cobra.Command, name string) error {
		return e.ask(cmd.Context(), http.MethodPost, "/machines/"+url.PathEscape(name)+"/extend", q, nil)
	})
	cmd.Flags().BoolVar(&q.Forever, "forever", false, textFlagForever)
	return cmd
}

func machineRoutesCommand(e *env) *cobra.Command {
	var q server.RoutesRequest
	var approve, withdraw []string
	var exit, noExit bool
	cmd := on("routes NAME", textMachineRoutes, func(cmd *cobra.Command, name string) (err error) {
		if q.Approve, err = prefixes(approve, exit); err != nil {
			return err
		}
		if q.Withdraw, err = prefixes(withdraw, noExit); err != nil {
			return err
		}
		path, m := "/machines/"+url.PathEscape(name), server.MachineInfo{}
		if len(q.Approve)+len(q.Withdraw) == 0 {
			err = e.ask(cmd.Context(), http.MethodGet, path, nil, &m)
		} else {
			err = e.ask(cmd.Context(), http.MethodPost, path+"/routes", q, &m)
		}
		if err != nil {
			return err
		}
		return e.showRoutes(cmd, m)
	})
	f := cmd.Flags()
	f.StringSliceVar(&approve, "approve", nil, textFlagApprove)
	f.StringSliceVar(&withdraw, "withdraw", nil, textFlagWithdraw)
	f.BoolVar(&exit, "approve-exit-node", false, textFlagExit)
	f.BoolVar(&noExit, "withdraw-exit-node", false, textFlagNoExit)
	return jsonFlag(e, cmd)
}

func machineRelayCommand(e *env) *cobra.Command {
	var allow, deny bool
	cmd := on("relay NAME", textMachineRelay, func(cmd *cobra.Command, name string) (err error) {
		path, m := "/machines/"+url.PathEscape(name), server.MachineInfo{}
		if allow || deny {
			err = e.ask(cmd.Context(), http.MethodPost, path+"/relaying", server.RelayingRequest{Allow: allow}, &m)
		} else {
			err = e.ask(cmd.Context(), http.MethodGet, path, nil, &m)
		}
		if err != nil {
			return err
		}
		row := relayingRow{Offered: m.OffersRelay, Allowed: m.MayRelay}
		if m.Relaying != nil {
			row.Addrs = m.Relaying.Addrs
		}
		return e.table(cmd, row, "OFFERED\tALLOWED\tAT", func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", yes(row.Offered), yes(row.Allowed), joinAny(row.Addrs))
		})
	})
	cmd.Flags().BoolVar(&allow, "allow", false, textFlagAllow)
	cmd.Flags().BoolVar(&deny, "deny", false, textFlagDeny)
	cmd.MarkFlagsMutuallyExclusive("allow", "deny")
	return jsonFlag(e, cmd)
}

// relayingRow is a machine's relaying.
type relayingRow struct {
	Offered bool             `json:"offered"`
	Allowed bool             `json:"allowed"`
	Addrs   []netip.AddrPort `json:"addrs,omitempty"` // where it relays
}

// prefixes reads routes, and those of an exit node with them.
func prefixes(texts []string, exit bool) (ps []netip.Prefix, err error) {
	if exit {
		texts = append(texts, "0.0.0.0/0", "::/0")
	}
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf(textBadRoute, text)
		}
		ps = append(ps, p)
	}
	return ps, nil
}

// showRoutes prints what a machine offers and what is approved.
func (e *env) showRoutes(cmd *cobra.Command, m server.MachineInfo) error {
	all := slices.Concat(m.OfferedRoutes, m.ApprovedRoutes)
	slices.SortFunc(all, netip.Prefix.Compare)
	all = slices.Compact(all)
	rows := make([]routeRow, len(all))
	for i, p := range all {
		rows[i] = routeRow{Route: p, Offered: slices.Contains(m.OfferedRoutes, p), Approved: slices.Contains(m.ApprovedRoutes, p)}
	}
	return e.table(cmd, rows, "ROUTE\tOFFERED\tAPPROVED", func(w io.Writer) {
		for _, r := range rows {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", r.Route, yes(r.Offered), yes(r.Approved))
		}
	})
}

// routeRow is a route of a machine.
type routeRow struct {
	Route    netip.Prefix `json:"route"`
	Offered  bool         `json:"offered"`
	Approved bool         `json:"approved"`
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

func machineRow(m server.MachineInfo) []string {
	state, seen := "offline", show(m.LastSeen)
	switch {
	case m.Pending:
		state = "waiting"
	case m.Expired:
		state = "expired"
	case m.Online:
		state, seen = "online", "now"
	}
	return []string{strconv.FormatInt(int64(m.ID), 10), m.Name, addrs(m.Addrs), owner(m.User.Login, m.Tags), state, seen, show(m.Expires)}
}

func addrs(all []netip.Addr) string {
	text := make([]string, len(all))
	for i, a := range all {
		text[i] = a.String()
	}
	return strings.Join(text, " ")
}

func inviteCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "invite", Short: "Print the link that machines join with", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var st server.Status
			if err := e.ask(cmd.Context(), http.MethodGet, "/status", nil, &st); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), st.Invite)
			return err
		},
	}
}

func setupCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "setup", Short: "Print the link to the page that makes the first owner; earlier ones are void", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var l server.NewSetup
			if err := e.ask(cmd.Context(), http.MethodPost, "/setup-link", nil, &l); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), l.Link)
			return err
		},
	}
}

func statusCommand(e *env) *cobra.Command {
	return jsonFlag(e, &cobra.Command{
		Use: "status", Short: "What there is at a glance", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var st server.Status
			if err := e.ask(cmd.Context(), http.MethodGet, "/status", nil, &st); err != nil {
				return err
			}
			if e.json {
				return printJSON(cmd.OutOrStdout(), st)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "Network      %s, %s, %s\nServer       %s\nFingerprint  %s\nMachines     %d, %d online\nUsers        %d\nRelays       %d\nRunning      since %s (%s)\n",
				st.Network.Name, st.Network.IPv4, st.Network.IPv6, st.URL, st.Server.Short(), st.Machines, st.Online, st.Users, st.Relays,
				show(st.Started), st.Version)
			return err
		},
	})
}
