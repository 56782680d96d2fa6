package state

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/policy"
	"github.com/warren-mesh/warren/coord/key"
)

// Grace is how long a machine whose stream ended still counts as online: a reconnect is no news to its peers.
const Grace = 3 * time.Second

// horizon is how many changes the log keeps. A machine that missed more gets a whole netmap, which then costs less.
const horizon = 1 << 16

// entry is a node. It never changes: a change makes another.
type entry struct {
	node     coord.Node
	machine  key.MachinePublic
	class    policy.Class
	facts    policy.Facts
	json     []byte // node, encoded
	modified uint64 // number of its last change
	expired  bool   // it is a node, but hidden
	pending  bool   // the same

	ephemeral bool // as Put said

	epoch uint64    // of its stream; 0: it has none
	left  time.Time // when its last stream ended, while Grace lasts

	ticket    []byte
	ticketSeq uint64 // number of the change that brought the ticket; pending while it has none yet
	renew     time.Time
}

// hidden reports whether nobody may see the node, nor it anybody.
func (e *entry) hidden() bool { return e.expired || e.pending }

// pending is the number of what has none yet: newer than all that anybody has.
const pending = math.MaxUint64

// change is one line of the log.
type change struct {
	seq   uint64
	id    coord.NodeID
	facts policy.Facts // as they were, for what is gone
}

// State is the network. It has one owner; see View for readers.
type State struct {
	policy  policy.Policy
	seq     uint64
	network coord.Network
	relays  []coord.Relay
	nodes   table

	networkSeq, relaysSeq uint64

	byMachine map[key.MachinePublic]coord.NodeID
	online    map[policy.Class]map[coord.NodeID]struct{}
	leaving   map[coord.NodeID]struct{}
	expiry    time.Time // the next; zero: none

	log     []change
	oldest  uint64 // the log holds all changes after this number
	touched map[coord.NodeID]policy.Facts
	tickets map[coord.NodeID]struct{}
	shared  bool // relays or network changed since the last Flush
}

// New makes the state of a network whose last number, before the program started, was last. Nobody can ask for what
// came before: they get a whole netmap.
func New(now time.Time, last uint64, network coord.Network, relays []coord.Relay) *State {
	s := &State{
		seq: last, network: network, relays: relays,
		byMachine: map[key.MachinePublic]coord.NodeID{},
		online:    map[policy.Class]map[coord.NodeID]struct{}{},
		leaving:   map[coord.NodeID]struct{}{},
		touched:   map[coord.NodeID]policy.Facts{},
		tickets:   map[coord.NodeID]struct{}{},
	}
	s.oldest = s.next(now)
	return s
}

// next numbers a change.
func (s *State) next(now time.Time) uint64 {
	s.seq = max(s.seq+1, uint64(max(0, now.UnixMilli())))
	return s.seq
}

// Apply takes in an event. What follows from it for others is Flush's to say.
func (s *State) Apply(now time.Time, ev Event) {
	switch ev := ev.(type) {
	case Put:
		s.put(now, ev)
	case Gone:
		s.gone(now, ev.ID)
	case Said:
		s.said(now, ev)
	case Joined:
		s.joined(now, ev)
	case Left:
		s.left(now, ev)
	case SetTicket:
		s.setTicket(now, ev)
	case SetRelays:
		if !reflect.DeepEqual(s.relays, ev.Relays) {
			s.relays, s.shared = slices.Clone(ev.Relays), true
			s.relaysSeq = s.next(now)
		}
	case SetNetwork:
		if s.network != ev.Network {
			s.network, s.shared = ev.Network, true
			s.networkSeq = s.next(now)
		}
	}
}

// change puts another entry in the place of the old; edit changes its copy.
func (s *State) change(now time.Time, e *entry, edit func(*entry)) {
	next := *e
	edit(&next)
	if reflect.DeepEqual(next.node, e.node) && next.hidden() == e.hidden() && e.json != nil {
		s.nodes = s.nodes.with(next.node.ID, &next) // nobody else sees the difference
		return
	}
	next.json, _ = json.Marshal(next.node) // a node holds nothing that cannot be encoded
	next.facts = policy.FactsOf(&next.node)
	next.class = s.policy.ClassOf(next.facts)
	next.modified = s.next(now)
	s.nodes = s.nodes.with(next.node.ID, &next)
	s.touch(next.modified, &next)
}

// touch remembers that others have something to hear.
func (s *State) touch(seq uint64, e *entry) {
	if len(s.log) >= horizon {
		s.oldest = s.log[horizon/2-1].seq
		s.log = append(make([]change, 0, horizon), s.log[horizon/2:]...)
	}
	s.log = append(s.log, change{seq, e.node.ID, e.facts})
	s.touched[e.node.ID] = e.facts
}

