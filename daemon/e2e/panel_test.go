package e2e

import (
	"fmt"
	"image/color"
	"os"
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

// onDark are those of a panel on a dark desktop, where they are brighter.
var onDark = map[color.NRGBA]color.NRGBA{
	badgeConnected: {0x2f, 0x9a, 0x6e, 0xff}, badgeDisconnected: {0x7d, 0x86, 0x8e, 0xff}, badgeAttention: {0xd4, 0x69, 0x1a, 0xff},
}

// The tray in a real panel, on a light desktop and a dark one, with the mouse and keys alone: the icon follows the daemon, its menu
// disconnects, and each page of the window is drawn. The pictures are the test's artifacts (go test -artifacts, make screens).
func TestTheTrayInARealPanel(t *testing.T) {
	m, alice, bob := annaAndBob(t)
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
		t.Run(name, func(t *testing.T) {
			s := newScreen(t, dark, "Exec="+program+" --socket "+alice.Socket())
			if !dark { // once is enough: what it looks like in the dark, the pages that follow show
				comes(s, m.Behind(lab.EasyNAT, "carol"), program, m.Coord.Invite)
			}
			sitsBefore(s, alice, program, append(pages, fmt.Sprintf("machines/%d", alice.Status().Peers[0].ID)), dark)
		})
	}
}

// comes is a person who never saw it, on a desktop without a session bus and at a scale of 150 %: the program says so and opens its
// window, which fits the screen, and where an invite link that was copied and a key lead to the login's page in a browser, and that
// back to the window, connected.
func comes(s *screen, carol *mesh.Node, program, invite string) {
	s.t.Helper()
	opened := filepath.Join(s.home, "opened")
	script := "#!/bin/sh\necho \"$1\" >" + opened + ".part && mv " + opened + ".part " + opened + "\n"
	if err := os.WriteFile(filepath.Join(s.home, "xdg-open"), []byte(script), 0o755); err != nil {
		s.t.Fatal(err)
	}
	environ := []string{"env", "-i", "FYNE_SCALE=1.5"}
	for _, v := range s.environ {
		if path, ok := strings.CutPrefix(v, "PATH="); ok {
			v = "PATH=" + s.home + ":" + path
		}
		if !strings.HasPrefix(v, "DBUS_SESSION_BUS_ADDRESS=") {
			environ = append(environ, v)
		}
	}
	tray := carol.Start(append(environ, program, "--socket", carol.Socket())...)
	w := s.window()
	s.find(w, badgeDisconnected)
	first := s.calm(w, nil)
	s.keep("window-first", first)
	if said := tray.Output(); strings.Count(said, "no session bus") != 1 {
		s.t.Errorf("without a bus it says %q", said)
	}
	if wide, high := first.Rect.Dx(), first.Rect.Dy(); wide > screenWidth || high > screenHeight-panelHeight {
		s.t.Errorf("on a screen of %dx%d, the window has %dx%d", screenWidth, screenHeight, wide, high)
	}
	s.copies(program, invite)
	if _, err := s.run("xdotool", "windowfocus", "--sync", w); err != nil {
		s.t.Fatal(err)
	}
	s.keys("ctrl+v", "Return")
	s.find(w, badgeAttention)
	s.keep("window-waiting", s.calm(w, first))
	browses(s.t, carol, opened, "anna")
	s.find(w, badgeConnected)
	if st := carol.Status(); st.State != ipc.StateRunning {
		s.t.Errorf("the machine is %s", st.State)
	}
	carol.MustWarren("logout") // the pictures of the network that follow are without this machine
	s.find(w, badgeAttention)
	tray.Signal(syscall.SIGTERM)
	if err := tray.Wait(60 * time.Second); err != nil {
		s.t.Errorf("the window ends with %v: %s", err, tray.Output())
	}
}

// sitsBefore is a person before a desktop.
func sitsBefore(s *screen, alice *mesh.Node, program string, pages []string, dark bool) {
	t := s.t
	t.Helper()
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
		if err := tray("--window", page).Wait(60 * time.Second); err != nil {
			t.Error(err)
		}
		picture = s.calm(w, picture)
		s.keep("window-"+strings.ReplaceAll(page, "/", "-"), picture)
		if b := brightness(picture); dark != (b < 0.5) {
			t.Errorf("the page %s has a brightness of %.2f", page, b)
		}
	}

	alice.Daemon.Kill9()
	_ = alice.Daemon.Wait(60 * time.Second)
	s.find("root", badgeAttention)
	s.keep("icon-attention", s.calm("root", nil))
	alice.StartDaemon()
	s.find("root", badgeConnected)
	icon.Signal(syscall.SIGTERM)
	if err := icon.Wait(60 * time.Second); err != nil {
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
