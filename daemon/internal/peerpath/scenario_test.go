package peerpath

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The bounds that hold in every scenario.
const (
	boundCarries = 1600 * time.Millisecond   // from a fault to the first packet through the relay: monitorEvery, timeout, a way
	boundDirect  = 2500 * time.Millisecond   // from traffic and a possible direct path to using it
	boundStops   = idleAfter + 3*time.Second // from the last traffic to the last packet: a hunt that the peer asked for may end
	boundIdle    = boundStops + 5*time.Second
)

// TestRandomScenarios plays faults at random and holds the bounds. A failure is replayed by the seed that rapid prints.
func TestRandomScenarios(t *testing.T) {
	for range 4 { // rapid plays 100 each, unless -rapid.checks says otherwise
		rapid.Check(t, scenario)
	}
}

func scenario(t *rapid.T) {
	s := drawSim(t)
	s.meet()
	faults := rapid.IntRange(0, 6).Draw(t, "faults")
	for i := range faults + 1 {
		s.talk(100*time.Millisecond, time.Duration(rapid.IntRange(3000, 9000).Draw(t, "talk"))*time.Millisecond)
		s.checkCarries(t)
		s.checkDirect(t)
		if i < faults {
			s.fault(t)
		}
	}
	s.checkBounds(t, faults)
	s.pass(boundIdle)
	for _, h := range []*simHost{s.a, s.b} {
		if d := h.m.Deadline(); !d.IsZero() {
			t.Fatalf("%s: %v without traffic, and still a deadline in %v", h.name, boundIdle, d.Sub(s.now))
		}
		if quiet := s.now.Sub(h.lastAct); quiet < boundIdle-boundStops {
			t.Fatalf("%s did something %v after the traffic", h.name, boundIdle-quiet)
		}
	}
}

// drawSim draws an internet: where the hosts are, what their NATs do, and what gets lost.
func drawSim(t *rapid.T) *sim {
	s := newSim(rapid.Uint64().Draw(t, "seed"))
	s.direct = time.Duration(rapid.IntRange(1, 120).Draw(t, "direct ms")) * time.Millisecond
	s.relay = time.Duration(rapid.IntRange(1, 150).Draw(t, "relay ms")) * time.Millisecond
	s.jitter = time.Duration(rapid.IntRange(0, 30).Draw(t, "jitter ms")) * time.Millisecond
	s.dup = rapid.Float64Range(0, 0.2).Draw(t, "duplicates")
	if rapid.Bool().Draw(t, "lossy") {
		s.loss = rapid.Float64Range(0, 0.25).Draw(t, "loss")
	}
	switch rapid.IntRange(0, 3).Draw(t, "where") {
	case 1: // B has a public address
		s.b.nat, s.b.lan = nil, netip.MustParseAddrPort("198.51.100.2:1000")
	case 2: // one home
		s.b.home, s.b.lan, s.b.nat = 1, netip.MustParseAddrPort("192.168.1.3:1000"), s.a.nat
	case 3: // no direct path at all
		s.block = true
	}
	s.restarted()
	return s
}

// restarted notes that from now on paths may be other ones.
func (s *sim) restarted() {
	s.fresh = s.now
	s.checked = len(s.a.sentAt)
}

