package peerpath

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// hardSim is two homes of which the second has a hard NAT.
func hardSim(seed uint64) *sim {
	s := newSim(seed)
	s.b.nat.hard, s.b.nat.ports = true, map[uint16]simPort{}
	return s
}

func TestAHardNATIsPassedByChanceWithinSeconds(t *testing.T) {
	var took []time.Duration
	const plays = 100
	for seed := range uint64(plays) {
		s := hardSim(seed)
		s.meet()
		s.talk(100*time.Millisecond, searchAfter+searchFor+time.Second)
		if !s.a.direct.IsZero() && !s.b.direct.IsZero() {
			took = append(took, later(s.a.direct, s.b.direct).Sub(simStart))
		}
	}
	if len(took) < plays*93/100 {
		t.Fatalf("%d of %d found a path in one search", len(took), plays)
	}
	slices.Sort(took)
	median, worst := took[len(took)/2], took[len(took)-1]
	t.Logf("%d of %d, median %v, worst %v", len(took), plays, median, worst)
	if median > 4*time.Second {
		t.Errorf("the median is %v", median)
	}
}

func TestWhoHadBadLuckInASearchIsDirectSoonAfter(t *testing.T) {
	const plays = 20
	found := 0
	for seed := range uint64(plays) {
		s := hardSim(seed)
		s.block = true // the bad luck
		s.meet()
		s.talk(100*time.Millisecond, searchFor)
		s.block = false
		s.talk(100*time.Millisecond, searchAfter+searchFor/2)
		if !s.a.direct.IsZero() && !s.b.direct.IsZero() {
			found++
		}
	}
	if found < plays*9/10 {
		t.Errorf("%d of %d found a path in the second search", found, plays)
	}
}

func TestASearchIsBoundedAndEndsWithTheTraffic(t *testing.T) {
	s := hardSim(1)
	s.block = true // nothing is ever found
	s.meet()
	s.talk(2*time.Second, 20*time.Minute)
	if got, most := len(s.a.guessed), searchTries*searchProbes; got != most {
		t.Errorf("%d ports were guessed in 20 minutes, not %d", got, most)
	}
	for i := range s.a.guessed {
		n := 0
		for _, at := range s.a.guessed[i:] {
			if at.Sub(s.a.guessed[i]) < time.Second {
				n++
			}
		}
		if n > 150 {
			t.Fatalf("%d within a second", n)
		}
	}
	if most := searchTries * SearchPorts * int(1+searchFor/searchAgain); s.b.opened > most || s.b.opened == 0 {
		t.Errorf("%d pings from sockets of a search, %d at the most", s.b.opened, most)
	}
	// Another network is another chance, and without traffic there is none.
	s.move()
	before := len(s.a.guessed)
	s.talk(500*time.Millisecond, 30*time.Second)
	if len(s.a.guessed) == before {
		t.Error("after a move nothing is searched for")
	}
	s.pass(boundIdle)
	before = len(s.a.guessed)
	s.pass(10 * time.Minute)
	if len(s.a.guessed) != before {
		t.Error("ports are guessed without traffic")
	}
}

func TestSearchesAreRememberedForTheNetworkWhereTheyWere(t *testing.T) {
	s := hardSim(1)
	s.block = true // nothing is ever found
	s.meet()
	s.a.step(NetworkChanged{Network: 1})
	s.talk(2*time.Second, 10*time.Minute)
	all := len(s.a.guessed)
	if all != searchTries*searchProbes {
		t.Fatalf("%d ports were guessed", all)
	}
	s.talk(2*time.Second, time.Hour-10*time.Minute) // the bounds by the hour are over
	for range 5 {
		s.a.step(NetworkChanged{Network: 1})
		s.talk(2*time.Second, time.Minute)
	}
	if got := len(s.a.guessed); got != all {
		t.Errorf("a network that flaps has %d more ports guessed", got-all)
	}
	s.a.step(NetworkChanged{Network: 2})
	s.talk(2*time.Second, 10*time.Minute)
	there := len(s.a.guessed)
	if there == all {
		t.Error("on another network nothing is searched for")
	}
	s.a.step(NetworkChanged{Network: 1})
	s.talk(2*time.Second, 30*time.Minute)
	if got := len(s.a.guessed); got != there {
		t.Errorf("back on the first network %d more ports are guessed", got-there)
	}
	s.a.step(NetworkChanged{Network: 2})
	s.talk(2*time.Second, pastFor+time.Minute)
	s.a.step(NetworkChanged{Network: 1})
	before := len(s.a.guessed)
	s.talk(2*time.Second, 10*time.Minute)
	if len(s.a.guessed) == before {
		t.Error("what is long ago is not tried again")
	}
}

func TestNobodyGuessesWhereItCannotHelp(t *testing.T) {
	for name, change := range map[string]func(*sim){
		"two easy NATs that block": func(s *sim) { s.b.nat.hard = false; s.block = true },
		"two hard NATs":            func(s *sim) { s.a.nat.hard, s.a.nat.ports = true, map[uint16]simPort{} },
		"without a relay":          func(s *sim) { s.setRelay(false) },
		"the LAN": func(s *sim) {
			s.b.home, s.b.nat, s.b.lan = 1, s.a.nat, netip.MustParseAddrPort("192.168.1.3:1000")
		},
	} {
		s := hardSim(1)
		change(s)
		s.meet()
		s.talk(100*time.Millisecond, time.Minute)
		if len(s.a.guessed)+len(s.b.guessed)+s.a.opened+s.b.opened > 0 {
			t.Errorf("%s: %d guessed, %d opened", name, len(s.a.guessed)+len(s.b.guessed), s.a.opened+s.b.opened)
		}
	}
}

// What a peer says can have us guess ports of an address that is not its own: never more than the bounds, whatever it says.
func TestAMaliciousPeerCannotMakeUsAScanner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, now := New(nil), simStart
		m.Step(now, Relay{ID: 1, Up: true})
		m.Step(now, OwnNAT{Hard: rapid.Bool().Draw(t, "hard")})
		var guessed, opened []time.Time
		for range rapid.IntRange(50, 400).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "ms")) * time.Millisecond)
			victim := netip.AddrFrom4([4]byte{198, 51, 100, byte(rapid.IntRange(1, 40).Draw(t, "victim"))})
			addrs := []netip.AddrPort{netip.AddrPortFrom(victim, 53)}
			if rapid.Bool().Draw(t, "several") {
				addrs = append(addrs, netip.AddrPortFrom(victim, 54))
			}
			ev := rapid.SampledFrom([]Event{CallMe{addrs}, Sent{}, Sent{}, nil, Heard{addrs[0]}}).Draw(t, "event")
			for _, act := range m.Step(now, ev) {
				switch act := act.(type) {
				case GuessPorts:
					for range act.Count {
						guessed = append(guessed, now)
					}
				case OpenPorts:
					opened = append(opened, now)
				}
			}
		}
		for i := range guessed {
			n := 0
			for _, at := range guessed[i:] {
				if at.Sub(guessed[i]) < time.Minute {
					n++
				}
			}
			if n > 3*searchProbes {
				t.Fatalf("%d ports guessed within a minute", n)
			}
		}
		for i := range opened {
			n := 0
			for _, at := range opened[i:] {
				if at.Sub(opened[i]) < time.Minute {
					n++
				}
			}
			if n > 3*int(1+searchFor/searchAgain) {
				t.Fatalf("%d times %d ports opened within a minute", n, SearchPorts)
			}
		}
	})
}
