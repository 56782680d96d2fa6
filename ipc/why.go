package ipc

import "net/netip"

// WhyRequest asks how this machine and another may talk.
type WhyRequest struct {
	Peer    string `json:"peer"`              // name, DNS name or address
	Service string `json:"service,omitempty"` // "22" (TCP), "udp:53", "icmp"; empty: what there is
}

// Why says which way packets take between the two, and what the network's access rules say of these.
type Why struct {
	Name    string `json:"name"`
	Online  bool   `json:"online"`
	Path    Path   `json:"path"`
	Service string `json:"service,omitempty"` // as rules write it
	In      Access `json:"in"`                // from there to this machine
	// Tried are the addresses of the peer's that a direct path was looked for at, on this network, those that answered first.
	Tried []PathTry `json:"tried,omitempty"`
	// Advised says why there is no direct path, where there is none, and what a person could change.
	Advised []Advice `json:"advised,omitempty"`
	Advice  []string `json:"advice,omitempty"` // the texts of Advised, all that a daemon from before there were codes says
	// What may go from here to there stands in the peer's own rules, which this machine does not know.
	Routes []RouteAccess `json:"routes,omitempty"` // what this machine leads to, for the peer
}

// Access is what this machine's rules say of what another sends to it.
type Access struct {
	Ruled   bool         `json:"ruled"`             // the network has access rules; false: everything may come in
	Shields bool         `json:"shields,omitempty"` // this machine lets nothing in (shields-up), whatever the rules say
	Allowed bool         `json:"allowed"`           // the service, or without one anything at all
	Rules   []AccessRule `json:"rules"`             // that let it in
	Nearest *AccessRule  `json:"nearest,omitempty"` // of those that do not, the one that has most of it
	Lacks   string       `json:"lacks,omitempty"`   // what Nearest lacks: LacksSource or LacksService
}

// What the nearest rule lacks.
const (
	LacksSource  = "source"  // it is for others
	LacksService = "service" // it is for the peer, and for other services
)

// AccessRule is one rule of those that the coordination server made for this machine.
type AccessRule struct {
	From  []string       `json:"from"` // groups, tags, users and the like
	To    []netip.Prefix `json:"to,omitempty"`
	Allow []string       `json:"allow"` // services: "tcp:22", "icmp"
}

// RouteAccess is what the peer may reach through this machine.
type RouteAccess struct {
	To    []netip.Prefix `json:"to"`
	Allow []string       `json:"allow"`
}

// The reasons in Status.Dropped for what access rules kept out.
const (
	DropNoRule  = "no-rule" // no rule lets it in
	DropSpoofed = "spoofed" // its source cannot be another machine's
	DropUnasked = "unasked" // an ICMP error about nothing that this machine knows
	DropRevoked = "revoked" // an answer of this machine to what is allowed no more
)

// PathTry is what became of one of a peer's addresses.
type PathTry struct {
	Addr    netip.AddrPort `json:"addr"`
	Local   bool           `json:"local,omitempty"` // on the peer's own network
	Tried   bool           `json:"tried"`
	Answers bool           `json:"answers"`           // it answered, and nothing has shown since that it does not any more
	Latency Milliseconds   `json:"latency,omitempty"` // of the last answer
}
