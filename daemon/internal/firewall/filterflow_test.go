package firewall

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/e2e/lab"
)

// edited is how soon a flow must have stopped that an edit grants no more.
const edited = 5 * time.Second

// flow is a connection that answers what it is asked.
type flow struct {
	name string
	net.Conn
	asked int
	in    *bufio.Reader
}

func begin(t *testing.T, m *lab.Machine, network string, to netip.Addr, port uint16) *flow {
	t.Helper()
	c, err := m.Dial(network, net.JoinHostPort(to.String(), fmt.Sprint(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &flow{network + " " + m.Name() + " to " + to.String(), c, 0, bufio.NewReader(c)}
}

// works reports whether the flow answers a question of this moment, within so long.
func (f *flow) works(within time.Duration) bool {
	f.asked++
	question := fmt.Sprint("question ", f.asked)
	end := time.Now().Add(within)
	for time.Now().Before(end) {
		_ = f.SetDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := fmt.Fprintln(f, question); err != nil && !errors.Is(err, net.ErrClosed) {
			continue
		}
		for {
			line, err := f.in.ReadString('\n')
			if err != nil {
				break
			}
			if strings.TrimSpace(line) == question {
				return true
			}
		}
		f.in.Reset(f.Conn)
	}
	return false
}

func grantsOf(services ...coord.Service) *coord.Filter {
	return &coord.Filter{
		Sets: []coord.FilterSet{{Name: "*", Nets: mesh}},
		In:   []coord.FilterRule{{From: []string{"*"}, Allow: services}},
	}
}

func onPort(p uint16) []coord.Service {
	return []coord.Service{{Proto: coord.ProtoTCP, First: p, Last: p}, {Proto: coord.ProtoUDP, First: p, Last: p}}
}

// TestAFlowThatIsGrantedNoMoreStops, in both directions and for good, while what this machine began goes on.
func TestAFlowThatIsGrantedNoMoreStops(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	access := newFilter(t)
	set := func(rules *coord.Filter) {
		t.Helper()
		p.do(t, func() error { return access.Apply(t.Context(), Admission{Rules: rules, Self: base.Self}) })
	}
	p.host.Echo(7000)
	p.peer.Echo(7000)
	set(grantsOf(onPort(7000)...))
	var theirs, own []*flow
	for _, network := range []string{"tcp", "udp"} {
		for i, to := range []netip.Addr{host4, host6} {
			theirs = append(theirs, begin(t, p.peer, network, to, 7000))
			own = append(own, begin(t, p.host, network, []netip.Addr{peer4, peer6}[i], 7000))
		}
	}
	all := func(flows []*flow, want bool, when string) {
		t.Helper()
		for _, f := range flows {
			within := arrives // a TCP may have to send again
			if !want {
				within = 300 * time.Millisecond
			}
			if f.works(within) != want {
				t.Errorf("%s: %s works: %t", when, f.name, !want)
			}
		}
	}
	all(theirs, true, "granted")
	all(own, true, "granted")

	set(grantsOf(onPort(7001)...))
	begun := time.Now()
	all(theirs, false, "granted no more")
	took := time.Since(begun)
	t.Logf("that took %v (promised: %v)", took, edited)
	if took > lab.Patience*edited {
		t.Error("the flows went on for too long")
	}
	all(own, true, "what this machine began")
	if dropped := p.dropped(t, DropDenied); dropped == 0 {
		t.Error("nothing was counted")
	}
	set(grantsOf(onPort(7000)...))
	all(theirs, true, "granted again")

	set(&coord.Filter{}) // shields up
	all(theirs, false, "shields up")
	all(own, true, "shields up, what this machine began")
	set(nil)
	all(theirs, true, "control: no rules at all")
}

func (p *place) dropped(t *testing.T, reason string) (n uint64) {
	t.Helper()
	p.do(t, func() error {
		counts, err := readCounts()
		n = counts[reason]
		return err
	})
	return n
}

// TestAServerFallsSilentTowardsWhomItMayServeNoMore: what it goes on to send, unasked, stays on this machine.
func TestAServerFallsSilentTowardsWhomItMayServeNoMore(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	access := newFilter(t)
	set := func(rules *coord.Filter) {
		t.Helper()
		p.do(t, func() error { return access.Apply(t.Context(), Admission{Rules: rules, Self: base.Self}) })
	}
	set(grantsOf(onPort(7000)...))
	server, err := p.host.ListenUDP(7000)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	client, err := p.peer.Dial("udp", net.JoinHostPort(host4.String(), "7000"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	buf := make([]byte, 64)
	if _, err := client.Write([]byte("subscribe")); err != nil {
		t.Fatal(err)
	}
	_ = server.SetReadDeadline(time.Now().Add(arrives))
	_, subscriber, err := server.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	pushed := func(within time.Duration) bool {
		if _, err := server.WriteToUDPAddrPort([]byte("news"), subscriber); err != nil {
			return false
		}
		_ = client.SetReadDeadline(time.Now().Add(within))
		_, err := client.Read(buf)
		return err == nil
	}
	if !pushed(arrives) {
		t.Fatal("control: what the server sends does not arrive")
	}
	set(grantsOf(onPort(7001)...))
	if pushed(patience) {
		t.Error("the server's news go on")
	}
	if p.dropped(t, DropEnded) == 0 {
		t.Error("that is not counted")
	}
	set(grantsOf(onPort(7000)...))
	if !pushed(arrives) {
		t.Error("granted again, the news do not arrive")
	}
}

// TestNothingIsForwardedThatWasNotGranted: a host of the LAN, another port of it, a container by its own address and by its
// published port, whatever the host itself translates.
func TestNothingIsForwardedThatWasNotGranted(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	access := newFilter(t)
	lan, lan6 := p.home.Prefix(), p.home.Prefix6()
	// A container, as Docker has it: a bridge of the host's own, its network, and a published port.
	p.host.MustRun("sh", "-c", `set -e
		ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
		ip link add inside0 type veth peer name ceth0; ip link set inside0 master docker0; ip link set inside0 up
		sysctl -qw net.ipv4.ip_forward=1`)
	box := p.net.Internet().Host("box")
	p.host.MustRun("ip", "link", "set", "ceth0", "netns", box.Namespace())
	box.MustRun("sh", "-c", "ip route flush default; ip addr add 172.17.0.2/16 dev ceth0; ip link set ceth0 up; ip route add default via 172.17.0.1")
	p.host.MustRun("sh", "-c", `iptables-nft -t nat -A PREROUTING -p tcp --dport 8080 -m addrtype --dst-type LOCAL -j DNAT --to 172.17.0.2:`+port+`
		iptables-nft -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE`)
	for _, m := range []*lab.Machine{p.nas, p.host, box} {
		serve(t, m)
	}
	p.through(t, lan.String(), lan6.String(), "172.17.0.0/16")
	p.apply(t, judged(base.routing(lan.String(), lan6.String(), "172.17.0.0/16")))
	published := func(within time.Duration) string {
		return callPort(p.peer, host4, "8080", within)
	}
	set := func(in, forward []coord.FilterRule) {
		t.Helper()
		rules := &coord.Filter{Sets: []coord.FilterSet{{Name: "*", Nets: mesh}}, In: in, Forward: forward}
		p.do(t, func() error { return access.Apply(t.Context(), Admission{Rules: rules, Self: base.Self}) })
	}
	rule := func(port uint16, to ...netip.Prefix) []coord.FilterRule {
		return []coord.FilterRule{{From: []string{"*"}, To: to, Allow: []coord.Service{{Proto: coord.ProtoTCP, First: port, Last: port}}}}
	}
	container := netip.MustParseAddr("172.17.0.2")
	p.wants(t, "control: the LAN", p.peer, p.nas.Addr(), p.host.Addr().String())
	p.wants(t, "control: the LAN", p.peer, p.nas.Addr6(), p.host.Addr6().String())
	p.wants(t, "control: the container", p.peer, container, "172.17.0.1")
	if got := published(arrives); got != peer4.String() {
		t.Errorf("control: the published port answers %q", got)
	}

	set(rule(7777), nil) // the container's own port is not the one that was published
	p.wants(t, "the host's own port", p.peer, host4, peer4.String())
	p.wants(t, "the LAN", p.peer, p.nas.Addr(), nobody)
	p.wants(t, "the LAN", p.peer, p.nas.Addr6(), nobody)
	p.wants(t, "the host in the LAN", p.peer, p.host.Addr(), nobody)
	p.wants(t, "the container", p.peer, container, nobody)
	if got := published(patience); got != nobody {
		t.Errorf("a published port that was not granted answers %q", got)
	}
	set(rule(8080), rule(7777, lan6))
	if got := published(arrives); got != peer4.String() {
		t.Errorf("a published port that was granted answers %q", got)
	}
	p.wants(t, "the host's own port, granted no more", p.peer, host4, nobody)
	p.wants(t, "the LAN, IPv4", p.peer, p.nas.Addr(), nobody)
	p.wants(t, "the LAN, IPv6, granted", p.peer, p.nas.Addr6(), p.host.Addr6().String())
	set(nil, rule(7777, netip.PrefixFrom(p.nas.Addr(), 32), netip.PrefixFrom(container, 32)))
	p.wants(t, "one host of the LAN, granted", p.peer, p.nas.Addr(), p.host.Addr().String())
	p.wants(t, "the host itself in the LAN", p.peer, p.host.Addr(), nobody)
	p.wants(t, "the container, granted", p.peer, container, "172.17.0.1")
	if got := published(patience); got != nobody {
		t.Errorf("the published port, granted no more, answers %q", got)
	}
	// What runs on the host reaches the network, containers too.
	serve(t, p.peer)
	p.wants(t, "the host's own", p.host, peer4, host4.String())
	p.wants(t, "the container's own", box, peer4, host4.String())
	set(nil, rule(7778, netip.PrefixFrom(p.nas.Addr(), 32)))
	p.wants(t, "another port of it", p.peer, p.nas.Addr(), nobody)
}
