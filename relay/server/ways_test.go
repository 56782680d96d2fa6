package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

// processOf starts a relay in a process of its own, at an address of this host.
func processOf(t *testing.T, n *network, host string) *relayProcess {
	t.Helper()
	n.host = host
	p := startProcess(t, n, false)
	t.Cleanup(func() { p.stop() })
	return p
}

// A client on a train has another address again and again: sometimes it knows, sometimes only its NAT does. Its session goes
// on, and whoever talks to it does not notice more than that packets are lost.
func TestAClientWhoseAddressChangesAgainAndAgainStays(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	p := processOf(t, n, "127.0.0.1")
	nat := newForwarder(t, p.udp)
	by := p.by(t, relay.TransportUDP)
	train := n.join(func(c *relay.ClientConfig) { by(c); c.UDP = nat.addr().String() }).connected(relay.TransportUDP)
	home := n.join(by).connected(relay.TransportUDP)
	talk := func(i int) {
		train.reaches(home, fmt.Sprint("out ", i))
		home.reaches(train, fmt.Sprint("back ", i))
	}
	for i := range 10 {
		if i%5 < 4 {
			train.Rebind()
		} else {
			nat.remap()
		}
		talk(i)
	}
	for i := range 50 { // faster than any answer may come
		if train.Rebind(); i%10 == 0 {
			nat.remap()
		}
		time.Sleep(time.Millisecond)
	}
	talk(100)
	if s := train.State(); s.Connects != 1 {
		t.Errorf("the session was opened %d times", s.Connects)
	}
}

func TestARelayMayHaveIPv6Alone(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	p := processOf(t, n, "::1")
	a, b := n.join(p.by(t, relay.TransportUDP)).connected(relay.TransportUDP), n.join(p.by(t, relay.TransportWebSocket)).connected(relay.TransportWebSocket)
	a.reaches(b, "there")
	b.reaches(a, "back")
	a.wait("what the relay sees", func(s relay.State) bool { return s.Observed.Addr() == netip.IPv6Loopback() && s.RTT > 0 })
	a.Rebind()
	b.reaches(a, "after a change of network")
}

// A host may have both families and one of them may be broken in the worst way: something takes what is sent, and nothing comes.
func TestABrokenFamilyKeepsNobodyFromTheOther(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"127.0.0.1", "::1"} {
		t.Run(good, func(t *testing.T) {
			n := newNetwork(t)
			p := processOf(t, n, good)
			bad := map[string]string{"127.0.0.1": "::1", "::1": "127.0.0.1"}[good]
			taken := swallow(t, bad, p)
			names := resolver(t, netip.IPv6Loopback(), netip.MustParseAddr("127.0.0.1"))
			for _, by := range []relay.Transport{relay.TransportUDP, relay.TransportWebSocket} {
				change := p.by(t, by)
				a := n.join(func(c *relay.ClientConfig) {
					change(c)
					named := strings.NewReplacer("[::1]", "relay.test", "127.0.0.1", "relay.test")
					c.UDP, c.URL, c.Resolver = named.Replace(c.UDP), named.Replace(c.URL), names
				})
				took := a.waitFor(time.Minute, "connected by "+string(by), func(s relay.State) bool { return s.Connected && s.Transport == by })
				t.Logf("%s: connected after %v; the other family took %d", by, took.Round(time.Millisecond), taken.Load())
				if taken.Load() == 0 && good == "127.0.0.1" && by == relay.TransportWebSocket { // which is dialed second
					t.Error("control: nothing went to the other family")
				}
				b := n.join(p.by(t, relay.TransportUDP)).connected(relay.TransportUDP)
				a.reaches(b, "there")
				b.reaches(a, "back")
			}
		})
	}
}

