package peerpath

import (
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The bounds that hold in every scenario.
const (
	boundCarries = 1600 * time.Millisecond   // from a fault to the first packet through the relay: monitorEvery, timeout, a way
	boundShrinks = 2 * time.Second           // from a smaller path to packets that fit, while there is traffic
	boundDirect  = 2500 * time.Millisecond   // from traffic and a possible direct path to using it
	boundStops   = idleAfter + 3*time.Second // from the last traffic to the last packet: a hunt that the peer asked for may end
	boundIdle    = boundStops + 5*time.Second
)

// TestRandomScenarios plays faults at random and holds the bounds. A failure is replayed by the seed that rapid prints.
func TestRandomScenarios(t *testing.T) {
	for i := range scenarios / 100 { // rapid plays 100 each, unless -rapid.checks says otherwise
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, scenario)
		})
	}
}

func scenario(t *rapid.T) {
	s := drawSim(t)
	s.meet()
	faults := rapid.IntRange(0, 6).Draw(t, "faults")
	for i := range faults + 1 {
		talk := rapid.IntRange(3000, 9000).Draw(t, "talk")
		if rapid.IntRange(0, 4).Draw(t, "longer") == 4 {
			talk += rapid.IntRange(0, 60_000).Draw(t, "by")
		}
		s.talk(100*time.Millisecond, time.Duration(talk)*time.Millisecond)
		s.checkCarries(t)
		s.checkDirect(t)
		s.checkMTU(t)
		if i < faults {
			s.fault(t)
		}
	}
	s.checkBounds(t, faults)
	if s.oneWay {
		s.pass(keepaliveTimeout) // the last traffic is B's keepalive
	}
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
	s.oneWay = rapid.IntRange(0, 3).Draw(t, "one way") == 3
	switch rapid.IntRange(0, 4).Draw(t, "where") {
	case 1: // B has a public address
		s.b.nat, s.b.lan = nil, netip.MustParseAddrPort("198.51.100.2:1000")
	case 2: // one home
		s.b.home, s.b.lan, s.b.nat = 1, netip.MustParseAddrPort("192.168.1.3:1000"), s.a.nat
	case 3: // no direct path at all
		s.block = true
	case 4: // B's NAT gives each destination a port: only chance finds it
		s.b.nat.hard, s.b.nat.ports = true, map[uint16]simPort{}
	}
	s.restarted()
	s.open(false)
	return s
}

// restarted notes that from now on paths may be other ones.
func (s *sim) restarted() {
	s.fresh = s.now
	s.checked = len(s.a.sentAt)
}

// possible reports whether a direct path exists that is found without chance.
func (s *sim) possible() bool {
	return (!s.block || s.a.home == s.b.home) && (s.b.nat == nil || !s.b.nat.hard)
}

// open notes that a direct path is to be found from now on, and by when. The machines know, unless it is silent.
func (s *sim) open(silent bool) {
	if s.opened = (time.Time{}); !s.possible() {
		return
	}
	s.opened = s.now
	s.within = boundDirect
	for _, h := range []*simHost{s.a, s.b} {
		h.look()
		if addr := h.works(); !h.owned(addr) && !h.fresh(addr) && (silent || !h.spare(addr)) {
			s.within = spread + 4*(s.direct+s.jitter) // a probe, the other's that it brings about, and their answers
		}
	}
}

// spent counts the probes that an address got within a time before now, while it was not known to be the other's.
func (h *simHost) spent(addr netip.AddrPort, within time.Duration) (n int) {
	for _, p := range h.probes {
		if p.to == addr && !p.owned && h.s.now.Sub(p.at) < within {
			n++
		}
	}
	return n
}

// fresh reports whether the address has got nothing lately.
func (h *simHost) fresh(addr netip.AddrPort) bool { return h.spent(addr, ledgerSpan) == 0 }

// spare reports whether the address may get a probe now, and another one when a message comes from there, without
// using up what it is to get later: five probes in 30 s, and after each at least one every spread.
func (h *simHost) spare(addr netip.AddrPort) bool {
	for k := 1; k < perAddress-1; k++ {
		if h.spent(addr, time.Duration(k)*spread) > k {
			return false
		}
	}
	return h.spent(addr, ledgerSpan) <= perAddress-2 && h.spent(addr, spreadFirst) == 0
}

