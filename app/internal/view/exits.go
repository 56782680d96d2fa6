package view

import (
	"slices"
	"strconv"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

// maxExits bounds the exit nodes of a menu.
const maxExits = 15

// exits gives the machines that can be used as exit node, those that are there first.
func (d *drawer) exits() []*ipc.Peer {
	var all []*ipc.Peer
	for _, wanted := range []bool{true, false} {
		for i := range d.s.Peers {
			if p := &d.s.Peers[i]; p.ExitOption && here(p) == wanted {
				all = append(all, p)
			}
		}
	}
	return all
}

// exitUsed tells whether a machine is the exit node that people see as chosen.
func (d *drawer) exitUsed(p *ipc.Peer) bool {
	e := d.s.Exit
	return e != nil && (p.Exit || e.Name == "" && slices.Contains(e.Wanted, p.Name))
}

// exitState says which one is used, and whether it works.
func (d *drawer) exitState() string {
	e := d.s.Exit
	switch {
	case e == nil:
		return d.say(textExitNone)
	case e.Name == "" && len(e.Wanted) > 0:
		return d.say(textExitGone, short(e.Wanted[0]))
	case !e.Up && d.s.State == ipc.StateRunning:
		return d.say(textExitDown, short(e.Name))
	}
	return short(e.Name)
}

// exitMenu chooses the way to the internet.
func (d *drawer) exitMenu() Item {
	all := d.exits()
	items := []Item{{
		Key: "exit-none", Label: d.say(textExitOff), Toggle: ToggleRadio, Checked: d.s.Exit == nil, Disabled: d.in.Busy, Do: Intent{Op: OpExit},
	}}
	if len(all) == 0 {
		items = append(items, note("exits-none", d.say(textNoExits)))
	} else {
		items = append(items, Item{Key: "exit-nearest", Label: d.say(textNearest), Disabled: d.in.Busy, Do: Intent{Op: OpNearest}})
	}
	for _, p := range all[:min(len(all), maxExits)] {
		items = append(items, Item{
			Key: "exit-" + strconv.FormatInt(p.ID, 10), Label: d.say(textMachineBare, d.name(p), d.distance(p)), Toggle: ToggleRadio, Checked: d.exitUsed(p),
			Disabled: d.in.Busy, Do: Intent{OpExit, p.Name},
		})
	}
	if more := len(all) - maxExits; more > 0 && d.in.Windows {
		items = append(items, Item{Key: "exits-more", Label: d.say(textMoreInWindow, d.count(more)), Do: Intent{OpOpen, string(PageExits)}})
	}
	items = append(append(items, separator("exit")), d.items(exitPreferences)...)
	items = append(items, d.portal())
	return Item{Key: "exit", Label: d.say(textExitTitle, d.exitState()), Hidden: d.noLogin(), Items: items}
}

// portal lets a person sign in to a network.
func (d *drawer) portal() Item {
	i := Item{
		Key: "portal", Label: d.say(textPortal), Toggle: ToggleCheck, Hidden: d.s.Exit == nil && !d.s.Lockdown && d.s.Portal.IsZero(),
		Disabled: d.in.Busy, Do: Intent{OpPortal, On},
	}
	if !d.s.Portal.IsZero() {
		i.Label, i.Checked, i.Do.Arg = d.say(textPortalUntil, d.s.Portal.Local().Format("15:04")), true, Off
	}
	return i
}

// distance says how far a machine is, so coarsely that a menu is still.
func (d *drawer) distance(p *ipc.Peer) string {
	switch {
	case !here(p):
		return d.say(textOffline)
	case p.Path.Kind == ipc.PathNone:
		return d.say(textIdle)
	case p.Path.Latency > 0:
		return d.say(textNearly, coarse(p.Path.Latency))
	case p.Path.Kind == ipc.PathRelay:
		return d.say(textRelayed, short(p.Path.Relay))
	}
	return d.say(textDirect)
}

// coarse rounds a latency to 1, 2, 5, 10, 20, 50 and so on: what trembles stays what it is.
func coarse(m ipc.Milliseconds) string {
	for at := ipc.Milliseconds(1); at < 10_000; at *= 10 {
		for _, step := range []struct{ is, below ipc.Milliseconds }{{1, 1.5}, {2, 3.5}, {5, 7.5}} {
			if m < step.below*at {
				return strconv.Itoa(int(step.is*at)) + " ms"
			}
		}
	}
	return "10 s"
}

// Exits is the page of the exit nodes.
type Exits struct {
	Title, Explains string
	State           string // which one is used
	Rows            []ExitRow
	None            string // where there is no other machine to choose
	Nearest         Button
	Settings        []Setting
	Portal          Button
}

// ExitRow is a way to the internet.
type ExitRow struct {
	Key     int64 // the machine; 0: none
	Name    string
	How     string
	Far     float32 // its latency's share of the farthest one's; 0: not known, or there is no other to compare with
	Here    bool
	Chosen  bool
	Trouble bool // it is chosen, and does not work
	Do      Intent
}

// allExits makes the page.
func (d *drawer) allExits() Exits {
	x := Exits{
		Title: d.say(textTabExits), Explains: d.say(textExitsExplain), State: d.say(textExitTitle, d.exitState()), None: d.say(textNoExits),
		Settings: d.settings(exitPreferences),
	}
	if d.noLogin() {
		x.None, x.Settings = d.machinesOff(), nil
		return x
	}
	all := d.exits()
	x.Rows = append(x.Rows, ExitRow{Name: d.say(textExitOff), How: d.say(textExitNoneExplains), Here: true, Chosen: d.s.Exit == nil, Do: Intent{Op: OpExit}})
	farthest, known := ipc.Milliseconds(1), 0
	for _, p := range all {
		if p.Path.Latency > 0 && here(p) {
			farthest, known = max(farthest, p.Path.Latency), known+1
		}
	}
	for _, p := range all {
		r := ExitRow{Key: p.ID, Name: d.name(p), How: d.how(p), Here: here(p), Chosen: d.exitUsed(p), Do: Intent{OpExit, p.Name}}
		r.Trouble = r.Chosen && d.s.State == ipc.StateRunning && !d.s.Exit.Up
		if p.Path.Latency > 0 && r.Here && known > 1 { // one alone is neither near nor far
			r.Far = float32(p.Path.Latency / farthest)
		}
		x.Rows = append(x.Rows, r)
	}
	if len(all) > 0 {
		x.None, x.Nearest = "", Button{d.say(textNearest), d.in.Busy, Intent{Op: OpNearest}}
	}
	if p := d.portal(); !p.Hidden {
		x.Portal = Button{p.Label, p.Disabled, p.Do}
	}
	return x
}

// Answer says what came of a ping.
func (l Language) Answer(a Answer) string {
	d := drawer{in: &Input{Language: l}, texts: l.texts()}
	switch {
	case a.Err != nil:
		words, _ := d.refused(a.Err, OpNone)
		return long(words)
	case a.Reply == nil:
		return d.say(textPinging)
	}
	how := d.say(textDirect)
	if a.Reply.Path.Kind == ipc.PathRelay {
		how = d.say(textRelayed, short(a.Reply.Path.Relay))
	}
	return d.say(textAnswered, say.Latency(a.Reply.Latency), how)
}
