package state

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/policy"
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

func named(id coord.NodeID, name string) coord.Node {
	n := node(id)
	n.Name = name
	return n
}

func machine(id coord.NodeID) key.MachinePublic { return key.MachinePublic{byte(id), byte(id >> 8)} }

// follower is a machine with its stream, as the server and the client keep it.
type follower struct {
	m    *coord.Netmap // what it has; stays while it is away
	told uint64
}

func (f *follower) take(t *rapid.T, body []byte, seq uint64, full bool) {
	if body == nil {
		return
	}
	prev := uint64(0)
	if !full {
		prev = f.m.Seq
	}
	if seq == 0 {
		seq = prev
	}
	next, err := (&coord.Line{Seq: seq, Prev: prev, Body: body}).Advance(f.m)
	if err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	f.m = next
}

// start takes what Since gives.
func (f *follower) start(t *rapid.T, base *Delivery, body []byte, seq uint64) {
	if base != nil {
		f.take(t, base.Body, base.Seq, true)
	}
	f.take(t, body, seq, false)
}

// book is the store: the log, and what is.
type book struct {
	now   time.Time
	log   []Change
	nodes map[coord.NodeID]Member
	net   coord.Network
	relay []coord.Relay
	dns   coord.DNS
	rules string
}

// file is the policy file in force.
func (b *book) file() *policy.File {
	f, err := policy.Parse([]byte(b.rules))
	if err != nil {
		panic(err)
	}
	return f
}

func newBook(now time.Time) *book {
	b := &book{now: now, nodes: map[coord.NodeID]Member{}, net: network, rules: policy.AllText}
	b.note(OtherChange, 0, false)
	return b
}

func (b *book) note(k Kind, id coord.NodeID, facts bool) uint64 {
	seq := uint64(b.now.UnixMilli())
	if n := len(b.log); n > 0 {
		seq = max(seq, b.log[n-1].Seq+1)
	}
	b.log = append(b.log, Change{Seq: seq, Kind: k, ID: id, Facts: facts})
	return seq
}

// set is a transaction of the store that changes a machine.
func (b *book) set(m Member) {
	id := m.Node.ID
	was, known := b.nodes[id]
	ticket := !known || was.Node.Key != m.Node.Key || !was.TicketUntil.Equal(m.TicketUntil)
	m.Expired = !m.Node.Expires.IsZero() && !m.Node.Expires.After(b.now)
	m.TicketSeq = was.TicketSeq
	kind := NodeChange
	if known && was.Expired == m.Expired && was.Role == m.Role && reflect.DeepEqual(was.Node, m.Node) {
		if kind = TicketChange; !ticket {
			return
		}
	}
	seq := b.note(kind, id, kind == NodeChange && (!known || !was.sameFacts(&m)))
	if ticket {
		m.TicketSeq = seq
	}
	b.nodes[id] = m
}

func (b *book) remove(id coord.NodeID) {
	delete(b.nodes, id)
	b.note(NodeChange, id, true)
}

// news is what a replica reads that has the number.
func (b *book) news(after uint64) (n News) {
	i := sort.Search(len(b.log), func(i int) bool { return b.log[i].Seq > after })
	n.Log = slices.Clone(b.log[i:])
	n.Relays, n.Common, n.DNS, n.Rules = b.relay, b.net, b.dns, b.file()
	seen := map[coord.NodeID]bool{}
	for _, c := range n.Log {
		if m, ok := b.nodes[c.ID]; ok && !seen[c.ID] {
			n.Members = append(n.Members, m)
			seen[c.ID] = true
		}
	}
	return n
}

// load is what a replica reads that begins.
func (b *book) load() *State {
	n := Network{Common: b.net, Relays: b.relay, DNS: b.dns, Rules: b.file(), Log: slices.Clone(b.log)}
	for _, id := range slices.Sorted(maps.Keys(b.nodes)) {
		n.Members = append(n.Members, b.nodes[id])
	}
	return New(n)
}

// world drives a State as the hub does.
type world struct {
	*book
	s      *State
	never  *State // of a process that never stops, and whom nobody follows
	online map[coord.NodeID]*follower
	away   map[coord.NodeID]*follower
	gone   map[coord.NodeID]bool
	last   coord.NodeID

	inForce *policy.File // in s
	roles   map[int64]string

	draft *Draft // of a file that may be the next, and its text
	text  string
}

