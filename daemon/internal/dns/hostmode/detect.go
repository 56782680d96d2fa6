// Package hostmode decides how this host's names are to be resolved through us. It is pure: facts in, a choice with its
// reason out; and it reads and edits resolv.conf(5) as text.
//
//	Facts (resolv.conf, bus names, nsswitch.conf) ─▶ Detect ─▶ Choice: mode, reason, advice
//	settings of the network ─▶ NewPlan ─▶ Plan: servers, search domains, routing domains
//	text of resolv.conf ─▶ Edit, Strip ─▶ text
//
// What runs on a host says little: what matters is who writes the resolv.conf that programs read. So the file is the
// first witness, and a service counts only if the file, or nsswitch.conf, leads to it.
package hostmode

import (
	"fmt"
	"strings"
)

// Mode is who tells this host's programs to ask us.
type Mode string

// The modes.
const (
	Off            Mode = "off"             // nobody: the host's DNS stays as it is
	Resolved       Mode = "resolved"        // systemd-resolved, for our interface
	NetworkManager Mode = "network-manager" // NetworkManager, for all interfaces
	Resolvconf     Mode = "resolvconf"      // the resolvconf command, Debian's or openresolv
	File           Mode = "resolv.conf"     // a marked block in /etc/resolv.conf
)

// Facts is what was seen of the host.
type Facts struct {
	Conf       string // text of /etc/resolv.conf; empty where there is none
	Missing    bool   // there is none
	Foreign    bool   // it is that of another network: we are in a network namespace of our own, and see the machine's files
	Link       string // where it leads, if it is a symbolic link
	NSSwitch   string // text of /etc/nsswitch.conf
	Bus        bool   // the system bus answers
	Resolved   bool   // systemd-resolved is on the bus
	NM         bool   // NetworkManager is on the bus
	NMMode     string // its DnsManager's Mode: "default", "none", "dnsmasq", "systemd-resolved", "unbound"
	NMWriter   string // its DnsManager's RcManager: "symlink", "file", "resolvconf", "netconfig", "unmanaged"
	Resolvconf string // whose resolvconf command is installed: "debian", "openresolv", "resolvectl", or ""
}

// Choice is what Detect makes of the facts.
type Choice struct {
	Mode   Mode
	Also   bool   // systemd-resolved is to be told too: some programs ask it, others read the file
	Reason string // why, in words
	Advice string // what would be better, and how; or ""
}

const (
	stub    = "127.0.0.53" // systemd-resolved(8)
	stubDir = "/run/systemd/resolve/"
)

// Detect chooses.
func Detect(f Facts) Choice {
	if f.Foreign {
		return Choice{Mode: Off, Reason: "warrend runs in a network namespace of its own, but sees the /etc/resolv.conf of the whole machine, which is not this network's"}
	}
	c := byFile(f)
	if c.Mode != Resolved && c.Mode != Off && f.Resolved && asksResolved(f.NSSwitch) {
		c.Also = true
		c.Reason += "; nsswitch.conf asks systemd-resolved as well, so it is told too"
	}
	return c
}

