package e2e

import (
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

func TestAHardNATAndAnEasyOneMeetByChance(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	alice := m.Behind(lab.HardNAT, "alice")
	bob := m.Behind(lab.EasyNAT, "bob")
	key := m.Coord.Key("--reusable")
	alice.Up(key)
	bob.Up(key)

	guessed := alice.Home.Capture("udp and src host " + bob.Home.Machine.Addr().String())
	start := time.Now()
	alice.WaitPing(bob, 5*time.Second)
	relayed := time.Since(start)
	path, _ := alice.WaitPath(bob, ipc.PathDirect, 30*time.Second)
	t.Logf("first answer after %v, direct %v after the first packet, with %d probes: %v", relayed, path.Since.Sub(start), guessed.Count(), path.Endpoint)
	if path.Endpoint.Addr() != bob.Home.Machine.Addr() {
		t.Errorf("alice reaches bob at %v, not at %v", path.Endpoint, bob.Home.Machine.Addr())
	}
	theirs, _ := bob.WaitPath(alice, ipc.PathDirect, 5*time.Second)
	if theirs.Endpoint.Addr() != alice.Home.Machine.Addr() {
		t.Errorf("bob reaches alice at %v, not at %v", theirs.Endpoint, alice.Home.Machine.Addr())
	}

	// Nothing goes through the relay any more, and no more ports are guessed.
	relay := m.Relay.Capture("udp port 3478 and greater 400")
	probes := guessed.Count()
	for range 5 {
		if err := alice.PingOnce(bob.Inner()); err != nil {
			t.Error(err)
		}
		if _, err := bob.Run("ping", "-n", "-c1", "-W1", "-s", "1200", alice.Inner().String()); err != nil {
			t.Errorf("a large one: %v", err)
		}
	}
	if relay.Count() > 0 {
		t.Errorf("%v", relay.Packets())
	}
	if more := guessed.Count() - probes; more > 60 {
		t.Errorf("%d packets for ten pings", more)
	}
}
