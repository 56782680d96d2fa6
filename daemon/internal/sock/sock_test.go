package sock

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
)

func TestTwoMachinesTalkThroughTheRelay(t *testing.T) {
	for _, over := range []string{"udp", "websocket"} {
		t.Run(over, func(t *testing.T) {
			w := newWorld(t, over)
			a, b := w.node(false), w.node(false)
			a.home()
			b.home()
			a.know(b)
			b.know(a)
			t.Logf("first packet after %v", a.reaches(b))
			b.reaches(a)
			if p := a.path(b); p.Kind != PathRelay || !p.Active || p.LastReceived.IsZero() {
				t.Errorf("%+v", p)
			}
			s := a.sock.Snapshot()
			if len(s.Relays) != 1 || !s.Relays[0].Up || s.Relays[0].Transport != over || !s.Relays[0].Home {
				t.Errorf("%+v", s.Relays)
			}
			r, err := a.sock.Ping(t.Context(), b.key.Public())
			if err != nil || r.Kind != PathRelay || r.Relay != 1 || r.Latency <= 0 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

func TestTwoMachinesBecomeDirect(t *testing.T) {
	w := newWorld(t, "udp")
	a, b := w.node(true), w.node(true)
	a.home()
	b.home()
	a.know(b)
	b.know(a)
	for _, n := range [][2]*node{{a, b}, {b, a}} { // otherwise WireGuard may be faster, and its first handshake lead nowhere
		n[0].wait("a path", func() bool { kind := n[0].path(n[1]).Kind; return kind == PathRelay || kind == PathDirect })
	}
	t.Logf("first packet after %v", a.reaches(b))
	t.Logf("direct after %v", a.wait("a direct path", func() bool { p := a.path(b); return p.Kind == PathDirect && !p.Doubt }))
	b.wait("a direct path", func() bool { return b.path(a).Kind == PathDirect })
	h := a.path(b).History
	if n := len(h); n < 2 || n > maxHistory || h[0].Kind != PathRelay || h[0].RelayName == "" || h[n-1].Kind != PathDirect || !h[n-1].Addr.IsValid() || h[n-1].At.IsZero() {
		t.Errorf("how it came to be: %+v", h)
	}
	for range 20 {
		a.reaches(b)
		b.reaches(a)
	}
	r, err := a.sock.Ping(t.Context(), b.key.Public())
	if err != nil || r.Kind != PathDirect || !r.Addr.IsValid() || r.Latency <= 0 {
		t.Errorf("%+v, %v", r, err)
	}
	w.stop()
	for range 20 { // without the relay
		a.reaches(b)
		b.reaches(a)
	}
	if d := a.sock.Snapshot().Drops; d.Stranger+d.Replay+d.NoPath > 0 {
		t.Errorf("drops: %+v", d)
	}
}

// WireGuard alone begins its handshake anew after 5 s. Here the one that a stranger was refused is sent again.
func TestAMachineThatHasJustJoinedTalksAtOnce(t *testing.T) {
	w := newWorld(t, "udp")
	a, b := w.node(false), w.node(false)
	a.home()
	b.home()
	a.know(b) // and b does not know a yet
	a.tun.Outbound <- pingPacket(b, a)
	until(t, "a's handshake at b", func() bool { return b.sock.Snapshot().Drops.Stranger > 0 })
	begun, to := time.Now(), a.sock.endpoint(b.key.Public())
	b.know(a)
	select {
	case <-b.tun.Inbound:
	case <-time.After(patience):
		t.Fatal("the first packet was lost")
	}
	t.Logf("it took %v", time.Since(begun))
	if to.begins(begun) {
		t.Error("it waited for WireGuard's next handshake")
	}
}

func TestARestartedPeerIsToldOnce(t *testing.T) {
	w := newWorld(t, "udp")
	a, b, silent := w.node(true), w.node(true), w.node(true)
	a.home()
	b.home()
	a.know(b, silent)
	b.know(a)
	a.reaches(b)
	is, other := b.published(), silent.published()
	is.Disco, other.Disco = key.NewDisco().Public(), key.NewDisco().Public()
	a.sock.SetPeers([]Peer{is, other})
	a.wait("the events", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return len(a.restart) > 1 })
	is.Disco = key.DiscoPublic{} // not known is not another
	a.sock.SetPeers([]Peer{is, other})
	a.sock.NetworkChanged()
	want := []PeerRestarted{{Key: is.Key, Active: true}, {Key: other.Key}}
	if r := a.restart; !slices.Equal(r, want) {
		t.Errorf("%+v", r)
	}
}

func TestPingSaysWhyThereIsNoAnswer(t *testing.T) {
	w := newWorld(t, "udp")
	a, b := w.node(false), w.node(false)
	a.home()
	b.home()
	if _, err := a.sock.Ping(t.Context(), b.key.Public()); !errors.Is(err, ErrUnknownPeer) {
		t.Errorf("an unknown peer: %v", err)
	}
	a.know(b) // b does not know a, and does not answer strangers
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := a.sock.Ping(ctx, b.key.Public()); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("a peer that does not know us: %v", err)
	}
	is := b.published()
	is.Relay = 0
	is.Endpoints = nil
	a.sock.SetPeers([]Peer{is})
	ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := a.sock.Ping(ctx, b.key.Public()); !errors.Is(err, ErrNoPath) {
		t.Errorf("a peer without a path: %v", err)
	}
}

// Who wants to know whether a peer is there disturbs nothing, and hears since when it is silent.
// What is lost for want of a link stays counted when the link gives way to another, or to none.
func TestDropsOnlyGrow(t *testing.T) {
	w := newWorld(t, "udp")
	a := w.node(false).home()
	home := a.sock.slots[0].link.Load()
	w.stop()
	until(t, "packets that no relay takes", func() bool {
		a.sock.sendRelay(home, key.NewNode().Public(), [][]byte{make([]byte, 100)})
		return a.sock.Snapshot().Drops.Relay > 0
	})
	before := a.sock.Snapshot().Drops.Relay
	w.relays = nil
	a.tellRelays()
	until(t, "the link's end", func() bool { return a.sock.slots[0].link.Load() == nil })
	if now := a.sock.Snapshot().Drops.Relay; now < before {
		t.Errorf("%d packets were lost, and %d with the link", now, before)
	}
}

func TestAskingIsNoTraffic(t *testing.T) {
	w := newWorld(t, "udp")
	a, b := w.node(false), w.node(false)
	a.home()
	b.home()
	a.know(b)
	b.know(a)
	k := b.key.Public()
	if e, err := a.sock.Explain(t.Context(), k); err != nil || !e.Heard.IsZero() {
		t.Errorf("before anything came: %+v, %v", e, err)
	}
	if err := a.sock.Ask(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	e, err := a.sock.Explain(t.Context(), k)
	if p := a.sock.Snapshot().Peers[0]; err != nil || e.Heard.IsZero() || p.Active {
		t.Errorf("%+v, %+v, %v", e, p, err)
	}
	b.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := a.sock.Ask(ctx, k); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("one that is gone: %v", err)
	}
	if again, err := a.sock.Explain(t.Context(), k); err != nil || again.Heard.Before(e.Heard) {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestStrangersGetNoAnswerAndNoWay(t *testing.T) {
	w := newWorld(t, "udp")
	a, b, c := w.node(true), w.node(true), w.node(true)
	a.home()
	b.home()
	c.home()
	a.know(b)
	b.know(a)
	c.know(a) // a does not know c
	a.reaches(b)
	a.wait("a direct path", func() bool { p := a.path(b); return p.Kind == PathDirect && !p.Doubt })
	c.tun.Outbound <- pingPacket(a, c)
	until(t, "drops", func() bool {
		d := a.sock.Snapshot().Drops
		return d.Junk > 0 && d.Stranger > 0
	})
	if p := c.path(a); p.Kind == PathDirect {
		t.Errorf("a stranger got an answer: %+v", p)
	}
}

func TestSocketsOpenedAgainAreAsGood(t *testing.T) {
	w := newWorld(t, "udp")
	a, b := w.node(true), w.node(true)
	a.home()
	b.home()
	a.know(b)
	b.know(a)
	a.reaches(b)
	if err := a.dev.Down(); err != nil {
		t.Fatal(err)
	}
	if a.sock.Port() != 0 {
		t.Error("closed, and still a port")
	}
	if err := a.dev.Up(); err != nil {
		t.Fatal(err)
	}
	a.wait("the link", func() bool { s := a.sock.Snapshot(); return len(s.Relays) == 1 && s.Relays[0].Up })
	b.know(a)
	a.reaches(b)
}

func TestATakenPortIsReplaced(t *testing.T) {
	w := newWorld(t, "udp")
	a := w.node(false)
	s := New(Config{Port: a.sock.Port(), Node: key.NewNode(), Disco: key.NewDisco()})
	if _, port, err := s.Bind().Open(0); err != nil || port == a.sock.Port() || port != s.Port() {
		t.Errorf("port %d, %v", port, err)
	}
	if err := s.Bind().Close(); err != nil {
		t.Error(err)
	}
	s = New(Config{Port: a.sock.Port(), PortFixed: true, Node: key.NewNode(), Disco: key.NewDisco()})
	if _, _, err := s.Bind().Open(0); err == nil {
		t.Error("a fixed port was replaced")
	}
}

func TestEndpointsAreFoundAndNeverOurNetworks(t *testing.T) {
	w := newWorld(t, "udp")
	a := w.node(true).home()
	a.wait("endpoints", func() bool { return len(a.published().Endpoints) > 0 })
	s := a.sock.Snapshot()
	for _, ep := range s.Endpoints {
		if ep.Addr.Port() != s.Port || !(a.sock.cfg.allowLoopback && ep.Addr.Addr().IsLoopback() || coord.ValidEndpoint(ep.Addr, &testNetwork)) {
			t.Errorf("%+v", ep)
		}
	}
	a.wait("STUN", func() bool { r := a.sock.Snapshot().Relays; return len(r) == 1 && r[0].Latency > 0 })
}

func TestAdmissionsAreBoundedAndProofsHold(t *testing.T) {
	l := testLoop()
	p := l.peers[l.first]
	for i := range 3 * maxAddrs {
		l.admit(p, stdEndpoint(i), false)
	}
	if len(p.addrs) != maxAddrs || len(*l.known.Load()) != maxAddrs {
		t.Errorf("%d addresses, %d known", len(p.addrs), len(*l.known.Load()))
	}
	other := &peer{Peer: Peer{Key: key.NewNode().Public()}, machine: p.machine}
	other.ep = l.endpoint(other.Key)
	l.peers[other.Key] = other
	l.admit(p, stdEndpoint(100), true)
	l.admit(other, stdEndpoint(100), false)
	if (*l.known.Load())[stdEndpoint(100).AddrPort] != p.ep {
		t.Error("a ping took a proven address")
	}
	l.admit(other, stdEndpoint(100), true)
	if (*l.known.Load())[stdEndpoint(100).AddrPort] != other.ep {
		t.Error("a proof did not")
	}
	l.remove([]*peer{p})
	l.remove([]*peer{other})
	if n := len(*l.known.Load()) + len(*l.sources.Load()) + len(*l.discos.Load()); n > 0 {
		t.Errorf("%d left", n)
	}
}

// A network of ten times as many machines costs ten times as much to take in and to leave, not a hundred times.
func TestManyPeersCostNoMoreEach(t *testing.T) {
	cost := func(n int) uint64 {
		l := testLoop()
		peers := make([]Peer, n)
		for i := range peers {
			peers[i] = Peer{Key: key.NewNode().Public(), Disco: key.NewDisco().Public(), Relay: 1}
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		l.setPeers(peers)
		l.setPeers(nil)
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / uint64(n)
	}
	few, many := cost(100), cost(1000)
	t.Logf("%d bytes for each of 100 peers, %d for each of 1000", few, many)
	if many > 2*few {
		t.Errorf("each of 1000 peers takes %d bytes, of 100 only %d", many, few)
	}
}
