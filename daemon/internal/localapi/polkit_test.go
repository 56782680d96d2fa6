package localapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/ipc"
)

// TestMain is also the program that other users run: it gives an order to the daemon at the socket, and prints how that ended;
// or it is what shows polkit's dialogs in a session.
func TestMain(m *testing.M) {
	order := strings.Split(os.Getenv("WARREN_TEST_ORDER"), " ")
	if len(order) < 2 {
		os.Exit(m.Run())
	}
	if order[1] == "agent" {
		fmt.Println(show(order[0], len(order) > 2))
		os.Exit(0)
	}
	c := ipc.NewClient(order[0])
	if len(order) > 2 {
		c = c.Asking()
	}
	var err error
	switch order[1] {
	case "read":
		_, err = c.Prefs(context.Background())
	case "operate":
		err = c.Down(context.Background())
	case "admin":
		on := true
		_, err = c.EditPrefs(context.Background(), ipc.PrefsEdit{Lockdown: &on})
	}
	var e *ipc.Error
	switch {
	case errors.As(err, &e):
		fmt.Print(e.Code)
	case err != nil:
		fmt.Print(err)
	default:
		fmt.Print("done")
	}
	os.Exit(0)
}

// orders is a Backend that counts what reaches it.
type orders struct {
	Engine

	reached atomic.Int32
}

func (o *orders) Prefs(context.Context) (ipc.Prefs, error) { return ipc.Prefs{}, nil }

func (o *orders) Down(context.Context) error {
	o.reached.Add(1)
	return nil
}

func (o *orders) EditPrefs(context.Context, ipc.PrefsEdit) (ipc.Prefs, error) {
	o.reached.Add(1)
	return ipc.Prefs{}, nil
}

