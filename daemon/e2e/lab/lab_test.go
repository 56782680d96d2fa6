package lab_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
)

// echoPort is where a mirror listens.
const echoPort = 7

// mirror answers each UDP packet with the address that it came from.
func mirror(t *testing.T, m *lab.Machine, port uint16) netip.AddrPort {
	t.Helper()
	conn, err := m.ListenUDP(port)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			_, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
			_, _ = conn.WriteToUDPAddrPort([]byte(from.String()), from)
		}
	}()
	return netip.AddrPortFrom(m.Addr(), port)
}

// ask sends a UDP packet and returns the answer; answers are tried for a third of a second.
func ask(conn *net.UDPConn, to netip.AddrPort, size int) (netip.AddrPort, error) {
	if _, err := conn.WriteToUDPAddrPort(make([]byte, size), to); err != nil {
		return netip.AddrPort{}, err
	}
	buf := make([]byte, 2048)
	if err := conn.SetReadDeadline(time.Now().Add(lab.Patience * 300 * time.Millisecond)); err != nil {
		return netip.AddrPort{}, err
	}
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return netip.AddrPort{}, err
		}
		if netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) == to {
			return netip.ParseAddrPort(string(buf[:n]))
		}
	}
}

func socket(t *testing.T, m *lab.Machine, port uint16) *net.UDPConn {
	t.Helper()
	conn, err := m.ListenUDP(port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func mustAsk(t *testing.T, conn *net.UDPConn, to netip.AddrPort) netip.AddrPort {
	t.Helper()
	var seen netip.AddrPort
	var err error
	for range 10 { // UDP on a busy host: one may come late, or not at all
		if seen, err = ask(conn, to, 10); err == nil {
			return seen
		}
	}
	t.Fatalf("no answer from %v: %v", to, err)
	return seen
}

func TestTwoHomesStandWithinAMomentAndReachTheInternetOnly(t *testing.T) {
	start := time.Now()
	n := lab.New(t)
	inet := n.Internet()
	coord, relay := inet.Host("coord"), inet.Host("relay")
	home1, home2 := inet.Router("home1", lab.EasyNAT), inet.Router("home2", lab.HardNAT)
	alice, bob := home1.Host("alice"), home2.Host("bob")
	took := time.Since(start)
	t.Logf("made in %v", took)
	if took > lab.Patience*5*time.Second { // about 0.3 s on an idle machine
		t.Errorf("making two homes took %v", took)
	}
	for _, m := range []*lab.Machine{alice, bob, relay} {
		if err := m.Ping(coord.Addr()); err != nil {
			t.Error(err)
		}
	}
	if err := relay.Ping(coord.Addr6()); err != nil {
		t.Error(err)
	}
	if err := alice.Ping(bob.Addr()); err == nil {
		t.Error("a private address is reached through the internet")
	}
	if err := coord.Ping(alice.Addr()); err == nil {
		t.Error("a private address is reached from the internet")
	}
	if out := alice.MustRun("ip", "-o", "link"); strings.Count(out, "\n") != 2 {
		t.Errorf("alice should have lo and eth0 only:\n%s", out)
	}
}

func TestEasyNATKeepsThePortWhomeverOneTalksTo(t *testing.T) {
	n := lab.New(t)
	inet := n.Internet()
	a, b := mirror(t, inet.Host("a"), echoPort), mirror(t, inet.Host("b"), echoPort)
	home := inet.Router("home", lab.EasyNAT)
	conn := socket(t, home.Host("alice"), 40000)
	want := netip.AddrPortFrom(home.Addr(), 40000)
	for _, to := range []netip.AddrPort{a, b} {
		if seen := mustAsk(t, conn, to); seen != want {
			t.Errorf("%v sees %v, want %v", to, seen, want)
		}
	}
}

func TestHardNATHasANewPortForEveryDestination(t *testing.T) {
	n := lab.New(t)
	inet := n.Internet()
	a, b := mirror(t, inet.Host("a"), echoPort), mirror(t, inet.Host("b"), echoPort)
	home := inet.Router("home", lab.HardNAT)
	conn := socket(t, home.Host("alice"), 40000)
	seenA, seenB := mustAsk(t, conn, a), mustAsk(t, conn, b)
	if seenA.Addr() != home.Addr() || seenB.Addr() != home.Addr() {
		t.Errorf("want the router's address, got %v and %v", seenA, seenB)
	}
	if seenA.Port() == seenB.Port() || seenA.Port() == 40000 {
		t.Errorf("want two random ports, got %v and %v", seenA, seenB)
	}
	if again := mustAsk(t, conn, a); again != seenA {
		t.Errorf("a mapping changed from %v to %v", seenA, again)
	}
}

// punch sends from both sides to where the mirrors saw them, the first packet ahead
// of the other side's as in real life, and says whether both got through.
func punch(t *testing.T, a, b *net.UDPConn, seenA, seenB netip.AddrPort) bool {
	t.Helper()
	got := func(conn *net.UDPConn, from netip.AddrPort) bool {
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		_, sender, err := conn.ReadFromUDPAddrPort(make([]byte, 10))
		return err == nil && sender.Addr().Unmap() == from.Addr()
	}
	for range 2 {
		if _, err := a.WriteToUDPAddrPort([]byte("a"), seenB); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
		if _, err := b.WriteToUDPAddrPort([]byte("b"), seenA); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return got(a, seenB) && got(b, seenA)
}

func TestHolesCanBePunchedThroughEasyNATsOnly(t *testing.T) {
	for _, c := range []struct {
		nat  lab.NAT
		want bool
	}{{lab.EasyNAT, true}, {lab.HardNAT, false}} {
		t.Run(c.nat.String(), func(t *testing.T) {
			n := lab.New(t)
			inet := n.Internet()
			to := mirror(t, inet.Host("stun"), echoPort)
			a := socket(t, inet.Router("home1", c.nat).Host("alice"), 40000)
			b := socket(t, inet.Router("home2", c.nat).Host("bob"), 40000)
			if got := punch(t, a, b, mustAsk(t, a, to), mustAsk(t, b, to)); got != c.want {
				t.Errorf("punched: %v, want %v", got, c.want)
			}
		})
	}
}

func TestPublicLANsAreReachedAsTheirRouterAllows(t *testing.T) {
	n := lab.New(t)
	inet := n.Internet()
	open, walled := inet.Router("open", lab.NoNAT), inet.Router("walled", lab.Firewall)
	a, b := open.Host("a"), walled.Host("b")
	if err := b.Ping(a.Addr()); err != nil {
		t.Error(err)
	}
	if err := a.Ping(b.Addr()); err == nil {
		t.Error("the firewall lets strangers in")
	}
}

func TestACarriersNATStandsBeforeTheHomesOwn(t *testing.T) {
	n := lab.New(t)
	inet := n.Internet()
	to := mirror(t, inet.Host("stun"), echoPort)
	isp := inet.Router("isp", lab.EasyNAT, lab.LAN("10.0.0.0/24"))
	home := isp.Router("home", lab.EasyNAT, lab.LAN("192.168.1.0/24"))
	alice := home.Host("alice")
	if seen := mustAsk(t, socket(t, alice, 0), to); seen.Addr() != isp.Addr() {
		t.Errorf("the internet sees %v, want the carrier's %v", seen, isp.Addr())
	}
	if want := netip.MustParseAddr("10.0.0.10"); home.Addr() != want {
		t.Errorf("the home's public side is %v, want %v", home.Addr(), want)
	}
}

func TestALANWithIPv6ReachesOutAndIsWalled(t *testing.T) {
	n := lab.New(t)
	inet := n.Internet()
	server := inet.Host("server")
	alice := inet.Router("home", lab.EasyNAT, lab.WithIPv6()).Host("alice")
	bob := inet.Router("office", lab.NoNAT, lab.WithIPv6()).Host("bob")
	for _, to := range []netip.Addr{server.Addr6(), bob.Addr6()} {
		if err := alice.Ping(to); err != nil {
			t.Error(err)
		}
	}
	if err := server.Ping(bob.Addr6()); err != nil {
		t.Error(err)
	}
	if err := server.Ping(alice.Addr6()); err == nil {
		t.Error("the home's firewall lets strangers in")
	}
}

func TestMachinesOfOneLANReachEachOther(t *testing.T) {
	n := lab.New(t)
	home := n.Internet().Router("home", lab.EasyNAT)
	a, b := home.Host("a"), home.Host("b")
	if err := a.Ping(b.Addr()); err != nil {
		t.Error(err)
	}
}

func TestTheNextLabRemovesWhatAKilledOneLeft(t *testing.T) {
	lab.NeedRoot(t)
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	left := fmt.Sprintf("wlab-%d-1-left", gone.Process.Pid)
	if out, err := exec.Command("ip", "netns", "add", left).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n := lab.New(t)
	if _, err := os.Stat("/run/netns/" + left); err == nil {
		t.Errorf("%s is still there", left)
	}
	own := n.Internet().Host("alice").Namespace()
	t.Cleanup(lab.New(t).Internet().Host("alice").Unplug) // a second lab does not disturb the first
	if _, err := os.Stat("/run/netns/" + own); err != nil {
		t.Error(err)
	}
}

func TestNothingRemainsAfterALab(t *testing.T) {
	lab.NeedRoot(t)
	var ns, dir string
	var pid int
	t.Run("lab", func(t *testing.T) {
		alice := lab.New(t).Internet().Host("alice")
		ns, dir = alice.Namespace(), alice.Dir()
		pid = alice.Start("sleep", "60").Pid()
	})
	for _, path := range []string{"/run/netns/" + ns, dir, fmt.Sprintf("/proc/%d", pid)} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
}
