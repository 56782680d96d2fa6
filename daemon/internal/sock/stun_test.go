package sock

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/disco"
	"github.com/warren-mesh/warren/daemon/internal/peerpath"
	"github.com/warren-mesh/warren/relay"
)

// stunLoop is a loop without sockets, in virtual time, that knows one STUN server.
type stunLoop struct {
	*loop
	t      *testing.T
	server netip.AddrPort
	seen   netip.AddrPort // what the server sees of us
	silent bool           // the server does not answer
	busy   *peer          // with whom there is traffic; nil: nobody
}

func newSTUNLoop(t *testing.T) *stunLoop {
	s := New(Config{noLocal: true})
	s.bind.port.Store(1000)
	l := &stunLoop{
		t: t, server: netip.MustParseAddrPort("192.0.2.1:3478"), seen: netip.MustParseAddrPort("198.51.100.1:1000"),
		loop: &loop{
			Sock: s, now: time.Unix(1000, 0), start: func(func(context.Context)) {},
			active: map[*peer]struct{}{},
		},
	}
	k := key.NewNode().Public()
	l.busy = &peer{Peer: Peer{Key: k}, ep: s.endpoint(k), machine: peerpath.New(nil)}
	l.local.servers = map[coord.RelayID][]netip.AddrPort{1: {l.server}}
	l.startSTUN()
	return l
}

// pass lets time pass, in which the server answers or not.
func (l *stunLoop) pass(d time.Duration) {
	turns := 0
	for end := l.now.Add(d); ; {
		if clear(l.active); l.busy != nil {
			l.busy.machine.Step(l.now, peerpath.Sent{})
			l.active[l.busy] = struct{}{}
		}
		l.localDue()
		for tx := range l.local.round.asked {
			if !l.silent {
				l.stunAnswer(relay.AppendSTUNResponse(nil, tx, l.seen))
			}
		}
		next := l.local.next
		if next.IsZero() || next.After(end) {
			l.now = end
			return
		}
		if turns++; turns > 10_000 {
			l.t.Fatalf("the loop does not come to rest; the next turn is in %v", next.Sub(l.now))
		}
		l.now = next
	}
}

func (l *stunLoop) told() bool {
	return slices.ContainsFunc(l.local.endpoints, func(e coord.Endpoint) bool { return e.Addr == l.seen })
}

func TestALostRoundOfSTUNCostsSeconds(t *testing.T) {
	l := newSTUNLoop(t)
	l.silent = true
	l.pass(2 * time.Second)
	if l.told() || !l.local.blocked {
		t.Fatal("the server was silent, and yet an address is known")
	}
	l.silent = false
	l.pass(stunSoon)
	if !l.told() || l.local.blocked {
		t.Errorf("%v after the first round the address is still not known", stunSoon)
	}

	// A round that is lost later takes nothing away, and the next one comes soon.
	l.pass(stunEvery - time.Second)
	l.silent = true
	l.pass(stunEvery - 5*time.Second)
	l.silent = false
	if !l.told() {
		t.Error("one lost round has taken away an address that is still ours")
	}
	l.pass(stunSoon * 2)
	if !l.told() || l.local.lost != 0 {
		t.Errorf("%d rounds are lost", l.local.lost)
	}

	// Silence that lasts does, and it costs ever fewer questions.
	l.silent = true
	l.pass(time.Minute)
	if l.told() {
		t.Error("after a minute of silence the address is still told")
	}
	began := l.local.round.began
	l.pass(2 * time.Minute)
	if rounds := l.local.round.began.Sub(began); rounds < stunEvery {
		t.Errorf("only %v of questions", rounds)
	}
	if l.local.lost > 12 {
		t.Errorf("%d rounds in three minutes of silence", l.local.lost)
	}

	// On another network the first silent round suffices.
	l.silent = false
	l.pass(time.Minute)
	if !l.told() {
		t.Fatal("the address does not come back")
	}
	l.local.doubtMapped()
	l.startSTUN()
	l.silent = true
	l.pass(2 * time.Second)
	if l.told() {
		t.Error("what was seen on another network is still told")
	}
}

func TestTrafficAfterAnIdleTimeHasTheAddressLookedAtAgain(t *testing.T) {
	l := newSTUNLoop(t)
	l.pass(stunEvery / 2)
	busy := l.busy
	l.busy = nil
	l.pass(time.Hour)
	if d := l.now.Sub(l.local.round.began); d < time.Hour {
		t.Errorf("without traffic it was asked %v ago", d)
	}
	l.seen = netip.MustParseAddrPort("198.51.100.1:2000")
	l.wanted(busy)
	l.busy = busy
	l.pass(0)
	if !l.told() {
		t.Error("traffic began, and the address was not looked at")
	}
}

func TestWhoCallsAPeerLooksAtItsOwnAddress(t *testing.T) {
	l := newSTUNLoop(t)
	l.pass(stunSoon)
	l.seen = netip.MustParseAddrPort("198.51.100.77:1000") // the router has come back with it
	l.callMe(l.busy)
	l.pass(0)
	if !l.told() {
		t.Error("a path was lost, and what is told to the peer is the old address")
	}
	began := l.local.round.began
	for range 20 {
		l.callMe(l.busy)
		l.pass(stunSoon / 20)
	}
	if !l.local.round.began.Equal(began) && l.local.round.began.Sub(began) < stunSoon {
		t.Errorf("the next round came after %v", l.local.round.began.Sub(began))
	}
}

// A search through a hard NAT may have all of its probes arrive at once. STUN's answers are heard beside them.
func TestAFloodOfProbesLeavesRoomForSTUN(t *testing.T) {
	s := New(Config{noLocal: true})
	peer, we := key.NewDisco(), key.NewDisco()
	shared, err := peer.Shared(we.Public())
	if err != nil {
		t.Fatal(err)
	}
	s.discos.Store(&map[key.DiscoPublic]*Endpoint{peer.Public(): s.endpoint(key.NewNode().Public())})
	from := &conn.StdNetEndpoint{AddrPort: netip.MustParseAddrPort("192.0.2.1:3478")}
	for seq := range uint64(2 * inboxSize) {
		s.divert(datagram{from: from, b: disco.Seal(nil, peer.Public(), shared, disco.Ping{Seq: seq + 1})})
	}
	if got := s.drops.overload.Load(); got != inboxSize {
		t.Fatalf("%d of %d probes found no room: this is no flood", got, 2*inboxSize)
	}
	for range stunsSize {
		s.divert(datagram{from: from, b: relay.AppendSTUNResponse(nil, relay.STUNTransaction{1}, from.AddrPort)})
	}
	if got := s.drops.overload.Load(); got != inboxSize {
		t.Errorf("%d of %d answers of STUN's found no room", got-inboxSize, stunsSize)
	}
}
