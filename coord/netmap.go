package coord

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
)

// Netmap is the network as one machine sees it.
type Netmap struct {
	Seq     uint64  `json:"seq"` // the number of the last change that is in it
	Network Network `json:"network"`
	Self    Node    `json:"self"`
	Peers   []Node  `json:"peers"` // ordered by ID; never Self
	Relays  []Relay `json:"relays,omitempty"`
	Ticket  []byte  `json:"ticket,omitempty"` // to show to relays; they alone read it
	DNS     DNS     `json:"dns,omitzero"`

	// Filter is what may come in to Self. Nil: the server knows no rules, and all that peers send may come in. No change
	// makes it nil again; only a whole netmap can lack it.
	Filter *Filter `json:"filter,omitempty"`
}

// Change is one step from a netmap to the next. Exactly one field is set.
type Change struct {
	Network *Network `json:"network,omitempty"`
	Self    *Node    `json:"self,omitempty"`
	Upsert  *Node    `json:"upsert,omitempty"` // this peer is new, or is now so; if it has Self's ID, this is Self
	Remove  NodeID   `json:"remove,omitempty"` // this peer is gone, or not to be seen any more
	Relays  *[]Relay `json:"relays,omitempty"`
	Ticket  []byte   `json:"ticket,omitempty"`
	DNS     *DNS     `json:"dns,omitempty"`
	Filter  *Filter  `json:"filter,omitempty"` // the whole of it
	Nets    *NetsOf  `json:"nets,omitempty"`   // one of its sets
}

// Update is the body of one line of the stream: a whole netmap, or the changes since the line before. A whole netmap
// without Self is the same for many machines; the changes of the line after it say which of Peers is Self.
type Update struct {
	Full    *Netmap  `json:"full,omitempty"`
	Changes []Change `json:"changes,omitempty"`
}

// Peer finds a peer by its ID, or returns nil.
func (m *Netmap) Peer(id NodeID) *Node {
	if i, ok := m.find(id); ok {
		return &m.Peers[i]
	}
	return nil
}

func (m *Netmap) find(id NodeID) (int, bool) {
	return slices.BinarySearchFunc(m.Peers, id, func(n Node, id NodeID) int { return cmp.Compare(n.ID, id) })
}

// Validate holds the whole netmap against the bounds of its parts, and against two machines that claim one
// identity: an ID, a key, a name or an address.
func (m *Netmap) Validate() error {
	if err := m.Network.Validate(); err != nil {
		return err
	}
	if err := m.DNS.Validate(); err != nil {
		return err
	}
	if m.Filter != nil {
		if err := m.Filter.Validate(&m.Network); err != nil {
			return err
		}
	}
	claimed := make(map[any]NodeID, 4*len(m.Peers)+4)
	check := func(n *Node) error {
		if err := n.Validate(&m.Network); err != nil {
			return err
		}
		claims := []any{n.ID, n.Key, n.Name}
		for _, a := range n.Addrs {
			claims = append(claims, a)
		}
		for _, c := range claims {
			if other, taken := claimed[c]; taken {
				return sayBothClaim(other, n.ID, c)
			}
			claimed[c] = n.ID
		}
		return nil
	}
	if err := check(&m.Self); err != nil {
		return err
	}
	for i := range m.Peers {
		if i > 0 && m.Peers[i-1].ID >= m.Peers[i].ID {
			return fmt.Errorf("%w netmap: its peers are not in order", ErrInvalid)
		}
		if err := check(&m.Peers[i]); err != nil {
			return err
		}
	}
	return nil
}

func sayBothClaim(a, b NodeID, what any) error {
	return fmt.Errorf("%w netmap: nodes %d and %d both claim %v", ErrInvalid, a, b, what)
}

// fewChanged is up to how many changed nodes are each compared with all others; for more the whole is quicker.
const fewChanged = 8

