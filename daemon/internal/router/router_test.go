package router

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/internal/alone"
	"github.com/warren-mesh/warren/daemon/internal/journal"
	"github.com/warren-mesh/warren/ipc"
)

const name = "warren0"

var (
	mesh4, mesh6 = netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fd77:1:2::/48")
	self4, self6 = netip.MustParsePrefix("100.64.0.7/32"), netip.MustParsePrefix("fd77:1:2::7/128")
	whole        = Wish{MTU: 1280, Addrs: []netip.Prefix{self4, self6}, Routes: []netip.Prefix{mesh4, mesh6}}
)

func TestMain(m *testing.M) {
	alone.Enter()
	if dir := os.Getenv("WARREN_TEST_DIE_IN"); dir != "" {
		dieWhileApplying(dir, os.Getenv("WARREN_TEST_DIE_AT"))
	}
	goleak.VerifyTestMain(m)
}

// ip runs iproute2: what people would look with.
func ip(t testing.TB, args string) string {
	t.Helper()
	out, err := ipOutput(args)
	if err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
	return out
}

func ipOutput(args string) (string, error) {
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	return string(out), err
}

// everything is what recovering must leave as it was, byte for byte. (Lifetimes do not run in these namespaces.)
func everything(t testing.TB) string {
	t.Helper()
	settings, _ := filepath.Glob("/proc/sys/net/ipv[46]/conf/*/*[fd][io]*") // forwarding, rp_filter, redirects
	var values strings.Builder
	all := make(map[string]string)
	for _, f := range settings {
		if !strings.Contains(f, "/"+name+"/") && !strings.HasSuffix(f, "/stable_secret") {
			text, _ := os.ReadFile(f)
			values.WriteString(f + " " + string(text))
		}
	}
	for flag, commands := range map[string]string{"-4": "route show table all\nrule show\n", "-6": "route show table all\nrule show\n", "-d": "addr show\n"} {
		cmd := exec.Command("ip", flag, "-batch", "-")
		cmd.Stdin = strings.NewReader(commands)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("ip %s: %v: %s", flag, err, out)
		}
		all[flag] = string(out)
	}
	return all["-d"] + all["-4"] + all["-6"] + values.String()
}

// tun makes an interface that stays until the test ends, unlike a daemon's, so that undoing has something to undo.
func tun(t testing.TB) {
	t.Helper()
	lab.NeedRoot(t)
	ip(t, "tuntap add dev "+name+" mode tun")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
}

// veth makes another network of the host: eth7, with an address and a default route.
func veth(t testing.TB) {
	t.Helper()
	lab.NeedRoot(t)
	ip(t, "link add eth7 type veth peer name far7")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "eth7").Run() })
	for _, args := range []string{
		"link set eth7 addrgenmode none", "link set far7 addrgenmode none", // those would come when they like
		"link set eth7 up", "link set far7 up", "addr add 192.0.2.7/24 dev eth7", "route add default via 192.0.2.1",
	} {
		ip(t, args)
	}
	settled(t, "2", func() string {
		return strconv.Itoa(strings.Count(ip(t, "link show eth7")+ip(t, "link show far7"), "state UP"))
	})
}

// settled waits until the fact is as wanted: the kernel does some of it a moment later. Asking takes milliseconds.
func settled(t testing.TB, want string, fact func() string) {
	t.Helper()
	got := fact()
	for end := time.Now().Add(5 * time.Second); got != want && time.Now().Before(end); got = fact() {
	}
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func newRouter(t testing.TB) *Router {
	t.Helper()
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{Name: name, Mark: testMark, Journal: j})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.Close(context.Background()), j.Close()); err != nil {
			t.Error(err)
		}
	})
	return r
}