// fault changes the world.
func (s *sim) fault(t *rapid.T) {
	what := rapid.SampledFrom([]string{"block", "unblock", "relay down", "relay up", "move", "restart", "idle", "nothing", "mtu"}).Draw(t, "fault")
	s.logf("-- %s", what)
	s.restarted()
	switch what {
	case "block", "unblock":
		if was := s.possible(); was != s.setBlock(what == "block") {
			s.open(true)
		}
	case "relay down", "relay up":
		if up := what == "relay up"; up != s.a.relayOn {
			s.open(false)
			s.setRelay(up)
		}
	case "move":
		if s.b.nat == nil || s.b.home == s.a.home {
			return
		}
		s.block = rapid.IntRange(0, 2).Draw(t, "into a network that blocks") == 2
		s.move()
	case "restart":
		m := New(nil)
		s.b.door = 0
		s.b.m, s.b.path, s.b.deadline, s.b.alarm = m, Path{}, time.Time{}, 0
		s.b.probes = nil // a new process has a new ledger
		clear(s.b.answered)
		s.open(false)
		if s.b.nat != nil {
			s.b.step(OwnNAT{Hard: s.b.nat.hard})
		}
		s.b.step(Relay{ID: 1, Up: s.b.relayOn})
		s.b.step(Candidates{Addrs: s.a.endpoints()})
		s.a.step(Restarted{})
		s.a.step(Candidates{Addrs: s.b.endpoints()})
	case "mtu":
		s.mtu = rapid.SampledFrom([]int{1280, 1375, 1420, 5000, 8896}).Draw(t, "mtu")
	case "idle":
		idle := time.Duration(rapid.IntRange(1, 90).Draw(t, "idle s")) * time.Second
		if rapid.Bool().Draw(t, "long") {
			idle += trustFor
		}
		s.pass(idle)
		s.restarted()
		s.open(idle < idleAfter) // a short one goes unnoticed
	}
}

// setBlock lets direct datagrams between homes pass or not, and reports whether there is a direct path then.
func (s *sim) setBlock(block bool) bool {
	s.block = block
	return s.possible()
}

