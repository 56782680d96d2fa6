package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/store"
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

// loginState says how far a login is. The store keeps it.
type loginState int

const (
	loginPending  loginState = iota
	loginApproved            // the browser has a code, the machine must bring it
	loginDone
	loginDenied
	loginFailed // five wrong codes
)

func (s loginState) underWay() bool { return s == loginPending || s == loginApproved }

// login is a machine that waits for a person.
type login struct {
	store.Login
	id        string
	code      string    // to be typed where the browser is on another device
	admission admission // without the user
	challenge string    // PKCE
}

// asked is what a login keeps of what the machine wants.
type asked struct {
	Node      key.NodePublic `json:"node"`
	Host      string         `json:"host"`
	OS        string         `json:"os"`
	Version   string         `json:"version"`
	Challenge string         `json:"challenge"`
}

// logins are in the store, so that each request of a login may come to another process. Neither an id nor a code is
// there: they are made anew of what is, with a key that is not.
type logins struct {
	store store.Store
	vault *vault

	mu      sync.Mutex
	waiting map[coord.NodeID]chan struct{} // by store.LoginTag; closed when something has become of the login
}

func newLogins(db store.Store, v *vault) *logins {
	return &logins{store: db, vault: v, waiting: map[coord.NodeID]chan struct{}{}}
}

// changed gives a channel that closes when something becomes of the login.
func (t *logins) changed(l *login) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	tag := store.LoginTag(l.Hash)
	c := t.waiting[tag]
	if c == nil {
		c = make(chan struct{})
		t.waiting[tag] = c
	}
	return c
}

// stir has whoever waits for the login look again.
func (t *logins) stir(tag coord.NodeID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.waiting[tag]; c != nil {
		close(c)
		delete(t.waiting, tag)
	}
}

// of gives a login that the store has.
func (t *logins) of(l store.Login) (*login, error) {
	var a asked
	if err := json.Unmarshal([]byte(l.Asked), &a); err != nil {
		return nil, fmt.Errorf("%w: what a login asked: %w", store.ErrDamaged, err)
	}
	secret := t.vault.hash("login id", fmt.Sprint(l.Machine, l.Started.UnixMilli()))
	id := base64.RawURLEncoding.EncodeToString(secret[:coord.LoginIDSize])
	return &login{
		Login: l, id: id, code: t.codeOf(id), challenge: a.Challenge,
		admission: admission{machine: l.Machine, node: a.Node, host: a.Host, os: a.OS, version: a.Version},
	}, nil
}

// codeOf is the short code of a login: 20^6, with five tries.
func (t *logins) codeOf(id string) string {
	var b strings.Builder
	for round := 0; b.Len() < codeLength; round++ {
		for _, c := range t.vault.hash("login code", fmt.Sprint(id, round)) {
			if int(c) < 256/len(codeLetters)*len(codeLetters) && b.Len() < codeLength {
				b.WriteByte(codeLetters[int(c)%len(codeLetters)])
			}
		}
	}
	return b.String()
}

// start begins a login, or gives the one that the machine has under way.
func (t *logins) start(ctx context.Context, now time.Time, a admission, challenge, from string) (l *login, err error) {
	what, _ := json.Marshal(asked{Node: a.node, Host: a.host, OS: a.os, Version: a.version, Challenge: challenge})
	err = t.store.WriteSoft(ctx, func(tx store.Tx) error {
		was, err := tx.LoginOf(a.machine)
		switch {
		case err == nil && loginState(was.State) == loginPending && now.Before(was.Expires.Add(-coord.LoginTTL/3)) && was.Asked == string(what):
			l, err = t.of(was)
			return err
		case err == nil:
			err = tx.RemoveLogin(was.Hash)
		case errors.Is(err, store.ErrNotFound):
			err = nil
		}
		if err == nil {
			err = room(tx, now, from)
		}
		if err != nil {
			return err
		}
		l, err = t.of(store.Login{Machine: a.machine, Asked: string(what), Address: from, Started: now, Expires: now.Add(coord.LoginTTL)})
		if err != nil {
			return err
		}
		l.Hash = sha256.Sum256([]byte(l.id))
		return tx.AddLogin(l.Login)
	})
	return l, err
}

