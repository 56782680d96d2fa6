package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// Two hard NATs cannot be passed, but where one router gives out ports.
func TestARouterThatGivesOutPortsMakesHardNATsDirect(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	key := m.Coord.Key("--reusable")
	alice := m.Behind(lab.HardNAT, "alice")
	alice.Up(key)
	for _, protocol := range []string{"pcp", "upnp"} {
		t.Run(protocol, func(t *testing.T) {
			home := n.Internet().Router("r-"+protocol, lab.HardNAT)
			home.GiveOutPorts(protocol)
			bob := m.Node(home.Host("bob-" + protocol))
			bob.Up(key)
			wanted := map[string]ipc.Known{"PCP": ipc.No, "NAT-PMP": ipc.No, "UPnP-IGD": ipc.No}
			if protocol == "pcp" {
				wanted["PCP"], wanted["NAT-PMP"] = ipc.Yes, ipc.Yes
			} else {
				wanted["UPnP-IGD"] = ipc.Yes
			}
			for _, p := range netcheck(t, bob).Mapping {
				if p.Answers != wanted[p.Protocol] {
					t.Errorf("%s: %s (%s)", p.Protocol, p.Answers, p.Detail)
				}
			}
			start := time.Now()
			alice.WaitPing(bob, 10*time.Second)
			path, _ := alice.WaitPath(bob, ipc.PathDirect, 20*time.Second)
			t.Logf("direct after %v: %v", path.Since.Sub(start), path.Endpoint)
			if !strings.HasPrefix(path.Endpoint.String(), "11.0.0.") {
				t.Errorf("alice reaches bob at %v, which is not what his router gave out", path.Endpoint)
			}
			bob.WaitPath(alice, ipc.PathDirect, 10*time.Second)
		})
	}
}
