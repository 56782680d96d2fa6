package ipc

import (
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord/key"
)

// State is what the daemon is up to, in one word.
type State string

// The states. Each names what a person would do next.
const (
	StateNoServer   State = "no-server"   // no coordination server was ever named: up with one
	StateNeedsLogin State = "needs-login" // this machine is no node of its network, or its key expired: log in
	StatePending    State = "pending"     // logged in, and an admin has to approve this machine: wait, it goes on by itself
	StateDown       State = "down"        // logged in and switched off: up
	StateStarting   State = "starting"    // on the way up, without a netmap yet
	StateRunning    State = "running"     // packets flow
)

// Status is everything that people see of a machine: one consistent snapshot.
type Status struct {
	Version  string    `json:"version"` // of the daemon
	State    State     `json:"state"`
	Profile  string    `json:"profile,omitempty"` // name of the login in use
	Server   string    `json:"server,omitempty"`  // URL of the coordination server
	Network  Network   `json:"network,omitzero"`  // zero before the first netmap
	Self     Self      `json:"self"`              //
	Peers    []Peer    `json:"peers"`             // ordered by name
	Coord    Link      `json:"coord"`             // to the coordination server
	Relays   []Relay   `json:"relays"`            // ordered by name
	Problems []Problem `json:"problems"`          // what is wrong, worst first
	Time     time.Time `json:"time"`              // of the snapshot
	Seq      uint64    `json:"netmap,omitempty"`  // number of the netmap that it shows
	Dropped  Drops     `json:"dropped,omitempty"` // packets dropped, by reason
	DNS      *DNS      `json:"dns,omitempty"`     // how names are found; nil while the machine is not on its network
	Exit     *Exit     `json:"exit,omitempty"`    // the exit node in use; nil: none is wanted
	Accepts  bool      `json:"acceptRoutes,omitempty"`
	Lockdown bool      `json:"lockdown,omitempty"`  // nothing leaves this host but through the network
	Shields  bool      `json:"shieldsUp,omitempty"` // nothing comes in from the network but answers
	Portal   time.Time `json:"portal,omitzero"`     // until then, neither Lockdown nor Exit: a person signs in to a network
	Prefs    uint32    `json:"prefs,omitempty"`     // stands for what the preferences are: another number, others (Prefs.Number)
}

// Exit is how this machine's packets to the internet leave the network.
type Exit struct {
	Wanted   []string `json:"wanted"`             // by name, the one that is preferred first
	Name     string   `json:"name,omitempty"`     // of the one in use; empty: none of those wanted is an exit node of the network now
	Up       bool     `json:"up"`                 // it answers; false: packets to the internet go nowhere
	IPv4     bool     `json:"ipv4"`               // it leads to IPv4; false: that is blocked
	IPv6     bool     `json:"ipv6"`               // it leads to IPv6; false: that is blocked
	AllowLAN bool     `json:"allowLAN,omitempty"` // the LAN can be reached beside it
}

// Offer is a route that this machine offers to the network.
type Offer struct {
	Route    netip.Prefix `json:"route"` // 0.0.0.0/0 and ::/0 are those of an exit node
	Approved bool         `json:"approved"`
	Cut      bool         `json:"cut,omitempty"` // this machine does not reach it itself now
}

// MarshalJSON implements json.Marshaler: lists are never null, so that a script can walk them.
func (s Status) MarshalJSON() ([]byte, error) {
	type plain Status // without this method
	p := plain(s)
	p.Self.Addrs = list(p.Self.Addrs)
	p.Self.Endpoints = list(p.Self.Endpoints)
	p.Relays = list(p.Relays)
	p.Problems = list(p.Problems)
	p.Peers = list(bounded(p.Peers))
	if p.Exit != nil {
		exit := *p.Exit
		exit.Wanted = list(exit.Wanted)
		p.Exit = &exit
	}
	if p.DNS != nil {
		p.DNS = p.DNS.lists()
	}
	return json.Marshal(p)
}

