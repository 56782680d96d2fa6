package relay

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"github.com/warren-mesh/warren/coord/key"
)

// The seeds' keys are fixed, so that the corpus keeps its meaning.
const (
	seedNode   = "node-private:0101010101010101010101010101010101010101010101010101010101010101"
	seedRelay  = "relay-private:0202020202020202020202020202020202020202020202020202020202020202"
	seedServer = "server-private:0303030303030303030303030303030303030303030303030303030303030303"
)

// FuzzFrame feeds every parser of frames.
func FuzzFrame(f *testing.F) {
	node, _ := key.ParseNode(seedNode)
	relay, _ := key.ParseRelay(seedRelay)
	shared, err := node.Shared(relay.Public())
	if err != nil {
		f.Fatal(err)
	}
	cookie, tag, nonce := Cookie{1}, Tag{2}, Nonce{3}
	for _, b := range [][]byte{
		{},
		{byte(TypeData)},
		AppendTrailer([]byte("packet"), Address{1}, tag),
		AppendAbsent(nil, Address{1}, tag),
		AppendHello(nil, relay.Public(), nonce),
		AppendChallenge(nil, nonce, cookie),
		AppendJoin(nil, shared, cookie, []byte("ticket")),
		AppendWelcome(nil, shared, cookie, Welcome{Tag: tag}),
		AppendRefused(nil, shared, cookie, ReasonFull),
		AppendPing(nil, shared, tag, Ping{Counter: 1}),
		AppendPong(nil, shared, tag, Pong{Counter: 1}),
		AppendLeave(nil, shared, tag, 1),
		AppendBye(nil, shared, tag, ReasonFull),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		if p, a, g, ok := SplitData(b); ok && !bytes.Equal(AppendTrailer(bytes.Clone(p), a, g), b) {
			t.Error("Data is read as what was not written")
		}
		if a, g, ok := ParseAbsent(b); ok && !bytes.Equal(AppendAbsent(nil, a, g), b) {
			t.Error("Absent is read as what was not written")
		}
		if n, ok := ParseHello(b, relay.Public()); ok && len(b) < len(AppendChallenge(nil, n, cookie)) {
			t.Error("Hello is shorter than its answer")
		}
		if c, ok := ParseChallenge(b, nonce); ok && !bytes.Equal(AppendChallenge(nil, nonce, c), b) {
			t.Error("Challenge is read as what was not written")
		}
		if j, ok := ParseJoin(b); ok {
			j.Open(shared)
		}
		TagOf(b)
		OpenWelcome(b, shared, cookie)
		OpenRefused(b, shared, cookie)
		OpenPing(b, shared)
		OpenPong(b, shared)
		OpenLeave(b, shared)
		OpenBye(b, shared)
		if !bytes.Equal(b, before) {
			t.Error("reading changed the frame")
		}
	})
}

func FuzzTicket(f *testing.F) {
	server, _ := key.ParseServer(seedServer)
	node, _ := key.ParseNode(seedNode)
	now := time.Unix(1_700_000_000, 0)
	good := Ticket{Node: node.Public(), NotAfter: now.Add(time.Hour)}.Sign(server)
	f.Add(good)
	f.Add(good[:40])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := VerifyTicket(b, now, server.Public())
		if err == nil && !bytes.Equal(b, good) {
			// Ed25519 as Go has it accepts one encoding of a signature only.
			t.Errorf("%x is a ticket that nobody signed", b)
		}
		if tk, err := ParseTicket(b); err == nil && !bytes.Equal(b[:ticketBody], tk.body()) {
			t.Error("a ticket is read as what was not written")
		}
	})
}

// FuzzSTUN compares with another implementation where both take a message.
func FuzzSTUN(f *testing.F) {
	addr := netip.MustParseAddrPort("192.0.2.1:9")
	id := STUNTransaction{1}
	f.Add(AppendSTUNRequest(nil, id))
	f.Add(AppendSTUNResponse(nil, id, addr))
	f.Add(AppendSTUNResponse(nil, id, netip.MustParseAddrPort("[2001:db8::1]:9")))
	f.Add(append(appendSTUNHeader(nil, stunSuccess, 4, id), 0, 0x20, 0, 0)) // an address of no bytes: others have panicked at it
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ok := ParseSTUNRequest(b, addr); ok && len(AppendSTUNResponse(nil, id, addr)) > len(b) {
			t.Error("an answer longer than its request")
		}
		got, a, ok := ParseSTUNResponse(b)
		if !ok {
			return
		}
		again := AppendSTUNResponse(nil, got, a)
		if id, back, ok := ParseSTUNResponse(again); !ok || id != got || back != a {
			t.Errorf("%s came back as %s", a, back)
		}
		m := &stun.Message{Raw: bytes.Clone(b)}
		var x stun.XORMappedAddress
		if m.Decode() == nil && x.GetFrom(m) == nil {
			if ip, _ := netip.AddrFromSlice(x.IP); netip.AddrPortFrom(ip.Unmap(), uint16(x.Port)) != a {
				t.Errorf("we read %s, pion %v", a, x)
			}
		}
	})
}
