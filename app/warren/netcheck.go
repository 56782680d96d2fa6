package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

func (p *program) netcheck() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "netcheck", Short: textShortNetcheck, Long: textLongNetcheck,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := p.client()
			defer c.Close()
			if p.terminal && !asJSON {
				p.note("%s", textNetcheckBusy)
			}
			n, err := c.Netcheck(cmd.Context())
			switch {
			case err != nil:
				return err
			case asJSON:
				return writeJSON(p.out, n, "  ")
			}
			p.print("%s", strings.TrimRight(netcheckText(n), "\n"))
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, textFlagJSON)
	return cmd
}

// netcheckText draws the report.
func netcheckText(n *ipc.Netcheck) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Network: %s\n\n", say.Line(n.Kind))
	for _, line := range netPicture(n) {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	b.WriteByte('\n')
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(t, "\tIPv4\tIPv6\n")
	for _, row := range []struct {
		name string
		cell func(ipc.NetcheckFamily) string
	}{
		{"UDP", func(f ipc.NetcheckFamily) string {
			if !f.Local.IsValid() {
				return "no address"
			}
			return string(f.UDP)
		}},
		{"Public address", func(f ipc.NetcheckFamily) string {
			if !f.Public.IsValid() {
				return "-"
			}
			return f.Public.String()
		}},
		{"NAT", func(f ipc.NetcheckFamily) string { return known(f, f.NAT) }},
		{"Mapping", func(f ipc.NetcheckFamily) string { return behavior(f, f.Mapping) }},
		{"Filtering", func(f ipc.NetcheckFamily) string { return behavior(f, f.Filtering) }},
		{"Port preservation", func(f ipc.NetcheckFamily) string { return known(f, f.PortKept) }},
		{"Hairpinning", func(f ipc.NetcheckFamily) string { return known(f, f.Hairpin) }},
		{"Path MTU", func(f ipc.NetcheckFamily) string {
			if f.PathMTU == 0 {
				return known(f, ipc.Unknown)
			}
			return fmt.Sprintf("%d bytes", f.PathMTU)
		}},
	} {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\n", row.name, row.cell(n.IPv4), row.cell(n.IPv6))
	}
	_ = t.Flush()
	b.WriteByte('\n')
	for _, m := range n.Mapping {
		_, _ = fmt.Fprintf(t, "%s\t%s\n", say.Line(m.Protocol), detail(m.Answers, m.Detail))
	}
	_, _ = fmt.Fprintf(t, "Captive portal\t%s\n", detail(n.Portal.Found, n.Portal.Server))
	_ = t.Flush()
	b.WriteByte('\n')
	_, _ = fmt.Fprintf(t, "RELAY\tUDP, IPv4\tUDP, IPv6\tTCP\n")
	for _, r := range n.Relays {
		name := say.Line(r.Name)
		if r.Home {
			name += " (home)"
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", name, latency(r.IPv4), latency(r.IPv6), latency(r.TCP))
	}
	_ = t.Flush()
	for _, a := range n.Advice {
		fmt.Fprintf(&b, "\n! %s\n", say.Paragraph(a))
	}
	return b.String()
}

// known is an answer, if there is an address to ask with at all.
func known(f ipc.NetcheckFamily, k ipc.Known) string {
	if !f.Local.IsValid() || f.UDP != ipc.Yes {
		return "-"
	}
	return say.Line(string(k))
}

func behavior(f ipc.NetcheckFamily, b ipc.Behavior) string {
	return known(f, ipc.Known(strings.ReplaceAll(string(b), "-or-", " or ")))
}

func detail(k ipc.Known, what string) string {
	if what = say.Line(what); what != "" {
		return say.Line(string(k)) + " (" + what + ")"
	}
	return say.Line(string(k))
}

func latency(m ipc.Milliseconds) string {
	if m == 0 {
		return textNoRelayAnswer
	}
	return say.Latency(m)
}

// netPicture draws what stands between this machine and its nearest relay: a row of stations, and what is known of each.
func netPicture(n *ipc.Netcheck) []string {
	f := n.IPv4
	if f.UDP != ipc.Yes {
		f = n.IPv6
	}
	type station struct{ name, about string }
	row := []station{{"this machine", ""}}
	if f.Local.IsValid() {
		row[0].about = f.Local.String()
	}
	switch {
	case n.Portal.Found == ipc.Yes:
		row = append(row, station{"captive portal", say.Line(n.Portal.Server)})
	case n.UDP == ipc.No && slices.ContainsFunc(n.Relays, func(r ipc.NetcheckRelay) bool { return r.TCP > 0 }):
		row = append(row, station{"no UDP", "blocked"})
	case f.NAT == ipc.Yes:
		row = append(row, station{"NAT", f.Public.String()})
	case f.UDP == ipc.Yes && f.Filtering != ipc.NoTranslation && f.Filtering != ipc.BehaviorUnknown && f.Filtering != ipc.AddressOrLess:
		row = append(row, station{"firewall", ""})
	}
	row = append(row, station{"internet", ""})
	if len(n.Relays) > 0 {
		r := n.Relays[0]
		s := station{"relay " + say.Line(r.Name), textNoRelayAnswer}
		for _, l := range []ipc.Milliseconds{r.TCP, r.IPv6, r.IPv4} {
			if l > 0 {
				s.about = say.Latency(l)
			}
		}
		row = append(row, s)
	}
	var top, bottom strings.Builder
	for i, s := range row {
		name, about := utf8.RuneCountInString(s.name), utf8.RuneCountInString(s.about)
		if i == len(row)-1 {
			top.WriteString(s.name)
			bottom.WriteString(s.about)
			break
		}
		width := max(name, about)
		top.WriteString(s.name + " " + strings.Repeat("─", width-name+3) + " ")
		bottom.WriteString(s.about + strings.Repeat(" ", width-about+5))
	}
	return []string{top.String(), strings.TrimRight(bottom.String(), " ")}
}
