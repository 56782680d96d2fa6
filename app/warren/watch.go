package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

// clearScreen goes to the first line and clears what is below (ECMA-48 CUP, ED).
const clearScreen = "\x1b[H\x1b[2J"

// watchStatus shows every change until it is interrupted: as JSON a line each, on a terminal the whole table, and
// elsewhere a line for each thing that changed.
func (p *program) watchStatus(ctx context.Context, c *ipc.Client, f statusFlags) error {
	var last *ipc.Status
	err := c.Watch(ctx, func(s *ipc.Status) error {
		s = f.only(s)
		var err error
		switch {
		case f.json:
			err = writeJSON(p.out, s, "")
		case p.terminal:
			var b bytes.Buffer
			b.WriteString(clearScreen)
			writeStatus(&b, s)
			_, err = p.out.Write(b.Bytes())
		default:
			for _, line := range changes(last, s) {
				if _, err = fmt.Fprintf(p.out, "%s  %s\n", s.Time.Local().Format("15:04:05"), line); err != nil {
					break
				}
			}
		}
		last = s
		return err
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// changes says what is new since the status before, which is nil at first: a line each.
func changes(old, s *ipc.Status) []string {
	var lines []string
	was := map[int64]ipc.Peer{}
	if old == nil {
		lines = append(lines, headLines(s)...)
	} else {
		before := headLines(withoutLatency(old))
		for _, line := range headLines(withoutLatency(s)) {
			if !slices.Contains(before, line) {
				lines = append(lines, line)
			}
		}
		for _, p := range old.Peers {
			was[p.ID] = p
		}
	}
	for _, p := range s.Problems {
		if old == nil || !slices.Contains(old.Problems, p) {
			lines = append(lines, mark(p)+" "+say.Line(p.Text))
		}
	}
	for i := range s.Peers {
		p := &s.Peers[i]
		before, known := was[p.ID]
		delete(was, p.ID)
		if !known || peerWord(&before) != peerWord(p) || before.Name != p.Name {
			lines = append(lines, say.Line(p.Name)+": "+say.Peer(p, s.Time))
		}
	}
	if old != nil {
		for _, p := range old.Peers {
			if _, gone := was[p.ID]; gone {
				lines = append(lines, fmt.Sprintf(textPeerGone, say.Line(p.Name)))
			}
		}
	}
	return lines
}

// peerWord is how a peer stands, without what changes by itself.
func peerWord(p *ipc.Peer) string {
	if path := say.Path(p.Path); path != "" {
		return path
	}
	if p.Online {
		return "idle"
	}
	return "offline"
}

// withoutLatency leaves out of the head what changes with every measurement.
func withoutLatency(s *ipc.Status) *ipc.Status {
	c := *s
	c.Relays = slices.Clone(s.Relays)
	for i := range c.Relays {
		c.Relays[i].Latency = 0
	}
	return &c
}
