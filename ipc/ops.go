package ipc

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/netip"
	"time"
)

// DefaultSocket is where warrend listens.
const DefaultSocket = "/run/warren/warrend.sock"

// Host is the only Host header that the socket answers to.
const Host = "warrend"

// Group is the Unix group whose members may operate.
const Group = "warren"

// Level is what an operation asks of its caller.
type Level int

// The levels, each of which includes those before it. The zero value lets nobody pass.
const (
	_            Level = iota
	LevelRead          // any local user
	LevelOperate       // members of Group, root, and whom the Authority lets
	LevelAdmin         // root, and whom the Authority lets
)

// Prefs are what the people of this machine want, kept over restarts.
type Prefs struct {
	Server   string `json:"server,omitempty"`   // URL of the coordination server
	Up       bool   `json:"up"`                 // whether the machine should be on its network
	Hostname string `json:"hostname,omitempty"` // instead of the system's
	Port     uint16 `json:"port,omitempty"`     // UDP port; 0: random, and remembered

	IgnoreDNS bool `json:"ignoreDNS,omitempty"` // the host's DNS stays as it is

	// Of the login in use.
	ExitNodes        []string `json:"exitNodes,omitempty"`        // by name, the one that is preferred first; empty: the host's own way out
	ExitNodeAllowLAN bool     `json:"exitNodeAllowLAN,omitempty"` // the LAN can be reached beside the exit node
	AcceptRoutes     bool     `json:"acceptRoutes,omitempty"`     // subnets behind other machines are reached through them

	AdvertiseRoutes   []netip.Prefix `json:"advertiseRoutes,omitempty"`   // subnets that others may reach through this machine
	AdvertiseExitNode bool           `json:"advertiseExitNode,omitempty"` // others may use this machine as their exit node
	NoSNAT            bool           `json:"noSNAT,omitempty"`            // packets to AdvertiseRoutes keep their source
	Relay             bool           `json:"relay,omitempty"`             // others may relay what they have sealed through this machine
	RelayRate         int64          `json:"relayRate,omitempty"`         // bytes per second, of all together, that they may at the most; 0: no bound

	Lockdown bool `json:"lockdown,omitempty"` // nothing leaves this host but through the network

	ShieldsUp bool `json:"shieldsUp,omitempty"` // nothing comes in from the network but answers, whatever its rules say
}

// Number stands for the preferences in a Status, so that who shows them asks for them only where they changed. It is a hash
// (FNV-1a): two of four thousand million preferences have the same.
func (p Prefs) Number() uint32 {
	text, err := json.Marshal(p)
	if err != nil {
		return 0 // they hold nothing that cannot be written
	}
	h := fnv.New32a()
	_, _ = h.Write(text)
	return h.Sum32()
}

// Megabit is the rate of 1 Mbit/s, as people say it, in bytes per second.
const Megabit = 1_000_000 / 8

// Bounds of Prefs.RelayRate, where there is one: below them not even a handshake comes through in time, and no machine has
// what is above.
const (
	MinRelayRate = Megabit / 10
	MaxRelayRate = Megabit * 1_000_000
)

// PrefsEdit names what to change; the rest stays as it is.
type PrefsEdit struct {
	Hostname *string `json:"hostname,omitempty"`
	Port     *uint16 `json:"port,omitempty"`    // admin
	Profile  *string `json:"profile,omitempty"` // another name for the current profile

	AcceptDNS *bool `json:"acceptDNS,omitempty"` // whether the host's programs ask us for names

	ExitNodes        *[]string `json:"exitNodes,omitempty"`        // names or addresses, in order; empty: none
	ExitNodeAllowLAN *bool     `json:"exitNodeAllowLAN,omitempty"` //

	AcceptRoutes      *bool           `json:"acceptRoutes,omitempty"`      // admin: it changes where every user's packets go
	AdvertiseRoutes   *[]netip.Prefix `json:"advertiseRoutes,omitempty"`   // admin; replaces those before
	AdvertiseExitNode *bool           `json:"advertiseExitNode,omitempty"` // admin
	SNATSubnetRoutes  *bool           `json:"snatSubnetRoutes,omitempty"`  // admin
	Relay             *bool           `json:"relay,omitempty"`             // admin: it opens a port
	RelayRate         *int64          `json:"relayRate,omitempty"`         // admin; 0, or from MinRelayRate to MaxRelayRate
	Lockdown          *bool           `json:"lockdown,omitempty"`          // admin
	ShieldsUp         *bool           `json:"shieldsUp,omitempty"`         // admin
}

