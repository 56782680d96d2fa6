package peerpath

import (
	"net/netip"
	"testing"
	"time"
)

// meetAt is two hosts that have talked for a while over a path that carries packets of this size.
func meetAt(mtu int, talk time.Duration) *sim {
	s := newSim(1)
	s.mtu = mtu
	s.meet()
	s.talk(50*time.Millisecond, talk)
	return s
}

func TestPacketsAreAsLargeAsThePathCarries(t *testing.T) {
	for path, want := range map[int]int{1280: 1280, 1300: 1280, 1350: 1344, 1412: 1408, 1420: 1420, 1500: 1420, 8920: 8896, 65535: 8896} {
		s := meetAt(path, 2*time.Second)
		for _, h := range []*simHost{s.a, s.b} {
			if got := h.m.MTU(); got != want || h.mtu != want && want != SafeMTU {
				t.Errorf("%s: %d over a path of %d; want %d", h.name, got, path, want)
			}
		}
	}
}

func TestAPathThatShrinksIsNoticedBeforeTCPStalls(t *testing.T) {
	worst := time.Duration(0)
	for after := 2 * time.Second; after < 4*time.Second; after += 37 * time.Millisecond {
		for was, is := range map[int]int{8896: 1420, 1420: 1344, 8920: 1280} {
			s := meetAt(was, after)
			s.mtu = is
			shrank := s.now
			for s.a.m.MTU() > is {
				if s.now.Sub(shrank) > 5*time.Second {
					t.Fatalf("from %d to %d after %v: still %d", was, is, after, s.a.m.MTU())
				}
				s.talk(50*time.Millisecond, 50*time.Millisecond)
			}
			worst = max(worst, s.now.Sub(shrank))
			s.talk(50*time.Millisecond, time.Second)
			if got := s.a.m.MTU(); got != is || !s.a.path.Direct.IsValid() || s.a.path.Relay != 0 {
				t.Errorf("from %d to %d after %v: %d by %s", was, is, after, got, s.a.path)
			}
		}
	}
	if worst > time.Second {
		t.Errorf("too large for %v; a TCP that doubles its patience from 200 ms sends again after 1.4 s", worst)
	}
}

func TestARelayCarriesSafePacketsOnly(t *testing.T) {
	s := meetAt(8896, 2*time.Second)
	if s.a.m.MTU() != MaxMTU {
		t.Fatal("the direct path does not carry what it can")
	}
	s.block = true
	s.talk(50*time.Millisecond, 5*time.Second)
	if s.a.path.Direct.IsValid() || s.a.m.MTU() != SafeMTU {
		t.Errorf("%d by %s", s.a.m.MTU(), s.a.path)
	}
	s.block = false
	s.talk(50*time.Millisecond, 15*time.Second)
	if s.a.m.MTU() != MaxMTU {
		t.Errorf("direct again, and no more than %d", s.a.m.MTU())
	}
}

func TestAfterARestTheSizeCountsUntilItIsDisproven(t *testing.T) {
	for _, path := range []int{8896, 1280} {
		s := meetAt(8896, 2*time.Second)
		s.pass(60 * time.Second)
		if s.a.m.MTU() != MaxMTU {
			t.Errorf("idle: %d", s.a.m.MTU())
		}
		s.mtu = path
		s.talk(50*time.Millisecond, 450*time.Millisecond)
		if s.a.m.MTU() != path || !s.a.path.Direct.IsValid() {
			t.Errorf("after a rest, over a path of %d: %d by %s", path, s.a.m.MTU(), s.a.path)
		}
		if switches := s.a.m.Stats().Switches; switches > 2 {
			t.Errorf("%d switches", switches)
		}
	}
}

func TestLargerSizesAreTriedAFewTimesAndThenSeldom(t *testing.T) {
	s := meetAt(1420, 9*time.Minute)
	large := func() (n int) {
		for _, p := range s.a.probes {
			if p.mtu > s.mtu {
				n++
			}
		}
		return n
	}
	first := large()
	if most := climbTries * 2; first == 0 || first > most { // two sizes are larger
		t.Errorf("%d probes that cannot pass, and no more than %d are allowed", first, most)
	}
	s.mtu = MaxMTU // the cable is another one
	s.talk(50*time.Millisecond, 2*time.Minute)
	if s.a.m.MTU() != MaxMTU {
		t.Errorf("no more than %d, eleven minutes later", s.a.m.MTU())
	}
}

