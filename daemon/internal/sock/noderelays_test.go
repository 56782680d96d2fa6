package sock

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/tun/tuntest"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay/server"
)

// nodeRelay starts a machine's relay, and gives what stops it.
func (w *world) nodeRelay(id coord.NodeID, name string) (r NodeRelay, stop func()) {
	w.t.Helper()
	k := key.NewRelay()
	s, err := server.New(server.Config{Key: k, Issuers: []key.ServerPublic{w.issuer.Public()}, UDP: "127.0.0.1:0", Lone: true})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	w.t.Cleanup(stop)
	return NodeRelay{Node: id, Name: name, Key: k.Public(), Addrs: []netip.AddrPort{s.UDPAddr()}}, stop
}

// meets makes two machines that have a relay server over a stream in common, and no direct path.
func meets(t *testing.T) (w *world, a, b *node) {
	w = newWorld(t, "websocket")
	w.loopback = true
	a, b = w.node(false).home(), w.node(false).home()
	a.know(b)
	b.know(a)
	a.reaches(b)
	return w, a, b
}

// talks sends back and forth until it is so. What is lost meanwhile is nobody's concern.
func talks(t *testing.T, a, b *node, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(60 * time.Second); !so(); <-tick.C {
		if time.Now().After(limit) {
			t.Fatalf("waited in vain for: %s; %+v and %+v", what, a.sock.Snapshot(), b.sock.Snapshot())
		}
		for _, way := range [][2]*node{{a, b}, {b, a}} {
			select {
			case way[0].tun.Outbound <- tuntest.Ping(way[1].addr, way[0].addr):
			default:
			}
			select {
			case <-way[1].tun.Inbound:
			default:
			}
		}
	}
	for _, n := range []*node{a, b} { // what is under way is not the next step's
		for quiet := false; !quiet; {
			select {
			case <-n.tun.Inbound:
			case <-time.After(300 * time.Millisecond):
				quiet = true
			}
		}
	}
}

func (n *node) via(o *node) string {
	if p := n.path(o); p.Kind == PathRelay {
		return p.RelayName
	}
	return ""
}

func TestAPairMeetsAtAMachineThatRelaysAndComesBack(t *testing.T) {
	w, a, b := meets(t)
	r, stop := w.nodeRelay(7, "box")
	over := func(name string) func() bool { return func() bool { return a.via(b) == name && b.via(a) == name } }
	set := func(list ...NodeRelay) {
		a.sock.SetNodeRelays(list)
		b.sock.SetNodeRelays(list)
	}
	set(r)
	talks(t, a, b, "the machine is used, since the server is over a stream", over("box"))
	a.reaches(b)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got, err := a.sock.Ping(ctx, b.key.Public()); err != nil || got.Kind != PathRelay || got.Relay != nodeRelayID(7) {
		t.Errorf("a ping says %+v, %v", got, err)
	}
	for _, n := range []*node{a, b} {
		if got := n.published().Relay; got <= 0 {
			t.Errorf("the home is %d", got)
		}
	}

	set()
	talks(t, a, b, "it relays no more", over("test"))
	a.reaches(b)
	set(r)
	talks(t, a, b, "it relays again", over("box"))
	begun := time.Now()
	stop()
	talks(t, a, b, "it is gone", over("test"))
	a.reaches(b)
	t.Logf("left after %v", time.Since(begun))
}

// A machine that relays on somebody's LAN is found by those beside it alone. Whoever is elsewhere must reach them all the same.
func TestAMachineThatOnlyOneOfThePairReachesIsNotUsed(t *testing.T) {
	w, a, b := meets(t)
	r, _ := w.nodeRelay(7, "box")
	elsewhere := r
	elsewhere.Addrs = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")}
	a.sock.SetNodeRelays([]NodeRelay{r})
	b.sock.SetNodeRelays([]NodeRelay{elsewhere})
	reached := func() bool {
		for _, is := range a.sock.Snapshot().Relays {
			if is.Machine && is.Latency > 0 {
				return true
			}
		}
		return false
	}
	talks(t, a, b, "one of them reaches it", reached)
	until := time.Now().Add(meetAfter + 2*proveEvery*meetProofs + 2*saySoon)
	talks(t, a, b, "it would have been used by now", func() bool { return time.Now().After(until) })
	for range 20 {
		a.reaches(b)
		b.reaches(a)
	}
	if a.via(b) != "test" || b.via(a) != "test" || a.published().Relay != 1 || b.published().Relay != 1 {
		t.Errorf("they talk over %q and %q, and are at home at %d and %d", a.via(b), b.via(a), a.published().Relay, b.published().Relay)
	}
}
