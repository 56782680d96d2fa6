package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// whoPort is where a host tells who connects from which address.
const whoPort = "8080"

// who answers every connection to the machine with the address that it comes from.
func who(t *testing.T, m *lab.Machine) {
	t.Helper()
	l, err := m.Listen("tcp", ":"+whoPort)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			from, _ := netip.ParseAddrPort(c.RemoteAddr().String())
			_, _ = io.WriteString(c, from.Addr().Unmap().String())
			_ = c.Close()
		}
	}()
}

// seenAs asks a host as whom it sees the machine.
func seenAs(from *lab.Machine, host netip.Addr) (netip.Addr, error) {
	var text []byte
	err := from.Do(func() error {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(host.String(), whoPort), time.Second)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(2 * time.Second))
		text, err = io.ReadAll(c)
		return err
	})
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(string(text))
}

// wantSeen waits until a host sees the machine as want.
func wantSeen(t *testing.T, from *lab.Machine, host, want netip.Addr) time.Duration {
	t.Helper()
	return lab.Eventually(t, 15*time.Second, func() error {
		if got, err := seenAs(from, host); err != nil || got != want {
			return fmt.Errorf("%s sees %s as %s (%w), want %s", host, from.Name(), got, err, want)
		}
		return nil
	})
}

// wantCut fails if a host is reached.
func wantCut(t *testing.T, from *lab.Machine, host netip.Addr, why string) {
	t.Helper()
	if got, err := seenAs(from, host); err == nil {
		t.Errorf("%s: %s sees %s as %s", why, host, from.Name(), got)
	}
}

// approve lets a machine be an exit node, or lead to subnets.
func approve(m *mesh.Mesh, n *mesh.Node, flags ...string) {
	m.Coord.Run(append([]string{"machine", "routes", n.Name()}, flags...)...)
}

// problemOf gives the status' problem of a code.
func problemOf(n *mesh.Node, code string) (ipc.Problem, bool) {
	ps := n.Status().Problems
	i := slices.IndexFunc(ps, func(p ipc.Problem) bool { return p.Code == code })
	if i < 0 {
		return ipc.Problem{}, false
	}
	return ps[i], true
}

// answerNames is a nameserver on the machine that gives every name one address.
func answerNames(t *testing.T, m *lab.Machine, a netip.Addr) {
	t.Helper()
	conn, err := m.ListenUDP(53)
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			r.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: a.AsSlice()}}
		}
		_ = w.WriteMsg(r)
	})}
	go func() { _ = s.ActivateAndServe() }()
	t.Cleanup(func() { _ = s.Shutdown() })
}

