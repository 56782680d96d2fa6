package server

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

var noDeadline time.Time

// begun is the time of tests without sockets.
var begun = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// tape records what would go out over UDP.
type tape struct{ sent []sent }

type sent struct {
	to    netip.AddrPort
	frame []byte
}

func (t *tape) Add(to netip.AddrPort, b []byte) { t.sent = append(t.sent, sent{to, bytes.Clone(b)}) }

// script is a client without sockets or clock, that says to a forwarder what the test wants.
type script struct {
	t      testing.TB
	f      *forwarder
	issuer key.Server
	node   key.Node
	shared key.Shared
	addr   netip.AddrPort
	now    time.Time

	tag     relay.Tag
	counter uint64
}

func newScript(t testing.TB, f *forwarder, issuer key.Server, addr string) *script {
	node := key.NewNode()
	shared, err := node.Shared(f.hub.public)
	if err != nil {
		t.Fatal(err)
	}
	return &script{t: t, f: f, issuer: issuer, node: node, shared: shared, addr: netip.MustParseAddrPort(addr), now: f.hub.start}
}

// say sends a datagram, and gives all that the relay sends for it.
func (s *script) say(b []byte) []sent {
	out := s.f.out.(*tape)
	out.sent = nil
	s.f.begin(s.now)
	s.f.run(origin{addr: s.addr}, bytes.Clone(b), len(b))
	s.f.end()
	return out.sent
}

// reply is say where there is exactly one answer, to us.
func (s *script) reply(b []byte) []byte {
	s.t.Helper()
	got := s.say(b)
	for _, m := range got {
		if m.to == s.addr && relay.TypeOf(m.frame) != relay.TypeBye {
			return m.frame
		}
	}
	s.t.Fatalf("no answer to a frame of type %d", relay.TypeOf(b))
	return nil
}

func (s *script) cookie() relay.Cookie {
	s.t.Helper()
	nonce := relay.Nonce{1}
	cookie, ok := relay.ParseChallenge(s.reply(relay.AppendHello(nil, s.f.hub.public, nonce)), nonce)
	if !ok {
		s.t.Fatal("no challenge")
	}
	return cookie
}

func (s *script) ticket() []byte {
	return relay.Ticket{Node: s.node.Public(), NotAfter: s.now.Add(time.Hour)}.Sign(s.issuer)
}

// join opens a session and gives the Join that did.
func (s *script) join() []byte {
	s.t.Helper()
	cookie := s.cookie()
	j := relay.AppendJoin(nil, s.shared, cookie, s.ticket())
	w, ok := relay.OpenWelcome(s.reply(j), s.shared, cookie)
	if !ok || w.Observed != s.addr {
		s.t.Fatalf("no welcome: %+v", w)
	}
	s.tag, s.counter = w.Tag, 0
	return j
}

func (s *script) ping(ticket []byte) []byte {
	s.counter++
	return relay.AppendPing(nil, s.shared, s.tag, relay.Ping{Counter: s.counter, Ticket: ticket})
}
