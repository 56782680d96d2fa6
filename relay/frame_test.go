package relay

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"github.com/warren-mesh/warren/coord/key"
)

// ends are the two ends of a session.
type ends struct {
	node          key.Node
	relay         key.Relay
	client, serve key.Shared
}

func newEnds(t testing.TB) ends {
	t.Helper()
	e := ends{node: key.NewNode(), relay: key.NewRelay()}
	var err1, err2 error
	e.client, err1 = e.node.Shared(e.relay.Public())
	e.serve, err2 = e.relay.Shared(e.node.Public())
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestFramesReadBack(t *testing.T) {
	e := newEnds(t)
	tag, cookie, nonce := Tag{1, 2, 3}, Cookie{4, 5}, Nonce{6}
	addr := AddressOf(e.node.Public())

	packet := []byte("sealed by somebody else")
	f := AppendTrailer(bytes.Clone(packet), addr, tag)
	if p, a, g, ok := SplitData(f); !ok || !bytes.Equal(p, packet) || a != addr || g != tag || len(f) != len(packet)+Overhead {
		t.Error("Data")
	}
	Readdress(f, Address{9}, Tag{8})
	if p, a, g, ok := SplitData(f); !ok || !bytes.Equal(p, packet) || a != (Address{9}) || g != (Tag{8}) {
		t.Error("Data, readdressed")
	}
	if a, g, ok := ParseAbsent(AppendAbsent(nil, addr, tag)); !ok || a != addr || g != tag {
		t.Error("Absent")
	}
	hello := AppendHello(nil, e.relay.Public(), nonce)
	if n, ok := ParseHello(hello, e.relay.Public()); !ok || n != nonce {
		t.Error("Hello")
	}
	if _, ok := ParseHello(hello, key.NewRelay().Public()); ok {
		t.Error("Hello to another relay")
	}
	challenge := AppendChallenge(nil, nonce, cookie)
	if c, ok := ParseChallenge(challenge, nonce); !ok || c != cookie {
		t.Error("Challenge")
	}
	if _, ok := ParseChallenge(challenge, Nonce{7}); ok {
		t.Error("Challenge to another Hello")
	}
	ticket := []byte("ticket")
	j, ok := ParseJoin(AppendJoin(nil, e.client, cookie, ticket))
	if !ok || j.Cookie != cookie || !bytes.Equal(j.Ticket, ticket) || !j.Open(e.serve) {
		t.Error("Join")
	}
	for _, observed := range []string{"192.0.2.1:51820", "[2001:db8::1]:443"} {
		w := Welcome{Tag: tag, Observed: netip.MustParseAddrPort(observed), Idle: time.Minute}
		if got, ok := OpenWelcome(AppendWelcome(nil, e.serve, cookie, w), e.client, cookie); !ok || got != w {
			t.Errorf("Welcome: %+v", got)
		}
		pong := Pong{Counter: 7, Observed: w.Observed}
		if got, ok := OpenPong(AppendPong(nil, e.serve, tag, pong), e.client); !ok || got != pong {
			t.Errorf("Pong: %+v", got)
		}
	}
	if why, ok := OpenRefused(AppendRefused(nil, e.serve, cookie, ReasonIssuer), e.client, cookie); !ok || why != ReasonIssuer {
		t.Error("Refused")
	}
	if p, ok := OpenPing(AppendPing(nil, e.client, tag, Ping{Counter: 7, Ticket: ticket}), e.serve); !ok || p.Counter != 7 || !bytes.Equal(p.Ticket, ticket) {
		t.Error("Ping")
	}
	if c, ok := OpenLeave(AppendLeave(nil, e.client, tag, 8), e.serve); !ok || c != 8 {
		t.Error("Leave")
	}
	if why, ok := OpenBye(AppendBye(nil, e.serve, tag, ReasonShutdown), e.client); !ok || why != ReasonShutdown {
		t.Error("Bye")
	}
	if left, ok := OpenDrain(AppendDrain(nil, e.serve, tag, time.Minute), e.client); !ok || left != time.Minute {
		t.Error("Drain")
	}
}

func TestNoAnswerIsLongerThanItsQuestion(t *testing.T) {
	e := newEnds(t)
	hello := AppendHello(nil, e.relay.Public(), Nonce{})
	if c := AppendChallenge(nil, Nonce{}, Cookie{}); len(c) > len(hello) {
		t.Errorf("Challenge %d, Hello %d", len(c), len(hello))
	}
	join := AppendJoin(nil, e.client, Cookie{}, make([]byte, TicketSize))
	if w := AppendWelcome(nil, e.serve, Cookie{}, Welcome{}); len(w) > len(join) {
		t.Errorf("Welcome %d, Join %d", len(w), len(join))
	}
	ping := AppendPing(nil, e.client, Tag{}, Ping{})
	if p := AppendPong(nil, e.serve, Tag{}, Pong{}); len(p) > len(ping) {
		t.Errorf("Pong %d, Ping %d", len(p), len(ping))
	}
}

// TestOneBitSpoilsASealedFrame also covers that no frame passes for one of another type, session or direction.
func TestOneBitSpoilsASealedFrame(t *testing.T) {
	e := newEnds(t)
	cookie, tag := Cookie{1}, Tag{2}
	open := func(f []byte) bool {
		var ok [7]bool
		if j, parsed := ParseJoin(f); parsed {
			ok[0] = j.Open(e.serve)
		}
		_, ok[1] = OpenWelcome(f, e.client, cookie)
		_, ok[2] = OpenPing(f, e.serve)
		_, ok[3] = OpenPong(f, e.client)
		_, ok[4] = OpenLeave(f, e.serve)
		_, ok[5] = OpenBye(f, e.client)
		_, ok[6] = OpenDrain(f, e.client)
		return ok != [7]bool{}
	}
	for _, f := range [][]byte{
		AppendJoin(nil, e.client, cookie, []byte("ticket")),
		AppendWelcome(nil, e.serve, cookie, Welcome{}),
		AppendPing(nil, e.client, tag, Ping{Counter: 1}),
		AppendPong(nil, e.serve, tag, Pong{Counter: 1}),
		AppendLeave(nil, e.client, tag, 1),
		AppendBye(nil, e.serve, tag, 1),
		AppendDrain(nil, e.serve, tag, time.Second),
	} {
		if !open(f) {
			t.Fatalf("type %d cannot be read as it is", TypeOf(f))
		}
		for bit := range 8 * len(f) {
			f[bit/8] ^= 1 << (bit % 8)
			if open(f) {
				t.Errorf("type %d with bit %d changed is taken", TypeOf(f), bit)
			}
			f[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestTickets(t *testing.T) {
	issuer, node := key.NewServer(), key.NewNode()
	now := time.Unix(1_700_000_000, 0)
	b := Ticket{Node: node.Public(), NotAfter: now.Add(time.Hour)}.Sign(issuer)
	got, err := VerifyTicket(b, now, key.NewServer().Public(), issuer.Public())
	if err != nil || got.Node != node.Public() || got.Issuer != issuer.Public() || !got.NotAfter.Equal(now.Add(time.Hour)) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := VerifyTicket(b, now.Add(time.Hour), issuer.Public()); !errors.Is(err, ErrTicketExpired) {
		t.Errorf("expired: %v", err)
	}
	if _, err := VerifyTicket(b, now); !errors.Is(err, ErrTicketIssuer) {
		t.Errorf("no issuer: %v", err)
	}
	if _, err := VerifyTicket(b[:len(b)-1], now, issuer.Public()); !errors.Is(err, ErrTicketMalformed) {
		t.Errorf("short: %v", err)
	}
	if _, err := VerifyTicket(nil, now, issuer.Public()); !errors.Is(err, ErrTicketMalformed) {
		t.Errorf("empty: %v", err)
	}
	for i := range b {
		b[i] ^= 0x80
		if _, err := VerifyTicket(b, now, issuer.Public()); err == nil {
			t.Errorf("byte %d can be changed", i)
		}
		b[i] ^= 0x80
	}
}

// TestSTUNAgainstPion lets another implementation read our request and answer, and be answered.
func TestSTUNAgainstPion(t *testing.T) {
	for _, text := range []string{"192.0.2.7:40000", "[2001:db8::7]:40000", "[::ffff:192.0.2.7]:40000"} {
		addr := netip.MustParseAddrPort(text)
		id := STUNTransaction{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
		request := AppendSTUNRequest(nil, id)
		m := &stun.Message{Raw: request}
		if err := m.Decode(); err != nil || m.Type != stun.BindingRequest || m.TransactionID != id {
			t.Fatalf("request: %v %v", m, err)
		}
		if got, ok := ParseSTUNRequest(request, addr); !ok || got != id {
			t.Errorf("%s: the request is not taken", text)
		}
		response := AppendSTUNResponse(nil, id, addr)
		if len(response) > len(request) {
			t.Errorf("%s: %d bytes answer %d", text, len(response), len(request))
		}
		m = &stun.Message{Raw: response}
		var x stun.XORMappedAddress
		if err := errors.Join(m.Decode(), x.GetFrom(m)); err != nil {
			t.Fatal(err)
		}
		want := netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
		if ip, _ := netip.AddrFromSlice(x.IP); netip.AddrPortFrom(ip.Unmap(), uint16(x.Port)) != want {
			t.Errorf("pion reads %v, not %s", x, want)
		}
		theirs, err := stun.Build(stun.NewTransactionIDSetter(id), stun.BindingSuccess,
			stun.NewSoftware("other"), &stun.XORMappedAddress{IP: x.IP, Port: x.Port})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range [][]byte{response, theirs.Raw} {
			if got, a, ok := ParseSTUNResponse(b); !ok || got != id || a != want {
				t.Errorf("we read %v %v %v, not %s", got, a, ok, want)
			}
		}
	}
	bare := stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw
	if _, ok := ParseSTUNRequest(bare, netip.MustParseAddrPort("192.0.2.7:40000")); ok {
		t.Error("a request shorter than its answer is taken")
	}
}

// TestWireGuardIsNoSTUN holds for every size of WireGuard's messages, bare and relayed, whatever else is in them.
func TestWireGuardIsNoSTUN(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for kind := byte(1); kind <= 4; kind++ {
		for size := 32; size <= 2000; size++ {
			b := make([]byte, size, size+Overhead)
			for i := 4; i < size; i++ {
				b[i] = byte(rng.Uint32())
			}
			b[0] = kind
			copy(b[4:], []byte{0x21, 0x12, 0xa4, 0x42})
			if IsSTUN(b) || IsSTUN(AppendTrailer(b, Address{}, Tag{})) {
				t.Fatalf("a message of type %d with %d bytes is taken for STUN", kind, size)
			}
		}
	}
}