// validateChanged says of a netmap that changes have made of a valid one what Validate says of it: it looks only at
// what the changes touched.
func (m *Netmap) validateChanged(cs []Change) error {
	changed := make([]*Node, 0, fewChanged)
	for _, c := range cs {
		var n *Node
		switch { // in Apply's order
		case c.Network != nil:
			return m.Validate()
		case c.DNS != nil:
			if err := m.DNS.Validate(); err != nil {
				return err
			}
		case c.Filter != nil:
			if err := m.Filter.Validate(&m.Network); err != nil {
				return err
			}
		case c.Nets != nil:
			if err := m.Filter.validateNets(c.Nets); err != nil {
				return err
			}
		case c.Self != nil, c.Upsert != nil && c.Upsert.ID == m.Self.ID:
			n = &m.Self
		case c.Upsert != nil:
			n = m.Peer(c.Upsert.ID) // nil: removed again
		}
		if n == nil || slices.Contains(changed, n) {
			continue
		}
		if len(changed) == fewChanged {
			return m.Validate()
		}
		changed = append(changed, n)
	}
	for _, n := range changed {
		if err := n.Validate(&m.Network); err != nil {
			return err
		}
		for i, a := range n.Addrs {
			if slices.Contains(n.Addrs[:i], a) {
				return sayBothClaim(n.ID, n.ID, a)
			}
		}
		if err := n.claimsOf(&m.Self); err != nil {
			return err
		}
		for i := range m.Peers {
			if err := n.claimsOf(&m.Peers[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// claimsOf refuses what both nodes claim, if they are not one.
func (nd *Node) claimsOf(other *Node) error {
	switch {
	case nd == other:
		return nil
	case nd.ID == other.ID:
		return sayBothClaim(other.ID, nd.ID, nd.ID)
	case nd.Key == other.Key:
		return sayBothClaim(other.ID, nd.ID, nd.Key)
	case nd.Name == other.Name:
		return sayBothClaim(other.ID, nd.ID, nd.Name)
	}
	for _, a := range nd.Addrs {
		if slices.Contains(other.Addrs, a) {
			return sayBothClaim(other.ID, nd.ID, a)
		}
	}
	return nil
}

// Diff gives the changes that lead from old to new; Seq is no change of its own.
// Apply(old, Diff(old, new)) equals new but for Seq, and for a filter that new lacks.
func Diff(old, new *Netmap) []Change {
	var cs []Change
	if old.Network != new.Network {
		n := new.Network
		cs = append(cs, Change{Network: &n})
	}
	if !reflect.DeepEqual(old.Self, new.Self) {
		n := new.Self
		cs = append(cs, Change{Self: &n})
	}
	if !slices.Equal(old.Ticket, new.Ticket) {
		cs = append(cs, Change{Ticket: new.Ticket})
	}
	if !reflect.DeepEqual(old.Relays, new.Relays) {
		rs := slices.Clone(new.Relays)
		cs = append(cs, Change{Relays: &rs})
	}
	if !reflect.DeepEqual(old.DNS, new.DNS) {
		d := new.DNS
		cs = append(cs, Change{DNS: &d})
	}
	cs = append(cs, DiffFilters(old.Filter, new.Filter)...)
	// Removals come first: a name or an address may pass from one peer to another.
	for i := range old.Peers {
		if new.Peer(old.Peers[i].ID) == nil {
			cs = append(cs, Change{Remove: old.Peers[i].ID})
		}
	}
	for i := range new.Peers {
		n := new.Peers[i]
		if was := old.Peer(n.ID); was == nil || !reflect.DeepEqual(*was, n) {
			cs = append(cs, Change{Upsert: &n})
		}
	}
	return cs
}

// Apply gives the netmap after the changes; m itself is left as it is. Applying a change twice is as once.
func Apply(m *Netmap, cs []Change) *Netmap {
	out := *m
	out.Peers = slices.Clone(m.Peers)
	for _, c := range cs {
		switch {
		case c.Network != nil:
			out.Network = *c.Network
		case c.Self != nil:
			out.Self = *c.Self
			if i, found := out.find(c.Self.ID); found { // it was among all, before it was said who is who
				out.Peers = slices.Delete(out.Peers, i, i+1)
			}
		case c.Upsert != nil && c.Upsert.ID == out.Self.ID: // one body then serves all whom a change concerns
			out.Self = *c.Upsert
		case c.Upsert != nil:
			if i, found := out.find(c.Upsert.ID); found {
				out.Peers[i] = *c.Upsert
			} else {
				out.Peers = slices.Insert(out.Peers, i, *c.Upsert)
			}
		case c.Remove != 0:
			if i, found := out.find(c.Remove); found {
				out.Peers = slices.Delete(out.Peers, i, i+1)
			}
		case c.Relays != nil:
			out.Relays = slices.Clone(*c.Relays)
		case c.Ticket != nil:
			out.Ticket = c.Ticket
		case c.DNS != nil:
			out.DNS = *c.DNS
		case c.Filter != nil:
			out.Filter = c.Filter
		case c.Nets != nil:
			out.Filter = out.Filter.with(c.Nets)
		}
	}
	return &out
}
