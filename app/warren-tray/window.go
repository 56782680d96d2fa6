package main

import (
	"context"
	"errors"
	"os"
	"os/exec"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/app"
	"github.com/go-gl/glfw/v3.3/glfw"

	"github.com/warren-mesh/warren/app/internal/desktop"
	"github.com/warren-mesh/warren/app/internal/icon"
	"github.com/warren-mesh/warren/app/internal/tray"
	"github.com/warren-mesh/warren/app/internal/ui"
	"github.com/warren-mesh/warren/app/internal/view"
)

// maxClicks bounds the clicks that wait.
const maxClicks = 16

// errNoDisplay says that there is nothing to show a window on.
var errNoDisplay = errors.New("there is no display to show a window on (DISPLAY).\n" +
	"  Start it in a desktop's session; Wayland's desktops have one too (XWayland)")

// newApp makes Fyne's application. It gets its name only afterwards: one that has a name at once keeps preferences in a file, of
// which there are none, and finds that file empty while another window is open, or where one was killed.
func newApp() fyne.App {
	a := app.NewWithID("")
	app.SetMetadata(fyne.AppMetadata{ID: desktop.Name, Name: "Warren", Version: version})
	return a
}

// hasDisplay tells whether a window can be shown. Fyne's driver ends the program if it cannot.
func hasDisplay() bool { return os.Getenv("DISPLAY") != "" }

// runWindow shows the window until a person closes it. It is a process of its own: the icon, which stays for weeks,
// needs neither the memory nor the libraries of a window, and outlives the display's.
func runWindow(ctx context.Context, c tray.Config, page view.Page) error {
	if !hasDisplay() {
		return errNoDisplay
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d, err := desktop.Connect(ctx, c.Environ)
	if err == nil {
		defer func() { _ = d.Close() }()
		d.Keep = keepInClipboard
	}
	a := newApp()
	a.SetIcon(fyne.NewStaticResource("warren.png", icon.PNG(view.IconConnected, 256)))
	wished := os.Getenv("FYNE_THEME") // Fyne's own variable: light or dark, whatever the desktop is
	a.Settings().SetTheme(ui.NewTheme(wished == "dark"))
	clicks := make(chan view.Intent, maxClicks)
	w := ui.New(a, func(i view.Intent) {
		select {
		case clicks <- i:
		default:
		}
	})
	w.SetMaster()
	var rest rest
	w.SetOnClosed(rest.end)
	if d != nil && wished == "" {
		go d.FollowTheme(ctx, func(dark bool) { rest.do(func() { a.Settings().SetTheme(ui.NewTheme(dark)) }) })
	}
	drawn, shown := false, false
	ended := make(chan error, 1)
	go func() {
		ended <- tray.RunWindow(ctx, d, c, page, tray.Face{
			Draw: func(in view.Input) {
				now := view.DrawWindow(&in)
				rest.do(func() {
					w.Draw(&in, now)
					drawn = true
					rest.move(now.Waiting != nil && now.Waiting.Asks)
				})
			},
			Open: func(p view.Page) {
				rest.do(func() {
					if drawn {
						w.Open(p)
					}
					w.Show()
					w.RequestFocus()
					if !shown {
						shown = true
						w.Fit(room(w))
						go rest.run(ctx)
					}
				})
			},
			Clicks: clicks,
		})
		rest.do(func() {
			rest.end()
			a.Quit()
		})
	}()
	a.Run()
	cancel()
	return <-ended
}

// frameHeight is what a desktop's frame takes of a screen's height, in pixels, at the most.
const frameHeight = 40

// room is how large a window can be that is seen whole, in Fyne's units.
func room(w fyne.Window) fyne.Size {
	screen := glfw.GetPrimaryMonitor()
	if screen == nil {
		return w.Canvas().Size()
	}
	_, _, wide, high := screen.GetWorkarea()
	scale := w.Canvas().Scale()
	return fyne.NewSize(float32(wide)/scale, float32(high-frameHeight)/scale)
}

// openWindow starts the window's process. One that is open already comes to the front instead.
func openWindow(socket string) func(view.Page) error {
	return func(page view.Page) error {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		cmd := exec.Command(self, "--socket", socket, "--window", string(page))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			return err
		}
		go func() { _ = cmd.Wait() }() // no zombie stays
		return nil
	}
}
