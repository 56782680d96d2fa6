package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// A daemon is killed at every stage of joining with a one-use key, and started again: the machine is on the network
// then, once, whether or not the server had used up the key.
func TestAMachineKilledWhileItJoinsJoinsOnce(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	home := n.Internet().Router("home", lab.EasyNAT)
	const trials = 12
	completed := 0
	for i := range trials {
		alice := m.Node(home.Host(fmt.Sprintf("alice%d", i)))
		key := m.Coord.Key()
		up := alice.Args("up", m.Coord.Invite, "--auth-key=file:"+key, "--hostname", alice.Name())
		joining := alice.Start(up...)
		if i > 0 { // at first it is killed before it can know of the key, then ever later after it has noted it
			waitForNote(alice, joining)
			<-time.After(time.Duration(i-1) * 4 * time.Millisecond)
		}
		alice.Daemon.Kill9()
		_ = joining.Wait(10 * time.Second)
		alice.StartDaemon()
		if err := running(alice, patient); err == nil {
			completed++
			continue
		}
		// It was killed before it knew of the key: the person asks again, with the same key.
		alice.MustRun(up...)
		if err := running(alice, patient); err != nil {
			t.Errorf("trial %d: %v", i, err)
		}
	}
	t.Logf("%d of %d completed by themselves", completed, trials)
	if completed == 0 {
		t.Error("no trial killed the daemon after it had begun to join")
	}
	var machines []struct{ Name string }
	if err := json.Unmarshal([]byte(m.Coord.Run("machine", "list", "--json")), &machines); err != nil {
		t.Fatal(err)
	}
	if len(machines) != trials {
		t.Errorf("the server has %d machines: %+v", len(machines), machines)
	}
}

// A daemon that is started in the middle of a login by key says so while the server is away, and that it is on its way.
func TestALoginThatWasInterruptedIsSaidToWait(t *testing.T) {
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	home := n.Internet().Router("home", lab.EasyNAT)
	var alice *mesh.Node
	for i := 0; alice == nil || !noted(alice); i++ { // or it had ended already when it was killed
		if i == 20 {
			t.Fatal("no trial killed the daemon in time")
		}
		alice = m.Node(home.Host(fmt.Sprintf("alice%d", i)))
		joining := alice.Start(alice.Args("up", m.Coord.Invite, "--auth-key=file:"+m.Coord.Key())...)
		waitForNote(alice, joining)
		alice.Daemon.Kill9()
		_ = joining.Wait(10 * time.Second)
	}
	if err := m.Coord.Proc.Stop(); err != nil {
		t.Fatal(err)
	}
	alice.StartDaemon()
	for _, command := range []string{"netcheck", "ping bob"} {
		if _, err := alice.Warren(strings.Fields(command)...); err == nil || !strings.Contains(err.Error(), "still connecting to its network") {
			t.Errorf("%s: %v", command, err)
		}
	}
	lab.Eventually(t, patient, func() error {
		_, s := alice.Warren("status") // whose code says that this machine is not on its network
		for _, want := range []string{"Connecting to " + m.Coord.URL, "waits to be completed", "warren down", "No connection to the coordination server"} {
			if s == nil || !strings.Contains(s.Error(), want) {
				return errorf("%q is not in: %v", want, s)
			}
		}
		return nil
	})
	m.Coord.Start()
	if err := running(alice, patient); err != nil {
		t.Error(err)
	}
	if s := alice.MustWarren("status"); strings.Contains(s, "completed") {
		t.Error(s)
	}
}

// waitForNote waits until the daemon has put the pre-auth key on disk, or the command has ended.
func waitForNote(n *mesh.Node, up *lab.Proc) {
	for up.Running() && !noted(n) {
		<-time.After(time.Millisecond)
	}
}

// noted reports whether a pre-auth key is on disk, of a login that has not ended.
func noted(n *mesh.Node) bool {
	text, _ := os.ReadFile(filepath.Join(n.State(), "state.json"))
	return bytes.Contains(text, []byte(`"authKey"`))
}

func running(n *mesh.Node, d time.Duration) error {
	var state ipc.State
	for end := time.Now().Add(d); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		if state = n.Status().State; state == ipc.StateRunning {
			return nil
		}
		if state == ipc.StateNoServer {
			break
		}
	}
	return errorf("state %s", state)
}

func TestTheWgToolShowsWhereAPeerIs(t *testing.T) {
	t.Parallel()
	_, alice, bob := twoHomes(t)
	path, _ := alice.WaitPath(bob, ipc.PathDirect, 10*time.Second)
	out := alice.MustRun("wg", "show", alice.Interface())
	for _, want := range []string{bob.Status().Self.Key.WireGuard(), "endpoint: " + path.Endpoint.String(), bob.Inner().String() + "/32"} {
		if !strings.Contains(out, want) {
			t.Errorf("wg does not show %q:\n%s", want, out)
		}
	}
}
