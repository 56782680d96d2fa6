package core

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/ipc"
)

// Facts is what is known of this machine at one moment. Its parts are values or are never changed.
type Facts struct {
	Version string
	Prefs   ipc.Prefs
	Key     key.NodePublic

	// Of the login.
	Profile    string // the login's name
	Registered bool   // this machine is a node of the network at Prefs.Server
	Pending    bool   // and an admin has not approved it yet
	Expired    bool   // the server says that its key has expired
	Dismissed  Dismissal
	Unfinished string // the server of another login, which a daemon before began and this one completes; empty: there is none
	Netmap     *coord.Netmap

	Wants Wants
	// Paused is until when exit node and lockdown let a person sign in to a network; zero: they do not.
	Paused time.Time
	Leads  *Leads // nil: nothing is decided

	// Of the data plane; zero while it is down.
	Interface string
	Port      uint16
	Endpoints []coord.Endpoint
	Paths     map[key.NodePublic]ipc.Path
	Histories map[key.NodePublic][]ipc.PathChange
	Traffic   map[key.NodePublic]Traffic
	Relays    []ipc.Relay
	Relayed   Relayed
	Drops     ipc.Drops
	DNS       *ipc.DNS       // nil: names are not resolved yet
	Cut       []netip.Prefix // that this machine leads others to, and does not reach itself

	Coord    ipc.Link
	Failures []ipc.Problem // what the shells could not do
}

// Dismissal says why a machine is no node any more, where the server ended it while the daemon ran.
type Dismissal int

// The dismissals.
const (
	NotDismissed Dismissal = iota
	Removed                // it was a member
	Denied                 // it had waited for approval
)

// Traffic is what WireGuard has counted for a peer.
type Traffic struct {
	LastHandshake time.Time
	Rx, Tx        uint64 // bytes
}

// Relayed is what this machine relays for others.
type Relayed struct {
	Machines int    // that are connected to it
	Bytes    uint64 // since it began to
	Limited  uint64 // packets dropped for Wants.RelayRate
}

// State is what the daemon is up to.
func (f *Facts) State() ipc.State {
	switch {
	case f.Prefs.Server == "" && f.Unfinished != "":
		return ipc.StateStarting
	case f.Prefs.Server == "":
		return ipc.StateNoServer
	case !f.Registered || f.Expired:
		return ipc.StateNeedsLogin
	case !f.Prefs.Up:
		return ipc.StateDown
	case f.Pending:
		return ipc.StatePending
	case f.Netmap == nil || f.Interface == "":
		return ipc.StateStarting
	default:
		return ipc.StateRunning
	}
}

// Status is the snapshot that people see.
func (f *Facts) Status(now time.Time) *ipc.Status {
	s := &ipc.Status{
		Version: f.Version, State: f.State(), Profile: f.Profile, Server: cmp.Or(f.Prefs.Server, f.Unfinished), Coord: f.Coord, Time: now,
		Self:  ipc.Self{Name: f.Prefs.Hostname, Key: f.Key, Addrs: []netip.Addr{}, Endpoints: []ipc.Endpoint{}, Interface: f.Interface, Port: f.Port},
		Peers: []ipc.Peer{}, Relays: append([]ipc.Relay{}, f.Relays...), Problems: f.problems(now), Dropped: f.Drops, DNS: f.DNS,
	}
	for _, e := range f.Endpoints {
		s.Self.Endpoints = append(s.Self.Endpoints, ipc.Endpoint{Addr: e.Addr, Kind: string(e.Kind)})
	}
	slices.SortFunc(s.Relays, func(a, b ipc.Relay) int { return cmp.Compare(a.Name, b.Name) })
	s.Lockdown, s.Shields, s.Accepts, s.Portal = f.Wants.Lockdown, f.Wants.ShieldsUp, f.Wants.Accept, f.Paused
	s.Exit, s.Prefs = f.exit(), f.Prefs.Number()
	m := f.Netmap
	if m == nil {
		return s
	}
	s.Self.Offers = f.offers()
	if f.Wants.Relay {
		r := &ipc.Relaying{Rate: f.Wants.RelayRate, Machines: f.Relayed.Machines, Bytes: f.Relayed.Bytes, Limited: f.Relayed.Limited}
		if is := m.Self.Relaying; is != nil {
			r.Allowed, r.Addrs = true, is.Addrs
		}
		s.Self.Relaying = r
	}
	s.Seq = m.Seq
	s.Network = ipc.Network{Name: m.Network.Name, Suffix: m.Network.Suffix, IPv4: m.Network.IPv4, IPv6: m.Network.IPv6}
	s.Self.Name, s.Self.DNSName = m.Self.Name, m.Self.Name+"."+m.Network.Suffix
	s.Self.Addrs, s.Self.User, s.Self.Expires = m.Self.Addrs, m.Self.User.Login, m.Self.Expires
	for i := range m.Peers {
		s.Peers = append(s.Peers, f.peer(&m.Peers[i]))
	}
	slices.SortFunc(s.Peers, func(a, b ipc.Peer) int { return cmp.Compare(a.Name, b.Name) })
	return s
}

func (f *Facts) peer(n *coord.Node) ipc.Peer {
	traffic := f.Traffic[n.Key]
	path, ok := f.Paths[n.Key]
	if !ok {
		path.Kind = ipc.PathNone
	}
	p := ipc.Peer{
		ID: int64(n.ID), Name: n.Name, DNSName: n.Name + "." + f.Netmap.Network.Suffix, Key: n.Key, Addrs: n.Addrs,
		User: n.User.Login, OS: n.OS, Version: n.Version, Expires: n.Expires, Online: n.Online, LastSeen: n.LastSeen,
		Path: path, History: f.Histories[n.Key], LastHandshake: traffic.LastHandshake, RxBytes: traffic.Rx, TxBytes: traffic.Tx,
	}
	f.peerRoutes(&p, n)
	return p
}

