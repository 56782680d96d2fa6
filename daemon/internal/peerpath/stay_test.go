package peerpath

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// The bounds of a pair that talked directly, from the return of connectivity; and of one whose path dies without a word, from
// then.
const (
	boundTraffic = time.Second
	boundAgain   = 2 * time.Second
	boundSilent  = 1500 * time.Millisecond

	linkTime = 150 * time.Millisecond // a link to a relay takes that long to come up again
)

// upheavals are what a pair that talks directly lives through. Each gives when connectivity returned.
var upheavals = []struct {
	name   string
	direct bool // there is a direct path at the end
	happen func(*sim) (back time.Time)
}{
	{"the path dies without a word", false, func(s *sim) time.Time {
		s.block = true
		return s.now
	}},
	{"a router forgets its connections", true, func(s *sim) time.Time {
		clear(s.b.nat.sent)
		return s.now
	}},
	{"both routers forget their connections", true, func(s *sim) time.Time {
		clear(s.a.nat.sent)
		clear(s.b.nat.sent)
		return s.now
	}},
	{"mappings die in silence", true, func(s *sim) time.Time {
		s.pass(45 * time.Second)
		return s.now
	}},
	{"a machine sleeps", true, func(s *sim) time.Time {
		s.b.offline, s.b.relayOn = true, false
		s.b.deadline, s.b.alarm = time.Time{}, 0 // it does not run
		for range 600 {
			s.a.data()
			s.pass(500 * time.Millisecond)
		}
		clear(s.b.nat.sent)
		s.b.step(Relay{ID: 1, Up: false})
		s.b.up(NetworkChanged{})
		return s.now
	}},
	{"a router comes back with another address", true, func(s *sim) time.Time {
		s.b.stale = s.b.endpoints()
		s.b.down()
		s.talk(50*time.Millisecond, 20*time.Second)
		s.moves++
		s.b.nat = &simNAT{
			public: netip.MustParseAddrPort(fmt.Sprintf("203.0.113.%d:1000", 50+s.moves)), life: s.b.nat.life, sent: map[netip.AddrPort]time.Time{},
		}
		s.b.up(nil) // nothing that the machine itself could see
		return s.now
	}},
	{"from Wi-Fi to Ethernet", true, func(s *sim) time.Time {
		s.b.down()
		s.b.step(NetworkChanged{})
		s.talk(50*time.Millisecond, 3*time.Second)
		s.b.offline = false
		s.move()
		s.b.up(nil)
		return s.now
	}},
	{"an interface flaps", true, func(s *sim) time.Time {
		for range 50 {
			s.b.down()
			s.b.step(NetworkChanged{})
			s.talk(50*time.Millisecond, 100*time.Millisecond)
			s.b.up(NetworkChanged{})
			s.talk(50*time.Millisecond, 100*time.Millisecond)
		}
		return s.now
	}},
}

// down takes the host off its network. The relay finds out later, and it itself does at once.
func (h *simHost) down() {
	h.offline, h.relayOn = true, false
	h.step(Relay{ID: 1, Up: false})
}

// up brings it back, with what it sees of that, if anything, and its link to the relay soon.
func (h *simHost) up(ev Event) {
	h.offline = false
	if ev != nil {
		h.step(ev)
	}
	h.s.at(h.s.now.Add(linkTime), func(uint64) {
		if !h.offline {
			h.relayOn = true
			h.step(Relay{ID: 1, Up: true})
		}
	})
}

// carried gives how long after a time the first packet was sent that arrived, and after which all arrived.
func (h *simHost) carried(from time.Time) time.Duration {
	last := from
	for n, at := range h.arrived {
		if sent := h.peer.sentAt[n]; at.IsZero() && sent.After(last) && h.s.now.Sub(sent) > time.Second {
			last = sent
		}
	}
	for n := range h.arrived {
		if sent := h.peer.sentAt[n]; sent.After(last) {
			return sent.Sub(from)
		}
	}
	return time.Hour
}

func TestAPairStaysDirect(t *testing.T) {
	for _, what := range upheavals {
		var traffic, direct time.Duration
		for seed := range uint64(15) {
			s := newSim(seed)
			way := rand.New(rand.NewPCG(seed, 2))
			s.direct = time.Duration(1+way.IntN(40)) * time.Millisecond
			s.relay = time.Duration(1+way.IntN(60)) * time.Millisecond
			s.log = &strings.Builder{}
			s.meet()
			s.talk(50*time.Millisecond, 5*time.Second+time.Duration(way.IntN(2000))*time.Millisecond)
			s.logf("-- %s", what.name)
			back := what.happen(s)
			s.logf("-- back")
			settled := map[*simHost]time.Time{} // since when only the direct path that works is used
			for range 160 {
				s.talk(50*time.Millisecond, 50*time.Millisecond)
				for _, h := range []*simHost{s.a, s.b} {
					if at := settled[h]; h.path != (Path{Direct: h.works()}) {
						settled[h] = time.Time{}
					} else if at.IsZero() {
						settled[h] = s.now
					}
				}
			}
			bound := boundTraffic
			if !what.direct {
				bound = boundSilent
			}
			for _, h := range []*simHost{s.a, s.b} {
				took := h.carried(back)
				if traffic = max(traffic, took); took > bound {
					t.Fatalf("%s, seed %d: packets to %s arrive from %v on:\n%s", what.name, seed, h.name, took, tail(s.log.String()))
				}
				switch {
				case !what.direct && h.path.Direct.IsValid():
					t.Fatalf("%s: %s uses %s", what.name, h.name, h.path)
				case !what.direct:
				case settled[h].IsZero(), settled[h].Sub(back) > boundAgain:
					t.Fatalf("%s, seed %d: %s is direct from %v on:\n%s", what.name, seed, h.name, settled[h].Sub(back), tail(s.log.String()))
				default:
					direct = max(direct, settled[h].Sub(back))
				}
			}
		}
		t.Logf("%s: at the worst packets arrive again after %v, directly after %v", what.name, traffic, direct)
	}
}

// tail gives the last lines.
func tail(log string) string {
	lines := strings.SplitAfter(log, "\n")
	return strings.Join(lines[max(0, len(lines)-120):], "")
}

// Who asks why packets go through the relay is not told that the path which just died answers.
func TestAPathThatWasGivenUpDoesNotAnswer(t *testing.T) {
	s := newSim(1)
	s.meet()
	answers := func() bool {
		for _, is := range s.a.m.Explain().Tries {
			if is.Addr == s.a.works() {
				return !is.Answered.IsZero()
			}
		}
		return false
	}
	for _, block := range []bool{false, true, false} {
		s.block = block
		s.talk(100*time.Millisecond, 15*time.Second)
		if direct := s.a.path.Direct.IsValid(); direct == block || answers() == block {
			t.Errorf("blocked %t: the path is %v, and answers %t", block, s.a.path, answers())
		}
	}
}
