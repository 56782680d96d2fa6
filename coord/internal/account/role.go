package account

import (
	"fmt"
	"slices"
	"strings"
)

// Role says what an account may do. Every account may sign in, look after itself and connect machines of its own.
type Role string

// The roles.
const (
	Owner   Role = "owner"   // all
	Admin   Role = "admin"   // all but what concerns owners
	Auditor Role = "auditor" // sees all, changes nothing but its own password and sign-ins
	Member  Role = "member"  // its own machines and keys
)

// Roles are all roles, the mightiest first.
var Roles = []Role{Owner, Admin, Auditor, Member}

// ParseRole reads the name of a role.
func ParseRole(name string) (Role, error) {
	if r := Role(name); slices.Contains(Roles, r) {
		return r, nil
	}
	names := make([]string, len(Roles))
	for i, r := range Roles {
		names[i] = string(r)
	}
	return "", fmt.Errorf("role %q %w: it is one of %s", name, ErrPassword, strings.Join(names, ", "))
}

// Right is what somebody needs in order to do something. The zero value is held by nobody.
type Right int

// The rights.
const (
	_      Right = iota
	Self         // look after one's own account
	See          // look at machines, keys, accounts, relays
	Change       // change them
	Govern       // make owners, and take it from them
)

// May reports whether the role holds the right over something, own being whether it is the account's own. What is not
// allowed here is refused.
func (r Role) May(right Right, own bool) bool {
	switch right {
	case Self:
		return own && slices.Contains(Roles, r)
	case See:
		return r == Owner || r == Admin || r == Auditor || (r == Member && own)
	case Change:
		return r == Owner || r == Admin || (r == Member && own)
	case Govern:
		return r == Owner
	}
	return false
}
