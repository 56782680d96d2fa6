package peerpath

import (
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
