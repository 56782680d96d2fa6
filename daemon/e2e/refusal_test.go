package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// refusedWith runs a command that must fail, with each of the words in what it says, on few lines.
func refusedWith(t *testing.T, m *lab.Machine, command []string, words ...string) {
	t.Helper()
	out, err := m.Run(command...)
	if err == nil {
		t.Errorf("%v succeeded: %s", command, out)
		return
	}
	_, said, _ := strings.Cut(err.Error(), "\n")
	said = strings.TrimSpace(said)
	t.Logf("%s", said)
	for _, w := range words {
		if !strings.Contains(strings.ToLower(said), strings.ToLower(w)) {
			t.Errorf("%v does not say %q: %s", filepath.Base(command[0]), w, said)
		}
	}
	if lines := strings.Count(said, "\n") + 1; lines > 4 {
		t.Errorf("%v says %d lines", filepath.Base(command[0]), lines)
	}
}

func TestWhatIsRefusedIsSaidAndCostsNothing(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	alice := m.Behind(lab.EasyNAT, "alice")
	up := func(args ...string) []string { return alice.Args(append([]string{"up"}, args...)...) }
	key := "--auth-key=file:" + m.Coord.Key()

	t.Run("no server named", func(t *testing.T) { refusedWith(t, alice.Machine, up(), "coordination server", "warren up") })
	t.Run("nobody there", func(t *testing.T) {
		refusedWith(t, alice.Machine, up("https://"+m.Relay.Addr().String()+":9999", key), "9999")
	})
	t.Run("not a coordination server", func(t *testing.T) {
		refusedWith(t, alice.Machine, up("https://"+m.Relay.Addr().String()+":443", key), m.Relay.Addr().String())
	})
	t.Run("no pin for a certificate of its own", func(t *testing.T) {
		refusedWith(t, alice.Machine, up(m.Coord.URL, key), "invite link", "--server-key")
	})
	t.Run("another identity", func(t *testing.T) {
		wrong := m.Coord.URL + "/join#server:" + strings.Repeat("ab", 32)
		refusedWith(t, alice.Machine, up(wrong, key), "identity")
	})
	t.Run("a key that is none", func(t *testing.T) {
		bad := mesh.Write(t, alice.Machine, "bad", "wk_0123456789ab_nothing")
		refusedWith(t, alice.Machine, up(m.Coord.Invite, "--auth-key=file:"+bad), "key")
	})
	t.Run("a key on the command line", func(t *testing.T) {
		refusedWith(t, alice.Machine, up(m.Coord.Invite, "--auth-key", "wk_0123456789ab_nothing"), "file:")
	})
	t.Run("no such file", func(t *testing.T) {
		refusedWith(t, alice.Machine, up(m.Coord.Invite, "--auth-key=file:/nonexistent/key"), "/nonexistent/key")
	})
	if s := alice.Status(); s.State != ipc.StateNoServer {
		t.Errorf("after all refusals the state is %s", s.State)
	}

	t.Run("an expired key", func(t *testing.T) {
		short := m.Coord.Key("--expires", "1s")
		<-time.After(1500 * time.Millisecond)
		refusedWith(t, alice.Machine, up(m.Coord.Invite, "--auth-key=file:"+short), "expired")
	})
	alice.MustWarren("up", m.Coord.Invite, key)
	t.Run("a key that was used", func(t *testing.T) {
		bob := m.Behind(lab.EasyNAT, "bob")
		refusedWith(t, bob.Machine, bob.Args("up", m.Coord.Invite, key), "used")
	})
	t.Run("a second daemon", func(t *testing.T) {
		second := m.Daemon("--state", alice.State(), "--socket", filepath.Join(alice.Dir(), "second.sock"), "--tun", "wa-second")
		refusedWith(t, alice.Machine, second, "another warrend", alice.State())
	})
	t.Run("no permission", func(t *testing.T) {
		dir := filepath.Join(alice.Dir(), "nobody")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		cmd := append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, m.Daemon("--state", dir)...)
		refusedWith(t, alice.Machine, cmd, "permission", dir)
	})
	if s := alice.Status(); s.State != ipc.StateRunning {
		t.Errorf("after all refusals the state is %s", s.State)
	}
}

func TestAnOrdinaryUserReadsAndIsToldHowToDoMore(t *testing.T) {
	t.Parallel()
	_, alice, _ := twoHomes(t)
	nobody := func(args ...string) []string {
		return append([]string{"setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"}, alice.Args(args...)...)
	}
	// The lab's directories are root's alone; the way to the socket and the program must be open, as on a real host.
	for _, dir := range []string{alice.Dir(), filepath.Dir(alice.Dir()), filepath.Dir(alice.Args()[0])} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := alice.Run(nobody("status")...); err != nil || !strings.Contains(out, "alice") {
		t.Errorf("status: %v %s", err, out)
	}
	refusedWith(t, alice.Machine, nobody("down"), "sudo warren down", ipc.Group)
	if s := alice.Status(); s.State != ipc.StateRunning {
		t.Errorf("the state is %s", s.State)
	}
}

func TestADamagedStateIsKeptAndSaid(t *testing.T) {
	t.Parallel()
	m, alice, _ := twoHomes(t)
	if err := alice.Daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(alice.State(), "state.json")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damaged := whole[:len(whole)/2]
	if err := os.WriteFile(file, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	refusedWith(t, alice.Machine, m.Daemon("--state", alice.State(), "--socket", alice.Socket()), file)
	if now, _ := os.ReadFile(file); string(now) != string(damaged) {
		t.Error("the damaged file was changed")
	}
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	alice.StartDaemon()
	lab.Eventually(t, 10*time.Second, func() error {
		if s := alice.Status(); s.State != ipc.StateRunning {
			return errorf("state %s", s.State)
		}
		return nil
	})
}

func TestAFullDiskIsSaidAndNothingIsLost(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	machine := n.Internet().Router("home", lab.EasyNAT).Host("alice")
	state := filepath.Join(machine.Dir(), "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", state, "tmpfs", 0, "size=128k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(state, syscall.MNT_DETACH) })
	alice := m.Node(machine)
	before := alice.Status().Self.Key
	filler := filepath.Join(state, "filler")
	if err := os.WriteFile(filler, make([]byte, 128<<10), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	refusedWith(t, machine, alice.Args("up", m.Coord.Invite, "--auth-key=file:"+m.Coord.Key()), "no space left")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	alice.Up(m.Coord.Key())
	if now := alice.Status().Self.Key; now != before {
		t.Error("the key changed")
	}
}

func TestWithoutTUNItSaysSo(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	machine := n.Internet().Router("home", lab.EasyNAT).Host("alice")
	alice := m.NodeWith(machine, "unshare", "--mount", "sh", "-c", `mount -t tmpfs none /dev/net && exec "$@"`, "sh")
	refusedWith(t, machine, alice.Args("up", m.Coord.Invite, "--auth-key=file:"+m.Coord.Key()), "/dev/net/tun")
	if s := alice.Status(); s.State == ipc.StateRunning || len(s.Problems) == 0 {
		t.Errorf("status %s, problems %+v", s.State, s.Problems)
	}
}