// maxWord bounds each word about a peer, in bytes. A DNS name has 253 at the most (RFC 1035, section 2.3.4), and sentences are
// shorter: what is longer comes from nobody who means well, and thousands of them would hold up whoever draws them.
const maxWord = 255

// bounded gives the peers with words of bounded length. Where all are, they are not copied.
func bounded(peers []Peer) []Peer {
	copied := false
	for i := range peers {
		p := &peers[i]
		if max(len(p.Name), len(p.DNSName), len(p.User), len(p.OS), len(p.Version), len(p.Path.Relay), len(p.Path.Reason)) <= maxWord {
			continue
		}
		if !copied {
			peers, copied = slices.Clone(peers), true
			p = &peers[i]
		}
		for _, word := range []*string{&p.Name, &p.DNSName, &p.User, &p.OS, &p.Version, &p.Path.Relay, &p.Path.Reason} {
			*word = (*word)[:min(len(*word), maxWord)]
		}
	}
	return peers
}

func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// Drops counts packets by why they were dropped.
type Drops map[string]uint64

// Network is what is common to all machines.
type Network struct {
	Name   string       `json:"name"`
	Suffix string       `json:"suffix"` // machines answer as NAME.suffix
	IPv4   netip.Prefix `json:"ipv4,omitzero"`
	IPv6   netip.Prefix `json:"ipv6,omitzero"`
}

// Self is this machine.
type Self struct {
	Name      string         `json:"name,omitempty"`
	DNSName   string         `json:"dnsName,omitempty"`
	Key       key.NodePublic `json:"key,omitzero"`
	Addrs     []netip.Addr   `json:"addrs"` // IPv4 first
	User      string         `json:"user,omitempty"`
	Expires   time.Time      `json:"expires,omitzero"` // of its key; zero: never
	Interface string         `json:"interface,omitempty"`
	Port      uint16         `json:"port,omitempty"` // UDP, where peers and relays answer to
	Endpoints []Endpoint     `json:"endpoints"`      // where it may be reached
	Offers    []Offer        `json:"offers,omitempty"`
	Relaying  *Relaying      `json:"relaying,omitempty"` // nil: it does not offer to
}

// Relaying is this machine's offer to relay for others.
type Relaying struct {
	Allowed bool             `json:"allowed"`         // by an admin; until then it does nothing
	Addrs   []netip.AddrPort `json:"addrs,omitempty"` // where others try it
	Rate    int64            `json:"rate,omitempty"`  // bytes per second, of all together, at the most; 0: no bound

	Machines int    `json:"machines,omitempty"` // that are connected to it now
	Bytes    uint64 `json:"bytes,omitempty"`    // relayed since it began to
	Limited  uint64 `json:"limited,omitempty"`  // packets dropped since then, as there were more than Rate lets through
}

// Endpoint is an address at which a machine may be reached.
type Endpoint struct {
	Addr netip.AddrPort `json:"addr"`
	Kind string         `json:"kind"` // "local" or "stun"
}

// Peer is another machine.
type Peer struct {
	ID            int64          `json:"id"`
	Name          string         `json:"name"`
	DNSName       string         `json:"dnsName"`
	Key           key.NodePublic `json:"key"`
	Addrs         []netip.Addr   `json:"addrs"` // IPv4 first
	User          string         `json:"user,omitempty"`
	OS            string         `json:"os,omitempty"`
	Version       string         `json:"version,omitempty"` // of its daemon
	Expires       time.Time      `json:"expires,omitzero"`  // of its key; zero: never
	Online        bool           `json:"online"`            // as the coordination server last said
	LastSeen      time.Time      `json:"lastSeen,omitzero"`
	Path          Path           `json:"path"`
	History       []PathChange   `json:"history,omitempty"` // how Path came to be, oldest first; a few, since the daemon started
	LastHandshake time.Time      `json:"lastHandshake,omitzero"`
	RxBytes       uint64         `json:"rxBytes"` // of tunnelled packets, since the daemon started
	TxBytes       uint64         `json:"txBytes"`

	Routes     []netip.Prefix `json:"routes,omitempty"`     // what lies behind it, as approved, but for an exit node's own two
	Serves     []netip.Prefix `json:"serves,omitempty"`     // those of Routes that this machine reaches through it
	ExitOption bool           `json:"exitOption,omitempty"` // it can be used as exit node
	Exit       bool           `json:"exit,omitempty"`       // it is the exit node in use
}

