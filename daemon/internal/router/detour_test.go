package router

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/warren-mesh/warren/ipc"
)

const testMark = 0x57000000

var marked = fmt.Sprintf(" mark %#x", testMark)

// withSubnets is a wish with subnets behind other machines.
func withSubnets() Wish {
	w := whole
	w.Subnets = []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("2001:db8:20::/48")}
	return w
}

// withExit is that with an exit node.
func withExit() Wish {
	w := withSubnets()
	w.Exit = &Exit{IPv4: true, IPv6: true, AllowLAN: true}
	return w
}

// strictFilter makes the reverse path filter strict, as some distributions have it.
func strictFilter(t testing.TB) {
	t.Helper()
	if err := os.WriteFile(rpFilter, []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(rpFilter, []byte("0"), 0) })
}

// lan gives eth7 a private network, the addresses of IPv6, and a default route for it.
func lan(t testing.TB) {
	t.Helper()
	veth(t)
	ip(t, "addr add 192.168.7.7/24 dev eth7")
	ip(t, "addr add 2001:db8:7::7/64 dev eth7 nodad")
	ip(t, "addr add fd99::7/64 dev eth7 nodad")
	ip(t, "-6 route add default via 2001:db8:7::1 dev eth7")
}

// leads looks where packets go.
func leads(t testing.TB, want map[string]string) {
	t.Helper()
	for dst, to := range want {
		if got := kernel(dst); !strings.Contains(got, to) {
			t.Errorf("to %s: %q, want %q", dst, got, to)
		}
	}
}

// kernel is what the kernel says of a destination, or why it leads nowhere.
func kernel(dst string) string {
	out, err := ipOutput("route get " + dst)
	if err != nil {
		return strings.ReplaceAll(out, "No route to host", "unreachable") // EHOSTUNREACH, and ENETUNREACH
	}
	return strings.TrimSpace(out)
}

