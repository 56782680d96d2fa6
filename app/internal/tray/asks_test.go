package tray

import (
	"bytes"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/app/internal/panel"
	"github.com/warren-mesh/warren/app/internal/view"
	"github.com/warren-mesh/warren/ipc"
)

func TestAPersonUsesAnExitNode(t *testing.T) {
	d := newDesk(t)
	d.daemon.Edit(func(s *ipc.Status) { s.Peers[0].ExitOption, s.Peers[2].ExitOption = true, true }) // bob and dave
	d.serve(ipc.LevelOperate)
	d.show()
	d.start()
	plain := d.shows(func(s panel.Shown) bool {
		_, ok := s.Find("Exit node: none", "No exit node")
		return ok && s.Tooltip == "Warren: Connected to demo" // it is read with the icon
	})
	d.click("Exit node: none", "bob · about 10 ms")
	s := d.shows(func(s panel.Shown) bool {
		l, ok := s.Find("Exit node: bob", "bob · about 10 ms")
		return ok && l.Checked && !bytes.Equal(s.Icon, plain.Icon)
	})
	if l, _ := s.Find("Exit node: bob", "No exit node"); l.Checked {
		t.Error("none is marked as chosen, too")
	}
	d.click("Exit node: bob", "dave · offline")
	d.sees("Exit node: dave (does not answer)")
	d.shows(attention)
	d.click("Exit node: dave (does not answer)", "Use the nearest (suggested)") // only bob answers a ping
	d.sees("Exit node: bob")
	d.click("bob · direct", "Use as exit node") // off: it was on
	d.shows(func(s panel.Shown) bool {
		_, ok := s.Find("Exit node: none")
		return ok && bytes.Equal(s.Icon, plain.Icon)
	})
	d.click("Exit node: none", "Lockdown: nothing goes around the network")
	d.says("Only an administrator may change this")
}

// The window has what it asks for: a check of the network, the access rules about a machine, and what changes by the second.
func TestTheWindowHasWhatItAsksFor(t *testing.T) {
	d := newDesk(t)
	d.serve(ipc.LevelOperate)
	w := d.window(false, view.PageHome)
	w.shows(func(v view.Window) bool { return len(v.Machines.Rows) == 3 })
	w.clicks <- view.Intent{Op: view.OpLook, Arg: view.On}
	w.shows(func(v view.Window) bool { return len(v.Machines.Rows) == 3 }) // anew, from the other watch
	w.clicks <- view.Intent{Op: view.OpNetcheck}
	w.shows(func(v view.Window) bool { return len(v.Network.Tiles) == 7 && !v.Network.Check.Disabled })
	w.clicks <- view.Intent{Op: view.OpWhy, Arg: "3"}
	w.until(func(in *view.Input) bool { return in.Whys[3] != nil && in.Whys[3].In.Allowed })
	w.clicks <- view.Intent{Op: view.OpSet, Arg: "port=many"}
	w.shows(func(v view.Window) bool { return strings.Contains(v.Failed, "many") })
}

func TestAPingIsAnsweredInTheMenu(t *testing.T) {
	d := runs(t)
	d.click("bob · direct", "Ping")
	d.sees("bob · direct", "Answered in 1.2 ms, direct")
	d.says("bob: Answered in 1.2 ms, direct")
	d.click("dave · offline", "Ping")
	d.sees("dave · offline", "no machine of your network is called dave")
}
