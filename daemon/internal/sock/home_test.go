package sock

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
)

var threeRelays = []coord.Relay{{ID: 1}, {ID: 2}, {ID: 3}}

// rounds gives the home after each round of the latencies, in milliseconds; 0 is no answer.
func rounds(h *homing, home coord.RelayID, all ...[3]int) (homes []coord.RelayID) {
	now := time.Unix(1000, 0)
	for _, one := range all {
		now = now.Add(stunEvery)
		for i, ms := range one {
			if ms == 0 {
				h.silent(threeRelays[i].ID)
			} else {
				h.measured(threeRelays[i].ID, time.Duration(ms)*time.Millisecond)
			}
		}
		if to := h.round(threeRelays, home, now); to != 0 {
			home = to
		}
		homes = append(homes, home)
	}
	return homes
}

func TestTheHomeMovesOnlyToWhatStaysNearer(t *testing.T) {
	for _, c := range []struct {
		name string
		all  [][3]int
		want coord.RelayID // at the end
		last coord.RelayID // one round before
	}{
		{"nearer for three rounds", [][3]int{{50, 20, 90}, {50, 20, 90}, {50, 20, 90}}, 2, 1},
		{"nearer for two", [][3]int{{50, 20, 90}, {50, 20, 90}}, 1, 1},
		{"not by enough", [][3]int{{24, 20, 90}, {24, 20, 90}, {24, 20, 90}, {24, 20, 90}}, 1, 1},
		{"nor by a quarter", [][3]int{{100, 80, 90}, {100, 80, 90}, {100, 80, 90}, {100, 80, 90}}, 1, 1},
		{"nearer now and then", [][3]int{{50, 20, 90}, {50, 0, 90}, {50, 20, 90}, {50, 20, 90}}, 1, 1},
		{"the home answers no STUN", [][3]int{{0, 20, 90}, {0, 20, 90}, {0, 20, 90}}, 2, 1},
		{"nobody does", [][3]int{{}, {}, {}, {}}, 1, 1},
	} {
		homes := rounds(&homing{}, 1, c.all...)
		if got, before := homes[len(homes)-1], homes[len(homes)-2]; got != c.want || before != c.last {
			t.Errorf("%s: %v", c.name, homes)
		}
	}
}

// TestABusyLineMovesNoHome has two relays take turns at being slow.
func TestABusyLineMovesNoHome(t *testing.T) {
	var all [][3]int
	for i := range 40 {
		if i%2 == 0 {
			all = append(all, [3]int{200, 30, 90})
		} else {
			all = append(all, [3]int{30, 200, 90})
		}
	}
	home := coord.RelayID(1)
	moves := 0
	for _, now := range rounds(&homing{}, home, all...) {
		if now != home {
			home, moves = now, moves+1
		}
	}
	if moves > 1 {
		t.Errorf("%d moves", moves)
	}
}

func TestWhatFailedComesLast(t *testing.T) {
	h, now := &homing{}, time.Unix(1000, 0)
	for i, ms := range []int{10, 20, 30} {
		h.measured(threeRelays[i].ID, time.Duration(ms)*time.Millisecond)
	}
	want := func(id, but coord.RelayID) {
		t.Helper()
		if got := h.best(threeRelays, but, now); got != id {
			t.Errorf("%d is best, not %d", got, id)
		}
	}
	want(1, 0)
	want(2, 1)
	h.disappointed(1, now)
	want(2, 0)
	now = now.Add(time.Second)
	h.disappointed(2, now)
	want(3, 0)
	now = now.Add(time.Second)
	h.disappointed(3, now)
	want(1, 0) // the longest ago
	want(2, 1)
	h.deaf(1, now)
	h.disappointed(1, now)
	now = now.Add(failedFor)
	want(2, 0)
	now = now.Add(deafFor)
	h.keep(threeRelays[:2])
	want(1, 0)
	if len(h.failed)+len(h.latency) != 4 {
		t.Errorf("%v %v", h.failed, h.latency)
	}
}

