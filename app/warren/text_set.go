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

// textFlagTypes says what the values of flags are, by the library's name of the type.
var textFlagTypes = map[string]string{
	"bool": "true or false", "uint16": "a number from 0 to 65535", "int": "a whole number", "uint": "a whole number",
	"duration": "a time such as 90s or 5m",
}

// textFlagMistakes says what a flag does not take, where people expect that it does.
var textFlagMistakes = map[string]string{
	"accept-routes": "--accept-routes takes true or false, and no subnets: all that an admin has approved are used, but those that this machine is on itself",
}
