package e2e

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// fragments are pieces of packets that were too large, of either version, as tcpdump's filter says it.
const fragments = "ip[6:2] & 0x3fff != 0 or ip6[6] == 44"

// TestPacketsAreAsLargeAsEachPathCarries: a LAN of jumbo frames, Ethernet, PPPoE, and a black hole that opens under a
// connection.
func TestPacketsAreAsLargeAsEachPathCarries(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	n.SinglePackets()
	m := mesh.Start(t, n, mesh.Build(t))
	home := n.Internet().Router("home", lab.EasyNAT)
	alice, bob := m.Node(home.Host("alice")), m.Node(home.Host("bob"))
	for _, jumbo := range []*mesh.Node{alice, bob} {
		jumbo.SetMTU(9000)
	}
	carol, dave := m.Node(n.Internet().Host("carol")), m.Node(n.Internet().Host("dave"))
	dave.SetMTU(1492)
	pieces := alice.Capture(fragments)
	key := m.Coord.Key("--reusable")
	for _, node := range []*mesh.Node{alice, bob, carol, dave} {
		node.Up(key)
	}
	alice.WaitPing(carol, patient)
	flow := startBulk(t, alice, carol) // while packets are small yet

	for _, to := range []struct {
		*mesh.Node
		mtu int
	}{{bob, 8896}, {carol, 1420}, {dave, 1420}} {
		alice.WaitPing(to.Node, patient)
		began := time.Now()
		waitMTU(t, alice, to.Node, to.mtu)
		t.Logf("%d to %s after %v", to.mtu, to.Name(), time.Since(began).Round(time.Millisecond))
		lab.Eventually(t, patient, func() error { return passes(alice, to.Node, to.mtu) })
	}

	const full = 1420 + 16 + 16 + 8 + 20
	large := alice.Capture("udp and host " + carol.Addr().String() + " and greater " + strconv.Itoa(full+14))
	lab.Eventually(t, patient, func() error {
		if large.Count() == 0 {
			return errors.New("the connection that began with small packets has no larger ones")
		}
		return nil
	})
	large.Stop()

	call := startDatagrams(t, alice, carol, 1400-20-8)
	lab.Eventually(t, patient, func() error { return call.goesOn(time.Now()) })
	flow.longest.Store(0)
	hole := carol.DropLongerThan(1400)
	began := time.Now()
	waitMTU(t, alice, carol, 1280)
	t.Logf("1280 to carol %v after the black hole opened", time.Since(began).Round(time.Millisecond))
	lab.Eventually(t, patient, func() error { return flow.goesOn(time.Now()) })
	t.Logf("the connection stood still for %v", time.Duration(flow.longest.Load()).Round(time.Millisecond))
	lab.Eventually(t, patient, func() error { return call.goesOn(time.Now()) }) // in pieces, inside the tunnel
	if err := passes(alice, carol, 1400); err == nil || !strings.Contains(err.Error(), "+1 errors") {
		t.Errorf("a program that wants its packets whole is not told that they are too long: %v", err)
	}
	if p, err := alice.Peer(carol); err != nil || p.Path.Kind != ipc.PathDirect {
		t.Errorf("through the black hole: %+v, %v", p.Path, err)
	}
	hole.Heal()

	if got := pieces.Count(); got != 0 {
		t.Errorf("%d fragments:\n%v", got, pieces.Packets())
	}
	c, err := alice.Dial("udp", net.JoinHostPort(carol.Addr().String(), "9"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.Write(make([]byte, 3000+6000)) // more than any link takes
	lab.Eventually(t, patient, func() error {
		if pieces.Count() == 0 {
			return errors.New("the capture sees no fragments where there are some")
		}
		return nil
	})

	waitMTU(t, bob, alice, 8896)
	bob.Daemon.Kill9()
	lab.Eventually(t, patient, func() error {
		if routes := bob.MustRun("ip", "route", "show", "table", "all"); strings.Contains(routes, " mtu ") {
			return errorf("the daemon is dead, and its routes are there:\n%s", routes)
		}
		return nil
	})
}

// TestPacketsFromBehindAMachineAreAsLargeAsItsPathCarries: those of a subnet and of the internet, of both versions, on
// connections that go on by the relay, and through a path that becomes smaller.
func TestPacketsFromBehindAMachineAreAsLargeAsItsPathCarries(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	n.SinglePackets()
	m := mesh.Start(t, n, mesh.Build(t))
	const subnet = "10.20.30.0/24"
	office := n.Internet().Router("office", lab.EasyNAT, lab.LAN(subnet), lab.WithIPv6())
	printer, gate := office.Host("printer"), m.Node(office.Host("gate"))
	web := n.Internet().Host("web")
	alice := m.Node(n.Internet().Host("alice"))
	key := m.Coord.Key("--reusable")
	for _, node := range []*mesh.Node{alice, gate} {
		node.Up(key)
	}
	offer := subnet + "," + n.Internet().Prefix6().String()
	gate.MustWarren("set", "--advertise-routes="+offer)
	approve(m, gate, "--approve", offer)
	gate.MustWarren("set", "--advertise-exit-node")
	approve(m, gate, "--approve-exit-node")
	alice.MustWarren("set", "--accept-routes")
	lab.Eventually(t, patient, func() error { _, err := alice.Warren("exit-node", "use", "gate"); return err })
	waitMTU(t, alice, gate, 1420)
	waitMTU(t, gate, alice, 1420)

	flows := make(map[string]*bulk)
	for what, to := range map[string]struct {
		*lab.Machine
		addr netip.Addr
	}{"a subnet": {printer, printer.Addr()}, "the internet": {web, web.Addr()}, "the internet, IPv6": {web, web.Addr6()}} {
		for i, way := range []string{"to ", "from "} {
			port := strconv.Itoa(7001 + i)
			if to.addr.Is6() {
				port = strconv.Itoa(7006 + i)
			}
			l, err := to.Listen("tcp", net.JoinHostPort(to.addr.String(), port))
			if err != nil {
				t.Fatal(err)
			}
			var c net.Conn
			lab.Eventually(t, patient, func() error { c, err = alice.Dial("tcp", l.Addr().String()); return err })
			flows[way+what] = bulkOver(t, l, c, i == 1)
		}
	}
	step := func(what string, mtu int) {
		t.Helper()
		began := time.Now()
		for _, f := range flows {
			f.longest.Store(0)
		}
		waitMTU(t, alice, gate, mtu)
		waitMTU(t, gate, alice, mtu)
		t.Logf("%s: %d after %v", what, mtu, time.Since(began).Round(time.Millisecond))
		for name, f := range flows {
			lab.Eventually(t, patient, func() error { return f.goesOn(time.Now()) })
			t.Logf("%s: the connection %s stood still for %v", what, name, time.Duration(f.longest.Load()).Round(time.Millisecond))
		}
	}
	step("connected", 1420)
	fault := n.BlockUDP(alice.Machine, office.Machine)
	step("relayed", 1280)
	fault.Heal()
	step("direct again", 1420)
	alice.DropLongerThan(1400)
	step("a black hole", 1280)
}

// TestWhereOnlyShortPacketsPassTheRelayIsReachedByWebSocket: a line that swallows long packets carries a relay's questions and
// answers over UDP, which are short, and nothing of use. Its router has TCP cut to what fits, as those of such lines do.
func TestWhereOnlyShortPacketsPassTheRelayIsReachedByWebSocket(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	alice, bob := m.Behind(lab.EasyNAT, "alice"), m.Behind(lab.EasyNAT, "bob")
	alice.Home.DropLongerThan(1300)
	alice.Home.MustRun("nft", "insert rule inet router forward tcp flags syn tcp option maxseg size set 1240")
	key := m.Coord.Key("--reusable")
	alice.Up(key)
	bob.Up(key)
	alice.WaitPing(bob, patient)
	lab.Eventually(t, patient, func() error {
		return errors.Join(passes(alice, bob, 1280), passes(bob, alice, 1280), onTransport(alice, "websocket"), onTransport(bob, "udp"))
	})
	if p, err := alice.Peer(bob); err != nil || p.Path.Kind != ipc.PathRelay {
		t.Errorf("%+v, %v", p.Path, err)
	}
	if s := alice.MustWarren("status"); !strings.Contains(s, "demo over websocket") || !strings.Contains(s, "only short packets come through") {
		t.Errorf("%s", s)
	}
}

// waitMTU waits until packets from one machine to another may be that large, as Warren and as the host's routes say.
func waitMTU(t *testing.T, from, to *mesh.Node, mtu int) {
	t.Helper()
	lab.Eventually(t, patient, func() error {
		p, err := from.Peer(to)
		if err != nil {
			return err
		}
		route := from.MustRun("ip", "route", "get", to.Inner().String())
		if p.Path.MTU != mtu || !strings.Contains(route+" ", " mtu "+strconv.Itoa(mtu)+" ") {
			return errorf("%d to %s, not %d, over a path that is %s; the route: %s", p.Path.MTU, to.Name(), mtu, p.Path.Kind, route)
		}
		return from.PingOnce(to.Inner())
	})
}

// passes pings with a packet of exactly that size, which nobody may cut.
func passes(from, to *mesh.Node, mtu int) error {
	out, err := from.Run("ping", "-c", "1", "-W", "2", "-M", "do", "-s", strconv.Itoa(mtu-20-8), to.Inner().String())
	if err != nil {
		return errorf("%d bytes to %s: %s", mtu, to.Name(), out)
	}
	return nil
}

// bulk is a TCP connection that is never idle.
type bulk struct {
	last    atomic.Int64 // when something arrived, in ns since 1970
	longest atomic.Int64 // the longest time in which nothing did, in ns
}

func startBulk(t *testing.T, from, to *mesh.Node) *bulk {
	t.Helper()
	l, err := to.Listen("tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	c, err := from.Dial("tcp", net.JoinHostPort(to.Inner().String(), "7"))
	if err != nil {
		t.Fatal(err)
	}
	return bulkOver(t, l, c, false)
}

// startDatagrams sends datagrams of so many bytes all the time, as a call does.
func startDatagrams(t *testing.T, from, to *mesh.Node, size int) *bulk {
	t.Helper()
	in, err := to.ListenUDP(8)
	if err != nil {
		t.Fatal(err)
	}
	out, err := from.Dial("udp", net.JoinHostPort(to.Inner().String(), "8"))
	if err != nil {
		t.Fatal(err)
	}
	f, done := &bulk{}, make(chan struct{}, 2)
	t.Cleanup(func() {
		_ = in.Close()
		_ = out.Close()
		<-done
		<-done
	})
	go func() {
		defer func() { done <- struct{}{} }()
		f.read(t, in)
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		for err := error(nil); !errors.Is(err, net.ErrClosed); <-time.After(20 * time.Millisecond) {
			if _, err = out.Write(make([]byte, size)); errors.Is(err, syscall.EMSGSIZE) {
				t.Errorf("a datagram of %d bytes: %v", size, err)
				return
			}
		}
	}()
	return f
}

// bulkOver is a bulk that goes through a connection to a listener or, if it is a download, comes from there.
func bulkOver(t *testing.T, l net.Listener, c net.Conn, download bool) *bulk {
	f, done := &bulk{}, make(chan struct{}, 2)
	t.Cleanup(func() {
		_ = l.Close()
		_ = c.Close()
		<-done
		<-done
	})
	source, sink := f.write, f.read
	if download {
		source, sink = sink, source
	}
	go func() {
		defer func() { done <- struct{}{} }()
		if c, err := l.Accept(); err == nil {
			defer c.Close()
			sink(t, c)
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		source(t, c)
	}()
	return f
}

func (f *bulk) read(_ *testing.T, c net.Conn) {
	var err error
	for b := make([]byte, 1<<16); err == nil; _, err = c.Read(b) {
		now := time.Now().UnixNano()
		if was := f.last.Swap(now); was != 0 && now-was > f.longest.Load() {
			f.longest.Store(now - was)
		}
	}
}

func (f *bulk) write(t *testing.T, c net.Conn) {
	var err error
	for b := make([]byte, 1<<16); err == nil; <-time.After(20 * time.Millisecond) {
		_, err = c.Write(b)
	}
	if !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
		t.Log("the connection ended:", err)
	}
}

// goesOn reports whether something has arrived since then.
func (f *bulk) goesOn(since time.Time) error {
	<-time.After(100 * time.Millisecond)
	if f.last.Load() < since.UnixNano() {
		return errors.New("nothing arrives on the connection")
	}
	return nil
}
