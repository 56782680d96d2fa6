package server

import (
	"testing"
	"time"

	"github.com/warren-mesh/warren/relay"
)

// FuzzDatagrams lets two clients with sessions and a stranger say anything, in any order and at any time. Each step is
// a byte that says who, one that says what (a raw frame, or one made well and perhaps spoiled), one for the time and a length.
func FuzzDatagrams(f *testing.F) {
	f.Add([]byte{0, 0, 0, 3, 1, 2, 3})
	f.Add([]byte{1, 1, 0, 0, 2, 2, 9, 0, 0, 3, 255, 1, 7, 1, 4, 0, 2, 5, 5})
	f.Add([]byte{2, 5, 1, 0, 2, 6, 1, 0, 2, 2, 1, 2, 3, 3, 0, 7, 1, 0})
	f.Fuzz(func(t *testing.T, steps []byte) {
		fw, issuer := newHubTest()
		who := []*script{
			newScript(t, fw, issuer, "192.0.2.1:1"), newScript(t, fw, issuer, "192.0.2.2:2"), newScript(t, fw, issuer, "[2001:db8::3]:3"),
		}
		who[0].join()
		who[1].join()
		now := begun
		for len(steps) >= 4 {
			s, what, wait, n := who[int(steps[0])%3], steps[1], steps[2], int(steps[3])
			steps = steps[4:]
			n = min(n, len(steps))
			raw := steps[:n]
			steps = steps[n:]
			now = now.Add(time.Duration(wait) * 200 * time.Millisecond)
			s.now = now
			frame := s.craft(what, raw)
			for _, m := range s.say(frame) {
				check(t, s, who, frame, m)
			}
			if wait > 200 {
				fw.hub.sweep(fw.out, now)
			}
			if size, all := fw.hub.sessions.size.Load(), len(fw.hub.sessions.all()); int(size) != all || all > 3 {
				t.Fatalf("%d sessions counted, %d there", size, all)
			}
		}
	})
}

// craft makes the frame of a step.
func (s *script) craft(what byte, raw []byte) (b []byte) {
	switch what % 8 {
	case 0:
		return raw
	case 1:
		b = relay.AppendTrailer([]byte("packet"), relay.AddressOf(s.node.Public()), s.tag)
	case 2:
		b = s.ping(nil)
	case 3:
		s.counter++
		b = relay.AppendLeave(nil, s.shared, s.tag, s.counter)
	case 4:
		b = relay.AppendHello(nil, s.f.hub.public, relay.Nonce{what})
	case 5:
		b = relay.AppendJoin(nil, s.shared, s.cookie(), s.ticket())
	case 6:
		b = relay.AppendSTUNRequest(nil, relay.STUNTransaction{what})
	case 7:
		b = s.ping(s.ticket())
	}
	for i, c := range raw { // spoil it
		if len(b) > 0 {
			b[(int(c)*7+i)%len(b)] ^= c
		}
	}
	return b
}

// check holds what a relay may send: to who asked, no more than it asked with, and to others only packets and Byes.
func check(t *testing.T, s *script, who []*script, frame []byte, m sent) {
	t.Helper()
	kind := relay.TypeOf(m.frame)
	if kind == relay.TypeData || kind == relay.TypeBye {
		for _, w := range who {
			if w.addr == m.to {
				return
			}
		}
		t.Fatalf("type %d goes to %s, which is nobody's", kind, m.to)
	}
	if m.to != s.addr {
		t.Fatalf("type %d goes to %s, who asked nothing", kind, m.to)
	}
	if len(m.frame) > len(frame) {
		t.Fatalf("%d bytes of type %d answer %d", len(m.frame), kind, len(frame))
	}
}