func TestWithAnExitNodeNothingGoesAroundIt(t *testing.T) {
	lan(t)
	tun(t)
	strictFilter(t)
	before := everything(t)
	r := newRouter(t)
	w := withExit()
	w.Exit.AllowLAN = false
	if ps := apply(t, r, w); len(ps) > 0 {
		t.Errorf("problems: %q", ps)
	}
	const tunnel, direct = "dev " + name, "dev eth7"
	for _, attack := range []string{
		"", "route add 0.0.0.0/1 via 192.0.2.66 dev eth7", "route add 128.0.0.0/1 via 192.0.2.66 dev eth7", "route add 203.0.113.0/24 via 192.0.2.66 dev eth7",
		"route add 203.0.113.5/32 via 192.0.2.66 dev eth7", "-6 route add 2000::/3 via 2001:db8:7::66 dev eth7", "-6 route add 2001:db8:5::/48 via 2001:db8:7::66 dev eth7",
		"route add 100.64.0.0/16 via 192.0.2.66 dev eth7", "addr add 203.0.113.77/8 dev eth7", "route replace default via 192.0.2.66 dev eth7",
		"route add 10.20.3.0/24 via 192.0.2.66 dev eth7",
	} {
		if attack != "" {
			ip(t, attack)
			apply(t, r, w)
		}
		leads(t, map[string]string{
			"203.0.113.5": tunnel, "8.8.8.8": tunnel, "192.168.7.1": tunnel, "192.0.2.1": tunnel, "100.64.9.9": tunnel, "10.20.3.4": tunnel,
			"2001:db8:5::1": tunnel, "fd99::1": tunnel, "fd77:1:2::9": tunnel, "255.255.255.255": tunnel,
			"198.51.100.1" + marked: direct, "2001:db8:99::1" + marked: direct, // the tunnel's own packets
		})
		if t.Failed() {
			t.Fatalf("after ip %s", attack)
		}
	}
	// Without the tunnel's interface everything ends here.
	ip(t, "link del "+name)
	leads(t, map[string]string{"203.0.113.5": "unreachable", "2001:db8:5::1": "unreachable", "198.51.100.1" + marked: direct})
	for _, undo := range []string{
		"route del 0.0.0.0/1", "route del 128.0.0.0/1", "route del 203.0.113.0/24", "route del 203.0.113.5/32", "-6 route del 2000::/3",
		"-6 route del 2001:db8:5::/48", "route del 100.64.0.0/16", "addr del 203.0.113.77/8 dev eth7", "route del 10.20.3.0/24", "route replace default via 192.0.2.1 dev eth7",
	} {
		ip(t, undo)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	tun(t)
	settled(t, withoutLink(before), func() string { return withoutLink(everything(t)) })
	if live := r.journal.Live(); len(live) > 0 {
		t.Errorf("the journal still holds %v", live)
	}
}

func TestAllowedLANIsOnlyWhatIsPrivateAndAttached(t *testing.T) {
	lan(t)
	ip(t, "addr add 203.0.113.77/24 dev eth7") // a DHCP server says that this is local
	ip(t, "addr add 10.1.2.3/1 dev eth7")      // and this
	ip(t, "route add 172.16.5.0/24 via 192.168.7.1")
	tun(t)
	r := newRouter(t)
	apply(t, r, withExit())
	leads(t, map[string]string{
		"192.168.7.1": "dev eth7", "fd99::1": "dev eth7", "224.0.0.251": "dev eth7", "255.255.255.255": "broadcast",
		"203.0.113.1": "dev " + name, "172.16.5.1": "dev " + name, "10.99.9.9": "dev " + name, "192.0.2.1": "dev " + name, "2001:db8:7::1": "dev " + name,
	})
	// It follows the host: another address, another LAN.
	ip(t, "addr add 172.20.1.9/24 dev eth7")
	ip(t, "addr del 192.168.7.7/24 dev eth7")
	apply(t, r, withExit())
	leads(t, map[string]string{"172.20.1.1": "dev eth7", "192.168.7.1": "dev " + name})
}

func TestBridgesOfContainersStayReachable(t *testing.T) {
	lan(t)
	tun(t)
	ip(t, "link add docker7 type bridge")
	ip(t, "link add vport7 type veth peer name vfar7")
	ip(t, "link set vport7 master docker7 up")
	ip(t, "link set docker7 up")
	ip(t, "addr add 172.17.0.1/16 dev docker7")
	t.Cleanup(func() { ip(t, "link del docker7"); ip(t, "link del vport7") })
	r := newRouter(t)
	w := withExit()
	w.Exit.AllowLAN = false
	apply(t, r, w)
	leads(t, map[string]string{"172.17.0.2": "dev docker7", "192.168.7.1": "dev " + name})
}

func TestALANThatTheExitNodeShutsIsNotLookedForElsewhere(t *testing.T) {
	lan(t)
	tun(t)
	strictFilter(t)
	before := everything(t)
	r := newRouter(t)
	w := withExit()
	w.Exit.AllowLAN = false
	look := func() []ipc.Problem {
		t.Helper()
		ps, err := r.Apply(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		return ps
	}
	const aside = "dev lo"
	for _, subnets := range [][]string{{"192.168.7.0/24", "fd99::/64"}, {"192.168.0.0/16", "fd99::/48"}, {"192.168.7.128/25", "fd99::/72"}} {
		w.Subnets = nil
		for _, p := range subnets {
			w.Subnets = append(w.Subnets, netip.MustParsePrefix(p))
		}
		ps := look()
		if len(ps) != 2 || !strings.Contains(ps[0].Text, "192.168.7.0/24") || !strings.Contains(ps[0].Text, "keeps it off its LAN") {
			t.Errorf("%v: problems %q", subnets, ps)
		}
		leads(t, map[string]string{
			"192.168.7.200": aside, "fd99::5": "unreachable", "203.0.113.5": "dev " + name, "2001:db8:5::1": "dev " + name,
			"192.168.7.200" + marked: "dev eth7", "192.168.7.7 from 192.168.7.200 iif eth7": "local",
		})
	}
	for range 2 { // a second look finds it as it is
		live := len(r.journal.Live())
		look()
		if n := len(r.journal.Live()); n != live {
			t.Errorf("doing nothing wrote %d records", n-live)
		}
	}
	w.Exit.AllowLAN = true
	look()
	leads(t, map[string]string{"192.168.7.200": "dev eth7", "fd99::5": "dev eth7"})
	ip(t, "addr del 192.168.7.7/24 dev eth7") // it leaves that LAN, and comes back
	w.Subnets = w.Subnets[:1]
	look()
	leads(t, map[string]string{"192.168.7.200": "dev " + name})
	ip(t, "addr add 192.168.7.7/24 dev eth7")
	look()
	leads(t, map[string]string{"192.168.7.200": "dev eth7"})
	w.Exit.AllowLAN = false
	look()
	r.Leave()
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	second, err := New(Config{Name: name, Mark: testMark, Journal: r.journal})
	if err != nil {
		t.Fatal(err)
	}
	leads(t, map[string]string{"192.168.7.200": aside}) // until the next one looks, too
	if err := second.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	settled(t, withoutLink(before), func() string { return withoutLink(everything(t)) })
}

func TestAnExitNodeOfOneVersionBlocksTheOther(t *testing.T) {
	lan(t)
	tun(t)
	r := newRouter(t)
	w := whole
	w.Exit = &Exit{IPv4: true}
	apply(t, r, w)
	leads(t, map[string]string{"203.0.113.5": "dev " + name, "2001:db8:5::1": "unreachable", "fd77:1:2::9": "dev " + name, "2001:db8:99::1" + marked: "dev eth7"})
	w.Exit = &Exit{IPv4: true, IPv6: true}
	apply(t, r, w)
	leads(t, map[string]string{"203.0.113.5": "dev " + name, "2001:db8:5::1": "dev " + name})
	w.Exit = &Exit{} // none is there any more: IPv4 ends in the tunnel, which has nobody for it
	apply(t, r, w)
	leads(t, map[string]string{"203.0.113.5": "dev " + name, "2001:db8:5::1": "unreachable"})
}

func TestTheHostsOwnNetworkWinsOverASubnetOfOthers(t *testing.T) {
	lan(t)
	tun(t)
	r := newRouter(t)
	w := whole
	for _, p := range []string{"192.168.7.0/24", "192.168.7.128/25", "192.168.0.0/16", "10.20.0.0/16", "10.30.0.0/16"} {
		w.Subnets = append(w.Subnets, netip.MustParsePrefix(p))
	}
	ip(t, "route add 10.30.5.0/24 via 192.168.7.1")
	problems, err := r.Apply(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	leads(t, map[string]string{
		"192.168.7.1": "dev eth7", "192.168.7.200": "dev eth7", "192.168.8.1": "dev " + name, "10.20.1.1": "dev " + name,
		"10.30.5.1": "via 192.168.7.1", "10.30.6.1": "dev " + name, "8.8.8.8": "via 192.0.2.1",
		"10.20.1.1" + marked: "via 192.0.2.1", // where a subnet holds the coordination server or a peer, the tunnel does not swallow itself
	})
	said := func(code, start, end string) bool {
		return slices.ContainsFunc(problems, func(p ipc.Problem) bool {
			return p.Code == code && p.Level == ipc.ProblemNotice && strings.HasPrefix(p.Text, start) && strings.HasSuffix(p.Text, end)
		})
	}
	if len(problems) != 2 || !said(ipc.ProblemRouteShadow, "192.168.7.0/24 is a network that this machine is on", "192.168.0.0/16, 192.168.7.0/24, 192.168.7.128/25.") ||
		!said(ipc.ProblemRouteConflict, "This machine has a route of its own to 10.30.5.0/24, by eth7", "leads to 10.30.0.0/16.") {
		t.Errorf("problems: %+v", problems)
	}
	apply(t, r, whole)
	if rules := ip(t, "rule") + ip(t, "-6 rule"); strings.Contains(rules, "proto 87") {
		t.Errorf("without subnets there are rules:\n%s", rules)
	}
	leads(t, map[string]string{"10.20.1.1": "via 192.0.2.1"})
}

func TestTheDetourIsMendedWhenSomebodyTakesPartOfItAway(t *testing.T) {
	lan(t)
	tun(t)
	r := newRouter(t)
	apply(t, r, withExit())
	fact := func() string {
		return ip(t, "rule") + ip(t, "-6 rule") + ip(t, "route show table 8787") + ip(t, "-6 route show table 8787")
	}
	want := fact()
	for _, args := range []string{"rule del priority 5310", "rule del priority 5320", "-6 rule del priority 5311", "route flush table 8787", "-6 route del default dev " + name + " table 8787"} {
		ip(t, args)
		if fact() == want {
			t.Fatalf("ip %s changed nothing", args)
		}
		apply(t, r, withExit())
		settled(t, want, fact)
	}
	live := len(r.journal.Live())
	apply(t, r, withExit())
	if n := len(r.journal.Live()); n != live {
		t.Errorf("doing nothing wrote %d records", n-live)
	}
}

func TestARuleThatGoesPastTheExitNodeIsSaid(t *testing.T) {
	lan(t)
	tun(t)
	r := newRouter(t)
	for _, c := range []struct{ add, del string }{
		{"rule add priority 1000 lookup main", "rule del priority 1000"},
		{"rule add priority 5270 lookup 52", "rule del priority 5270"},
		{"rule add priority 5309 not fwmark 0xca6c lookup 52", "rule del priority 5309"}, // wg-quick, started after this
	} {
		ip(t, "route add default via 192.0.2.1 dev eth7 table 52")
		ip(t, c.add)
		if ps := apply(t, r, withExit()); len(ps) != 1 || !strings.Contains(ps[0], "go to eth7, past the exit node") {
			t.Errorf("ip %s: %q", c.add, ps)
		}
		ip(t, c.del)
		ip(t, "route flush table 52")
		if ps := apply(t, r, withExit()); len(ps) > 0 {
			t.Errorf("after ip %s: %q", c.del, ps)
		}
	}
}

func TestARouteOfOthersInOurTableIsSaidAndStays(t *testing.T) {
	lan(t)
	tun(t)
	const taken = "default via 192.0.2.1 dev eth7 table 8787"
	ip(t, "route add "+taken)
	r := newRouter(t)
	for _, w := range []Wish{withExit(), withSubnets()} {
		if ps := apply(t, r, w); len(ps) != 1 || !strings.Contains(ps[0], "Packets to 0.0.0.0/0 go to eth7") {
			t.Errorf("problems: %q", ps)
		}
		leads(t, map[string]string{"203.0.113.5": "via 192.0.2.1"})
	}
	if ps := apply(t, r, whole); len(ps) > 0 {
		t.Errorf("where the table is not used: %q", ps)
	}
	ip(t, "route del "+taken) // fails if it is gone
	if ps := apply(t, r, withExit()); len(ps) > 0 {
		t.Errorf("problems: %q", ps)
	}
	leads(t, map[string]string{"203.0.113.5": "dev " + name})
}

func TestWhatTheHostLeadsToItselfBeforeASubnetIsSaid(t *testing.T) {
	lan(t)
	tun(t)
	r := newRouter(t)
	w := withSubnets()
	for i := range 10 {
		w.Subnets = append(w.Subnets, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 20, byte(i), 0}), 24))
	}
	for _, c := range []struct{ add, del, said string }{
		{"route add 10.0.0.0/8 via 192.168.7.1", "route del 10.0.0.0/8", "a route of its own to 10.0.0.0/8, by eth7"},
		{"route add 10.20.3.0/24 via 192.168.7.1", "route del 10.20.3.0/24", "leads to 10.20.0.0/16, 10.20.3.0/24."},
		{"-6 route add 2001:db8:20:5::/64 via 2001:db8:7::1", "-6 route del 2001:db8:20:5::/64", "leads to 2001:db8:20::/48."},
		{"rule add priority 5309 not fwmark 0xca6c lookup 52", "rule del priority 5309", "go to eth7, past the machine that leads there"},
		{"rule add priority 5309 lookup main", "rule del priority 5309", "10.20.6.0/24, and 3 more go to eth7, past the machine that leads there"},
		{"rule add priority 5309 from 192.168.7.9 lookup 52", "rule del priority 5309", ""},
		{"rule add priority 5330 lookup 52", "rule del priority 5330", ""},
		{"route add 10.21.0.0/16 via 192.168.7.1", "route del 10.21.0.0/16", ""},
	} {
		ip(t, "route add default via 192.0.2.1 dev eth7 table 52")
		ip(t, c.add)
		if ps := apply(t, r, w); c.said != "" && (len(ps) != 1 || !strings.Contains(ps[0], c.said)) || c.said == "" && len(ps) > 0 {
			t.Errorf("ip %s: %q", c.add, ps)
		}
		ip(t, c.del)
		ip(t, "route flush table 52")
		if ps := apply(t, r, w); len(ps) > 0 {
			t.Errorf("after ip %s: %q", c.del, ps)
		}
	}
}