// ticket is what any replica makes of a machine's TicketUntil.
func ticket(m Member) []byte {
	return fmt.Appendf(nil, "%v until %d", m.Node.Key, m.TicketUntil.Unix())
}

func (w *world) sign(s *State, id coord.NodeID) {
	if m, ok := s.View().Member(id); ok && !s.HasTicket(id) && !m.TicketUntil.IsZero() {
		s.SetTicket(id, ticket(m))
	}
}

// hear takes in what is in the book.
func (w *world) hear() {
	w.never.Apply(w.news(w.never.Seq()))
	n := w.news(w.s.Seq())
	if w.draft != nil && slices.ContainsFunc(n.Log, func(c Change) bool { return c.Kind == RulesChange }) {
		if n.Draft = w.draft; w.text == w.rules { // else it is of another file
			n.Rules = w.draft.file
		}
		w.draft = nil
	}
	w.s.Apply(n)
	w.inForce = n.Rules
	for _, c := range n.Log {
		switch m, ok := w.s.View().Member(c.ID); {
		case !ok:
			delete(w.online, c.ID)
		case m.Expired && c.Kind == NodeChange:
			w.drop(c.ID)
		case w.online[c.ID] != nil:
			w.sign(w.s, c.ID)
		}
	}
}

func (w *world) drop(id coord.NodeID) {
	if f := w.online[id]; f != nil {
		w.s.Unfollow(id)
		delete(w.online, id)
		w.away[id] = f
	}
}

func (w *world) flush(t *rapid.T) {
	w.hear()
	w.never.Flush()
	for _, d := range w.s.Flush() {
		for _, id := range d.To {
			f := w.online[id]
			if f == nil {
				t.Fatalf("machine %d is told something and does not follow", id)
			}
			if d.Seq == 0 || d.Seq > f.told {
				f.take(t, d.Body, d.Seq, false)
			}
		}
	}
}

// whole makes the whole netmap as machine id sees it, by rules that are compiled for it.
func (w *world) whole(id coord.NodeID) *coord.Netmap {
	v := w.s.View()
	n := Network{Common: v.Network}
	for m := range v.Members() {
		n.Members = append(n.Members, m)
	}
	rules := policy.Compile(w.inForce, networkOf(n))
	self := v.nodes.get(id)
	m := &coord.Netmap{Network: v.Network, Self: self.Node, Relays: v.Relays, DNS: v.DNS, Ticket: self.ticket, Filter: rules.Filter(id)}
	for e := range v.nodes.all() {
		if !e.hidden() && rules.Sees(id, e.Node.ID) {
			n := e.Node
			n.Routes = rules.Routes(id, n.ID)
			m.Peers = append(m.Peers, n)
		}
	}
	return m
}

