package sock

import (
	"slices"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/tun/tuntest"

	"github.com/warren-mesh/warren/coord/key"
)

func (n *node) misses(o *node) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Equal(n.local.Missing, []key.NodePublic{o.key.Public()})
}

// Whoever has traffic with a peer says that it is not at its home: that is gone, or says so. It is said for a while.
func TestAPeerThatIsNotAtItsHomeIsMissed(t *testing.T) {
	for _, c := range []struct {
		name string
		goes func(w *world, b *node)
	}{
		{"its relay stopped", func(w *world, _ *node) { w.stop() }},
		{"its relay has forgotten it", func(_ *world, b *node) { b.stop() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "udp")
			b := w.node(false).home()
			w.addRelay("udp")
			both := w.relays
			w.relays = both[1:]
			a := w.node(false).home()
			w.relays = both
			a.tellRelays() // and b has no other home to go to
			a.know(b)
			b.know(a)
			a.reaches(b)
			if a.misses(b) {
				t.Error("it is missed while it is there")
			}
			c.goes(w, b)
			until(t, "it is missed", func() bool {
				a.tun.Outbound <- tuntest.Ping(b.addr, a.addr)
				return a.misses(b)
			})
			a.wait("it is not told any more", func() bool { return !a.misses(b) })
		})
	}
}

// The link to where a peer was is no use any more: packets that go all the time do not keep it.
func TestAPeersNewHomeIsFoundWhilePacketsGo(t *testing.T) {
	w := newWorld(t, "udp")
	a := w.node(false).home()
	stopHome := w.addRelay("udp")
	w.addRelay("udp")
	all := w.relays
	w.relays = all[1:2]
	b := w.node(false).home()
	w.relays = all
	a.tellRelays()
	a.know(b)
	b.know(a)
	a.reaches(b)
	stop, sending := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sending)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				a.tun.Outbound <- tuntest.Ping(b.addr, a.addr)
			}
		}
	}()
	defer func() { close(stop); <-sending }()
	stopHome()
	a.wait("it is missed", func() bool { return a.misses(b) })
	w.relays = all[2:]
	b.tellRelays()
	b.wait("another home", func() bool { return b.published().Relay == 3 })
	for len(b.tun.Inbound) > 0 {
		<-b.tun.Inbound
	}
	a.know(b)
	for range 3 {
		select {
		case <-b.tun.Inbound:
		case <-time.After(patience):
			t.Fatalf("nothing comes: %+v", a.sock.Snapshot())
		}
	}
}
