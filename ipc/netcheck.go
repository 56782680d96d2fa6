package ipc

import (
	"encoding/json"
	"net/netip"
	"time"
)

// Known is an answer that may be missing: a network cannot always be made to show what it does.
type Known string

// The answers.
const (
	Yes     Known = "yes"
	No      Known = "no"
	Unknown Known = "unknown"
)

// Behavior is what a NAT makes depend on what, in the words of RFC 4787, sections 4.1 and 5.
type Behavior string

// The behaviors.
const (
	BehaviorUnknown  Behavior = "unknown"
	NoTranslation    Behavior = "none"                       // there is no NAT, or for filtering: nothing is filtered
	Independent      Behavior = "endpoint-independent"       //
	AddressDependent Behavior = "address-dependent"          //
	PortDependent    Behavior = "address-and-port-dependent" //
	// AddressOrLess is endpoint-independent or address-dependent: telling them apart takes servers at two addresses.
	AddressOrLess Behavior = "endpoint-independent-or-address-dependent"
	// AddressOrMore is address-dependent or address-and-port-dependent.
	AddressOrMore Behavior = "address-dependent-or-more"
)

// Netcheck is what the network lets through that this machine is on, as a check has found.
type Netcheck struct {
	Time    time.Time       `json:"time"`
	Took    Milliseconds    `json:"took"`
	UDP     Known           `json:"udp"` // some relay answered over UDP
	IPv4    NetcheckFamily  `json:"ipv4"`
	IPv6    NetcheckFamily  `json:"ipv6"`
	Mapping []NetcheckPort  `json:"portMapping"` // the protocols by which a router opens ports, always the same three
	Portal  NetcheckPortal  `json:"captivePortal"`
	Relays  []NetcheckRelay `json:"relays"` // nearest first, those that did not answer last
	// Kind says in a few plain words what the machine is behind, and Advised what a person could change, where anything.
	Kind    string   `json:"kind"`
	Advised []Advice `json:"advised,omitempty"`
	Advice  []string `json:"advice"` // the texts of Advised, as in Why
}

// NetcheckFamily is what was found with one version of IP.
type NetcheckFamily struct {
	Local     netip.Addr `json:"local,omitzero"`  // this machine's own address towards the internet; none: no route
	UDP       Known      `json:"udp"`             // a relay answered
	Public    netip.Addr `json:"public,omitzero"` // the address that relays see
	NAT       Known      `json:"nat"`
	Mapping   Behavior   `json:"mapping"`
	Filtering Behavior   `json:"filtering"`
	Hairpin   Known      `json:"hairpin"`           // the NAT leads its own public address back inside (RFC 4787, section 6)
	PortKept  Known      `json:"portKept"`          // port preservation (RFC 4787, section 4.2.1)
	PathMTU   int        `json:"pathMTU,omitempty"` // bytes of the largest packet that reached a relay unfragmented; 0: not known
}

// NetcheckPort is a protocol by which a router is asked for a port.
type NetcheckPort struct {
	Protocol string `json:"protocol"` // "PCP", "NAT-PMP" or "UPnP-IGD"
	Answers  Known  `json:"answers"`
	Detail   string `json:"detail,omitempty"` // what the router said of itself, or why it does not serve
}

// NetcheckPortal is whether a page has to be passed before the network leads to the internet.
type NetcheckPortal struct {
	Found  Known  `json:"found"`
	Server string `json:"server,omitempty"` // the host that it sends a browser to
}

// NetcheckRelay is one relay. 0 stands for no answer.
type NetcheckRelay struct {
	Name string       `json:"name"`
	Home bool         `json:"home,omitempty"`
	IPv4 Milliseconds `json:"ipv4,omitempty"` // round trips over UDP
	IPv6 Milliseconds `json:"ipv6,omitempty"`
	TCP  Milliseconds `json:"tcp,omitempty"` // until a connection stood, for relaying where UDP is blocked
}

// MarshalJSON implements json.Marshaler: lists are never null.
func (n Netcheck) MarshalJSON() ([]byte, error) {
	type plain Netcheck // without this method
	p := plain(n)
	p.Mapping, p.Relays, p.Advice = list(p.Mapping), list(p.Relays), list(p.Advice)
	return json.Marshal(p)
}