func TestASizeThatComesAndGoesIsTriedLessAndLess(t *testing.T) {
	s := meetAt(1420, 2*time.Second)
	changes, was := 0, s.a.m.MTU()
	for i := range 1200 { // a minute
		s.mtu = 1280
		if i%20 > 4 {
			s.mtu = 1420
		}
		s.talk(50*time.Millisecond, 50*time.Millisecond)
		if now := s.a.m.MTU(); now != was {
			was = now
			changes++
		}
	}
	if changes > 16 {
		t.Errorf("%d changes in a minute", changes)
	}
}

func TestLargerSizesAreAskedForWhenSomethingIsNew(t *testing.T) {
	fresh := []netip.AddrPort{netip.MustParseAddrPort("203.0.113.77:1000")}
	for what, happen := range map[string]func(*sim){
		"this machine's network": func(s *sim) { s.a.step(NetworkChanged{Network: 2}) },
		"its endpoints":          func(s *sim) { s.a.step(EndpointsChanged{}) },
		"the peer's process":     func(s *sim) { s.a.step(Restarted{}) },
		"the peer's endpoints":   func(s *sim) { s.a.step(Candidates{Addrs: append(fresh, s.b.endpoints()...)}) },
		"what the peer says":     func(s *sim) { s.a.step(CallMe{Addrs: append(fresh, s.b.endpoints()...)}) },
		"the path": func(s *sim) {
			s.block = true
			s.talk(50*time.Millisecond, 3*time.Second)
			s.block = false
			s.talk(50*time.Millisecond, 15*time.Second)
		},
	} {
		s := meetAt(1420, time.Minute)
		s.mtu = MaxMTU
		s.talk(50*time.Millisecond, 5*time.Second)
		if got := s.a.m.MTU(); got != 1420 {
			t.Fatalf("%d while nothing is new", got)
		}
		happen(s)
		s.talk(50*time.Millisecond, time.Second)
		if got := s.a.m.MTU(); got != MaxMTU {
			t.Errorf("%s is new: %d after a second", what, got)
		}
	}
}

func TestAPeerThatAlwaysHasNewEndpointsHasFewSizesTried(t *testing.T) {
	s := meetAt(1420, 2*time.Second)
	s.a.probes = nil
	for i := range 240 {
		s.a.step(CallMe{Addrs: append(s.b.endpoints(), netip.AddrPortFrom(netip.MustParseAddr("203.0.113.77"), uint16(2000+i)))})
		s.talk(50*time.Millisecond, 500*time.Millisecond)
	}
	large := 0
	for _, p := range s.a.probes {
		if p.mtu > s.mtu {
			large++
		}
	}
	if most := 2 * climbTries * int(1+2*time.Minute/climbLeast); large > most {
		t.Errorf("%d probes in 2 minutes that cannot pass, and no more than %d are allowed", large, most)
	}
}

// changesOfMTU counts them at A in so many minutes of talk, in which world changes the world every 50 ms, and gives how much of
// that packets were large.
func (s *sim) changesOfMTU(minutes int, world func()) (changes, percent int) {
	was, large := s.a.m.MTU(), 0
	steps := minutes * int(time.Minute/(50*time.Millisecond))
	for range steps {
		world()
		s.talk(50*time.Millisecond, 50*time.Millisecond)
		now := s.a.m.MTU()
		if now != was {
			changes++
		}
		if was = now; now > SafeMTU {
			large++
		}
	}
	return changes, 100 * large / steps
}

func TestAPeerThatComesAndGoesChangesFewRoutes(t *testing.T) {
	for _, most := range []struct {
		what  string
		block func(*sim) bool
	}{
		{"goes whenever packets are large, until they are small", func(s *sim) bool { return s.a.m.MTU() > SafeMTU }},
		{"goes whenever packets are large, until they are relayed", func(s *sim) bool {
			return s.a.m.MTU() > SafeMTU || s.block && s.a.path.Direct.IsValid()
		}},
		{"is there every other two seconds", func(s *sim) bool { return s.now.Unix()%4 < 2 }},
	} {
		s := meetAt(MaxMTU, 2*time.Second)
		if n, _ := s.changesOfMTU(5, func() { s.block = most.block(s) }); n == 0 || n > 40 {
			t.Errorf("a peer that %s: %d changes in 5 minutes", most.what, n)
		}
	}
}

