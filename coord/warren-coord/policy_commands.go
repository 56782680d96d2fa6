package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/policy"
)

// policyCommand is about policy files: before they are in force, which needs no server, and those that are.
func policyCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "Policy files: who may talk to whom", Long: textPolicyLong}
	cmd.AddCommand(policyCheckCommand(e), policyCompileCommand(e))
	cmd.AddCommand(e.policyServerCommands()...)
	return cmd
}

// checkReport is what check prints with --json.
type checkReport struct {
	Rules    int             `json:"rules"`
	Tests    int             `json:"tests"`    // what the file's tests expect, counted
	Problems policy.Problems `json:"problems"` // what keeps it from being read, or from being saved in that network
	Failed   policy.Problems `json:"failed"`   // tests that fail
}

func policyCheckCommand(e *env) *cobra.Command {
	var network string
	cmd := jsonFlag(e, &cobra.Command{
		Use: "check FILE", Short: "Check a policy file and run its tests; no server is needed", Long: textPolicyCheckLong, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var described description
			if network != "" {
				var err error
				if described, err = readNetwork(network); err != nil {
					return err
				}
			}
			report := checkReport{Problems: policy.Problems{}, Failed: policy.Problems{}}
			f, err := readPolicy(cmd, args[0])
			switch {
			case errors.As(err, &report.Problems):
			case err != nil:
				return err
			default:
				report.Rules, report.Tests = f.Rules(), f.Tests()
				c := policy.Compile(f, described.network)
				report.Failed = append(report.Failed, c.RunTests()...)
				if id, n := c.Largest(); n > policy.MaxLargest {
					report.Problems = append(report.Problems, policy.TooLarge(described.names[id], n))
				}
			}
			return e.sayCheck(cmd, args[0], &report)
		},
	})
	cmd.Flags().StringVar(&network, "network", "", textFlagPolicyNetwork)
	return cmd
}

func (e *env) sayCheck(cmd *cobra.Command, name string, r *checkReport) error {
	if e.json {
		if err := printJSON(cmd.OutOrStdout(), r); err != nil {
			return err
		}
	} else {
		for _, p := range slices.Concat(r.Problems, r.Failed) {
			_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%s:%s\n", name, p)
		}
	}
	switch {
	case len(r.Problems) > 0:
		return fmt.Errorf(textPolicyWrong, name)
	case len(r.Failed) > 0:
		return fmt.Errorf(textPolicyFails, name, len(r.Failed), r.Tests)
	case e.json:
		return nil
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), textPolicyRight, name, r.Rules, r.Tests)
	return err
}

// readPolicy reads and parses a file; "-" is standard input.
func readPolicy(cmd *cobra.Command, name string) (*policy.File, error) {
	text, err := readPolicyText(cmd, name)
	if err != nil {
		return nil, err
	}
	return policy.Parse(text)
}

func readPolicyText(cmd *cobra.Command, name string) ([]byte, error) {
	in := cmd.InOrStdin()
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	return io.ReadAll(io.LimitReader(in, policy.MaxText+1)) // one more: then it is told that it is too long
}

// compiled is what compile prints with --json: see textPolicyCompileLong.
type compiled struct {
	Machines []compiledMachine `json:"machines"` // ordered by name
}

type compiledMachine struct {
	Name   string        `json:"name"`
	Sees   []seen        `json:"sees"` // ordered by name
	Filter *coord.Filter `json:"filter"`
}

type seen struct {
	Name   string         `json:"name"`
	Routes []netip.Prefix `json:"routes,omitempty"` // those of its routes that a rule between the two is about
}

func policyCompileCommand(e *env) *cobra.Command {
	var network, only string
	cmd := jsonFlag(e, &cobra.Command{
		Use: "compile FILE --network NETWORK.json", Short: "Print what a policy comes to in a described network; no server is needed",
		Long: textPolicyCompileLong, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			described, err := readNetwork(network)
			if err != nil {
				return err
			}
			f, err := readPolicy(cmd, args[0])
			var ps policy.Problems
			switch {
			case errors.As(err, &ps):
				for _, p := range ps {
					_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%s:%s\n", args[0], p)
				}
				return fmt.Errorf(textPolicyWrong, args[0])
			case err != nil:
				return err
			}
			out, err := described.compile(f, only)
			if err != nil {
				return err
			}
			if e.json {
				return printJSON(cmd.OutOrStdout(), out)
			}
			return out.print(cmd.OutOrStdout())
		},
	})
	cmd.Flags().StringVar(&network, "network", "", textFlagPolicyNetwork)
	cmd.Flags().StringVar(&only, "for", "", textFlagPolicyFor)
	_ = cmd.MarkFlagRequired("network")
	return cmd
}

// compile works out what the file comes to, for all machines or only one.
func (d *description) compile(f *policy.File, only string) (compiled, error) {
	c := policy.Compile(f, d.network)
	ids := make([]coord.NodeID, 0, len(d.names))
	for id, name := range d.names {
		if only == "" || name == only {
			ids = append(ids, id)
		}
	}
	if only != "" && len(ids) == 0 {
		return compiled{}, fmt.Errorf(textPolicyNoMachine, only)
	}
	byName := func(a, b coord.NodeID) int { return strings.Compare(d.names[a], d.names[b]) }
	slices.SortFunc(ids, byName)
	out := compiled{Machines: make([]compiledMachine, 0, len(ids))}
	for _, id := range ids {
		m := compiledMachine{Name: d.names[id], Sees: []seen{}, Filter: c.Filter(id)}
		peers := c.Peers(id)
		slices.SortFunc(peers, byName)
		for _, p := range peers {
			routes := slices.Clone(c.Routes(id, p))
			slices.SortFunc(routes, func(a, b netip.Prefix) int {
				return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
			})
			m.Sees = append(m.Sees, seen{Name: d.names[p], Routes: routes})
		}
		out.Machines = append(out.Machines, m)
	}
	return out, nil
}

// print writes it for people.
func (c *compiled) print(w io.Writer) error {
	var b strings.Builder
	for _, m := range c.Machines {
		b.WriteString(m.Name + "\n")
		for _, s := range m.Sees {
			b.WriteString("  " + textPolicySees + " " + s.Name)
			if len(s.Routes) > 0 {
				b.WriteString(" (" + joinAny(s.Routes) + ")")
			}
			b.WriteString("\n")
		}
		for _, r := range m.Filter.In {
			fmt.Fprintf(&b, "  %s %s: %s", textPolicyIn, strings.Join(r.From, ", "), joinAny(r.Allow))
			if len(r.To) > 0 {
				fmt.Fprintf(&b, " (%s)", joinAny(r.To))
			}
			b.WriteString("\n")
		}
		for _, r := range m.Filter.Forward {
			fmt.Fprintf(&b, "  %s %s: %s (%s)\n", textPolicyThrough, strings.Join(r.From, ", "), joinAny(r.Allow), joinAny(r.To))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func joinAny[T fmt.Stringer](vs []T) string {
	ss := make([]string, len(vs))
	for i, v := range vs {
		ss[i] = v.String()
	}
	return strings.Join(ss, ", ")
}
