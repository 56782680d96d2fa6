package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
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
		return tx.SetMeta(metaSetup, string(text))
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
	return s.showNewAccount(w, r, http.StatusOK, v, account.Owner, "")
}

func (s *Server) setUp(w http.ResponseWriter, r *http.Request, v *visit) error {
	secret := r.PathValue("id")
	err := s.store.Read(r.Context(), func(tx store.Tx) error { return s.checkSetup(tx, secret) })
	if err != nil {
		return err
	}
	return s.newAccount(w, r, v, account.Owner, func(tx store.Tx) error {
		if err := tx.RemoveMeta(metaSetup); err != nil { // first: of two at once, one finds it
			return errSetupOver
		}
		if owners, err := tx.Owners(); err != nil || owners > 0 {
			return errors.Join(errSetupOver, err)
		}
		return nil
	})
}

// showNewAccount asks for the name and the password of an account to be.
func (s *Server) showNewAccount(w http.ResponseWriter, r *http.Request, status int, v *visit, role account.Role, problem string) error {
	p := page{
		Title: "Your account", Token: s.formToken(v, r.URL.Path), Action: r.URL.Path, Role: string(role), Problem: problem,
		First: strings.HasPrefix(r.URL.Path, pathSetup),
	}
	if r.Method == http.MethodPost {
		p.Typed = bounded(r.PostForm.Get("login"), account.MaxLogin)
	}
	return s.show(w, status, "account", v, p)
}

// newAccount makes an account of what the form says, and signs it in. admit is part of the transaction: it uses up what
// permits the account.
func (s *Server) newAccount(w http.ResponseWriter, r *http.Request, v *visit, role account.Role, admit func(store.Tx) error) error {
	again := func(problem string) error {
		return s.showNewAccount(w, r, http.StatusUnprocessableEntity, v, role, problem)
	}
	f := r.PostForm
	login, password := f.Get("login"), f.Get("password")
	if err := account.CheckNew(login, password); err != nil {
		return again(sentence(err))
	}
	if password != f.Get("again") {
		return again(textPasswordsDiffer)
	}
	hash, err := s.hasher.Hash(r.Context(), password)
	if err != nil {
		return err
	}
	var id int64
	err = s.store.Write(r.Context(), func(tx store.Tx) (err error) {
		if err := admit(tx); err != nil {
			return err
		}
		id, err = tx.AddUser(store.User{Login: login, Password: hash, Role: role, Created: s.now()})
		return err
	})
	if errors.Is(err, store.ErrTaken) {
		return again(textNameTaken)
	}
	if err != nil {
		return err
	}
	s.log.Info("account made", "login", login, "role", role)
	if err := s.startWebSession(r, w, v, id); err != nil {
		return err
	}
	return redirect(w, r, "/")
}
