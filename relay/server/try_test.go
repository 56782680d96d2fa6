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
	end := time.After(6 * time.Second) // a link that seems to carry nothing is left after 3.2
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

// A full queue has room for a Ping more often than for a full packet: that most are lost is no sign that none is forwarded.
func TestALineThatLosesMostFullPacketsIsNotLeft(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "")
	nat := newForwarder(t, n.server.UDPAddr())
	const cycles, in = 3, 6 // of as many, four are lost, and one goes there and back
	tries, enough := 0, make(chan struct{})
	nat.swallowing(func(frame []byte) bool {
		if relay.TypeOf(frame) != relay.TypeData || len(frame) < relay.FullPacket {
			return false
		}
		if tries++; tries == cycles*in {
			close(enough)
		}
		return tries%in >= 1 && tries%in <= 4
	})
	there := n.join(udpOnly).connected(relay.TransportUDP)
	p := n.join(func(c *relay.ClientConfig) { c.UDP = nat.addr().String() }).connected(relay.TransportUDP)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	limit := time.After(deadline)
	for going := true; going; {
		_ = p.Send(there.node.Public(), [][]byte{make([]byte, 100)})
		select {
		case <-enough:
			going = false
		case <-limit:
			t.Fatalf("it does not try often enough: %+v", p.State())
		case <-again.C:
		}
	}
	if s := p.State(); !s.Connected || s.Connects != 1 {
		t.Errorf("%+v", s)
	}
}
