package tray

import (
	"testing"
	"time"

	"github.com/warren-mesh/warren/app/internal/autostart"
	"github.com/warren-mesh/warren/app/internal/desktop"
	"github.com/warren-mesh/warren/app/internal/panel"
	"github.com/warren-mesh/warren/app/internal/view"
	"github.com/warren-mesh/warren/ipc"
)

func TestAPersonTurnsAnExitNodeOffThatIsGone(t *testing.T) {
	d := runs(t)
	client := ipc.NewClient(d.socket)
	t.Cleanup(client.Close)
	wanted := []string{"bob"}
	_, err := client.EditPrefs(d.ctx, ipc.PrefsEdit{ExitNodes: &wanted})
	d.must(err)
	d.daemon.Edit(func(s *ipc.Status) {
		s.Problems = []ipc.Problem{{Code: ipc.ProblemExitDown, Text: "bob does not answer", Level: ipc.ProblemUrgent}}
	})
	d.says("The exit node bob is gone")
	d.must(d.panel.Press(d.ctx, "Turn off"))
	for {
		prefs, err := client.Prefs(d.ctx)
		d.must(err)
		if len(prefs.ExitNodes) == 0 {
			return
		}
	}
}

func TestAPersonExtendsALogin(t *testing.T) {
	d := runs(t)
	d.program("xdg-open", "exit 0")
	d.daemon.Edit(func(s *ipc.Status) {
		s.Problems = []ipc.Problem{{Code: ipc.ProblemKeySoon, Text: "soon", Level: ipc.ProblemUrgent}}
	})
	d.says("Extend it now")
	d.must(d.panel.Press(d.ctx, "Extend"))
	d.sees("Waiting for you in the browser…")
	if up := d.daemon.LastUp(); !up.Reauth {
		t.Errorf("%+v", up)
	}
}

func TestWhatAPersonDidNotSeeIsTold(t *testing.T) {
	d := newDesk(t)
	d.serve(ipc.LevelOperate)
	d.show()
	opened := make(chan view.Page, 1)
	d.start(func(c *Config) { c.Window = func(page view.Page) error { opened <- page; return nil } })
	d.click("Disconnect")
	d.sees("Disconnected")
	d.click("Connect")
	d.says("Connected to demo")
	d.must(d.panel.Press(d.ctx, "Open Warren")) // some desktops show what a click on the notice does as a button
	if page := <-opened; page != view.PageHome {
		t.Errorf("%s opened", page)
	}
}

func TestTheDesktopStartsTheTrayIfAPersonWantsSo(t *testing.T) {
	d := newDesk(t)
	d.serve(ipc.LevelOperate)
	d.show()
	entry, err := autostart.New([]string{"HOME=" + d.dir}, desktop.Name, "/usr/bin/warren-tray")
	d.must(err)
	d.start(func(c *Config) { c.Autostart = entry })
	checked := func(want bool) {
		t.Helper()
		d.shows(func(s panel.Shown) bool {
			l, ok := s.Find("Preferences", "Start with the desktop")
			return ok && l.Checked == want && !l.Disabled
		})
	}
	for _, want := range []bool{true, false, true} {
		checked(!want)
		d.click("Preferences", "Start with the desktop")
		checked(want)
		if on, err := entry.On(); err != nil || on != want {
			t.Fatalf("on is %t, %v; want %t", on, err, want)
		}
	}
}

func TestWhoDidNotAskForItSeesNoWindowWithoutAPanel(t *testing.T) {
	for _, background := range []bool{false, true} {
		d := newDesk(t)
		d.serve(ipc.LevelOperate)
		p, err := panel.Start(d.ctx, d.address, false)
		d.must(err)
		d.panel = p
		t.Cleanup(func() { _ = p.Close() })
		opened := make(chan view.Page, 4)
		d.start(func(c *Config) {
			c.LateHost, c.Background = 100*time.Millisecond, background
			c.Window = func(page view.Page) error { opened <- page; return nil }
		})
		d.says("On GNOME, the extension AppIndicator shows it")
		if !background {
			if page := <-opened; page != view.PageHome {
				t.Errorf("%s opened", page)
			}
		}
		// The program is started once more, as the desktop's menu of programs does: it can always be seen.
		other, err := desktop.Connect(d.ctx, d.environ)
		d.must(err)
		for page, want := range map[string]view.Page{"settings": view.PageSettings, "": view.PageHome, "no such": view.PageHome} {
			alone, err := other.Alone(d.ctx, desktop.Name, page, nil)
			d.must(err)
			if got := <-opened; alone || got != want {
				t.Errorf("%q opens %s", page, got)
			}
		}
		d.must(other.Close())
	}
}