// TestALostRelayIsReplaced stops the home of two machines that talk: they meet at the other relay, whether or not anybody
// tells them of one another's new home.
func TestALostRelayIsReplaced(t *testing.T) {
	for _, over := range []string{"udp", "websocket"} {
		t.Run(over, func(t *testing.T) {
			w := newWorld(t, over)
			a, b := w.node(false), w.node(false)
			a.home()
			b.home()
			w.addRelay(over)
			w.tellRelays()
			a.know(b)
			b.know(a)
			a.reaches(b)
			b.reaches(a)
			w.stop()
			begun := time.Now()
			for arrived := false; !arrived; {
				if time.Since(begun) > patience {
					t.Fatalf("nothing gets through; %+v; %+v", a.sock.Snapshot(), b.sock.Snapshot())
				}
				arrived = a.tries(b, 100*time.Millisecond)
			}
			t.Logf("traffic again after %v", time.Since(begun).Round(time.Millisecond))
			for _, n := range []*node{a, b} {
				n.wait("another home", func() bool { return n.published().Relay == 2 })
			}
			a.know(b)
			b.know(a)
			a.reaches(b)
			b.reaches(a)
			if p := a.path(b); p.Kind != PathRelay || p.Relay != 2 {
				t.Errorf("%+v", p)
			}
		})
	}
}

// A relay that the network's people take away serves on until there is another home: meanwhile both can be found.
func TestARelayThatIsTakenAwayIsLeftInPeace(t *testing.T) {
	for _, over := range []string{"udp", "websocket"} {
		t.Run(over, func(t *testing.T) {
			w := newWorld(t, over)
			a, b := w.node(false).home(), w.node(false).home()
			a.know(b)
			b.know(a)
			a.reaches(b)
			w.addRelay(over)
			w.relays = w.relays[1:]
			w.tellRelays()
			for _, n := range []*node{a, b} {
				n.wait("another home", func() bool { return n.published().Relay == 2 })
				n.mu.Lock()
				if i := slices.Index(n.homes, 1); i < 0 || slices.Contains(n.homes[i:], 0) {
					t.Errorf("its homes were %v: without one nobody finds it", n.homes)
				}
				n.mu.Unlock()
			}
			a.know(b)
			b.know(a)
			for arrived := false; !arrived; {
				arrived = a.tries(b, time.Second)
			}
			until(t, "the link to the other is closed", func() bool {
				return !slices.ContainsFunc(a.links(), func(id coord.RelayID) bool { return id == 1 })
			})
			if servers := a.servers(); len(servers) > 1 || len(servers[1]) > 0 {
				t.Errorf("it asks %v for its address", servers)
			}
			a.reaches(b)
			b.reaches(a)
		})
	}
}

// links are the relays to which it has links.
func (n *node) links() (ids []coord.RelayID) {
	for i := range n.sock.slots {
		if is := n.sock.slots[i].link.Load(); is != nil {
			ids = append(ids, is.relay.ID)
		}
	}
	return ids
}

// servers are those that it asks for its address.
func (n *node) servers() map[coord.RelayID][]netip.AddrPort {
	ask := make(chan known, 1)
	n.sock.post(func(m *mail) { m.checks = append(m.checks, ask) })
	return (<-ask).servers
}

// A link that is refused waits for three seconds and more. Once there is another ticket that is a waste: of some, one at least
// must come up before the wait can be over, also where the host is busy.
func TestALinkThatWasRefusedTriesAgainWithAnotherTicket(t *testing.T) {
	const waits = 1500 * time.Millisecond
	w := newWorld(t, "udp")
	for range 10 {
		w.life = -time.Minute
		n := w.node(false)
		until(t, "it is refused", func() bool {
			s := n.sock.Snapshot()
			return len(s.Relays) == 1 && !s.Relays[0].Up && strings.Contains(s.Relays[0].Error, "expired")
		})
		begun := time.Now()
		w.life = time.Hour
		n.tellRelays()
		until(t, "it is connected", func() bool { return n.sock.Snapshot().Relays[0].Up })
		if took := time.Since(begun); took < waits {
			t.Logf("connected after %v", took)
			return
		}
	}
	t.Error("it waited each time")
}
