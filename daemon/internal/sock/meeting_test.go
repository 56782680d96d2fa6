package sock

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/disco"
)

// meetWorld is two meetings and what is between them, in virtual time.
type meetWorld struct {
	now     time.Time
	ends    [2]meeting
	reach   [2][]disco.MeetRelay
	server  time.Duration // 0: it carries nothing
	through map[coord.NodeID]time.Duration
	loses   map[coord.NodeID]int // one in so many probes; of the server: under 0
	asked   [2]map[coord.NodeID]int
}

// lost reports whether what an end sends now by a way is lost.
func (w *meetWorld) lost(end int, way coord.NodeID) bool {
	if w.asked[end] == nil {
		w.asked[end] = map[coord.NodeID]int{}
	}
	w.asked[end][way]++
	return w.loses[way] > 0 && w.asked[end][way]%w.loses[way] == 0
}

// run lets time pass while both have traffic.
func (w *meetWorld) run(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(meetTick) {
		for i := range w.ends {
			m, o := &w.ends[i], &w.ends[1-i]
			m.judge(w.now, m.at != 0, true)
			if list := m.offer(w.reach[i], w.now); m.sayable(list, w.now) {
				m.say(list, w.now)
				if w.server > 0 {
					o.hear(disco.Meet{Relays: list, Stream: m.stream}, w.now)
				}
			}
			there, server := m.probes(w.now)
			if there {
				m.there.ask()
			}
			if took := w.through[m.at]; there && took > 0 && o.at == m.at && !w.lost(i, m.at) {
				m.came(m.at, took, w.now)
			}
			if server {
				m.serverTally.ask()
			}
			if server && w.server > 0 && !w.lost(i, 0) {
				m.cameByServer(w.server, w.now)
			}
		}
	}
}

