package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
)

// screen is a desktop that a person could sit at: an X server, a window manager, and Xfce's panel with its tray of icons, on
// a session bus of their own.
type screen struct {
	t       *testing.T
	home    string
	environ []string
	dark    bool
}

// panelConfig is a panel along the top with nothing but icons and the time. {0}: whether it is dark.
const panelConfig = `<?xml version="1.0" encoding="UTF-8"?>
<channel name="xfce4-panel" version="1.0">
  <property name="configver" type="int" value="2"/>
  <property name="panels" type="array">
    <value type="int" value="1"/>
    <property name="dark-mode" type="bool" value="{0}"/>
    <property name="panel-1" type="empty">
      <property name="position" type="string" value="p=6;x=0;y=0"/>
      <property name="length" type="uint" value="100"/>
      <property name="position-locked" type="bool" value="true"/>
      <property name="size" type="uint" value="32"/>
      <property name="plugin-ids" type="array">
        <value type="int" value="1"/><value type="int" value="2"/><value type="int" value="3"/>
      </property>
    </property>
  </property>
  <property name="plugins" type="empty">
    <property name="plugin-1" type="string" value="separator">
      <property name="expand" type="bool" value="true"/><property name="style" type="uint" value="0"/>
    </property>
    <property name="plugin-2" type="string" value="systray"><property name="square-icons" type="bool" value="true"/></property>
    <property name="plugin-3" type="string" value="separator"><property name="style" type="uint" value="0"/></property>
  </property>
</channel>
`

// The size of the screen.
const (
	screenWidth  = 1024
	screenHeight = 760
)

// panelHeight is a row of the screen above which is the panel.
const panelHeight = 32

// applicationName is the tray's on the bus.
const applicationName = "io.github.warren_mesh.Warren"

