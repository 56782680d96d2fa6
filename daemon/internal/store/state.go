package store

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/ipc"
)

// MaxLogins bounds State.Logins.
const MaxLogins = 64

// MaxExits bounds Routing.Exits: each one that is preferred to the one in use is asked for an answer every few seconds.
const MaxExits = 8

// State is what the daemon keeps over restarts. Load never gives one without keys.
type State struct {
	// The keys that the next new login takes: on disk before any server sees them, and never two logins' that
	// could meet at one server.
	Machine key.Machine
	Node    key.Node

	Up        bool   // the machine should be on the network of its current login
	NoDNS     bool   // the host's DNS stays as it is
	Lockdown  bool   // nothing leaves the host but through the network
	ShieldsUp bool   // nothing comes in from the network but answers
	WantPort  uint16 // UDP port that somebody set; 0: Port
	Hostname  string // wanted before there is a login; the first takes it
	Port      uint16 // the random UDP port of the first start, kept

	Current string // ID of the login in use; empty: none
	Logins  []Login
}

// Login is what the machine has of one account at one server: a profile. One of them is current.
type Login struct {
	ID        string // NewLoginID; names the login's files
	Name      string // as people call it; no two that are in use have one
	Server    string // URL, as configured
	ServerKey key.ServerPublic
	Cert      []byte // SHA-256 of the TLS certificate that an invite link pinned

	Machine key.Machine
	Key     key.Node

	Node     coord.NodeID // 0: not registered
	User     string
	Network  string // its name, as last heard
	Hostname string // instead of the system's
	Pending  bool   // registered, and an admin has not approved it yet

	Routing Routing // what the machine leads to, and is led to

	// Former is a login that was given up. It is no profile any more; but logging in at its server again gives the
	// machine its name and addresses back, which hang on its keys.
	Former bool

	// AuthKey is a pre-auth key from before the first request that shows it until the server's answer is in
	// state.json too: a machine that is killed between the two asks again, and completes.
	AuthKey string
}

// Routing is what people want of the routes in one network.
type Routing struct {
	Exits    []Exit `json:"exits,omitempty"`    // the one that is preferred first; empty: the host's own way out
	AllowLAN bool   `json:"allowLAN,omitempty"` // the LAN can be reached beside the exit node
	Accept   bool   `json:"accept,omitempty"`   // others' subnets are reached through them

	Offer     []netip.Prefix `json:"offer,omitempty"` // subnets
	OfferExit bool           `json:"offerExit,omitempty"`
	NoSNAT    bool           `json:"noSNAT,omitempty"`    // packets to the subnets offered keep their source
	Relay     bool           `json:"relay,omitempty"`     // others may relay through this machine
	RelayRate int64          `json:"relayRate,omitempty"` // bytes per second that they may at the most; 0: no bound
}

// Exit is a machine that people want as exit node. A name may pass to another machine; the ID never does.
type Exit struct {
	Node coord.NodeID `json:"node"`
	Name string       `json:"name"` // as it was when they chose
}

// Offers lists the routes to offer.
func (r *Routing) Offers() []netip.Prefix {
	offers := slices.Clone(r.Offer)
	if r.OfferExit {
		offers = append(offers, ExitRoutes()...)
	}
	return offers
}

// ExitRoutes are what an exit node leads to. Both are one thing: IPv6 is never left behind where IPv4 goes.
func ExitRoutes() []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
}

// Login finds the current login, or returns nil. The pointer is into s.
func (s *State) Login() *Login {
	for i := range s.Logins {
		if s.Current != "" && s.Logins[i].ID == s.Current {
			return &s.Logins[i]
		}
	}
	return nil
}

// Prefs is what the people of this machine want, as they see it.
func (s *State) Prefs() ipc.Prefs {
	p := ipc.Prefs{Up: s.Up, Port: s.WantPort, Hostname: s.Hostname, IgnoreDNS: s.NoDNS, Lockdown: s.Lockdown, ShieldsUp: s.ShieldsUp}
	if l := s.Login(); l != nil {
		p.Server, p.Hostname = l.Server, l.Hostname
		for _, exit := range l.Routing.Exits {
			p.ExitNodes = append(p.ExitNodes, exit.Name)
		}
		p.ExitNodeAllowLAN, p.AcceptRoutes = l.Routing.AllowLAN, l.Routing.Accept
		p.AdvertiseRoutes, p.AdvertiseExitNode, p.NoSNAT = slices.Clone(l.Routing.Offer), l.Routing.OfferExit, l.Routing.NoSNAT
		p.Relay, p.RelayRate = l.Routing.Relay, l.Routing.RelayRate
	}
	return p
}

// NewLogin is a login at a server that the machine has none at, with the keys that wait for it. Put makes it one of s.
func (s *State) NewLogin(server string) Login {
	return Login{ID: NewLoginID(), Server: server, Machine: s.Machine, Key: s.Node, Hostname: s.Hostname}
}