func apply(t testing.TB, r *Router, w Wish) []string {
	t.Helper()
	problems, err := r.Apply(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, p := range problems {
		if p.Code != ipc.ProblemRouteConflict || p.Fix == "" {
			t.Errorf("a problem without code or fix: %+v", p)
		}
		texts = append(texts, p.Text)
	}
	return texts
}

func TestTheInterfaceGetsWhatIsWishedAndGivesItBack(t *testing.T) {
	veth(t)
	tun(t)
	before := everything(t)
	r := newRouter(t)
	if problems := apply(t, r, whole); len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	for _, want := range []struct{ args, text string }{
		{"link show " + name, "mtu 1280"},
		{"link show " + name, ",UP"},
		{"addr show " + name, "inet 100.64.0.7/32 scope global"},
		{"addr show " + name, "inet6 fd77:1:2::7/128 scope global"},
		{"route get 100.99.1.2", "dev " + name + " src 100.64.0.7"},
		{"route get fd77:1:2::99", "dev " + name + " "},
		{"route get 203.0.113.1", "via 192.0.2.1 dev eth7"},
	} {
		if out := ip(t, want.args); !strings.Contains(out, want.text) {
			t.Errorf("ip %s does not show %q:\n%s", want.args, want.text, out)
		}
	}
	if out := ip(t, "-6 addr show "+name); strings.Contains(out, "fe80") || strings.Contains(out, "tentative") {
		t.Errorf("an address that nobody wished, or that waits:\n%s", out)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Down again, and no more of it; the MTU and a few flags may differ on what the tunnel removes next.
	settled(t, withoutLink(before), func() string { return withoutLink(everything(t)) })
	if live := r.journal.Live(); len(live) > 0 {
		t.Errorf("the journal still holds %v", live)
	}
}

// withoutLink leaves out the line about the interface itself.
func withoutLink(text string) string {
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return strings.Contains(l, name+": <") })
	return strings.Join(lines, "\n")
}

func TestApplyChangesTheDifferenceOnly(t *testing.T) {
	tun(t)
	r := newRouter(t)
	apply(t, r, whole)
	live := len(r.journal.Live())
	ip(t, "addr add 10.9.9.9/32 dev "+name) // somebody's, to be left alone
	apply(t, r, whole)
	if n := len(r.journal.Live()); n != live {
		t.Errorf("doing nothing wrote %d records", n-live)
	}
	next := netip.MustParsePrefix("100.64.0.8/32")
	apply(t, r, Wish{MTU: 1400, Addrs: []netip.Prefix{next}, Routes: []netip.Prefix{mesh4}})
	out := ip(t, "addr show "+name)
	for text, want := range map[string]bool{"100.64.0.8/32": true, "100.64.0.7/32": false, "fd77": false, "10.9.9.9": true, "mtu 1400": true} {
		if strings.Contains(out, text) != want {
			t.Errorf("%s is there: %v, want %v:\n%s", text, !want, want, out)
		}
	}
	if routes := ip(t, "-6 route show dev "+name); strings.Contains(routes, "fd77") {
		t.Errorf("routes left:\n%s", routes)
	}
	if routes := ip(t, "route show dev "+name); !strings.Contains(routes, "100.64.0.0/10 proto 87") {
		t.Errorf("the route went with the old address:\n%s", routes)
	}
}

// ours is what Apply is answerable for. (The kernel adds an IPv6 address's local route a moment after the address.)
func ours(t testing.TB) string {
	t.Helper()
	return ip(t, "addr show "+name) + ip(t, "route show dev "+name) + ip(t, "-6 route show dev "+name)
}

func TestApplyMendsWhatSomebodyTookAway(t *testing.T) {
	tun(t)
	r := newRouter(t)
	apply(t, r, whole)
	want := ours(t)
	for _, args := range []string{
		"addr del 100.64.0.7/32 dev " + name, "route del 100.64.0.0/10", "-6 route del fd77:1:2::/48", "link set " + name + " down",
		"link set " + name + " mtu 1500", "addr flush dev " + name,
	} {
		ip(t, args)
		if ours(t) == want {
			t.Fatalf("ip %s changed nothing", args)
		}
		apply(t, r, whole)
		settled(t, want, func() string { return ours(t) })
	}
}

