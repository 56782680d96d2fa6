package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// stopped is how soon a flow ends that an edit of the policy allows no more.
const stopped = 5 * time.Second

// answered is speaks for what must be, if not at the first time on a busy machine.
func answered(c net.Conn) error {
	if !speaks(c) {
		return errors.New("no answer")
	}
	return nil
}

// speaks has a connection answered once.
func speaks(c net.Conn) bool {
	buf := make([]byte, 64)
	for { // what came late of an earlier question
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := c.Read(buf); err != nil {
			break
		}
	}
	_ = c.SetDeadline(time.Now().Add(400 * time.Millisecond))
	if _, err := c.Write([]byte("hello")); err != nil {
		return false
	}
	_, err := c.Read(buf)
	return err == nil
}

// reaches begins a flow and has it answered. Over ICMP it pings.
func reaches(from *mesh.Node, network string, to netip.Addr, port uint16) error {
	if network == "icmp" {
		return from.PingOnce(to)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := from.DialContext(ctx, network, net.JoinHostPort(to.String(), fmt.Sprint(port)))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	return answered(c)
}

// rulesFor is a policy by which these machines may do so much at those.
func rulesFor(from, to []netip.Addr, services ...string) string {
	list := func(as []netip.Addr) string {
		words := make([]string, len(as))
		for i, a := range as {
			words[i] = fmt.Sprintf("%q", a)
		}
		return strings.Join(words, ", ")
	}
	return fmt.Sprintf(`{"grants": [{"src": [%s], "dst": [%s], "ip": ["%s"]}]}`, list(from), list(to), strings.Join(services, `", "`))
}

// put has a policy in force.
func put(t *testing.T, m *mesh.Mesh, policy string) {
	t.Helper()
	m.Coord.Run("policy", "set", mesh.Write(t, m.Coord.Machine, "policy.hujson", policy))
}

// TestAccessRulesAreKeptOnRealHosts: directly and through a relay, IPv4 and IPv6, TCP, UDP and ICMP, new flows and old ones,
// across edits; each is first shown to work.
func TestAccessRulesAreKeptOnRealHosts(t *testing.T) {
	t.Parallel()
	m, alice, bob := twoHomes(t)
	bob.Echo(7000)
	alice.Echo(7000)
	a, b := alice.Status().Self.Addrs, bob.Status().Self.Addrs
	open := rulesFor(a, b, "tcp:7000", "udp:7000", "icmp:*")
	other := rulesFor(a, b, "tcp:7001")
	for _, kind := range []ipc.PathKind{ipc.PathDirect, ipc.PathRelay} {
		put(t, m, open)
		if kind == ipc.PathRelay {
			fault := m.Net.BlockUDP(alice, bob)
			defer fault.Heal()
		}
		alice.WaitPing(bob, 20*time.Second)
		alice.WaitPath(bob, kind, time.Minute)
		old := make(map[string]net.Conn)
		for _, to := range b {
			for _, network := range []string{"tcp", "udp", "icmp"} {
				lab.Eventually(t, 10*time.Second, func() error { return reaches(alice, network, to, 7000) })
				if network == "icmp" {
					continue
				}
				c, err := alice.Dial(network, net.JoinHostPort(to.String(), "7000"))
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				lab.Eventually(t, 10*time.Second, func() error { return answered(c) })
				old[network+" to "+to.String()] = c
			}
			if reaches(alice, "tcp", to, 7002) == nil {
				t.Errorf("%s: a port that is not allowed", kind)
			}
		}
		for _, to := range a { // nothing is allowed the other way
			for _, network := range []string{"tcp", "udp", "icmp"} {
				if reaches(bob, network, to, 7000) == nil {
					t.Errorf("%s, %s: the other way, where nothing is allowed", kind, network)
				}
			}
		}
		put(t, m, other)
		begun := time.Now()
		lab.Eventually(t, stopped, func() error {
			for name, c := range old {
				if speaks(c) {
					return fmt.Errorf("%s goes on", name)
				}
			}
			return nil
		})
		t.Logf("%s: old flows had stopped after %v", kind, time.Since(begun))
		for _, to := range b {
			for _, network := range []string{"tcp", "udp", "icmp"} {
				if reaches(alice, network, to, 7000) == nil {
					t.Errorf("%s, %s: a new flow that is allowed no more", kind, network)
				}
			}
		}
	}
	put(t, m, open)
	lab.Eventually(t, 10*time.Second, func() error { return reaches(alice, "udp", b[0], 7000) })
	explained(t, alice, bob)
	noticed(t, bob)
	forged(t, alice, bob, b[0])
}

// explained asks bob why alice may do what, and has him raise his shields.
func explained(t *testing.T, alice, bob *mesh.Node) {
	t.Helper()
	if out := bob.MustWarren("why", "alice", "7000"); !strings.Contains(out, "tcp:7000 from alice comes in, by this rule:") {
		t.Errorf("why: %s", out)
	}
	if out := bob.MustWarren("why", "alice", "7009"); !strings.Contains(out, "No access rule lets tcp:7009 from alice in.") || !strings.Contains(out, "for other services") {
		t.Errorf("why not: %s", out)
	}
	if out := bob.MustWarren("status"); !strings.Contains(out, "packets that no access rule lets in") {
		t.Errorf("the status does not hint at what was kept out: %s", out)
	}
	bob.MustWarren("set", "--shields-up")
	if err := reaches(alice, "tcp", bob.Inner(), 7000); err == nil {
		t.Error("shields up, and a connection came in")
	}
	if out := bob.MustWarren("why", "alice", "7000"); !strings.Contains(out, "Nothing comes in") {
		t.Errorf("why: %s", out)
	}
	bob.MustWarren("set", "--shields-up=false")
	lab.Eventually(t, 5*time.Second, func() error { return reaches(alice, "tcp", bob.Inner(), 7000) })
}

// noticed has bob's own filter drop something, long after anything of Warren's changed.
func noticed(t *testing.T, bob *mesh.Node) {
	t.Helper()
	told := func(want bool) error {
		is := slices.ContainsFunc(bob.Status().Problems, func(p ipc.Problem) bool { return p.Code == ipc.ProblemHostRules })
		if is != want {
			return fmt.Errorf("the status says that the host's own rules drop something: %t", is)
		}
		return nil
	}
	if err := told(false); err != nil {
		t.Error(err)
	}
	bob.MustRun("nft", "add table inet theirs; add chain inet theirs into { type filter hook input priority 10; }; add rule inet theirs into tcp dport 7009 drop")
	lab.Eventually(t, time.Minute, func() error { return told(true) })
	bob.MustRun("nft", "delete table inet theirs")
	lab.Eventually(t, time.Minute, func() error { return told(false) })
}

// forged has alice send with addresses that are not hers.
func forged(t *testing.T, alice, bob *mesh.Node, to netip.Addr) {
	t.Helper()
	send := func(from netip.Addr) bool {
		var c *net.UDPConn
		err := alice.Do(func() (err error) {
			c, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 7000)))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		seen := bob.CaptureOn(bob.Interface(), fmt.Sprintf("udp and src host %s and dst port 7000", from))
		defer seen.Stop()
		return speaks(c) || len(seen.Packets()) > 0
	}
	lab.Eventually(t, 10*time.Second, func() error { // control
		if !send(alice.Inner()) {
			return errors.New("alice's own address is not heard")
		}
		return nil
	})
	for _, from := range []string{"100.64.99.99", "10.99.0.1"} {
		alice.MustRun("ip", "addr", "add", from+"/32", "dev", "lo")
		if send(netip.MustParseAddr(from)) {
			t.Errorf("what alice sent as %s came to bob", from)
		}
		alice.MustRun("ip", "addr", "del", from+"/32", "dev", "lo")
	}
}
