package tray

import (
	"bytes"
	"testing"

	"github.com/warren-mesh/warren/app/internal/icon"
	"github.com/warren-mesh/warren/app/internal/panel"
	"github.com/warren-mesh/warren/app/internal/view"
	"github.com/warren-mesh/warren/ipc"
)

// hasIcon waits until the icon is that of a connected machine on a light desktop, or a dark one.
func (d *desk) hasIcon(dark bool) {
	d.t.Helper()
	pixels := icon.DrawOn(view.IconConnected, 16, dark).Pix // the smallest; on the bus, alpha stands first
	for i := 0; i < len(pixels); i += 4 {
		p := pixels[i : i+4]
		p[0], p[1], p[2], p[3] = p[3], p[0], p[1], p[2]
	}
	d.shows(func(s panel.Shown) bool { return bytes.Equal(s.Icon, pixels) })
}

func TestTheIconFollowsTheDesktopsTheme(t *testing.T) {
	d := newDesk(t)
	d.serve(ipc.LevelOperate)
	d.show()
	d.must(d.panel.SetDark(true))
	d.start()
	for _, dark := range []bool{true, false, true, false} {
		d.must(d.panel.SetDark(dark))
		d.hasIcon(dark)
	}
}

// Where the portal knows nothing of it, Xfce's own settings tell.
func TestTheIconFollowsXfcesTheme(t *testing.T) {
	d := newDesk(t)
	d.serve(ipc.LevelOperate)
	d.show()
	d.must(d.panel.SetTheme("Greybird-dark"))
	d.start()
	d.hasIcon(true)
	for _, theme := range []struct {
		name string
		dark bool
	}{{"Greybird", false}, {"Adwaita-dark", true}, {"Arc-Darker", false}, {"Arc-Dark", true}} {
		d.must(d.panel.SetTheme(theme.name))
		d.hasIcon(theme.dark)
	}
	d.must(d.panel.SetDark(false)) // the portal's word goes before
	d.hasIcon(false)
}

// Other desktops without a portal have GTK's.
func TestTheIconFollowsGTK(t *testing.T) {
	d := newDesk(t)
	d.serve(ipc.LevelOperate)
	d.show()
	d.environ = append(d.environ, "GTK_THEME=Adwaita:dark")
	d.start()
	d.hasIcon(true)
}
