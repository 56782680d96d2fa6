package e2e

import (
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/ipc"
)

// TestAMachineMovesToUDPWhenItsRouterLetsItThrough begins behind a router that drops UDP, which then does not any more.
func TestAMachineMovesToUDPWhenItsRouterLetsItThrough(t *testing.T) {
	t.Parallel()
	m, alice, bob := twoHomes(t)
	m.Net.BlockUDP(alice, bob)
	drops := alice.Home.DropUDP()
	lab.Eventually(t, time.Minute, func() error { return onTransport(alice, "websocket") })
	alice.WaitPing(bob, 20*time.Second)

	begun := time.Now()
	drops.Heal()
	lab.Eventually(t, time.Minute, func() error { return onTransport(alice, "udp") })
	t.Logf("over UDP after %v", time.Since(begun).Round(time.Millisecond))
	alice.WaitPath(bob, ipc.PathRelay, time.Minute)
	alice.WaitPing(bob, 20*time.Second)
}
