package policy

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/coord"
	"pgregory.net/rapid"
)

// universe are all addresses that the properties ask for: those of machines, of two small subnets in either family, of
// the internet, and of nobody.
var universe = func() (as []netip.Addr) {
	for i := range 8 {
		as = append(as, mustAddr(fmt.Sprintf("100.64.0.%d", i)), mustAddr(fmt.Sprintf("fd00::%d", i)),
			mustAddr(fmt.Sprintf("10.0.0.%d", i)), mustAddr(fmt.Sprintf("fd10::%d", i)))
	}
	// Two of the internet's that ipsets remove, and one that none does.
	return append(as, mustAddr("1.1.1.1"), mustAddr("8.8.8.8"), mustAddr("9.9.9.9"), mustAddr("2606:4700::1"))
}()

var (
	roles     = []string{"owner", "admin", "auditor", "member"}
	logins    = []string{"anna", "bert@example.org", "carl", "dora"}
	routesOf  = []string{"10.0.0.0/30", "10.0.0.0/29", "10.0.0.4/31", "fd10::/126", "fd10::/125", "0.0.0.0/0", "::/0"}
	places    = []string{"nas", "net", "ipset:a", "ipset:b", "100.64.0.1", "100.64.0.2", "fd00::1", "10.0.0.1", "10.0.0.0/31", "10.0.0.0/8", "100.64.0.0/30", "fd00::/126", "fd10::/127", "fd10::/64", "8.8.8.8", "0.0.0.0/0", "::/0"}
	whose     = []string{"group:a", "group:b", "tag:x", "tag:y", "tag:z", "anna@", "bert@example.org", "autogroup:member", "autogroup:owner", "autogroup:admin", "autogroup:auditor", "autogroup:tagged"}
	peopleOf  = []string{"group:a", "group:b", "anna@", "autogroup:member", "autogroup:owner", "*"}
	portLists = []string{"*", "22", "80,443", "20-30,80"}
	grantIPs  = []string{"*", "22", "tcp:80,443", "udp:*", "icmp:*", "gre:*", "58:*", "sctp:20-30"}
	probes    = []struct {
		proto uint8
		port  uint16
	}{{6, 22}, {6, 80}, {6, 25}, {17, 22}, {17, 443}, {1, 0}, {58, 0}, {47, 0}, {132, 25}, {132, 80}, {132, 22}}
)

// A world is drawn of a seed: evenly, where rapid by itself prefers what is small, so that rules meet machines.

func some(r *rand.Rand, from []string, least, most int) []string {
	var out []string
	for _, i := range r.Perm(len(from))[:min(len(from), least+r.IntN(most-least+1))] {
		out = append(out, from[i])
	}
	return out
}

