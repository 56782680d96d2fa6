package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// without waits until a machine does not have a problem any more.
func without(t *testing.T, n *mesh.Node, code string) {
	t.Helper()
	lab.Eventually(t, 60*time.Second, func() error {
		if p, is := problemOf(n, code); is {
			return fmt.Errorf("%s still says %s", n.Name(), p.Text)
		}
		return nil
	})
}

// says waits until a machine has a problem that says all of these words.
func says(t *testing.T, n *mesh.Node, code string, words ...string) {
	t.Helper()
	lab.Eventually(t, 60*time.Second, func() error {
		p, is := problemOf(n, code)
		if !is || slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(p.Text, w) }) {
			return fmt.Errorf("%s says %q, not %q", n.Name(), p.Text, words)
		}
		return nil
	})
}

// TestARouterThatLosesItsSubnetGivesWayAndWhereNobodyIsLeftThatIsSaid: two routers have cables to a plant, beside their way to the
// internet, by which the plant's addresses lead nowhere.
func TestARouterThatLosesItsSubnetGivesWayAndWhereNobodyIsLeftThatIsSaid(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	const subnet = "10.77.0.0/24"
	printer := netip.MustParseAddr("10.77.0.10")
	plant := n.Internet().Host("plant")
	who(t, plant)
	plant.MustRun("ip", "link", "add", "floor", "type", "bridge")
	plant.MustRun("ip", "addr", "add", printer.String()+"/24", "dev", "floor")
	plant.MustRun("ip", "link", "set", "floor", "up")
	key := m.Coord.Key("--reusable")
	var routers []*mesh.Node
	var at []string // their addresses in the plant
	for i, name := range []string{"r1", "r2"} {
		r := m.Node(n.Internet().Host(name))
		r.MustRun("ip", "link", "add", "site", "type", "veth", "peer", "name", "to-"+name, "netns", plant.Namespace())
		plant.MustRun("ip", "link", "set", "to-"+name, "master", "floor", "up")
		at = append(at, fmt.Sprintf("10.77.0.%d", i+1))
		r.MustRun("ip", "addr", "add", at[i]+"/24", "dev", "site")
		r.MustRun("ip", "link", "set", "site", "up")
		r.Up(key)
		r.MustWarren("set", "--advertise-routes="+subnet)
		approve(m, r, "--approve", subnet)
		routers = append(routers, r)
	}
	r1, r2 := routers[0], routers[1]
	alice := m.Behind(lab.EasyNAT, "alice")
	alice.Up(key)
	alice.MustWarren("set", "--accept-routes")
	through := func(what string, router int) {
		t.Helper()
		took := lab.Eventually(t, 60*time.Second, func() error {
			got, err := seenAs(alice.Machine, printer)
			if err == nil && got.String() != at[router] {
				err = fmt.Errorf("%s: seen as %s", what, got)
			}
			return err
		})
		t.Logf("%s: through %s after %s", what, routers[router].Name(), took.Round(10*time.Millisecond))
	}
	through("at first", 0)

	plant.MustRun("ip", "link", "set", "to-r1", "down") // as a cable that is pulled: the address and the route stay
	through("the first one has no cable", 1)
	says(t, r1, ipc.ProblemRouteCut, subnet)
	if out := r1.MustWarren("status"); !strings.Contains(out, "Offers: "+subnet+" (not reached now)") {
		t.Errorf("r1's status: %s", out)
	}
	plant.MustRun("ip", "link", "set", "to-r1", "up")
	without(t, r1, ipc.ProblemRouteCut)
	through("it is back, and what works stays", 1)
	r2.MustRun("ip", "addr", "flush", "dev", "site") // its route goes; the default one stays
	through("the second one has no route", 0)
	says(t, r2, ipc.ProblemRouteCut, subnet)
	r2.MustRun("ip", "addr", "add", at[1]+"/24", "dev", "site")
	without(t, r2, ipc.ProblemRouteCut)
	r1.MustRun("ip", "link", "set", "site", "down")
	through("the first one's interface is down", 1)
	without(t, alice, ipc.ProblemRouteDown)

	plant.MustRun("ip", "link", "set", "to-r2", "down")
	says(t, alice, ipc.ProblemRouteDown, subnet, "r1 does not reach it itself", "r2 does not reach it itself")
	if out := alice.MustRun("ip", "route", "get", printer.String()); !strings.Contains(out, "dev "+alice.Interface()) {
		t.Errorf("with no router left, packets to the plant go by %s", out)
	}
	r1.MustRun("ip", "link", "set", "site", "up")
	plant.MustRun("ip", "link", "set", "to-r2", "up")
	without(t, alice, ipc.ProblemRouteDown)
	lab.Eventually(t, 60*time.Second, func() error { // both are back
		_, err := seenAs(alice.Machine, printer)
		return err
	})

	// Both are silent, and the coordination server does not see it at first.
	for _, r := range routers {
		r.Daemon.Pause()
	}
	lab.Eventually(t, 60*time.Second, func() error {
		_, _ = seenAs(alice.Machine, printer) // somebody wants something of them
		return problem(alice, ipc.ProblemRouteDown)
	})
	says(t, alice, ipc.ProblemRouteDown, "Nobody leads to "+subnet, "r1 ", "r2 ")
	if p, _ := problemOf(alice, ipc.ProblemRouteDown); !strings.Contains(p.Fix, "warren ping r1") {
		t.Errorf("what to do: %s", p.Fix)
	}
	r2.Daemon.Resume()
	without(t, alice, ipc.ProblemRouteDown)
	through("one is back", 1)
	r1.Daemon.Resume()
}
