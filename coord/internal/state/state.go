package state

import (
	"encoding/json"
	"slices"
	"sort"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/policy"
	"github.com/warren-mesh/warren/coord/key"
)

// horizon is how many changes are kept of the log, at the least. A machine that missed more gets a whole netmap, which
// then costs less.
const horizon = 1 << 16

// entry is a node. It never changes: a change makes another.
type entry struct {
	Member
	json   []byte // node, encoded
	ticket []byte // that of TicketUntil, if somebody has needed it yet
}

// hidden reports whether nobody may see the node, nor it anybody.
func (m *Member) hidden() bool { return m.Expired || m.Pending }

// machine is what the rules know of it.
func (m *Member) machine() policy.Machine {
	return policy.Machine{ID: m.Node.ID, User: m.Node.User.ID, Tags: m.Node.Tags, Addrs: m.Node.Addrs, Routes: m.Node.Routes}
}

func (m *Member) user() policy.User {
	return policy.User{ID: m.Node.User.ID, Login: m.Node.User.Login, Role: m.Role}
}

// sameFacts reports whether all that the rules go by is alike.
func (m *Member) sameFacts(o *Member) bool {
	a, b := &m.Node, &o.Node
	return m.hidden() == o.hidden() && m.Role == o.Role && a.User == b.User &&
		slices.Equal(a.Tags, b.Tags) && slices.Equal(a.Addrs, b.Addrs) && slices.Equal(a.Routes, b.Routes)
}

// watcher is a machine with a stream here.
type watcher struct {
	sight string        // policy.Compiled.Sight
	told  *coord.Filter // the filter that it has
}

// State is the network. It has one owner; see View for readers.
type State struct {
	seq    uint64
	common coord.Network
	relays []coord.Relay
	dns    coord.DNS // never changed in place
	nodes  table
	rules  *policy.Compiled // of those that are not hidden
	moved  uint64           // how often what the rules go by, or they themselves, have changed

	networkSeq, relaysSeq, dnsSeq uint64
	filterSeq                     map[coord.NodeID]uint64 // when its filter may have changed last, where that is after begun
	begun                         uint64                  // the last number in what New had by which any filter may have changed

	byMachine map[key.MachinePublic]coord.NodeID
	followers map[coord.NodeID]*watcher
	sights    map[string]map[coord.NodeID]struct{} // the followers
	expiry    time.Time                            // the next; zero: none

	log   []Change // in order; all after its first
	bases bases

	pending pending
}

// pending is what the next Flush tells.
type pending struct {
	touched map[coord.NodeID]struct{}                  // whoever sees them hears how they are now
	pairs   map[coord.NodeID]map[coord.NodeID]struct{} // this follower hears how those are, or that it sees them no more
	moves   map[coord.NodeID][]*policy.Move            // and so of these
	filters map[coord.NodeID]struct{}                  // of followers, that may have changed
	drafted map[coord.NodeID]filterMove                // how, where that is known already
	tickets map[coord.NodeID]struct{}
	shared  bool // relays, network or DNS
}

func newPending() pending {
	return pending{
		touched: map[coord.NodeID]struct{}{}, pairs: map[coord.NodeID]map[coord.NodeID]struct{}{},
		moves: map[coord.NodeID][]*policy.Move{}, filters: map[coord.NodeID]struct{}{}, tickets: map[coord.NodeID]struct{}{},
	}
}

// New makes the state of a network.
func New(n Network) *State {
	s := &State{
		common: n.Common, relays: n.Relays, dns: n.DNS, pending: newPending(),
		byMachine: map[key.MachinePublic]coord.NodeID{}, filterSeq: map[coord.NodeID]uint64{},
		followers: map[coord.NodeID]*watcher{}, sights: map[string]map[coord.NodeID]struct{}{}, bases: newBases(),
	}
	s.rules = policy.Compile(n.Rules, networkOf(n))
	for i := range n.Members {
		s.enter(n.Members[i])
	}
	for _, c := range n.Log {
		s.note(c)
		if c.Facts || c.Kind == RulesChange {
			s.begun = c.Seq
		}
	}
	return s
}

// networkOf is what the rules are compiled for.
func networkOf(n Network) policy.Network {
	out := policy.Network{IPv4: n.Common.IPv4, IPv6: n.Common.IPv6}
	for i := range n.Members {
		if m := &n.Members[i]; !m.hidden() {
			out.Machines = append(out.Machines, m.machine())
			if u := m.user(); u.ID != 0 {
				out.Users = append(out.Users, u)
			}
		}
	}
	return out
}

// Seq is the number of the last change that is in it.
func (s *State) Seq() uint64 { return s.seq }

// Apply takes in what came after Seq. What follows from it for others is Flush's to say.
func (s *State) Apply(n News) {
	is := make(map[coord.NodeID]*Member, len(n.Members))
	for i := range n.Members {
		is[n.Members[i].Node.ID] = &n.Members[i]
	}
	if slices.ContainsFunc(n.Log, func(c Change) bool { return c.Kind == RulesChange }) {
		s.edit(n.Rules, n.Draft)
	}
	for _, c := range n.Log {
		s.note(c)
		switch c.Kind {
		case NodeChange:
			s.pending.touched[c.ID] = struct{}{}
			if is[c.ID] == nil {
				s.remove(c.ID)
			}
		case TicketChange:
		case RelaysChange:
			s.relays, s.pending.shared = slices.Clone(n.Relays), true
		case NetworkChange:
			s.common, s.pending.shared = n.Common, true
		case DNSChange:
			s.dns, s.pending.shared = n.DNS, true
		case RulesChange, OtherChange:
		}
	}
	for i := range n.Members {
		s.put(n.Members[i])
	}
}

