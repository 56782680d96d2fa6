package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// The set-up link makes a network's first owner. There is one at a time, and none once there is an owner.
const (
	pathSetup = "/setup/"
	setupLife = 24 * time.Hour
	metaSetup = "setup" // in the store's meta table: what is known of the link
)

// setupLink is what the store keeps of the link.
type setupLink struct {
	Hash    []byte    `json:"hash"` // SHA-256 of its secret
	Expires time.Time `json:"expires"`
}

// SetupLink makes the link to the page that makes the first owner; an earlier one is void. It is empty where there is
// an owner.
func (s *Server) SetupLink(ctx context.Context) (link string, err error) {
	secret := rand.Text() // 128 random bits at the least
	sum := sha256.Sum256([]byte(secret))
	text, err := json.Marshal(setupLink{Hash: sum[:], Expires: s.now().Add(setupLife)})
	if err != nil {
		return "", err
	}
	err = s.store.Write(ctx, func(tx store.Tx) error {
		link = ""
		owners, err := tx.Owners()
		if err != nil || owners > 0 {
			return err
		}
		link = s.url + pathSetup + secret
		if err := tx.SetMeta(metaSetup, string(text)); err != nil {
			return err
		}
		return s.record(tx, operator, actSetupLink, "", nil)
	})
	return link, err
}

// checkSetup refuses a link that is not the newest, is too old, or comes after the first owner.
func (s *Server) checkSetup(tx store.Tx, secret string) error {
	text, err := tx.Meta(metaSetup)
	if errors.Is(err, store.ErrNotFound) {
		return errSetupOver
	}
	if err != nil {
		return err
	}
	var l setupLink
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(sum[:], l.Hash) != 1 || !s.now().Before(l.Expires) {
		return errSetupOver
	}
	users, err := tx.Users()
	for _, u := range users {
		if u.Role == account.Owner {
			return errSetupOver
		}
	}
	return err
}

// setupPage uses nothing up: whatever fetches links ahead of people may fetch it.
func (s *Server) setupPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	err := s.store.Read(r.Context(), func(tx store.Tx) error { return s.checkSetup(tx, r.PathValue("id")) })
	if err != nil {
		return err
	}
	return s.showNewAccount(w, r, http.StatusOK, v, newcomer{role: account.Owner, first: true}, "")
}

func (s *Server) setUp(w http.ResponseWriter, r *http.Request, v *visit) error {
	secret := r.PathValue("id")
	err := s.store.Read(r.Context(), func(tx store.Tx) error { return s.checkSetup(tx, secret) })
	if err != nil {
		return err
	}
	return s.newAccount(w, r, v, newcomer{role: account.Owner, first: true}, func(tx store.Tx) error {
		if err := tx.RemoveMeta(metaSetup); err != nil { // first: of two at once, one finds it
			return errSetupOver
		}
		if owners, err := tx.Owners(); err != nil || owners > 0 {
			return errors.Join(errSetupOver, err)
		}
		return s.record(tx, caller{via: viaConsole, address: v.from}, actSetupUse, "", nil)
	})
}