// compare holds each follower's netmap against the whole one.
func (w *world) compare(t *rapid.T) {
	for id, f := range w.online {
		ignore := cmpopts.IgnoreFields(coord.Netmap{}, "Seq")
		if d := cmp.Diff(w.whole(id), f.m, ignore, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{})); d != "" {
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

// alike holds what this process says against what one says that was never started again.
func (w *world) alike(t *rapid.T, id coord.NodeID, have *coord.Netmap, after uint64) {
	w.sign(w.never, id)
	base, body, seq := w.never.Since(id, after)
	bs, b, s := w.s.Since(id, after)
	if s != seq || (base == nil) != (bs == nil) {
		t.Fatalf("after %d machine %d hears %d %v %s\nand without a restart %d %v %s", after, id, s, bs, b, seq, base, body)
	}
	var one, other follower // bases may be of different moments, and who was just started does not know when a filter changed
	if base == nil {
		if len(body) > len(b) {
			t.Fatalf("after %d machine %d hears %s\nand without a restart %s", after, id, b, body)
		}
		one.m, other.m = have, have
	}
	one.start(t, base, body, seq)
	other.start(t, bs, b, s)
	if d := cmp.Diff(one.m, other.m, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{})); d != "" {
		t.Fatalf("machine %d has another netmap than without a restart:\n%s", id, d)
	}
}

func (w *world) join(t *rapid.T, id coord.NodeID, f *follower) {
	after := uint64(0)
	if f.m != nil {
		after = f.m.Seq
	}
	w.s.Follow(id)
	w.sign(w.s, id)
	w.alike(t, id, f.m, after)
	base, body, seq := w.s.Since(id, after)
	f.start(t, base, body, seq)
	f.told = seq
	w.online[id] = f
}

func (w *world) draw(t *rapid.T) coord.NodeID {
	ids := slices.Sorted(maps.Keys(w.nodes))
	if len(ids) == 0 {
		t.Skip("nobody is there")
	}
	return rapid.SampledFrom(ids).Draw(t, "id")
}

// change edits a machine in the book.
func (w *world) change(t *rapid.T, edit func(m *Member)) {
	m := w.nodes[w.draw(t)]
	edit(&m)
	w.set(m)
}

func TestWhoeverFollowsHasTheWholeNetmap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{
			book:   newBook(time.UnixMilli(1_700_000_000_000)),
			online: map[coord.NodeID]*follower{}, away: map[coord.NodeID]*follower{}, roles: map[int64]string{1: "owner", 2: "member"}, gone: map[coord.NodeID]bool{},
		}
		w.s, w.never = w.load(), w.load()
		w.inForce = w.file()
		number := func(what string) coord.RelayID { return coord.RelayID(rapid.IntRange(0, 3).Draw(t, what)) }
		t.Repeat(map[string]func(*rapid.T){
			"a new machine": func(t *rapid.T) {
				w.last++
				n := node(w.last)
				if rapid.Bool().Draw(t, "expires") {
					n.Expires = w.now.Add(time.Minute)
				}
				w.set(Member{Machine: machine(w.last), Node: n})
			},
			"changed": func(t *rapid.T) {
				w.change(t, func(m *Member) {
					m.Node.Tags = []string{fmt.Sprint(number("tag"))}
					m.Node.User, m.Role = coord.User{}, ""
				})
			},
			"logs in again": func(t *rapid.T) {
				w.change(t, func(m *Member) { m.Node.Expires = w.now.Add(time.Minute); m.Node.Key[5]++ })
			},
			"removed": func(t *rapid.T) {
				id := w.draw(t)
				delete(w.away, id)
				w.gone[id] = true
				w.remove(id)
			},
			"says":   func(t *rapid.T) { w.change(t, func(m *Member) { m.Node.Relay = number("relay") }) },
			"online": func(t *rapid.T) { w.change(t, func(m *Member) { m.Node.Online = !m.Node.Online }) },
			"ticket": func(t *rapid.T) {
				w.change(t, func(m *Member) { m.TicketUntil = w.now.Add(time.Duration(number("hours")) * time.Hour) })
			},
			"routes": func(t *rapid.T) {
				w.change(t, func(m *Member) { m.Node.Routes = rapid.SampledFrom(routes).Draw(t, "routes") })
			},
			"logged in by": func(t *rapid.T) {
				w.change(t, func(m *Member) { m.Node.User = people[number("user")%3]; m.Role = w.roles[m.Node.User.ID] })
			},
			"a role": func(t *rapid.T) {
				id := int64(rapid.IntRange(1, 2).Draw(t, "user"))
				w.roles[id] = rapid.SampledFrom([]string{"owner", "admin", "member"}).Draw(t, "role")
				for _, m := range slices.SortedFunc(maps.Values(w.nodes), func(a, b Member) int { return int(a.Node.ID - b.Node.ID) }) {
					if m.Node.User.ID == id {
						m.Role = w.roles[id]
						w.set(m)
					}
				}
			},
			"rules": func(t *rapid.T) {
				w.rules = rapid.SampledFrom(files).Draw(t, "file")
				w.note(RulesChange, 0, false)
			},
			"a draft of rules": func(t *rapid.T) { // of those that are next, or may be after more has changed
				if w.text = w.rules; rapid.Bool().Draw(t, "early") {
					w.text = rapid.SampledFrom(files).Draw(t, "file")
				}
				f, err := policy.Parse([]byte(w.text))
				if err != nil {
					t.Fatal(err)
				}
				w.draft = w.s.Draft(f)
				w.draft.Work()
			},
			"relays": func(t *rapid.T) {
				w.relay = make([]coord.Relay, number("relays"))
				w.note(RelaysChange, 0, false)
			},
			"dns": func(t *rapid.T) {
				w.dns = coord.DNS{NoNames: number("names") == 0}
				w.note(DNSChange, 0, false)
			},
			"network": func(t *rapid.T) {
				w.net.Name = fmt.Sprint("n", number("name"))
				w.note(NetworkChange, 0, false)
			},
			"hears": func(*rapid.T) { w.hear() },
			"joins": func(t *rapid.T) {
				id := w.draw(t)
				w.hear()
				m := w.nodes[id]
				if x := m.Node.Expires; !x.IsZero() && !x.After(w.now) {
					t.Skip("refused")
				}
				f := w.away[id]
				if old := w.online[id]; old != nil {
					w.drop(id)
					f = old
				}
				if f == nil || rapid.IntRange(0, 4).Draw(t, "afresh") == 0 {
					f = &follower{}
				}
				delete(w.away, id)
				w.join(t, id, f) // also one that the log says has expired, by a clock that was wrong
			},
			"the store learns that a key has not expired": func(t *rapid.T) { w.set(w.nodes[w.draw(t)]) },
			"leaves": func(t *rapid.T) { w.drop(w.draw(t)) },
			"restart": func(t *rapid.T) {
				was := w.online
				w.online = map[coord.NodeID]*follower{}
				w.s, w.draft = w.load(), nil
				w.inForce = w.file()
				w.never.Apply(w.news(w.never.Seq()))
				for _, id := range slices.Sorted(maps.Keys(was)) {
					switch m, ok := w.nodes[id]; {
					case !ok:
					case m.Expired || rapid.Bool().Draw(t, "stays away"):
						w.away[id] = was[id]
					default:
						w.join(t, id, was[id])
					}
				}
			},
			"time": func(t *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(-60_000, 60_000).Draw(t, "ms")) * time.Millisecond)
				for _, id := range w.s.Step(w.now) {
					w.drop(id)
					if m, ok := w.nodes[id]; ok {
						w.set(m)
					}
				}
			},
			"flush": func(t *rapid.T) { w.flush(t); w.compare(t) },
		})
		w.flush(t)
		w.compare(t)
	})
}

