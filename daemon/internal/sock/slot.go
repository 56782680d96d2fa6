package sock

import (
	"context"
	"net/netip"
	"sync/atomic"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/relay"
)

// How many links there are at a time: our home's, and one for peers whose home is another relay or for what is to be our
// home next; and one to a machine that relays. WireGuard takes its ReceiveFuncs once, and each costs it a batch of buffers.
const (
	homeSlots  = 2
	relaySlots = homeSlots + 1
)

// slot holds a link, and has WireGuard receive from it.
type slot struct {
	link   atomic.Pointer[link] // nil: empty
	filled chan struct{}        // has one after link was set
}

// link is a relay in use.
type link struct {
	relay  coord.Relay // of a machine that relays: with a number below zero
	client *relay.Client
	cancel context.CancelFunc

	// owned by the loop
	up       bool
	draining bool           // the relay will stop soon
	node     netip.AddrPort // of a machine that relays: which of its addresses
}

func (sl *slot) fill(l *link) {
	if old := sl.link.Swap(l); old != nil {
		old.cancel()
	}
	select {
	case sl.filled <- struct{}{}:
	default:
	}
}

func (sl *slot) clear() {
	if old := sl.link.Swap(nil); old != nil {
		old.cancel()
	}
}
