package server

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"
	"sync"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
)

// Bounds of logins. What strangers can start is bounded, for all and for each address.
const (
	maxLogins        = 4096
	maxLoginsAddress = 64
	maxTries         = 5 // wrong codes that end a login
	codeLength       = 6
	// codeLetters have no vowels, so that they spell nothing, and nothing that looks like another (RFC 8628, section 6.1).
	codeLetters = "BCDFGHJKLMNPQRSTVWXZ"
)

// loginState says how far a login is.
type loginState int

const (
	loginPending  loginState = iota
	loginApproved            // the browser has a code, the machine must bring it
	loginDone
	loginDenied
	loginFailed // five wrong codes
)

// login is a machine that waits for a person. Its fixed part may be read without the lock.
type login struct {
	id        string
	admission admission // without the user
	challenge string    // PKCE
	code      string    // to be typed where the browser is on another device
	from      string    // address of the machine
	started   time.Time
	expires   time.Time
	over      chan struct{} // closed at the end

	// guarded by logins.mu
	state   loginState
	user    int64
	oneShot [sha256.Size]byte // hash of the code that the browser has
	tries   int
}

// logins are in memory alone: after a restart machines start others.
type logins struct {
	mu        sync.Mutex
	byID      map[string]*login
	byMachine map[key.MachinePublic]*login
	byAddress map[string]int
}

func newLogins() *logins {
	return &logins{byID: map[string]*login{}, byMachine: map[key.MachinePublic]*login{}, byAddress: map[string]int{}}
}

// start begins a login, or gives the one that the machine has under way.
func (t *logins) start(now time.Time, a admission, challenge, from string) (*login, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.byMachine[a.machine]; l != nil {
		if l.state == loginPending && now.Before(l.expires.Add(-coord.LoginTTL/3)) && l.admission == a && l.challenge == challenge {
			return l, nil
		}
		t.drop(l)
	}
	if len(t.byID) >= maxLogins || t.byAddress[from] >= maxLoginsAddress {
		for _, l := range t.byID {
			if !now.Before(l.expires) {
				t.drop(l)
			}
		}
	}
	if len(t.byID) >= maxLogins || t.byAddress[from] >= maxLoginsAddress {
		return nil, errBusy
	}
	var id [coord.LoginIDSize]byte
	_, _ = rand.Read(id[:])
	l := &login{
		id: base64.RawURLEncoding.EncodeToString(id[:]), admission: a, challenge: challenge, code: newCode(), from: from,
		started: now, expires: now.Add(coord.LoginTTL), over: make(chan struct{}),
	}
	t.byID[l.id], t.byMachine[a.machine] = l, l
	t.byAddress[from]++
	return l, nil
}

// drop forgets a login: the lock is held.
func (t *logins) drop(l *login) {
	delete(t.byID, l.id)
	if t.byMachine[l.admission.machine] == l {
		delete(t.byMachine, l.admission.machine)
	}
	if t.byAddress[l.from]--; t.byAddress[l.from] <= 0 {
		delete(t.byAddress, l.from)
	}
	t.end(l, loginFailed)
}

// end closes a login that is under way: the lock is held.
func (t *logins) end(l *login, s loginState) {
	if l.state == loginPending || l.state == loginApproved {
		l.state = s
		close(l.over)
	}
}

// newCode draws a short code: 20^6, with five tries.
func newCode() string {
	var b strings.Builder
	for b.Len() < codeLength {
		var c [1]byte
		_, _ = rand.Read(c[:])
		if int(c[0]) < 256/len(codeLetters)*len(codeLetters) {
			b.WriteByte(codeLetters[int(c[0])%len(codeLetters)])
		}
	}
	return b.String()
}

// showCode is the code as devices show it.
func showCode(code string) string { return code[:3] + "-" + code[3:] }

// cleanCode takes what people type for the code.
func cleanCode(text string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(codeLetters, r) {
			return r
		}
		return -1
	}, strings.ToUpper(text[:min(len(text), 64)]))
}

// find gives a login that is known, and the error that its state is. Only errLoginUnknown comes without a login.
func (t *logins) find(now time.Time, id string) (*login, loginState, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.byID[id]
	switch {
	case l == nil:
		return nil, 0, errLoginUnknown
	case l.state == loginDone:
		return l, l.state, nil
	case l.state == loginDenied:
		return l, l.state, errLoginDenied
	case l.state == loginFailed:
		return l, l.state, errLoginUnknown
	case !now.Before(l.expires):
		return l, l.state, errLoginExpired
	}
	return l, l.state, nil
}

// try compares the code that a person typed. The fifth wrong one ends the login.
func (t *logins) try(l *login, code string) (ok bool, left int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.state != loginPending && l.state != loginApproved { // approved: but the browser did not reach the machine
		return false, 0
	}
	if subtle.ConstantTimeCompare([]byte(cleanCode(code)), []byte(l.code)) == 1 {
		return true, maxTries - l.tries
	}
	if l.tries++; l.tries >= maxTries {
		t.end(l, loginFailed)
	}
	return false, maxTries - l.tries
}

// approve lets the browser carry a one-shot code to its own machine. A second approval replaces the first.
func (t *logins) approve(l *login, user int64) (oneShot string, err error) {
	var secret [32]byte
	_, _ = rand.Read(secret[:])
	oneShot = base64.RawURLEncoding.EncodeToString(secret[:])
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.state != loginPending && l.state != loginApproved {
		return "", errLoginUnknown
	}
	l.state, l.user, l.oneShot = loginApproved, user, sha256.Sum256([]byte(oneShot))
	return oneShot, nil
}

// redeem checks what the machine brings, once: a wrong code or verifier ends the login.
func (t *logins) redeem(l *login, code, verifier string) (user int64, err error) {
	sum := sha256.Sum256([]byte(code))
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.state != loginApproved {
		return 0, errLoginUnknown
	}
	if subtle.ConstantTimeCompare(sum[:], l.oneShot[:]) != 1 || !coord.CheckVerifier(verifier, l.challenge) {
		t.end(l, loginFailed)
		return 0, errLoginCode
	}
	l.oneShot = [sha256.Size]byte{}
	return l.user, nil
}

func (t *logins) finish(l *login, s loginState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end(l, s)
}