func TestALineThatLosesSomeKeepsItsSize(t *testing.T) {
	for _, direct := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 60 * time.Millisecond, 120 * time.Millisecond} {
		for _, loss := range []float64{0.01, 0.05} {
			s := newSim(7)
			s.direct, s.relay = direct, direct+10*time.Millisecond
			s.meet()
			s.talk(50*time.Millisecond, 3*time.Second)
			s.loss = loss
			n, large := s.changesOfMTU(4, func() {})
			t.Logf("%v one way, %.0f %% lost: large %d %% of the time, %d changes", direct, 100*loss, large, n)
			if large < 95 || n > 10 {
				t.Errorf("%v one way, %.0f %% lost: packets are large %d %% of the time, with %d changes", direct, 100*loss, large, n)
			}
		}
	}
}

// retries are when a TCP that has waited for answers in vain since 0 sends again, over a way of that round trip (RFC 6298, with
// the least time of Linux, 200 ms).
func retries(rtt time.Duration) (at []time.Duration) {
	wait := rtt + 200*time.Millisecond
	for sum := wait; sum < 20*time.Second; sum += wait {
		at = append(at, sum)
		wait *= 2
	}
	return at
}

func TestABlackHoleForLargePacketsStallsTCPBriefly(t *testing.T) {
	for _, direct := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 60 * time.Millisecond, 120 * time.Millisecond} {
		worst, late := time.Duration(0), time.Duration(0)
		for after := 2 * time.Second; after < 3*time.Second; after += 67 * time.Millisecond {
			for _, loss := range []float64{0, 0.01} {
				s := newSim(uint64(after))
				s.direct, s.relay = direct, direct+10*time.Millisecond
				s.meet()
				s.talk(50*time.Millisecond, after)
				if s.a.m.MTU() != 1420 {
					t.Fatal("the direct path does not carry what it can")
				}
				s.mtu, s.loss = 1350, loss
				opened := s.now
				for s.a.m.MTU() > 1350 && s.now.Sub(opened) < 10*time.Second {
					s.talk(10*time.Millisecond, 10*time.Millisecond)
				}
				noticed := s.now.Sub(opened)
				for _, at := range retries(2 * direct) {
					if at >= noticed {
						worst, late = max(worst, at), max(late, noticed)
						break
					}
				}
				for range 50 {
					if s.talk(50*time.Millisecond, 200*time.Millisecond); s.a.m.MTU() > 1350 {
						t.Fatalf("%v one way: %d again, where 1350 pass", direct, s.a.m.MTU())
					}
				}
			}
		}
		t.Logf("%v one way: noticed after %v at the worst, and TCP goes on after %v", direct, late, worst)
		if worst > 3*time.Second {
			t.Errorf("%v one way: TCP goes on after %v", direct, worst)
		}
	}
}

func TestAnAnswerThatWasHeldBackProvesNothingAfterAFall(t *testing.T) {
	now, m := simStart, New(nil)
	c := m.cands.name(now, netip.MustParseAddrPort("203.0.113.2:1000"), fromNetmap, nil)
	m.current, m.sent, c.owned = c, now, now
	m.measure()
	c.step = len(steps) - 1
	m.ask(now, c, c.step, causeEvent)
	number := m.probes.number
	m.fall(now.Add(time.Second))
	m.Step(now.Add(1100*time.Millisecond), Pong{From: c.addr, Number: number})
	if got := m.MTU(); got != SafeMTU {
		t.Errorf("%d after a fall, by an answer to a probe from before", got)
	}
}

func TestWhoHasNotAnsweredForLongGetsItsShareWhateverTheSize(t *testing.T) {
	for silent := time.Duration(0); silent < 35*time.Second; silent += 4300 * time.Millisecond {
		s := meetAt(1420, 2*time.Second)
		s.pass(trustFor + time.Second)
		s.block = true
		for range 8 { // wakes it
			s.talk(100*time.Millisecond, 3*time.Second)
			s.pass(idleAfter + silent)
		}
		for i, p := range s.a.probes {
			n := 0
			for _, q := range s.a.probes[i:] {
				if q.to == p.to && !p.owned && !q.owned && q.at.Sub(p.at) < ledgerSpan {
					n++
				}
			}
			if n > perAddress {
				t.Fatalf("%d probes within 30 s to %s, which had not answered for long", n, p.to)
			}
		}
	}
}
