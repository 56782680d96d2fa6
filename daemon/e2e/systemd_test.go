package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
)

// The daemon tells systemd that it is ready, that it lives, and that it ends (sd_notify(3)); a loop that hangs stops
// telling, so that systemd starts the daemon anew.
func TestTheDaemonSpeaksToSystemd(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	machine := n.Internet().Host("alice")
	path := filepath.Join(machine.Dir(), "notify.sock")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	told := func(want string) {
		t.Helper()
		buf := make([]byte, 4096)
		_ = socket.SetReadDeadline(time.Now().Add(10 * time.Second))
		for {
			size, err := socket.Read(buf)
			if err != nil {
				t.Fatalf("nobody told %s: %v", want, err)
			}
			if strings.Contains(string(buf[:size]), want) {
				return
			}
		}
	}
	cmd := machine.Command(m.Daemon("--state", filepath.Join(machine.Dir(), "state"), "--socket", filepath.Join(machine.Dir(), "warrend.sock"))...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=400000")
	daemon := machine.StartCmd(cmd)
	told("READY=1")
	told("WATCHDOG=1")
	told("WATCHDOG=1")
	if err := daemon.Stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	told("STOPPING=1")
}
