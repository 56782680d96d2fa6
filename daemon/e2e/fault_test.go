package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

func errorf(format string, args ...any) error { return fmt.Errorf(format, args...) }

// problem reports whether a machine says that something is wrong.
func problem(n *mesh.Node, code string) error {
	s := n.Status()
	if slices.ContainsFunc(s.Problems, func(p ipc.Problem) bool { return p.Code == code }) {
		return nil
	}
	return errorf("%s has no problem %q: %+v", n.Name(), code, s.Problems)
}

func TestTheNetworkOutlivesItsCoordinationServer(t *testing.T) {
	t.Parallel()
	m, alice, bob := twoHomes(t)
	alice.WaitPath(bob, ipc.PathDirect, 10*time.Second)
	before := alice.Inner()
	seen := counted(t, alice, bob)

	m.Coord.Proc.Kill9()
	lab.Eventually(t, 30*time.Second, func() error { return problem(alice, "coord-unreachable") })
	if lost := seen(); lost > 0 {
		t.Errorf("%d packets lost while the coordination server died", lost)
	}

	// A daemon that restarts now comes back from what it saved.
	if err := alice.Daemon.Stop(); err != nil {
		t.Errorf("warrend ended with %v", err)
	}
	alice.StartDaemon()
	alice.WaitPing(bob, 20*time.Second)
	if now := alice.Inner(); now != before {
		t.Errorf("the address was %v, is %v", before, now)
	}

	m.Coord.Start()
	lab.Eventually(t, 60*time.Second, func() error {
		for _, n := range []*mesh.Node{alice, bob} {
			if s := n.Status(); !s.Coord.Connected || len(s.Problems) > 0 {
				return errorf("%s: coord %+v, problems %+v", n.Name(), s.Coord, s.Problems)
			}
		}
		return nil
	})
	carol := m.Node(m.Net.Internet().Host("carol"))
	carol.Up(m.Coord.Key())
	alice.WaitPing(carol, 20*time.Second)
}

func TestADirectPairLosesNothingWithItsRelay(t *testing.T) {
	t.Parallel()
	m, alice, bob := twoHomes(t)
	alice.WaitPath(bob, ipc.PathDirect, 10*time.Second)
	bob.WaitPath(alice, ipc.PathDirect, 10*time.Second)
	seen := counted(t, alice, bob)
	m.Relay.Proc.Kill9()
	if lost := seen(); lost > 0 {
		t.Errorf("%d packets lost with the relay", lost)
	}
	m.Relay.Start()
	block := m.Net.BlockUDP(alice, bob)
	defer block.Heal()
	alice.WaitPing(bob, 20*time.Second)
	alice.WaitPath(bob, ipc.PathRelay, 10*time.Second)
}

// counted pings from one machine to another five times a second, and gives the count of those that were lost when
// the returned function is called.
func counted(t *testing.T, from, to *mesh.Node) (lost func() int) {
	t.Helper()
	addr := to.Inner()
	ctx, cancel := context.WithCancel(context.Background())
	sent, answered := 0, 0
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				sent++
				// What comes late, as on a busy machine, is not lost.
				if _, err := from.Run("ping", "-n", "-c1", "-W20", addr.String()); err == nil {
					answered++
				}
			}
		}
	}()
	stop := func() int { cancel(); <-ended; return sent - answered }
	t.Cleanup(func() { stop() })
	return func() int {
		<-time.After(3 * time.Second) // so that there is something to lose
		lost := stop()
		if sent < 10 {
			t.Errorf("only %d pings were sent", sent)
		}
		return lost
	}
}

func TestAKilledDaemonComesBackAsTheSameMachine(t *testing.T) {
	_, alice, bob := twoHomes(t)
	alice.WaitPath(bob, ipc.PathDirect, 10*time.Second)
	before := bob.Status().Self
	routes := withoutWarren(bob)

	bob.Daemon.Kill9()
	if now := withoutWarren(bob); now != routes {
		t.Errorf("the host after the kill:\n%s\nbefore:\n%s", now, routes)
	}
	started := time.Now()
	bob.StartDaemon()
	up := time.Since(started)
	took := lab.Eventually(t, 15*time.Second, func() error { return alice.PingOnce(before.Addrs[0]) })
	t.Logf("started in %v, traffic %v after that", up, took)
	if took > lab.Patience*5*time.Second {
		t.Errorf("traffic resumed only after %v", took)
	}
	after := bob.Status().Self
	if !slices.Equal(after.Addrs, before.Addrs) || after.Key != before.Key || after.Port != before.Port {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if s := alice.Status(); len(s.Peers) != 1 {
		t.Errorf("alice sees %d peers", len(s.Peers))
	}
}

// withoutWarren is the host's network as it is beside Warren's own interface, which ends with its process.
func withoutWarren(n *mesh.Node) string {
	out, _ := n.Run("sh", "-c", "ip -o addr; ip route show table all; ip -6 route show table all; ip rule; ip -6 rule")
	var kept strings.Builder
	for line := range strings.Lines(out) {
		if !strings.Contains(line, n.Interface()) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

func TestTheHostIsPutBack(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	machine := n.Internet().Router("home1", lab.EasyNAT).Host("alice")
	before := mesh.Routes(machine)
	alice := m.Node(machine)
	alice.Up(m.Coord.Key())
	if during := mesh.Routes(machine); during == before {
		t.Fatal("nothing changed on the host while up")
	}
	alice.MustWarren("down")
	if after := mesh.Routes(machine); after != before {
		t.Errorf("after down:\n%s\nbefore:\n%s", after, before)
	}
	alice.MustWarren("up")
	if err := alice.Daemon.Stop(); err != nil {
		t.Errorf("warrend ended with %v", err)
	}
	if after := mesh.Routes(machine); after != before {
		t.Errorf("after SIGTERM:\n%s\nbefore:\n%s", after, before)
	}
	alice.StartDaemon()
	lab.Eventually(t, 10*time.Second, func() error {
		if s := alice.Status(); s.State != ipc.StateRunning {
			return errorf("state %s", s.State)
		}
		return nil
	})
	alice.Daemon.Kill9()
	for range 2 {
		alice.Recover()
		if after := mesh.Routes(machine); after != before {
			t.Errorf("after kill -9 and recover:\n%s\nbefore:\n%s", after, before)
		}
	}
}

func TestAChangeOfAddressIsFollowed(t *testing.T) {
	t.Parallel()
	_, alice, bob := twoHomes(t)
	alice.WaitPath(bob, ipc.PathDirect, 10*time.Second)
	was := alice.Addr()
	now := alice.Readdress()
	if was == now {
		t.Fatal("the address is the same")
	}
	took := alice.WaitPing(bob, 15*time.Second)
	_, direct := alice.WaitPath(bob, ipc.PathDirect, 15*time.Second)
	t.Logf("traffic again after %v, direct after %v", took, direct)
}