func TestTheReversePathFilterIsLooseOnlyWhilePacketsTakeADetour(t *testing.T) {
	tun(t)
	r := newRouter(t)
	value := func(want string) {
		t.Helper()
		if got, err := readSetting(rpFilter); err != nil || got != want {
			t.Errorf("rp_filter is %s (%v), want %s", got, err, want)
		}
	}
	apply(t, r, withExit())
	value("0") // it is in nobody's way
	apply(t, r, whole)
	strictFilter(t)
	for _, w := range []Wish{withExit(), withSubnets()} {
		apply(t, r, w)
		value("2")
		apply(t, r, whole)
		value("1")
	}
	six := whole
	six.Subnets = []netip.Prefix{netip.MustParsePrefix("2001:db8:20::/48")}
	apply(t, r, six)
	value("1") // IPv6 has no such filter
	apply(t, r, withExit())
	if err := os.WriteFile(rpFilter, []byte("0"), 0); err != nil { // somebody's own choice stays
		t.Fatal(err)
	}
	apply(t, r, whole)
	value("0")
}

func TestASubnetThatHoldsAPeerDoesNotShutOutWhatItSends(t *testing.T) {
	lan(t)
	tun(t)
	strictFilter(t)
	r := newRouter(t)
	w := whole
	w.Subnets = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	apply(t, r, w)
	leads(t, map[string]string{
		"198.51.100.1": "dev " + name, "198.51.100.1" + marked: "dev eth7",
		"192.168.7.7 from 198.51.100.1 iif eth7": "local", // what comes in has no mark
	})
}

