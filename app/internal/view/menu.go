package view

import (
	"slices"
	"strconv"
	"time"

	"github.com/warren-mesh/warren/ipc"
)

// Bounds of a menu: what fits on a small screen.
const (
	maxMachines = 30
	maxProfiles = 15
	maxProblems = 3
)

// Icon is what the panel shows.
type Icon string

// The icons.
const (
	IconDisconnected Icon = "disconnected"
	IconConnecting   Icon = "connecting"
	IconConnected    Icon = "connected"
	IconExit         Icon = "exit"      // connected, and the internet is reached through an exit node
	IconAttention    Icon = "attention" // somebody has to do something
)

// Menu is what the panel shows of this machine.
type Menu struct {
	Icon    Icon
	Tooltip string
	Items   []Item
}

// Toggle says how an item shows that it is on.
type Toggle string

// The toggles.
const (
	ToggleNone  Toggle = ""
	ToggleCheck Toggle = "checkmark"
	ToggleRadio Toggle = "radio"
)

// Item is a line of a menu.
type Item struct {
	Key       string // the same for the same thing, unique in the whole menu
	Label     string
	Separator bool
	Disabled  bool // it says something, and does nothing
	Hidden    bool
	Toggle    Toggle
	Checked   bool
	Do        Intent
	Items     []Item // of a submenu
}

// Draw makes the menu.
func Draw(in *Input) Menu {
	d := drawer{in, in.Language.texts(), in.Status}
	if d.s == nil {
		return d.withoutDaemon()
	}
	m := Menu{Icon: d.icon()}
	m.Tooltip = d.say(textTooltip, d.stateLine())
	m.Items = append(m.Items, d.head()...)
	m.Items = append(m.Items, separator("head"))
	m.Items = append(m.Items, d.power()...)
	m.Items = append(m.Items, d.login()...)
	m.Items = append(m.Items, d.account(), separator("network"), d.self())
	m.Items = append(m.Items, d.machines()...)
	m.Items = append(m.Items, separator("ways"), d.exitMenu(), d.preferencesMenu(), separator("foot"))
	m.Items = append(m.Items, d.foot()...)
	hideIdle(m.Items)
	return m
}

// hideIdle hides separators that separate nothing: one after another, first or last.
func hideIdle(items []Item) {
	last := -1 // the last separator, with nothing after it yet
	first := true
	for i := range items {
		hideIdle(items[i].Items)
		switch {
		case items[i].Hidden:
		case !items[i].Separator:
			first, last = false, -1
		case first || last >= 0:
			items[i].Hidden = true
		default:
			last = i
		}
	}
	if last >= 0 {
		items[last].Hidden = true
	}
}

// drawer is what the parts of one drawing share.
type drawer struct {
	in    *Input
	texts *[texts]string
	s     *ipc.Status
}

func separator(key string) Item { return Item{Key: "separator-" + key, Separator: true} }

// note is a line that only says something.
func note(key, label string) Item { return Item{Key: key, Label: label, Disabled: true} }

func (d *drawer) withoutDaemon() Menu {
	m := Menu{Icon: IconAttention}
	state, fix := d.say(textAsking), ""
	if e := d.in.Missing; e == nil {
		m.Icon = IconDisconnected
	} else {
		state, fix = d.refused(e, OpNone)
		state, fix = long(state), long(fix)
	}
	m.Tooltip = d.say(textTooltip, state)
	m.Items = []Item{note("state", state)}
	if fix != "" {
		m.Items = append(m.Items, note("fix", fix))
	}
	m.Items = append(m.Items, separator("foot"))
	m.Items = append(m.Items, d.foot()...)
	return m
}

// icon is the worst that is to be told.
func (d *drawer) icon() Icon {
	serious := func(p ipc.Problem) bool { return p.Level != ipc.ProblemNotice }
	switch {
	case d.s.State == ipc.StateNeedsLogin, d.joins(), d.in.Failed != nil, slices.ContainsFunc(d.s.Problems, serious):
		return IconAttention
	case d.s.State == ipc.StateRunning && d.s.Exit != nil && d.s.Exit.Up:
		return IconExit
	case d.s.State == ipc.StateRunning:
		return IconConnected
	case d.s.State == ipc.StateStarting, d.s.State == ipc.StatePending:
		return IconConnecting
	}
	return IconDisconnected
}

// stateLine says how this machine stands.
func (d *drawer) stateLine() string {
	where := short(d.s.Network.Name)
	if where == "" {
		where = host(d.s.Server)
	}
	switch d.s.State {
	case ipc.StateRunning:
		return d.say(textConnected, where)
	case ipc.StateStarting:
		return d.say(textConnecting, where)
	case ipc.StateDown:
		return d.say(textDown)
	case ipc.StatePending:
		return d.say(textPending, host(d.s.Server))
	case ipc.StateNeedsLogin:
		return d.say(textNeedsLogin, host(d.s.Server))
	case ipc.StateNoServer:
		if d.joins() {
			return d.say(textNeedsLogin, host(d.in.Login.Page))
		}
		return d.say(textNoServer)
	}
	return d.say(textOtherState, short(string(d.s.State))) // of a later daemon
}

// joins tells whether a first login waits for a person. The daemon takes the server over when it has ended well.
func (d *drawer) joins() bool { return d.s.State == ipc.StateNoServer && d.in.Login != nil }

