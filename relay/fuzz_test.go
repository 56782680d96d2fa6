package relay

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
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
		AppendDrain(nil, shared, tag, time.Second),
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
		if c, ok := ParseChallenge(b, nonce); ok && !bytes.HasPrefix(b, slices.Concat(nonce[:], c[:])) {
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
		OpenDrain(b, shared)
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

// fuzzCarrier is a carrier that gives the frames of the fuzzer, then ends.
type fuzzCarrier struct {
	carrier
	frames [][]byte
}

func (c *fuzzCarrier) next(wait bool) (frame []byte, err error) {
	if len(c.frames) == 0 {
		if wait {
			return nil, net.ErrClosed
		}
		return nil, nil
	}
	frame, c.frames = c.frames[0], c.frames[1:]
	return frame, nil
}

// FuzzMaliciousRelay lets a relay, or whoever saw the tag, say anything to a client with a session. The first byte of
// each step says how long its frame is and whether it ends with the tag.
func FuzzMaliciousRelay(f *testing.F) {
	node, _ := key.ParseNode(seedNode)
	relay, _ := key.ParseRelay(seedRelay)
	shared, err := node.Shared(relay.Public())
	if err != nil {
		f.Fatal(err)
	}
	tag := Tag{2}
	f.Add([]byte{0x85, 1, 2, 3, 4, 1, 0x89, 1, 2, 3, 4, 5, 6, 7, 8, 2})
	f.Add([]byte{0x81, 9, 0x81, 11, 0x01, 1, 0x00})
	absent := AppendAbsent(nil, Address{3}, Tag{4}) // of another session
	f.Add(append([]byte{byte(len(absent))}, absent...))
	f.Add(append([]byte{0x80 | AddressSize + 1}, append(make([]byte, AddressSize), byte(TypeAbsent))...))
	own := AppendTrailer([]byte{1}, AddressOf(node.Public()), tag)
	f.Add(append([]byte{byte(len(own))}, own...))
	f.Fuzz(func(t *testing.T, b []byte) {
		absent := 0
		c := NewClient(ClientConfig{Node: node, Key: relay.Public(), OnAbsent: func(Address) { absent++ }})
		fc := &fuzzCarrier{}
		want, away := 0, 0
		for len(b) > 0 {
			n := min(int(b[0]&0x7f), len(b)-1)
			frame, tagged := bytes.Clone(b[1:1+n]), b[0]&0x80 != 0
			b = b[1+n:]
			if tagged && n > 0 {
				kind := frame[n-1]
				frame = append(append(frame[:n-1], tag[:]...), kind)
				if _, a, _, ok := SplitData(frame); ok && a != c.self {
					want++
				}
			} else if _, a, g, ok := SplitData(frame); ok && a != c.self && g == tag {
				want++
			}
			if _, g, ok := ParseAbsent(frame); ok && g == tag {
				away++
			}
			fc.frames = append(fc.frames, frame)
		}
		l := &link{carrier: fc, shared: shared, tag: tag}
		bufs, sizes, from, got := [][]byte{make([]byte, 200), make([]byte, 200)}, make([]int, 2), make([]Address, 2), 0
		for {
			n, err := c.fill(l, bufs, sizes, from)
			if err != nil {
				break
			}
			got += n
		}
		if got != want || absent != away {
			t.Errorf("%d packets, not %d, and %d notices of absence, not %d", got, want, absent, away)
		}
		for len(c.notes) > 0 {
			if n := <-c.notes; n.pong != nil || n.bye != 0 || n.drain {
				t.Error("a sealed frame that nobody sealed")
			}
		}
	})
}