func (w *meetWorld) uses() (a, b coord.NodeID) {
	at := func(m *meeting) coord.NodeID {
		if m.used {
			return m.at
		}
		return 0
	}
	return at(&w.ends[0]), at(&w.ends[1])
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

func meetRelays(latencies map[int64]int) (list []disco.MeetRelay) {
	for id := int64(1); id < 10; id++ {
		if l, is := latencies[id]; is {
			list = append(list, disco.MeetRelay{Node: id, Latency: ms(l)})
		}
	}
	return list
}

func newMeetWorld() *meetWorld {
	return &meetWorld{now: time.Unix(1, 0), through: map[coord.NodeID]time.Duration{}}
}

func TestAMachineIsUsedWhileItIsBetterThanTheServers(t *testing.T) {
	w := newMeetWorld()
	w.server, w.through[3], w.through[4] = ms(80), ms(30), ms(50)
	w.reach[0], w.reach[1] = meetRelays(map[int64]int{3: 10, 4: 5, 5: 1}), meetRelays(map[int64]int{3: 5, 4: 20, 6: 1})
	use := func(what string, want coord.NodeID) {
		t.Helper()
		if a, b := w.uses(); a != want || b != want {
			t.Errorf("%s: they use %d and %d, not %d", what, a, b, want)
		}
	}
	w.run(meetAfter - ms(200))
	use("a direct path may be found yet", 0)
	w.run(5 * time.Second)
	use("the nearest to both of those that both reach", 3)

	w.through[3] = ms(84)
	w.run(20 * time.Second)
	use("hardly worse than the server", 3)
	w.server = ms(20)
	w.run(30 * time.Second)
	use("the server is nearer", 0)
	w.through[3] = ms(19)
	w.run(30 * time.Second)
	use("hardly better than the server", 0)
	w.ends[0].stream = true
	w.run(60 * time.Second)
	use("but that is over a stream", 3)

	w.server = 0
	w.run(20 * time.Second)
	use("the server is gone", 3)
	w.server = ms(20)
	delete(w.through, 3)
	w.run(meetSilence + meetEvery + ms(500))
	use("it is gone, and left", 0)
	w.through[4] = ms(5)
	w.run(15 * time.Second)
	use("the other", 4)
}

// Packets that are lost slow people down more than a longer way does.
func TestAMachineThatLosesPacketsIsLeftForOneThatDoesNot(t *testing.T) {
	for _, c := range []struct {
		what  string
		loses map[coord.NodeID]int
		want  coord.NodeID
	}{
		{"nothing is lost", nil, 3},
		{"one in fifty", map[coord.NodeID]int{3: 50}, 3},
		{"one in five, and the next is better than the server", map[coord.NodeID]int{3: 5}, 4},
		{"one in five by both machines", map[coord.NodeID]int{3: 5, 4: 5}, 0},
		{"one in five everywhere, as when the line here is bad", map[coord.NodeID]int{3: 5, 4: 5, 0: 5}, 3},
	} {
		w := newMeetWorld()
		w.loses = c.loses
		w.server, w.through[3], w.through[4] = ms(80), ms(30), ms(50)
		w.reach[0], w.reach[1] = meetRelays(map[int64]int{3: 10, 4: 5}), meetRelays(map[int64]int{3: 5, 4: 20})
		w.run(10 * time.Second)
		if a, b := w.uses(); a != 3 || b != 3 {
			t.Errorf("%s: at first they use %d and %d", c.what, a, b)
		}
		w.run(90 * time.Second)
		for range 300 {
			if w.run(time.Second); c.loses[0] > 0 {
				break // the server's answers are lost now and then, too
			}
			if a, b := w.uses(); a != c.want || b != c.want {
				t.Errorf("%s: they use %d and %d, not %d", c.what, a, b, c.want)
				break
			}
		}
		if a, b := w.uses(); a != c.want || b != c.want {
			t.Errorf("%s: at the end they use %d and %d, not %d", c.what, a, b, c.want)
		}
	}
}

// Where both stand is what both have said, and nothing that only one of them knows: one that moved alone would be waited for in vain.
func TestWhereOneStandsBothStand(t *testing.T) {
	w := newMeetWorld()
	w.server, w.through[3], w.through[4] = ms(60), ms(40), ms(38)
	w.reach[0], w.reach[1] = meetRelays(map[int64]int{3: 20, 4: 25}), meetRelays(map[int64]int{3: 20, 4: 25})
	w.ends[0].stream = true
	w.run(10 * time.Second)
	if a, b := w.uses(); a != 3 || b != 3 {
		t.Fatalf("they use %d and %d", a, b)
	}
	w.ends[1].used = false // it thinks the server nearer
	w.reach[0], w.reach[1] = meetRelays(map[int64]int{3: 20, 4: 19}), meetRelays(map[int64]int{3: 20, 4: 19})
	w.run(40 * time.Second)
	if w.ends[0].at != 3 || w.ends[1].at != 3 {
		t.Errorf("a little nearer: they are at %d and %d", w.ends[0].at, w.ends[1].at)
	}
	w.reach[0], w.reach[1] = meetRelays(map[int64]int{3: 20, 4: 9}), meetRelays(map[int64]int{3: 20, 4: 9})
	w.run(40 * time.Second)
	if a, b := w.uses(); a != 4 || b != 4 {
		t.Errorf("much nearer: they use %d and %d", a, b)
	}
}

// A machine that lets probes through and drops packets would otherwise be used for ever.
func TestOneThatCarriesProbesAloneIsLeft(t *testing.T) {
	w := newMeetWorld()
	w.server, w.through[3] = ms(80), ms(1)
	w.reach[0], w.reach[1] = meetRelays(map[int64]int{3: 1}), meetRelays(map[int64]int{3: 1})
	w.ends[0].shakes(w.now) // as all begins
	w.run(10 * time.Second)
	for range 3 {
		if w.ends[0].shakes(w.now) {
			t.Fatal("left for the handshake that each two minutes bring")
		}
		w.run(2 * time.Minute)
	}
	if a, b := w.uses(); a != 3 || b != 3 {
		t.Fatalf("they use %d and %d", a, b)
	}
	w.ends[0].shakes(w.now)
	w.run(5 * time.Second)
	if !w.ends[0].shakes(w.now) {
		t.Error("it is not left")
	}
	w.run(2 * saySoon)
	for end := w.now.Add(distrustFor - 10*time.Second); w.now.Before(end); w.run(time.Second) {
		if a, b := w.uses(); a != 0 || b != 0 {
			t.Fatalf("used again too soon, by %d and %d", a, b)
		}
	}
	w.run(time.Minute)
	if a, b := w.uses(); a != 3 || b != 3 {
		t.Errorf("never used again: %d and %d", a, b)
	}
}

func TestOneThatOnlyOneReachesIsNeverTried(t *testing.T) {
	w := newMeetWorld()
	w.server, w.through[3] = ms(80), ms(1)
	w.reach[0] = meetRelays(map[int64]int{3: 1})
	w.run(5 * time.Minute)
	if a, b := w.uses(); a != 0 || b != 0 || w.ends[0].at != 0 || w.ends[1].at != 0 {
		t.Errorf("%+v", w.ends)
	}
}

func TestOneThatNothingComesThroughIsNotUsedAndSeldomTried(t *testing.T) {
	w := newMeetWorld()
	w.server = ms(80)
	w.reach[0], w.reach[1] = meetRelays(map[int64]int{3: 1}), meetRelays(map[int64]int{3: 1})
	tried := 0
	for range 6000 {
		w.run(meetTick)
		if a, b := w.uses(); a != 0 || b != 0 {
			t.Fatal("it is used")
		}
		if w.ends[0].at != 0 {
			tried++
		}
	}
	if tried > 6000/4 {
		t.Errorf("it was tried in %d of 6000 ticks", tried)
	}
}

// Whatever the two reach and however far all is: once all is quiet they use the same machine, it carries, and it is not
// worse than the server.
func TestBothEndsComeToTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newMeetWorld()
		latency := rapid.IntRange(1, 200)
		w.server = ms(latency.Draw(t, "server"))
		for i := range w.reach {
			reach := map[int64]int{}
			for id := range int64(6) {
				if rapid.Bool().Draw(t, "reached") {
					reach[id+1] = latency.Draw(t, "to it")
				}
			}
			w.reach[i] = meetRelays(reach)
		}
		for id := range coord.NodeID(6) {
			if rapid.Bool().Draw(t, "carries") {
				w.through[id+1] = ms(latency.Draw(t, "through it"))
			}
		}
		w.run(20 * time.Second)
		w.run(time.Duration(rapid.IntRange(0, 600).Draw(t, "ticks")) * meetTick)
		a, b := w.uses()
		for i, at := range []coord.NodeID{a, b} {
			if at != 0 && (w.through[at] == 0 || w.through[at] > w.server) {
				t.Errorf("end %d uses %d, of %v, and the server has %v", i, at, w.through[at], w.server)
			}
		}
		if a != 0 && b != 0 && a != b {
			t.Errorf("they use %d and %d", a, b)
		}
	})
}