// Level is what the edit asks of its caller.
func (e PrefsEdit) Level() Level {
	if e.Port != nil || e.AcceptRoutes != nil || e.AdvertiseRoutes != nil || e.AdvertiseExitNode != nil || e.SNATSubnetRoutes != nil || e.Relay != nil || e.RelayRate != nil || e.Lockdown != nil || e.ShieldsUp != nil {
		return LevelAdmin
	}
	return LevelOperate
}

// OfRoutes reports whether the edit names anything that is a login's: exit nodes, subnets, relaying.
func (e PrefsEdit) OfRoutes() bool {
	return e.ExitNodes != nil || e.ExitNodeAllowLAN != nil || e.AcceptRoutes != nil || e.AdvertiseRoutes != nil || e.AdvertiseExitNode != nil || e.SNATSubnetRoutes != nil || e.Relay != nil || e.RelayRate != nil
}

// UpRequest asks the daemon to be on its network, and to log in where it must. Empty fields leave things as they are.
type UpRequest struct {
	Server    string    `json:"server,omitempty"`    // URL, or an invite link
	Profile   string    `json:"profile,omitempty"`   // name or ID of a login; a name that none has makes another login
	ServerKey string    `json:"serverKey,omitempty"` // the identity to pin, where the URL alone cannot be trusted
	AuthKey   string    `json:"authKey,omitempty"`   // a pre-auth key
	Challenge string    `json:"challenge,omitempty"` // PKCE S256 of the caller's verifier, for a login on this device
	Reauth    bool      `json:"reauth,omitempty"`    // log in again even if the login still holds
	Edit      PrefsEdit `json:"edit,omitzero"`
}

// UpReply says how far it came. A login's details go to the caller that asked for it, and to nobody else.
type UpReply struct {
	State State  `json:"state"`
	Login *Login `json:"login,omitempty"` // a person has to log in
}

// Login is what the caller builds the page's URL of: server + "/login/" + ID.
type Login struct {
	Server  string    `json:"server"` // as configured, never as the server says
	ID      string    `json:"id"`
	Code    string    `json:"code"` // to type where the page is opened on another device
	Expires time.Time `json:"expires"`
}

// LoginWait waits for the end of a login. When the caller goes away before, the login ends without success: nobody
// would see it succeed.
type LoginWait struct {
	ID string `json:"id"`
}

// LoginFinish ends a login on this device with what the browser brought.
type LoginFinish struct {
	ID       string `json:"id"`
	Code     string `json:"code"`
	Verifier string `json:"verifier"`
}

// Profile is a login of this machine: one account at one server. A machine may have several, and is on the network of
// one at a time.
type Profile struct {
	ID      string `json:"id"`
	Name    string `json:"name"` // unique
	Server  string `json:"server"`
	User    string `json:"user,omitempty"`    // the account; empty: none, or not known yet
	Network string `json:"network,omitempty"` // as last heard
	Current bool   `json:"current,omitempty"`
	// NeedsLogin: the server does not know this machine any more. Whether a key expired shows when the profile is current.
	NeedsLogin bool `json:"needsLogin,omitempty"`
	Pending    bool `json:"pending,omitempty"` // waits for an admin's approval
}

// Profiles are a machine's logins, by name. What was logged out is none.
type Profiles struct {
	Profiles []Profile `json:"profiles"`
}

// SwitchRequest names the login to use from now on, by name or ID.
type SwitchRequest struct {
	Profile string `json:"profile"`
}

// PortalRequest opens the way past exit node and lockdown, to sign in to a network (a captive portal).
type PortalRequest struct {
	Duration Milliseconds `json:"duration"` // 30 min at the most; 0 closes it
}

// PortalReply says when it closes.
type PortalReply struct {
	Until time.Time `json:"until,omitzero"` // zero: it is closed
}

// PingRequest names a peer by name, DNS name or address.
type PingRequest struct {
	Peer    string       `json:"peer"`
	Timeout Milliseconds `json:"timeout,omitempty"` // 5 s if 0, 30 s at the most
}

