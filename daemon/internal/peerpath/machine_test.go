package peerpath

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden transcripts")

// stories are played and compared with testdata/NAME.golden, line by line: what each end did, and when.
var stories = []struct {
	name string
	play func(*sim)
}{
	{"two_nats_become_direct_and_then_idle", func(s *sim) {
		s.meet()
		s.talk(500*time.Millisecond, 4*time.Second)
		s.pass(30 * time.Second)
	}},
	{"the_direct_path_dies_silently_and_comes_back", func(s *sim) {
		s.meet()
		s.talk(100*time.Millisecond, 3500*time.Millisecond)
		s.block = true
		s.logf("-- blocked")
		s.talk(100*time.Millisecond, 5*time.Second)
		s.block = false
		s.logf("-- unblocked")
		s.talk(100*time.Millisecond, 3*time.Second)
	}},
	{"a_path_that_opens_during_a_long_hunt_is_found_within_seconds", func(s *sim) {
		s.direct, s.relay, s.block = time.Millisecond, time.Millisecond, true
		s.meet()
		s.talk(100*time.Millisecond, 22104*time.Millisecond)
		s.block = false
		s.logf("-- unblocked")
		s.talk(100*time.Millisecond, 2*time.Second)
	}},
	{"the_local_network_comes_first", func(s *sim) {
		s.b.home, s.b.lan, s.b.nat = 1, netip.MustParseAddrPort("192.168.1.3:1000"), s.a.nat
		s.meet()
		s.talk(500*time.Millisecond, 3*time.Second)
	}},
	{"the_first_handshake_is_lost", func(s *sim) {
		s.b.relayOn = false
		s.a.step(Relay{ID: 1, Up: true})
		s.a.startHandshake()
		s.pass(450 * time.Millisecond)
		s.b.relayOn = true
		s.logf("-- B has joined")
		s.pass(4 * time.Second)
	}},
	{"after_an_idle_time_both_ways_until_proven", func(s *sim) {
		s.meet()
		s.talk(time.Second, 2*time.Second)
		s.pass(60 * time.Second)
		s.logf("-- traffic again")
		s.talk(time.Second, 2*time.Second)
	}},
	{"the_peer_moves_to_another_network", func(s *sim) {
		s.meet()
		s.talk(500*time.Millisecond, 3*time.Second)
		s.logf("-- B moves")
		s.b.lan = netip.MustParseAddrPort("192.168.9.2:1000")
		s.b.nat.public = netip.MustParseAddrPort("203.0.113.9:1000")
		s.b.step(NetworkChanged{})
		s.talk(500*time.Millisecond, 4*time.Second)
	}},
}

func TestStories(t *testing.T) {
	for _, story := range stories {
		t.Run(story.name, func(t *testing.T) {
			s := newSim(1)
			s.log = &strings.Builder{}
			story.play(s)
			file := filepath.Join("testdata", story.name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(s.log.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.log.String(); got != string(want) {
				t.Errorf("the story goes otherwise (go test -update, if it should):\n%s", got)
			}
		})
	}
}