// room refuses where there are too many logins, of which none has run out.
func room(tx store.Tx, now time.Time, from string) error {
	for _, last := range []bool{false, true} {
		switch all, own, err := tx.CountLogins(from); {
		case err != nil:
			return err
		case all < maxLogins && own < maxLoginsAddress:
			return nil
		case last:
			return errBusy
		}
		if err := tx.PurgeLogins(now); err != nil {
			return err
		}
	}
	return nil
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

// find gives a login that is known, and the error that its state is. Without a login the error is errLoginUnknown, or the
// store's.
func (t *logins) find(ctx context.Context, now time.Time, id string) (*login, loginState, error) {
	var l store.Login
	err := t.store.Read(ctx, func(tx store.Tx) (err error) {
		l, err = tx.Login(sha256.Sum256([]byte(id)))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, 0, errLoginUnknown
	}
	if err != nil {
		return nil, 0, err
	}
	known, err := t.of(l)
	if err != nil {
		return nil, 0, err
	}
	switch st := loginState(l.State); {
	case st == loginDone:
		return known, st, nil
	case st == loginDenied:
		return known, st, errLoginDenied
	case st == loginFailed:
		return known, st, errLoginUnknown
	case !now.Before(l.Expires):
		return known, st, errLoginExpired
	default:
		return known, st, nil
	}
}

// byCode finds the login that waits with the code; nil: none does. The store has no codes: all that wait are gone through,
// of which there are maxLogins at the most.
func (t *logins) byCode(ctx context.Context, now time.Time, code string) (found *login, err error) {
	if len(code) != codeLength {
		return nil, nil //nolint:nilnil // none has it
	}
	var all []store.Login
	err = t.store.Read(ctx, func(tx store.Tx) (err error) {
		all, err = tx.OpenLogins(now)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		known, err := t.of(l)
		switch {
		case err != nil:
			return nil, err
		case !loginState(l.State).underWay() || subtle.ConstantTimeCompare([]byte(known.code), []byte(code)) != 1:
		case found != nil: // two show the same: nobody can tell which is meant
			return nil, nil //nolint:nilnil // by this code alone
		default:
			found = known
		}
	}
	return found, nil
}

// change edits a login that is under way, of the newest state that the store has.
func (t *logins) change(ctx context.Context, l *login, edit func(*store.Login)) error {
	return t.store.WriteSoft(ctx, func(tx store.Tx) error { return changeLogin(tx, l, edit) })
}

func changeLogin(tx store.Tx, l *login, edit func(*store.Login)) error {
	now, err := tx.Login(l.Hash)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return errLoginUnknown
	case err != nil:
		return err
	case !loginState(now.State).underWay():
		return errLoginUnknown
	}
	edit(&now)
	return tx.SetLogin(now)
}

// try compares the code that a person typed. The fifth wrong one ends the login.
func (t *logins) try(ctx context.Context, l *login, code string) (ok bool, left int, err error) {
	if subtle.ConstantTimeCompare([]byte(cleanCode(code)), []byte(l.code)) == 1 {
		return loginState(l.State).underWay(), maxTries - l.Tries, nil
	}
	err = t.change(ctx, l, func(now *store.Login) {
		if now.Tries++; now.Tries >= maxTries {
			now.State = int(loginFailed)
		}
		left = maxTries - now.Tries
	})
	if errors.Is(err, errLoginUnknown) {
		return false, 0, nil
	}
	return false, left, err
}

// approve lets the browser carry a one-shot code to its own machine. A second approval replaces the first.
func (t *logins) approve(ctx context.Context, l *login, user int64) (oneShot string, err error) {
	var secret [32]byte
	_, _ = rand.Read(secret[:])
	oneShot = base64.RawURLEncoding.EncodeToString(secret[:])
	return oneShot, t.change(ctx, l, func(now *store.Login) {
		now.State, now.User, now.Code = int(loginApproved), user, sha256.Sum256([]byte(oneShot))
	})
}

// redeem checks what the machine brings, once: a wrong code or verifier ends the login.
func (t *logins) redeem(ctx context.Context, l *login, code, verifier string) (user int64, err error) {
	sum := sha256.Sum256([]byte(code))
	var refused error
	err = t.change(ctx, l, func(now *store.Login) {
		switch {
		case loginState(now.State) != loginApproved:
			refused = errLoginUnknown // and it stays as it is
		case subtle.ConstantTimeCompare(sum[:], now.Code[:]) != 1 || !coord.CheckVerifier(verifier, l.challenge):
			refused, now.State = errLoginCode, int(loginFailed)
		default:
			user, refused, now.Code = now.User, nil, [sha256.Size]byte{}
		}
	})
	if err == nil {
		err = refused
	}
	return user, err
}

// finish ends a login. Of one that is over already nothing changes.
func (t *logins) finish(ctx context.Context, l *login, s loginState) error {
	err := t.change(ctx, l, func(now *store.Login) { now.State = int(s) })
	if errors.Is(err, errLoginUnknown) {
		return nil
	}
	return err
}
