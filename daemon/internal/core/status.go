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
	Registered bool // this machine is a node of the network at Prefs.Server
	Expired    bool // the server says that its key has expired
	Netmap     *coord.Netmap

	// Of the data plane; zero while it is down.
	Interface string
	Port      uint16
	Endpoints []coord.Endpoint
	Paths     map[key.NodePublic]ipc.Path
	Traffic   map[key.NodePublic]Traffic
	Relays    []ipc.Relay
	Drops     ipc.Drops

	Coord    ipc.Link
	Failures []ipc.Problem // what the shells could not do
}

// Traffic is what WireGuard has counted for a peer.
type Traffic struct {
	LastHandshake time.Time
	Rx, Tx        uint64 // bytes
}

// State is what the daemon is up to.
func (f *Facts) State() ipc.State {
	switch {
	case f.Prefs.Server == "":
		return ipc.StateNoServer
	case !f.Registered || f.Expired:
		return ipc.StateNeedsLogin
	case !f.Prefs.Up:
		return ipc.StateDown
	case f.Netmap == nil || f.Interface == "":
		return ipc.StateStarting
	default:
		return ipc.StateRunning
	}
}

// Status is the snapshot that people see.
func (f *Facts) Status(now time.Time) *ipc.Status {
	s := &ipc.Status{
		Version: f.Version, State: f.State(), Server: f.Prefs.Server, Coord: f.Coord, Time: now,
		Self:  ipc.Self{Name: f.Prefs.Hostname, Key: f.Key, Addrs: []netip.Addr{}, Endpoints: []ipc.Endpoint{}, Interface: f.Interface, Port: f.Port},
		Peers: []ipc.Peer{}, Relays: append([]ipc.Relay{}, f.Relays...), Problems: f.problems(now), Dropped: f.Drops,
	}
	for _, e := range f.Endpoints {
		s.Self.Endpoints = append(s.Self.Endpoints, ipc.Endpoint{Addr: e.Addr, Kind: string(e.Kind)})
	}
	slices.SortFunc(s.Relays, func(a, b ipc.Relay) int { return cmp.Compare(a.Name, b.Name) })
	m := f.Netmap
	if m == nil {
		return s
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
	return ipc.Peer{
		ID: int64(n.ID), Name: n.Name, DNSName: n.Name + "." + f.Netmap.Network.Suffix, Key: n.Key, Addrs: n.Addrs,
		User: n.User.Login, OS: n.OS, Online: n.Online, LastSeen: n.LastSeen,
		Path: path, LastHandshake: traffic.LastHandshake, RxBytes: traffic.Rx, TxBytes: traffic.Tx,
	}
}

// expiryWarning is how long before its key's end a person is told: time to come back from a holiday.
const expiryWarning = 7 * 24 * time.Hour

// problems lists what a person may want to mend, worst first.
func (f *Facts) problems(now time.Time) []ipc.Problem {
	ps := append([]ipc.Problem{}, f.Failures...)
	switch {
	case f.Expired:
		ps = append(ps, ipc.Problem{Code: "key-expired", Text: "This machine's key has expired: the others do not hear it any more.", Fix: "warren login"})
	case f.Netmap != nil && !f.Netmap.Self.Expires.IsZero() && f.Netmap.Self.Expires.Before(now.Add(expiryWarning)):
		ps = append(ps, ipc.Problem{
			Code: "key-expires-soon", Fix: "warren login",
			Text: "This machine's key expires on " + f.Netmap.Self.Expires.Format("2 January 15:04") + ".",
		})
	}
	if f.State() != ipc.StateRunning && f.State() != ipc.StateStarting {
		return ps
	}
	if !f.Coord.Connected && f.Coord.Error != "" {
		text := "No connection to the coordination server: " + strings.TrimSuffix(f.Coord.Error, ".") + "."
		if f.Netmap != nil {
			text += " Connections go on; changes of the network arrive when it is back."
		}
		ps = append(ps, ipc.Problem{Code: ipc.ProblemCoord, Text: text})
	}
	if want := f.Prefs.Port; want != 0 && f.Port != 0 && f.Port != want {
		ps = append(ps, ipc.Problem{
			Code: "port-taken", Text: fmt.Sprintf("UDP port %d is taken by another program: port %d is used instead.", want, f.Port),
			Fix: "Stop that program, then: warren down, warren up. Or take another port: sudo warren set --port NUMBER",
		})
	}
	if len(f.Relays) > 0 && !slices.ContainsFunc(f.Relays, func(r ipc.Relay) bool { return r.Connected }) {
		ps = append(ps, ipc.Problem{Code: "no-relay", Text: "No relay can be reached: machines without a direct path do not answer."})
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
