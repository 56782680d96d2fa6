package firewall

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/internal/alone"
	"github.com/warren-mesh/warren/daemon/internal/journal"
	"github.com/warren-mesh/warren/ipc"
)

const tun = "warren0"

var (
	host4, host6 = netip.MustParseAddr("100.64.0.1"), netip.MustParseAddr("fd77:1:2::1")
	peer4, peer6 = netip.MustParseAddr("100.64.0.2"), netip.MustParseAddr("fd77:1:2::2")
	mesh         = prefixes("100.64.0.0/10", "fd77:1:2::/48")
	base         = Rules{Self: []netip.Addr{host4, host6}, Network: mesh}
)

func prefixes(texts ...string) (ps []netip.Prefix) {
	for _, text := range texts {
		ps = append(ps, netip.MustParsePrefix(text))
	}
	return ps
}

func (r Rules) routing(texts ...string) Rules {
	r.Routes = prefixes(texts...)
	return r
}

func TestMain(m *testing.M) {
	alone.Enter()
	if dir := os.Getenv("WARREN_TEST_DIE_IN"); dir != "" {
		dieWhileApplying(dir, os.Getenv("WARREN_TEST_DIE_AT"))
	}
	goleak.VerifyTestMain(m)
}

// place is a host with a tunnel to a peer, in a LAN with a neighbour, behind a router to the internet.
type place struct {
	net             *lab.Net
	home            *lab.Router
	host, nas, peer *lab.Machine
	web             *lab.Machine
	f               *Firewall
}

// newPlace makes a tunnel of a veth pair: what is inside a tunnel is not this package's business. The peer sends whatever
// it likes into it.
func newPlace(t testing.TB) *place {
	t.Helper()
	n := lab.New(t)
	inet := n.Internet()
	home := inet.Router("home", lab.EasyNAT, lab.WithIPv6())
	p := &place{net: n, home: home, host: home.Host("host"), nas: home.Host("nas"), web: inet.Host("web"), peer: inet.Host("peer")}
	p.peer.MustRun("ip", "link", "add", tun, "type", "veth", "peer", "name", tun, "netns", p.host.Namespace())
	const mac = "02:00:00:00:00:0"
	for i, m := range []*lab.Machine{p.host, p.peer} {
		other := string("21"[i])
		for _, line := range []string{
			"link set " + tun + " address " + mac + string("12"[i]) + " addrgenmode none", "link set " + tun + " up",
			"addr add 100.64.0." + string("12"[i]) + "/32 dev " + tun,
			"addr add fd77:1:2::" + string("12"[i]) + "/128 dev " + tun + " nodad noprefixroute",
			"route add 100.64.0.0/10 dev " + tun, "route add fd77:1:2::/48 dev " + tun,
			"neigh add 100.64.0." + other + " lladdr " + mac + other + " dev " + tun,
			"neigh add fd77:1:2::" + other + " lladdr " + mac + other + " dev " + tun,
		} {
			m.MustRun(append([]string{"ip"}, strings.Fields(line)...)...)
		}
	}
	p.f = p.newFirewall(t)
	return p
}

