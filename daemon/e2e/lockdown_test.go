package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// leaving sends what a program of the machine may send, of both versions, to somebody on the internet and in the LAN. Port 443 of
// UDP is what QUIC uses.
func leaving(m *lab.Machine, to ...*lab.Machine) {
	var work sync.WaitGroup
	for _, other := range to {
		for _, addr := range []netip.Addr{other.Addr(), other.Addr6()} {
			if !addr.IsValid() {
				continue
			}
			for _, port := range []string{"53", "443", "80"} {
				host := net.JoinHostPort(addr.String(), port)
				work.Go(func() {
					if c, err := m.Dial("udp", host); err == nil {
						_, _ = c.Write([]byte("datagram"))
						_ = c.Close()
					}
				})
				work.Go(func() {
					ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
					defer cancel()
					if c, err := m.DialContext(ctx, "tcp", host); err == nil {
						_ = c.Close()
					}
				})
			}
			work.Go(func() { _, _ = m.Run("ping", "-n", "-c1", "-W0.1", addr.String()) })
		}
	}
	work.Wait()
}

// onTheInternet is a capture's filter, on the internet, for what comes from a home: from its router's address, or from an address of
// its LAN.
func onTheInternet(home *lab.Router) string {
	return fmt.Sprintf("(ip and src host %s) or (ip6 and src net %s)", home.Addr(), home.Prefix6())
}

// inTheLAN is one, on a machine of the LAN, for what others of it send, but not its router; nor what may always leave, the search for
// neighbours. What warrend itself asks the home's router, by UPnP's multicast, is its own.
func inTheLAN(home *lab.Router, on *lab.Machine) string {
	return fmt.Sprintf("(ip and src net %s and not src host %s and not src host %s and not udp dst port 1900) or (src net %s and not src host %s and (udp or tcp or ip6[40] = 128 or ip6[40] = 129))",
		home.Prefix(), home.Gateway(), on.Addr(), home.Prefix6(), on.Addr6())
}

// TestLockdownOutlivesTheDaemon is about a real daemon: whatever becomes of it, nothing leaves but what it sends itself.
func TestLockdownOutlivesTheDaemon(t *testing.T) {
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	home := n.Internet().Router("home-alice", lab.EasyNAT, lab.WithIPv6())
	alice, bob := m.Node(home.Host("alice")), m.Behind(lab.EasyNAT, "bob")
	nas, web := home.Host("nas"), n.Internet().Host("web")
	alice.Up(m.Coord.Key())
	bob.Up(m.Coord.Key())
	alice.WaitPath(bob, ipc.PathDirect, 15*time.Second)

	atWeb, atNAS := web.Capture(onTheInternet(home)), nas.Capture(inTheLAN(home, nas))
	reached := func() int {
		leaving(alice.Machine, web, nas)
		leaving(nas, alice.Machine) // which answers, if it may
		return atWeb.Count() + atNAS.Count()
	}
	if reached() < 20 {
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
	alice.Readdress()
	nothing("address changed")
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
