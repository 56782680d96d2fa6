package view

import (
	"slices"
	"strings"

	"github.com/warren-mesh/warren/app/internal/say"
	"github.com/warren-mesh/warren/ipc"
)

// Window is what the window shows, all its pages at once.
type Window struct {
	Title  string
	Icon   Icon
	Server string // whose network it is
	State  string // how this machine stands
	Below  string // what to know about it: its name and address, or what to do
	Failed string // how the last order ended, if not well
	Copy   Button // this machine's address
	Power  Button // connects, disconnects, logs in

	First   *First   // instead of all pages, before there is a network
	Join    *First   // the same for another account, where a person asks for it
	Back    string   // what leads back from there
	Waiting *Waiting // instead of all pages, while a person is at the browser

	Tabs          []Tab
	Machines      Machines
	Exits         Exits
	Network       Network
	Settings      []Setting
	Fields        []Field
	Save          string // what a field's button says
	AccountsTitle string
	Accounts      []Item // logins, and what can be done with them
	Problems      []Trouble
	AllWell       string // where there are no problems
	About         []Fact
}

// Button does something. One without a label is not there.
type Button struct {
	Label    string
	Disabled bool
	Do       Intent
}

// Tab leads to a page.
type Tab struct {
	Page  Page
	Label string
}

// First is the page of somebody who never saw it, or who adds another account.
type First struct {
	Title, Text, Hint, Button string
	Steps                     []string // what happens, one after another
	Busy                      bool
	Do                        Op // with what a person gives
}

// Waiting is the page of somebody who is at the browser, or waits for the server's answer before.
type Waiting struct {
	Asks            bool   // the server is asked: nothing can be opened yet
	Title, Text     string //
	Address         string // of the page, where a person has to open it
	Elsewhere, Code string // on another device
	Copy, Cancel    Button
}

// Machines is the page of the other machines.
type Machines struct {
	Search string // in the empty field
	Nobody string // where the search finds none
	None   string // where there is none
	Pick   string // where none is chosen
	Rows   []Row
}

// Row is one of them.
type Row struct {
	ID    int64
	Name  string
	Addr  string
	How   string
	Here  bool
	Kind  ipc.PathKind
	words string // to search in
}

// Setting is a switch, with a line of what it does.
type Setting struct {
	Label, Explains string
	On, Disabled    bool
	Do              Intent
}

// Fact is a line of a page.
type Fact struct {
	Label, Value string
	Copy         bool // worth copying
}

// DrawWindow makes the window.
func DrawWindow(in *Input) Window {
	d := drawer{in, in.Language.texts(), in.Status}
	w := Window{Title: "Warren", AllWell: d.say(textAllWell)}
	w.Tabs = []Tab{
		{PageMachines, d.say(textTabMachines)},
		{PageExits, d.say(textTabExits)},
		{PageNetwork, d.say(textTabNetwork)},
		{PageSettings, d.say(textPreferences)},
		{PageProblems, d.say(textTabProblems)},
		{PageAbout, d.say(textTabAbout)},
	}
	w.About = []Fact{{d.say(textVersionHere), bare(in.Version, maxShort), false}}
	if e := in.Failed; e != nil {
		w.Failed = in.Language.Failure(e, in.Tried)
	}
	if d.s == nil {
		d.absent(&w)
		return w
	}
	w.Icon, w.State, w.Server = d.icon(), d.stateLine(), d.s.Server
	w.Power = d.powerButton()
	if len(d.s.Self.Addrs) > 0 {
		addr := d.s.Self.Addrs[0].String()
		w.Below = bare(d.s.Self.Name, maxShort) + "  ·  " + addr
		w.Copy = Button{Label: d.say(textCopyAddress), Do: Intent{OpCopy, addr}}
	}
	w.First, w.Join, w.Waiting = d.first(), d.join(), d.waiting()
	w.Machines, w.Exits, w.Network = d.allMachines(), d.allExits(), d.network()
	w.Settings = d.settings(preferences)
	if in.Autostart != "" {
		on := in.Autostart == On
		w.Settings = append(w.Settings, Setting{Label: d.say(textAutostart), Explains: d.say(textAutostartExplains), On: on, Do: Intent{OpAutostart, other(on)}})
	}
	w.Fields, w.Save, w.Back = d.fields(), d.say(textSave), d.say(textBack)
	w.Accounts = slices.DeleteFunc(d.account().Items, func(i Item) bool { return i.Hidden || i.Separator })
	w.AccountsTitle = d.say(textAccountsTitle)
	w.Problems = d.troubles()
	w.About = append(w.About, d.about()...)
	return w
}

// other is the position that a switch goes to.
func other(on bool) string {
	if on {
		return Off
	}
	return On
}

// absent is the window without a daemon.
func (d *drawer) absent(w *Window) {
	w.Icon, w.State = IconDisconnected, d.say(textAsking)
	if e := d.in.Missing; e != nil {
		w.Icon = IconAttention
		w.State, w.Below = d.refused(e, OpNone)
		t := Trouble{Text: w.State, Fix: w.Below, Level: ipc.ProblemUrgent}
		if c := command(w.Below); c != "" {
			t.Button = Button{d.say(textCopyCommand), false, Intent{OpCopy, c}}
		}
		w.Problems = []Trouble{t}
	}
	w.Machines = Machines{Search: d.say(textSearch), None: w.State}
	w.Exits.None, w.Network.None = w.State, w.State
}

