package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/browser"
	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// tray is warren-tray on a machine, with a session bus and a panel.
type tray struct {
	t    *testing.T
	node *mesh.Node
	proc *lab.Proc
	dir  string
	in   *json.Encoder
	out  *bufio.Scanner
}

// newTray builds and starts what a desktop needs. The race detector watches the tray in its own package's tests.
func newTray(t *testing.T, n *mesh.Node) *tray {
	t.Helper()
	d := &tray{t: t, node: n, dir: t.TempDir()}
	build := exec.Command("go", "build", "-o", d.dir+"/",
		"github.com/warren-mesh/warren/app/warren-tray", "github.com/warren-mesh/warren/app/internal/panel/remote")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// The browser of this desktop: it says what it was given.
	script := "#!/bin/sh\necho \"$1\" >\"$HOME/opened.part\" && mv \"$HOME/opened.part\" \"$HOME/opened\"\n"
	if err := os.WriteFile(filepath.Join(d.dir, "xdg-open"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	remote := exec.Command(filepath.Join(d.dir, "remote"))
	in, err := remote.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := remote.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = remote.Wait()
	})
	d.in, d.out = json.NewEncoder(in), bufio.NewScanner(out)
	d.out.Buffer(nil, 1<<20)
	if !d.out.Scan() {
		t.Fatal("there is no panel")
	}
	d.proc = n.Start("env", "-i", "DBUS_SESSION_BUS_ADDRESS="+d.out.Text(), "PATH="+d.dir+":/usr/bin:/bin", "HOME="+d.dir, "DISPLAY=:no-such",
		filepath.Join(d.dir, "warren-tray"), "--socket", n.Socket())
	return d
}

// order tells the panel what to do, and gives what it shows then.
func (d *tray) order(what string, labels ...string) string {
	d.t.Helper()
	if err := d.in.Encode(map[string][]string{what: labels}); err != nil {
		d.t.Fatal(err)
	}
	if !d.out.Scan() || strings.HasPrefix(d.out.Text(), `{"error"`) {
		d.t.Fatalf("%s %q: %s\nthe tray said: %s", what, labels, d.out.Text(), d.proc.Output())
	}
	return d.out.Text()
}

func (d *tray) click(labels ...string) { d.t.Helper(); d.order("click", labels...) }

func (d *tray) sees(labels ...string) { d.t.Helper(); d.order("await", labels...) }

// browses goes through the page that the tray opened, as a person with a browser on the machine.
func (d *tray) browses(user string) {
	d.t.Helper()
	browses(d.t, d.node, filepath.Join(d.dir, "opened"), user)
}

// browses takes a page's address from the file where the desktop's browser left it, and logs in there from the machine.
func browses(t *testing.T, n *mesh.Node, opened, user string) {
	t.Helper()
	page := ""
	lab.Eventually(t, 60*time.Second, func() error {
		text, err := os.ReadFile(opened)
		page = strings.TrimSpace(string(text))
		return err
	})
	if err := os.Remove(opened); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if _, err := browser.New(n.DialContext).Login(ctx, page, user, password); err != nil {
		t.Fatalf("the login's pages: %v", err)
	}
}

func TestAPersonUsesTheTray(t *testing.T) {
	t.Parallel()
	m, alice, bob := annaAndBob(t)
	alice.WaitPing(bob, 10*time.Second)
	alice.MustWarren("logout")
	d := newTray(t, alice)

	d.sees("Not logged in to…")
	d.click("Log in…")
	d.sees("Waiting for you in the browser…")
	d.browses("anna")
	d.sees("Connected to…")
	alice.WaitPing(bob, 10*time.Second)
	d.sees("bob · direct", "Copy "+bob.Inner().String())
	d.click("bob · direct", "Ping")
	d.sees("bob · direct", "Answered in…")

	d.click("Disconnect")
	d.sees("Disconnected")
	if s := alice.Status(); s.State != ipc.StateDown {
		t.Errorf("the machine is %s", s.State)
	}
	d.click("Connect")
	d.sees("Connected to…")
	alice.WaitPing(bob, 10*time.Second)

	// An exit node, on and off.
	bob.MustWarren("set", "--advertise-exit-node")
	approve(m, bob, "--approve-exit-node")
	d.sees("Exit node: none", "Use the nearest (suggested)")
	d.click("Exit node: none", "Use the nearest (suggested)")
	d.sees("Exit node: bob")
	lab.Eventually(t, 10*time.Second, func() error {
		if e := alice.Status().Exit; e == nil || e.Name != "bob" || !e.Up {
			return fmt.Errorf("the exit node in use is %+v", e)
		}
		return nil
	})
	d.click("Exit node: bob", "No exit node")
	d.sees("Exit node: none")
	if e := alice.Status().Exit; e != nil {
		t.Errorf("the exit node is %+v still", e)
	}

	// A second account, and back to the first.
	m.Coord.AddUser("berta", password)
	first := alice.Status().Profile
	alice.Login("berta", password, "login", m.Coord.Invite, "--profile", "second")
	d.sees("Account: second (berta)")
	if s := alice.Status(); s.Profile != "second" {
		t.Fatalf("the account in use is %s", s.Profile)
	}
	d.click("Account: second (berta)", first+" (anna)")
	d.sees("Account: " + first + " (anna)")
	alice.WaitPing(bob, 10*time.Second)

	// The daemon ends, and comes back.
	alice.Daemon.Kill9()
	_ = alice.Daemon.Wait(10 * time.Second)
	d.sees("Warren's service (warrend) is not running")
	alice.StartDaemon()
	d.sees("Connected to…")

	d.click("Quit")
	if err := d.proc.Wait(10 * time.Second); err != nil {
		t.Errorf("the tray ends with %v: %s", err, d.proc.Output())
	}
}
