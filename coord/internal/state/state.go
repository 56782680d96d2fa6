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
	class  policy.Class
	facts  policy.Facts
	json   []byte // node, encoded
	ticket []byte // that of TicketUntil, if somebody has needed it yet
}

// hidden reports whether nobody may see the node, nor it anybody.
func (m *Member) hidden() bool { return m.Expired || m.Pending }

// State is the network. It has one owner; see View for readers.
type State struct {
	policy policy.Policy
	seq    uint64
	common coord.Network
	relays []coord.Relay
	dns    coord.DNS // never changed in place
	nodes  table

	networkSeq, relaysSeq, dnsSeq uint64

	byMachine map[key.MachinePublic]coord.NodeID
	followers map[policy.Class]map[coord.NodeID]struct{}
	expiry    time.Time // the next; zero: none

	log   []Change // in order; all after its first
	bases map[policy.Class]*Delivery

	// What the next Flush tells.
	touched map[coord.NodeID][]policy.Facts // with what they were
	tickets map[coord.NodeID]struct{}
	shared  bool // relays, network or DNS
}

// New makes the state of a network.
func New(n Network) *State {
	s := &State{
		common: n.Common, relays: n.Relays, dns: n.DNS,
		byMachine: map[key.MachinePublic]coord.NodeID{},
		followers: map[policy.Class]map[coord.NodeID]struct{}{},
		touched:   map[coord.NodeID][]policy.Facts{},
		tickets:   map[coord.NodeID]struct{}{},
		bases:     map[policy.Class]*Delivery{},
	}
	for i := range n.Members {
		s.put(n.Members[i])
	}
	for _, c := range n.Log {
		s.note(c)
	}
	return s
}

// Seq is the number of the last change that is in it.
func (s *State) Seq() uint64 { return s.seq }

// Apply takes in what came after Seq. What follows from it for others is Flush's to say.
func (s *State) Apply(n News) {
	is := make(map[coord.NodeID]*Member, len(n.Members))
	for i := range n.Members {
		is[n.Members[i].Node.ID] = &n.Members[i]
	}
	for _, c := range n.Log {
		s.note(c)
		switch c.Kind {
		case NodeChange:
			was := s.touched[c.ID]
			if c.Was != nil {
				was = append(was, *c.Was)
			}
			s.touched[c.ID] = was
			if is[c.ID] == nil {
				s.remove(c.ID)
			}
		case TicketChange:
		case RelaysChange:
			s.relays, s.shared = slices.Clone(n.Relays), true
		case NetworkChange:
			s.common, s.shared = n.Common, true
		case DNSChange:
			s.dns, s.shared = n.DNS, true
		case OtherChange:
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
	case NodeChange, TicketChange, OtherChange:
	}
}

// put replaces an entry, or makes one.
func (s *State) put(n Member) {
	id := n.Node.ID
	was := s.nodes.get(id)
	e := &entry{Member: n}
	e.json, _ = json.Marshal(n.Node) // a node holds nothing that cannot be encoded
	e.facts = policy.FactsOf(&n.Node)
	e.class = s.policy.ClassOf(e.facts)
	if was != nil {
		if was.TicketUntil.Equal(n.TicketUntil) && was.Node.Key == n.Node.Key {
			e.ticket = was.ticket
		}
		if was.Machine != n.Machine {
			delete(s.byMachine, was.Machine)
		}
		if s.Follows(id) {
			if was.class != e.class {
				delete(s.followers[was.class], id)
				s.follow(e)
			}
			if n.TicketSeq > was.TicketSeq {
				s.tickets[id] = struct{}{}
			}
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
	s.nodes = s.nodes.with(id, nil)
	if s.byMachine[e.Machine] == id {
		delete(s.byMachine, e.Machine)
	}
	delete(s.followers[e.class], id)
	delete(s.tickets, id)
}

// Follow says that a machine follows the netmap here: Flush tells it what is new from now on.
func (s *State) Follow(id coord.NodeID) {
	if e := s.nodes.get(id); e != nil {
		s.follow(e)
	}
}

func (s *State) follow(e *entry) {
	if s.followers[e.class] == nil {
		s.followers[e.class] = map[coord.NodeID]struct{}{}
	}
	s.followers[e.class][e.Node.ID] = struct{}{}
}

// Follows reports whether a machine follows here.
func (s *State) Follows(id coord.NodeID) bool {
	e := s.nodes.get(id)
	if e == nil {
		return false
	}
	_, ok := s.followers[e.class][id]
	return ok
}

// Unfollow says that it follows no more.
func (s *State) Unfollow(id coord.NodeID) {
	if e := s.nodes.get(id); e != nil {
		delete(s.followers[e.class], id)
		delete(s.tickets, id)
	}
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
