package main

import (
	"strconv"
	"strings"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

// prefsText says what an edit has set.
func prefsText(p ipc.Prefs, e ipc.PrefsEdit) string {
	var lines []string
	if e.Hostname != nil {
		name := say.Line(p.Hostname)
		if name == "" {
			name = "the system's"
		}
		lines = append(lines, "Host name: "+name)
	}
	if e.AcceptDNS != nil {
		if p.IgnoreDNS {
			lines = append(lines, "DNS: this host's stays as it is")
		} else {
			lines = append(lines, "DNS: this host's programs find machines by name")
		}
	}
	if e.Port != nil {
		port := strconv.Itoa(int(p.Port))
		if p.Port == 0 {
			port = "random"
		}
		lines = append(lines, "UDP port: "+port)
	}
	if e.Profile != nil {
		lines = append(lines, "Profile: "+say.Line(*e.Profile))
	}
	return strings.Join(append(lines, routesText(p, e)...), "\n")
}