// How long before its key's end a person is told: at first by the way, with time to come back from a holiday, then
// as a problem, and at last as one that has no time.
const (
	expiryNotice  = 14 * 24 * time.Hour
	expiryWarning = 7 * 24 * time.Hour
	expiryUrgent  = 24 * time.Hour
)

// days rounds to whole ones.
func days(d time.Duration) string {
	if n := int((d + 12*time.Hour).Hours() / 24); n != 1 {
		return fmt.Sprintf("%d days", n)
	}
	return "a day"
}

// expiry is the problem of a key that ends soon, or nothing.
func expiry(now, end time.Time) (p ipc.Problem, soon bool) {
	left := end.Sub(now)
	if end.IsZero() || left > expiryNotice {
		return p, false
	}
	p = ipc.Problem{
		Code: ipc.ProblemKeySoon, Level: ipc.ProblemNotice, Fix: "warren login (no connection breaks)",
		Text: fmt.Sprintf("This machine's key expires in %s, on %s.", days(left), end.Local().Format("2 January 15:04")),
	}
	switch {
	case left <= 0:
		p.Level, p.Text = ipc.ProblemUrgent, "This machine's key should have expired at "+end.Local().Format("15:04 on 2 January")+"."
	case left <= expiryUrgent:
		p.Level = ipc.ProblemUrgent
		p.Text = fmt.Sprintf("This machine's key expires today, at %s: then the others do not hear it any more.", end.Local().Format("15:04 on 2 January"))
	case left <= expiryWarning:
		p.Level = ""
	}
	return p, true
}

// problems lists what a person may want to mend, worst first.
func (f *Facts) problems(now time.Time) []ipc.Problem {
	ending, soon := ipc.Problem{}, false
	if f.Netmap != nil {
		ending, soon = expiry(now, f.Netmap.Self.Expires)
	}
	var ps []ipc.Problem
	if soon = soon && !f.Expired; soon && ending.Level == ipc.ProblemNotice {
		ps = append(f.graver(ipc.Problem{}, false), ending)
	} else {
		ps = f.graver(ending, soon)
	}
	return append(ps, f.routeNotices()...)
}

// graver lists what is more than a notice.
func (f *Facts) graver(ending ipc.Problem, soon bool) []ipc.Problem {
	ps := append([]ipc.Problem{}, f.Failures...)
	switch {
	case f.Expired:
		ps = append(ps, ipc.Problem{
			Code: ipc.ProblemKeyExpired, Level: ipc.ProblemUrgent, Text: "This machine's key has expired: the others do not hear it any more.",
			Fix: "warren login: it has the same name and addresses then",
		})
	case soon:
		ps = append(ps, ending)
	case f.Dismissed == Denied:
		ps = append(ps, ipc.Problem{Code: ipc.ProblemDenied, Text: "An admin of the network did not let this machine in.", Fix: "Ask them; then: warren up"})
	case f.Dismissed == Removed:
		ps = append(ps, ipc.Problem{Code: ipc.ProblemRemoved, Text: "This machine was removed from its network, or its time there was over.", Fix: "warren up (it may need a new pre-auth key)"})
	}
	if f.Unfinished != "" {
		ps = append(ps, ipc.Problem{
			Code: ipc.ProblemUnfinished, Level: ipc.ProblemNotice, About: f.Unfinished,
			Text: fmt.Sprintf("A login at %s by pre-auth key was interrupted, and waits to be completed: that is tried until the server answers.", f.Unfinished),
			Fix:  "Give it up: warren down",
		})
	}
	ps = append(ps, f.held()...)
	if f.State() != ipc.StateRunning && f.State() != ipc.StateStarting {
		return ps
	}
	ps = append(ps, f.exitProblems()...)
	ps = append(ps, f.lockedOffers()...)
	ps = append(ps, f.darkness()...)
	ps = append(ps, f.cutOff()...)
	if !f.Coord.Connected && f.Coord.Error != "" {
		text := "No connection to the coordination server: " + strings.TrimSuffix(f.Coord.Error, ".") + "."
		if f.Netmap != nil {
			text += " Connections go on; changes of the network arrive when it is back."
		}
		ps = append(ps, ipc.Problem{Code: ipc.ProblemCoord, Text: text})
	}
	if want := f.Prefs.Port; want != 0 && f.Port != 0 && f.Port != want {
		ps = append(ps, ipc.Problem{
			Code: ipc.ProblemPortTaken, Text: fmt.Sprintf("UDP port %d is taken by another program: port %d is used instead.", want, f.Port),
			Fix:   "Stop that program, then: warren down, warren up. Or take another port: sudo warren set --port NUMBER",
			About: fmt.Sprintf("UDP %d → %d", want, f.Port),
		})
	}
	if len(f.Relays) > 0 && !slices.ContainsFunc(f.Relays, func(r ipc.Relay) bool { return r.Connected && !r.Machine }) {
		ps = append(ps, ipc.Problem{Code: ipc.ProblemNoRelay, Text: "No relay can be reached: machines without a direct path do not answer."})
	}
	return ps
}

// Find gives the peer that a person names by name, DNS name or address, or nil.
func Find(s *ipc.Status, name string) *ipc.Peer {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	addr, _ := netip.ParseAddr(name)
	for i := range s.Peers {
		p := &s.Peers[i]
		if p.Name == name || p.DNSName == name || slices.Contains(p.Addrs, addr) {
			return p
		}
	}
	return nil
}
