package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/coord"
)

// bigNetwork has machines of users in groups, each hundredth a router, and a third of them servers with tags.
func bigNetwork(machines int) Network {
	r := rand.New(rand.NewPCG(1, 2))
	n := Network{IPv4: netip.MustParsePrefix("100.64.0.0/10"), IPv6: netip.MustParsePrefix("fd00::/48")}
	users := machines/4 + 1
	for i := range users {
		n.Users = append(n.Users, User{ID: int64(i + 1), Login: fmt.Sprintf("user%d@example.org", i), Role: roles[min(3, r.IntN(40))]})
	}
	for i := range machines {
		n.Machines = append(n.Machines, bigMachine(r, i, users))
	}
	return n
}

func bigMachine(r *rand.Rand, i, users int) Machine {
	m := Machine{ID: coord.NodeID(i + 1), User: int64(r.IntN(users) + 1)}
	m.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{100, 64 + byte(i>>16), byte(i >> 8), byte(i)}), mustAddr(fmt.Sprintf("fd00::%x", i+1))}
	if i%3 == 0 {
		m.User, m.Tags = 0, []string{fmt.Sprintf("t%d", r.IntN(50))}
	}
	if i%100 == 0 {
		m.Routes = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)}
	}
	return m
}

// bigFile has rules of all kinds, as a large company would have them.
func bigFile(b testing.TB, rules, machines int) *File {
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
	return mustParse(b, s.String())
}

// BenchmarkCompile compiles a file for a network, and works out what each machine sees and lets in.
func BenchmarkCompile(b *testing.B) {
	for _, machines := range []int{100, 1000, 10_000} {
		for _, rules := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("machines=%d/rules=%d", machines, rules), func(b *testing.B) {
				n, f := bigNetwork(machines), bigFile(b, rules, machines)
				for b.Loop() {
					c := Compile(f, n)
					for _, m := range n.Machines {
						c.peers(m.ID)
						c.Filter(m.ID)
					}
				}
			})
		}
	}
}

// BenchmarkPut changes one machine of 10,000 under 1,000 rules: a tag of a server, and the address of a laptop.
func BenchmarkPut(b *testing.B) {
	n, f := bigNetwork(10_000), bigFile(b, 1000, 10_000)
	c := Compile(f, n)
	for name, i := range map[string]int{"tag": 300, "laptop": 301} {
		b.Run(name, func(b *testing.B) {
			r, users := rand.New(rand.NewPCG(5, 6)), len(n.Users)
			touched := 0
			for b.Loop() {
				t := c.Put(bigMachine(r, i, users))
				touched += len(t.Filters)
			}
			b.ReportMetric(float64(touched)/float64(b.N), "filters/op")
		})
	}
}

func BenchmarkParse(b *testing.B) {
	var s strings.Builder
	s.WriteString(`{"grants": [`)
	for range 1000 {
		s.WriteString("// a rule\n{\"src\": [\"autogroup:member\", \"anna@example.org\"], \"dst\": [\"10.0.0.0/8\"], \"ip\": [\"tcp:443\", \"80-90\"]},\n")
	}
	s.WriteString(`]}`)
	b.SetBytes(int64(s.Len()))
	for b.Loop() {
		if _, err := Parse([]byte(s.String())); err != nil {
			b.Fatal(err)
		}
	}
}
