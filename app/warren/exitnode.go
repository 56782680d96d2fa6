package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/warren-mesh/warren/app/internal/nearest"
	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/assets/wording"
	"github.com/warren-mesh/warren/ipc"
)

func (p *program) exitNode() *cobra.Command {
	cmd := &cobra.Command{
		Use: "exit-node", Short: textShortExitNode, Long: textLongExitNode,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, sub := range []*cobra.Command{p.exitList(), p.exitUse(), p.exitOff(), p.exitSuggest(), p.portal()} {
		sub.DisableFlagsInUseLine = true
		cmd.AddCommand(sub)
	}
	return cmd
}

func (p *program) exitList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: textShortExitList, Long: textLongExitList,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := p.client()
			defer c.Close()
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			exits := nearest.Exits(s)
			if asJSON {
				return writeJSON(p.out, struct {
					ExitNodes []ipc.Peer `json:"exitNodes"`
				}{exits}, "  ")
			}
			if len(exits) == 0 {
				return &failure{exitFailed, textNoExits}
			}
			t := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
			_, _ = fmt.Fprintln(t, textExitHeader)
			for i := range exits {
				e, mark := &exits[i], " "
				if e.Exit {
					mark = "*"
				}
				_, _ = fmt.Fprintf(t, "%s %s\t%s\t%s\n", mark, orDash(e.Name), firstAddr(e), say.Peer(e, s.Time))
			}
			return t.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, textFlagJSON)
	return cmd
}

func firstAddr(p *ipc.Peer) string {
	if len(p.Addrs) == 0 {
		return "-"
	}
	return p.Addrs[0].String()
}

func (p *program) exitUse() *cobra.Command {
	var lan bool
	cmd := &cobra.Command{
		Use: "use NAME[,NAME2...]", Short: textShortExitUse, Long: textLongExitUse,
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: p.exitNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			names := list(strings.Join(args, ","))
			if len(names) == 0 {
				return usage(cmd, textExitWhich)
			}
			e := ipc.PrefsEdit{ExitNodes: &names}
			if cmd.Flags().Changed("allow-lan") {
				e.ExitNodeAllowLAN = &lan
			}
			return p.chooseExit(cmd.Context(), e)
		},
	}
	cmd.Flags().BoolVar(&lan, "allow-lan", false, textFlagAllowLAN)
	return cmd
}

func (p *program) exitOff() *cobra.Command {
	return &cobra.Command{
		Use: "off", Short: textShortExitOff, Long: textLongExitOff,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.chooseExit(cmd.Context(), ipc.PrefsEdit{ExitNodes: &[]string{}})
		},
	}
}

// chooseExit makes the edit and says how it stands then.
func (p *program) chooseExit(ctx context.Context, e ipc.PrefsEdit) error {
	c := p.client()
	defer c.Close()
	prefs, err := c.EditPrefs(ctx, e)
	if err != nil {
		return err
	}
	p.print("%s", prefsText(prefs, e))
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	for _, problem := range s.Problems {
		if strings.HasPrefix(problem.Code, "exit-node-") {
			p.print("%s %s", mark(problem), say.Line(problem.Text))
			if problem.Fix != "" {
				p.print("  %s", say.Line(problem.Fix))
			}
		}
	}
	return nil
}

func (p *program) exitSuggest() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "suggest", Short: textShortExitSuggest, Long: textLongExitSuggest,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := p.client()
			defer c.Close()
			best, err := suggest(cmd.Context(), c)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(p.out, best, "  ")
			}
			how := say.Path(best.Path)
			if best.Latency > 0 {
				how += ", " + say.Latency(best.Latency)
			}
			p.print("%s (%s)", say.Line(best.Name), how)
			p.note(textSuggested, say.Line(best.Name))
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, textFlagJSON)
	return cmd
}

// suggest finds the nearest exit node.
func suggest(ctx context.Context, c *ipc.Client) (*ipc.PingReply, error) {
	best, err := nearest.Exit(ctx, c)
	switch {
	case errors.Is(err, nearest.ErrNone):
		return nil, &failure{exitFailed, textNoExits}
	case errors.Is(err, nearest.ErrSilent):
		return nil, &failure{exitPeer, textNoExitAnswers}
	}
	return best, err
}