// resolver gives every name these addresses.
func resolver(t *testing.T, addrs ...netip.Addr) *net.Resolver {
	t.Helper()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for b := make([]byte, 2048); ; {
			n, from, err := udp.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.Additionals = true, nil
			for _, a := range addrs {
				head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}
				switch {
				case q.Type == dnsmessage.TypeA && a.Is4():
					m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: a.As4()}})
				case q.Type == dnsmessage.TypeAAAA && a.Is6():
					m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
				}
			}
			if answer, err := m.Pack(); err == nil {
				_, _ = udp.WriteToUDPAddrPort(answer, from)
			}
		}
	})
	t.Cleanup(func() { _ = udp.Close(); work.Wait() })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", udp.LocalAddr().String())
	}}
}

// swallow takes, at another address of this host, what is sent to a relay's ports, and counts it.
func swallow(t *testing.T, host string, p *relayProcess) *atomic.Int32 {
	t.Helper()
	at := netip.MustParseAddr(host)
	udp, err1 := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, p.udp.Port())))
	tcp, err2 := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(at, p.web.Port())))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	var taken atomic.Int32
	var work sync.WaitGroup
	work.Go(func() {
		for b := make([]byte, 2048); ; taken.Add(1) {
			if _, _, err := udp.ReadFromUDP(b); err != nil {
				return
			}
		}
	})
	work.Go(func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			taken.Add(1)
			work.Go(func() { defer c.Close(); _, _ = io.Copy(io.Discard, c) }) // until the client is done
		}
	})
	t.Cleanup(func() { _, _ = udp.Close(), tcp.Close(); work.Wait() })
	return &taken
}

// The coordination server is away for longer than a ticket lasts: the session ends, and the client comes back as soon as it
// has another ticket. Others are not concerned.
func TestATicketThatEndsInMidSession(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	p := processOf(t, n, "127.0.0.1")
	other := n.join(p.by(t, relay.TransportUDP)).connected(relay.TransportUDP)
	var away atomic.Bool
	away.Store(true)
	var all []*peer
	for _, by := range []relay.Transport{relay.TransportUDP, relay.TransportWebSocket} {
		node := key.NewNode()
		cfg := n.config(node)
		p.by(t, by)(&cfg)
		short := relay.Ticket{Node: node.Public(), NotAfter: time.Now().Add(3 * time.Second)}.Sign(n.issuer)
		cfg.Ticket = func() []byte {
			if away.Load() {
				return short
			}
			return n.ticket(node)
		}
		all = append(all, start(t, cfg))
	}
	for _, a := range all {
		a.reaches(other, "in time")
	}
	for _, a := range all {
		a.waitFor(time.Minute, "its ticket is over", func(s relay.State) bool {
			return !s.Connected && s.Err != nil && strings.Contains(s.Err.Error(), "expired")
		})
	}
	away.Store(false)
	for _, a := range all {
		a.waitFor(time.Minute, "another ticket admits it", func(s relay.State) bool { return s.Connected })
		a.reaches(other, "again")
		other.reaches(a, "and back")
	}
	if s := other.State(); s.Connects != 1 {
		t.Errorf("the other's session was opened %d times", s.Connects)
	}
}

// A network that has as many machines as it may: they all keep what they have, whatever they do, and the next has the place
// of who leaves.
func TestAFullNetworkKeepsItsOwn(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "127.0.0.1:0")
	n.server.SetLimits(Limits{NetworkClients: 2})
	nat := newForwarder(t, n.server.UDPAddr())
	nat.block(true)
	a := n.join(func(c *relay.ClientConfig) { c.UDP = nat.addr().String() }).connected(relay.TransportWebSocket)
	b := n.join(nil).connected(relay.TransportUDP)
	late := n.join(nil)
	full := func() {
		t.Helper()
		late.wait("the third is refused", func(s relay.State) bool {
			return !s.Connected && s.Err != nil && strings.Contains(s.Err.Error(), "full")
		})
	}
	full()
	nat.block(false)
	a.connected(relay.TransportUDP).reaches(b, "from the WebSocket to UDP")
	again := start(t, n.config(b.node)).connected(relay.TransportUDP) // the machine has restarted
	b.end()
	a.reaches(again, "with the same key anew")
	full()
	if got := n.server.Sessions(); got != 2 {
		t.Errorf("%d sessions of 2", got)
	}
	a.end()
	late.connected(relay.TransportUDP).reaches(again, "in the place of who left")
}
