package peerpath

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// pairs are two networks between which a direct path can be found without a search.
var pairs = map[string]func(*sim){
	"two easy NATs":                    func(*sim) {},
	"an easy NAT and a public address": func(s *sim) { s.b.nat, s.b.lan = nil, netip.MustParseAddrPort("198.51.100.2:1000") },
	"an easy NAT and a restricted one": func(s *sim) { s.b.nat.restricted = true },
	"a hard NAT and a restricted one":  func(s *sim) { s.b.nat.restricted = true; s.a.nat.hard, s.a.nat.ports = true, map[uint16]simPort{} },
	"a restricted NAT and a hard one":  func(s *sim) { s.a.nat.restricted = true; s.b.nat.hard, s.b.nat.ports = true, map[uint16]simPort{} },
	"a hard NAT and a public address": func(s *sim) {
		s.b.nat, s.b.lan = nil, netip.MustParseAddrPort("198.51.100.2:1000")
		s.a.nat.hard, s.a.nat.ports = true, map[uint16]simPort{}
	},
	"a public address and an easy NAT": func(s *sim) { s.a.nat, s.a.lan = nil, netip.MustParseAddrPort("198.51.100.1:1000") },
	"two machines of one LAN":          func(s *sim) { s.b.home, s.b.nat, s.b.lan = 1, s.a.nat, netip.MustParseAddrPort("192.168.1.3:1000") },
}

// slowWays are what a way is like: on a busy machine, programs take as long as that to answer.
var slowWays = map[string]func(*sim){
	"":                   func(*sim) {},
	", over slow ways":   func(s *sim) { s.direct, s.relay = 300*time.Millisecond, 450*time.Millisecond },
	", by a slow relay":  func(s *sim) { s.relay = 900 * time.Millisecond },
	", with slow probes": func(s *sim) { s.direct = 500 * time.Millisecond },
}

// boundOneLoss is the time to a direct path where one message of the exchange is lost, whichever it is.
const boundOneLoss = 4 * time.Second

func TestOneLostMessageCostsSeconds(t *testing.T) {
	for name, change := range pairs {
		for way, slow := range slowWays {
			for _, oneWay := range []bool{false, true} {
				worst, which, first := time.Duration(0), 0, time.Duration(0)
				for lose := range 15 {
					s := newSim(uint64(lose + 1))
					change(s)
					slow(s)
					s.oneWay, s.lose = oneWay, lose
					took := firstDirect(s)
					if lose == 0 {
						first = took
					}
					if took > worst {
						worst, which = took, lose
					}
				}
				t.Logf("%s%s, one way: %v: %v, at the worst %v", name, way, oneWay, first, worst)
				if worst > boundOneLoss {
					s := newSim(uint64(which + 1))
					s.log = &strings.Builder{}
					change(s)
					slow(s)
					s.oneWay, s.lose = oneWay, which
					firstDirect(s)
					t.Errorf("%s%s, one way: %v: direct only after %v where message %d is lost:\n%s", name, way, oneWay, worst, which, s.log)
				}
			}
		}
	}
}

// firstDirect has two strangers talk for a while, and gives when those who talk are direct.
func firstDirect(s *sim) time.Duration {
	s.meet()
	s.talk(200*time.Millisecond, 8*time.Second)
	took := time.Duration(0)
	for _, h := range s.talkers() {
		if h.direct.IsZero() {
			return time.Hour
		}
		took = max(took, h.direct.Sub(simStart))
	}
	return took
}
