package state

import (
	"iter"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
)

// View is the network at one moment. It never changes.
type View struct {
	Seq     uint64
	Network coord.Network
	Relays  []coord.Relay
	DNS     coord.DNS
	nodes   table
}

// View gives the network as it is now.
func (s *State) View() *View {
	return &View{Seq: s.seq, Network: s.common, Relays: s.relays, DNS: s.dns, nodes: s.nodes}
}

// ByMachine finds the node of a machine.
func (s *State) ByMachine(m key.MachinePublic) (Member, bool) {
	id, ok := s.byMachine[m]
	if !ok {
		return Member{}, false
	}
	return s.nodes.get(id).Member, true
}

// Len counts the nodes.
func (v *View) Len() int { return v.nodes.count }

// Members goes through all nodes in the order of their IDs.
func (v *View) Members() iter.Seq[Member] {
	return func(yield func(Member) bool) {
		for e := range v.nodes.all() {
			if !yield(e.Member) {
				return
			}
		}
	}
}

// Member finds a node.
func (v *View) Member(id coord.NodeID) (Member, bool) {
	if e := v.nodes.get(id); e != nil {
		return e.Member, true
	}
	return Member{}, false
}
