package server

import (
	"bytes"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

// newHubTest gives a forwarder without sockets and the issuer that it serves.
func newHubTest() (*forwarder, key.Server) {
	issuer := key.NewServer()
	h := newHub(Config{Key: key.NewRelay(), Issuers: []key.ServerPublic{issuer.Public()}, Log: slog.New(slog.DiscardHandler)}, begun)
	return &forwarder{hub: h, out: &tape{}}, issuer
}

// TestWhatIsNotProvenGetsNoAnswerAndChangesNothing sends every kind of wrong frame, and then shows with a right one
// that the relay would have answered.
func TestWhatIsNotProvenGetsNoAnswerAndChangesNothing(t *testing.T) {
	f, issuer := newHubTest()
	a := newScript(t, f, issuer, "192.0.2.1:1")
	b := newScript(t, f, issuer, "192.0.2.2:2")
	stranger := newScript(t, f, issuer, "192.0.2.3:3")
	a.join()
	b.join()
	to := relay.AddressOf(b.node.Public())
	cookie := stranger.cookie()
	good := relay.AppendJoin(nil, stranger.shared, cookie, stranger.ticket())
	damaged := bytes.Clone(good)
	damaged[len(damaged)-3] ^= 1
	replayed := a.ping(nil)
	a.reply(replayed)
	late := newScript(t, f, issuer, "192.0.2.4:4")
	lateJoin := relay.AppendJoin(nil, late.shared, late.cookie(), late.ticket())
	neighbour := *stranger // whose cookie is for another address, and the same port
	neighbour.addr = netip.AddrPortFrom(netip.MustParseAddr("192.0.2.33"), stranger.addr.Port())
	late.now = late.now.Add(cookieLife + time.Millisecond) // no two cookies have the same time

	for _, c := range []struct {
		name  string
		who   *script
		frame []byte
	}{
		{"nothing", stranger, nil},
		{"one byte", stranger, []byte{byte(relay.TypeData)}},
		{"an unknown type", stranger, bytes.Repeat([]byte{0xee}, 100)},
		{"data without a session", stranger, relay.AppendTrailer([]byte("x"), to, relay.Tag{1})},
		{"data with another's tag", stranger, relay.AppendTrailer([]byte("x"), to, a.tag)},
		{"data without a packet", a, relay.AppendTrailer(nil, to, a.tag)},
		{"a Hello to another relay", stranger, relay.AppendHello(nil, key.NewRelay().Public(), relay.Nonce{})},
		{"a short Hello", stranger, relay.AppendHello(nil, f.hub.public, relay.Nonce{})[1:]},
		{"a Join with no cookie of ours", stranger, relay.AppendJoin(nil, stranger.shared, relay.Cookie{1}, stranger.ticket())},
		{"a Join with another's cookie", b, good},
		{"a Join from another address than its cookie's", &neighbour, good},
		{"a damaged Join", stranger, damaged},
		{"a Join with a stolen ticket", stranger, relay.AppendJoin(nil, stranger.shared, cookie, a.ticket())},
		{"a Join with no ticket", stranger, relay.AppendJoin(nil, stranger.shared, cookie, nil)},
		{"a Join that is late", late, lateJoin},
		{"a Ping of no session", stranger, relay.AppendPing(nil, stranger.shared, relay.Tag{1}, relay.Ping{Counter: 1})},
		{"a Ping of another's session", stranger, relay.AppendPing(nil, stranger.shared, a.tag, relay.Ping{Counter: 9})},
		{"a replayed Ping", a, replayed},
		{"a replayed Ping from elsewhere", stranger, replayed},
		{"a Leave of another's session", stranger, relay.AppendLeave(nil, stranger.shared, a.tag, 9)},
		{"a frame of the relay's", a, relay.AppendPong(nil, a.shared, a.tag, relay.Pong{Counter: 9})},
		{"a Challenge", stranger, relay.AppendChallenge(nil, relay.Nonce{}, cookie)},
		{"STUN that is too short", stranger, relay.AppendSTUNRequest(nil, relay.STUNTransaction{})[:20]},
		{"an answer of STUN", stranger, relay.AppendSTUNResponse(nil, relay.STUNTransaction{}, stranger.addr)},
	} {
		before := *f.hub.sessions.byTag(a.tag).remote.Load()
		if got := c.who.say(c.frame); len(got) != 0 {
			t.Errorf("%s: got an answer of type %d", c.name, relay.TypeOf(got[0].frame))
		}
		if n := f.hub.sessions.size.Load(); n != 2 {
			t.Fatalf("%s: %d sessions, not 2", c.name, n)
		}
		if now := *f.hub.sessions.byTag(a.tag).remote.Load(); now != before {
			t.Errorf("%s: the session moved to %s", c.name, now)
		}
	}
	if got := a.say(relay.AppendTrailer([]byte("x"), to, a.tag)); len(got) != 1 || got[0].to != b.addr {
		t.Errorf("the session does not go on: %v", got)
	}
	if relay.TypeOf(stranger.reply(good)) != relay.TypeWelcome {
		t.Error("the right Join is not taken")
	}
}

func TestAReplayedJoinEndsNoSession(t *testing.T) {
	f, issuer := newHubTest()
	a := newScript(t, f, issuer, "192.0.2.1:1")
	old := a.join()
	a.now = a.now.Add(time.Second)
	a.join()
	if got := a.say(old); len(got) != 0 {
		t.Error("the older Join is answered")
	}
	a.reply(a.ping(nil))
}

// A session on a WebSocket stays there: what comes to it over UDP, even of its own client's, leads nowhere.
func TestASessionOnAWebSocketIsNotToBeHadOverUDP(t *testing.T) {
	f, issuer := newHubTest()
	a := newScript(t, f, issuer, "192.0.2.1:1")
	a.join()
	a.reply(a.ping(nil)) // control
	f.hub.sessions.byTag(a.tag).ws = &webSocket{}
	a.counter++
	for what, frame := range map[string][]byte{
		"a Ping": a.ping(nil), "a Leave": relay.AppendLeave(nil, a.shared, a.tag, a.counter+1),
		"data": relay.AppendTrailer([]byte("x"), relay.AddressOf(a.node.Public()), a.tag),
	} {
		if got := a.say(frame); len(got) != 0 || f.hub.sessions.size.Load() != 1 {
			t.Errorf("%s is taken over UDP", what)
		}
	}
}

func TestARepeatedJoinGetsTheSameSession(t *testing.T) {
	f, issuer := newHubTest()
	a := newScript(t, f, issuer, "192.0.2.1:1")
	cookie := a.cookie()
	j := relay.AppendJoin(nil, a.shared, cookie, a.ticket())
	one, _ := relay.OpenWelcome(a.reply(j), a.shared, cookie)
	two, _ := relay.OpenWelcome(a.reply(j), a.shared, cookie)
	if one.Tag != two.Tag || f.hub.sessions.size.Load() != 1 {
		t.Error("a lost Welcome costs the session")
	}
}

func TestAnotherKeyWithTheSameAddressIsRefused(t *testing.T) {
	f, issuer := newHubTest()
	a := newScript(t, f, issuer, "192.0.2.1:1")
	a.join()
	s := f.hub.sessions.byTag(a.tag)
	twin := &session{name: s.name, node: s.node, tag: newTag(), shared: s.shared, joined: s.joined + 1, until: s.until}
	twin.node[31] ^= 1
	if _, _, why := f.hub.open(twin); why != relay.ReasonTaken {
		t.Errorf("reason %d", why)
	}
	a.reply(a.ping(nil))
}

func TestAFullRelayRefuses(t *testing.T) {
	f, issuer := newHubTest()
	f.hub.limit = 1
	a, b := newScript(t, f, issuer, "192.0.2.1:1"), newScript(t, f, issuer, "192.0.2.2:2")
	a.join()
	cookie := b.cookie()
	why, ok := relay.OpenRefused(b.reply(relay.AppendJoin(nil, b.shared, cookie, b.ticket())), b.shared, cookie)
	if !ok || why != relay.ReasonFull {
		t.Errorf("got %v, %v", why, ok)
	}
	a.join() // who has a session may have another in its place
}

func TestASessionEndsWithItsTicketUnlessItIsRenewed(t *testing.T) {
	f, issuer := newHubTest()
	a, b := newScript(t, f, issuer, "192.0.2.1:1"), newScript(t, f, issuer, "192.0.2.2:2")
	a.join()
	b.join()
	out, byes := f.out.(*tape), []sent(nil)
	for range 4 { // a quarter of an hour each
		for range 15 * 60 / 30 {
			for _, s := range []*script{a, b} {
				s.now = s.now.Add(30 * time.Second)
				s.reply(s.ping(nil))
			}
			out.sent = nil
			f.hub.sweep(out, a.now)
			byes = append(byes, out.sent...)
		}
		a.reply(a.ping(a.ticket()))
	}
	if f.hub.sessions.byTag(a.tag) == nil {
		t.Error("the renewed session is gone")
	}
	if f.hub.sessions.byTag(b.tag) != nil {
		t.Error("the session has outlived its ticket")
	}
	if len(byes) != 1 || byes[0].to != b.addr {
		t.Fatalf("sent: %v", byes)
	}
	if why, ok := relay.OpenBye(byes[0].frame, b.shared); !ok || why != relay.ReasonExpired {
		t.Error("it was not told why")
	}
	// A ticket for somebody else, or of another network, renews nothing.
	a.now = a.now.Add(30 * time.Second)
	b.now = a.now
	until := f.hub.sessions.byTag(a.tag).until
	a.reply(a.ping(b.ticket()))
	if !f.hub.sessions.byTag(a.tag).until.Equal(until) {
		t.Error("another's ticket renews the session")
	}
	other := key.NewServer()
	f.hub.serve(f.out, []key.ServerPublic{issuer.Public(), other.Public()})
	a.reply(a.ping(relay.Ticket{Node: a.node.Public(), NotAfter: a.now.Add(time.Hour)}.Sign(other)))
	if !f.hub.sessions.byTag(a.tag).until.Equal(until) {
		t.Error("another network's ticket renews the session")
	}
	if a.reply(a.ping(a.ticket())); !f.hub.sessions.byTag(a.tag).until.After(until) {
		t.Error("control: a ticket of its own renews nothing")
	}
}

func TestASilentSessionIsForgotten(t *testing.T) {
	f, issuer := newHubTest()
	a := newScript(t, f, issuer, "192.0.2.1:1")
	a.join()
	f.hub.sweep(f.out, a.now.Add(idleTime))
	if f.hub.sessions.size.Load() != 1 {
		t.Error("too early")
	}
	f.hub.sweep(f.out, a.now.Add(idleTime+time.Second))
	if f.hub.sessions.size.Load() != 0 || f.hub.sessions.byTag(a.tag) != nil {
		t.Error("not at all")
	}
}

func TestAPingMovesTheSession(t *testing.T) {
	f, issuer := newHubTest()
	a, b := newScript(t, f, issuer, "192.0.2.1:1"), newScript(t, f, issuer, "192.0.2.2:2")
	a.join()
	b.join()
	a.addr = netip.MustParseAddrPort("[2001:db8::1]:5")
	pong, ok := relay.OpenPong(a.reply(a.ping(nil)), a.shared)
	if !ok || pong.Observed != a.addr {
		t.Errorf("%+v, %v", pong, ok)
	}
	if got := b.say(relay.AppendTrailer([]byte("x"), relay.AddressOf(a.node.Public()), b.tag)); len(got) != 1 || got[0].to != a.addr {
		t.Errorf("got %v", got)
	}
}

func TestAbsenceIsToldNowAndThen(t *testing.T) {
	f, issuer := newHubTest()
	a := newScript(t, f, issuer, "192.0.2.1:1")
	a.join()
	told := 0
	for range 100 { // over a second
		a.now = a.now.Add(10 * time.Millisecond)
		told += len(a.say(relay.AppendTrailer([]byte("x"), relay.Address{1}, a.tag)))
	}
	if told < 9 || told > 11 {
		t.Errorf("%d notices in a second", told)
	}
}

func TestSTUNIsAnswered(t *testing.T) {
	f, issuer := newHubTest()
	for _, addr := range []string{"192.0.2.1:1", "[2001:db8::1]:1"} {
		a := newScript(t, f, issuer, addr)
		request := relay.AppendSTUNRequest(nil, relay.STUNTransaction{7})
		response := a.reply(request)
		id, seen, ok := relay.ParseSTUNResponse(response)
		if !ok || id != (relay.STUNTransaction{7}) || seen != a.addr || len(response) > len(request) {
			t.Errorf("%v %v %v %d", id, seen, ok, len(response))
		}
	}
}

func TestForwardingAllocatesNothing(t *testing.T) {
	f, issuer := newHubTest()
	a, b := newScript(t, f, issuer, "192.0.2.1:1"), newScript(t, f, issuer, "192.0.2.2:2")
	a.join()
	b.join()
	count := &counter{}
	f.out = count
	run := make([]byte, 0, 64*(1400+relay.Overhead))
	packet, to := make([]byte, 1400), relay.AddressOf(b.node.Public())
	if n := testing.AllocsPerRun(100, func() {
		run = run[:0]
		for range 40 {
			run = append(run, packet...)
			run = relay.AppendTrailer(run, to, a.tag)
		}
		f.begin(a.now)
		f.run(origin{addr: a.addr}, run, 1400+relay.Overhead)
		f.end()
	}); n != 0 {
		t.Errorf("%v allocations for 40 packets", n)
	}
	if count.n == 0 {
		t.Error("nothing was forwarded")
	}
}

type counter struct{ n int }

func (c *counter) Add(netip.AddrPort, []byte) { c.n++ }