// newScreen is a light or a dark one. exec is the line by which its bus starts the tray, in place of the package's.
func newScreen(t *testing.T, dark bool, exec string) *screen {
	t.Helper()
	home, err := os.MkdirTemp("", "warren-screen-")
	if err != nil {
		t.Fatal(err)
	}
	// A window that ends with its screen may still write to it.
	t.Cleanup(func() { lab.Eventually(t, 10*time.Second, func() error { return os.RemoveAll(home) }) })
	s := &screen{t: t, home: home, dark: dark}
	config := filepath.Join(s.home, ".config/xfce4/xfconf/xfce-perchannel-xml")
	text := strings.ReplaceAll(panelConfig, "{0}", strconv.FormatBool(dark))
	service, err := os.ReadFile("../../packaging/desktop/" + applicationName + ".service")
	if err != nil {
		t.Fatal(err)
	}
	services := filepath.Join(s.home, ".local/share/dbus-1/services")
	service = regexp.MustCompile(`(?m)^Exec=.*$`).ReplaceAllLiteral(service, []byte(exec))
	err = errors.Join(os.MkdirAll(services, 0o755), os.WriteFile(filepath.Join(services, applicationName+".service"), service, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.MkdirAll(config, 0o755), os.WriteFile(filepath.Join(config, "xfce4-panel.xml"), []byte(text), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	theme := "light"
	if dark {
		theme = "dark"
	}
	s.environ = []string{
		"GTK_THEME=Adwaita:" + theme, "HOME=" + s.home, "XDG_RUNTIME_DIR=" + s.home, "XDG_DATA_HOME=" + filepath.Join(s.home, ".local/share"), "PATH=" + os.Getenv("PATH"), "LANG=en_US.UTF-8", "NO_AT_BRIDGE=1", "FYNE_THEME=" + theme,
		"LIBGL_ALWAYS_SOFTWARE=1",
	}
	display := s.starts("Xvfb", "-displayfd", "1", "-screen", "0", fmt.Sprintf("%dx%dx24", screenWidth, screenHeight), "-nolisten", "tcp")
	s.environ = append(s.environ, "DISPLAY=:"+display)
	s.environ = append(s.environ, "DBUS_SESSION_BUS_ADDRESS="+s.starts("dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1"))
	s.starts("xfwm4", "--compositor=off")
	s.starts("xfce4-panel", "--disable-wm-check")
	return s
}

// starts starts a program, for as long as the test lasts, and gives the first line of those that print one.
func (s *screen) starts(name string, args ...string) (line string) {
	s.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Dir = s.environ, s.home
	cmd.WaitDelay = time.Second // what it started may outlive it, and has the same output
	var said bytes.Buffer
	cmd.Stderr = &said
	speaks := name == "Xvfb" || name == "dbus-daemon"
	var out io.ReadCloser
	if speaks {
		var err error
		if out, err = cmd.StdoutPipe(); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if s.t.Failed() {
			s.t.Logf("%s said: %s", name, &said)
		}
	})
	if !speaks {
		return ""
	}
	buf := make([]byte, 512)
	n, err := out.Read(buf)
	if err != nil {
		s.t.Fatalf("%s does not begin: %v", name, err)
	}
	return strings.TrimSpace(string(buf[:n]))
}

// run runs a program on the screen to its end.
func (s *screen) run(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Dir = s.environ, s.home
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", name, err, &said)
	}
	return string(out), err
}

// shot is what is to be seen of a window ("root": all).
func (s *screen) shot(window string) (*image.NRGBA, error) {
	text, err := s.run("import", "-window", window, "-depth", "8", "ppm:-")
	if err != nil {
		return nil, err
	}
	var width, height, most int
	if _, err := fmt.Sscanf(text, "P6\n%d %d\n%d\n", &width, &height, &most); err != nil || most != 255 {
		return nil, fmt.Errorf("%w: that is no picture: %.20q", err, text)
	}
	if len(text) < 3*width*height {
		return nil, errors.New("half a picture")
	}
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	points := text[len(text)-3*width*height:]
	for i := range width * height {
		copy(img.Pix[4*i:], points[3*i:3*i+3])
		img.Pix[4*i+3] = 0xff
	}
	return img, nil
}

// keep puts a picture with the test's output.
func (s *screen) keep(name string, img *image.NRGBA) {
	s.t.Helper()
	var b bytes.Buffer
	err := errors.Join(png.Encode(&b, img), os.WriteFile(filepath.Join(s.t.ArtifactDir(), name+".png"), b.Bytes(), 0o644))
	if err != nil {
		s.t.Error(err)
	}
}

// window waits for the program's window, and gives its number.
func (s *screen) window() string {
	s.t.Helper()
	id := ""
	lab.Eventually(s.t, 60*time.Second, func() error {
		out, err := s.run("xdotool", "search", "--onlyvisible", "--name", "^Warren$")
		id, _, _ = strings.Cut(out, "\n")
		if id == "" {
			return fmt.Errorf("there is no window (%w)", err)
		}
		return nil
	})
	return id
}

// find waits for an icon whose badge has a colour, in the panel or at the head of a window, and gives where it is.
func (s *screen) find(window string, badge color.NRGBA) image.Point {
	s.t.Helper()
	head := 100
	if window == "root" {
		head = panelHeight
		if s.dark {
			badge = onDark[badge]
		}
	}
	var at image.Point
	lab.Eventually(s.t, 60*time.Second, func() error {
		img, err := s.shot(window)
		if err != nil {
			return err
		}
		n, sum := 0, image.Point{}
		for y := range min(head, img.Rect.Dy()) {
			for x := range img.Rect.Dx() {
				if near(img.NRGBAAt(x, y), badge) {
					n, sum = n+1, sum.Add(image.Pt(x, y))
				}
			}
		}
		if n < 60 { // a quarter of the smallest icon
			return fmt.Errorf("there are %d points of the icon", n)
		}
		at = sum.Div(n)
		return nil
	})
	return at
}

func near(c, of color.NRGBA) bool {
	off := func(a, b uint8) int { return max(int(a), int(b)) - min(int(a), int(b)) }
	return off(c.R, of.R)+off(c.G, of.G)+off(c.B, of.B) < 12
}

// click clicks a point of the screen with a button of the mouse.
func (s *screen) click(at image.Point, button string) {
	s.t.Helper()
	if _, err := s.run("xdotool", "mousemove", strconv.Itoa(at.X), strconv.Itoa(at.Y), "click", button); err != nil {
		s.t.Fatal(err)
	}
}

// keys presses keys, one after another.
func (s *screen) keys(names ...string) {
	s.t.Helper()
	for _, name := range names {
		if _, err := s.run("xdotool", "key", name); err != nil {
			s.t.Fatal(err)
		}
	}
}

// copies puts a text into the clipboard, as the tray does where no other program of the desktop can.
func (s *screen) copies(program, text string) {
	s.t.Helper()
	cmd := exec.Command(program, "--keep-clipboard")
	cmd.Env, cmd.Dir, cmd.Stdin = s.environ, s.home, strings.NewReader(text)
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if said, err := bufio.NewReader(out).ReadString('\n'); err != nil || said != "kept\n" {
		s.t.Fatalf("the clipboard is not had: %q, %v", said, err)
	}
}

// calm waits until a picture has changed from what it was, enough to be seen, and changes no more.
func (s *screen) calm(window string, was *image.NRGBA) *image.NRGBA {
	s.t.Helper()
	var last, img *image.NRGBA
	lab.Eventually(s.t, 60*time.Second, func() (err error) {
		last = img
		if img, err = s.shot(window); err != nil {
			return err
		}
		switch {
		case was != nil && differ(was, img) < 0.005:
			return errors.New("nothing has changed")
		case last == nil || differ(last, img) > 0:
			return errors.New("it still changes")
		case shades(img) < 20:
			return errors.New("it is blank")
		}
		return nil
	})
	return img
}

// differ is the share of points in which two pictures are not the same.
func differ(a, b *image.NRGBA) float64 {
	switch {
	case a.Rect != b.Rect:
		return 1
	case bytes.Equal(a.Pix, b.Pix):
		return 0
	}
	n := 0
	for i := 0; i < len(a.Pix); i += 4 {
		if !bytes.Equal(a.Pix[i:i+4], b.Pix[i:i+4]) {
			n++
		}
	}
	return float64(n) / float64(len(a.Pix)/4)
}

// shades counts a picture's colours; what shows nothing has a few.
func shades(img *image.NRGBA) int {
	seen := map[[4]byte]bool{}
	for i := 0; i < len(img.Pix); i += 8 {
		seen[[4]byte(img.Pix[i:])] = true
	}
	return len(seen)
}

// brightness is a picture's, from 0 to 1.
func brightness(img *image.NRGBA) float64 {
	sum := 0
	for i := 0; i < len(img.Pix); i += 16 {
		sum += int(img.Pix[i]) + int(img.Pix[i+1]) + int(img.Pix[i+2])
	}
	return float64(sum) / float64(3*255*(len(img.Pix)/16))
}