func TestANewInterfaceOfTheSameNameStartsAfresh(t *testing.T) {
	tun(t)
	r := newRouter(t)
	apply(t, r, whole)
	ip(t, "link del "+name)
	if _, err := r.Apply(t.Context(), whole); !errors.Is(err, ErrNoInterface) {
		t.Fatalf("without the interface: %v", err)
	}
	ip(t, "tuntap add dev "+name+" mode tun")
	apply(t, r, whole)
	if out := ip(t, "addr show "+name); !strings.Contains(out, "100.64.0.7") {
		t.Errorf("it has no address:\n%s", out)
	}
	if n := len(r.journal.Live()); n != 5 {
		t.Errorf("the journal holds %d records, want 5", n)
	}
}

func TestAHostWithoutIPv6GetsIPv4(t *testing.T) {
	tun(t)
	const knob = "/proc/sys/net/ipv6/conf/warren0/disable_ipv6"
	if err := os.WriteFile(knob, []byte("1"), 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) { // such a kernel has none either
		t.Fatal(err)
	}
	r := newRouter(t)
	if problems := apply(t, r, whole); len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	if out := ip(t, "addr show "+name); !strings.Contains(out, "100.64.0.7") || strings.Contains(out, "fd77") {
		t.Errorf("got\n%s", out)
	}
	if err := os.WriteFile(knob, []byte("0"), 0o644); err != nil {
		t.Fatal(err)
	}
	apply(t, r, whole)
	if out := ip(t, "addr show "+name); !strings.Contains(out, "fd77") {
		t.Errorf("with IPv6 again:\n%s", out)
	}
}

func TestTheHostsOwnRoutesWinAndThatIsSaid(t *testing.T) {
	veth(t)
	tun(t)
	r := newRouter(t)
	for _, c := range []struct{ add, del, want string }{
		{"route add 100.64.0.0/10 dev eth7", "route del 100.64.0.0/10 dev eth7", "no machine of this network in 100.64.0.0/10 can be reached"},
		{"route add 100.70.0.0/16 dev eth7", "route del 100.70.0.0/16 dev eth7", "100.70.0.0/16 is routed to eth7: machines of this network"},
		{"-6 route add fd77:1:2::/48 dev eth7 metric 512", "-6 route del fd77:1:2::/48 dev eth7", "fd77:1:2::/48 is routed to eth7"},
	} {
		ip(t, c.add)
		before := ip(t, "route show dev eth7") + ip(t, "-6 route show dev eth7")
		if problems := apply(t, r, whole); len(problems) != 1 || !strings.Contains(problems[0], c.want) {
			t.Errorf("ip %s: problems %q", c.add, problems)
		}
		if after := ip(t, "route show dev eth7") + ip(t, "-6 route show dev eth7"); after != before {
			t.Errorf("ip %s: its routes were changed:\n%s\nwant\n%s", c.add, after, before)
		}
		ip(t, c.del)
		if problems := apply(t, r, whole); len(problems) > 0 {
			t.Errorf("after ip %s: problems %q", c.del, problems)
		}
		if out := ip(t, "route get 100.70.1.1"); !strings.Contains(out, name) {
			t.Errorf("after ip %s: %s", c.del, out)
		}
	}
	// Another VPN's way: a table of its own, asked first.
	ip(t, "route add 100.100.0.0/16 dev eth7 table 52")
	ip(t, "rule add priority 5270 lookup 52")
	t.Cleanup(func() { ip(t, "rule del priority 5270") })
	if problems := apply(t, r, whole); len(problems) != 1 || !strings.Contains(problems[0], "100.100.0.0/16 is routed to eth7") {
		t.Errorf("problems: %q", problems)
	}
}

