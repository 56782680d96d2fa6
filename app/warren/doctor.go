package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

// finding is one thing that the doctor looked at. The fields are stable, as are the words in Check and Level.
type finding struct {
	Check string `json:"check"`
	Level string `json:"level"` // "ok", "notice" or "problem"
	Text  string `json:"text"`
	Fix   string `json:"fix,omitempty"` // what to do about it
}

const (
	levelOK      = "ok"
	levelNotice  = "notice"
	levelProblem = "problem"
)

// leastMTU is what a tunnel's smallest packets need below: 1280 bytes of IPv6, and 80 of WireGuard, UDP and IPv6 around them.
const leastMTU = 1360

// oldest is the year before which no clock of a host with this program can be.
const oldest = 2026

// unassigned is where a network has its addresses if nobody said otherwise (RFC 6598), and other meshes theirs.
var unassigned = netip.MustParsePrefix("100.64.0.0/10")

func (p *program) doctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "doctor", Short: textShortDoctor, Long: textLongDoctor,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := p.client()
			defer c.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			s, err := c.Status(ctx)
			all := append(examineHost(look("/", time.Now()), s), examineDaemon(s, err)...)
			if asJSON {
				err = writeJSON(p.out, map[string][]finding{"findings": all}, "  ")
			} else {
				err = nil
				p.tell(all)
			}
			for _, f := range all {
				if f.Level == levelProblem && err == nil {
					err = &failure{exitFailed, ""}
				}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, textFlagJSON)
	return cmd
}

// tell prints the findings, each with its remedy.
func (p *program) tell(all []finding) {
	for _, f := range all {
		mark := map[string]string{levelOK: "✓", levelNotice: "-", levelProblem: "!"}[f.Level]
		p.print("%s %s: %s", mark, f.Check, say.Line(f.Text))
		for line := range strings.Lines(f.Fix) {
			p.print("    %s", say.Line(strings.TrimRight(line, "\n")))
		}
	}
}

// judge makes a finding: good if ok, and else of the level, with what to do.
func judge(check string, ok bool, good, level, bad, fix string) finding {
	if ok {
		return finding{Check: check, Level: levelOK, Text: good}
	}
	return finding{check, level, bad, fix}
}

// examineHost says what of the host stands in the way. s is nil where the daemon did not answer.
func examineHost(h host, s *ipc.Status) []finding {
	all := []finding{
		judge("tun", h.tun, textDoctorTUN, levelProblem, textDoctorNoTUN, textFixTUN),
		judge("nftables", h.nft, textDoctorNFT, levelNotice, textDoctorNoNFT, textFixNFT),
		judge("permissions", h.root || h.member, textDoctorMay, levelNotice, textDoctorMayNot, textFixMayNot),
		judge("time", h.clock.now.Year() >= oldest, textDoctorTime, levelProblem, fmt.Sprintf(textDoctorNoTime, h.clock.now.Format(time.DateOnly)), textFixTime),
	}
	if all[3].Level == levelOK && !h.clock.synced {
		all[3] = finding{"time", levelNotice, textDoctorUnsynced, textFixTime}
	}
	all = append(all, examineLinks(h.links, s)...)
	all = append(all, examineFirewalls(h, s))
	if h.marked && s == nil {
		all = append(all, finding{"dns", levelProblem, textDoctorMarked, textFixMarked})
	}
	return all
}

// examineLinks looks at MTUs, and for other VPNs: those in our range, and those that take everything.
func examineLinks(links []link, s *ipc.Status) (all []finding) {
	networks, ours := []netip.Prefix{unassigned}, ""
	if s != nil {
		ours = s.Self.Interface
		if s.Network.IPv4.IsValid() {
			networks = []netip.Prefix{s.Network.IPv4, s.Network.IPv6}
		}
	}
	vpn := false
	for _, l := range links {
		if l.name == ours || ours == "" && strings.HasPrefix(l.name, "warren") {
			continue
		}
		for _, addr := range l.addrs {
			if i := slices.IndexFunc(networks, addr.Overlaps); i >= 0 {
				vpn = true
				all = append(all, finding{"vpn", levelProblem, fmt.Sprintf(textDoctorOverlap, l.name, addr, networks[i]), fixVPN(l.name)})
				break
			}
		}
		if l.all && isTunnel(l.name) {
			vpn = true
			all = append(all, finding{"vpn", levelNotice, fmt.Sprintf(textDoctorTakesAll, l.name), fixVPN(l.name)})
		}
		if l.all && l.mtu > 0 && l.mtu < leastMTU {
			all = append(all, finding{"mtu", levelProblem, fmt.Sprintf(textDoctorMTU, l.name, l.mtu, leastMTU), fmt.Sprintf(textFixMTU, l.name)})
		}
	}
	if !vpn {
		all = append(all, finding{Check: "vpn", Level: levelOK, Text: textDoctorNoVPN})
	}
	return all
}