// serve is a daemon whose authority asks the bus.
func serve(t *testing.T, o *orders, address string) (socket string) {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	socket = filepath.Join(dir, "s")
	l, err := ipc.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	p := &Polkit{Dial: func(ctx context.Context) (*dbus.Conn, error) { return dbus.Connect(address, dbus.WithContext(ctx)) }}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- ipc.Serve(ctx, l, Backend{o}, p, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return socket
}

// The users of the test: any that each Debian has.
const (
	seated = 33 // www-data has the session at the seat
	away   = 5  // games has one that is not in front
)

// desk is a system bus with the real polkitd, which takes what logind would have written of two sessions for true, in a
// mount namespace of its own.
type desk struct {
	t       *testing.T
	address string
	cgroup  string // where the cgroups of the sessions are
}

const logind = `
set -e
mount -t tmpfs none /run/systemd
mkdir /run/systemd/sessions /run/systemd/users /run/systemd/seats /run/systemd/machines
session() { # ID UID NAME ACTIVE STATE
	printf 'UID=%s\nUSER=%s\nACTIVE=%s\nSTATE=%s\nREMOTE=0\nTYPE=x11\nCLASS=user\nSEAT=seat0\n' $2 $3 $4 $5 >/run/systemd/sessions/$1
	printf 'NAME=%s\nSTATE=%s\nSESSIONS=%s\nSEATS=seat0\n' $3 $5 $1 >/run/systemd/users/$2
}
session c33 33 www-data 1 active
session c5 5 games 0 online
mount -t tmpfs -o mode=755 none /usr/share/polkit-1/actions
install -m 644 "$POLICY" /usr/share/polkit-1/actions/
mount -t tmpfs -o mode=755 none /usr/share/polkit-1/rules.d
[ ! -d /etc/polkit-1/rules.d ] || mount -t tmpfs -o mode=755 none /etc/polkit-1/rules.d
dbus-daemon --config-file="$BUS" --nofork --nopidfile &
bus=$!
trap 'kill $bus $polkit; wait' EXIT
until [ -S "$SOCKET" ]; do sleep 0.02; done
export DBUS_SYSTEM_BUS_ADDRESS="unix:path=$SOCKET"
/usr/lib/polkit-1/polkitd --no-debug &
polkit=$!
echo begun
read -r _ || :
`

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=%s</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy></busconfig>
`

func newDesk(t *testing.T) *desk {
	t.Helper()
	lab.NeedRoot(t)
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) { // polkitd is no root
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(dir, "bus")
	config := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, socket), 0o644); err != nil {
		t.Fatal(err)
	}
	policy, err := filepath.Abs("../../../packaging/polkit/io.github.warren-mesh.policy")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", logind)
	cmd.Env = append(os.Environ(), "BUS="+config, "SOCKET="+socket, "POLICY="+policy)
	said := &strings.Builder{}
	cmd.Stderr = said
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("polkitd said: %s", said)
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "begun\n" {
		t.Fatalf("polkit does not begin: %q, %v, %s", line, err, said)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	d := &desk{t: t, address: "unix:path=" + socket}
	d.await()
	d.findCgroup()
	return d
}

// bus is a connection of root's.
func (d *desk) bus() *dbus.Conn {
	d.t.Helper()
	conn, err := dbus.Connect(d.address)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// await waits until polkitd has its name.
func (d *desk) await() {
	d.t.Helper()
	conn := d.bus()
	for begin := time.Now(); ; {
		has := false
		err := conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, "org.freedesktop.PolicyKit1").Store(&has)
		if err == nil && has {
			return
		}
		if time.Since(begin) > time.Minute {
			d.t.Fatalf("polkitd does not come: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (d *desk) findCgroup() {
	d.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		d.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			d.cgroup = filepath.Join(f[1], fmt.Sprintf("warren%d.slice", os.Getpid())) // another run's sessions end with it
			return
		}
	}
	d.t.Fatal("no cgroup2 is mounted here: mount -t cgroup2 none /sys/fs/cgroup")
}

// as runs this program's TestMain as a user, in that user's session.
func (d *desk) as(uid uint32, order string) *exec.Cmd {
	d.t.Helper()
	user := filepath.Join(d.cgroup, "user.slice", fmt.Sprintf("user-%d.slice", uid))
	session := filepath.Join(user, fmt.Sprintf("session-c%d.scope", uid))
	if err := os.MkdirAll(session, 0o755); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { // the kernel's files in them go with them
		_ = os.Remove(session)
		_ = os.Remove(user)
		_ = os.Remove(filepath.Dir(user))
		_ = os.Remove(d.cgroup)
	})
	dir, err := os.Open(session)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = dir.Close() })
	self, err := os.Executable()
	if err != nil {
		d.t.Fatal(err)
	}
	cmd := exec.Command(program(d.t, self))
	cmd.Dir = "/"
	cmd.Env = []string{"WARREN_TEST_ORDER=" + order, "GORACE=atexit_sleep_ms=0"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: uid, Gid: uid}, UseCgroupFD: true, CgroupFD: int(dir.Fd()), Pdeathsig: syscall.SIGKILL,
	}
	return cmd
}

// program copies the test where every user may run it.
func program(t *testing.T, self string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "warren-polkit-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := filepath.Join(dir, "program")
	text, err := os.ReadFile(self)
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(file, text, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func (d *desk) order(uid uint32, order string) string {
	d.t.Helper()
	out, err := d.as(uid, order).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestWhoSitsAtTheMachineOperatesAndNobodyElseDoes(t *testing.T) {
	d, o := newDesk(t), &orders{}
	socket := serve(t, o, d.address)
	for _, c := range []struct {
		uid   uint32
		order string
		want  string
	}{
		{seated, "read", "done"},
		{seated, "operate", "done"},
		{seated, "admin", ipc.CodeDenied},
		{away, "read", "done"},
		{away, "operate", ipc.CodeDenied},
		{away, "admin", ipc.CodeDenied},
		{away, "operate ask", ipc.CodeDenied}, // there is nothing that could show a dialog
	} {
		before := o.reached.Load()
		if got := d.order(c.uid, socket+" "+c.order); got != c.want {
			t.Errorf("user %d, %s: %s; want %s", c.uid, c.order, got, c.want)
		}
		if reached := o.reached.Load() > before; reached != (c.want == "done" && c.order != "read") {
			t.Errorf("user %d, %s: reached the engine: %t", c.uid, c.order, reached)
		}
	}
}

// agent shows polkit's dialogs. It has a person who knows the password, or one who does not answer.
type agent struct {
	conn  *dbus.Conn
	knows bool
	over  chan struct{}
}

type identity struct {
	Kind    string
	Details map[string]dbus.Variant
}

const authority = "org.freedesktop.PolicyKit1.Authority"

// ask calls a method of polkit's.
func (a *agent) ask(method string, args ...any) error {
	return a.conn.Object("org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority").Call(authority+"."+method, 0, args...).Err
}

// BeginAuthentication is org.freedesktop.PolicyKit1.AuthenticationAgent's.
func (a *agent) BeginAuthentication(action, _, _ string, _ map[string]string, cookie string, _ []identity) *dbus.Error {
	fmt.Println("shown " + action)
	if !a.knows {
		<-a.over
		return dbus.NewError("org.freedesktop.PolicyKit1.Error.Cancelled", []any{"closed"})
	}
	err := a.ask("AuthenticationAgentResponse2", uint32(0), cookie, identity{"unix-user", map[string]dbus.Variant{"uid": dbus.MakeVariant(uint32(0))}})
	if err != nil {
		return dbus.MakeFailedError(err)
	}
	return nil
}

// CancelAuthentication is org.freedesktop.PolicyKit1.AuthenticationAgent's.
func (a *agent) CancelAuthentication(string) *dbus.Error {
	fmt.Println("closed")
	close(a.over)
	return nil
}

// show is the agent's process, which must be in the session. It ends with its input.
func show(address string, knows bool) error {
	conn, err := dbus.Connect(address)
	if err != nil {
		return err
	}
	defer conn.Close()
	a := &agent{conn, knows, make(chan struct{})}
	if err := conn.Export(a, "/agent", "org.freedesktop.PolicyKit1.AuthenticationAgent"); err != nil {
		return err
	}
	session := subject{"unix-session", map[string]dbus.Variant{"session-id": dbus.MakeVariant(fmt.Sprintf("c%d", seated))}}
	if err := a.ask("RegisterAuthenticationAgent", session, "C", "/agent"); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// sits puts an agent into the session of the seat, and gives what it says.
func (d *desk) sits(order string) <-chan string {
	d.t.Helper()
	cmd := d.as(seated, d.address+" agent"+order)
	cmd.SysProcAttr.Credential = nil // only root may tell polkit that a password was right
	in, err := cmd.StdinPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	said := make(chan string, 16)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			said <- lines.Text()
		}
	}()
	d.t.Cleanup(func() {
		_ = in.Close()
		<-read
		_ = cmd.Wait()
	})
	d.hears(said, "ready")
	return said
}

func (d *desk) hears(said <-chan string, want string) {
	d.t.Helper()
	select {
	case got := <-said:
		if got != want {
			d.t.Fatalf("the agent says %q, not %q", got, want)
		}
	case <-time.After(time.Minute):
		d.t.Fatalf("the agent does not say %q", want)
	}
}

func TestADialogIsShownOnlyToThoseWhoAskForIt(t *testing.T) {
	d, o := newDesk(t), &orders{}
	socket := serve(t, o, d.address)
	said := d.sits(" knows")
	if got := d.order(seated, socket+" admin"); got != ipc.CodeDenied || len(said) > 0 {
		t.Fatalf("%s, and the agent said %d things without being asked for", got, len(said))
	}
	if got := d.order(seated, socket+" admin ask"); got != "done" {
		t.Fatal(got)
	}
	d.hears(said, "shown "+actions[ipc.LevelAdmin])
	if got := d.order(seated, socket+" operate ask"); got != "done" || len(said) > 0 {
		t.Errorf("%s, and the agent said %d things about what is allowed anyhow", got, len(said))
	}
}

func TestADialogClosesWithWhoAskedForIt(t *testing.T) {
	d, o := newDesk(t), &orders{}
	socket := serve(t, o, d.address)
	said := d.sits("")
	cmd := d.as(seated, socket+" admin ask")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.hears(said, "shown "+actions[ipc.LevelAdmin])
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	d.hears(said, "closed")
	if o.reached.Load() > 0 {
		t.Error("it was done")
	}
}

func TestWithoutPolkitNothingIsAllowed(t *testing.T) {
	p := &Polkit{Dial: func(context.Context) (*dbus.Conn, error) { return nil, errors.New("there is no bus") }}
	for range 2 * maxChecks { // none is left behind
		if ok, err := p.Allows(t.Context(), ipc.Caller{PID: 1, UID: 1000, Process: new(ipc.Process)}, ipc.LevelOperate, true); ok || err == nil || errors.Is(err, errTooMany) {
			t.Fatalf("%t, %v", ok, err)
		}
	}
	for _, c := range []struct {
		caller ipc.Caller
		level  ipc.Level
	}{
		{ipc.Caller{PID: 1, UID: 1000}, ipc.LevelOperate},
		{ipc.Caller{UID: 1000, Process: new(ipc.Process)}, ipc.LevelOperate},
		{ipc.Caller{PID: 1, UID: 1000, Process: new(ipc.Process)}, ipc.LevelRead},
		{ipc.Caller{PID: 1, UID: 1000, Process: new(ipc.Process)}, 0},
	} {
		if ok, _ := p.Allows(t.Context(), c.caller, c.level, true); ok {
			t.Errorf("%+v at %s is allowed", c.caller, c.level)
		}
	}
}

func TestOneUserHasOneDialogAndQuestionsAreBounded(t *testing.T) {
	var p Polkit
	ask := true
	first, err := p.enter(1000, &ask)
	if err != nil || !ask {
		t.Fatal(ask, err)
	}
	if _, err := p.enter(1000, &ask); err != nil || ask {
		t.Fatalf("a second dialog: %t, %v", ask, err)
	}
	ask = true
	if _, err := p.enter(1001, &ask); err != nil || !ask {
		t.Fatalf("another user's dialog: %t, %v", ask, err)
	}
	first()
	if _, err := p.enter(1000, &ask); err != nil || !ask {
		t.Fatalf("a dialog after the first: %t, %v", ask, err)
	}
	for range maxChecks - 3 {
		ask = false
		if _, err := p.enter(1002, &ask); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.enter(1002, &ask); !errors.Is(err, errTooMany) {
		t.Errorf("one more: %v", err)
	}
}
