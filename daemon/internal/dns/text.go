package dns

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/warren-mesh/warren/daemon/internal/dns/hostmode"
	"github.com/warren-mesh/warren/ipc"
)

// What people read of why the host's DNS stays as it is.
const (
	reasonStart = "warrend has just begun to look"
	reasonPrefs = "this machine's settings leave the host's DNS alone (accept-dns is off, or warrend was started with --host-dns=false)"
	reasonDeaf  = "warrend cannot listen for DNS on its own interface"
	fixPrefs    = "Or leave the host's DNS alone: sudo warren set --accept-dns=false"
)

// sentence makes a clause one.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

func hostProblem(err error) ipc.Problem {
	p := ipc.Problem{
		Code: ipc.ProblemDNSHost, Text: "Names of machines are not found by this host's programs: " + err.Error() + ".",
		Fix: "See how it stands: warren dns status. " + fixPrefs,
	}
	if locked(err) {
		p.Fix = "Make the file writable (lsattr shows whether it is immutable; chattr -i lets it be changed). " + fixPrefs
	}
	return p
}

func contested(m hostmode.Mode) ipc.Problem {
	return ipc.Problem{
		Code:  ipc.ProblemDNSContested,
		Text:  fmt.Sprintf("Another program keeps changing the host's DNS back (mode %s). It was set again %d times; now it stays as that program wants it.", m, hostmode.MaxAgain),
		Fix:   "Find what writes /etc/resolv.conf, and let it be; then: warren down, warren up. " + fixPrefs,
		About: string(m),
	}
}

func portTaken(a netip.Addr, err error) ipc.Problem {
	return ipc.Problem{
		Code: ipc.ProblemDNSPort, Text: fmt.Sprintf("Names of machines are not answered on %s: %v.", a, err),
		Fix: "Let the DNS server of this host listen on its own addresses only, not on all (dnsmasq: bind-dynamic).",
	}
}

func tcpTaken(a netip.Addr) ipc.Problem {
	return ipc.Problem{
		Code: ipc.ProblemDNSPort, Text: fmt.Sprintf("Another DNS server of this host has TCP port 53 on all addresses: long answers on %s are cut off.", a),
		Fix:   "Let it listen on its own addresses only (dnsmasq: bind-dynamic).",
		About: "TCP 53",
	}
}

func guestPortTaken(a netip.Addr, err error) ipc.Problem {
	return ipc.Problem{
		Code: ipc.ProblemDNSPort, Text: fmt.Sprintf("Machines that use this one as exit node find no names through it: %v.", err),
		Fix: fmt.Sprintf("Let the DNS server of this host listen on its own addresses only, not on %s (dnsmasq: bind-dynamic).", a),
	}
}
