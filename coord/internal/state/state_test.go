package state

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"pgregory.net/rapid"
)

var network = coord.Network{
	Name: "test", Suffix: "warren.internal",
	IPv4: netip.MustParsePrefix("100.64.0.0/10"), IPv6: netip.MustParsePrefix("fd00:1:2::/48"),
}

func node(id coord.NodeID) coord.Node {
	return coord.Node{
		ID: id, Name: fmt.Sprintf("m%d", id), Key: key.NodePublic{1, byte(id), byte(id >> 8)},
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{100, 64, byte(id >> 8), byte(id)})},
	}
}

func machine(id coord.NodeID) key.MachinePublic { return key.MachinePublic{byte(id), byte(id >> 8)} }

// follower is a machine with its stream, as the server and the client keep it.
type follower struct {
	epoch uint64
	m     *coord.Netmap // what it has; stays while it is away
	told  uint64
}

func (f *follower) take(t *rapid.T, body []byte, seq uint64, full bool) {
	if body == nil {
		return
	}
	prev := uint64(0)
	if !full {
		prev = f.m.Seq
	}
	next, err := (&coord.Line{Seq: seq, Prev: prev, Body: body}).Advance(f.m)
	if err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	f.m = next
}

// world drives a State as the hub does.
type world struct {
	s      *State
	now    time.Time
	epoch  uint64
	online map[coord.NodeID]*follower
	away   map[coord.NodeID]*follower
	gone   map[coord.NodeID]bool
	last   coord.NodeID
}

func (w *world) flush(t *rapid.T) {
	w.s.Step(w.now)
	for _, d := range w.s.Flush(w.now) {
		for _, id := range d.To {
			f := w.online[id]
			if f == nil {
				t.Fatalf("machine %d is told something and does not follow", id)
			}
			if d.Seq > f.told {
				f.take(t, d.Body, d.Seq, false)
			}
		}
	}
}

// compare holds each follower's netmap against the whole one.
func (w *world) compare(t *rapid.T) {
	for id, f := range w.online {
		if m, _ := w.s.View().Member(id); m.Expired {
			continue // its stream is ended
		}
		var u coord.Update
		if err := json.Unmarshal(w.s.View().Full(id), &u); err != nil {
			t.Fatal(err)
		}
		ignore := cmpopts.IgnoreFields(coord.Netmap{}, "Seq")
		if d := cmp.Diff(u.Full, f.m, ignore, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{})); d != "" {
			t.Fatalf("machine %d has another netmap than the whole one:\n%s", id, d)
		}
		for i := range f.m.Peers {
			if w.gone[f.m.Peers[i].ID] {
				t.Fatalf("machine %d sees machine %d, which was removed", id, f.m.Peers[i].ID)
			}
		}
		if err := f.m.Validate(); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) draw(t *rapid.T) coord.NodeID {
	var ids []coord.NodeID
	for m := range w.s.View().Members() {
		ids = append(ids, m.Node.ID)
	}
	if len(ids) == 0 {
		t.Skip("nobody is there")
	}
	return rapid.SampledFrom(ids).Draw(t, "id")
}

func TestWhoeverFollowsHasTheWholeNetmap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{
			now: time.UnixMilli(1_700_000_000_000), online: map[coord.NodeID]*follower{}, away: map[coord.NodeID]*follower{},
			gone: map[coord.NodeID]bool{},
		}
		w.s = New(w.now, 5, network, nil)
		drop := func(id coord.NodeID) {
			if f := w.online[id]; f != nil {
				w.s.Apply(w.now, Left{ID: id, Epoch: f.epoch})
				delete(w.online, id)
				w.away[id] = f
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"a new machine": func(t *rapid.T) {
				w.last++
				n := node(w.last)
				if rapid.Bool().Draw(t, "expires") {
					n.Expires = w.now.Add(time.Minute)
				}
				w.s.Apply(w.now, Put{Machine: machine(w.last), Node: n})
			},
			"changed": func(t *rapid.T) {
				id := w.draw(t)
				n := node(id)
				n.Tags = []string{fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "tag"))}
				w.s.Apply(w.now, Put{Machine: machine(id), Node: n})
			},
			"removed": func(t *rapid.T) {
				id := w.draw(t)
				delete(w.online, id)
				delete(w.away, id)
				w.gone[id] = true
				w.s.Apply(w.now, Gone{ID: id})
			},
			"says": func(t *rapid.T) {
				w.s.Apply(w.now, Said{ID: w.draw(t), Update: coord.NodeUpdate{Relay: coord.RelayID(rapid.IntRange(0, 3).Draw(t, "relay"))}})
			},
			"joins": func(t *rapid.T) {
				id := w.draw(t)
				if m, _ := w.s.View().Member(id); m.Expired {
					t.Skip("refused")
				}
				f := w.away[id]
				if old := w.online[id]; old != nil { // its old stream ends later, or never
					f = old
				}
				if f == nil || rapid.IntRange(0, 4).Draw(t, "afresh") == 0 {
					f = &follower{}
				}
				delete(w.away, id)
				w.epoch++
				f.epoch = w.epoch
				after := uint64(0)
				if f.m != nil {
					after = f.m.Seq
				}
				w.s.Apply(w.now, Joined{ID: id, Epoch: w.epoch})
				body, seq, full := w.s.Since(id, after)
				f.take(t, body, seq, full)
				f.told = seq
				w.online[id] = f
			},
			"leaves": func(t *rapid.T) { drop(w.draw(t)) },
			"an old stream ends": func(t *rapid.T) {
				id := w.draw(t)
				if f := w.online[id]; f != nil && f.epoch > 1 {
					w.s.Apply(w.now, Left{ID: id, Epoch: f.epoch - 1})
				}
			},
			"ticket": func(t *rapid.T) {
				w.s.Apply(w.now, SetTicket{ID: w.draw(t), Ticket: []byte{rapid.Byte().Draw(t, "ticket")}})
			},
			"relays": func(t *rapid.T) {
				w.s.Apply(w.now, SetRelays{Relays: make([]coord.Relay, rapid.IntRange(0, 2).Draw(t, "relays"))})
			},
			"time": func(t *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(-1000, 40_000).Draw(t, "ms")) * time.Millisecond)
				for _, id := range w.s.Step(w.now) {
					drop(id)
				}
			},
			"flush": func(t *rapid.T) { w.flush(t); w.compare(t) },
		})
		w.flush(t)
		w.compare(t)
	})
}

