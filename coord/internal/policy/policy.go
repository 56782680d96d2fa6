// Machines that see the same are of one Class, so that a change is filtered and encoded once for each class and not
// once for each machine. The only rule of a Policy today is that all machines of the network see each other; a Compiled
// file is to take its place.

package policy

import "github.com/warren-mesh/warren/coord"

// Facts are what the rules know of a machine.
type Facts struct {
	ID   coord.NodeID
	User int64    // 0: nobody's, as tagged machines are
	Tags []string // ordered
}

// FactsOf takes the facts from a node.
func FactsOf(n *coord.Node) Facts { return Facts{ID: n.ID, User: n.User.ID, Tags: n.Tags} }

// Class names machines that see the same. It is comparable.
type Class struct {
	name string
}

// Policy is a network's rules. The zero value is the default; a Policy never changes.
type Policy struct{}

// ClassOf says what a machine is, as a viewer.
func (Policy) ClassOf(Facts) Class { return Class{name: "all"} }

// Sees reports whether machines of the class may see the subject. That every machine sees itself is no rule's matter.
func (Policy) Sees(viewer Class, _ Facts) bool { return viewer.name == "all" }
