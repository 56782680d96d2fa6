package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

func (p *program) why() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "why PEER [PORT]", Short: textShortWhy, Long: textLongWhy,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: p.peerNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			c := p.client()
			defer c.Close()
			r := ipc.WhyRequest{Peer: args[0]}
			if len(args) > 1 {
				r.Service = args[1]
			}
			w, err := c.Why(cmd.Context(), r)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(p.out, w, "  ")
			}
			for _, line := range whyLines(w) {
				p.print("%s", line)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, textFlagJSON)
	return cmd
}

// whyLines say which way, what may come in, and where it is said what may go out.
func whyLines(w *ipc.Why) []string {
	name := say.Line(w.Name)
	lines := append([]string{wayLine(w, name)}, triedLines(w)...)
	lines = append(lines, inLines(w, name)...)
	for _, r := range w.Routes {
		lines = append(lines, fmt.Sprintf(textWhyRoute, prefixes(r.To), say.Line(strings.Join(r.Allow, ", "))))
	}
	if !w.In.Ruled {
		return lines
	}
	service := ""
	if w.Service != "" {
		service = " " + say.Line(w.Service)
	}
	return append(lines, fmt.Sprintf(textWhyOut, name, service))
}

func wayLine(w *ipc.Why, name string) string {
	way := say.Path(w.Path)
	switch {
	case way == "" && w.Online && silent(w):
		return fmt.Sprintf(textWhyWay, name, textWhySilent)
	case way == "" && w.Online:
		return fmt.Sprintf(textWhyWay, name, textWhyIdle)
	case way == "":
		return fmt.Sprintf(textWhyWay, name, textWhyOffline)
	case w.Online && silent(w): // by this way neither
		return fmt.Sprintf(textWhyWay, name, way+"; "+textWhySilent)
	case !w.Online && w.Path.Kind == ipc.PathRelay: // it takes what comes, and it may be that nobody is there
		return fmt.Sprintf(textWhyWay, name, way+"; "+textWhyOffline)
	case w.Path.Latency > 0:
		way += ", " + say.Latency(w.Path.Latency)
	}
	if w.Path.MTU > 0 {
		way += fmt.Sprintf(textWhyMTU, w.Path.MTU)
	}
	if w.Path.Reason != "" {
		way += " (" + say.Line(w.Path.Reason) + ")"
	}
	return fmt.Sprintf(textWhyWay, name, way)
}

// silent reports whether the machine was asked just now, and answered by no way.
func silent(w *ipc.Why) bool {
	return slices.ContainsFunc(w.Advised, func(a ipc.Advice) bool {
		return a.Code == ipc.AdviceNoAnswer || a.Code == ipc.AdviceNeverAnswered
	})
}

// triedLines say what was tried for a direct way, and what could be changed.
func triedLines(w *ipc.Why) (lines []string) {
	for _, t := range w.Tried {
		result := textWhyUntried
		switch {
		case t.Answers:
			result = fmt.Sprintf(textWhyAnswers, say.Latency(t.Latency))
		case t.Tried:
			result = textWhySilent
		}
		lines = append(lines, fmt.Sprintf("  %s  %s", t.Addr, result))
	}
	for _, a := range w.Advice {
		lines = append(lines, "! "+say.Paragraph(a))
	}
	return lines
}

func inLines(w *ipc.Why, name string) []string {
	what := "anything"
	if w.Service != "" {
		what = say.Line(w.Service)
	}
	switch in := &w.In; {
	case in.Shields:
		return []string{textWhyShields}
	case !in.Ruled:
		return []string{textWhyNoRules}
	case in.Allowed:
		lines := []string{fmt.Sprintf(textWhyAllowed, what, name)}
		if w.Service == "" {
			lines = []string{fmt.Sprintf(textWhyAllows, name)}
		}
		for i := range in.Rules {
			lines = append(lines, "  "+ruleText(&in.Rules[i]))
		}
		return lines
	default:
		lines := []string{fmt.Sprintf(textWhyDenied, what, name)}
		if in.Nearest != nil {
			near := textWhyOtherService
			if in.Lacks == ipc.LacksSource {
				near = textWhyOtherSource
			}
			lines = append(lines, "  "+ruleText(in.Nearest), "  "+fmt.Sprintf(near, name))
		}
		return lines
	}
}

// ruleText writes a rule on one line.
func ruleText(r *ipc.AccessRule) string {
	to := "this machine"
	if len(r.To) > 0 {
		to = prefixes(r.To)
	}
	return fmt.Sprintf("%s -> %s: %s", say.Line(strings.Join(r.From, ", ")), to, say.Line(strings.Join(r.Allow, ", ")))
}

// maxPrefixes is how many networks a line names: the internet is more than two hundred.
const maxPrefixes = 6

func prefixes(all []netip.Prefix) string {
	words := make([]string, 0, maxPrefixes+1)
	for i, p := range all {
		if i == maxPrefixes {
			words = append(words, fmt.Sprintf("and %d more", len(all)-i))
			break
		}
		if p.IsSingleIP() {
			words = append(words, p.Addr().String())
			continue
		}
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}

// droppedLine hints at what access rules kept out.
func droppedLine(s *ipc.Status) string {
	var words []string
	for _, d := range []struct{ reason, text string }{
		{ipc.DropNoRule, textDropNoRule},
		{ipc.DropSpoofed, textDropSpoofed},
		{ipc.DropUnasked, textDropUnasked},
		{ipc.DropRevoked, textDropRevoked},
	} {
		if n := s.Dropped[d.reason]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, d.text))
		}
	}
	if len(words) == 0 {
		return ""
	}
	return fmt.Sprintf(textDropped, strings.Join(words, ", "))
}
