package view

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/warren-mesh/warren/ipc"
)

// Input is all that a Menu is drawn from.
type Input struct {
	Language Language
	Version  string // of this program

	Status   *ipc.Status   // nil while the daemon cannot be asked
	Missing  *ipc.Error    // why it cannot; nil at the very start
	Prefs    ipc.Prefs     // as last heard
	Profiles []ipc.Profile // as last heard

	Busy    bool       // an order was given, and has not ended
	Login   *Login     // a login that waits for a person
	Failed  *ipc.Error // how the last order ended, if not well
	Tried   Op         // which order that was
	Asking  string     // the server that is asked for a login, as a person named it
	Windows bool       // a window can be opened

	Autostart string // On or Off: whether the tray starts with the desktop; "" where that cannot be told

	Pings    map[int64]Answer   // to the last pings, by machine
	Whys     map[int64]*ipc.Why // what the access rules say, by machine
	Netcheck *ipc.Netcheck      // of the last check; nil: none yet
	Checking bool
}

// Answer is what came of a ping.
type Answer struct {
	Reply *ipc.PingReply // nil: none yet, or Err
	Err   *ipc.Error
}

// Login is a login under way.
type Login struct {
	Page    string // to open on another device
	Code    string // to type there
	Expires time.Time

	Unopened bool // no browser opened it here
}

// Op is what a person can ask for.
type Op string

// The operations. Arg is what Intent.Arg holds.
const (
	OpNone        Op = ""
	OpConnect     Op = "connect"
	OpDisconnect  Op = "disconnect"
	OpLogin       Op = "login"        // at the server in use, also if the login holds: that extends the key
	OpCancelLogin Op = "cancel-login" // also while the server is asked for one
	OpJoin        Op = "join"         // Arg: a server's address, or an invite link
	OpAdd         Op = "add"          // the same, beside the accounts that there are
	OpLogout      Op = "logout"
	OpSwitch      Op = "switch"    // Arg: the profile's ID
	OpCopy        Op = "copy"      // Arg: the text
	OpSet         Op = "set"       // Arg: a preference, as in Edit
	OpExit        Op = "exit-node" // Arg: the machine to use as exit node; "": none
	OpNearest     Op = "nearest"   // use the nearest exit node
	OpPortal      Op = "portal"    // Arg: On or Off: a person signs in to a network
	OpPing        Op = "ping"      // Arg: the machine's number
	OpWhy         Op = "why"       // Arg: the machine's number
	OpNetcheck    Op = "netcheck"  //
	OpAutostart   Op = "autostart" // Arg: On or Off
	OpOpen        Op = "open"      // Arg: the page, or a machine's (PageOf)
	OpLook        Op = "look"      // Arg: On or Off: what is shown changes by the second
	OpQuit        Op = "quit"
)

// The two positions of a switch.
const (
	On  = "on"
	Off = "off"
)

// Intent is what a click asks for.
type Intent struct {
	Op  Op
	Arg string
}

// Page is a page of the window.
type Page string

// The pages.
const (
	PageHome     Page = "home"
	PageMachines Page = "machines"
	PageExits    Page = "exits"
	PageNetwork  Page = "network"
	PageSettings Page = "settings"
	PageProblems Page = "problems"
	PageAbout    Page = "about"
	PageJoin     Page = "join" // another account or server
)

// Pages are all of them.
var Pages = []Page{PageHome, PageMachines, PageExits, PageNetwork, PageSettings, PageProblems, PageAbout, PageJoin}

// PageOf is the page of one machine.
func PageOf(id int64) Page { return PageMachines + Page("/"+strconv.FormatInt(id, 10)) }

// Split takes a machine's page apart; id is 0 for any other. ok is false where there is no such page.
func (p Page) Split() (page Page, id int64, ok bool) {
	if slices.Contains(Pages, p) {
		return p, 0, true
	}
	number, found := strings.CutPrefix(string(p), string(PageMachines)+"/")
	id, err := strconv.ParseInt(number, 10, 64)
	return PageMachines, id, found && err == nil && id > 0
}