// move has B come to another network.
func (s *sim) move() {
	s.moves++
	s.b.lan = netip.MustParseAddrPort(fmt.Sprintf("192.168.%d.2:1000", 10+s.moves))
	s.b.nat = &simNAT{
		public: netip.MustParseAddrPort(fmt.Sprintf("203.0.113.%d:1000", 10+s.moves)),
		life:   s.b.nat.life, sent: map[netip.AddrPort]time.Time{},
		hard: s.b.nat.hard, ports: map[uint16]simPort{},
	}
	s.b.door = 0
	s.open(false)
	s.b.step(NetworkChanged{})
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

// checkDirect: where nothing is lost and a direct path is possible, it is found soon, and used from then on.
func (s *sim) checkDirect(t *rapid.T) {
	if s.opened.IsZero() || s.loss > 0 || !s.a.relayOn {
		return
	}
	for _, h := range s.talkers() {
		since := h.direct
		if since.IsZero() {
			since = s.now
		}
		if late := since.Sub(s.opened); late > s.within {
			t.Fatalf("%s uses %s: no direct path for %v, and the bound is %v", h.name, h.path, late, s.within)
		}
	}
}

// checkMTU: packets fit through the path that they take, and use what it has, where that may be tried.
func (s *sim) checkMTU(t *rapid.T) {
	for _, h := range s.talkers() {
		if !h.path.Direct.IsValid() && h.m.MTU() != SafeMTU {
			t.Fatalf("%s sends %d by %s", h.name, h.m.MTU(), h.path)
		}
		if s.now.Sub(s.fresh) > boundShrinks+4*(s.direct+s.jitter) && h.mtu > s.mtu {
			t.Fatalf("%s sends %d where %d pass, %v after the fault", h.name, h.mtu, s.mtu, s.now.Sub(s.fresh))
		}
		if since := h.direct; s.loss == 0 && s.possible() && s.a.relayOn && !h.m.doubt && s.now.Sub(h.m.climb.after) > 4*(s.direct+s.jitter) && !since.IsZero() && s.now.Sub(later(since, s.fresh)) > boundShrinks+4*(s.direct+s.jitter) && h.path.Relay == 0 && h.mtu < min(s.mtu, 1375)-31 {
			t.Fatalf("%s sends no more than %d where %d pass", h.name, h.mtu, s.mtu)
		}
	}
}

// checkBounds: nobody is scanned, and paths do not take turns.
func (s *sim) checkBounds(t *rapid.T, faults int) {
	for _, h := range []*simHost{s.a, s.b} {
		for i, p := range h.probes {
			n := 0
			for _, q := range h.probes[i:] {
				if q.to == p.to && !p.owned && !q.owned && q.at.Sub(p.at) < ledgerSpan {
					n++
				}
			}
			if n > perAddress {
				t.Fatalf("%s sent %d probes within 30 s to %s, which had not answered", h.name, n, p.to)
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

func TestAPathThatOpensUnnoticedIsFoundWithinASpread(t *testing.T) {
	for after := time.Duration(0); after < 70*time.Second; after += 970 * time.Millisecond {
		s := newSim(1)
		s.block = true
		s.meet()
		s.talk(500*time.Millisecond, after)
		s.block = false
		opened := s.now
		s.talk(500*time.Millisecond, spread+time.Second)
		for _, h := range []*simHost{s.a, s.b} {
			if h.direct.IsZero() || h.direct.Sub(opened) > spread+4*s.direct {
				t.Errorf("it opened after %v, and %s did not find it, or after %v", after, h.name, h.direct.Sub(opened))
			}
		}
	}
}

func TestAPeerThatLeavesANetworkThatBlocksIsReachedAtOnce(t *testing.T) {
	for after := ledgerSpan + time.Second; after < 100*time.Second; after += 490 * time.Millisecond {
		s := newSim(1)
		s.block = true
		s.meet()
		s.talk(500*time.Millisecond, after)
		s.block = false
		s.move()
		moved := s.now.Add(callMeEvery + spreadFirst)
		s.talk(500*time.Millisecond, spread+time.Second)
		if s.a.direct.IsZero() || s.a.direct.After(moved) {
			t.Errorf("it moved after %v: A reaches it after %v", after, s.a.direct.Sub(s.opened))
		}
		// It must open its new NAT, and then prove A's address: the second probe is at the latest when the first of five ends.
		addr := s.b.works()
		var last []time.Time
		for _, p := range s.b.probes {
			if p.to == addr && !p.owned && p.at.Before(s.b.direct) {
				last = append(last, p.at)
			}
		}
		due := later(moved, last[len(last)-perAddress-1].Add(ledgerSpan+4*s.direct))
		if s.b.direct.IsZero() || s.b.direct.After(due) || s.b.direct.Sub(s.opened) > spread+4*s.direct {
			t.Errorf("it moved after %v: it reaches A after %v", after, s.b.direct.Sub(s.opened))
		}
	}
}

func TestAPeerThatMovesWithoutTrafficOfItsOwnIsFoundAgain(t *testing.T) {
	for after := time.Second; after < 10*time.Second; after += 250 * time.Millisecond {
		for _, block := range []bool{false, true} {
			s := newSim(1)
			s.oneWay, s.block = true, block
			s.meet()
			s.talk(100*time.Millisecond, after)
			s.block = false
			s.move()
			s.talk(100*time.Millisecond, boundDirect)
			if !block && (s.a.direct.IsZero() || s.a.direct.Before(s.opened)) {
				t.Errorf("it moved after %v: A uses %s", after, s.a.path)
			}
			if s.b.callMes == 0 || s.b.m.hunt.called.Before(s.opened) {
				t.Errorf("it moved after %v, and told nobody where to (blocked before: %v)", after, block)
			}
		}
	}
}

func TestTheLedgerSaysWhenTheNextProbeMayBe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l ledger
		now := simStart
		addr := netip.MustParseAddrPort("198.51.100.1:1")
		for range rapid.IntRange(0, 20).Draw(t, "probes") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "ms")) * time.Millisecond)
			to := addr
			if rapid.Bool().Draw(t, "to another") {
				to = netip.MustParseAddrPort("198.51.100.2:2")
			}
			l.take(now, to, rapid.SampledFrom([]cause{causeTime, causeEvent, causeCalled, causeHeard}).Draw(t, "cause"))
		}
		why := rapid.SampledFrom([]cause{causeTime, causeHeard}).Draw(t, "why")
		next := l.next(now, addr, why)
		if wait := next.Sub(now); wait > ledgerSpan {
			t.Fatalf("the next is in %v", wait)
		}
		if next.After(now) && l.take(next.Add(-time.Nanosecond), addr, why) {
			t.Fatalf("it may be before %v as well", next.Sub(now))
		}
		if !l.take(next, addr, why) {
			t.Fatalf("it may not be in %v", next.Sub(now))
		}
	})
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
					sent = append(sent, simProbe{to: p.To, at: now})
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
