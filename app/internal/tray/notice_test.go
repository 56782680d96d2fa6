package tray

import (
	"testing"

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
	d := runs(t)
	d.click("Disconnect")
	d.sees("Disconnected")
	d.click("Connect")
	d.says("Connected to demo")
}