// TestItemsLeadWhereTheWishSays holds the rules and routes against a naive reading of the wish.
func TestItemsLeadWhereTheWishSays(t *testing.T) {
	pool := []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.1.2.0/24"), netip.MustParsePrefix("192.168.1.0/24"),
		netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("fd99::/64"), netip.MustParsePrefix("2001:db8::/32"),
	}
	rapid.Check(t, func(t *rapid.T) {
		w := Wish{Routes: []netip.Prefix{mesh4, mesh6}, Subnets: rapid.SliceOfDistinct(rapid.SampledFrom(pool), rapid.ID[netip.Prefix]).Draw(t, "subnets")}
		if rapid.Bool().Draw(t, "exit") {
			w.Exit = &Exit{IPv4: rapid.Bool().Draw(t, "4"), IPv6: rapid.Bool().Draw(t, "6"), AllowLAN: rapid.Bool().Draw(t, "lan")}
		}
		var attached []attachment
		for _, p := range rapid.SliceOfDistinct(rapid.SampledFrom(pool), rapid.ID[netip.Prefix]).Draw(t, "attached") {
			attached = append(attached, attachment{p, rapid.Bool().Draw(t, "inner")})
		}
		items := w.items(attached, false)
		for _, dst := range []string{"10.9.9.9", "10.1.9.9", "10.1.2.9", "192.168.1.9", "203.0.113.9", "8.8.8.8", "fd99::9", "2001:db8::9", "2600::9", "100.64.1.1", "fd77:1:2::1"} {
			a := netip.MustParseAddr(dst)
			if got, want := lookup(items, attached, a), naive(&w, attached, a); got != want {
				t.Fatalf("%s goes %q, want %q: %+v", dst, got, want, items)
			}
		}
	})
}

