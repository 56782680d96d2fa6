package tray

import (
	"bytes"
	"testing"

	"github.com/warren-mesh/warren/app/internal/panel"
)

func TestTheIconFollowsTheDesktopsTheme(t *testing.T) {
	d := newDesk(t)
	d.serve(2)
	d.show()
	d.must(d.panel.SetDark(true))
	d.start()
	d.sees("Connected to demo")
	pixels := func(different []byte) []byte {
		t.Helper()
		s := d.shows(func(s panel.Shown) bool { return len(s.Icon) > 0 && !bytes.Equal(s.Icon, different) })
		return s.Icon
	}
	icon := pixels(nil)
	for dark, n := false, 0; n < 4; dark, n = !dark, n+1 {
		d.must(d.panel.SetDark(dark))
		icon = pixels(icon)
	}
}