func (d *drawer) powerButton() Button {
	busy := d.in.Busy || d.in.Login != nil
	switch d.s.State {
	case ipc.StateDown:
		return Button{d.say(textConnect), busy, Intent{Op: OpConnect}}
	case ipc.StateRunning, ipc.StateStarting, ipc.StatePending:
		return Button{d.say(textDisconnect), busy, Intent{Op: OpDisconnect}}
	case ipc.StateNeedsLogin:
		return Button{d.say(textLogin), busy, Intent{Op: OpLogin}}
	}
	return Button{}
}

func (d *drawer) first() *First {
	if d.s.State != ipc.StateNoServer {
		return nil
	}
	return &First{d.say(textFirstTitle), d.say(textFirstText), d.say(textFirstHint), d.say(textFirstButton), d.steps(), d.in.Busy, OpJoin}
}

func (d *drawer) steps() []string {
	return []string{d.say(textStepPaste), d.say(textStepLogin), d.say(textStepDone)}
}

// join is first for another account.
func (d *drawer) join() *First {
	return &First{d.say(textJoinTitle), d.say(textJoinText), d.say(textFirstHint), d.say(textFirstButton), d.steps(), d.in.Busy, OpAdd}
}

func (d *drawer) waiting() *Waiting {
	if d.in.Asking != "" {
		return &Waiting{
			Asks: true, Title: d.say(textAskingServer, host(d.in.Asking)), Text: d.say(textAskingExplains),
			Cancel: Button{d.say(textAskingCancel), false, Intent{Op: OpCancelLogin}},
		}
	}
	l := d.in.Login
	if l == nil {
		return nil
	}
	w := &Waiting{
		Title: d.say(textLoginWaits), Text: d.say(textWaitingText), Elsewhere: d.say(textWaitingElsewhere), Code: bare(l.Code, maxShort),
		Copy: Button{d.say(textCopyPage), false, Intent{OpCopy, l.Page}}, Cancel: Button{d.say(textLoginCancel), false, Intent{Op: OpCancelLogin}},
	}
	if l.Unopened {
		w.Text, w.Address = d.say(textWaitingUnopened), bare(l.Page, maxText)
	}
	return w
}

// allMachines lists the others, those that are there first.
func (d *drawer) allMachines() Machines {
	m := Machines{Search: d.say(textSearch), None: d.say(textNoMachines), Nobody: d.say(textNobodyFound), Pick: d.say(textPick)}
	if d.s.State != ipc.StateRunning {
		m.None = d.machinesOff()
		return m
	}
	m.Rows = make([]Row, 0, len(d.s.Peers))
	for _, wanted := range []bool{true, false} {
		for i := range d.s.Peers {
			if p := &d.s.Peers[i]; here(p) == wanted {
				m.Rows = append(m.Rows, d.row(p))
			}
		}
	}
	return m
}

// machinesOff says what a person has to do to see the others.
func (d *drawer) machinesOff() string {
	switch d.s.State {
	case ipc.StateNoServer, ipc.StateNeedsLogin:
		return d.say(textMachinesLogin)
	case ipc.StatePending:
		return d.say(textMachinesPending)
	case ipc.StateStarting:
		return d.stateLine()
	}
	return d.say(textMachinesOff)
}

func (d *drawer) row(p *ipc.Peer) Row {
	r := Row{ID: p.ID, Name: d.rowName(p), Here: here(p), Kind: p.Path.Kind, How: d.how(p)}
	if len(p.Addrs) > 0 {
		r.Addr = p.Addrs[0].String()
	}
	r.words = strings.ToLower(r.Name + " " + r.Addr + " " + bare(p.User, maxShort) + " " + bare(p.OS, maxShort))
	return r
}

func (d *drawer) rowName(p *ipc.Peer) string {
	if name := bare(p.Name, maxShort); name != "" {
		return name
	}
	return d.say(textNoName)
}

// how says how packets reach a machine now, in full.
func (d *drawer) how(p *ipc.Peer) string {
	text := ""
	switch {
	case p.Path.Kind == ipc.PathDirect:
		text = d.say(textDirect)
	case p.Path.Kind == ipc.PathRelay:
		text = d.say(textRelayed, bare(p.Path.Relay, maxShort))
	case p.Online:
		return d.say(textIdle)
	case p.LastSeen.IsZero():
		return d.say(textOffline)
	default:
		return d.say(textOfflineSince, say.Span(d.s.Time.Sub(p.LastSeen)))
	}
	if p.Path.Latency > 0 {
		text += ", " + say.Latency(p.Path.Latency)
	}
	return text
}

// Find gives the rows in which all words of a search are.
func (m *Machines) Find(search string) []Row {
	words := strings.Fields(strings.ToLower(search))
	if len(words) == 0 {
		return m.Rows
	}
	var found []Row
	for _, r := range m.Rows {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(r.words, w) }) {
			found = append(found, r)
		}
	}
	return found
}

// about is what to know of this machine.
func (d *drawer) about() []Fact {
	facts := []Fact{{d.say(textVersionDaemon), bare(d.s.Version, maxShort), false}}
	add := func(t text, value string, copies bool) {
		if value != "" {
			facts = append(facts, Fact{d.say(t), value, copies})
		}
	}
	add(textFactServer, bare(d.s.Server, maxLong), true)
	add(textFactNetwork, bare(d.s.Network.Name, maxShort), false)
	add(textFactUser, bare(d.s.Self.User, maxShort), false)
	add(textFactName, bare(d.s.Self.DNSName, maxLong), true)
	for _, a := range d.s.Self.Addrs {
		add(textFactAddress, a.String(), true)
	}
	if !d.s.Self.Expires.IsZero() {
		add(textFactExpires, d.day(d.s.Self.Expires), false)
	}
	for _, r := range d.s.Relays {
		if r.Home {
			add(textFactRelay, bare(r.Name, maxShort), false)
		}
	}
	return facts
}
