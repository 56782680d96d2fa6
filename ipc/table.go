package ipc

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
)

// Paths of the operations.
const (
	pathStatus      = "/v1/status"
	pathWatch       = "/v1/watch"
	pathWatchLive   = "/v1/watch/live"
	pathPrefs       = "/v1/prefs"
	pathPing        = "/v1/ping"
	pathUp          = "/v1/up"
	pathDown        = "/v1/down"
	pathLoginWait   = "/v1/login/wait"
	pathLoginFinish = "/v1/login/finish"
	pathLogout      = "/v1/logout"
	pathProfiles    = "/v1/profiles"
	pathSwitch      = "/v1/switch"
	pathDNS         = "/v1/dns"
	pathWhy         = "/v1/why"
	pathPortal      = "/v1/portal"
	pathNetcheck    = "/v1/netcheck"
)

// operation is one line of the table. Its level is asked before its body is read; a request that asks for more
// says so in serve (calls).
type operation struct {
	method  string
	path    string
	level   Level  // the zero level lets nobody pass
	command string // what a person would run instead, with sudo
	serve   func(*call) error
}

// operations are all that can be asked. What is not here is refused.
var operations = []operation{
	{http.MethodGet, pathStatus, LevelRead, "warren status", asks(Backend.Status)},
	{http.MethodGet, pathWatch, LevelRead, "warren status --watch", watches(Backend.Watch)},
	{http.MethodGet, pathWatchLive, LevelRead, "warren status --watch", watches(Backend.WatchLive)},
	{http.MethodGet, pathPrefs, LevelRead, "warren status", asks(Backend.Prefs)},
	{http.MethodGet, pathProfiles, LevelRead, "warren switch --list", asks(Backend.Profiles)},
	{http.MethodPost, pathPing, LevelRead, "warren ping", calls(Backend.Ping, nil)},
	{http.MethodPost, pathNetcheck, LevelRead, "warren netcheck", calls(func(b Backend, ctx context.Context, _ struct{}) (*Netcheck, error) { return b.Netcheck(ctx) }, nil)},
	{http.MethodPost, pathWhy, LevelRead, "warren why", calls(Backend.Why, nil)},
	{http.MethodPost, pathDNS, LevelRead, "warren dns query", calls(Backend.QueryDNS, nil)},
	{http.MethodPatch, pathPrefs, LevelOperate, "warren set", calls(Backend.EditPrefs, editNeeds)},
	{http.MethodPost, pathUp, LevelOperate, "warren up", calls(Backend.Up, upNeeds)},
	{http.MethodPost, pathDown, LevelOperate, "warren down", orders(Backend.Down)},
	{http.MethodPost, pathPortal, LevelOperate, "warren exit-node portal", calls(Backend.Portal, nil)},
	{http.MethodPost, pathSwitch, LevelOperate, "warren switch", calls(Backend.Switch, nil)},
	{http.MethodPost, pathLoginWait, LevelOperate, "warren up", calls(Backend.LoginWait, nil)},
	{http.MethodPost, pathLoginFinish, LevelOperate, "warren up", calls(Backend.LoginFinish, nil)},
	{http.MethodPost, pathLogout, LevelOperate, "warren logout", orders(Backend.Logout)},
}

// calls makes an operation of a Backend's method with a request and a reply. needs, where there is one, tells the
// level that this request asks for, and the command that a denied caller could run instead.
func calls[Q, A any](f func(Backend, context.Context, Q) (A, error), needs func(Q) (Level, string)) func(*call) error {
	return func(c *call) error {
		var q Q
		if err := decode(c.body, &q); err != nil {
			return err
		}
		if needs != nil {
			level, command := needs(q)
			if err := c.permit(max(level, c.op.level), command); err != nil {
				return err
			}
		}
		a, err := f(c.backend, c.r.Context(), q)
		if err != nil {
			return err
		}
		return c.reply(a)
	}
}

// asks makes an operation of a Backend's method that takes nothing.
func asks[A any](f func(Backend, context.Context) (A, error)) func(*call) error {
	return func(c *call) error {
		a, err := f(c.backend, c.r.Context())
		if err != nil {
			return err
		}
		return c.reply(a)
	}
}

// orders makes an operation of a Backend's method that takes and gives nothing: the body is {}.
func orders(f func(Backend, context.Context) error) func(*call) error {
	return calls(func(b Backend, ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, f(b, ctx) }, nil)
}

// permit says whether the caller's level is enough, and if not, which command would work.
func (op *operation) permit(c Caller, level Level, command string) error {
	if op.level == 0 || level == 0 || c.Level == 0 {
		return &Error{Code: CodeDenied, Message: "nobody may do this"}
	}
	if c.Level >= level {
		return nil
	}
	if level >= LevelAdmin {
		return &Error{Code: CodeDenied, Reason: ReasonAdmin, Message: "this takes an administrator", Fix: "Run: sudo " + command}
	}
	return &Error{
		Code: CodeDenied, Reason: ReasonOperate,
		Message: "this takes root, a member of the group " + Group + ", or, where polkit runs, who sits at this machine",
		Fix: fmt.Sprintf("Run: sudo %s\nOr, once and for all: sudo usermod -aG %s $USER, then log in again",
			command, Group),
	}
}

func editNeeds(e PrefsEdit) (Level, string) { return e.Level(), "warren set" + e.flags() }

// upNeeds leaves out what a command line must not show, and what may be long: the prefs are what needs the level.
func upNeeds(r UpRequest) (Level, string) { return r.Edit.Level(), "warren up" + r.Edit.flags() }

// plainName is a host name that needs no quoting in a shell.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$`)

// flags shows the edit as the CLI takes it.
func (e PrefsEdit) flags() string {
	s := ""
	if e.Hostname != nil {
		name := *e.Hostname
		if !plainName.MatchString(name) {
			name = "NAME"
		}
		s += " --hostname " + name
	}
	if e.Profile != nil {
		s += " --profile-name NAME"
	}
	if e.AcceptDNS != nil {
		s += fmt.Sprintf(" --accept-dns=%t", *e.AcceptDNS)
	}
	if e.Port != nil {
		s += fmt.Sprintf(" --port %d", *e.Port)
	}
	return s + e.routeFlags()
}

// routeFlags are those of exit nodes and subnets.
func (e PrefsEdit) routeFlags() string {
	s := ""
	if e.ExitNodes != nil {
		s += " --exit-node="
		for i, name := range *e.ExitNodes {
			if !plainName.MatchString(name) {
				name = "NAME"
			}
			if i > 0 {
				s += ","
			}
			s += name
		}
	}
	if e.AdvertiseRoutes != nil {
		s += " --advertise-routes="
		for i, r := range *e.AdvertiseRoutes {
			if i > 0 {
				s += ","
			}
			s += r.String()
		}
	}
	if e.RelayRate != nil {
		s += " --relay-rate=" + strconv.FormatFloat(float64(*e.RelayRate)/Megabit, 'f', -1, 64)
	}
	for _, f := range []struct {
		name  string
		value *bool
	}{
		{"exit-node-allow-lan-access", e.ExitNodeAllowLAN},
		{"accept-routes", e.AcceptRoutes},
		{"advertise-exit-node", e.AdvertiseExitNode},
		{"snat-subnet-routes", e.SNATSubnetRoutes},
		{"relay", e.Relay},
		{"lockdown", e.Lockdown},
		{"shields-up", e.ShieldsUp},
	} {
		if f.value != nil {
			s += fmt.Sprintf(" --%s=%t", f.name, *f.value)
		}
	}
	return s
}
