package sleep

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const config = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=%s</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy></busconfig>
`

// bus starts a bus at the socket, and gives what ends it.
func bus(t *testing.T, socket string) (end func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bus.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, config, socket), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("dbus-daemon", "--config-file="+file, "--nofork", "--nopidfile", "--print-address=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.HasPrefix(line, "unix:") {
		t.Fatalf("the bus says %q, %v", line, err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(end)
	return end
}

// speaker is a program on the bus, as logind is where it has its name.
func speaker(t *testing.T, socket, name string) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect("unix:path=" + socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if name != "" {
		if reply, err := conn.RequestName(name, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
			t.Fatalf("the name %s: %v, %v", name, reply, err)
		}
	}
	return conn
}

func says(t *testing.T, c *dbus.Conn, before bool) {
	t.Helper()
	if err := c.Emit(object, manager+"."+signal, before); err != nil {
		t.Fatal(err)
	}
}

// watched is a Watch and what it has logged.
type watched struct {
	t    *testing.T
	woke chan struct{}
	log  chan string
}

// Handle implements slog.Handler.
func (w *watched) Handle(_ context.Context, r slog.Record) error {
	w.log <- r.Message
	return nil
}

func (w *watched) Enabled(context.Context, slog.Level) bool { return true }
func (w *watched) WithAttrs([]slog.Attr) slog.Handler       { return w }
func (w *watched) WithGroup(string) slog.Handler            { return w }

func watch(t *testing.T, socket string) *watched {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w, done := &watched{t, make(chan struct{}, 100), make(chan string, 100)}, make(chan struct{})
	dial := func(ctx context.Context) (*dbus.Conn, error) {
		return dbus.Connect("unix:path="+socket, dbus.WithContext(ctx))
	}
	go func() { defer close(done); Watch(ctx, dial, slog.New(w), w.woke) }()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

func (w *watched) logs(message string) {
	w.t.Helper()
	for limit := time.After(time.Minute); ; {
		select {
		case is := <-w.log:
			if is == message {
				return
			}
		case <-limit:
			w.t.Fatalf("waited in vain for: %s", message)
		}
	}
}

func (w *watched) hears() {
	w.t.Helper()
	select {
	case <-w.woke:
	case <-time.After(time.Minute):
		w.t.Fatal("it woke, and nobody was told")
	}
}

// The watch begins before there is a bus, and outlives one.
func TestWakingIsToldAcrossRestartsOfTheBus(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "bus")
	w := watch(t, socket)
	w.logs(silent)
	for range 2 {
		end := bus(t, socket)
		w.logs(telling)
		says(t, speaker(t, socket, service), false)
		w.hears()
		end()
		w.logs(silent)
	}
}

func TestOnlyLogindTellsAndOnlyOfTheEnd(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "bus")
	end := bus(t, socket)
	logind, other := speaker(t, socket, service), speaker(t, socket, "")
	w := watch(t, socket)
	w.logs(telling)
	for range 3 {
		says(t, other, false)
		says(t, logind, true)
	}
	if err := other.BusObject().Call("org.freedesktop.DBus.Peer.Ping", 0).Err; err != nil {
		t.Fatal(err) // and so the bus has passed on what it is going to
	}
	for range 2 {
		says(t, logind, false)
	}
	for range 2 {
		w.hears()
	}
	end()
	w.logs(silent)
	if n := len(w.woke); n > 0 {
		t.Errorf("of two sleeps %d were told", 2+n)
	}
}

func TestSignalsThatSaySomethingElseAreNone(t *testing.T) {
	for _, c := range []struct {
		signal dbus.Signal
		want   bool
	}{
		{dbus.Signal{Path: object, Name: manager + "." + signal, Body: []any{false}}, true},
		{dbus.Signal{Path: object, Name: manager + "." + signal, Body: []any{true}}, false},
		{dbus.Signal{Path: object, Name: manager + "." + signal, Body: []any{"false"}}, false},
		{dbus.Signal{Path: object, Name: manager + "." + signal}, false},
		{dbus.Signal{Path: object, Name: manager + ".PrepareForShutdown", Body: []any{false}}, false},
		{dbus.Signal{Path: "/", Name: manager + "." + signal, Body: []any{false}}, false},
		{dbus.Signal{Path: "/org/freedesktop/DBus", Name: "org.freedesktop.DBus.NameAcquired", Body: []any{":1.2"}}, false},
	} {
		if got := awake(&c.signal); got != c.want {
			t.Errorf("%+v: %v", c.signal, got)
		}
	}
}
