//go:build !race

// As the matrix, this measures how soon pairs are direct, which programs with the race detector are too slow for.

package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// neighbours are pairs that share a part of their way, which places of the matrix do not.
var neighbours = []struct {
	name string
	want string // as want gives it
	make func(internet *lab.Segment, a, b string) (*lab.Machine, *lab.Machine)
}{
	{"one LAN", "direct", func(internet *lab.Segment, a, b string) (*lab.Machine, *lab.Machine) {
		home := internet.Router("r"+a, lab.EasyNAT)
		return home.Host(a), home.Host(b)
	}},
	{"one LAN whose router blocks UDP", "direct", func(internet *lab.Segment, a, b string) (*lab.Machine, *lab.Machine) {
		home := internet.Router("r"+a, lab.EasyNAT)
		home.DropUDP()
		return home.Host(a), home.Host(b)
	}},
	{"one LAN that keeps its machines apart, with hairpin", "direct", func(internet *lab.Segment, a, b string) (*lab.Machine, *lab.Machine) {
		home := internet.Router("r"+a, lab.EasyNAT, lab.Hairpin())
		return apart(home.Host(a), home.Host(b))
	}},
	{"one LAN that keeps its machines apart, without hairpin", "relay", func(internet *lab.Segment, a, b string) (*lab.Machine, *lab.Machine) {
		home := internet.Router("r"+a, lab.EasyNAT)
		return apart(home.Host(a), home.Host(b))
	}},
	{"two homes of one carrier, with hairpin", "direct", func(internet *lab.Segment, a, b string) (*lab.Machine, *lab.Machine) {
		isp := internet.Router("i"+a, lab.EasyNAT, lab.Hairpin())
		return isp.Router("r"+a, lab.EasyNAT).Host(a), isp.Router("r"+b, lab.EasyNAT).Host(b)
	}},
	{"two homes of one carrier, without hairpin", "relay", func(internet *lab.Segment, a, b string) (*lab.Machine, *lab.Machine) {
		isp := internet.Router("i"+a, lab.EasyNAT)
		return isp.Router("r"+a, lab.EasyNAT).Host(a), isp.Router("r"+b, lab.EasyNAT).Host(b)
	}},
}

// apart has two machines not reach each other on their LAN, as guests' Wi-Fi does.
func apart(a, b *lab.Machine) (*lab.Machine, *lab.Machine) {
	a.Drop(fmt.Sprintf("ip saddr %v meta l4proto udp", b.Addr()))
	b.Drop(fmt.Sprintf("ip saddr %v meta l4proto udp", a.Addr()))
	return a, b
}

// TestEveryPairOfNetworksThatShareAWayIsDirectWhereItCanBe plays the pairs once.
func TestEveryPairOfNetworksThatShareAWayIsDirectWhereItCanBe(t *testing.T) {
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	key := m.Coord.Key("--reusable")
	var work sync.WaitGroup
	defer work.Wait()
	for i, c := range neighbours {
		at, bt := c.make(n.Internet(), fmt.Sprintf("n%da", i), fmt.Sprintf("n%db", i))
		a, b := m.Node(at), m.Node(bt)
		a.Up(key)
		b.Up(key)
		work.Go(func() { play(t, c.name, c.want, a, b) })
	}
}

// TestEveryPairOfNetworksWithoutIPv4IsDirectWhereItCanBe: the servers have IPv6 as well, since nothing else is reached.
func TestEveryPairOfNetworksWithoutIPv4IsDirectWhereItCanBe(t *testing.T) {
	n := lab.New(t)
	m := mesh.StartIPv6(t, n, mesh.Build(t))
	key := m.Coord.Key("--reusable")
	open := func(name string) *lab.Machine { return n.Internet().Host(name) }
	walled := func(nat lab.NAT) func(string) *lab.Machine {
		return func(name string) *lab.Machine {
			return n.Internet().Router("r"+name, nat, lab.WithIPv6()).Host(name)
		}
	}
	only := func(place func(string) *lab.Machine) func(string) *lab.Machine {
		return func(name string) *lab.Machine {
			machine := place(name)
			machine.WithoutIPv4()
			return machine
		}
	}
	var work sync.WaitGroup
	defer work.Wait()
	for i, c := range []struct {
		name string
		a, b func(string) *lab.Machine
	}{
		{"IPv6 only, and IPv6 only", only(open), only(open)},
		{"IPv6 only, and that behind a firewall", only(open), only(walled(lab.EasyNAT))},
		{"IPv6 only behind a firewall, twice", only(walled(lab.EasyNAT)), only(walled(lab.EasyNAT))},
		{"IPv6 only behind a firewall, and both behind a hard NAT", only(walled(lab.EasyNAT)), walled(lab.HardNAT)},
	} {
		a, b := m.Node(c.a(fmt.Sprintf("v%da", i))), m.Node(c.b(fmt.Sprintf("v%db", i)))
		a.Up(key)
		b.Up(key)
		work.Go(func() { play(t, c.name, "direct", a, b) })
	}
}

// play measures one pair.
func play(t *testing.T, name, want string, a, b *mesh.Node) {
	t.Helper()
	kind, took, err := measure(a, b, want)
	t.Logf("%s: %s %v", name, kind, took.Round(time.Millisecond))
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if want == "relay" && kind != ipc.PathRelay {
		t.Errorf("%s: %q, not through the relay", name, kind)
	}
	if text := why(a, b); want == "relay" && !strings.Contains(text, "hairpinning") {
		t.Errorf("%s: it is not said why: %s", name, text)
	}
}