func (s *State) put(now time.Time, ev Put) {
	e := s.nodes.get(ev.Node.ID)
	if e == nil {
		e = &entry{node: coord.Node{ID: ev.Node.ID}, ticketSeq: pending}
		e.node = ev.Node
		e.node.Online = false
	} else if e.machine != ev.Machine {
		delete(s.byMachine, e.machine)
	}
	s.byMachine[ev.Machine] = ev.Node.ID
	was := e.class
	s.change(now, e, func(e *entry) {
		n, old := ev.Node, e.node
		n.Disco, n.Endpoints, n.Relay, n.Online, n.LastSeen = old.Disco, old.Endpoints, old.Relay, old.Online, old.LastSeen
		e.node, e.machine = n, ev.Machine
		e.expired = !n.Expires.IsZero() && !n.Expires.After(now)
		e.pending, e.ephemeral = ev.Pending, ev.Ephemeral
	})
	e = s.nodes.get(ev.Node.ID)
	if e.epoch != 0 && was != e.class {
		delete(s.online[was], e.node.ID)
		s.listen(e)
	}
	if x := e.node.Expires; !x.IsZero() && !e.expired && (s.expiry.IsZero() || x.Before(s.expiry)) {
		s.expiry = x
	}
}

func (s *State) gone(now time.Time, id coord.NodeID) {
	e := s.nodes.get(id)
	if e == nil {
		return
	}
	s.nodes = s.nodes.with(id, nil)
	delete(s.byMachine, e.machine)
	delete(s.online[e.class], id)
	delete(s.leaving, id)
	delete(s.tickets, id)
	s.touch(s.next(now), e)
}

func (s *State) said(now time.Time, ev Said) {
	if e := s.nodes.get(ev.ID); e != nil {
		s.change(now, e, func(e *entry) {
			u := ev.Update
			e.node.Disco, e.node.Endpoints, e.node.Relay = u.Disco, slices.Clone(u.Endpoints), u.Relay
			e.node.OS, e.node.Version = u.OS, u.Version
		})
	}
}

func (s *State) listen(e *entry) {
	if s.online[e.class] == nil {
		s.online[e.class] = map[coord.NodeID]struct{}{}
	}
	s.online[e.class][e.node.ID] = struct{}{}
}

func (s *State) joined(now time.Time, ev Joined) {
	e := s.nodes.get(ev.ID)
	if e == nil || ev.Epoch <= e.epoch {
		return
	}
	delete(s.leaving, ev.ID)
	s.change(now, e, func(e *entry) {
		e.epoch, e.left = ev.Epoch, time.Time{}
		e.node.Online, e.node.LastSeen = true, time.Time{}
	})
	s.listen(s.nodes.get(ev.ID))
}

func (s *State) left(now time.Time, ev Left) {
	e := s.nodes.get(ev.ID)
	if e == nil || e.epoch != ev.Epoch {
		return
	}
	delete(s.online[e.class], ev.ID)
	s.leaving[ev.ID] = struct{}{}
	s.change(now, e, func(e *entry) { e.epoch, e.left = 0, now })
}

// setTicket: a machine that follows gets the ticket with the next Flush, in a line of its own; any other with its next
// netmap.
func (s *State) setTicket(now time.Time, ev SetTicket) {
	e := s.nodes.get(ev.ID)
	if e == nil {
		return
	}
	next := *e
	next.ticket, next.renew, next.ticketSeq = ev.Ticket, ev.Renew, pending
	if e.epoch == 0 {
		next.ticketSeq = s.next(now)
	} else {
		s.tickets[ev.ID] = struct{}{}
	}
	s.nodes = s.nodes.with(ev.ID, &next)
}

// Deadline is when Step wants to be called next; zero: never.
func (s *State) Deadline() time.Time {
	due := s.expiry
	for id := range s.leaving {
		if t := s.nodes.get(id).left.Add(Grace); due.IsZero() || t.Before(due) {
			due = t
		}
	}
	return due
}

// Step does what time alone does: machines go offline, and keys expire. It returns the machines that expired.
func (s *State) Step(now time.Time) (expired []coord.NodeID) {
	for id := range s.leaving {
		e := s.nodes.get(id)
		if now.Before(e.left.Add(Grace)) {
			continue
		}
		delete(s.leaving, id)
		s.change(now, e, func(e *entry) { e.node.Online, e.node.LastSeen, e.left = false, e.left, time.Time{} })
	}
	if s.expiry.IsZero() || now.Before(s.expiry) {
		return nil
	}
	s.expiry = time.Time{}
	for e := range s.nodes.all() {
		switch x := e.node.Expires; {
		case x.IsZero() || e.expired:
		case !x.After(now):
			s.change(now, e, func(e *entry) { e.expired = true })
			expired = append(expired, e.node.ID)
		case s.expiry.IsZero() || x.Before(s.expiry):
			s.expiry = x
		}
	}
	return expired
}