func (p *place) newFirewall(t testing.TB) *Firewall {
	t.Helper()
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var f *Firewall
	p.do(t, func() error {
		f, err = New(Config{Interface: tun, Journal: j})
		return err
	})
	t.Cleanup(func() {
		if err := errors.Join(p.host.Do(func() error { return f.Close(context.Background()) }), j.Close()); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (p *place) do(t testing.TB, f func() error) {
	t.Helper()
	if err := p.host.Do(f); err != nil {
		t.Fatal(err)
	}
}

func (p *place) apply(t testing.TB, r Rules) (problems []ipc.Problem) {
	t.Helper()
	p.do(t, func() (err error) {
		problems, err = p.f.Apply(t.Context(), r)
		return err
	})
	return problems
}

// through sends the peer's packets to these networks into the tunnel.
func (p *place) through(t testing.TB, networks ...string) {
	t.Helper()
	for _, n := range networks {
		via := host4
		if netip.MustParsePrefix(n).Addr().Is6() {
			via = host6
		}
		args := []string{"ip", "route", "replace", n, "via", via.String(), "dev", tun, "onlink"}
		if via.Is4() {
			args = append(args, "src", peer4.String())
		} else {
			args = append(args, "src", peer6.String())
		}
		p.peer.MustRun(args...)
	}
}

// serve answers TCP on a port of a machine with the address that it sees the caller come from.
func serve(t testing.TB, m *lab.Machine) {
	t.Helper()
	l, err := m.Listen("tcp", ":"+port)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			from, _ := netip.ParseAddrPort(c.RemoteAddr().String())
			_ = c.SetDeadline(time.Now().Add(time.Second))
			_, _ = c.Write([]byte(from.Addr().Unmap().String()))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-ended })
}

const port = "7777"

// call gives who the other side of a connection says that calls, or "".
func call(m *lab.Machine, to netip.Addr, within time.Duration) string {
	return callPort(m, to, port, within)
}

func callPort(m *lab.Machine, to netip.Addr, port string, within time.Duration) string {
	var text [64]byte
	n := 0
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	c, err := m.DialContext(ctx, "tcp", net.JoinHostPort(to.String(), port))
	if err == nil {
		_ = c.SetDeadline(time.Now().Add(within))
		n, _ = c.Read(text[:])
		_ = c.Close()
	}
	return string(text[:n])
}

const (
	// patience is what a test waits where a packet must not arrive.
	patience = 400 * time.Millisecond
	// arrives is what it waits where one must, on a machine that has other work.
	arrives = time.Minute
)

func (p *place) wants(t testing.TB, what string, from *lab.Machine, to netip.Addr, as string) {
	t.Helper()
	within := arrives
	if as == nobody {
		within = patience
	}
	if got := call(from, to, within); got != as {
		t.Errorf("%s: %s calls %s as %q, want %q", what, from.Name(), to, got, as)
		if testing.Verbose() {
			t.Log(p.host.MustRun("nft", "list", "ruleset"))
		}
	}
}

const nobody = "" // the call does not come through

func TestASubnetRouterLeadsToItsSubnetsOnly(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	serve(t, p.nas)
	serve(t, p.web)
	serve(t, p.host)
	serve(t, p.peer)
	lan, lan6 := p.home.Prefix().String(), p.home.Prefix6().String()
	p.through(t, lan, lan6, p.web.Addr().String()+"/32", p.web.Addr6().String()+"/128")

	p.apply(t, base)
	p.wants(t, "no router", p.peer, p.nas.Addr(), nobody)
	p.wants(t, "its address in the LAN, of a machine that is no router", p.peer, p.host.Addr(), nobody)
	p.wants(t, "its own address", p.peer, host4, peer4.String())
	p.wants(t, "its own address", p.peer, host6, peer6.String())

	p.apply(t, base.routing(lan))
	p.wants(t, "the subnet", p.peer, p.nas.Addr(), p.host.Addr().String())
	p.wants(t, "its own address in the subnet", p.peer, p.host.Addr(), peer4.String())
	p.wants(t, "IPv6, which was not granted", p.peer, p.nas.Addr6(), nobody)
	p.wants(t, "the internet, which was not granted", p.peer, p.web.Addr(), nobody)

	p.apply(t, base.routing(lan, lan6))
	p.wants(t, "the subnet", p.peer, p.nas.Addr6(), p.host.Addr6().String())
	p.wants(t, "the internet, which was not granted", p.peer, p.web.Addr6(), nobody)

	// A packet that does not come from the network goes nowhere, though its answer would find the way.
	p.peer.MustRun("ip", "addr", "add", "10.9.9.9/32", "dev", tun)
	p.peer.MustRun("ip", "route", "replace", lan, "via", host4.String(), "dev", tun, "onlink", "src", "10.9.9.9")
	p.host.MustRun("ip", "route", "add", "10.9.9.9", "dev", tun)
	p.host.MustRun("ip", "neigh", "add", "10.9.9.9", "lladdr", "02:00:00:00:00:02", "dev", tun)
	p.wants(t, "a source outside the network", p.peer, p.nas.Addr(), nobody)
	p.through(t, lan)
	p.wants(t, "the subnet again", p.peer, p.nas.Addr(), p.host.Addr().String())

	r := base.routing(lan, lan6)
	r.Plain = true
	p.apply(t, r)
	p.nas.MustRun("ip", "route", "add", "100.64.0.0/10", "via", p.host.Addr().String())
	p.wants(t, "without masquerade", p.peer, p.nas.Addr(), peer4.String())
	p.wants(t, "from the LAN, which was not granted", p.nas, peer4, nobody)
}

func TestAnExitNodeLeadsToTheInternetOnly(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	for _, m := range []*lab.Machine{p.nas, p.web, p.host} {
		serve(t, m)
	}
	p.through(t, "0.0.0.0/1", "128.0.0.0/1", "2000::/3", "fc00::/8")
	p.host.MustRun("ip", "addr", "add", "169.254.169.254/32", "dev", "lo") // the cloud's metadata
	p.host.MustRun("ip", "addr", "add", "203.0.113.77/32", "dev", "lo")    // another address of its own
	lan := p.home.Prefix().String()
	own := []netip.Addr{
		p.nas.Addr(), p.nas.Addr6(), p.host.Addr(), p.host.Addr6(), p.home.Gateway(),
		netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("203.0.113.77"),
	}
	p.apply(t, base.routing("0.0.0.0/0"))
	p.wants(t, "the internet", p.peer, p.web.Addr(), p.home.Addr().String())
	p.wants(t, "IPv6, which was not granted", p.peer, p.web.Addr6(), nobody)

	p.apply(t, base.routing("0.0.0.0/0", "::/0"))
	p.wants(t, "the internet", p.peer, p.web.Addr(), p.home.Addr().String())
	p.wants(t, "the internet", p.peer, p.web.Addr6(), p.host.Addr6().String())
	for _, a := range own {
		p.wants(t, "what is the exit's own", p.peer, a, nobody)
	}
	// Its router's address on the internet leads back into the LAN, and so does any that is a gateway.
	serve(t, p.home.Machine)
	p.wants(t, "control: the router, from outside of the LAN", p.peer, p.home.Addr(), p.host.Addr().String())
	site := base.routing("0.0.0.0/0", "::/0")
	site.Site = []netip.Addr{p.home.Addr()}
	p.apply(t, site)
	p.wants(t, "its router, as the internet sees it", p.peer, p.home.Addr(), nobody)
	p.wants(t, "the internet", p.peer, p.web.Addr(), p.home.Addr().String())
	site.Routes = append(site.Routes, prefixes(p.home.Addr().String()+"/32")...)
	p.apply(t, site)
	p.wants(t, "its router, granted", p.peer, p.home.Addr(), p.host.Addr().String())
	p.apply(t, base.routing("0.0.0.0/0", "::/0"))
	p.host.MustRun("ip", "route", "add", "198.18.0.0/15", "via", p.home.Addr().String(), "dev", p.host.Device(), "onlink")
	p.apply(t, base.routing("0.0.0.0/0", "::/0"))
	p.wants(t, "a gateway of the host's routes", p.peer, p.home.Addr(), nobody)
	p.host.MustRun("ip", "route", "del", "198.18.0.0/15")

	p.apply(t, base.routing("0.0.0.0/0", "::/0", lan))
	p.wants(t, "its LAN, granted", p.peer, p.nas.Addr(), p.host.Addr().String())
	p.wants(t, "the internet", p.peer, p.web.Addr(), p.home.Addr().String())

	// The kernel never puts one segment larger than the tunnel on the way: what comes back announces less.
	p.host.MustRun("ip", "link", "set", tun, "mtu", "1280")
	seen := p.web.Capture("tcp[tcpflags] & tcp-syn != 0 and src port " + port)
	announced := p.peer.CaptureOn(tun, "tcp[tcpflags] & tcp-syn != 0 and src port "+port)
	p.wants(t, "the internet", p.peer, p.web.Addr(), p.home.Addr().String())
	if lines := strings.Join(seen.Packets(), "\n"); !strings.Contains(lines, "mss 1460") {
		t.Errorf("the server announces\n%s", lines)
	}
	if lines := strings.Join(announced.Packets(), "\n"); !strings.Contains(lines, "mss 1240") {
		t.Errorf("the peer hears\n%s", lines)
	}
	p.apply(t, base)
	p.wants(t, "taken away", p.peer, p.web.Addr(), nobody)
}

// TestTheLANDoesNotComeNear shows first that each of its packets arrives without us.
func TestTheLANDoesNotComeNear(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	serve(t, p.host)
	serve(t, p.peer)
	p.nas.MustRun("ip", "route", "add", "100.64.0.0/10", "via", p.host.Addr().String())
	p.nas.MustRun("ip", "-6", "route", "add", "fd77:1:2::/48", "via", p.host.Addr6().String())
	p.host.MustRun("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	p.host.MustRun("nft", "add table ip other; add chain ip other post { type nat hook postrouting priority srcnat; }; add rule ip other post oifname "+tun+" masquerade")
	arping := func() string {
		out, _ := p.nas.Run("ip", "neigh", "flush", "dev", p.nas.Device())
		p.nas.MustRun("ip", "route", "replace", "100.64.0.1/32", "dev", p.nas.Device())
		_ = p.nas.Ping(host4)
		neigh, _ := p.nas.Run("ip", "neigh", "show", host4.String())
		p.nas.MustRun("ip", "route", "del", "100.64.0.1/32", "dev", p.nas.Device())
		return out + neigh
	}
	spoofed := func(seen *lab.Capture) bool {
		p.nas.MustRun("ip", "addr", "replace", "100.64.0.9/32", "dev", p.nas.Device())
		defer p.nas.MustRun("ip", "addr", "del", "100.64.0.9/32", "dev", p.nas.Device())
		before := seen.Count()
		_, _ = p.nas.Run("ping", "-c1", "-W1", "-I", "100.64.0.9", p.host.Addr().String())
		return seen.Count() > before
	}
	p.host.MustRun("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf."+p.host.Device()+".rp_filter=0")
	p.host.MustRun("ip", "neigh", "add", "100.64.0.9", "lladdr", "02:00:00:00:00:02", "dev", tun)
	answers := p.peer.CaptureOn(tun, "icmp[icmptype] == icmp-echoreply") // where the answer to a spoofed source goes

	p.wants(t, "control", p.nas, host4, p.nas.Addr().String())
	p.wants(t, "control", p.nas, host6, p.nas.Addr6().String())
	p.wants(t, "control", p.nas, peer4, host4.String())
	if got := arping(); !strings.Contains(got, "lladdr") {
		t.Errorf("control: ARP for the tunnel's address gives %q", got)
	}
	if !spoofed(answers) {
		t.Error("control: a spoofed source is not answered")
	}
	p.apply(t, base)
	p.wants(t, "the tunnel's address, from the LAN", p.nas, host4, nobody)
	p.wants(t, "the tunnel's address, from the LAN", p.nas, host6, nobody)
	p.wants(t, "a peer, from the LAN, masqueraded", p.nas, peer4, nobody)
	p.wants(t, "the machine's own address in the LAN", p.nas, p.host.Addr(), p.nas.Addr().String())
	if got := arping(); strings.Contains(got, "lladdr") {
		t.Errorf("ARP for the tunnel's address gives %q", got)
	}
	if spoofed(answers) {
		t.Error("a spoofed source is answered")
	}
	p.wants(t, "its own call", p.host, host4, host4.String())
	p.wants(t, "its own call", p.host, peer4, host4.String())
}

// TestContainersReachTheNetworkAndPublishPorts is about bridges as Docker makes them, and its two rules of NAT.
func TestContainersReachTheNetworkAndPublishPorts(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	serve(t, p.peer)
	ns := p.host.Namespace() + "-c"
	if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
	p.host.MustRun("sh", "-c", `set -e
		ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
		ip link add veth1 type veth peer name eth0 netns `+ns+`; ip link set veth1 master docker0 up
		sysctl -qw net.ipv4.ip_forward=1
		nft add table ip docker
		nft 'add chain ip docker post { type nat hook postrouting priority srcnat; }; add rule ip docker post ip saddr 172.17.0.0/16 oifname != "docker0" masquerade'
		nft 'add chain ip docker pre { type nat hook prerouting priority dstnat; }; add rule ip docker pre fib daddr type local tcp dport `+port+` dnat to 172.17.0.2'`)
	for _, line := range []string{"link set lo up", "link set eth0 up", "addr add 172.17.0.2/16 dev eth0", "route add default via 172.17.0.1"} {
		if out, err := exec.Command("ip", append([]string{"-n", ns}, strings.Fields(line)...)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", line, err, out)
		}
	}
	inside := exec.Command("ip", "netns", "exec", ns, "nft", "add table ip t; add chain ip t i { type filter hook input priority 0; }; add rule ip t i tcp dport "+port+" counter")
	if out, err := inside.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	reached := func() bool { // the container's kernel saw a call, and answered it with a reset
		out, _ := exec.Command("ip", "netns", "exec", ns, "nft", "list", "table", "ip", "t").Output()
		return !strings.Contains(string(out), "packets 0 ")
	}
	p.apply(t, base)
	p.through(t, "172.17.0.0/16")
	p.wants(t, "the container's own address", p.peer, netip.MustParseAddr("172.17.0.2"), nobody)
	if reached() {
		t.Error("the container is reached by its own address")
	}
	p.wants(t, "the published port", p.peer, host4, nobody)
	if !reached() {
		t.Error("the container's published port is not reached")
	}
	out, err := exec.Command("ip", "netns", "exec", ns, "ping", "-c1", "-W1", peer4.String()).CombinedOutput()
	if err != nil {
		t.Errorf("from the container: %v: %s", err, out)
	}
}
