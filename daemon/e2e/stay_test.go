package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// patient is for a state that must come, on however busy a machine. How soon it comes is logged; peerpath holds the bounds, in
// virtual time.
const patient = time.Minute

// TestADirectPairStaysDirect: one TCP connection lives through all of it, and each time the pair is direct again.
func TestADirectPairStaysDirect(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	logind, address := fakeLogind(t)
	alice := m.Behind(lab.EasyNAT, "alice")
	home, office := n.Internet().Router("home", lab.EasyNAT), n.Internet().Router("office", lab.EasyNAT)
	bob := m.NodeWith(home.Host("bob"), "env", "DBUS_SYSTEM_BUS_ADDRESS="+address)
	alice.Up(m.Coord.Key())
	bob.Up(m.Coord.Key())
	alice.WaitPing(bob, patient)
	alice.WaitPath(bob, ipc.PathDirect, patient)
	flow := startFlow(t, alice, bob)

	for _, upheaval := range []struct {
		name   string
		happen func()
	}{
		{"both routers forget their connections", func() {
			alice.Home.FlushConntrack()
			home.FlushConntrack()
		}},
		{"the router comes back with another address", func() { home.Machine.Readdress() }},
		{"an interface flaps 50 times in 10 s", func() { bob.Flap(50, 100*time.Millisecond) }},
		{"from one network to another, with 3 s between", func() {
			bob.Unplug()
			<-time.After(3 * time.Second)
			bob.MoveTo(office.Segment)
		}},
		{"a sleep", func() {
			bob.Daemon.Pause()
			<-time.After(2 * time.Second)
			office.FlushConntrack()
			bob.Daemon.Resume()
			if err := logind.Emit("/org/freedesktop/login1", "org.freedesktop.login1.Manager.PrepareForSleep", false); err != nil {
				t.Fatal(err)
			}
			bob.Daemon.WaitOutput("this machine was asleep", patient)
		}},
		{"a path that dies without a word, for 3 s", func() {
			block := n.BlockUDP(alice, bob)
			dead := time.Now()
			alice.WaitPath(bob, ipc.PathRelay, patient)
			alice.WaitPing(bob, patient)
			t.Logf("  through the relay %v after the path's death", time.Since(dead).Round(time.Millisecond))
			<-time.After(3 * time.Second)
			block.Heal()
		}},
	} {
		upheaval.happen()
		back := time.Now()
		lab.Eventually(t, patient, func() error { return alice.PingQuick(bob.Inner()) })
		carries := time.Since(back)
		for _, pair := range [][2]*mesh.Node{{alice, bob}, {bob, alice}} {
			lab.Eventually(t, patient, func() error {
				p, err := pair[0].Peer(pair[1])
				if err == nil && (p.Path.Kind != ipc.PathDirect || p.Path.Since.After(back) && p.Path.Latency == 0) {
					err = errorf("%s: the path is %s", upheaval.name, p.Path.Kind)
				}
				return err
			})
		}
		direct := time.Since(back)
		lab.Eventually(t, patient, func() error { return flow.goesOn(back) })
		t.Logf("%s: packets again after %v, directly after %v, the connection goes on after %v", upheaval.name,
			carries.Round(time.Millisecond), direct.Round(time.Millisecond), time.Since(back).Round(time.Millisecond))
	}
}

// flow is a TCP connection on which a number goes forth and back all the time.
type flow struct {
	answered atomic.Int64 // when the last that came back was sent, in ns since 1970
	failed   atomic.Pointer[error]
}

func startFlow(t *testing.T, from, to *mesh.Node) *flow {
	t.Helper()
	l, err := to.Listen("tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(c, c)
		_ = c.Close()
	}()
	c, err := from.Dial("tcp", net.JoinHostPort(to.Inner().String(), "7"))
	if err != nil {
		t.Fatal(err)
	}
	f, done := &flow{}, make(chan struct{})
	t.Cleanup(func() {
		_ = c.Close()
		<-done
	})
	go func() {
		defer close(done)
		for b := make([]byte, 1000); ; <-time.After(20 * time.Millisecond) {
			sent := time.Now().UnixNano()
			binary.BigEndian.PutUint64(b, uint64(sent))
			_, err := c.Write(b)
			if err == nil {
				_, err = io.ReadFull(c, b)
			}
			if err != nil {
				f.failed.Store(&err)
				return
			}
			f.answered.Store(sent)
		}
	}()
	return f
}

// goesOn reports whether something that was sent after a time has come back.
func (f *flow) goesOn(after time.Time) error {
	if err := f.failed.Load(); err != nil {
		return fmt.Errorf("the connection has ended: %w", *err)
	}
	if f.answered.Load() < after.UnixNano() {
		return errors.New("nothing comes back on the connection")
	}
	return nil
}

// fakeLogind is a program with logind's name on a bus of its own.
func fakeLogind(t *testing.T) (conn *dbus.Conn, address string) {
	t.Helper()
	dir := t.TempDir()
	address = "unix:path=" + filepath.Join(dir, "bus")
	config := `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>` + address + `</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy></busconfig>`
	file := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	startBus(t, file)
	lab.Eventually(t, patient, func() (err error) {
		conn, err = dbus.Connect(address)
		return err
	})
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.RequestName("org.freedesktop.login1", 0); err != nil {
		t.Fatal(err)
	}
	return conn, address
}

func startBus(t *testing.T, config string) {
	t.Helper()
	cmd := exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--nopidfile")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}