// lookup does with the items what the kernel does: rules in their order, in a table the longest prefix, then the least metric.
func lookup(items []item, attached []attachment, a netip.Addr) string {
	has := func(rule int) bool { return slices.Contains(items, item{six: a.Is6(), rule: rule}) }
	onLAN := slices.ContainsFunc(attached, func(at attachment) bool { return at.prefix.Contains(a) })
	if has(ruleHost) && onLAN {
		return "host"
	}
	if has(ruleTable) {
		var best *item
		for i := range items {
			is := &items[i]
			if is.rule == 0 && is.dst.Contains(a) && (best == nil || is.dst.Bits() > best.dst.Bits() || is.dst.Bits() == best.dst.Bits() && is.way < best.way) {
				best = is
			}
		}
		if best != nil && best.way != viaHost {
			return []string{"tunnel", "host", "nowhere", "nowhere"}[best.way]
		}
	}
	return "host"
}

func naive(w *Wish, attached []attachment, a netip.Addr) string {
	if mesh4.Contains(a) || mesh6.Contains(a) {
		if w.Exit == nil && (a.Is4() || a.Is6()) {
			return "host" // by the main table, which has the network's own routes then
		}
		return "tunnel"
	}
	longest := func(ps []netip.Prefix) (best netip.Prefix) {
		for _, p := range ps {
			if p.Contains(a) && (!best.IsValid() || p.Bits() > best.Bits()) {
				best = p
			}
		}
		return best
	}
	var all, open, closed []netip.Prefix
	for _, at := range attached {
		all = append(all, at.prefix)
		if w.Exit != nil && (at.inner || w.Exit.AllowLAN) && at.private() {
			open = append(open, at.prefix)
		} else if w.Exit != nil && at.private() && slices.ContainsFunc(w.Subnets, at.prefix.Overlaps) {
			closed = append(closed, at.prefix)
		}
	}
	var subnets []netip.Prefix
	for _, p := range w.Subnets {
		if !slices.ContainsFunc(all, func(own netip.Prefix) bool {
			return w.Exit != nil && attachment{prefix: own}.private() && contains(own, p)
		}) {
			subnets = append(subnets, p)
		}
	}
	behind, own, shut := longest(subnets), longest(all), longest(closed)
	switch {
	case w.Exit == nil && own.IsValid():
		return "host"
	case w.Exit == nil && behind.IsValid():
		return "tunnel"
	case w.Exit == nil:
		return "host"
	}
	if lan := longest(open); lan.IsValid() && (!behind.IsValid() || lan.Bits() >= behind.Bits()) && (!shut.IsValid() || lan.Bits() >= shut.Bits()) {
		return "host"
	}
	if shut.IsValid() && (!behind.IsValid() || shut.Bits() >= behind.Bits()) {
		return "nowhere" // neither the LAN nor another that has its addresses
	}
	if behind.IsValid() || a.Is4() || w.Exit.IPv6 {
		return "tunnel"
	}
	return "nowhere"
}

