package account

import (
	"fmt"
	"slices"
	"strings"
)

// Scope is what a token of the API may be used for. It never may be more than the role of its account.
type Scope string

// The scopes. Each but the first lets also see what it is about.
const (
	ScopeRead     Scope = "read"     // see all that the account sees
	ScopeMachines Scope = "machines" // rename, tag, approve, expire and remove machines
	ScopeUsers    Scope = "users"    // accounts and invitations
	ScopeKeys     Scope = "keys"     // pre-auth keys
	ScopePolicy   Scope = "policy"   // the policy file
	ScopeSettings Scope = "settings" // settings, relays and webhooks
	ScopeAccount  Scope = "account"  // the account itself: its password, sign-ins and tokens
)

// Scopes are all scopes.
var Scopes = []Scope{ScopeRead, ScopeMachines, ScopeUsers, ScopeKeys, ScopePolicy, ScopeSettings, ScopeAccount}

// ParseScopes reads the names of scopes, and puts them in order, each once.
func ParseScopes(names []string) (all []Scope, err error) {
	for _, s := range Scopes {
		if slices.Contains(names, string(s)) {
			all = append(all, s)
		}
	}
	for _, n := range names {
		if !slices.Contains(Scopes, Scope(n)) {
			return nil, fmt.Errorf("scope %q %w: choose of %s", n, ErrPassword, Names(Scopes))
		}
	}
	return all, nil
}

// Names puts commas between scopes.
func Names(scopes []Scope) string {
	all := make([]string, len(scopes))
	for i, s := range scopes {
		all[i] = string(s)
	}
	return strings.Join(all, ", ")
}
