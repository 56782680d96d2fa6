package e2e

import (
	"image/color"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/ipc"
)

// The colours of the icons' badges.
var (
	badgeConnected    = color.NRGBA{0x1f, 0x80, 0x5a, 0xff}
	badgeDisconnected = color.NRGBA{0x6b, 0x74, 0x7c, 0xff}
	badgeAttention    = color.NRGBA{0xc2, 0x55, 0x0a, 0xff}
)

// The tray in a real panel, on a light desktop and a dark one, with the mouse and keys alone: the icon follows the daemon, its menu
// disconnects, and each page of the window is drawn. The pictures are the test's artifacts (go test -artifacts, make screens).
func TestTheTrayInARealPanel(t *testing.T) {
	_, alice, bob := annaAndBob(t)
	alice.WaitPing(bob, 10*time.Second)
	program := filepath.Join(t.TempDir(), "warren-tray")
	build := exec.Command("go", "build", "-o", program, "github.com/warren-mesh/warren/app/warren-tray")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	help, err := exec.Command(program, "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, help)
	}
	said := regexp.MustCompile(`instead: ([a-z, ]+)`).FindSubmatch(help)
	if said == nil {
		t.Fatalf("the help names no pages: %s", help)
	}
	pages := strings.Split(strings.ReplaceAll(string(said[1]), " or ", ", "), ", ")
	for name, dark := range map[string]bool{"light": false, "dark": true} {
		t.Run(name, func(t *testing.T) { sitsBefore(t, alice, program, pages, dark) })
	}
}

// sitsBefore is a person before a desktop.
func sitsBefore(t *testing.T, alice *mesh.Node, program string, pages []string, dark bool) {
	s := newScreen(t, dark, "Exec="+program+" --socket "+alice.Socket())
	tray := func(args ...string) *lab.Proc {
		return alice.Start(append(append(append([]string{"env", "-i"}, s.environ...), program, "--socket", alice.Socket()), args...)...)
	}
	icon := tray()
	at := s.find("root", badgeConnected)
	bare, err := s.shot("root")
	if err != nil {
		t.Fatal(err)
	}
	s.keep("icon-connected", bare)

	// The menu: its first line that does something is Disconnect.
	s.click(at, "3")
	s.keep("menu", s.calm("root", bare))
	s.keys("Down", "Return")
	s.find("root", badgeDisconnected)
	if st := alice.Status(); st.State != ipc.StateDown {
		t.Errorf("the machine is %s", st.State)
	}
	off := s.calm("root", nil)
	s.keep("icon-disconnected", off)
	s.click(at, "3")
	s.calm("root", off)
	s.keys("Down", "Return")
	s.find("root", badgeConnected)

	// A click on the icon opens the window. Its first page is also the next one's, so the others come from behind: each is
	// another picture.
	s.click(at, "1")
	w := s.window()
	s.find(w, badgeConnected)
	picture := s.calm(w, nil)
	s.keep("window-"+pages[0], picture)
	for _, page := range slices.Backward(pages[1:]) {
		if err := tray("--window", page).Wait(20 * time.Second); err != nil {
			t.Error(err)
		}
		picture = s.calm(w, picture)
		s.keep("window-"+page, picture)
		if b := brightness(picture); dark != (b < 0.5) {
			t.Errorf("the page %s has a brightness of %.2f", page, b)
		}
	}

	alice.Daemon.Kill9()
	_ = alice.Daemon.Wait(10 * time.Second)
	s.find("root", badgeAttention)
	s.keep("icon-attention", s.calm("root", nil))
	alice.StartDaemon()
	s.find("root", badgeConnected)
	icon.Signal(syscall.SIGTERM)
	if err := icon.Wait(10 * time.Second); err != nil {
		t.Errorf("the tray ends with %v: %s", err, icon.Output())
	}

	// The desktop's menu of programs starts it through the bus, with a window.
	if _, err := s.run("gdbus", "call", "--session", "--dest", applicationName, "--object-path", "/"+strings.ReplaceAll(applicationName, ".", "/"),
		"--method", "org.freedesktop.Application.Activate", "@a{sv} {}"); err != nil {
		t.Fatal(err)
	}
	s.find("root", badgeConnected)
	s.find(s.window(), badgeConnected)
}