func TestRulesAreLeftToTheRouterThatFollows(t *testing.T) {
	lan(t)
	strictFilter(t)
	before := everything(t)
	tun(t)
	r := newRouter(t)
	apply(t, r, withExit())
	shut := func(what string) {
		t.Helper()
		leads(t, map[string]string{"203.0.113.5": "unreachable", "2001:db8:5::1": "unreachable", "198.51.100.1" + marked: "dev eth7"})
		if t.Failed() {
			t.Fatal(what)
		}
	}
	ip(t, "link del "+name)
	shut("the interface is gone")
	r.Leave()
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	shut("the router is closed")
	tun(t)
	second, err := New(Config{Name: name, Mark: testMark, Journal: r.journal})
	if err != nil {
		t.Fatal(err)
	}
	shut("the next one is there")
	apply(t, second, withExit())
	leads(t, map[string]string{"203.0.113.5": "dev " + name, "2001:db8:5::1": "dev " + name})
	second.Leave() // the interface is there this time
	if err := second.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	ip(t, "link del "+name)
	shut("the second one is closed")
	for range 2 {
		if err := Sweep(t.Context(), r.journal); err != nil {
			t.Fatal(err)
		}
		settled(t, before, func() string { return everything(t) })
	}
	if live := r.journal.Live(); len(live) > 0 {
		t.Errorf("the journal still holds %v", live)
	}
}

