package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/server"
)

func dnsCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{Use: "dns", Short: "What the network's machines answer to names"}
	cmd.AddCommand(
		jsonFlag(e, &cobra.Command{
			Use: "show", Short: "Show the DNS settings", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				d, err := e.dns(cmd)
				if err != nil {
					return err
				}
				return e.showDNS(cmd, d)
			},
		}),
		dnsSetCommand(e),
		&cobra.Command{
			Use: "split DOMAIN [NAMESERVER]...", Short: textDNSSplit, Args: cobra.MinimumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				path := "/dns/split/" + url.PathEscape(args[0])
				if len(args) == 1 {
					return e.ask(cmd.Context(), http.MethodDelete, path, nil, nil)
				}
				return e.ask(cmd.Context(), http.MethodPut, path, server.DNSSplitRequest{Nameservers: args[1:]}, nil)
			},
		},
		&cobra.Command{
			Use: "add NAME TYPE VALUE", Short: textDNSAdd, Args: cobra.ExactArgs(3),
			RunE: func(cmd *cobra.Command, args []string) error {
				q := server.DNSRecordsRequest{Add: []coord.DNSRecord{{Name: args[0], Type: args[1], Value: args[2]}}}
				return e.ask(cmd.Context(), http.MethodPost, "/dns/records", q, nil)
			},
		},
		&cobra.Command{
			Use: "remove NAME [TYPE [VALUE]]", Short: textDNSRemove, Args: cobra.RangeArgs(1, 3),
			RunE: func(cmd *cobra.Command, args []string) error { return e.removeRecords(cmd, args) },
		},
	)
	return cmd
}

func (e *env) dns(cmd *cobra.Command) (d server.DNSSettings, err error) {
	return d, e.ask(cmd.Context(), http.MethodGet, "/dns", nil, &d)
}

func (e *env) showDNS(cmd *cobra.Command, d server.DNSSettings) error {
	if e.json {
		return printJSON(cmd.OutOrStdout(), d)
	}
	w := cmd.OutOrStdout()
	_, _ = fmt.Fprintf(w, "names        %t\nsuffix       %s\nnameservers  %s\nsearch       %s\n",
		d.Names, d.Suffix, strings.Join(d.Nameservers, ","), strings.Join(d.Search, ","))
	for _, s := range d.Split {
		_, _ = fmt.Fprintf(w, "split        %s %s\n", s.Domain, strings.Join(s.Nameservers, " "))
	}
	if len(d.Records) == 0 {
		return nil
	}
	_, _ = fmt.Fprintln(w)
	return e.table(cmd, d.Records, "NAME\tTYPE\tVALUE", func(w io.Writer) {
		for _, r := range d.Records {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", r.Name, r.Type, r.Value)
		}
	})
}

func dnsSetCommand(e *env) *cobra.Command {
	var names bool
	var servers, search []string
	cmd := &cobra.Command{
		Use: "set", Short: "Change the DNS settings that are named", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var q server.DNSRequest
			for name, change := range map[string]func(){
				"names": func() { q.Names = &names }, "nameserver": func() { q.Nameservers = &servers }, "search": func() { q.Search = &search },
			} {
				if cmd.Flags().Changed(name) {
					change()
				}
			}
			var d server.DNSSettings
			if err := e.ask(cmd.Context(), http.MethodPatch, "/dns", q, &d); err != nil {
				return err
			}
			return e.showDNS(cmd, d)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&names, "names", true, textFlagNames)
	f.StringSliceVar(&servers, "nameserver", []string{}, textFlagNameserver)
	f.StringSliceVar(&search, "search", []string{}, textFlagSearch)
	cmd.MarkFlagsOneRequired("names", "nameserver", "search")
	return jsonFlag(e, cmd)
}

// removeRecords removes what has the name and, where they are given, the type and the value.
func (e *env) removeRecords(cmd *cobra.Command, args []string) error {
	d, err := e.dns(cmd)
	if err != nil {
		return err
	}
	name := strings.TrimSuffix(strings.ToLower(args[0]), ".")
	var q server.DNSRecordsRequest
	for _, r := range d.Records {
		if r.Name != name && r.Name != name+"."+d.Suffix || len(args) > 1 && !strings.EqualFold(r.Type, args[1]) || len(args) > 2 && r.Value != args[2] {
			continue
		}
		q.Remove = append(q.Remove, r)
	}
	if len(q.Remove) == 0 {
		return fmt.Errorf(textNoRecord, strings.Join(args, " "))
	}
	return e.ask(cmd.Context(), http.MethodPost, "/dns/records", q, nil)
}