// fault changes the world.
func (s *sim) fault(t *rapid.T) {
	what := rapid.SampledFrom([]string{"block", "unblock", "relay down", "relay up", "move", "restart", "idle", "nothing"}).Draw(t, "fault")
	s.logf("-- %s", what)
	s.restarted()
	switch what {
	case "block", "unblock":
		s.block = what == "block"
	case "relay down", "relay up":
		s.setRelay(what == "relay up")
	case "move":
		if s.b.nat == nil || s.b.home == s.a.home {
			return
		}
		s.moves++
		s.b.lan = netip.MustParseAddrPort(fmt.Sprintf("192.168.%d.2:1000", 10+s.moves))
		s.b.nat = &simNAT{
			public: netip.MustParseAddrPort(fmt.Sprintf("203.0.113.%d:1000", 10+s.moves)),
			life:   s.b.nat.life, sent: map[netip.AddrPort]time.Time{},
		}
		s.b.step(NetworkChanged{})
	case "restart":
		m := New(nil)
		s.b.m, s.b.path, s.b.deadline, s.b.alarm = m, Path{}, time.Time{}, 0
		s.b.probes = nil // a new process has a new ledger
		s.b.step(Relay{ID: 1, Up: s.b.relayOn})
		s.b.step(Candidates{Addrs: s.a.endpoints()})
		s.a.step(Restarted{})
		s.a.step(Candidates{Addrs: s.b.endpoints()})
	case "idle":
		s.pass(time.Duration(rapid.IntRange(1, 90).Draw(t, "idle s")) * time.Second)
		s.restarted()
	}
}

// checkCarries: while the relay is up, packets arrive but for a bounded time after a fault.
func (s *sim) checkCarries(t *rapid.T) {
	if !s.a.relayOn {
		return
	}
	after := s.fresh.Add(boundCarries + 3*s.direct + s.relay + s.jitter)
	for _, to := range []*simHost{s.a, s.b} {
		for n := s.checked; n < len(to.arrived); n++ {
			sent := to.peer.sentAt[n]
			// A direct path loses what it loses: there the rule is for the relay and for no loss.
			if s.loss == 0 && sent.After(after) && s.now.Sub(sent) > 500*time.Millisecond && to.arrived[n].IsZero() {
				t.Fatalf("packet %d to %s, sent %v after the fault, was lost; %s uses %s", n, to.name, sent.Sub(s.fresh), to.peer.name, to.peer.path)
			}
		}
	}
}

// checkDirect: where nothing is lost and a direct path is possible, it is used in the end.
func (s *sim) checkDirect(t *rapid.T) {
	possible := !s.block || s.a.home == s.b.home
	if !possible || s.loss > 0 || !s.a.relayOn || s.now.Sub(s.fresh) < boundDirect {
		return
	}
	for _, h := range []*simHost{s.a, s.b} {
		if !h.path.Direct.IsValid() && h.m.ledgerFree(s.now) {
			t.Fatalf("%s uses %s %v after the last change", h.name, h.path, s.now.Sub(s.fresh))
		}
	}
}

// ledgerFree reports whether every candidate may be probed.
func (m *Machine) ledgerFree(now time.Time) bool {
	for _, c := range m.cands.list {
		n := 0
		for _, e := range m.ledger.entries {
			if e.addr == c.addr && now.Sub(e.at) < ledgerSpan {
				n++
			}
		}
		if n >= perAddress-1 && !c.trusted(now) {
			return false
		}
	}
	return true
}

// checkBounds: nobody is scanned, and paths do not take turns.
func (s *sim) checkBounds(t *rapid.T, faults int) {
	for _, h := range []*simHost{s.a, s.b} {
		for i, p := range h.probes {
			n := 0
			for _, q := range h.probes[i:] {
				if q.to == p.to && q.at.Sub(p.at) < ledgerSpan {
					n++
				}
			}
			if n > perAddress && !h.answered[p.to] {
				t.Fatalf("%s sent %d probes to %s within 30 s, which never answered", h.name, n, p.to)
			}
		}
		talked := s.now.Sub(simStart)
		if most := uint64(4 + 3*faults + int(talked/(20*time.Second))); h.m.Stats().Switches > most {
			t.Fatalf("%s switched %d times with %d faults in %v: %v", h.name, h.m.Stats().Switches, faults, talked, h.m.Stats().ByReason)
		}
		if most := 3 + int(talked/time.Second); h.callMes > most {
			t.Fatalf("%s called %d times in %v", h.name, h.callMes, talked)
		}
	}
}

func TestStepWithoutNewsDoesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSim(t)
		s.meet()
		s.talk(50*time.Millisecond, time.Duration(rapid.IntRange(1, 3000).Draw(t, "talk"))*time.Millisecond)
		if s.a.m.Step(s.now, nil); s.a.m.Step(s.now, nil) != nil && len(s.a.m.Step(s.now, nil)) > 0 {
			t.Fatalf("a second look at the same time did %v", s.a.m.out)
		}
		if d := s.a.m.Deadline(); !d.IsZero() && !d.After(s.now) {
			t.Fatalf("the deadline is %v ago, with nothing left to do", s.now.Sub(d))
		}
	})
}

func TestAMaliciousPeerCannotAimOurProbes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, now := New(nil), simStart
		m.Step(now, Relay{ID: 1, Up: true})
		var sent []simProbe
		for range rapid.IntRange(10, 300).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond)
			var addrs []netip.AddrPort
			for range rapid.IntRange(0, 40).Draw(t, "addrs") {
				addrs = append(addrs, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, rapid.Byte().Draw(t, "ip")}), 53))
			}
			ev := rapid.SampledFrom([]Event{CallMe{addrs}, Candidates{addrs}, Sent{}, nil, NetworkChanged{}, Restarted{}, EndpointsChanged{}}).Draw(t, "event")
			if len(addrs) > 0 && rapid.Bool().Draw(t, "heard") {
				ev = Heard{addrs[0]}
			}
			for _, act := range m.Step(now, ev) {
				if p, ok := act.(Probe); ok {
					sent = append(sent, simProbe{p.To, now})
				}
			}
			if len(m.cands.list) > maxCandidates || len(m.ledger.entries) > perPeer {
				t.Fatalf("%d candidates, %d entries", len(m.cands.list), len(m.ledger.entries))
			}
		}
		for i, p := range sent {
			each, all := 0, 0
			for _, q := range sent[i:] {
				if q.at.Sub(p.at) < ledgerSpan {
					all++
					if q.to == p.to {
						each++
					}
				}
			}
			if each > perAddress || all > perPeer {
				t.Fatalf("within 30 s: %d probes to %s, %d in all", each, p.to, all)
			}
		}
	})
}

func TestAnAddressIsUsedOnlyAfterItsOwnAnswer(t *testing.T) {
	m, now := New(nil), simStart
	x, y := netip.MustParseAddrPort("198.51.100.1:1"), netip.MustParseAddrPort("198.51.100.2:2")
	m.Step(now, Relay{ID: 1, Up: true})
	m.Step(now, Candidates{[]netip.AddrPort{x}})
	m.Step(now, Heard{y})
	var probes []Probe
	for _, act := range m.Step(now, Sent{}) {
		if p, ok := act.(Probe); ok {
			probes = append(probes, p)
		}
	}
	if len(probes) == 0 {
		t.Fatal("no probes")
	}
	for _, p := range probes {
		m.Step(now, Pong{Number: p.Number + 1000, From: p.To}) // never sent
		m.Step(now, Pong{Number: p.Number, From: netip.MustParseAddrPort("198.51.100.9:9")})
		m.Step(now, Pong{Number: p.Number, From: p.To}) // used up
	}
	if m.Path() != (Path{Relay: 1}) {
		t.Errorf("it uses %s", m.Path())
	}
}

func TestAddressesThatNoMachineCanHaveAreNeverProbed(t *testing.T) {
	m := New(nil)
	m.Step(simStart, Relay{ID: 1, Up: true})
	var bad []netip.AddrPort
	for _, a := range []string{"127.0.0.1:5", "224.0.0.1:5", "255.255.255.255:5", "0.0.0.0:5", "[::1]:5", "[ff02::1]:5", "[fe80::1]:5", "198.51.100.1:0"} {
		bad = append(bad, netip.MustParseAddrPort(a))
	}
	m.Step(simStart, Candidates{bad})
	m.Step(simStart, CallMe{bad})
	for _, b := range bad {
		m.Step(simStart, Heard{b})
	}
	for _, act := range m.Step(simStart, Sent{}) {
		if p, ok := act.(Probe); ok {
			t.Errorf("it probes %s", p.To)
		}
	}
}
