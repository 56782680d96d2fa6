package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// TestAPairRelaysThroughAMachineThatIsAllowedTo has two machines behind hard NATs, from which the relay server's UDP port cannot be
// reached, and a third on the internet. They use it once it offers to relay and an admin allows it, and go back to the server
// when it is denied, and when it dies. Then a fourth, behind a router that gives out ports, does the same.
func TestAPairRelaysThroughAMachineThatIsAllowedTo(t *testing.T) {
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	alice, bob, gate := m.Behind(lab.HardNAT, "alice"), m.Behind(lab.HardNAT, "bob"), m.Node(n.Internet().Host("gate"))
	home := n.Internet().Router("r-attic", lab.HardNAT)
	home.GiveOutPorts("pcp")
	attic := m.Node(home.Host("attic"))
	for _, who := range []*mesh.Node{alice, bob} {
		n.BlockUDP(who, m.Relay)
	}
	for _, who := range []*mesh.Node{alice, bob, gate} {
		who.Up(m.Coord.Key())
	}
	alice.WaitPing(bob, 20*time.Second)
	traffic := alice.Start("ping", "-n", "-i", "0.2", bob.Inner().String())
	defer traffic.Stop() //nolint:errcheck // ping says by its end what was lost
	over := func(relay string) {
		t.Helper()
		lab.Eventually(t, time.Minute, func() error {
			for _, pair := range [][2]*mesh.Node{{alice, bob}, {bob, alice}} {
				if p, err := pair[0].Peer(pair[1]); err != nil || p.Path.Kind != ipc.PathRelay || p.Path.Relay != relay {
					return errorf("%s reaches %s by %+v, %v", pair[0].Name(), pair[1].Name(), p, err)
				}
			}
			return nil
		})
		if p := alice.MustWarren("ping", "-c", "1", "bob"); !strings.Contains(p, "relay "+relay) {
			t.Errorf("warren ping says %q", p)
		}
	}
	over("demo")
	gate.MustWarren("set", "--relay")
	lab.Eventually(t, time.Minute, func() error {
		if said := m.Coord.Run("machine", "relay", "gate"); !strings.Contains(said, "yes") {
			return errorf("the server knows of no offer: %s", said)
		}
		return nil
	})
	if said := gate.MustWarren("status"); !strings.Contains(said, "waits for an admin's approval") {
		t.Errorf("the machine that offers says\n%s", said)
	}
	over("demo")

	m.Coord.Run("machine", "relay", "gate", "--allow")
	over("gate")
	port := gate.Status().Self.Relaying.Addrs[0].Port()
	seen := gate.Capture(fmt.Sprintf("udp and host %s and port %d", alice.Home.Addr(), port))
	alice.WaitPing(bob, 10*time.Second)
	if seen.Stop() == 0 {
		t.Error("nothing of it was seen at the machine that relays")
	}
	// That its own packet filter shuts the port is said as long as it is so.
	shut := func(want bool) {
		t.Helper()
		lab.Eventually(t, time.Minute, func() error {
			problems := gate.Status().Problems
			if slices.ContainsFunc(problems, func(p ipc.Problem) bool { return p.Code == ipc.ProblemRelayShut }) != want {
				return errorf("the problems are %+v", problems)
			}
			return nil
		})
	}
	gate.MustRun("nft", fmt.Sprintf("table inet mine { chain come { type filter hook input priority 0; ct state established accept; udp dport %d drop; }; }", port))
	shut(true)
	gate.MustRun("nft", "delete table inet mine")
	shut(false)

	// Lockdown is about what a machine sends of its own: what it relays is others', and sealed.
	gate.MustWarren("set", "--lockdown", "--relay-rate", "50")
	if _, err := gate.Machine.Run("ping", "-n", "-c1", "-W2", alice.Home.Addr().String()); err == nil {
		t.Error("control: with lockdown a program of the machine reaches the internet")
	}
	before := gate.Status().Self.Relaying
	alice.WaitPing(bob, 10*time.Second)
	over("gate")
	lab.Eventually(t, time.Minute, func() error {
		if r := gate.Status().Self.Relaying; r.Machines != 2 || r.Bytes <= before.Bytes || r.Rate != 50*ipc.Megabit {
			return errorf("with lockdown it relays %+v, and before %+v", r, before)
		}
		return nil
	})
	gate.MustWarren("set", "--lockdown=false")
	for _, r := range alice.Status().Relays {
		if r.Home && r.Machine {
			t.Errorf("the home is the machine %s", r.Name)
		}
	}

	took := gap(t, alice, bob, func() { m.Coord.Run("machine", "relay", "gate", "--deny") })
	over("demo")
	t.Logf("denied: traffic again after %v", took.Round(time.Millisecond))

	m.Coord.Run("machine", "relay", "gate", "--allow")
	over("gate")
	took = gap(t, alice, bob, gate.Daemon.Kill9)
	t.Logf("killed: traffic again after %v", took.Round(time.Millisecond))
	if took > lab.Patience*moveLimit {
		t.Errorf("killed: traffic again only after %v", took)
	}
	over("demo")

	// A machine behind a NAT is of use where its router leads a port there: from outside its relay cannot be reached else.
	attic.Up(m.Coord.Key())
	attic.MustWarren("set", "--relay")
	m.Coord.Run("machine", "relay", "attic", "--allow")
	over("attic")
	if r := attic.Status().Self.Relaying; !strings.HasPrefix(r.Addrs[0].String(), "11.0.0.") {
		t.Errorf("it offers %v, and not at first what its router gave out", r.Addrs)
	}
}
