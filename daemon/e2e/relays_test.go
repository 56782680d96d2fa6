package e2e

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// moveLimit is how long a pair may be without each other when its relay dies.
const moveLimit = 5 * time.Second

// relayedPair gives two machines that talk through the relay "demo", beside which there is another, "spare".
func relayedPair(t *testing.T) (m *mesh.Mesh, spare *mesh.Relay, alice, bob *mesh.Node) {
	t.Helper()
	m, alice, bob = twoHomes(t)
	m.Net.BlockUDP(alice, bob)
	alice.WaitPing(bob, 10*time.Second)
	spare = m.AddRelay(m.Net.Internet().Host("spare"), "spare")
	for _, pair := range [][2]*mesh.Node{{alice, bob}, {bob, alice}} {
		lab.Eventually(t, 10*time.Second, func() error {
			if n := len(pair[0].Status().Relays); n != 2 {
				return errorf("%s knows of %d relays", pair[0].Name(), n)
			}
			return nil
		})
		if p, _ := pair[0].WaitPath(pair[1], ipc.PathRelay, 20*time.Second); p.Relay != "demo" {
			t.Fatalf("%s reaches %s by %+v", pair[0].Name(), pair[1].Name(), p)
		}
	}
	return m, spare, alice, bob
}

// gap pings from before something happens until an answer comes after it, and gives how long there was none.
func gap(t *testing.T, from, to *mesh.Node, happens func()) time.Duration {
	t.Helper()
	inner := to.Inner()
	if err := from.PingOnce(inner); err != nil {
		t.Fatalf("before: %v", err)
	}
	return recovery(t, from, inner, happens)
}

// recovery is gap without the ping before.
func recovery(t *testing.T, from *mesh.Node, inner netip.Addr, happens func()) time.Duration {
	t.Helper()
	begun := time.Now()
	happens()
	for from.PingQuick(inner) != nil {
		if time.Since(begun) > time.Minute {
			t.Fatalf("nothing gets through any more: %+v", from.Status().Relays)
		}
	}
	return time.Since(begun)
}

func TestTrafficGoesOnWhenItsRelayIsKilled(t *testing.T) {
	m, _, alice, bob := relayedPair(t)
	movesWithin(t, alice, bob, func() { m.Relay.Proc.Kill9() })
}

// A relay that stalls says nothing: its sockets are open, and nothing answers.
func TestTrafficGoesOnWhenItsRelayStalls(t *testing.T) {
	m, _, alice, bob := relayedPair(t)
	movesWithin(t, alice, bob, func() { m.Relay.Proc.Pause() })
}

// A line that begins to swallow long packets passes a relay's questions and answers, and small pings.
func TestTrafficGoesOnWhenItsRelaysLineSwallowsLongPackets(t *testing.T) {
	m, _, alice, bob := relayedPair(t)
	m.Relay.Machine.DropLongerThan(1300)
	began := time.Now()
	lab.Eventually(t, patient, func() error { return passes(alice, bob, 1280) })
	t.Logf("traffic again after %v", time.Since(began).Round(time.Millisecond))
	movesWithin(t, alice, bob, func() {})
}

// Who has nothing to send asks its relay for a sign of life the less often, the longer it is idle. It is found all the same.
func TestWhoIsIdleIsFoundWhenItsRelayStalls(t *testing.T) {
	m, spare, alice, bob := relayedPair(t)
	defer spare.Delay(20*time.Millisecond, 0).Heal() // nobody moves there for its latency
	inner := bob.Inner()
	waitIdle(t, bob, m.Relay)
	took := recovery(t, alice, inner, m.Relay.Proc.Pause)
	t.Logf("traffic again after %v", took.Round(time.Millisecond))
	if took > lab.Patience*moveLimit {
		t.Errorf("traffic again only after %v", took)
	}
}

// Nor need anybody else be at its home: who looks for it there, and does not find it, says so.
func TestWhoIsIdleAndAloneAtItsRelayIsFound(t *testing.T) {
	m, spare, alice, bob := relayedPair(t)
	third := m.AddRelay(m.Net.Internet().Host("third"), "third")
	defer third.Delay(40*time.Millisecond, 0).Heal() // nobody moves there for its latency
	m.Net.Block(bob, m.Relay.Machine)
	lab.Eventually(t, time.Minute, func() error {
		for _, r := range alice.Status().Peers {
			if r.Path.Relay == "spare" {
				return nil
			}
		}
		return errorf("%s is not at the spare relay: %+v", bob.Name(), alice.Status().Peers)
	})
	inner := bob.Inner()
	waitIdle(t, bob, spare)
	took := recovery(t, alice, inner, spare.Proc.Pause)
	t.Logf("traffic again after %v", took.Round(time.Millisecond))
	if took > lab.Patience*moveLimit { // though two have to notice it, one after the other
		t.Errorf("traffic again only after %v", took)
	}
}