func byFile(f Facts) Choice {
	conf := Parse(Strip(f.Conf))
	toStub, toUplink := leadsToStub(f, conf), strings.HasPrefix(f.Link, stubDir) && strings.HasSuffix(f.Link, "/resolv.conf")
	switch {
	case toStub && f.Resolved:
		return Choice{Mode: Resolved, Reason: "systemd-resolved runs, and /etc/resolv.conf leads to it"}
	case toUplink && f.Resolved && asksResolved(f.NSSwitch):
		return Choice{
			Mode: Resolved, Reason: "systemd-resolved runs, nsswitch.conf asks it, and it writes /etc/resolv.conf",
			Advice: "Programs that read /etc/resolv.conf themselves ask other servers. To let them ask systemd-resolved: sudo ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf",
		}
	case toUplink && f.Resolved:
		return Choice{
			Mode: Resolved, Reason: "systemd-resolved runs and writes /etc/resolv.conf",
			Advice: "Programs do not ask systemd-resolved itself, and may miss names. To let them: sudo ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf",
		}
	case toStub || toUplink:
		return Choice{
			Mode: Off, Reason: "/etc/resolv.conf leads to systemd-resolved, which does not run: nothing on this host resolves names",
			Advice: "Start it: sudo systemctl enable --now systemd-resolved",
		}
	}
	written := writer(f, conf)
	switch written {
	case "NetworkManager":
		switch {
		case !f.NM:
			return Choice{Mode: File, Reason: "NetworkManager wrote /etc/resolv.conf, but does not run any more"}
		case f.NMMode == "none" || f.NMWriter == "unmanaged":
			return Choice{Mode: File, Reason: "NetworkManager wrote /etc/resolv.conf once, but is configured to leave it alone"}
		case f.NMWriter == "resolvconf" && usable(f.Resolvconf):
			return Choice{Mode: Resolvconf, Reason: "NetworkManager hands nameservers to resolvconf, which writes /etc/resolv.conf"}
		}
		return Choice{Mode: NetworkManager, Reason: "NetworkManager runs and writes /etc/resolv.conf"}
	case "resolvconf":
		if usable(f.Resolvconf) {
			return Choice{Mode: Resolvconf, Reason: "resolvconf (" + f.Resolvconf + ") writes /etc/resolv.conf"}
		}
		return Choice{Mode: File, Reason: "resolvconf wrote /etc/resolv.conf, but is not installed any more"}
	}
	reason := "/etc/resolv.conf is an ordinary file"
	switch {
	case f.Missing:
		reason = "there is no /etc/resolv.conf"
	case written != "":
		reason = "/etc/resolv.conf is written by " + written
	case f.Link != "":
		reason = "/etc/resolv.conf leads to " + f.Link + ", which no service that is known here writes"
	}
	for _, other := range []struct {
		runs bool
		name string
	}{{f.Resolved, "systemd-resolved"}, {f.NM, "NetworkManager"}, {usable(f.Resolvconf), "resolvconf"}} {
		if other.runs {
			reason += "; " + other.name + " is here, but does not write it"
		}
	}
	return Choice{Mode: File, Reason: reason}
}

// usable reports whether a resolvconf command is one: systemd's is another name of resolvectl.
func usable(flavour string) bool { return flavour == "debian" || flavour == "openresolv" }

// leadsToStub reports whether programs that read the file ask systemd-resolved: by its stub's address, and nothing else.
func leadsToStub(f Facts, conf Conf) bool {
	if f.Link == stubDir+"stub-resolv.conf" || f.Link == "/usr/lib/systemd/resolv.conf" || f.Link == "/lib/systemd/resolv.conf" {
		return true
	}
	for _, s := range conf.Servers {
		if s.String() != stub {
			return false
		}
	}
	return len(conf.Servers) > 0
}

// writer names the program that says in the file's first comments, or by the place of the file, that it wrote it.
func writer(f Facts, conf Conf) string {
	head := strings.ToLower(strings.Join(conf.Head, "\n"))
	for _, w := range []struct{ text, name string }{
		{"generated by networkmanager", "NetworkManager"},
		{"generated by resolvconf", "resolvconf"},
		{"resolvconf(8)", "resolvconf"},
		{"generated by dhcpcd", "dhcpcd"},
		{"generated by docker", "Docker"},
		{"generated by wsl", "WSL"},
		{"by wsl", "WSL"},
		{"netconfig", "netconfig"},
		{"connman", "ConnMan"},
		{"generated by dhclient", "dhclient"},
	} {
		if strings.Contains(head, w.text) {
			return w.name
		}
	}
	switch {
	case strings.HasPrefix(f.Link, "/run/NetworkManager/"):
		return "NetworkManager"
	case strings.HasPrefix(f.Link, "/run/resolvconf/") || strings.HasPrefix(f.Link, "/etc/resolvconf/run/"):
		return "resolvconf"
	case strings.HasPrefix(f.Link, "/run/connman/"):
		return "ConnMan"
	}
	return ""
}

// asksResolved reports whether the C library asks systemd-resolved for hosts (nss-resolve(8)).
func asksResolved(nsswitch string) bool {
	for line := range strings.Lines(nsswitch) {
		line, _, _ = strings.Cut(line, "#")
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "hosts:"); ok {
			for _, word := range strings.Fields(rest) {
				switch word {
				case "resolve":
					return true
				case "dns":
					return false
				}
			}
		}
	}
	return false
}

// String says a choice in a line.
func (c Choice) String() string { return fmt.Sprintf("%s: %s", c.Mode, c.Reason) }