// exitNames completes the names of exit nodes.
func (p *program) exitNames(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	c := p.client()
	defer c.Close()
	s, err := c.Status(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, e := range nearest.Exits(s) {
		names = append(names, say.Line(e.Name))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// list takes a list apart; empty words are none.
func list(text string) []string {
	words := []string{}
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word != "" {
			words = append(words, word)
		}
	}
	return words
}

// routeFlags are the flags of set and up for exit nodes and subnets.
type routeFlags struct {
	exitNode, advertiseRoutes                                      string
	allowLAN, accept, advertiseExit, snatSubnet, lockdown, shields bool
	relay                                                          bool
	relayRate                                                      wording.Rate
}

// add states the flags; those of the exit node that is used belong to set alone.
func (f *routeFlags) add(cmd *cobra.Command, p *program, set bool) {
	flags := cmd.Flags()
	if set {
		flags.StringVar(&f.exitNode, "exit-node", "", textFlagExitNode)
		_ = cmd.RegisterFlagCompletionFunc("exit-node", p.exitNames)
		flags.BoolVar(&f.allowLAN, "exit-node-allow-lan-access", false, textFlagAllowLAN)
		flags.BoolVar(&f.snatSubnet, "snat-subnet-routes", true, textFlagSNAT)
		flags.BoolVar(&f.lockdown, "lockdown", false, textFlagLockdown)
		flags.BoolVar(&f.shields, "shields-up", false, textFlagShields)
		flags.BoolVar(&f.relay, "relay", false, textFlagRelay)
		flags.Var(&f.relayRate, "relay-rate", textFlagRelayRate)
	}
	flags.BoolVar(&f.accept, "accept-routes", false, textFlagAcceptRoutes)
	_ = flags.SetAnnotation("accept-routes", wording.NotTaken, []string{textAcceptOnly})
	flags.StringVar(&f.advertiseRoutes, "advertise-routes", "", textFlagAdvertiseRoutes)
	flags.BoolVar(&f.advertiseExit, "advertise-exit-node", false, textFlagAdvertiseExit)
}

// edit puts what was named into the edit.
func (f *routeFlags) edit(cmd *cobra.Command, e *ipc.PrefsEdit) error {
	named := func(name string) bool { return cmd.Flags().Lookup(name) != nil && cmd.Flags().Changed(name) }
	if named("exit-node") {
		names := list(f.exitNode)
		e.ExitNodes = &names
	}
	if named("advertise-routes") {
		routes := []netip.Prefix{}
		for _, word := range list(f.advertiseRoutes) {
			r, err := netip.ParsePrefix(word)
			switch {
			case err != nil:
				return usage(cmd, textBadRoute, word)
			case r != r.Masked():
				return usage(cmd, textRouteBits, word, r.Masked())
			}
			routes = append(routes, r)
		}
		e.AdvertiseRoutes = &routes
	}
	if named("relay-rate") {
		rate := int64(f.relayRate)
		e.RelayRate = &rate
	}
	for name, b := range map[string]struct {
		value *bool
		to    **bool
	}{
		"exit-node-allow-lan-access": {&f.allowLAN, &e.ExitNodeAllowLAN}, "accept-routes": {&f.accept, &e.AcceptRoutes},
		"advertise-exit-node": {&f.advertiseExit, &e.AdvertiseExitNode}, "snat-subnet-routes": {&f.snatSubnet, &e.SNATSubnetRoutes},
		"lockdown": {&f.lockdown, &e.Lockdown}, "shields-up": {&f.shields, &e.ShieldsUp}, "relay": {&f.relay, &e.Relay},
	} {
		if named(name) {
			*b.to = b.value
		}
	}
	return nil
}

// exitLine says how packets to the internet leave, and what this machine offers.
func routeLines(s *ipc.Status) (lines []string) {
	if e := s.Exit; e != nil {
		line := "Exit node: " + say.Line(e.Name)
		switch {
		case e.Name == "":
			line = "Exit node: none of " + say.Line(strings.Join(e.Wanted, ", ")) + "; nothing goes to the internet"
		case !e.Up:
			line += " does not answer; nothing goes to the internet"
		}
		if e.AllowLAN {
			line += "; the LAN is reached directly"
		}
		lines = append(lines, line)
	}
	if s.Lockdown {
		lines = append(lines, textLockdown)
	}
	if s.Shields {
		lines = append(lines, textShields)
	}
	if line := droppedLine(s); line != "" {
		lines = append(lines, line)
	}
	if left := s.Portal.Sub(s.Time); left > 0 {
		lines = append(lines, fmt.Sprintf(textPortalOpen, left.Round(time.Second)))
	}
	if len(s.Self.Offers) > 0 {
		lines = append(lines, "Offers: "+say.Line(strings.Join(offered(s.Self.Offers), ", ")))
	}
	if r := s.Self.Relaying; r != nil {
		lines = append(lines, relayingLines(r)...)
	}
	return lines
}

// relayingLines say how this machine relays for others, and what that came to.
func relayingLines(r *ipc.Relaying) []string {
	if !r.Allowed {
		return []string{textRelaysNot}
	}
	line := textRelays
	if r.Rate > 0 {
		line += fmt.Sprintf(textRelaysAt, megabits(r.Rate))
	}
	for i, a := range r.Addrs {
		line += map[bool]string{true: ": ", false: ", "}[i == 0] + a.String()
	}
	if r.Machines == 0 && r.Bytes == 0 {
		return []string{line}
	}
	did := fmt.Sprintf(textRelayed, say.Bytes(r.Bytes), r.Machines)
	if r.Limited > 0 {
		did += fmt.Sprintf(textRelayLimited, r.Limited)
	}
	return []string{line, did}
}

// megabits says a rate.
func megabits(bytes int64) string {
	rate := wording.Rate(bytes)
	return rate.String() + " " + rate.Type()
}

// maxOffered bounds how many of the subnets that this machine offers are listed.
const maxOffered = 8

// offered lists offers, an exit node's two as one: that, and the first of the subnets.
func offered(offers []ipc.Offer) (words []string) {
	exit, approved, more := false, false, 0
	add := func(what string, approved bool) {
		if !approved {
			what += " (waits for an admin's approval)"
		}
		words = append(words, what)
	}
	for _, o := range offers {
		switch what := o.Route.String(); {
		case o.Route.Bits() == 0:
			exit, approved = true, approved || o.Approved
		case len(words) == maxOffered:
			more++
		case o.Cut:
			add(what+" (not reached now)", o.Approved)
		default:
			add(what, o.Approved)
		}
	}
	if more > 0 {
		words = append(words, fmt.Sprintf("and %d more subnets", more))
	}
	if exit {
		add("exit node", approved)
	}
	return words
}

// peerNotes say what a peer leads to.
func peerNotes(p *ipc.Peer) string {
	notes := ""
	switch {
	case p.Exit:
		notes = "; exit node"
	case p.ExitOption:
		notes = "; offers exit node"
	}
	if len(p.Serves) > 0 {
		notes += "; leads to " + prefixes(p.Serves)
	}
	return notes
}

// routesText says what an edit has set of exit nodes and subnets.
func routesText(p ipc.Prefs, e ipc.PrefsEdit) (lines []string) {
	if e.ExitNodes != nil {
		if len(p.ExitNodes) == 0 {
			lines = append(lines, textExitOff)
		} else {
			lines = append(lines, "Exit node: "+say.Line(strings.Join(p.ExitNodes, ", then ")))
		}
	}
	onOff := func(named *bool, on bool, yes, no string) {
		if named == nil {
			return
		}
		if on {
			no = yes
		}
		lines = append(lines, no)
	}
	onOff(e.ExitNodeAllowLAN, p.ExitNodeAllowLAN, "LAN: reached directly while an exit node is used", "LAN: not reached while an exit node is used")
	onOff(e.AcceptRoutes, p.AcceptRoutes, "Subnets behind other machines: used", "Subnets behind other machines: not used")
	if e.AdvertiseRoutes != nil {
		routes := make([]string, len(p.AdvertiseRoutes))
		for i, r := range p.AdvertiseRoutes {
			routes[i] = r.String()
		}
		if len(routes) == 0 {
			routes = []string{"none"}
		}
		lines = append(lines, "Subnets offered: "+strings.Join(routes, ", "))
	}
	onOff(e.AdvertiseExitNode, p.AdvertiseExitNode, "Offered as exit node: yes", "Offered as exit node: no")
	onOff(e.SNATSubnetRoutes, !p.NoSNAT, "Packets to the subnets offered come from this machine", "Packets to the subnets offered keep their source")
	onOff(e.Relay, p.Relay, "Offered as a relay: yes", "Offered as a relay: no")
	if e.RelayRate != nil {
		rate := "Relayed for others: as much as there is"
		if p.RelayRate > 0 {
			rate = "Relayed for others: at most " + megabits(p.RelayRate)
		}
		lines = append(lines, rate)
	}
	onOff(e.Lockdown, p.Lockdown, "Lockdown: on, nothing leaves this host but through the network", "Lockdown: off")
	onOff(e.ShieldsUp, p.ShieldsUp, textShields, "Shields: down, the network's access rules say what comes in")
	return lines
}
