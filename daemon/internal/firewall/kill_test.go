package firewall

import (
	"context"
	"errors"
	"fmt"
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

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/internal/journal"
)

func sh(t testing.TB, line string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	return string(out)
}

// bareHost gives the tests' own network two links, of which one forwards already and one listens to routers.
func bareHost(t testing.TB) {
	t.Helper()
	lab.NeedRoot(t)
	sh(t, `set -e
		ip link add eth7 type veth peer name far7; ip link add eth8 type veth peer name far8
		for l in eth7 far7 eth8 far8; do ip link set $l addrgenmode none; ip link set $l up; done
		ip addr add 192.0.2.7/24 dev eth7; ip addr add 2001:db8::7/64 dev eth7 nodad
		ip link add warren0 type veth peer name far0; ip link set warren0 addrgenmode none; ip link set warren0 up
		sysctl -qw net.ipv4.conf.eth8.forwarding=1 net.ipv6.conf.eth8.forwarding=1 net.ipv6.conf.eth8.accept_ra=0
		sysctl -qw net.ipv4.conf.all.accept_redirects=0
		nft add table ip other; nft 'add chain ip other f { type filter hook forward priority 0; policy drop; }'
		iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -i eth7 -j ACCEPT; ip6tables-nft -P FORWARD DROP`)
	t.Cleanup(func() {
		sh(t, "nft flush ruleset; ip link del eth7; ip link del eth8; ip link del warren0; sysctl -qw net.ipv4.conf.all.accept_redirects=1")
	})
}

// everything is what recovering must leave as it was, byte for byte.
func everything(t testing.TB) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir("/proc/sys/net", func(path string, d fs.DirEntry, err error) error {
		for _, end := range []string{"/forwarding", "/ip_forward", "/accept_ra", "/accept_redirects", "/rp_filter", "/arp_ignore"} {
			if err == nil && strings.HasSuffix(path, end) {
				value, _ := os.ReadFile(path)
				fmt.Fprintf(&text, "%s = %s", path, value)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String() + sh(t, "set -e; nft list ruleset; iptables-nft -S; ip6tables-nft -S; ip -6 route; ip -6 maddr")
}

var router = base.routing("0.0.0.0/0", "::/0", "192.168.1.0/24")

// someRules lets another port in each time.
func someRules(i int) *coord.Filter {
	return &coord.Filter{
		Sets: []coord.FilterSet{{Name: "*", Nets: mesh}},
		In:   []coord.FilterRule{{From: []string{"*"}, Allow: []coord.Service{{Proto: coord.ProtoTCP, First: uint16(22 + i), Last: uint16(22 + i)}}}},
	}
}

// dieWhileApplying is the child: it dies by its own hand before its n-th change.
func dieWhileApplying(dir, at string) {
	die, err := strconv.Atoi(at)
	if err != nil {
		panic(err)
	}
	j, err := journal.Open(filepath.Join(dir, "journal"), nil)
	if err != nil {
		panic(err)
	}
	f, err := New(Config{Interface: tun, Journal: j})
	if err != nil {
		panic(err)
	}
	f.step = func() {
		if die--; die < 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	access := NewFilter(Config{Interface: tun, Journal: j})
	access.step = f.step
	for i, r := range []Rules{base, judged(router), base.routing("192.168.1.0/24")} {
		if err := access.Apply(context.Background(), Admission{Rules: someRules(i), Self: r.Self}); err != nil {
			panic(err)
		}
		if _, err := f.Apply(context.Background(), r); err != nil {
			panic(err)
		}
	}
	if err := errors.Join(f.Close(context.Background()), access.Close(context.Background())); err != nil {
		panic(err)
	}
	os.Exit(0)
}

func TestAKillAtAnyPointIsRecoveredFrom(t *testing.T) {
	bareHost(t)
	before := everything(t)
	finished, changed := false, 0
	for at := 0; !finished; at++ {
		dir := t.TempDir()
		child := exec.Command("/proc/self/exe")
		child.Env = append(os.Environ(), "WARREN_TEST_DIE_IN="+dir, "WARREN_TEST_DIE_AT="+strconv.Itoa(at))
		out, err := child.CombinedOutput()
		if finished = err == nil; !finished && child.ProcessState.ExitCode() != -1 {
			t.Fatalf("the child to die at %d: %v: %s", at, err, out)
		}
		if everything(t) != before {
			changed++
		} else if finished != (at > 0 && err == nil) {
			t.Errorf("killed at %d: %v", at, err)
		}
		j, err := journal.Open(filepath.Join(dir, "journal"), nil)
		if err != nil {
			t.Fatal(err)
		}
		live := len(j.Live())
		if finished && live > 0 {
			t.Errorf("closed, and the journal still holds %v", j.Live())
		}
		for range 2 {
			if _, err := j.Recover(t.Context(), Undo()); err != nil {
				t.Errorf("killed at %d: %v", at, err)
			}
			if after := everything(t); after != before {
				t.Fatalf("killed at %d, with %d records live, then recovered:\n%s", at, live, difference(before, after))
			}
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		if at > 100 {
			t.Fatal("the child never ended by itself")
		}
		t.Logf("killed at %d: %d records live", at, live)
	}
	if changed < 15 {
		t.Errorf("only %d kills left something changed", changed)
	}
}

func difference(before, after string) string {
	was, is := strings.Split(before, "\n"), strings.Split(after, "\n")
	var lines []string
	for _, l := range was {
		if !slices.Contains(is, l) {
			lines = append(lines, "- "+l)
		}
	}
	for _, l := range is {
		if !slices.Contains(was, l) {
			lines = append(lines, "+ "+l)
		}
	}
	return strings.Join(lines, "\n")
}

func newFirewall(t testing.TB) *Firewall {
	t.Helper()
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal"), nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := New(Config{Interface: tun, Journal: j})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(context.Background()); err != nil {
			t.Error(err)
		}
		_ = j.Close()
	})
	return f
}

func apply(t testing.TB, f *Firewall, r Rules) {
	t.Helper()
	problems, err := f.Apply(t.Context(), r)
	if err != nil || len(problems) > 0 {
		t.Fatalf("%v, %+v", err, problems)
	}
}

// filter is the host's packet filter without its counters.
func filter(t testing.TB) string {
	t.Helper()
	return sh(t, "nft -s list ruleset; sysctl net.ipv4.conf.eth7.forwarding net.ipv4.conf.eth8.forwarding net.ipv6.conf.all.forwarding net.ipv6.conf.eth7.accept_ra")
}

func TestApplyMendsWhatSomebodyTookAwayAndElseDoesNothing(t *testing.T) {
	bareHost(t)
	f := newFirewall(t)
	apply(t, f, router)
	apply(t, f, router) // now forwarding is on as it will be
	want, gen := filter(t), sh(t, "nft -a list ruleset")
	apply(t, f, router)
	if again := sh(t, "nft -a list ruleset"); again != gen { // with handles: a rule made anew has another
		t.Errorf("doing nothing did\n%s", difference(gen, again))
	}
	live := len(f.journal.Live())
	for _, line := range []string{
		"nft delete table ip warren", "nft flush chain ip6 warren forward", "nft delete table arp warren",
		"nft add rule ip warren from-tunnel accept", "iptables-nft -F FORWARD; iptables-nft -A FORWARD -i eth7 -j ACCEPT", "sysctl -qw net.ipv4.conf.eth7.forwarding=0",
		"sysctl -qw net.ipv6.conf.all.forwarding=0 net.ipv6.conf.eth7.accept_ra=1",
	} {
		sh(t, line)
		if filter(t) == want {
			t.Fatalf("%s changed nothing", line)
		}
		apply(t, f, router)
		apply(t, f, router)
		if is := filter(t); is != want && len(difference(want, is)) > 0 {
			t.Errorf("after %s:\n%s", line, difference(want, is))
		}
	}
	if n := len(f.journal.Live()); n != live {
		t.Errorf("%d records, were %d", n, live)
	}
}

func TestWatchTellsOfOthersChangesOnly(t *testing.T) {
	bareHost(t)
	f := newFirewall(t)
	ctx, cancel := context.WithCancel(t.Context())
	events, err := NewLockdown(LockdownConfig{}).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, f, router)
	select {
	case <-events:
		t.Error("our own change is told")
	default:
	}
	sh(t, "nft delete table ip warren")
	<-events
	cancel()
	for range events { // until it is closed
	}
}

// TestWhatOthersRelyOnByNowStays: whoever turns forwarding on for the whole host after us still has it after us.
func TestWhatOthersRelyOnByNowStays(t *testing.T) {
	bareHost(t)
	f := newFirewall(t)
	apply(t, f, router)
	t.Cleanup(func() { sh(t, "sysctl -qw net.ipv4.ip_forward=0") })
	sh(t, "sysctl -qw net.ipv4.ip_forward=1")
	apply(t, f, router)
	if got := sh(t, "nft list ruleset"); strings.Contains(got, "set opened {\n\t\ttype ifname\n\t\telements = { \"eth7\"") && strings.Contains(strings.Split(got, "table ip6 warren")[0], "@opened") {
		t.Errorf("what others forward is still held:\n%s", got)
	}
	if err := f.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, "sysctl net.ipv4.conf.eth7.forwarding"); !strings.Contains(got, "= 1") {
		t.Errorf("another program's forwarding is off: %s", got)
	}
}

