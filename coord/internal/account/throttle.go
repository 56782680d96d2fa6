package account

import (
	"net/netip"
	"sync"
	"time"
)

// Guesses at passwords and codes: free ones, then a wait that doubles up to a bound. Nobody is ever locked out.
const (
	firstWait   = time.Second
	longestWait = 15 * time.Minute
	forgetAfter = time.Hour
	maxKeys     = 16384 // beyond that the oldest are forgotten
)

// Throttle slows guessing down. Its keys are for the caller to choose: an account and an address together keep an
// attacker elsewhere from delaying the account's owner.
type Throttle struct {
	free int // guesses without a wait

	mu   sync.Mutex
	keys map[string]*guesses
}

type guesses struct {
	failed int
	next   time.Time
	last   time.Time
}

// NewThrottle makes a Throttle that lets so many wrong guesses pass before it slows down.
func NewThrottle(free int) *Throttle { return &Throttle{free: free, keys: map[string]*guesses{}} }

// Wait says how long the next guess under the key must wait; 0 is not at all.
func (t *Throttle) Wait(now time.Time, keys ...string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	var wait time.Duration
	for _, k := range keys {
		if g := t.keys[k]; g != nil {
			wait = max(wait, g.next.Sub(now))
		}
	}
	return wait
}

// Fail counts a wrong guess.
func (t *Throttle) Fail(now time.Time, keys ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range keys {
		g := t.keys[k]
		if g == nil || now.Sub(g.last) > forgetAfter {
			t.makeRoom(now)
			g = &guesses{}
			t.keys[k] = g
		}
		g.failed++
		g.last = now
		if over := g.failed - t.free; over >= 0 {
			g.next = now.Add(min(longestWait, firstWait<<min(over, 20)))
		}
	}
}

// Succeed forgets the wrong guesses.
func (t *Throttle) Succeed(keys ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range keys {
		delete(t.keys, k)
	}
}

func (t *Throttle) makeRoom(now time.Time) {
	if len(t.keys) < maxKeys {
		return
	}
	for k, g := range t.keys {
		if now.Sub(g.last) > forgetAfter {
			delete(t.keys, k)
		}
	}
	for k := range t.keys { // all are new: a flood; any may go
		if len(t.keys) < maxKeys*3/4 {
			break
		}
		delete(t.keys, k)
	}
}

// AddressKey names who asks: an IPv4 address, or the /64 that one holder of IPv6 has.
func AddressKey(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr.String()
}