func TestWatchTellsWhatTheDetourDependsOn(t *testing.T) {
	lan(t)
	tun(t)
	r := newRouter(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := r.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	own := func(what string) {
		t.Helper()
		for !next(t, events).Own {
			t.Log("another event after", what)
		}
		apply(t, r, withExit())
		for quiet := false; !quiet; { // the echo of our own changes
			select {
			case <-events:
			case <-time.After(3 * settle):
				quiet = true
			}
		}
	}
	apply(t, r, withExit())
	own("apply")
	for _, args := range []string{
		"rule del priority 5320", "-6 rule del priority 5310", "route del unreachable default table 8787", "addr add 172.30.0.1/24 dev eth7", "addr del 192.168.7.7/24 dev eth7",
	} {
		ip(t, args)
		own(args)
	}
	leads(t, map[string]string{"203.0.113.5": "dev " + name, "172.30.0.2": "dev eth7", "192.168.7.1": "dev " + name})
	cancel()
	for range events {
	}
}

func TestAKilledRouterLeavesNoWayAroundTheExitNodeUntilRecoverOrTheNextOne(t *testing.T) {
	lan(t)
	strictFilter(t)
	before := everything(t)
	for _, end := range []string{"recover", "another", "another without an exit node"} {
		tun(t)
		r := newRouter(t)
		apply(t, r, withExit())
		leads(t, map[string]string{"203.0.113.5": "dev " + name, "2001:db8:5::1": "dev " + name})
		ip(t, "link del "+name) // as the kernel does with a process that is killed
		for range 2 {
			report, err := r.journal.Recover(t.Context(), UndoPassing())
			if err != nil || report.Passed == 0 || report.Left > 0 {
				t.Fatalf("%+v, %v", report, err)
			}
			leads(t, map[string]string{"203.0.113.5": "unreachable", "2001:db8:5::1": "unreachable", "198.51.100.1" + marked: "dev eth7"})
		}
		if end != "recover" {
			tun(t)
			second, err := New(Config{Name: name, Mark: testMark, Journal: r.journal})
			if err != nil {
				t.Fatal(err)
			}
			leads(t, map[string]string{"203.0.113.5": "unreachable", "2001:db8:5::1": "unreachable"})
			w := withExit()
			if end != "another" {
				w.Exit = nil
			}
			apply(t, second, w)
			if end == "another" {
				leads(t, map[string]string{"203.0.113.5": "dev " + name, "2001:db8:5::1": "dev " + name})
			} else {
				leads(t, map[string]string{"203.0.113.5": "dev eth7", "2001:db8:5::1": "dev eth7"})
			}
			if err := second.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			ip(t, "link del "+name)
		}
		if report, err := r.journal.Recover(t.Context(), Undo()); err != nil || report.Passed+report.Left > 0 {
			t.Fatalf("%+v, %v", report, err)
		}
		settled(t, before, func() string { return everything(t) })
		if live := r.journal.Live(); len(live) > 0 {
			t.Errorf("the journal still holds %v", live)
		}
	}
}
