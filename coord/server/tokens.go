package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
	"golang.org/x/time/rate"
)

// Tokens are what programs sign their calls of the API with. One is its maker's: it may do what its scopes say, of what
// its maker's role allows when it is used, until it expires.

// tokenPrefix and 26 characters of base32 make a token: scanners of leaked secrets look for wt_[A-Z2-7]{26}.
const tokenPrefix = "wt_"

// Bounds of tokens.
const (
	tokenLife    = 90 * 24 * time.Hour // unless its maker says otherwise
	maxTokenLife = 365 * 24 * time.Hour
	tokenKept    = 30 * 24 * time.Hour // an expired token stays in the list for so long
	tokenTouch   = time.Minute         // how exactly the store knows when a token was last used
	maxTokens    = 50                  // of an account
	maxTokenName = 64                  // bytes

	callsPerSecond = 20 // by one token, lasting
	callsAtOnce    = 100
	maxCalls       = 32   // of all tokens that are worked on at a time
	maxMetered     = 4096 // tokens whose calls are counted
)

// TokenInfo is a token without its secret.
type TokenInfo struct {
	ID      int64     `json:"id"`
	User    string    `json:"user"`
	Name    string    `json:"name"`
	Scopes  []string  `json:"scopes"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Used    time.Time `json:"used,omitzero" doc:"when last, within a minute"`
	Expired bool      `json:"expired,omitempty"`
}

// TokenRequest makes a token.
type TokenRequest struct {
	Name   string   `json:"name" maxLength:"64" doc:"what it is for"`
	Scopes []string `json:"scopes" minItems:"1" maxItems:"16" doc:"read, machines, users, keys, settings, account"`
	Days   int      `json:"days,omitempty" minimum:"1" maximum:"365" default:"90" doc:"how long it can be used"`
	User   string   `json:"user,omitempty" maxLength:"128" doc:"whose it is; only the host's administrator makes tokens for others"`
}

// NewToken is a token as its maker sees it, once.
type NewToken struct {
	ID      int64     `json:"id"`
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

func (s *Server) tokenInfo(t store.Token, login string) TokenInfo {
	return TokenInfo{
		ID: t.ID, User: login, Name: t.Name, Scopes: t.Scopes, Created: t.Created, Expires: t.Expires, Used: t.Used, Expired: !s.now().Before(t.Expires),
	}
}

// tokens lists an account's tokens; 0 is everybody's.
func (s *Server) tokens(ctx context.Context, user int64) (all []TokenInfo, err error) {
	err = s.store.Read(ctx, func(tx store.Tx) error {
		all = nil
		tokens, err := tx.Tokens(user)
		if err != nil {
			return err
		}
		logins := map[int64]string{}
		for _, t := range tokens {
			if logins[t.User] == "" {
				u, err := tx.User(t.User)
				if err != nil {
					return err
				}
				logins[t.User] = u.Login
			}
			all = append(all, s.tokenInfo(t, logins[t.User]))
		}
		return nil
	})
	return all, err
}

// addToken makes a token for the caller. One that a token makes has none but its scopes, and does not outlive it.
func (s *Server) addToken(ctx context.Context, by caller, q TokenRequest) (n NewToken, err error) {
	scopes, err := account.ParseScopes(q.Scopes)
	name := cleanText(strings.TrimSpace(q.Name), maxTokenName)
	switch {
	case err != nil:
		return n, err
	case len(scopes) == 0:
		return n, fmt.Errorf("%w token: give it one scope at the least, of %s", coord.ErrInvalid, account.Names(account.Scopes))
	case name == "":
		return n, fmt.Errorf("%w token: give it a name that says what it is for", coord.ErrInvalid)
	}
	life := time.Duration(q.Days) * 24 * time.Hour
	if life == 0 {
		life = tokenLife
	}
	if life < 0 || life > maxTokenLife {
		return n, fmt.Errorf("%w life of a token: give 1 to %d days", coord.ErrInvalid, int(maxTokenLife.Hours()/24))
	}
	n.Token = tokenPrefix + rand.Text() // 128 random bits at the least
	now := s.now()
	n.Expires = now.Add(life)
	err = s.store.Write(ctx, func(tx store.Tx) error {
		user, err := onBehalf(tx, by, q.User, "token")
		if err != nil {
			return err
		}
		if by.token != 0 {
			if err := within(tx, by, scopes, &n.Expires); err != nil {
				return err
			}
		}
		have, err := tx.Tokens(user)
		if err != nil {
			return err
		}
		if len(have) >= maxTokens {
			return errManyTokens
		}
		t := store.Token{Hash: sha256.Sum256([]byte(n.Token)), User: user, Name: name, Created: now, Expires: n.Expires}
		for _, sc := range scopes {
			t.Scopes = append(t.Scopes, string(sc))
		}
		if n.ID, err = tx.AddToken(t); err != nil {
			return err
		}
		return s.record(tx, by, actTokenAdd, name, facts{"id": n.ID, "user": user, "scopes": t.Scopes, "expires": n.Expires})
	})
	return n, err
}

// onBehalf is whose a thing will be: the caller's. The host's administrator, who has no account, names one.
func onBehalf(tx store.Tx, by caller, name, thing string) (int64, error) {
	switch {
	case by.user != 0 && (name == "" || name == by.login):
		return by.user, nil
	case by.user != 0:
		return 0, errNotAllowed
	case name == "":
		return 0, fmt.Errorf("%w %s: say whose it is", coord.ErrInvalid, thing)
	}
	u, err := userNamed(tx, name)
	return u.ID, err
}

// within holds a new token to the one that makes it.
func within(tx store.Tx, by caller, scopes []account.Scope, expires *time.Time) error {
	maker, err := tx.Token(by.token)
	if err != nil {
		return err
	}
	for _, sc := range scopes {
		if !slices.Contains(maker.Scopes, string(sc)) {
			return refuse(http.StatusForbidden, errNotAllowed.Code, fmt.Sprintf(textNoScope, sc))
		}
	}
	if expires.After(maker.Expires) {
		*expires = maker.Expires
	}
	return nil
}

// removeToken makes a token useless: one's own, or as an owner anybody's.
func (s *Server) removeToken(ctx context.Context, by caller, id int64) error {
	return s.store.Write(ctx, func(tx store.Tx) error {
		t, err := tx.Token(id)
		if errors.Is(err, store.ErrNotFound) {
			return errNoSuchToken
		}
		if err != nil {
			return err
		}
		right := account.Self
		own := by.user != 0 && t.User == by.user
		if !own {
			right = account.Govern
		}
		if err := authorizeNow(tx, by, right, own); err != nil {
			return err
		}
		if err := tx.RemoveToken(id); err != nil {
			return err
		}
		return s.record(tx, by, actTokenRemove, t.Name, facts{"id": id, "user": t.User})
	})
}

// bearer is holder for a request that counts as one of the token's.
func (s *Server) bearer(r *http.Request) (by caller, scopes []account.Scope, err error) {
	by, t, err := s.holder(r)
	if err != nil {
		return by, nil, err
	}
	now := s.now()
	if !s.meter.allow(now, t.ID) {
		return by, nil, errTooFast
	}
	if now.Sub(t.Used) > tokenTouch {
		if err := s.store.Write(r.Context(), func(tx store.Tx) error { return tx.TouchToken(t.ID, now) }); err != nil {
			s.log.Warn("cannot note the use of a token", "err", err)
		}
	}
	scopes, err = account.ParseScopes(t.Scopes)
	return by, scopes, err
}

// holder finds who a request's token speaks for: the account as it is now.
func (s *Server) holder(r *http.Request) (by caller, t store.Token, err error) {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || !strings.HasPrefix(text, tokenPrefix) || len(text) != len(tokenPrefix)+len(rand.Text()) {
		return by, t, errNoToken
	}
	var owes bool
	err = s.store.Read(r.Context(), func(tx store.Tx) error {
		if t, err = tx.TokenByHash(sha256.Sum256([]byte(text))); err != nil {
			return err
		}
		u, err := tx.User(t.User)
		if err != nil {
			return err
		}
		by = caller{user: u.ID, role: u.Role, login: u.Login, via: viaAPI, address: s.clientAddr(r).String(), token: t.ID}
		owes, err = s.owesSecond(tx, u)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return by, t, errNoToken
	case err != nil:
		return by, t, err
	case !s.now().Before(t.Expires):
		return by, t, errTokenExpired
	case owes:
		return by, t, errTokenOwes
	}
	return by, t, nil
}

// meter bounds how often each token calls.
type meter struct {
	mu      sync.Mutex
	byToken map[int64]*rate.Limiter
}

func newMeter() *meter { return &meter{byToken: map[int64]*rate.Limiter{}} }

func (m *meter) allow(now time.Time, token int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.byToken[token]
	if l == nil {
		if len(m.byToken) >= maxMetered {
			clear(m.byToken) // many: each begins anew
		}
		l = rate.NewLimiter(callsPerSecond, callsAtOnce)
		m.byToken[token] = l
	}
	return l.AllowN(now, 1)
}
