package login

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// ErrNoBrowser says that no browser can be opened here.
var ErrNoBrowser = errors.New("no browser can be opened here")

// passed are the variables that a browser and xdg-open need; the rest stays here: it may hold secrets.
var passed = []string{
	"HOME", "USER", "LOGNAME", "PATH", "SHELL", "TMPDIR", "LANG", "LANGUAGE", "TZ",
	"DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_SESSION_BUS_ADDRESS", "DESKTOP_SESSION", "DESKTOP_STARTUP_ID",
	"XDG_ACTIVATION_TOKEN", "BROWSER", "GNOME_DESKTOP_SESSION_ID", "KDE_FULL_SESSION", "KDE_SESSION_VERSION",
}

// CanOpen tells whether the environment (as os.Environ gives it) is that of a desktop's user: there is a display,
// and the program was not lent to root by sudo or pkexec, under which a browser would run as root.
func CanOpen(environ []string) bool {
	display, lent := false, false
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		switch name {
		case "DISPLAY", "WAYLAND_DISPLAY":
			display = display || value != ""
		case "SUDO_USER", "SUDO_UID", "PKEXEC_UID", "DOAS_USER":
			lent = lent || value != ""
		}
	}
	return display && !lent
}

// Open shows a page of p in the person's browser. The URL was built here and starts with its scheme; that xdg-open
// cannot take it for an option matters, since it knows no "--". What it returns gets how xdg-open ended: one that finds no browser
// fails within seconds; one that has become the browser may outlive this program.
func (l *Listener) Open(environ []string) (ended <-chan error, err error) {
	if !CanOpen(environ) {
		return nil, ErrNoBrowser
	}
	path, err := exec.LookPath("xdg-open")
	if err != nil || !filepath.IsAbs(path) {
		return nil, fmt.Errorf("%w: xdg-open is not installed", ErrNoBrowser)
	}
	page := l.URL()
	if !strings.HasPrefix(page, "https://") && !strings.HasPrefix(page, "http://") {
		return nil, ErrUnsafe
	}
	cmd := exec.Command(path, page)
	cmd.Env = browserEnv(environ)
	// Ctrl-C here must not end the browser.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoBrowser, err)
	}
	// It may be the browser itself and live longer than we do: nobody can wait for this but the kernel. While
	// we live, it leaves no zombie.
	ends := make(chan error, 1)
	go func() { ends <- cmd.Wait() }()
	return ends, nil
}

func browserEnv(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return !slices.Contains(passed, name) && !strings.HasPrefix(name, "XDG_") && !strings.HasPrefix(name, "LC_")
	})
}