func TestRangesAreWhatTheirPrefixesAre(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"10.0.0.0/8 10.1.0.0/16 11.0.0.0/8", "10.0.0.0-11.255.255.255"},
		{"10.0.0.1/32 10.0.0.3/32 2001:db8::/32", "10.0.0.1-10.0.0.1 10.0.0.3-10.0.0.3"},
		{"224.0.0.0/3 255.255.255.255/32 ::ffff:192.0.2.0/120", "192.0.2.0-192.0.2.255 224.0.0.0-255.255.255.255"},
	} {
		var got []string
		for _, s := range spans(prefixes(strings.Fields(c.in)...), true) {
			got = append(got, s.first.String()+"-"+s.last.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.in, got, c.want)
		}
	}
	for _, p := range never { // each is a prefix without bits beyond its length
		if p != p.Masked() {
			t.Errorf("%s", p)
		}
	}
	for _, a := range []string{"64:ff9b::a9fe:a9fe", "169.254.169.254", "::1", "fe80::1", "100.100.100.100"} {
		if !slices.ContainsFunc(never, func(p netip.Prefix) bool { return p.Contains(netip.MustParseAddr(a)) }) {
			t.Errorf("an exit node leads to %s", a)
		}
	}
}

func TestSourcePortsLeaveOutWhereWeListen(t *testing.T) {
	for _, c := range []struct {
		listening []uint16
		lo, hi    uint16
	}{
		{nil, 1024, 65535},
		{[]uint16{51820}, 1024, 51819},
		{[]uint16{1024}, 1025, 65535},
		{[]uint16{65535, 3478, 53}, 3479, 65534},
		{[]uint16{41641, 3478, 41641}, 3479, 41640},
	} {
		if lo, hi := sourcePorts(c.listening); lo != c.lo || hi != c.hi {
			t.Errorf("%v: %d-%d, want %d-%d", c.listening, lo, hi, c.lo, c.hi)
		}
	}
}
