package policy

import (
	"net/netip"

	"github.com/warren-mesh/warren/coord"
)

// File is a policy file that was read and found right. It never changes.
type File struct {
	groups    map[string][]string // logins, ordered
	hosts     map[string]netip.Prefix
	ipsets    map[string][]netip.Prefix
	tagOwners map[string][]selector
	rules     []rule
	routes    []approval
	exitNode  []selector
	asserts   []assertion
	declared  bool // it has acls or grants: the default is not in force
}

// kind is what a selector selects by.
type kind uint8

const (
	anyone   kind = iota + 1 // every machine and subnet, everything
	user                     // name is the login
	group                    // name is the group's
	tag                      // name is the tag's, without "tag:"
	role                     // name is the role's
	tagged                   // machines that are nobody's
	self                     // destination: the source's user's own machines
	internet                 // destination: public addresses through exit nodes
	subnets                  // destination: what lies behind subnet routers
	nets                     // addresses
)

// selector is one entry of a list of sources or destinations.
type selector struct {
	kind kind
	name string         // see kind; of nets what it was written as
	nets []netip.Prefix // of nets, in order, without overlaps
	text string         // as it was written, or would be: the name of its set in a filter
}

// target is a destination with what is allowed there.
type target struct {
	selector
	services []coord.Service
}

// rule allows what comes from its sources to its targets.
type rule struct {
	pos     Pos
	src     []selector
	targets []target
	via     []string // tags, ordered; none: any router
}

// approval says whose machines may offer a route, and what lies in it, without an admin's approval.
type approval struct {
	prefix netip.Prefix
	by     []selector
}

// assertion is one of the file's tests.
type assertion struct {
	src    selector
	proto  []uint8 // any of them
	accept []expectation
	deny   []expectation
}

type expectation struct {
	pos  Pos
	text string
	dst  selector
	port uint16 // 0: of a protocol without ports
}

// Rules counts the rules that the file has.
func (f *File) Rules() int { return len(f.rules) }

// Tests counts what the file's tests expect.
func (f *File) Tests() int {
	n := 0
	for _, a := range f.asserts {
		n += len(a.accept) + len(a.deny)
	}
	return n
}
