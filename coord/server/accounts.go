package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// complete ends a login: the machine is the user's.
func (s *Server) complete(ctx context.Context, by caller, l *login, user int64) error {
	a := l.admission
	a.user = user
	err := s.admit(ctx, by, a, func(tx store.Tx) error {
		return changeLogin(tx, l, func(now *store.Login) { now.State = int(loginDone) })
	})
	if err != nil {
		_ = s.logins.finish(ctx, l, loginFailed) // at worst it runs out
		return err
	}
	return nil
}

// AddUser makes an account. The empty role is a member's.
func (s *Server) AddUser(ctx context.Context, login, password, role string) error {
	return s.addUser(ctx, operator, login, password, role)
}

func (s *Server) addUser(ctx context.Context, by caller, login, password, role string) error {
	if err := account.CheckNew(login, password, s.network.Name); err != nil {
		return err
	}
	if role == "" {
		role = string(account.Member)
	}
	r, err := account.ParseRole(role)
	if err != nil {
		return err
	}
	hash, err := s.hasher.Hash(ctx, password)
	if err != nil {
		return err
	}
	err = s.store.Write(ctx, func(tx store.Tx) error {
		if err := mayGive(tx, by, r); err != nil {
			return err
		}
		id, err := tx.AddUser(store.User{Login: login, Password: hash, Role: r, Created: s.now()})
		if err != nil {
			return err
		}
		return s.record(tx, by, actUserAdd, login, facts{"id": id, "role": r})
	})
	if errors.Is(err, store.ErrTaken) {
		return fmt.Errorf("there is a user %s already: %w", login, err)
	}
	return err
}

// SetPassword replaces a user's password and ends the user's browser sessions.
func (s *Server) SetPassword(ctx context.Context, login, password string) error {
	return s.setPassword(ctx, operator, byLogin(login), password)
}

// setPassword replaces one's own password, or as an owner anybody's.
func (s *Server) setPassword(ctx context.Context, by caller, find finder, password string) error {
	var u store.User
	err := s.store.Read(ctx, func(tx store.Tx) (err error) {
		u, err = find(tx)
		return err
	})
	if err != nil {
		return err
	}
	if err := account.CheckNew(u.Login, password, s.network.Name); err != nil {
		return err
	}
	hash, err := s.hasher.Hash(ctx, password)
	if err != nil {
		return err
	}
	return s.store.Write(ctx, func(tx store.Tx) error {
		right, own := account.Self, by.user != 0 && u.ID == by.user
		if !own {
			right = account.Govern
		}
		if err := authorizeNow(tx, by, right, own); err != nil {
			return err
		}
		if err := tx.SetPassword(u.ID, hash); err != nil {
			return err
		}
		return s.record(tx, by, actUserPassword, u.Login, facts{"id": u.ID})
	})
}

func userNamed(tx store.Tx, login string) (store.User, error) {
	u, err := tx.UserByLogin(login)
	if errors.Is(err, store.ErrNotFound) {
		return u, fmt.Errorf("there is no user %q: %w", login, err)
	}
	return u, err
}

// KeyOptions says what a pre-auth key is for.
type KeyOptions struct {
	User      string        `json:"user,omitempty"` // whose machines; empty: nobody's, then Tags say what they are
	Reusable  bool          `json:"reusable,omitempty"`
	Ephemeral bool          `json:"ephemeral,omitempty"` // its machines are removed a while after they went offline
	Approval  bool          `json:"approval,omitempty"`  // its machines wait for an admin's approval
	Expires   time.Duration `json:"expires,omitempty"`   // from now; 0: an hour
	Tags      []string      `json:"tags,omitempty"`
}

// maxKeyLife bounds how long a pre-auth key can let machines in.
const maxKeyLife = 365 * 24 * time.Hour

// CreateKey makes a pre-auth key. Its text is in no other place than the answer.
func (s *Server) CreateKey(ctx context.Context, o KeyOptions) (secret string, id int64, err error) {
	return s.createKey(ctx, operator, o)
}

func (s *Server) createKey(ctx context.Context, by caller, o KeyOptions) (secret string, id int64, err error) {
	if o.Expires == 0 {
		o.Expires = time.Hour
	}
	if o.Expires < 0 || o.Expires > maxKeyLife {
		return "", 0, fmt.Errorf("%w life of a key: give up to %d hours", coord.ErrInvalid, int(maxKeyLife.Hours()))
	}
	tags, err := cleanTags(o.Tags)
	if err != nil {
		return "", 0, err
	}
	if o.User != "" && len(tags) > 0 {
		return "", 0, fmt.Errorf("%w key: it is for a user's machines or for tagged ones, not for both", coord.ErrInvalid)
	}
	if o.User == "" && len(tags) == 0 && by.user != 0 {
		o.User = by.login
	}
	secret = authPrefix + rand.Text() // 128 random bits at the least
	err = s.store.Write(ctx, func(tx store.Tx) error {
		if len(tags) > 0 {
			if err := s.mayTag(tx, by, tags); err != nil {
				return err
			}
		} else if err := authorizeNow(tx, by, account.Change, by.user != 0 && o.User == by.login); err != nil {
			return err
		}
		k := store.AuthKey{
			Hash: sha256.Sum256([]byte(secret)), Reusable: o.Reusable, Tags: tags, Created: s.now(), Expires: s.now().Add(o.Expires),
			Ephemeral: o.Ephemeral, Approval: o.Approval,
		}
		if o.User != "" {
			u, err := userNamed(tx, o.User)
			if err != nil {
				return err
			}
			if u.Role == account.Owner && u.ID != by.user { // its machines would pass for an owner's
				if err := authorizeNow(tx, by, account.Govern, false); err != nil {
					return err
				}
			}
			k.User = u.ID
		}
		var err error
		if id, err = tx.AddAuthKey(k); err != nil {
			return err
		}
		return s.record(tx, by, actKeyAdd, keyName(id), facts{"id": id, "user": o.User, "tags": tags, "reusable": o.Reusable, "ephemeral": o.Ephemeral, "approval": o.Approval, "expires": k.Expires})
	})
	return secret, id, err
}

// keyName is what the log calls a pre-auth key.
func keyName(id int64) string { return fmt.Sprint("key ", id) }

// cleanTags orders tags, each once. A tag is named as a machine is.
func cleanTags(tags []string) ([]string, error) {
	if len(tags) > coord.MaxTags {
		return nil, fmt.Errorf("%w tags: %d at the most", coord.ErrInvalid, coord.MaxTags)
	}
	for _, t := range tags {
		if !coord.ValidName(t) {
			return nil, fmt.Errorf("%w tag %q: use lower-case letters, digits and inner hyphens", coord.ErrInvalid, t)
		}
	}
	return sortedUnique(tags), nil
}

func sortedUnique(tags []string) []string {
	out := slices.Clone(tags)
	slices.Sort(out)
	return slices.Compact(out)
}