// Put gives s the login, new or in the place of the one of its ID; s shares no login with its copies afterwards. One
// without a name, or back with a name that another has taken, gets a free one; new keys wait for the next.
func (s *State) Put(l Login) {
	if other := s.Find(l.Name); l.Name == "" || !l.Former && other != nil && other.ID != l.ID {
		l.Name = s.freeName(l.Server)
	}
	if s.Machine == l.Machine {
		s.Machine, s.Node, s.Hostname = key.NewMachine(), key.NewNode(), ""
	}
	s.Logins = slices.Clone(s.Logins)
	if i := slices.IndexFunc(s.Logins, func(o Login) bool { return o.ID == l.ID }); i >= 0 {
		s.Logins[i] = l
		return
	}
	if len(s.Logins) >= MaxLogins { // the oldest that was given up makes room
		if i := slices.IndexFunc(s.Logins, func(o Login) bool { return o.Former && o.ID != s.Current }); i >= 0 {
			s.Logins = slices.Delete(s.Logins, i, i+1)
		}
	}
	s.Logins = append(s.Logins, l)
}

// Full reports whether there is no room for another new login.
func (s *State) Full() bool {
	return len(s.Logins) >= MaxLogins && !slices.ContainsFunc(s.Logins, func(l Login) bool { return l.Former && l.ID != s.Current })
}

// DropAuthKeys takes note that somebody has said what this machine is to do: an interrupted login by pre-auth key is not
// completed over that. If the server did take the key, the login needs none the next time.
func (s *State) DropAuthKeys() {
	s.Logins = slices.Clone(s.Logins)
	for i := range s.Logins {
		s.Logins[i].AuthKey = ""
	}
}

// Find gives the profile that a person names by its name or its ID, or nil.
func (s *State) Find(name string) *Login {
	return s.only(func(l *Login) bool { return l.Name == name || l.ID == name })
}

// FindOf is Find, and where no profile has that name, the one whose network has it, if it is the only one.
func (s *State) FindOf(name string) *Login {
	if l := s.Find(name); l != nil {
		return l
	}
	return s.only(func(l *Login) bool { return l.Network == name && name != "" })
}

// only gives the profile that matches, or nil if none does or several do.
func (s *State) only(match func(*Login) bool) (found *Login) {
	for i := range s.Logins {
		switch l := &s.Logins[i]; {
		case l.Former || !match(l):
		case found != nil:
			return nil
		default:
			found = l
		}
	}
	return found
}

// freeName makes a profile's name of its server's.
func (s *State) freeName(server string) string {
	base := "login"
	if u, err := url.Parse(server); err == nil && ValidProfile(strings.ToLower(u.Hostname())) {
		base = strings.ToLower(u.Hostname())
	}
	name := base
	for i := 2; s.Find(name) != nil; i++ {
		suffix := "-" + strconv.Itoa(i)
		name = base[:min(len(base), maxProfile-len(suffix))] + suffix
	}
	return name
}

// maxProfile bounds a profile's name, in bytes.
const maxProfile = 64

// ValidProfile reports whether s can name a profile: up to 64 letters, digits and signs that need no quoting in a
// shell, and nothing that an ID or an option could be.
func ValidProfile(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-_.:@", rune(c)) {
			return false
		}
	}
	return s != "" && s[0] != '-' && len(s) <= maxProfile && !validID(s)
}

// check holds the logins against what their readers rely on.
func (s *State) check() error {
	if len(s.Logins) > MaxLogins {
		return fmt.Errorf("there are %d logins, %d at the most", len(s.Logins), MaxLogins)
	}
	ids, names := make(map[string]bool, len(s.Logins)), make(map[string]bool, len(s.Logins))
	for _, l := range s.Logins {
		switch {
		case !validID(l.ID):
			return fmt.Errorf("the id of a login is not one of ours")
		case ids[l.ID]:
			return fmt.Errorf("two logins have the id %s", l.ID)
		case !ValidProfile(l.Name):
			return fmt.Errorf("the login %s has no proper name", l.ID)
		case names[l.Name] && !l.Former:
			return fmt.Errorf("two logins have one name")
		case l.Machine.IsZero() || l.Key.IsZero():
			return fmt.Errorf("a key of the login %s is zero", l.ID)
		case len(l.Routing.Exits) > MaxExits:
			return fmt.Errorf("the login %s has %d exit nodes, %d at the most", l.ID, len(l.Routing.Exits), MaxExits)
		}
		if err := coord.ValidateRoutes(l.Routing.Offers(), nil); err != nil {
			return err
		}
		ids[l.ID] = true
		names[l.Name] = names[l.Name] || !l.Former
	}
	if s.Current != "" && !ids[s.Current] {
		return fmt.Errorf("the current login is none of those listed")
	}
	return nil
}