// tunnels are how the interfaces of other VPNs begin, and how each is switched off.
var tunnels = []struct{ prefix, off string }{
	{"tailscale", "sudo tailscale down"},
	{"wt", "sudo netbird down"},
	{"zt", "sudo systemctl stop zerotier-one"},
	{"nebula", "sudo systemctl stop nebula"},
	{"nordlynx", "nordvpn disconnect"},
	{"proton", ""},
	{"CloudflareWARP", "warp-cli disconnect"},
	{"wg", "sudo wg-quick down " + "%s"},
	{"tun", ""},
	{"ppp", ""},
}

func isTunnel(name string) bool {
	for _, t := range tunnels {
		if strings.HasPrefix(name, t.prefix) {
			return true
		}
	}
	return false
}

// fixVPN names the command that switches an interface's VPN off, if it is a known one.
func fixVPN(name string) string {
	for _, t := range tunnels {
		if strings.HasPrefix(name, t.prefix) && t.off != "" {
			return "Switch one of the two off: " + strings.ReplaceAll(t.off, "%s", name)
		}
	}
	return textFixVPN
}

func examineFirewalls(h host, s *ipc.Status) finding {
	port := ""
	if s != nil && s.Self.Port != 0 {
		port = fmt.Sprint(s.Self.Port)
	}
	let := port != "" && slices.ContainsFunc(h.letIn, func(r portRange) bool { return r.first <= s.Self.Port && s.Self.Port <= r.last })
	switch {
	case let && (h.ufw || h.firewalld):
		return finding{Check: "firewall", Level: levelOK, Text: fmt.Sprintf(textDoctorLetIn, port)}
	case port != "" && h.ufw:
		return finding{"firewall", levelNotice, fmt.Sprintf(textDoctorFirewall, "ufw", port), "Let them in: sudo ufw allow " + port + "/udp"}
	case port != "" && h.firewalld:
		return finding{
			"firewall", levelNotice, fmt.Sprintf(textDoctorFirewall, "firewalld", port),
			"Let them in: sudo firewall-cmd --permanent --add-port=" + port + "/udp && sudo firewall-cmd --reload",
		}
	}
	return finding{Check: "firewall", Level: levelOK, Text: textDoctorNoFirewall}
}

// examineDaemon says what the daemon says, of itself and of the servers.
func examineDaemon(s *ipc.Status, err error) []finding {
	if err != nil {
		f := finding{"daemon", levelProblem, err.Error(), ""}
		var told *ipc.Error
		if errors.As(err, &told) {
			f.Text, f.Fix = told.Message, told.Fix
		}
		return []finding{f}
	}
	all := []finding{judge("daemon", s.Version == version, fmt.Sprintf(textDoctorDaemon, s.Version), levelNotice,
		fmt.Sprintf(textDoctorVersions, s.Version, version), textFixVersions)}
	if s.State != ipc.StateRunning && s.State != ipc.StateStarting {
		return append(append(all, finding{"network", levelNotice, textDoctorNotUp, textFixNotUp}), told(s.Problems)...)
	}
	all = append(all, judge("server", s.Coord.Connected, fmt.Sprintf(textDoctorServer, s.Server), levelProblem,
		fmt.Sprintf(textDoctorNoServer, s.Server, s.Coord.Error), textFixNoServer))
	connected, servers := false, 0
	for _, r := range s.Relays {
		if !r.Machine { // no machine can be relied on
			connected, servers = connected || r.Connected, servers+1
		}
	}
	switch {
	case servers == 0 && s.State == ipc.StateRunning:
		all = append(all, finding{"relay", levelNotice, textDoctorRelayless, textFixRelayless})
	case servers > 0: // else it is not known yet
		all = append(all, judge("relay", connected, textDoctorRelay, levelProblem, textDoctorNoRelay, textFixNoRelay))
	}
	if d := s.DNS; d != nil {
		all = append(all, judge("dns", d.Contested == 0, fmt.Sprintf(textDoctorDNS, d.Mode, d.Reason), levelProblem, textDoctorContested, textFixContested))
		if d.Advice != "" {
			all = append(all, finding{"dns", levelNotice, fmt.Sprintf(textDoctorDNS, d.Mode, d.Reason), d.Advice})
		}
	}
	return append(all, told(s.Problems)...)
}

// told are the daemon's own problems as findings.
func told(problems []ipc.Problem) (all []finding) {
	for _, p := range problems {
		level := levelProblem
		if p.Level == ipc.ProblemNotice {
			level = levelNotice
		}
		all = append(all, finding{p.Code, level, p.Text, p.Fix})
	}
	return all
}
