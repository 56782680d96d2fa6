package netcheck

import (
	"fmt"
	"slices"

	"github.com/warren-mesh/warren/ipc"
)

// What people read.
const (
	textBlocked  = "a network that lets no UDP through: every connection goes through a relay"
	textPortal   = "a network that wants its page passed first"
	textNoAnswer = "unknown: no relay could be asked"
	textPublic   = "no NAT"
	textFirewall = "no NAT, but a firewall that lets in answers only"
	textEasy     = "an easy NAT: direct connections work with nearly everyone"
	textHard     = "a hard NAT: each destination gets a port of its own"
	textSome     = "a NAT of a kind that could not be told"
	textOpen     = "an open NAT: anyone may answer its ports"

	adviceBlocked = "Let UDP out in the network's firewall: then direct connections become possible."
	advicePortal  = "Open http://%s/ in a browser and sign in to the network. With an exit node or lockdown: warren exit-node portal"
	advicePlain   = "Sign in to the network in a browser. With an exit node or lockdown: warren exit-node portal"
	adviceMapping = "Switch on port mapping in the router (UPnP-IGD, NAT-PMP or PCP), or forward the UDP port of 'warren set --port' to this machine: " +
		"then machines behind hard NATs reach it directly as well."
	adviceMTU = "Only packets of up to %d bytes reach the relay: a tunnel or a router on the way takes its part. Connections work, but a larger MTU would make them faster."
)

// usualMTU is Ethernet's; with PPPoE, 1492, nothing is wrong.
const usualMTU = 1500

// kind says what the machine is behind, by IPv4 where there is that.
func kind(r *ipc.Netcheck) string {
	f := r.IPv4
	if f.UDP != ipc.Yes {
		f = r.IPv6
	}
	filtered := f.Filtering == ipc.PortDependent || f.Filtering == ipc.AddressOrMore || f.Filtering == ipc.AddressDependent
	switch {
	case r.Portal.Found == ipc.Yes:
		return textPortal
	case r.UDP == ipc.No:
		return textBlocked
	case r.UDP != ipc.Yes:
		return textNoAnswer
	case f.NAT == ipc.No && filtered:
		return textFirewall
	case f.NAT == ipc.No:
		return textPublic
	case hard(f.Mapping):
		return textHard
	case f.Mapping == ipc.BehaviorUnknown:
		return textSome
	case f.Filtering == ipc.AddressOrLess || f.Filtering == ipc.Independent:
		return textOpen
	}
	return textEasy
}

func hard(b ipc.Behavior) bool {
	return b == ipc.PortDependent || b == ipc.AddressDependent || b == ipc.AddressOrMore
}

// advice says what a person could change, the gravest first.
func advice(r *ipc.Netcheck) (out []string) {
	switch {
	case r.Portal.Found == ipc.Yes && r.Portal.Server != "":
		return append(out, fmt.Sprintf(advicePortal, r.Portal.Server))
	case r.Portal.Found == ipc.Yes:
		return append(out, advicePlain)
	case r.UDP == ipc.No:
		return append(out, adviceBlocked)
	}
	mapped := slices.ContainsFunc(r.Mapping, func(p ipc.NetcheckPort) bool { return p.Answers == ipc.Yes })
	if hard(r.IPv4.Mapping) && !mapped && r.IPv6.UDP != ipc.Yes {
		out = append(out, adviceMapping)
	}
	for _, f := range []ipc.NetcheckFamily{r.IPv4, r.IPv6} {
		if f.PathMTU > 0 && f.PathMTU < usualMTU-20 {
			out = append(out, fmt.Sprintf(adviceMTU, f.PathMTU))
			break
		}
	}
	return out
}