// head says how things stand, and what is wrong.
func (d *drawer) head() []Item {
	items := []Item{note("state", d.stateLine())}
	if e := d.in.Failed; e != nil {
		words, fix := d.refused(e, d.in.Tried)
		items = append(items, note("failed", d.say(textProblem, long(words))))
		if fix != "" {
			items = append(items, note("failed-fix", long(fix)))
		}
	}
	shown := 0
	for i, p := range d.s.Problems {
		if p.Level == ipc.ProblemNotice {
			continue
		}
		if shown++; shown > maxProblems {
			break
		}
		// Two problems may have one code.
		key := "problem-" + strconv.Itoa(i) + "-" + short(p.Code)
		items = append(items, Item{
			Key: key, Label: d.say(textProblem, long(d.trouble(&p))), Disabled: !d.in.Windows, Do: Intent{OpOpen, string(PageProblems)},
		})
	}
	return items
}

// power switches the connection.
func (d *drawer) power() []Item {
	off := d.s.State == ipc.StateDown
	on := d.s.State == ipc.StateRunning || d.s.State == ipc.StateStarting || d.s.State == ipc.StatePending
	return []Item{
		{Key: "connect", Label: d.say(textConnect), Hidden: !off, Disabled: d.in.Busy, Do: Intent{Op: OpConnect}},
		{Key: "disconnect", Label: d.say(textDisconnect), Hidden: !on, Disabled: d.in.Busy, Do: Intent{Op: OpDisconnect}},
	}
}

// login leads through a login.
func (d *drawer) login() []Item {
	needs := d.s.State == ipc.StateNeedsLogin
	items := []Item{{Key: "login", Label: d.say(textLogin), Hidden: !needs || d.in.Login != nil, Disabled: d.in.Busy, Do: Intent{Op: OpLogin}}}
	if d.s.State == ipc.StateNoServer {
		first := note("first", d.say(textNameServer))
		if d.in.Windows {
			first = Item{Key: "first", Label: d.say(textSetUp), Do: Intent{OpOpen, string(PageHome)}}
		}
		items = append(items, first)
	}
	if d.in.Asking != "" {
		items = append(items, note("login-asks", d.say(textAskingServer, host(d.in.Asking))),
			Item{Key: "login-cancel", Label: d.say(textAskingCancel), Do: Intent{Op: OpCancelLogin}})
	} else if l := d.in.Login; l != nil {
		items = append(items,
			note("login-waits", d.say(textLoginWaits)),
			Item{Key: "login-page", Label: d.say(textLoginElsewhere, short(l.Code)), Do: Intent{OpCopy, l.Page}},
			Item{Key: "login-cancel", Label: d.say(textLoginCancel), Do: Intent{Op: OpCancelLogin}})
	}
	return items
}

// account lists the machine's logins.
func (d *drawer) account() Item {
	title := d.say(textAccounts)
	var items []Item
	for i, p := range d.in.Profiles {
		if p.Current {
			title = d.say(textAccount, d.profile(&p))
		}
		if i < maxProfiles {
			items = append(items, Item{
				Key: "profile-" + p.ID, Label: d.profile(&p), Toggle: ToggleRadio, Checked: p.Current, Disabled: d.in.Busy,
				Do: Intent{OpSwitch, p.ID},
			})
		}
	}
	if more := len(d.in.Profiles) - maxProfiles; more > 0 {
		items = append(items, note("profiles-more", d.say(textMoreProfiles, d.count(more))))
	}
	loggedIn := d.s.State != ipc.StateNeedsLogin && d.s.State != ipc.StateNoServer
	if len(items) > 0 {
		items = append(items, separator("account"))
	}
	again := d.say(textRelogin)
	switch left := d.s.Self.Expires.Sub(d.s.Time); {
	case !loggedIn:
		again = d.say(textLogin)
	case !d.s.Self.Expires.IsZero() && left < soon:
		again = d.say(textExtend, d.s.Self.Expires.Local().Format("2006-01-02"))
	}
	items = append(items,
		Item{Key: "relogin", Label: again, Hidden: d.s.State == ipc.StateNoServer, Disabled: d.in.Busy || d.in.Login != nil, Do: Intent{Op: OpLogin}},
		Item{Key: "join", Label: d.say(textAddAccount), Hidden: !d.in.Windows, Do: Intent{OpOpen, string(PageJoin)}},
		Item{Key: "logout", Label: d.say(textLogout), Hidden: !loggedIn, Disabled: d.in.Busy, Do: Intent{Op: OpLogout}})
	return Item{Key: "account", Label: title, Hidden: len(d.in.Profiles) == 0 && !loggedIn, Items: items}
}

// soon is how long before its key's end a person is asked to extend it, as the daemon has it.
const soon = 14 * 24 * time.Hour

// profile names a login.
func (d *drawer) profile(p *ipc.Profile) string {
	who := short(p.Name)
	switch {
	case p.NeedsLogin:
		return d.say(textProfileLogin, who)
	case p.Pending:
		return d.say(textProfilePending, who)
	case p.User == "":
		return who
	}
	return d.say(textProfile, who, short(p.User))
}

// self is this machine; a click copies its address.
func (d *drawer) self() Item {
	i := Item{Key: "self", Hidden: true}
	if len(d.s.Self.Addrs) > 0 {
		addr := d.s.Self.Addrs[0].String()
		i = Item{Key: "self", Label: d.say(textSelf, short(d.s.Self.Name), addr), Do: Intent{OpCopy, addr}}
	}
	return i
}

// foot is what every menu ends with.
func (d *drawer) foot() []Item {
	about := note("about", d.say(textAbout, short(d.in.Version)))
	if d.in.Windows {
		about = Item{Key: "about", Label: about.Label, Do: Intent{OpOpen, string(PageAbout)}}
	}
	return []Item{
		{Key: "open", Label: d.say(textOpen), Hidden: !d.in.Windows, Do: Intent{OpOpen, string(PageHome)}},
		about,
		{Key: "quit", Label: d.say(textQuit), Do: Intent{Op: OpQuit}},
	}
}