// What machines may lead to, whose they may be, and what the rules may be.
var (
	routes = [][]netip.Prefix{
		nil, {netip.MustParsePrefix("10.7.0.0/16"), netip.MustParsePrefix("10.8.0.0/16")}, {netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("10.7.0.0/16")},
	}
	people = []coord.User{{}, {ID: 1, Login: "anna"}, {ID: 2, Login: "bert"}}
	files  = []string{
		policy.AllText, policy.DefaultText, `{"grants": []}`,
		`{"tagOwners": {"tag:0": [], "tag:1": [], "tag:2": []}, "grants": [
			{"src": ["tag:0"], "dst": ["tag:1", "10.7.0.0/16"], "ip": ["tcp:22"]}, {"src": ["100.64.0.3"], "dst": ["100.64.0.4", "tag:2"], "ip": ["*"]}]}`,
		`{"tagOwners": {"tag:1": []}, "grants": [
			{"src": ["autogroup:admin", "10.8.0.0/16"], "dst": ["*"], "ip": ["*"]}, {"src": ["*"], "dst": ["autogroup:internet"], "via": ["tag:1"], "ip": ["*"]},
			{"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["udp:53"]}]}`,
	}
)

// small is a network of two.
func small() (*book, *State) {
	b := newBook(time.UnixMilli(1_700_000_000_000))
	b.set(Member{Machine: machine(1), Node: node(1)})
	b.set(Member{Machine: machine(2), Node: node(2)})
	return b, b.load()
}

func TestOnlyNumbersOfTheLogAreFollowedOn(t *testing.T) {
	b, s := small()
	have := s.Seq()
	b.now = b.now.Add(time.Hour)
	b.set(Member{Machine: machine(2), Node: named(2, "new")})
	s.Apply(b.news(have))
	for after, want := range map[uint64]bool{0: true, have: false, have + 1: true, s.Seq() - 1: true, s.Seq(): false, s.Seq() + 1: true, 1 << 62: true} {
		if base, body, _ := s.Since(1, after); (base != nil) != want || (body == nil) != (after == s.Seq()) {
			t.Errorf("after %d, where the log has %d and %d: whole %v, %d bytes", after, have, s.Seq(), base, len(body))
		}
	}
}

func TestWhoCouldSeeAMachineHearsThatItIsGone(t *testing.T) {
	b, s := small()
	have := s.Seq()
	b.remove(2)
	s.Apply(b.news(have))
	if _, body, _ := s.Since(1, have); string(body) != `{"changes":[{"remove":2}]}` {
		t.Errorf("it hears %s", body)
	}
}

