package state

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/policy"
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

// TestAnEditIsWorkedOutBesideWhoAsks: the race detector looks on, and what is told is told once more without a draft.
func TestAnEditIsWorkedOutBesideWhoAsks(t *testing.T) {
	const machines, teams = 400, 40
	b := shop(machines, teams)
	s, plain := b.load(), b.load()
	for id := range coord.NodeID(machines) {
		for _, s := range []*State{s, plain} {
			s.Follow(id + 1)
			s.Since(id+1, s.Seq())
		}
	}
	after := s.Seq()
	b.rules = strings.Replace(b.rules, "{\"src\": [\"tag:t9\"], \"dst\": [\"tag:t10\"]", "{\"src\": [\"tag:t9\"], \"dst\": [\"tag:t1\", \"*\"]", 1)
	b.note(RulesChange, 0, false)
	n := b.news(after)
	n.Draft = s.Draft(n.Rules)
	done := make(chan struct{})
	go func() {
		n.Draft.Work()
		close(done)
	}()
	for id, busy := coord.NodeID(1), true; busy || id < 2*machines; id++ { // what others ask of it at the same time
		select {
		case <-done:
			busy = false
		default:
		}
		id := id%machines + 1
		s.Unfollow(id)
		s.Follow(id)
		s.Since(id, after)
		s.Since(id, 0)
		s.Rules().Filter(id)
		s.Rules().Peers(id%7 + 1)
		s.Rules().Verdict(policy.Question{From: id, To: netip.MustParseAddr("100.64.0.1"), Proto: coord.ProtoTCP, Port: 1})
		s.View()
	}
	drafted := n.Draft.rules
	s.Apply(n)
	if s.rules != drafted {
		t.Error("the draft was thrown away")
	}
	plain.Apply(b.news(after))
	ids, bytes := told(s.Flush())
	wants, want := told(plain.Flush())
	if !slices.Equal(ids, wants) || bytes != want || len(ids) < machines/2 {
		t.Errorf("%d machines are told %d bytes, and without a draft %d %d", len(ids), bytes, len(wants), want)
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
// following: a tag, and an edit of one rule, in a network of teams and in one of people in many groups. What the
// State's owner keeps others waiting for is locked-ms; the rest is a draft's.
func BenchmarkPolicyChange(b *testing.B) {
	for name, book := range map[string]*book{"teams": shop(10_000, 1000), "people": firm(10_000, 1000)} {
		b.Run(name, func(b *testing.B) { policyChange(b, book) })
	}
}

func policyChange(b *testing.B, book *book) {
	s := book.load()
	for id := range coord.NodeID(10_000) {
		s.Follow(id + 1)
		s.Since(id+1, s.Seq())
	}
	measure := func(name string, change func(i int)) {
		b.Run(name, func(b *testing.B) {
			heard, locked := 0, time.Duration(0)
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				after := s.Seq()
				change(i)
				n := book.news(after)
				b.StartTimer()
				if slices.ContainsFunc(n.Log, func(c Change) bool { return c.Kind == RulesChange }) {
					n.Draft = s.Draft(n.Rules)
					n.Draft.Work()
				}
				begun := time.Now()
				s.Apply(n)
				ids, _ := told(s.Flush())
				locked += time.Since(begun)
				heard += len(ids)
			}
			b.ReportMetric(float64(heard)/float64(b.N), "told/op")
			b.ReportMetric(float64(locked.Microseconds())/1000/float64(b.N), "locked-ms/op")
		})
	}
	measure("tag", func(i int) { book.tag(1, fmt.Sprintf("t%d", 1+i%2*48)) })
	text := book.rules
	measure("edit", func(i int) {
		book.rules = strings.Replace(text, `"grants": [`, fmt.Sprintf(`"grants": [{"src": ["tag:t1"], "dst": ["tag:t3"], "ip": ["tcp:%d"]},`, 2000+i%1000), 1)
		book.note(RulesChange, 0, false)
	})
}

// firm is a network of people in groups with laptops, and of servers with tags, under rules of all kinds.
func firm(machines, rules int) *book {
	b := newBook(time.UnixMilli(1000))
	r := rand.New(rand.NewPCG(3, 4))
	users, groups := machines/4+1, max(5, rules/5)
	var s strings.Builder
	s.WriteString(`{"groups": {`)
	for g := range groups {
		fmt.Fprintf(&s, `"group:g%d": [`, g)
		for range min(users, 40) {
			fmt.Fprintf(&s, `"user%d@example.org",`, r.IntN(users))
		}
		s.WriteString("],\n")
	}
	s.WriteString(`}, "tagOwners": {`)
	for t := range 50 {
		fmt.Fprintf(&s, `"tag:t%d": [],`, t)
	}
	s.WriteString("}, \"grants\": [\n")
	for i := range rules {
		g, t, p := r.IntN(groups), r.IntN(50), 1+r.IntN(60000)
		switch i % 10 {
		case 0:
			fmt.Fprintf(&s, `{"src": ["tag:t%d"], "dst": ["tag:t%d"], "ip": ["%d"]},`, t, r.IntN(50), p)
		case 1:
			fmt.Fprintf(&s, `{"src": ["group:g%d"], "dst": ["10.%d.0.0/16"], "ip": ["tcp:%d", "icmp:*"]},`, g, r.IntN(40), p)
		case 2:
			fmt.Fprintf(&s, `{"src": ["group:g%d"], "dst": ["100.64.%d.%d"], "ip": ["*"]},`, g, r.IntN(40), r.IntN(256))
		case 3:
			fmt.Fprintf(&s, `{"src": ["user%d@example.org"], "dst": ["group:g%d"], "ip": ["udp:%d"]},`, r.IntN(users), g, p)
		case 4:
			fmt.Fprintf(&s, `{"src": ["group:g%d"], "dst": ["autogroup:self"], "ip": ["tcp:%d"]},`, g, p)
		default:
			fmt.Fprintf(&s, `{"src": ["group:g%d", "group:g%d"], "dst": ["tag:t%d"], "ip": ["tcp:%d", "tcp:%d-%d"]},`, g, r.IntN(groups), t, p, p+10, p+20)
		}
		s.WriteString("\n")
	}
	s.WriteString(`{"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["*"]}, {"src": ["autogroup:admin"], "dst": ["*"], "ip": ["*"]}]}`)
	b.rules = s.String()
	roles := []string{"owner", "admin", "auditor", "member"}
	role := make([]string, users)
	for i := range role {
		role[i] = roles[min(3, r.IntN(40))]
	}
	for i := range machines {
		n := node(coord.NodeID(i + 1))
		n.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{100, 64 + byte(i>>16), byte(i >> 8), byte(i)})}
		u := r.IntN(users)
		m := Member{Machine: machine(n.ID), Role: role[u]}
		n.User = coord.User{ID: int64(u + 1), Login: fmt.Sprintf("user%d@example.org", u)}
		if i%3 == 0 {
			n.User, n.Tags = coord.User{}, []string{fmt.Sprintf("t%d", r.IntN(50))}
		}
		if i%100 == 0 {
			n.Routes = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)}
		}
		m.Node = n
		b.set(m)
	}
	return b
}
