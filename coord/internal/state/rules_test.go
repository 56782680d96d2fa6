package state

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
)

// shop is a network of many machines in teams of ten, each with a tag, and rules by which each team reaches the next.
func shop(machines, teams int) *book {
	b := newBook(time.UnixMilli(1000))
	var owners, grants strings.Builder
	for i := range teams {
		fmt.Fprintf(&owners, "\"tag:t%d\": [],\n", i)
		fmt.Fprintf(&grants, "{\"src\": [\"tag:t%d\"], \"dst\": [\"tag:t%d\"], \"ip\": [\"tcp:%d\"]},\n", i, (i+1)%teams, i+1)
	}
	b.rules = `{"tagOwners": {` + owners.String() + `}, "grants": [` + grants.String() + `]}`
	for i := range machines {
		n := node(coord.NodeID(i + 1))
		n.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{100, 64 + byte(i>>16), byte(i >> 8), byte(i)})}
		n.Tags = []string{fmt.Sprintf("t%d", i%teams)}
		b.set(Member{Machine: machine(n.ID), Node: n})
	}
	return b
}

func (b *book) tag(id coord.NodeID, tag string) {
	m := b.nodes[id]
	m.Node.Tags = []string{tag}
	b.set(m)
}

// told are all that hear something, and how many bytes that is for all of them.
func told(ds []Delivery) (ids []coord.NodeID, bytes int) {
	for _, d := range ds {
		ids = append(ids, d.To...)
		bytes += len(d.To) * len(d.Body)
	}
	slices.Sort(ids)
	return ids, bytes
}

func TestATagOfOneMachineIsToldToThoseConcernedAlone(t *testing.T) {
	const machines, teams = 2000, 200
	b := shop(machines, teams)
	s := b.load()
	for id := range coord.NodeID(machines) {
		s.Follow(id + 1)
		s.Since(id+1, s.Seq())
	}
	after := s.Seq()
	b.tag(1, "t100") // it was of t0
	s.Apply(b.news(after))
	ds := s.Flush()
	ids, bytes := told(ds)
	// Itself; those that reached it and those that it reached, the teams before and after 0; and so around 100.
	if len(ids) != 1+4*machines/teams || len(slices.Compact(ids)) != len(ids) {
		t.Errorf("%d machines are told something: %v", len(ids), ids)
	}
	// One body for each team, and its own, which is of all these.
	if len(ds) != 5 || bytes > len(ids)*600+4*machines/teams*300 {
		t.Errorf("in %d bodies, and %d bytes together", len(ds), bytes)
	}
	for _, d := range ds {
		for _, want := range []struct {
			of  coord.NodeID
			has string
		}{{200, `{"remove":1}`}, {2, `"nets":{"set":"tag:t0","remove":["100.64.0.0/32"]}`}, {102, `"nets":{"set":"tag:t100","add":["100.64.0.0/32"]}`}, {100, `{"upsert":{"id":1,`}} {
			if slices.Contains(d.To, want.of) && !strings.Contains(string(d.Body), want.has) {
				t.Errorf("machine %d is told %s", want.of, d.Body)
			}
		}
	}
}

func TestAnEditIsToldToThoseConcernedAlone(t *testing.T) {
	const machines, teams = 2000, 200
	b := shop(machines, teams)
	s := b.load()
	for id := range coord.NodeID(machines) {
		s.Follow(id + 1)
		s.Since(id+1, s.Seq())
	}
	edit := func(old, now string) []coord.NodeID {
		t.Helper()
		after := s.Seq()
		if !strings.Contains(b.rules, old) {
			t.Fatal(old)
		}
		b.rules = strings.Replace(b.rules, old, now, 1)
		b.note(RulesChange, 0, false)
		s.Apply(b.news(after))
		ids, _ := told(s.Flush())
		return ids
	}
	if ids := edit(`"tcp:7"`, `"tcp:7", "tcp:8000"`); len(ids) != machines/teams || ids[0] != 8 {
		t.Errorf("of another port hear %v", ids)
	}
	if ids := edit("{\"src\": [\"tag:t9\"], \"dst\": [\"tag:t10\"], \"ip\": [\"tcp:10\"]},", ""); len(ids) != 2*machines/teams || ids[0] != 10 || ids[1] != 11 {
		t.Errorf("that they see each other no more hear %v", ids)
	}
	if ids := edit("\"grants\"", "// nothing is other\n\"grants\""); len(ids) != 0 {
		t.Errorf("of a comment hear %v", ids)
	}
}

// A machine's number from before it was this node is no number of this node's, however far the log's numbers are ahead
// of the clock.
func TestANumberFromBeforeTheNodeIsNone(t *testing.T) {
	b, _ := small()
	for range 100_000 { // numbers run ahead of the clock
		b.log[len(b.log)-1].Seq++
	}
	s := b.load()
	have := s.Seq()
	m := b.nodes[1]
	b.remove(1)
	m.Node.ID = 3
	m.Node.Created = b.now
	b.set(m)
	s.Apply(b.news(have))
	if base, _, _ := s.Since(3, have); base == nil {
		t.Error("it went on from the other node's number")
	}
	if base, _, _ := s.Since(3, s.Seq()); base != nil {
		t.Error("it got all again")
	}
}

// BenchmarkPolicyChange is what a server does upon a change, 10,000 machines under 1,000 rules and all of them
// following: a tag, and an edit of one rule.
func BenchmarkPolicyChange(b *testing.B) {
	book := shop(10_000, 1000)
	s := book.load()
	for id := range coord.NodeID(10_000) {
		s.Follow(id + 1)
		s.Since(id+1, s.Seq())
	}
	measure := func(name string, change func(i int)) {
		b.Run(name, func(b *testing.B) {
			heard := 0
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				after := s.Seq()
				change(i)
				n := book.news(after)
				b.StartTimer()
				s.Apply(n)
				ids, _ := told(s.Flush())
				heard += len(ids)
			}
			b.ReportMetric(float64(heard)/float64(b.N), "told/op")
		})
	}
	measure("tag", func(i int) { book.tag(1, fmt.Sprintf("t%d", i%2*500)) })
	text := book.rules
	measure("edit", func(i int) {
		book.rules = strings.Replace(text, `"tcp:7"`, fmt.Sprintf(`"tcp:7", "tcp:%d"`, 2000+i%1000), 1)
		book.note(RulesChange, 0, false)
	})
}