func TestWhatNoPeerSeesIsToldToNobody(t *testing.T) {
	b, s := small()
	s.Follow(1)
	s.Follow(2)
	m := b.nodes[2]
	m.Offered = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	s.Apply(News{Log: []Change{{Seq: s.Seq() + 1, Kind: OtherChange, ID: 2}}, Members: []Member{m}})
	if ds := s.Flush(); len(ds) > 0 {
		t.Errorf("an offer that nobody has approved is told as %+v", ds)
	}
	if now, _ := s.View().Member(2); len(now.Offered) != 1 {
		t.Errorf("the offer is not known: %+v", now)
	}
}

func TestATicketReachesWhoeverBreaksOffMeanwhile(t *testing.T) {
	b, s := small()
	s.Follow(1)
	have := s.Seq()
	m := b.nodes[1]
	m.TicketUntil = b.now.Add(time.Hour)
	b.set(m)
	b.set(Member{Machine: machine(2), Node: named(2, "new")})
	s.Apply(b.news(have))
	s.SetTicket(1, []byte("ticket"))
	ds := s.Flush()
	if len(ds) != 2 || ds[0].Seq != 0 || ds[1].Seq != s.Seq() {
		t.Fatalf("it is told %+v", ds)
	}
	if _, body, _ := s.Since(1, have); !strings.Contains(string(body), `"ticket":`) { // it has the first line, and not the second
		t.Errorf("it hears %s", body)
	}
	if _, body, _ := s.Since(1, s.Seq()); body != nil { // it has both
		t.Errorf("it hears %s", body)
	}
}

func TestAMachineThatMissedTooMuchGetsTheWholeNetmap(t *testing.T) {
	b, s := small()
	have := s.Seq()
	for range 2*horizon + 1 {
		b.now = b.now.Add(time.Millisecond)
		b.note(OtherChange, 0, false)
	}
	s.Apply(b.news(have))
	if len(s.log) > 2*horizon {
		t.Errorf("the log has %d entries", len(s.log))
	}
	if base, _, _ := s.Since(1, have); base == nil {
		t.Error("changes that the log has lost were given as none")
	}
	if base, body, _ := s.Since(1, b.log[len(b.log)-horizon].Seq); base != nil || len(body) != 0 {
		t.Error("it has forgotten too much")
	}
}

func TestABaseServesManyAndIsMadeAnewInTime(t *testing.T) {
	b, s := small()
	for id := coord.NodeID(3); id <= 10; id++ {
		b.set(Member{Machine: machine(id), Node: node(id)})
	}
	s.Apply(b.news(s.Seq()))
	first, _, _ := s.Since(1, 0)
	for i := range baseLeft {
		b.set(Member{Machine: machine(2), Node: named(2, fmt.Sprint("n", i))})
		s.Apply(b.news(s.Seq()))
		base, body, seq := s.Since(coord.NodeID(3+i%8), 0)
		if base != first {
			t.Fatalf("after %d changes it is made anew", i+1)
		}
		if seq != s.Seq() || !strings.Contains(string(body), fmt.Sprintf(`"name":"n%d"`, i)) {
			t.Errorf("with the rest up to %d of %d: %s", seq, s.Seq(), body)
		}
	}
	b.set(Member{Machine: machine(2), Node: named(2, "last")})
	s.Apply(b.news(s.Seq()))
	if base, body, _ := s.Since(1, 0); base == first || strings.Contains(string(body), "last") {
		t.Error("it is never made anew")
	}
}

// BenchmarkChange shows that a change costs by those whom it concerns: here 10 follow, whatever the network's size.
func BenchmarkChange(b *testing.B) {
	for _, size := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			book := newBook(time.UnixMilli(1000))
			for id := range coord.NodeID(size) {
				book.set(Member{Machine: machine(id + 1), Node: node(id + 1)})
			}
			s := book.load()
			for id := range coord.NodeID(10) {
				s.Follow(id + 1)
			}
			b.ReportAllocs()
			m := book.nodes[50]
			for seq := s.Seq() + 1; b.Loop(); seq++ {
				m.Node.Relay = coord.RelayID(seq%2 + 1)
				s.Apply(News{Log: []Change{{Seq: seq, ID: 50}}, Members: []Member{m}})
				s.Flush()
			}
		})
	}
}
