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
	mu   sync.Mutex
	keys map[string]*guesses
}

// Bound is what a guess counts against.
type Bound struct {
	Key  string
	Free int // wrong guesses without a wait
}

type guesses struct {
	failed int
	next   time.Time
	last   time.Time
}

// NewThrottle makes a Throttle.
func NewThrottle() *Throttle { return &Throttle{keys: map[string]*guesses{}} }

// Try permits a guess, and counts it as a wrong one before it is looked at, so that many at once are no way around. Where
// it must wait for any of the bounds, nothing is counted, and it says how long.
func (t *Throttle) Try(now time.Time, bounds ...Bound) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	var wait time.Duration
	for _, b := range bounds {
		if g := t.keys[b.Key]; g != nil {
			wait = max(wait, g.next.Sub(now))
		}
	}
	if wait > 0 {
		return wait
	}
	for _, b := range bounds {
		g := t.keys[b.Key]
		if g == nil || now.Sub(g.last) > forgetAfter {
			t.makeRoom(now)
			g = &guesses{}
			t.keys[b.Key] = g
		}
		g.failed++
		g.last = now
		if over := g.failed - b.Free; over >= 0 {
			g.next = now.Add(min(longestWait, firstWait<<min(over, 20)))
		}
	}
	return 0
}

// Right takes back what Try counted of a guess that was right. Of the first bound all wrong ones before it are forgotten;
// the others may be shared, as an address is, and one who knows a password of their own must not wipe out what was
// guessed at others'.
func (t *Throttle) Right(bounds ...Bound) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, b := range bounds {
		if i == 0 {
			delete(t.keys, b.Key)
		} else {
			t.takeBack(b)
		}
	}
}

// TakeBack takes back what Try counted of one guess, and leaves those before it.
func (t *Throttle) TakeBack(bounds ...Bound) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range bounds {
		t.takeBack(b)
	}
}

func (t *Throttle) takeBack(b Bound) {
	if g := t.keys[b.Key]; g != nil {
		g.failed--
		g.next = time.Time{} // it was open before
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

// AddressKeys names who asks more and more widely: AddressKey, then the /48 that a site with IPv6 has (RFC 6177).
func AddressKeys(addr netip.Addr) []string {
	keys := []string{AddressKey(addr)}
	if addr = addr.Unmap().WithZone(""); addr.Is6() {
		if p, err := addr.Prefix(48); err == nil {
			keys = append(keys, p.String())
		}
	}
	return keys
}
