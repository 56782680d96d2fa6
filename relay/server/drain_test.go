package server

import (
	"context"
	"testing"
	"time"

	"github.com/warren-mesh/warren/relay"
)

func TestADrainingRelayServesOnAndSaysSo(t *testing.T) {
	for _, way := range []struct {
		change func(*relay.ClientConfig)
		by     relay.Transport
	}{{udpOnly, relay.TransportUDP}, {webOnly, relay.TransportWebSocket}} {
		t.Run(string(way.by), func(t *testing.T) {
			n := newNetwork(t)
			n.serve("127.0.0.1:0", "127.0.0.1:0")
			a, b := n.join(way.change).connected(way.by), n.join(way.change).connected(way.by)
			done := make(chan struct{})
			go func() { defer close(done); n.server.Drain(context.Background(), time.Minute) }()
			a.wait("a Drain", func(s relay.State) bool { return s.Draining && s.Connected })
			b.wait("a Drain", func(s relay.State) bool { return s.Draining && s.Connected })
			a.reaches(b, "still")
			n.join(way.change).connected(way.by).reaches(a, "who has no other comes all the same")
			select {
			case <-done:
				t.Error("it did not wait for them")
			default:
			}
			if s := a.State(); s.Connects != 1 {
				t.Errorf("%d connections", s.Connects)
			}
			a.end()
			b.end()
			<-done // the third has nowhere to go, and nobody waits for it for long
		})
	}
}

func TestADrainEndsWhenNobodyIsLeft(t *testing.T) {
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "")
	a := n.join(nil).connected(relay.TransportUDP)
	go func() {
		a.wait("a Drain", func(s relay.State) bool { return s.Draining })
		a.end()
	}()
	begun := time.Now()
	n.server.Drain(context.Background(), time.Hour)
	if n.server.Sessions() != 0 || time.Since(begun) > time.Minute {
		t.Errorf("%d sessions after %v", n.server.Sessions(), time.Since(begun))
	}
}

func TestADrainEndsWithItsTime(t *testing.T) {
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "")
	n.join(nil).connected(relay.TransportUDP)
	begun := time.Now()
	n.server.Drain(context.Background(), time.Second)
	took := time.Since(begun)
	t.Logf("it took %v", took)
	if took < time.Second || took > deadline {
		t.Error("that is not its time")
	}
}
