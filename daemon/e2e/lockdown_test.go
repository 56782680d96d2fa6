package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// leaving sends what a program of the machine may send, to somebody on the internet and in the LAN.
func leaving(m *lab.Machine, to ...*lab.Machine) {
	for _, other := range to {
		for _, port := range []string{"53", "443", "80"} {
			if c, err := m.Dial("udp", net.JoinHostPort(other.Addr().String(), port)); err == nil {
				_, _ = c.Write([]byte("datagram"))
				_ = c.Close()
			}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			if c, err := m.DialContext(ctx, "tcp", net.JoinHostPort(other.Addr().String(), port)); err == nil {
				_ = c.Close()
			}
			cancel()
		}
		_, _ = m.Run("ping", "-c1", "-W0.1", other.Addr().String())
	}
}

// TestLockdownOutlivesTheDaemon is about a real daemon: whatever becomes of it, nothing leaves but what it sends itself.
func TestLockdownOutlivesTheDaemon(t *testing.T) {
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	alice, bob := m.Behind(lab.EasyNAT, "alice"), m.Behind(lab.EasyNAT, "bob")
	nas, web := alice.Home.Host("nas"), n.Internet().Host("web")
	alice.Up(m.Coord.Key())
	bob.Up(m.Coord.Key())
	alice.WaitPath(bob, ipc.PathDirect, 15*time.Second)

	atWeb, atNAS := web.Capture("src host "+alice.Home.Addr().String()), nas.Capture("src host "+alice.Addr().String())
	reached := func() int {
		leaving(alice.Machine, web, nas)
		return atWeb.Count() + atNAS.Count()
	}
	if reached() < 10 {
		t.Fatalf("control: without lockdown the captures see\n%s", strings.Join(append(atWeb.Packets(), atNAS.Packets()...), "\n"))
	}
	alice.MustWarren("set", "--lockdown")
	seen := atWeb.Count() + atNAS.Count()
	nothing := func(what string) {
		t.Helper()
		if now := reached(); now != seen {
			t.Errorf("%s: %d packets left", what, now-seen)
			seen = now
		}
	}
	nothing("lockdown")
	if took := alice.WaitPing(bob, 10*time.Second); took > lab.Patience*5*time.Second {
		t.Errorf("the network itself is back after %v", took)
	}
	lab.Eventually(t, 10*time.Second, func() error {
		if s := alice.Status(); !s.Coord.Connected || !s.Lockdown {
			return fmt.Errorf("coord %+v, lockdown %v", s.Coord, s.Lockdown)
		}
		return nil
	})

	alice.MustRun("nft", "flush", "ruleset") // as a service does that loads a filter of its own
	lab.Eventually(t, 3*time.Second, func() error {
		if out := alice.MustRun("nft", "list", "tables"); !strings.Contains(out, "warren-lockdown") || !strings.Contains(out, "ip warren") {
			return fmt.Errorf("tables:\n%s", out)
		}
		return nil
	})
	seen = atWeb.Count() + atNAS.Count()
	nothing("after another's flush")

	alice.Daemon.Pause()
	nothing("daemon stopped")
	alice.Daemon.Resume()
	alice.MustRun("ip", "link", "del", alice.Interface())
	nothing("interface taken away")
	alice.WaitPing(bob, 15*time.Second)
	alice.MustWarren("down")
	nothing("down")
	alice.MustWarren("up")
	alice.Daemon.Kill9()
	nothing("daemon killed")
	alice.Recover()
	nothing("recovered")
	alice.MustRun("nft", "flush", "ruleset") // as after a boot
	if now := reached(); now == seen {
		t.Error("control: after a boot nothing leaves")
	}
	alice.Lockdown()
	seen = atWeb.Count() + atNAS.Count()
	nothing("loaded before the daemon")
	alice.StartDaemon()
	nothing("started again")
	alice.WaitPing(bob, 15*time.Second)

	alice.MustWarren("exit-node", "portal", "--for", "1m")
	if now := reached(); now == seen {
		t.Error("the portal is not open")
	}
	alice.Daemon.Kill9()
	alice.StartDaemon()
	alice.MustWarren("exit-node", "portal", "--close")
	seen = atWeb.Count() + atNAS.Count()
	nothing("the portal is closed")

	// The way out needs no daemon, and no later one shuts it again.
	alice.Daemon.Kill9()
	alice.Recover("--unlock")
	if now := reached(); now == seen {
		t.Error("unlocked, and nothing leaves")
	}
	if out := alice.MustRun("nft", "list", "ruleset"); strings.Contains(out, "warren") {
		t.Errorf("left in the packet filter:\n%s", out)
	}
	alice.StartDaemon()
	if alice.Status().Lockdown {
		t.Error("the next daemon wants lockdown again")
	}
}
