package ipc

import (
	"fmt"
	"net/netip"
	"strings"
)

// Problem is something that a person may want to mend.
type Problem struct {
	Code string `json:"code"`          // one of the constants below, stable, for programs
	Text string `json:"text"`          // what is wrong
	Fix  string `json:"fix,omitempty"` // what to do
	// About is what Text is about, as it is called in every language: networks, machines, interfaces, ports, files. Where a program
	// says the code in its person's own language, this goes with it. Empty where Text holds more than that, such as an error's words.
	About string `json:"about,omitempty"`
	// Level is ProblemNotice for what has time, ProblemUrgent for what has not, and empty for what lies between.
	Level ProblemLevel `json:"level,omitempty"`
}

// ProblemLevel is how loudly a Problem is to be told.
type ProblemLevel string

// The levels beside the plain one.
const (
	ProblemNotice ProblemLevel = "notice"
	ProblemUrgent ProblemLevel = "urgent"
)

// The Problems' codes of this machine's place on its network.
const (
	ProblemKeySoon    = "key-expires-soon" // a notice for two weeks, plain for one, urgent on the last day
	ProblemKeyExpired = "key-expired"
	ProblemRemoved    = "removed"           // from the network, by an admin or because its time was over
	ProblemDenied     = "denied"            // an admin did not let it in
	ProblemUnfinished = "login-unfinished"  // one by pre-auth key was interrupted, and is completed
	ProblemCoord      = "coord-unreachable" // the coordination server
	ProblemHost       = CodeHost            // the host does not let the tunnel be set up
)

// The Problems' codes of paths to other machines.
const (
	ProblemNoRelay    = "no-relay"    // none can be reached
	ProblemUDPBlocked = "udp-blocked" // by the network that this machine is on
	ProblemPortTaken  = "port-taken"  // by another program: another port is used
	ProblemRelaying   = "relaying"    // others cannot relay through this machine, which offers it
)

// The Problems' codes of exit nodes and subnets.
const (
	ProblemExitDown      = "exit-node-down"    // the one in use does not answer
	ProblemExitGone      = "exit-node-gone"    // none of those wanted is one
	ProblemExitHeld      = "exit-node-held"    // this machine is not on the network, and what was to go through one goes nowhere
	ProblemExitNoIPv6    = "exit-node-no-ipv6" // or no IPv4: what it does not lead to is blocked
	ProblemLockedOffer   = "lockdown-offers"   // with lockdown, nothing of others is forwarded
	ProblemExitDNS       = "exit-node-dns"     // the host's programs do not ask for names through it
	ProblemUnapproved    = "route-unapproved"  // an offer waits for an admin
	ProblemUnaccepted    = "route-unaccepted"  // others offer subnets, and this machine does not use them
	ProblemRouteDown     = "route-down"        // nobody who leads to a subnet that this machine uses does so now
	ProblemRouteCut      = "route-cut"         // this machine leads to a subnet that it does not reach itself now
	ProblemRouteShadow   = "route-shadowed"    // the host's own network wins over a subnet of the same addresses
	ProblemRouteConflict = "route-conflict"    // another program has what routes need
	ProblemStrictFilter  = "rp-filter"         // the host's reverse path filter drops the tunnel's own packets
)

// The Problems' codes of packet filters.
const (
	ProblemFilter         = "packet-filter"   // ours is not as wished
	ProblemLockdown       = "lockdown"        // ours of lockdown is not as wished
	ProblemForwardBlocked = "forward-blocked" // another one drops what this machine should forward
	ProblemForwardLegacy  = "forward-legacy"  // there is one that we cannot see into
	ProblemHostRules      = "host-rules"      // the host's own drops some of what comes in from the network
	ProblemRelayShut      = "relay-shut"      // the host's own drops what others would relay through this machine
)

// The Problems' codes of the host's DNS.
const (
	ProblemDNSHost      = "dns-host"      // it could not be changed
	ProblemDNSContested = "dns-contested" // another program keeps changing it back
	ProblemDNSPort      = "dns-port"      // another program has port 53
	ProblemDNSAdvice    = "dns-advice"    // it works, but not for all programs
)

// ProblemCodes are all of them.
var ProblemCodes = []string{
	ProblemKeySoon, ProblemKeyExpired, ProblemRemoved, ProblemDenied, ProblemUnfinished, ProblemCoord, ProblemHost,
	ProblemNoRelay, ProblemUDPBlocked, ProblemPortTaken, ProblemRelaying,
	ProblemExitDown, ProblemExitGone, ProblemExitHeld, ProblemExitNoIPv6, ProblemLockedOffer, ProblemExitDNS,
	ProblemUnapproved, ProblemUnaccepted, ProblemRouteDown, ProblemRouteCut, ProblemRouteShadow, ProblemRouteConflict, ProblemStrictFilter,
	ProblemFilter, ProblemLockdown, ProblemForwardBlocked, ProblemForwardLegacy, ProblemHostRules, ProblemRelayShut,
	ProblemDNSHost, ProblemDNSContested, ProblemDNSPort, ProblemDNSAdvice,
}

// MaxListed bounds how many networks or machines a Problem lists.
const MaxListed = 8

// Listed names the first routes of a list, and says how many more there are: in a Problem's Text.
func Listed(ps []netip.Prefix) string {
	words := make([]string, 0, MaxListed+1)
	for _, p := range ps[:min(len(ps), MaxListed)] {
		words = append(words, p.String())
	}
	if more := len(ps) - MaxListed; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, ", ")
}

// ListedAbout is what Listed says, as a Problem's About has it.
func ListedAbout(ps []netip.Prefix) string {
	if len(ps) > MaxListed {
		return Listed(ps[:MaxListed]) + ", …"
	}
	return Listed(ps)
}
