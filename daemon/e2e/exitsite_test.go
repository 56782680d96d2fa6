package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
)

// TestAnExitNodesSiteIsClosedToThoseWhoUseIt: the exit node is in an office behind a NAT, whose router has an address on the
// internet that leads back in.
func TestAnExitNodesSiteIsClosedToThoseWhoUseIt(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	web := n.Internet().Host("web")
	alice, gate := m.Behind(lab.EasyNAT, "alice"), m.Behind(lab.EasyNAT, "gate")
	printer, wan := gate.Home.Host("printer"), gate.Home.Addr()
	for _, machine := range []*lab.Machine{web, printer, gate.Home.Machine} {
		who(t, machine)
	}
	key := m.Coord.Key("--reusable")
	gate.Up(key)
	alice.Up(key)
	gate.MustWarren("set", "--advertise-exit-node")
	approve(m, gate, "--approve-exit-node")
	for _, a := range []netip.Addr{wan, printer.Addr()} {
		if _, err := seenAs(gate.Machine, a); err != nil {
			t.Fatalf("control: the exit node itself does not reach %s: %v", a, err)
		}
	}
	lab.Eventually(t, 10*time.Second, func() error {
		_, err := alice.Warren("exit-node", "use", "gate")
		return err
	})
	wantSeen(t, alice.Machine, web.Addr(), wan)
	wantCut(t, alice.Machine, wan, "the exit node's router, by its address on the internet")
	wantCut(t, alice.Machine, gate.Home.Gateway(), "the exit node's router, by its address in the LAN")

	// Granted, it is reached.
	granted := wan.String() + "/32"
	gate.MustWarren("set", "--advertise-routes="+granted)
	approve(m, gate, "--approve", granted)
	alice.MustWarren("set", "--accept-routes")
	lab.Eventually(t, 10*time.Second, func() error {
		_, err := seenAs(alice.Machine, wan)
		return err
	})
}

// TestContainersAskForNamesAndTheLANDoesNot has a bridge as Docker makes it, and a container whose resolv.conf is its host's.
func TestContainersAskForNamesAndTheLANDoesNot(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	alice, bob := m.Behind(lab.EasyNAT, "alice"), m.Behind(lab.EasyNAT, "bob")
	key := m.Coord.Key("--reusable")
	alice.Up(key)
	bob.Up(key)
	ns := alice.Namespace() + "-c"
	alice.MustRun("ip", "netns", "add", ns)
	t.Cleanup(func() { _, _ = alice.Run("ip", "netns", "del", ns) })
	alice.MustRun("sh", "-ec", `ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
		ip link add veth1 type veth peer name eth0 netns `+ns+`; ip link set veth1 master docker0 up
		ip -n `+ns+` link set eth0 up; ip -n `+ns+` addr add 172.17.0.2/16 dev eth0; ip -n `+ns+` route add default via 172.17.0.1
		sysctl -qw net.ipv4.ip_forward=1
		nft add table ip docker; nft 'add chain ip docker post { type nat hook postrouting priority srcnat; }'
		nft 'add rule ip docker post ip saddr 172.17.0.0/16 oifname != "docker0" masquerade'`)
	conf := mesh.Write(t, alice.Machine, "container.conf", "nameserver 100.127.255.254\noptions timeout:1 attempts:1\n")
	name, want := "bob.warren.internal", bob.Inner().String()
	ask := `mount --bind ` + conf + ` /etc/resolv.conf && getent ahostsv4 ` + name
	lab.Eventually(t, 10*time.Second, func() error {
		out, err := alice.Run("ip", "netns", "exec", ns, "unshare", "--mount", "sh", "-c", ask)
		if err != nil || !strings.Contains(out, want) {
			return fmt.Errorf("the container hears %q, %w", out, err)
		}
		return nil
	})
	alice.MustRun("ip", "netns", "exec", ns, "ping", "-n", "-c1", "-W2", want)

	nas := alice.Home.Host("nas")
	nas.MustRun("ip", "route", "add", "100.127.255.254", "via", alice.Addr().String())
	if out, err := nas.Run("unshare", "--mount", "sh", "-c", ask); err == nil {
		t.Errorf("the LAN is answered: %s", out)
	}
}
