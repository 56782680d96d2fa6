package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

// statusFlags are the flags of status.
type statusFlags struct {
	json, watch, peers, active bool
}

func (p *program) status() *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use: "status", Short: textShortStatus, Long: textLongStatus,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := p.client()
			defer c.Close()
			if f.watch {
				return p.watchStatus(cmd.Context(), c, f)
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if f.json {
				return writeJSON(p.out, f.only(s), "  ")
			}
			writeStatus(p.out, f.only(s))
			if s.State != ipc.StateRunning {
				return &failure{exitNotUp, ""}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&f.json, "json", false, textFlagJSON)
	cmd.Flags().BoolVar(&f.watch, "watch", false, textFlagWatch)
	cmd.Flags().BoolVar(&f.peers, "peers", true, textFlagPeers)
	cmd.Flags().BoolVar(&f.active, "active", false, textFlagActive)
	return cmd
}

// only leaves out the peers that were not asked for.
func (f statusFlags) only(s *ipc.Status) *ipc.Status {
	if f.peers && !f.active {
		return s
	}
	c := *s
	c.Peers = slices.DeleteFunc(slices.Clone(s.Peers), func(p ipc.Peer) bool {
		return !f.peers || p.Path.Kind != ipc.PathDirect && p.Path.Kind != ipc.PathRelay
	})
	return &c
}

// writeJSON prints what the daemon says for programs. Characters that would act on a terminal are written as JSON's escapes,
// which mean the same.
func writeJSON(w io.Writer, s any, indent string) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(s); err != nil {
		return err
	}
	var safe strings.Builder
	for _, r := range b.String() {
		switch {
		case r == '\n' || !say.Harmful(r):
			safe.WriteRune(r)
		case r > 0xffff: // UTF-16, as JSON has it (RFC 8259, section 7)
			_, _ = fmt.Fprintf(&safe, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		default:
			_, _ = fmt.Fprintf(&safe, `\u%04x`, r)
		}
	}
	_, err := io.WriteString(w, safe.String())
	return err
}

// writeStatus prints a status for people: what to mend first, then this machine, then the others.
func writeStatus(w io.Writer, s *ipc.Status) {
	var b bytes.Buffer
	for _, p := range s.Problems {
		if p.Level == ipc.ProblemNotice {
			continue
		}
		_, _ = fmt.Fprintf(&b, "%s %s\n", mark(p), say.Line(p.Text))
		if p.Fix != "" {
			_, _ = fmt.Fprintf(&b, "  %s\n", say.Line(p.Fix))
		}
	}
	if b.Len() > 0 {
		b.WriteString("\n")
	}
	for _, line := range append(headLines(s), notices(s)...) {
		b.WriteString(line + "\n")
	}
	if len(s.Peers) > 0 {
		b.WriteString("\n")
		writePeers(&b, s)
	}
	_, _ = w.Write(b.Bytes())
}

// mark stands before a problem.
func mark(p ipc.Problem) string {
	if p.Level == ipc.ProblemUrgent {
		return "!!"
	}
	return "!"
}

// notices are what has time.
func notices(s *ipc.Status) (lines []string) {
	for _, p := range s.Problems {
		if p.Level == ipc.ProblemNotice {
			lines = append(lines, "Note: "+say.Line(p.Text+" "+p.Fix))
		}
	}
	return lines
}

// headLines say how this machine stands.
func headLines(s *ipc.Status) []string {
	lines := []string{stateLine(s)}
	if s.Profile != "" {
		line := "Profile: " + say.Line(s.Profile)
		if s.Self.User != "" {
			line += ", " + say.Line(s.Self.User)
		}
		lines = append(lines, line)
	}
	if len(s.Self.Addrs) > 0 {
		self := "This machine: " + say.Line(s.Self.Name)
		for _, a := range s.Self.Addrs {
			self += "  " + a.String()
		}
		lines = append(lines, self)
	}
	if s.State == ipc.StateRunning || s.State == ipc.StateStarting {
		if lost := coordLost(s); lost != "" {
			lines = append(lines, lost)
		}
		if r := relayLine(s); r != "" {
			lines = append(lines, r)
		}
	}
	return append(lines, routeLines(s)...)
}

// relayLine says which relay carries what cannot go directly.
func relayLine(s *ipc.Status) string {
	for _, r := range s.Relays {
		if !r.Home {
			continue
		}
		line := "Relay: " + say.Line(r.Name)
		switch {
		case !r.Connected && r.Error != "":
			return line + ", not connected (" + say.Line(r.Error) + ")"
		case !r.Connected:
			return line + ", not connected"
		}
		if r.Transport != "" {
			line += " over " + say.Line(r.Transport)
		}
		if r.Latency > 0 {
			line += ", " + say.Latency(r.Latency)
		}
		if r.Error != "" { // why it is not UDP
			line += " (" + say.Line(r.Error) + ")"
		}
		return line
	}
	return ""
}

// writePeers prints the table.
func writePeers(w io.Writer, s *ipc.Status) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, textPeerHeader)
	for i := range s.Peers {
		p := &s.Peers[i]
		addr := "-"
		if len(p.Addrs) > 0 {
			addr = p.Addrs[0].String()
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", orDash(p.Name), addr, orDash(p.OS),
			say.Peer(p, s.Time)+peerNotes(p), say.Bytes(p.RxBytes), say.Bytes(p.TxBytes))
	}
	_ = t.Flush()
}

func orDash(s string) string {
	if s = say.Line(s); s == "" {
		return "-"
	}
	return s
}
