package view

import (
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
	Windows bool       // a window can be opened

	Autostart string // On or Off: whether the tray starts with the desktop; "" where that cannot be told
}

// Login is a login under way.
type Login struct {
	Page    string // to open on another device
	Code    string // to type there
	Expires time.Time
}

// Op is what a person can ask for.
type Op string

// The operations. Arg is what Intent.Arg holds.
const (
	OpNone        Op = ""
	OpConnect     Op = "connect"
	OpDisconnect  Op = "disconnect"
	OpLogin       Op = "login"        // at the server in use, also if the login holds: that extends the key
	OpCancelLogin Op = "cancel-login" //
	OpJoin        Op = "join"         // Arg: a server's address, or an invite link
	OpLogout      Op = "logout"
	OpSwitch      Op = "switch"     // Arg: the profile's ID
	OpCopy        Op = "copy"       // Arg: the text
	OpAcceptDNS   Op = "accept-dns" // Arg: On or Off
	OpExit        Op = "exit-node"  // Arg: the machine to use as exit node; "": none
	OpAutostart   Op = "autostart"  // Arg: On or Off
	OpOpen        Op = "open"       // Arg: the page
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
	PageSettings Page = "settings"
	PageProblems Page = "problems"
	PageAbout    Page = "about"
)

// Pages are all of them.
var Pages = []Page{PageHome, PageMachines, PageSettings, PageProblems, PageAbout}