func one[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// draw is one play of a property. What fails begins with the seed that it was drawn of.
type draw struct {
	*rapid.T
	*rand.Rand
	seed uint64
}

func (d *draw) Fatalf(format string, args ...any) {
	d.Helper()
	d.T.Fatalf("of -draw=%#x: "+format, append([]any{d.seed}, args...)...)
}

var again = flag.Uint64("draw", 0, "the only seed that properties are played with")

// play plays a property with random seeds, or again with one that has failed.
func play(t *testing.T, property func(t *draw)) {
	t.Helper()
	seeds := rapid.Uint64()
	if *again != 0 {
		seeds = rapid.Just(*again)
	}
	rapid.Check(t, func(rt *rapid.T) {
		seed := seeds.Draw(rt, "seed")
		property(&draw{T: rt, Rand: rand.New(rand.NewPCG(seed, 0)), seed: seed})
	})
}

func drawWorld(r *rand.Rand) *world {
	w := &world{
		Network: Network{IPv4: netip.MustParsePrefix("100.64.0.0/10"), IPv6: netip.MustParsePrefix("fd00::/48")},
		groups:  map[string][]string{"group:a": some(r, logins, 0, 3), "group:b": some(r, logins, 0, 3)},
		hosts:   map[string]string{"nas": "100.64.0.3", "net": "10.0.0.0/30"},
		ipsets: map[string]ipsetModel{
			"ipset:a": {add: some(r, []string{"10.0.0.0/29", "net", "nas", "fd10::/125", "autogroup:internet"}, 0, 3), remove: some(r, []string{"10.0.0.1", "fd10::/126", "8.8.8.8", "100.64.0.3"}, 0, 2)},
			"ipset:b": {add: []string{"ipset:a", "10.0.0.6"}, remove: some(r, []string{"10.0.0.0/30", "1.1.1.1"}, 0, 1)},
		},
		tags: []string{"x", "y", "z"},
	}
	for i, login := range logins[:3] { // the fourth is in groups only
		w.Users = append(w.Users, User{ID: int64(i + 1), Login: login, Role: one(r, roles)})
	}
	for i := range 2 + r.IntN(6) {
		w.Machines = append(w.Machines, drawMachine(r, i))
	}
	for range r.IntN(8) {
		w.rules = append(w.rules, drawRule(r))
	}
	slices.SortStableFunc(w.rules, func(a, b ruleModel) int { // as the text has them
		return map[bool]int{false: 0, true: 1}[a.grant] - map[bool]int{false: 0, true: 1}[b.grant]
	})
	return w
}

func drawMachine(r *rand.Rand, i int) Machine {
	m := Machine{ID: coord.NodeID(i + 10), User: r.Int64N(5)} // 0: nobody's, 4: of one who is gone
	v4, v6 := mustAddr(fmt.Sprintf("100.64.0.%d", i)), mustAddr(fmt.Sprintf("fd00::%d", i))
	m.Addrs = one(r, [][]netip.Addr{{v4, v6}, {v4, v6}, {v4}, {v6}})
	if r.IntN(2) == 0 {
		m.Tags = some(r, []string{"x", "y", "z"}, 1, 2)
	}
	if r.IntN(2) == 0 {
		for _, p := range some(r, routesOf, 1, 3) {
			m.Routes = append(m.Routes, netip.MustParsePrefix(p))
		}
	}
	return m
}

func drawRule(r *rand.Rand) ruleModel {
	m := ruleModel{grant: r.IntN(2) == 0}
	sources, dests := slices.Concat(whose, places, []string{"*"}), slices.Concat(whose, places, []string{"*", "autogroup:internet", "autogroup:subnets"})
	switch {
	case r.IntN(4) == 0:
		sources, dests = peopleOf, append(dests, "autogroup:self", "autogroup:self", "autogroup:self")
		if r.IntN(2) == 0 {
			dests = []string{"autogroup:self"}
		}
	case m.grant && r.IntN(3) == 0:
		m.via = some(r, []string{"tag:x", "tag:y", "tag:z"}, 1, 2)
		dests = slices.Concat(places, []string{"0.0.0.0/0", "::/0", "autogroup:internet", "autogroup:subnets"})
	}
	m.src, m.dst = some(r, sources, 0, 3), slices.Compact(some(r, dests, 0, 3))
	if m.grant {
		m.ip = some(r, grantIPs, 0, 2)
		return m
	}
	m.proto = one(r, []string{"", "", "tcp", "udp", "icmp", "sctp"})
	for i, d := range m.dst {
		ports := one(r, portLists)
		if m.proto == "icmp" {
			ports = "*"
		}
		if strings.Count(d, ":") > 1 {
			d = "[" + d + "]"
		}
		m.dst[i] = d + ":" + ports
	}
	return m
}

// TestCompiledRulesAgreeWithTheOracle asks for every packet of the universe.
func TestCompiledRulesAgreeWithTheOracle(t *testing.T) {
	play(t, func(t *draw) {
		w := drawWorld(t.Rand)
		f, err := Parse([]byte(w.text()))
		if err != nil {
			t.Fatalf("%v in\n%s", err, w.text())
		}
		c := Compile(f, w.Network)
		agree(t, w, c)
	})
}

// TestTheUniverseHasAnAddressOfEverything holds the universe against all that rules can tell apart behind routers. Where it
// has no address of a part, a rule about that part alone is one about nothing to the oracle, but not to the compiler.
func TestTheUniverseHasAnAddressOfEverything(t *testing.T) {
	named := prefixes("10.0.0.0/30", "10.0.0.6/32", "1.1.1.1/32", "10.0.0.1/32", "fd10::/126", "8.8.8.8/32")
	for _, p := range slices.Concat(routesOf, places) {
		if n, err := netip.ParsePrefix(p); err == nil {
			named = append(named, n)
		}
	}
	parts := slices.Concat([][]netip.Prefix{prefixes("10.0.0.0/29"), prefixes("fd10::/125")}, [][]netip.Prefix{ofFamily(Internet, 0), ofFamily(Internet, 1)})
	for _, n := range named {
		for _, part := range slices.Clone(parts) {
			parts = append(parts, intersect(part, []netip.Prefix{n}), subtract(part, []netip.Prefix{n}))
		}
		parts = slices.DeleteFunc(parts, func(p []netip.Prefix) bool { return len(p) == 0 })
		slices.SortFunc(parts, func(a, b []netip.Prefix) int { return slices.CompareFunc(a, b, comparePrefixes) })
		parts = slices.CompactFunc(parts, func(a, b []netip.Prefix) bool { return slices.Equal(a, b) })
	}
	for _, part := range parts {
		if !slices.ContainsFunc(universe, func(a netip.Addr) bool { return containsAddr(part, a) }) {
			t.Errorf("no address in %v", part)
		}
	}
}

// TestARouteIsShownForTheRestOfTheInternet has a rule about the internet without the addresses that are best known: what lies
// behind one machine may reach the rest of it through the other, which needs the way back.
func TestARouteIsShownForTheRestOfTheInternet(t *testing.T) {
	w := &world{
		Network: Network{
			IPv4: netip.MustParsePrefix("100.64.0.0/10"), IPv6: netip.MustParsePrefix("fd00::/48"),
			Machines: []Machine{
				{ID: 11, Addrs: []netip.Addr{mustAddr("100.64.0.1")}, Routes: prefixes("0.0.0.0/0")},
				{ID: 12, Addrs: []netip.Addr{mustAddr("100.64.0.2")}, Routes: prefixes("10.0.0.4/31")},
			},
		},
		ipsets: map[string]ipsetModel{"ipset:a": {add: []string{"autogroup:internet"}, remove: []string{"1.1.1.1", "8.8.8.8"}}},
		rules:  []ruleModel{{src: []string{"10.0.0.0/8"}, dst: []string{"ipset:a:22"}}},
	}
	f, err := Parse([]byte(w.text()))
	if err != nil {
		t.Fatal(err)
	}
	c := Compile(f, w.Network)
	if got := c.Routes(11, 12); !slices.Equal(got, prefixes("10.0.0.4/31")) {
		t.Errorf("the exit node's routes of the router: %v", got)
	}
	for to, want := range map[string]bool{"9.9.9.9": true, "1.1.1.1": false, "8.8.8.8": false} {
		p := coord.Packet{From: mustAddr("10.0.0.4"), To: mustAddr(to), Proto: coord.ProtoTCP, Port: 22}
		if got := c.Filter(11).Admits(w.Machines[0].Addrs, p); got != want || want != (w.allowed(&w.Machines[1], &w.Machines[0], p) >= 0) {
			t.Errorf("to %s: got %v", to, got)
		}
	}
}

// TestNoFilterIsLargerThanTheLargest: what an admin is told of is the filter that a machine would refuse first.
func TestNoFilterIsLargerThanTheLargest(t *testing.T) {
	play(t, func(t *draw) {
		w := drawWorld(t.Rand)
		f, err := Parse([]byte(w.text()))
		if err != nil {
			t.Fatal(err)
		}
		c := Compile(f, w.Network)
		id, most := c.Largest()
		for _, m := range w.Machines {
			sets, tos := 0, 0
			for _, s := range c.Filter(m.ID).Sets {
				sets += len(s.Nets)
			}
			for _, r := range slices.Concat(c.Filter(m.ID).In, c.Filter(m.ID).Forward) {
				tos += len(r.To)
			}
			if max(sets, tos) > most+len(m.Addrs)*f.Rules() || len(m.Routes) == 0 && sets > most {
				t.Fatalf("the largest is said to be that of %d with %d, %d has %d and %d in\n%s%+v", id, most, m.ID, sets, tos, w.text(), w.Machines)
			}
		}
	})
}

func agree(t *draw, w *world, c *Compiled) {
	n := coord.Network{IPv4: w.IPv4, IPv6: w.IPv6}
	sees, routes := make(map[[2]coord.NodeID]bool), make(map[string]bool)
	for i := range w.Machines {
		to := &w.Machines[i]
		filter := c.Filter(to.ID)
		if err := filter.Validate(&n); err != nil {
			t.Fatalf("the filter of %d: %v", to.ID, err)
		}
		for _, b := range universe {
			ways := w.ways(to, b)
			for j := range w.Machines {
				if from := &w.Machines[j]; i != j {
					ask(t, w, c, filter, from, to, b, ways, sees, routes)
				}
			}
		}
	}
	for _, a := range w.Machines {
		for _, b := range w.Machines {
			if a.ID == b.ID {
				continue
			}
			if got, want := c.Sees(a.ID, b.ID), sees[[2]coord.NodeID{a.ID, b.ID}]; got != want {
				t.Fatalf("%d sees %d: got %v, want %v in\n%s%+v", a.ID, b.ID, got, want, w.text(), w.Machines)
			}
			if got := slices.Contains(c.Peers(a.ID), b.ID); got != c.Sees(b.ID, a.ID) {
				t.Fatalf("%d and %d: sight is not the same both ways", a.ID, b.ID)
			}
			got := c.Routes(a.ID, b.ID)
			for _, r := range b.Routes {
				if want := routes[fmt.Sprint(a.ID, b.ID, r)]; slices.Contains(got, r) != want {
					t.Fatalf("%d is to have route %s of %d: got %v, want %v in\n%s%+v", a.ID, r, b.ID, !want, want, w.text(), w.Machines)
				}
			}
		}
	}
}

// ask compares the answers to all packets from one machine, or from behind it, to one address at another.
func ask(t *draw, w *world, c *Compiled, filter *coord.Filter, from, to *Machine, b netip.Addr, ways []*netip.Prefix, sees map[[2]coord.NodeID]bool, routes map[string]bool) {
	for _, a := range universe {
		back := w.ways(from, a)
		back = slices.DeleteFunc(back, func(r *netip.Prefix) bool { return r != nil && r.Bits() == 0 }) // the internet begins nothing
		if len(back) == 0 || a.Is4() != b.Is4() {
			continue
		}
		for _, probe := range probes {
			p := coord.Packet{From: a, To: b, Proto: probe.proto, Port: probe.port}
			if len(ways) == 0 {
				if filter.Admits(to.Addrs, p) {
					t.Fatalf("%d lets in what does not lead there: %+v", to.ID, p)
				}
				continue
			}
			rule := w.allowed(from, to, p)
			if got := filter.Admits(to.Addrs, p); got != w.anybody(to, p) && len(w.ways(to, a)) == 0 {
				t.Fatalf("%d to %d, %+v: got %v, rule %d in\n%s%+v\n%s", from.ID, to.ID, p, got, rule, w.text(), w.Machines, show(filter))
			}
			if rule < 0 {
				continue
			}
			sees[[2]coord.NodeID{from.ID, to.ID}], sees[[2]coord.NodeID{to.ID, from.ID}] = true, true
			for _, way := range ways {
				if way != nil && slices.ContainsFunc(w.rules, func(r ruleModel) bool { return w.allows(&r, from, to, way, p) }) {
					routes[fmt.Sprint(from.ID, to.ID, *way)] = true
				}
			}
			for _, way := range back {
				if way != nil && w.rulesFor(from, *way, to, p) {
					routes[fmt.Sprint(to.ID, from.ID, *way)] = true
				}
			}
		}
	}
}

// rulesFor reports whether what lies behind this route of the source may begin the flow.
func (w *world) rulesFor(from *Machine, way netip.Prefix, to *Machine, p coord.Packet) bool {
	return w.behind(from, way, p.From) && w.allowed(from, to, p) >= 0
}

// anybody reports whether the packet is allowed from some machine that it can come from: filters look at addresses, and
// several routers may lead to one subnet.
func (w *world) anybody(to *Machine, p coord.Packet) bool {
	return slices.ContainsFunc(w.Machines, func(from Machine) bool {
		return from.ID != to.ID && len(w.ways(&from, p.From)) > 0 && w.allowed(&from, to, p) >= 0
	})
}

func show(v any) string {
	b, _ := json.MarshalIndent(v, "", " ")
	return string(b)
}

// TestVerdictsAgreeWithTheOracle asks for random packets, with the rule and the way.
func TestVerdictsAgreeWithTheOracle(t *testing.T) {
	play(t, func(t *draw) {
		r := t.Rand
		w := drawWorld(r)
		text := w.text()
		f, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		c := Compile(f, w.Network)
		var lines []int // of rules
		for i, line := range strings.Split(text, "\n") {
			if strings.HasPrefix(line, "{\"src\"") || strings.HasPrefix(line, "{\"action\"") {
				lines = append(lines, i+1)
			}
		}
		for range 200 {
			from := &w.Machines[r.IntN(len(w.Machines))]
			a, b := one(r, universe), one(r, universe)
			if r.IntN(3) > 0 { // more often between machines than to somewhere
				a, b = one(r, from.Addrs), one(r, one(r, w.Machines).Addrs)
			}
			probe := one(r, probes)
			if ways := w.ways(from, a); a.Is4() != b.Is4() || len(ways) == 0 || ways[0] != nil && w.ways(from, a)[0].Bits() == 0 {
				continue
			}
			p := coord.Packet{From: a, To: b, Proto: probe.proto, Port: probe.port}
			first, through := -1, []coord.NodeID(nil)
			for i := range w.Machines {
				if m := &w.Machines[i]; m.ID != from.ID {
					if rule := w.allowed(from, m, p); rule >= 0 {
						through = append(through, m.ID)
						if first < 0 || rule < first {
							first = rule
						}
					}
				}
			}
			v := c.Verdict(Question{From: from.ID, Source: a, To: b, Proto: p.Proto, Port: p.Port})
			if v.Allowed != (first >= 0) || !slices.Equal(v.Through, through) || v.Why == "" {
				t.Fatalf("%d, %+v: got %+v, want rule %d through %v in\n%s%+v", from.ID, p, v, first, through, text, w.Machines)
			}
			if v.Allowed && v.Rule.Line != lines[first] {
				t.Fatalf("%+v: got line %d, want %d in\n%s", p, v.Rule.Line, lines[first], text)
			}
		}
	})
}

// TestStepByStepIsAsFromScratch changes a network machine by machine, and compares with one that is compiled anew: all
// answers, and that whoever a change concerned was named.
func TestStepByStepIsAsFromScratch(t *testing.T) {
	play(t, func(t *draw) {
		r := t.Rand
		w := drawWorld(r)
		f, err := Parse([]byte(w.text()))
		if err != nil {
			t.Fatal(err)
		}
		c := Compile(f, w.Network)
		for range 1 + r.IntN(8) {
			before := answers(c)
			id, touched := step(r, w, c)
			fresh := Compile(f, w.Network)
			after := answers(fresh)
			if got := answers(c); !reflect.DeepEqual(got, after) {
				t.Fatalf("step by step\n%s\nfrom scratch\n%s\nin\n%s%+v", show(got), show(after), w.text(), w.Machines)
			}
			checkTouched(t, id, touched, before, after)
		}
	})
}

// step changes one machine or user.
func step(r *rand.Rand, w *world, c *Compiled) (coord.NodeID, Touched) {
	switch i := r.IntN(8); {
	case r.IntN(6) == 0 && len(w.Machines) > 0: // a role changes, and its machines follow one by one
		u := &w.Users[r.IntN(3)]
		u.Role = one(r, roles)
		for _, id := range c.PutUser(*u) {
			for _, m := range w.Machines {
				if m.ID == id {
					c.Put(m)
				}
			}
		}
		return 0, Touched{}
	case i < len(w.Machines) && r.IntN(2) == 0:
		id := w.Machines[i].ID
		w.Machines = slices.Delete(w.Machines, i, i+1)
		return id, c.Remove(id)
	default:
		m := drawMachine(r, i)
		w.Machines = slices.DeleteFunc(w.Machines, func(o Machine) bool { return o.ID == m.ID })
		w.Machines = append(w.Machines, m)
		return m.ID, c.Put(m)
	}
}

type answer struct {
	Peers  []coord.NodeID
	Filter *coord.Filter
	Routes map[coord.NodeID][]netip.Prefix
}

func answers(c *Compiled) map[coord.NodeID]answer {
	out := make(map[coord.NodeID]answer)
	for id := range c.machines {
		a := answer{Peers: c.Peers(id), Filter: c.Filter(id), Routes: make(map[coord.NodeID][]netip.Prefix)}
		for _, p := range a.Peers {
			a.Routes[p] = c.Routes(id, p)
		}
		out[id] = a
	}
	return out
}

// checkTouched holds what a change said it concerned against what is different.
func checkTouched(t *draw, id coord.NodeID, touched Touched, before, after map[coord.NodeID]answer) {
	if id == 0 {
		return
	}
	for other := range after {
		if other == id || before[other].Filter == nil {
			continue
		}
		saw, sees := slices.Contains(before[other].Peers, id), slices.Contains(after[other].Peers, id)
		if slices.Contains(touched.Gained, other) != (!saw && sees) || slices.Contains(touched.Lost, other) != (saw && !sees) || slices.Contains(touched.Kept, other) != (saw && sees) {
			t.Fatalf("%d saw %d: %v, sees it: %v, but: %+v", other, id, saw, sees, touched)
		}
		if !reflect.DeepEqual(before[other].Filter, after[other].Filter) && !slices.Contains(touched.Filters, other) {
			t.Fatalf("the filter of %d changed with %d, but: %+v\n%s\n%s", other, id, touched, show(before[other].Filter), show(after[other].Filter))
		}
	}
}