func TestAnOldStreamsEndIsNoNews(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	s := New(now, 0, network, nil)
	s.Apply(now, Put{Machine: machine(1), Node: node(1)})
	s.Apply(now, Joined{ID: 1, Epoch: 1})
	s.Apply(now, Joined{ID: 1, Epoch: 2})
	s.Apply(now, Left{ID: 1, Epoch: 1})
	now = now.Add(time.Hour)
	s.Step(now)
	if m, _ := s.View().Member(1); !m.Node.Online {
		t.Error("the end of its first stream made it offline while the second lasts")
	}
	s.Apply(now, Left{ID: 1, Epoch: 2})
	if m, _ := s.View().Member(1); !m.Node.Online {
		t.Error("it counts as offline at once: every reconnect would be news")
	}
	s.Step(now.Add(Grace))
	if m, _ := s.View().Member(1); m.Node.Online || !m.Node.LastSeen.Equal(now) {
		t.Errorf("after the grace it is %+v", m.Node)
	}
}

func TestNumbersRiseOverRestartsAndClocks(t *testing.T) {
	now := time.UnixMilli(1000)
	s := New(now, 5000, network, nil) // a clock that was set back
	before := s.View().Seq
	s.Apply(now, Put{Machine: machine(1), Node: node(1)})
	if s.View().Seq <= before || before <= 5000 {
		t.Errorf("numbers %d, then %d", before, s.View().Seq)
	}
	if _, _, full := s.Since(1, 4000); !full {
		t.Error("what came before the start is known")
	}
	if _, _, full := s.Since(1, 1<<62); !full {
		t.Error("a number from the future was taken")
	}
}

func TestAMachineThatMissedTooMuchGetsTheWholeNetmap(t *testing.T) {
	now := time.UnixMilli(1000)
	s := New(now, 0, network, nil)
	s.Apply(now, Put{Machine: machine(1), Node: node(1)})
	s.Apply(now, Put{Machine: machine(2), Node: node(2)})
	start := s.View().Seq
	for i := range horizon + 1 {
		s.Apply(now, Said{ID: 2, Update: coord.NodeUpdate{Relay: coord.RelayID(i%2 + 1)}})
	}
	if len(s.log) > horizon {
		t.Errorf("the log has %d entries", len(s.log))
	}
	if _, _, full := s.Since(1, start); !full {
		t.Error("changes that the log has lost were given as none")
	}
	if body, _, full := s.Since(1, s.View().Seq-1); full || len(body) == 0 {
		t.Error("the last change is not in the log")
	}
}

// BenchmarkChange shows that a change costs by those whom it concerns: here 10 follow, whatever the network's size.
func BenchmarkChange(b *testing.B) {
	for _, size := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			now := time.UnixMilli(1000)
			s := New(now, 0, network, nil)
			for id := range coord.NodeID(size) {
				s.Apply(now, Put{Machine: machine(id + 1), Node: node(id + 1)})
			}
			for id := range coord.NodeID(10) {
				s.Apply(now, Joined{ID: id + 1, Epoch: uint64(id + 1)})
			}
			s.Flush(now)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				s.Apply(now, Said{ID: 50, Update: coord.NodeUpdate{Relay: coord.RelayID(i%2 + 1)}})
				s.Flush(now)
			}
		})
	}
}
