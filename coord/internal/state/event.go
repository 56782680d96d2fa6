package state

import (
	"net/netip"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/policy"
	"github.com/warren-mesh/warren/coord/key"
)

// Network is the whole network at one moment.
type Network struct {
	Common  coord.Network
	Relays  []coord.Relay
	DNS     coord.DNS    // valid
	Rules   *policy.File // nil: the default
	Members []Member
	Log     []Change // the newest part of it, up to that number
}

// Member is a node, and what its peers do not see.
type Member struct {
	Node      coord.Node
	Machine   key.MachinePublic
	Expired   bool   // nobody may see it, nor it anybody
	Pending   bool   // it waits for an admin's approval: the same
	Role      string // its user's: the rules may go by it
	Ephemeral bool   // of no concern here: for who removes it

	// Of no concern to peers either: routes that it offers, and those that are approved. Node.Routes are in both.
	Offered, Approved []netip.Prefix
	Cut               []netip.Prefix // of what it offers; Node.Cut are those of Node.Routes
	// So with relaying; Node.Relaying is set if both are.
	OffersRelay *coord.Relaying
	MayRelay    bool

	TicketUntil time.Time // of its relay ticket; zero: it has none
	TicketSeq   uint64    // the number under which it got that
}

// Kind says what a change is about.
type Kind int

// The kinds of changes.
const (
	NodeChange Kind = iota
	TicketChange
	RelaysChange
	NetworkChange
	DNSChange
	RulesChange
	OtherChange // nothing that machines see
)

// Change is one line of the log.
type Change struct {
	Seq   uint64
	Kind  Kind
	ID    coord.NodeID
	Facts bool // of a NodeChange: what the rules go by is another now, also since there is such a node, or none any more
}

// News is what the log says after the number that a State has, and how that is now.
type News struct {
	Log     []Change
	Members []Member // of those that it names; which is not there is no node any more
	Relays  []coord.Relay
	Common  coord.Network
	DNS     coord.DNS    // valid
	Rules   *policy.File // as of Network, if the log names them
	Draft   *Draft       // of these, worked out; nil: Apply does that
}