// PingReply is one answered ping.
type PingReply struct {
	Name    string       `json:"name"`
	Addr    netip.Addr   `json:"addr"`
	Latency Milliseconds `json:"latency"`
	Path    Path         `json:"path"`
}

// Backend is what the Handler asks. Errors that are no *Error are internal: logged, and told without detail.
// The Handler has checked the caller's level before every call.
type Backend interface {
	// Status gives a snapshot, which the caller must not change.
	Status(ctx context.Context) (*Status, error)
	// Watch calls f with a snapshot now and after every change, until ctx ends or f fails. Changes that come
	// faster than f returns are told once.
	Watch(ctx context.Context, f func(*Status) error) error
	// WatchLive does as Watch, and calls f each second too, for amounts of traffic and latencies: they are no changes.
	WatchLive(ctx context.Context, f func(*Status) error) error
	Prefs(ctx context.Context) (Prefs, error)
	EditPrefs(ctx context.Context, e PrefsEdit) (Prefs, error)
	Up(ctx context.Context, r UpRequest) (*UpReply, error)
	Down(ctx context.Context) error
	LoginWait(ctx context.Context, r LoginWait) (*UpReply, error)
	LoginFinish(ctx context.Context, r LoginFinish) (*UpReply, error)
	Logout(ctx context.Context) error
	Profiles(ctx context.Context) (*Profiles, error)
	Switch(ctx context.Context, r SwitchRequest) (*UpReply, error)
	Ping(ctx context.Context, r PingRequest) (*PingReply, error)
	// Netcheck finds out what the network lets through, in some seconds. One runs at a time (CodeBusy).
	Netcheck(ctx context.Context) (*Netcheck, error)
	QueryDNS(ctx context.Context, q DNSQuery) (*DNSAnswer, error)
	Portal(ctx context.Context, r PortalRequest) (*PortalReply, error)
	Why(ctx context.Context, r WhyRequest) (*Why, error)
}

// Error codes. They are stable; messages are for people and may change.
const (
	CodeBadRequest = "bad-request"
	CodeDenied     = "denied"       // the caller's level does not allow it
	CodeNoServer   = "no-server"    // name one
	CodeNotUp      = "not-up"       //
	CodeNeedsLogin = "needs-login"  //
	CodeNoPeer     = "no-such-peer" //
	CodeNoProfile  = "no-such-profile"
	CodeNoExit     = "no-exit-node" // that machine is none, or no admin has approved it as one
	CodeTimeout    = "timeout"
	CodeCoord      = "coord"    // the coordination server refused, or cannot be reached
	CodeIdentity   = "identity" // the server is not the one that was pinned
	CodeKey        = "auth-key" // the pre-auth key was refused
	CodeLogin      = "login"    // the login ended without success
	CodeHost       = "host"     // the host refused (no TUN, no permission, disk full)
	CodeBusy       = "busy"
	CodeInternal   = "internal"

	CodeUnsupported = "unsupported" // the daemon and the program are of different versions
	CodeNotRunning  = "not-running" // there is no daemon; said by the Client
)

// Codes are all of them.
var Codes = []string{
	CodeBadRequest, CodeDenied, CodeNoServer, CodeNotUp, CodeNeedsLogin, CodeNoPeer, CodeNoProfile, CodeNoExit, CodeTimeout,
	CodeCoord, CodeIdentity, CodeKey, CodeLogin, CodeHost, CodeBusy, CodeInternal, CodeUnsupported, CodeNotRunning,
}

// Error is a refusal. errors.Is compares codes.
type Error struct {
	Status  int      `json:"-"` // HTTP
	Code    string   `json:"code"`
	Reason  string   `json:"reason,omitempty"` // one of the Reasons, or none
	About   []string `json:"about,omitempty"`  // what the reason is about: names and the like, as it says
	Message string   `json:"message"`          // what happened
	Fix     string   `json:"fix,omitempty"`    // what to do next; a command where there is one
}

// Error implements error.
func (e *Error) Error() string {
	if e.Fix == "" {
		return e.Message
	}
	return fmt.Sprintf("%s\n%s", e.Message, e.Fix)
}

// Is makes errors.Is(err, &Error{Code: c}) compare codes.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}