// TestAnExitNodeLeadsToTheInternetAndNothingGoesAroundIt: alice is behind a NAT without IPv6; two exit nodes are on the
// internet, and so is a host that tells whom it sees.
func TestAnExitNodeLeadsToTheInternetAndNothingGoesAroundIt(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	web := n.Internet().Host("web")
	who(t, web)
	answerNames(t, web, netip.MustParseAddr("192.0.2.99"))
	home := n.Internet().Router("home-alice", lab.EasyNAT)
	printer := home.Host("printer")
	who(t, printer)
	machine := home.Host("alice")
	for _, link := range []string{"all", "default", machine.Device()} { // as some distributions have it
		machine.MustRun("sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/"+link+"/rp_filter")
	}
	alice := m.Node(machine)
	key := m.Coord.Key("--reusable")
	conf := mesh.Write(t, web, "resolv.conf", "nameserver "+web.Addr().String()+"\n")
	var exits []*mesh.Node
	for _, name := range []string{"exit1", "exit2"} {
		e := m.NodeWith(n.Internet().Host(name), "unshare", "--mount", "sh", "-c", "mount --bind "+conf+` /etc/resolv.conf && exec "$@"`, "sh")
		e.Up(key)
		e.MustWarren("set", "--advertise-exit-node")
		exits = append(exits, e)
	}
	alice.Up(key)
	if out, err := alice.Warren("exit-node", "use", "exit1"); err == nil || !strings.Contains(out+err.Error(), "no exit node") {
		t.Errorf("one that nobody approved: %s, %v", out, err)
	}
	lab.Eventually(t, 5*time.Second, func() error {
		if p, ok := problemOf(exits[0], ipc.ProblemUnapproved); !ok || !strings.Contains(p.Text, "use as exit node") {
			return fmt.Errorf("the exit node does not say that it waits: %+v", p)
		}
		return nil
	})
	for _, e := range exits {
		approve(m, e, "--approve-exit-node")
	}
	lab.Eventually(t, 5*time.Second, func() error {
		if out, err := alice.Warren("exit-node", "list"); err != nil || !strings.Contains(out, "exit1") || !strings.Contains(out, "exit2") {
			return fmt.Errorf("%s, %w", out, err)
		}
		return nil
	})
	alice.WaitPing(exits[0], 5*time.Second)
	before := mesh.Routes(machine)
	wantSeen(t, machine, web.Addr(), home.Machine.Addr())
	wantSeen(t, machine, printer.Addr(), machine.Addr())

	old, err := machine.Dial("udp", net.JoinHostPort(web.Addr().String(), "9"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = old.Close() }()
	alice.MustWarren("exit-node", "use", "exit1,exit2")
	wantSeen(t, machine, web.Addr(), exits[0].Addr())
	clear := machine.Capture(fmt.Sprintf("(ip or ip6) and (host %s or host %s or host %s or udp port 53)", web.Addr(), web.Addr6(), printer.Addr()))
	wantSeen(t, machine, web.Addr(), exits[0].Addr())
	wantSeen(t, machine, web.Addr6(), exits[0].Addr6())
	for range 3 { // what was open before does not leave by the old way either
		_, _ = old.Write([]byte("still here"))
	}
	wantCut(t, machine, printer.Addr(), "the LAN is not allowed")
	for _, attack := range []string{"0.0.0.0/1", "128.0.0.0/1", web.Addr().String() + "/32"} { // as DHCP's option 121 has them
		machine.MustRun("ip", "route", "add", attack, "via", home.Gateway().String(), "dev", machine.Device())
		defer func() { _, _ = machine.Run("ip", "route", "del", attack) }()
	}
	wantSeen(t, machine, web.Addr(), exits[0].Addr())
	if out := alice.MustWarren("dns", "query", "www.example.com"); !strings.Contains(out, "192.0.2.99") {
		t.Errorf("names through the exit node: %s", out)
	}
	if out := alice.MustWarren("status"); !strings.Contains(out, "Exit node: exit1") || !strings.Contains(out, "; exit node") || !strings.Contains(out, "; offers exit node") {
		t.Errorf("the status does not say so:\n%s", out)
	}

	// Without its interface, until there is another one, nothing goes anywhere.
	machine.MustRun("ip", "link", "del", alice.Interface())
	lab.Eventually(t, 15*time.Second, func() error {
		as, err := seenAs(machine, web.Addr())
		if err == nil && as != exits[0].Addr() {
			t.Errorf("without the interface %s is seen", as)
		}
		return err
	})

	// The first one dies, then the other: nothing goes around them, and that is said.
	exits[0].Daemon.Kill9()
	t.Logf("the second exit node after %v", wantSeen(t, machine, web.Addr(), exits[1].Addr()))
	wantSeen(t, machine, web.Addr6(), exits[1].Addr6())
	exits[1].Daemon.Kill9()
	wantCut(t, machine, web.Addr(), "no exit node is left")
	lab.Eventually(t, 15*time.Second, func() error {
		if p, ok := problemOf(alice, ipc.ProblemExitDown); !ok || p.Level != ipc.ProblemUrgent || !strings.Contains(p.Fix, "warren exit-node off") {
			return errors.New("the status does not say that no exit node answers")
		}
		return nil
	})
	wantCut(t, machine, web.Addr(), "no exit node is left")
	if leaked := clear.Packets(); len(leaked) > 0 {
		t.Errorf("around the exit node went:\n%s", strings.Join(leaked, "\n"))
	}
	alice.MustWarren("set", "--exit-node-allow-lan-access")
	wantSeen(t, machine, printer.Addr(), machine.Addr())

	// A daemon that is killed leaves it shut; what it leaves is undone.
	alice.Daemon.Kill9()
	wantCut(t, machine, web.Addr(), "the daemon is killed")
	alice.Recover()
	wantSeen(t, machine, web.Addr(), home.Machine.Addr())
	if seen := clear.Stop(); seen == 0 { // the positive control
		t.Error("the capture does not see what goes around")
	}
	for _, attack := range []string{"0.0.0.0/1", "128.0.0.0/1", web.Addr().String() + "/32"} {
		machine.MustRun("ip", "route", "del", attack)
	}
	alice.StartDaemon()
	if err := running(alice, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	wantCut(t, machine, web.Addr(), "the daemon is back, and no exit node is left")
	alice.MustWarren("exit-node", "off")
	wantSeen(t, machine, web.Addr(), home.Machine.Addr())
	index := func(s string) string { // the interface is a new one, and which machines have a larger MTU changes with their paths
		return strings.Join(slices.DeleteFunc(strings.Split(s, "\n"), func(l string) bool {
			to, how, _ := strings.Cut(l, " ")
			return strings.Contains(l, ": ") && strings.Contains(l, "mtu") || strings.Contains(how, " proto 87 ") && !strings.Contains(to, "/")
		}), "\n")
	}
	if after := mesh.Routes(machine); index(after) != index(before) {
		t.Errorf("off leaves\n%s\nof\n%s", after, before)
	}
}

// TestASubnetIsReachedThroughOneOfItsRoutersAndTheOwnLANWins: two routers and a printer are in an office, alice is at
// home, and carol is on a LAN that has the office's very addresses. The first router says that it leads to the internet's
// addresses, too, which are those of the servers and of all paths; alice's kernel is strict about where packets come from.
func TestASubnetIsReachedThroughOneOfItsRoutersAndTheOwnLANWins(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	const subnet = "10.20.30.0/24"
	office := n.Internet().Router("office", lab.EasyNAT, lab.LAN(subnet))
	printer := office.Host("printer")
	who(t, printer)
	key := m.Coord.Key("--reusable")
	var routers []*mesh.Node
	for _, name := range []string{"r1", "r2"} {
		r := m.Node(office.Host(name))
		r.Up(key)
		routers = append(routers, r)
	}
	if out, err := routers[0].Warren("set", "--advertise-routes=10.20.30.1/24"); err == nil {
		t.Errorf("host bits: %s", out)
	}
	cafe := n.Internet().Router("cafe", lab.EasyNAT, lab.LAN(subnet))
	cafe.Host("unused") // so that carol's neighbour has the printer's address
	carol := m.Node(cafe.Host("carol"))
	alice := m.Behind(lab.EasyNAT, "alice")
	alice.MustRun("sh", "-c", "for link in all default "+alice.Device()+"; do echo 1 >/proc/sys/net/ipv4/conf/$link/rp_filter; done")
	for _, c := range []*mesh.Node{alice, carol} {
		c.Up(key)
	}
	for i, offer := range []string{fmt.Sprintf("%s,%s,%s", subnet, n.Internet().Prefix(), n.Internet().Prefix6()), subnet} {
		routers[i].MustWarren("set", "--advertise-routes="+offer)
		approve(m, routers[i], "--approve", offer)
	}
	lab.Eventually(t, 5*time.Second, func() error {
		if p, ok := problemOf(alice, ipc.ProblemUnaccepted); !ok || !strings.Contains(p.Text, subnet) {
			return fmt.Errorf("alice is not told of the subnet: %+v", alice.Status().Problems)
		}
		return nil
	})
	wantCut(t, alice.Machine, printer.Addr(), "nobody accepted the subnet")
	for _, c := range []*mesh.Node{alice, carol} {
		c.MustWarren("set", "--accept-routes")
	}
	wantSeen(t, alice.Machine, printer.Addr(), routers[0].Addr())
	if p, err := alice.Peer(routers[0]); err != nil || len(p.Serves) != 3 {
		t.Errorf("alice does not say who leads there: %+v, %v", p, err)
	}

	// Carol reaches what is on her LAN at the printer's address, which is nobody that tells; and the notice says why.
	lab.Eventually(t, 5*time.Second, func() error {
		if p, ok := problemOf(carol, ipc.ProblemRouteShadow); !ok || !strings.Contains(p.Text, subnet) {
			return fmt.Errorf("carol is not told: %+v", carol.Status().Problems)
		}
		return nil
	})
	wantCut(t, carol.Machine, printer.Addr(), "the LAN that carol is on wins")
	if err := carol.Ping(cafe.Gateway()); err != nil {
		t.Errorf("carol's LAN: %v", err)
	}

	next := func(what string, to int) {
		t.Helper()
		took := lab.Eventually(t, 60*time.Second, func() error {
			got, err := seenAs(alice.Machine, printer.Addr())
			if err == nil && got != routers[to].Addr() {
				err = fmt.Errorf("seen as %s", got)
			}
			return err
		})
		t.Logf("%s: the other router after %v", what, took)
	}
	routers[0].Daemon.Pause() // which the coordination server does not see
	next("the first one hangs", 1)
	routers[0].Daemon.Resume()
	m.Coord.Run("machine", "routes", "r2", "--withdraw", subnet)
	next("the second one's approval is withdrawn", 0)
	approve(m, routers[1], "--approve", subnet)
	routers[0].Daemon.Kill9()
	next("the first one is killed", 1)
	lab.Eventually(t, 60*time.Second, func() error {
		if link := alice.Status().Coord; !link.Connected {
			return fmt.Errorf("alice is cut off from the server: %s", link.Error)
		}
		return nil
	})
	alice.MustWarren("set", "--accept-routes=false")
	wantCut(t, alice.Machine, printer.Addr(), "the subnet is not accepted any more")
	if rules := alice.MustRun("ip", "rule") + alice.MustRun("ip", "-6", "rule"); strings.Contains(rules, "8787") {
		t.Errorf("rules are left:\n%s", rules)
	}
}
