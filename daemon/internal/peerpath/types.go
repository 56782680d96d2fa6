package peerpath

import (
	"fmt"
	"net/netip"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/ipc"
)

// Path is where packets to a peer go: to Direct, if valid, and through Relay, if not 0.
type Path struct {
	Direct netip.AddrPort
	Relay  coord.RelayID
}

// String says the path for logs and transcripts.
func (p Path) String() string {
	switch {
	case p.Direct.IsValid() && p.Relay != 0:
		return fmt.Sprintf("%s and relay %d", p.Direct, p.Relay)
	case p.Direct.IsValid():
		return p.Direct.String()
	case p.Relay != 0:
		return fmt.Sprintf("relay %d", p.Relay)
	}
	return "none"
}

// carrier is what people are told: the direct path where there is one, in doubt or not.
func (p Path) carrier() Path {
	if p.Direct.IsValid() {
		p.Relay = 0
	}
	return p
}

// Event is what happens to a Machine.
type Event interface{ event() }

// The events. Those about messages are told only after the message was opened, and found to be the peer's and new.
type (
	// Candidates are the peer's endpoints in the netmap, replacing the ones before.
	Candidates struct{ Addrs []netip.AddrPort }
	// CallMe came from the peer, with its endpoints; they replace those of the one before.
	CallMe struct{ Addrs []netip.AddrPort }
	// Relay is the peer's home relay (0: none), and whether our link to it is up.
	Relay struct {
		ID coord.RelayID
		Up bool
	}
	// NetworkChanged says that this machine's addresses or routes are others now. Network is the same whenever the machine
	// is on the same network; 0: it is not known.
	NetworkChanged struct{ Network uint64 }
	// EndpointsChanged says that this machine knows other endpoints of itself now.
	EndpointsChanged struct{}
	// Restarted says that the peer's process is another one now.
	Restarted struct{}
	// Sent says that something was sent to the peer since the last such event. It need not come for every packet.
	Sent struct{}
	// SendFailed says that the system refused to send to the address.
	SendFailed struct{ Addr netip.AddrPort }
	// Heard says that a message of the peer came: directly from Addr, or through a relay (not valid).
	Heard struct{ Addr netip.AddrPort }
	// Pong answers a probe.
	Pong struct {
		Number uint64
		From   netip.AddrPort
	}
	// HandshakeSent says that WireGuard sent a handshake initiation.
	HandshakeSent struct{}
	// HandshakeAnswered says that the peer answered it.
	HandshakeAnswered struct{}
)

func (Candidates) event()        {}
func (CallMe) event()            {}
func (Relay) event()             {}
func (NetworkChanged) event()    {}
func (EndpointsChanged) event()  {}
func (Restarted) event()         {}
func (Sent) event()              {}
func (SendFailed) event()        {}
func (Heard) event()             {}
func (Pong) event()              {}
func (HandshakeSent) event()     {}
func (HandshakeAnswered) event() {}

// Action is what a Machine wants done, in the order given.
type Action interface{ action() }

// The actions.
type (
	// Probe wants a Ping sent directly to an address, unfragmented. Number is the Pong event's.
	Probe struct {
		To     netip.AddrPort
		Number uint64
		MTU    int // as long as a packet of that size makes it; 0: of SafeMTU
	}
	// SendCallMe wants our endpoints sent to the peer through its relay.
	SendCallMe struct{}
	// UsePath says where packets go from now on.
	UsePath struct {
		Path   Path
		Reason Reason
	}
	// ResendHandshake wants the very bytes of the last handshake initiation sent again: WireGuard itself
	// waits 5 s before it makes another, and the peer ignores one that it has already seen.
	ResendHandshake struct{}
)

func (Probe) action()           {}
func (SendCallMe) action()      {}
func (UsePath) action()         {}
func (ResendHandshake) action() {}

// Reason says why the path is as it is.
type Reason uint8

// The reasons.
const (
	ReasonNone       Reason = iota // nothing was tried yet
	ReasonRelayUp                  // the link to the peer's relay is up
	ReasonRelayDown                // the link to the peer's relay is down, or the peer has none
	ReasonProven                   // the direct path answered a probe
	ReasonLocal                    // a path inside the local network was found
	ReasonFaster                   // a faster path was found
	ReasonSilent                   // a probe of the direct path went unanswered
	ReasonLost                     // the direct path stopped answering
	ReasonSendFailed               // the system refused to send to the address
	ReasonIdle                     // there was no traffic, so that nobody knows whether the path still exists
	ReasonNetwork                  // this machine's network changed
	ReasonRestarted                // the peer's process restarted
	ReasonCalled                   // the peer looks for a path, as if it had lost this one

	reasons = int(iota)
)

// Code is the reason's in a status.
func (r Reason) Code() string {
	return [...]string{
		ipc.PathReasonNone, ipc.PathReasonRelayUp, ipc.PathReasonRelayDown, ipc.PathReasonProven, ipc.PathReasonLocal, ipc.PathReasonFaster,
		ipc.PathReasonSilent, ipc.PathReasonLost, ipc.PathReasonSendFailed, ipc.PathReasonIdle, ipc.PathReasonNetwork,
		ipc.PathReasonRestarted, ipc.PathReasonCalled,
	}[r]
}

// String says the reason in words that follow "because".
func (r Reason) String() string { return ipc.PathReasons[r.Code()] }
