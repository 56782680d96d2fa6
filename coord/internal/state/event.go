package state

import (
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
)

// Event is one thing that happened.
type Event interface{ event() }

// Put says that a machine is a node, and how the store knows it. Of Node, what the machine says of itself and
// what the server sees of it (Disco and all after it) is not taken but where the node is new.
type Put struct {
	Machine   key.MachinePublic
	Node      coord.Node
	Pending   bool // it waits for an admin's approval: nobody sees it, nor it anybody
	Ephemeral bool // of no concern here: for who removes it
}

// Gone says that a machine is no node any more.
type Gone struct{ ID coord.NodeID }

// Said is what a machine says of itself.
type Said struct {
	ID     coord.NodeID
	Update coord.NodeUpdate
}

// Joined says that a machine follows the netmap. Its epoch is Session's number, which only rises.
type Joined struct {
	ID    coord.NodeID
	Epoch uint64
}

// Left says that the stream of this epoch has ended. It changes nothing if there is a newer one.
type Left struct {
	ID    coord.NodeID
	Epoch uint64
}

// SetTicket gives a machine its relay ticket.
type SetTicket struct {
	ID     coord.NodeID
	Ticket []byte
	Renew  time.Time // when it should be replaced
}

// SetRelays says which relays there are.
type SetRelays struct{ Relays []coord.Relay }

// SetNetwork says what is common to all.
type SetNetwork struct{ Network coord.Network }

func (Put) event()        {}
func (Gone) event()       {}
func (Said) event()       {}
func (Joined) event()     {}
func (Left) event()       {}
func (SetTicket) event()  {}
func (SetRelays) event()  {}
func (SetNetwork) event() {}