// waitIdle waits until a machine asks its relay for a sign of life ever more rarely, and has just done it: it will not again for
// twice as long.
func waitIdle(t *testing.T, n *mesh.Node, home *mesh.Relay) {
	t.Helper()
	seen := n.Start("tcpdump", "-l", "-n", "udp and dst port 3478 and dst host "+home.Addr().String())
	defer seen.Stop() //nolint:errcheck // a program that only watches
	const quiet = 5 * time.Second
	asked, last := 0, time.Now()
	lab.Eventually(t, time.Minute, func() error {
		now := strings.Count(seen.Output(), " > ")
		if now == asked {
			return errorf("it has asked its relay %d times, the last time before %v", now, time.Since(last))
		}
		before := last
		if asked, last = now, time.Now(); last.Sub(before) < quiet {
			return errorf("it is not idle yet")
		}
		return nil
	})
}

// The relay and the coordination server are often one process: nobody is left who could tell of a new home.
func TestTrafficGoesOnWhenRelayAndCoordDieTogether(t *testing.T) {
	m, _, alice, bob := relayedPair(t)
	movesWithin(t, alice, bob, func() { m.Coord.Proc.Kill9(); m.Relay.Proc.Kill9() })
}

func movesWithin(t *testing.T, alice, bob *mesh.Node, happens func()) {
	t.Helper()
	took := gap(t, alice, bob, happens)
	t.Logf("traffic again after %v", took.Round(time.Millisecond))
	if took > lab.Patience*moveLimit {
		t.Errorf("traffic again only after %v", took)
	}
	for _, pair := range [][2]*mesh.Node{{alice, bob}, {bob, alice}} {
		if p, _ := pair[0].WaitPath(pair[1], ipc.PathRelay, 10*time.Second); p.Relay != "spare" {
			t.Errorf("%s reaches %s by %+v", pair[0].Name(), pair[1].Name(), p)
		}
	}
}

// TestADrainedRelayLosesNothing restarts a relay as an upgrade does: the machines go to the other one first.
func TestADrainedRelayLosesNothing(t *testing.T) {
	m, _, alice, bob := relayedPair(t)
	lost := losses(t, alice, bob, func() {
		if err := m.Relay.Proc.Stop(); err != nil {
			t.Errorf("the relay ended with %v", err)
		}
	})
	if lost > 0 {
		t.Errorf("%d packets were lost", lost)
	}
	movesWithin(t, alice, bob, func() {})
}

// losses pings ten times a second while something happens and a little longer, and gives how many had no answer.
func losses(t *testing.T, from, to *mesh.Node, happens func()) int {
	t.Helper()
	inner := to.Inner()
	ping := from.Start("ping", "-n", "-i", "0.1", inner.String())
	lab.Eventually(t, 10*time.Second, func() error {
		if !strings.Contains(ping.Output(), "bytes from") {
			return errorf("no answer yet")
		}
		return nil
	})
	happens()
	from.WaitPing(to, 10*time.Second)
	_, before := unanswered(ping.Output())
	lab.Eventually(t, 10*time.Second, func() error {
		if _, last := unanswered(ping.Output()); last == before {
			return errorf("no answer any more")
		}
		return nil
	})
	lost, _ := unanswered(ping.Output())
	for end := time.Now().Add(20 * time.Second); lost > 0 && time.Now().Before(end); lost, _ = unanswered(ping.Output()) {
		_ = from.PingQuick(inner) // what comes late, as on a busy machine, is not lost
	}
	ping.Signal(syscall.SIGINT)
	_ = ping.Wait(10 * time.Second)
	return lost
}

// unanswered counts the pings without an answer before the last that has one, and gives the number of that.
func unanswered(output string) (lost, last int) {
	answered := map[int]bool{}
	for _, found := range regexp.MustCompile(`bytes from .* icmp_seq=(\d+)`).FindAllStringSubmatch(output, -1) {
		n, _ := strconv.Atoi(found[1])
		answered[n], last = true, max(last, n)
	}
	return last - len(answered), last
}