// PathKind says how packets reach a peer.
type PathKind string

// The kinds of paths.
const (
	PathDirect PathKind = "direct"
	PathRelay  PathKind = "relay"
	PathNone   PathKind = "none" // no packets have been sent lately, or no way is known
)

// Path is how packets reach a peer now.
type Path struct {
	Kind     PathKind       `json:"kind"`
	Endpoint netip.AddrPort `json:"endpoint,omitzero"`  // where direct
	Relay    string         `json:"relay,omitempty"`    // its name, where relayed
	Latency  Milliseconds   `json:"latency,omitempty"`  // round trip; 0: not measured
	Code     string         `json:"code,omitempty"`     // why this one: one of PathReasons
	Reason   string         `json:"reason,omitempty"`   // the same, in words
	Since    time.Time      `json:"since,omitzero"`     // it was chosen
	Switches uint64         `json:"switches,omitempty"` // how often it changed
	MTU      int            `json:"mtu,omitempty"`      // of packets inside the tunnel, in bytes
}

// PathChange is a Path that was taken at some time, until the next one.
type PathChange struct {
	At     time.Time `json:"at"`
	Kind   PathKind  `json:"kind"`
	Via    string    `json:"via,omitempty"`    // the address where direct, the relay's name where relayed
	Code   string    `json:"code,omitempty"`   // why: one of PathReasons
	Reason string    `json:"reason,omitempty"` // the same, in words
}

// Why a Path is what it is. The codes are stable.
const (
	PathReasonNone       = "untried"
	PathReasonRelayUp    = "relay-up"
	PathReasonRelayDown  = "relay-down"
	PathReasonProven     = "proven"
	PathReasonLocal      = "local"
	PathReasonFaster     = "faster"
	PathReasonSilent     = "silent"
	PathReasonLost       = "lost"
	PathReasonSendFailed = "send-failed"
	PathReasonIdle       = "idle"
	PathReasonNetwork    = "network"
	PathReasonRestarted  = "restarted"
	PathReasonCalled     = "called"
)

// PathReasons are all of them, with words that follow "because".
var PathReasons = map[string]string{
	PathReasonNone:       "nothing was tried yet",
	PathReasonRelayUp:    "the link to the relay is up",
	PathReasonRelayDown:  "the link to the relay is down",
	PathReasonProven:     "a probe was answered",
	PathReasonLocal:      "a path inside the local network was found",
	PathReasonFaster:     "a faster path was found",
	PathReasonSilent:     "a probe went unanswered",
	PathReasonLost:       "the direct path stopped answering",
	PathReasonSendFailed: "the system refused to send there",
	PathReasonIdle:       "there was no traffic",
	PathReasonNetwork:    "this machine's network changed",
	PathReasonRestarted:  "the peer restarted",
	PathReasonCalled:     "the peer looks for a path",
}

// Milliseconds is a duration as JSON shows it.
type Milliseconds float64

// Millis converts a duration.
func Millis(d time.Duration) Milliseconds { return Milliseconds(d.Seconds() * 1000) }

// Duration converts back.
func (m Milliseconds) Duration() time.Duration {
	return time.Duration(float64(m) * float64(time.Millisecond))
}

// Link is a connection to a server.
type Link struct {
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"`
	Error     string    `json:"error,omitempty"` // why it is not, in words
}

// Relay is one of the network's relays, as this machine sees it.
type Relay struct {
	Name      string       `json:"name"`
	Home      bool         `json:"home,omitempty"`
	Machine   bool         `json:"machine,omitempty"`   // it is one of the network's machines, and for pairs that can both reach it
	Transport string       `json:"transport,omitempty"` // "udp" or "websocket", while connected
	Latency   Milliseconds `json:"latency,omitempty"`
	Link
}
