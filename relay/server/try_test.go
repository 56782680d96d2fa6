package server

import (
	"errors"
	"testing"
	"time"

	"github.com/warren-mesh/warren/relay"
)

// A way that begins to swallow long packets carries Pings and their answers. That packets do not come back shows it, and that a
// Hello is not answered either has the WebSocket taken.
func TestAWayThatBeginsToSwallowLongPacketsIsLeft(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "127.0.0.1:0")
	nat := newForwarder(t, n.server.UDPAddr())
	through := func(c *relay.ClientConfig) { c.UDP = nat.addr().String() }
	there := n.join(udpOnly).connected(relay.TransportUDP)
	for what, notice := range map[string]func(*peer){
		"by sending":         func(p *peer) { _ = p.Send(there.node.Public(), [][]byte{make([]byte, relay.FullPacket)}) },
		"on another network": func(p *peer) { p.Rebind() },
	} {
		p := n.join(through).connected(relay.TransportUDP)
		p.reaches(there, "before, "+what)
		there.reaches(p, "before, "+what)
		nat.swallowing(func(frame []byte) bool { return len(frame) > 1000 })
		notice(p)
		t.Log(what, p.wait("on the WebSocket", func(s relay.State) bool { return s.Transport == relay.TransportWebSocket }))
		p.reaches(there, "after, "+what)
		nat.swallowing(nil)
		p.end()
	}
}

// A relay that answers and forwards nothing is no relay: whoever has another must know.
func TestARelayThatForwardsNothingIsNotConnected(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "")
	nat := newForwarder(t, n.server.UDPAddr())
	nat.swallowing(func(frame []byte) bool { return relay.TypeOf(frame) == relay.TypeData })
	p := n.join(func(c *relay.ClientConfig) { c.UDP = nat.addr().String() })
	took := p.wait("it says so", func(s relay.State) bool { return !s.Connected && errors.Is(s.Err, relay.ErrForwardsNothing) })
	t.Logf("known after %v", took)
	nat.swallowing(nil)
	p.Rebind() // or 15 seconds
	there := n.join(udpOnly).connected(relay.TransportUDP)
	p.connected(relay.TransportUDP).reaches(there, "after")
}

// Who sends more than it may loses some of that, and not its link.
func TestWhoIsAtItsLimitIsForwardedWhatItTries(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "")
	n.server.SetLimits(Limits{ClientRate: 1})
	p, there := n.join(nil).connected(relay.TransportUDP), n.join(nil).connected(relay.TransportUDP)
	end := time.After(3 * time.Second) // what leaves a link takes half of it
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for going := true; going; {
		_ = p.Send(there.node.Public(), [][]byte{make([]byte, relay.FullPacket)})
		select {
		case <-end:
			going = false
		case <-again.C:
		}
	}
	if s := p.State(); !s.Connected || s.Connects != 1 || n.server.hub.count.limited.Load() == 0 {
		t.Errorf("%+v; %d were too many", s, n.server.hub.count.limited.Load())
	}
}