// note takes in a line of the log.
func (s *State) note(c Change) {
	s.seq = c.Seq
	if len(s.log) >= 2*horizon {
		s.log = append(make([]Change, 0, 2*horizon), s.log[horizon:]...)
	}
	s.log = append(s.log, c)
	switch c.Kind {
	case RelaysChange:
		s.relaysSeq = c.Seq
	case NetworkChange:
		s.networkSeq = c.Seq
	case DNSChange:
		s.dnsSeq = c.Seq
	case NodeChange, TicketChange, RulesChange, OtherChange:
	}
}

// put replaces an entry, or makes one.
func (s *State) put(n Member) {
	id := n.Node.ID
	was := s.nodes.get(id)
	s.enter(n)
	if was == nil || !was.sameFacts(&n) {
		s.judge(&n)
	}
	if was != nil && n.TicketSeq > was.TicketSeq && s.Follows(id) {
		s.pending.tickets[id] = struct{}{}
	}
}

// enter puts an entry into the table.
func (s *State) enter(n Member) {
	id := n.Node.ID
	e := &entry{Member: n}
	e.json, _ = json.Marshal(n.Node) // a node holds nothing that cannot be encoded
	if was := s.nodes.get(id); was != nil {
		if was.TicketUntil.Equal(n.TicketUntil) && was.Node.Key == n.Node.Key {
			e.ticket = was.ticket
		}
		if was.Machine != n.Machine {
			delete(s.byMachine, was.Machine)
		}
	}
	s.nodes = s.nodes.with(id, e)
	s.byMachine[n.Machine] = id
	if x := n.Node.Expires; !x.IsZero() && !n.Expired && (s.expiry.IsZero() || x.Before(s.expiry)) {
		s.expiry = x
	}
}

func (s *State) remove(id coord.NodeID) {
	e := s.nodes.get(id)
	if e == nil {
		return
	}
	s.Unfollow(id)
	s.concern(id, s.rules.Remove(id))
	delete(s.filterSeq, id)
	s.nodes = s.nodes.with(id, nil)
	if s.byMachine[e.Machine] == id {
		delete(s.byMachine, e.Machine)
	}
}

// Follow says that a machine follows the netmap here: Flush tells it what is new from now on.
func (s *State) Follow(id coord.NodeID) {
	if s.nodes.get(id) == nil {
		return
	}
	s.followers[id] = &watcher{sight: s.rules.Sight(id)}
	s.watch(id, s.followers[id].sight)
}

func (s *State) watch(id coord.NodeID, sight string) {
	if s.sights[sight] == nil {
		s.sights[sight] = map[coord.NodeID]struct{}{}
	}
	s.sights[sight][id] = struct{}{}
}

func (s *State) unwatch(id coord.NodeID, sight string) {
	delete(s.sights[sight], id)
	if len(s.sights[sight]) == 0 {
		delete(s.sights, sight)
	}
}

// Follows reports whether a machine follows here.
func (s *State) Follows(id coord.NodeID) bool { return s.followers[id] != nil }

// Unfollow says that it follows no more.
func (s *State) Unfollow(id coord.NodeID) {
	f := s.followers[id]
	if f == nil {
		return
	}
	s.unwatch(id, f.sight)
	delete(s.followers, id)
	delete(s.pending.tickets, id)
	delete(s.pending.pairs, id)
	delete(s.pending.moves, id)
	delete(s.pending.filters, id)
}

// SetTicket gives the ticket of a machine's TicketUntil, which any server of the network makes alike.
func (s *State) SetTicket(id coord.NodeID, ticket []byte) {
	if e := s.nodes.get(id); e != nil {
		next := *e
		next.ticket = ticket
		s.nodes = s.nodes.with(id, &next)
	}
}

// Deadline is when Step wants to be called next; zero: never.
func (s *State) Deadline() time.Time { return s.expiry }

// Step gives the machines whose keys have expired by now; that they have must get into the log.
func (s *State) Step(now time.Time) (expired []coord.NodeID) {
	if s.expiry.IsZero() || now.Before(s.expiry) {
		return nil
	}
	s.expiry = time.Time{}
	for e := range s.nodes.all() {
		switch x := e.Node.Expires; {
		case x.IsZero() || e.Expired:
		case !x.After(now):
			expired = append(expired, e.Node.ID)
		case s.expiry.IsZero() || x.Before(s.expiry):
			s.expiry = x
		}
	}
	return expired
}

// since gives the changes after a number that the log has.
func (s *State) since(after uint64) (cs []Change, ok bool) {
	i := sort.Search(len(s.log), func(i int) bool { return s.log[i].Seq >= after })
	if i == len(s.log) || s.log[i].Seq != after {
		return nil, false
	}
	return s.log[i+1:], true
}

// HasTicket reports whether the ticket of a machine's TicketUntil is there.
func (s *State) HasTicket(id coord.NodeID) bool {
	e := s.nodes.get(id)
	return e != nil && e.ticket != nil
}