// dieWhileApplying is the child of the next test: it dies at the netlink request of that number.
func dieWhileApplying(dir, at string) {
	die, err := strconv.Atoi(at)
	if err != nil {
		panic(err)
	}
	j, err := journal.Open(filepath.Join(dir, "journal"), nil)
	if err != nil {
		panic(err)
	}
	r, err := New(Config{Name: name, Mark: testMark, Journal: j})
	if err != nil {
		panic(err)
	}
	r.step = func() {
		if die--; die < 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	shut := withExit()
	shut.Exit.AllowLAN = false
	shut.Subnets = append(shut.Subnets, netip.MustParsePrefix("192.168.7.0/24"))
	for _, w := range []Wish{withSubnets(), withExit(), shut} {
		if _, err := r.Apply(context.Background(), w); err != nil {
			panic(err)
		}
	}
	if err := r.Close(context.Background()); err != nil {
		panic(err)
	}
	os.Exit(0)
}

func TestAKillAtAnyPointIsRecoveredFrom(t *testing.T) {
	veth(t)
	ip(t, "addr add 192.168.7.7/24 dev eth7")
	strictFilter(t)
	before := everything(t)
	finished := false
	for at := 0; !finished; at++ {
		tun(t)
		bare := everything(t)
		dir := t.TempDir()
		child := exec.Command("/proc/self/exe")
		child.Env = append(os.Environ(), "WARREN_TEST_DIE_IN="+dir, "WARREN_TEST_DIE_AT="+strconv.Itoa(at))
		out, err := child.CombinedOutput()
		if finished = err == nil; !finished && child.ProcessState.ExitCode() != -1 {
			t.Fatalf("the child to die at %d: %v: %s", at, err, out)
		}
		j, err := journal.Open(filepath.Join(dir, "journal"), nil)
		if err != nil {
			t.Fatal(err)
		}
		live := len(j.Live())
		if changed := everything(t) != bare; changed && live == 0 && !finished {
			t.Errorf("killed at %d: changes that nobody wrote down", at)
		}
		for range 2 {
			if _, err := j.Recover(t.Context(), Undo()); err != nil {
				t.Errorf("killed at %d: %v", at, err)
			}
			if live == 0 { // nothing was begun, or all was ended: the interface is the tunnel's to remove
				_ = exec.Command("ip", "link", "del", name).Run()
			}
			settled(t, before, func() string { return everything(t) })
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		if at > 200 {
			t.Fatal("the child never ended by itself")
		}
		t.Logf("killed at %d: %d records live", at, live)
	}
}

func TestUndoTouchesOnlyWhatIsOurs(t *testing.T) {
	tun(t)
	r := newRouter(t)
	apply(t, r, whole)
	ip(t, "link del "+name)
	ip(t, "tuntap add dev "+name+" mode tun") // somebody else's, of our name
	ip(t, "addr add 100.64.0.7/32 dev "+name)
	ip(t, "link set "+name+" up")
	ip(t, "route add 100.64.0.0/10 dev "+name+" proto 87")
	want := everything(t)
	if _, err := r.journal.Recover(t.Context(), Undo()); err != nil {
		t.Fatal(err)
	}
	settled(t, want, func() string { return everything(t) })
}

// next waits for an event.
func next(t *testing.T, events <-chan Event) Event {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("the channel was closed")
		}
		return e
	case <-time.After(time.Minute):
		t.Fatal("no event came")
	}
	return Event{}
}

func TestWatchTellsOurChangesFromOthers(t *testing.T) {
	veth(t)
	tun(t)
	r := newRouter(t)
	apply(t, r, whole)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := r.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		do   string
		want Event
	}{
		{"addr del 100.64.0.7/32 dev warren0", Event{Own: true}},
		{"addr add 192.0.2.8/24 dev eth7", Event{Network: true}},
		{"addr add 2001:db8::7/64 dev eth7 nodad", Event{Network: true}},
		{"route replace default via 192.0.2.2", Event{Network: true}},
		{"link set eth7 down", Event{Network: true}},
		{"link set eth7 up", Event{Network: true}},
		{"route add 100.80.0.0/16 dev eth7", Event{Own: true}}, // a rival
		{"route del 100.64.0.0/10 dev warren0", Event{Own: true}},
		{"link set warren0 down", Event{Own: true}},
		{"link del warren0", Event{Own: true}},
		{"tuntap add dev warren0 mode tun", Event{Own: true}},
	} {
		if strings.HasPrefix(c.do, "route del") {
			apply(t, r, whole) // with its last address an interface loses its routes
			next(t, events)
		}
		ip(t, c.do)
		if got := next(t, events); got != c.want {
			t.Errorf("ip %s: %+v, want %+v", c.do, got, c.want)
		}
	}
	// What changes nothing is not told: the next event is only that of what follows.
	ip(t, "addr replace 192.0.2.8/24 dev eth7 valid_lft 600 preferred_lft 600")
	ip(t, "link set eth7 txqueuelen 77")
	ip(t, "route add 10.77.0.0/16 dev eth7")
	ip(t, "link set warren0 up")
	if got := next(t, events); got != (Event{Own: true}) {
		t.Errorf("after what changes nothing: %+v", got)
	}
	cancel()
	for range events { // ends, since the channel is closed
	}
}

