package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

func (p *program) dns() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dns", Short: textShortDNS, Long: textLongDNS,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, sub := range []*cobra.Command{p.dnsStatus(), p.dnsQuery()} {
		sub.DisableFlagsInUseLine = true
		cmd.AddCommand(sub)
	}
	return cmd
}

func (p *program) dnsStatus() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: textShortDNSStatus, Long: textLongDNSStatus,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := p.client()
			defer c.Close()
			s, err := c.Status(cmd.Context())
			switch {
			case err != nil:
				return err
			case s.DNS == nil:
				return &failure{exitNotUp, textNoDNS}
			case asJSON:
				return writeJSON(p.out, s.DNS, "  ")
			}
			for _, line := range dnsLines(s.DNS) {
				p.print("%s", line)
			}
			for _, problem := range s.Problems {
				if strings.HasPrefix(problem.Code, "dns-") && problem.Code != ipc.ProblemDNSAdvice {
					p.print("! %s\n  %s", say.Line(problem.Text), say.Line(problem.Fix))
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, textFlagJSON)
	return cmd
}

func (p *program) dnsQuery() *cobra.Command {
	var asJSON bool
	var q ipc.DNSQuery
	cmd := &cobra.Command{
		Use: "query NAME [--type TYPE]", Short: textShortDNSQuery, Long: textLongDNSQuery,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c := p.client()
			defer c.Close()
			q.Name = args[0]
			a, err := c.QueryDNS(cmd.Context(), q)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(p.out, a, "  ")
			}
			for _, r := range a.Records {
				p.print("%s", say.Line(r))
			}
			kind := q.Type
			if kind == "" {
				kind = "A"
			}
			switch {
			case a.Code == "NXDOMAIN":
				return &failure{exitFailed, fmt.Sprintf(textNoName, say.Line(q.Name))}
			case a.Code != "NOERROR" && a.Error != "":
				return &failure{exitFailed, fmt.Sprintf(textNoAnswer, say.Line(a.Error))}
			case a.Code != "NOERROR":
				return &failure{exitFailed, fmt.Sprintf(textNoAnswer, say.Line(a.From+" says "+a.Code))}
			case len(a.Records) == 0:
				return &failure{exitFailed, fmt.Sprintf(textNoRecords, say.Line(q.Name), say.Line(kind))}
			}
			p.note("From %s in %s", say.Line(a.From), say.Latency(a.Took))
			return nil
		},
	}
	cmd.Flags().StringVar(&q.Type, "type", "", textFlagType)
	cmd.Flags().BoolVar(&asJSON, "json", false, textFlagJSON)
	return cmd
}