// The daemon watches before it applies. What takes its packets is told when it comes, and when it goes with its link.
func TestWatchTellsOfRivalsThatComeAndGo(t *testing.T) {
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
		for { // an event of another kind may come first
			if next(t, events).Own {
				return
			}
			t.Log("another event after", what)
		}
	}
	apply(t, r, whole)
	own("apply")
	veth(t)
	ip(t, "route add 100.70.0.0/16 dev eth7")
	own("a rival came")
	if problems := apply(t, r, whole); len(problems) != 1 {
		t.Errorf("problems beside a rival: %q", problems)
	}
	ip(t, "link del eth7")
	own("it went with its link")
	if problems := apply(t, r, whole); len(problems) != 0 {
		t.Errorf("problems after it went: %q", problems)
	}
}

func TestAPlanLeadsFromAnyFactToTheWish(t *testing.T) {
	prefixes := []netip.Prefix{self4, self6, mesh4, mesh6, netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.9/32")}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) []netip.Prefix {
			return rapid.SliceOfDistinct(rapid.SampledFrom(prefixes), rapid.ID[netip.Prefix]).Draw(t, label)
		}
		f := fact{index: 3, up: rapid.Bool().Draw(t, "up"), mtu: 1500, addrs: draw("addrs"), routes: draw("routes")}
		w := Wish{MTU: 1280, Addrs: draw("wished addrs"), Routes: draw("wished routes")}
		ours := draw("ours")
		p := diff(f, w, ours)
		f.addrs, f.routes = append(without(f.addrs, p.delAddrs), p.addAddrs...), append(without(f.routes, p.delRoutes), p.addRoutes...)
		f.up, f.mtu = f.up || p.setUp, p.setMTU
		if again := diff(f, w, ours); !again.empty() {
			t.Fatalf("after %+v there is still %+v", p, again)
		}
		for _, a := range p.delAddrs {
			if !slices.Contains(ours, a) {
				t.Fatalf("%s is not ours, and would go", a)
			}
		}
	})
}

// TestPacketsToOthersNeverComeFromTheHostsOwnAddress: a peer would drop them.
func TestPacketsToOthersNeverComeFromTheHostsOwnAddress(t *testing.T) {
	tun(t)
	r := newRouter(t)
	w := whole
	w.Host = []netip.Prefix{netip.MustParsePrefix("100.64.0.1/32"), netip.MustParsePrefix("fd77:1:2::ffff:53/128")} // before our own, in any order
	apply(t, r, Wish{MTU: w.MTU, Host: w.Host})                                                                     // and there before it
	apply(t, r, w)
	for dst, src := range map[string]string{"100.64.9.9": "100.64.0.7", "fd77:1:2::ffff:52": "fd77:1:2::7"} {
		if got := ip(t, "route get "+dst); !strings.Contains(got, "src "+src+" ") {
			t.Errorf("to %s: %s", dst, got)
		}
	}
	if got := ip(t, "route get 100.64.0.1"); !strings.HasPrefix(got, "local") {
		t.Errorf("the host's own is not local: %s", got)
	}
	apply(t, r, whole)
	if got := ip(t, "addr show "+name); strings.Contains(got, "100.64.0.1/") || strings.Contains(got, "ffff:53") {
		t.Errorf("it stays:\n%s", got)
	}
}
