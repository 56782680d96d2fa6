package server

import (
	"errors"
	"net/http"

	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

const pathSignUp = "/signup"

// Accounts that are made without an invitation and without a wait.
const (
	freeSignUps        = 5   // from one address
	freeSignUpsOverall = 200 // within about an hour: what strangers can write to the disk is bounded
)

// newcomer is somebody who makes an account.
type newcomer struct {
	role  account.Role // that they were promised; empty: nobody invited them, and they become members
	first bool         // of the network
	login *loginRef    // what they came for

	invite string // the invitation's secret
}

// signUpPage makes an account for anybody, where the settings say so.
func (s *Server) signUpPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	q := r.URL.Query()
	ref, err := parseLoginRef(q.Get("id"), q.Get("port"), q.Get("state"))
	switch {
	case err != nil:
		return err
	case v.user.ID != 0:
		return redirect(w, r, ref.path())
	}
	c, err := s.Settings(r.Context())
	switch {
	case err != nil:
		return err
	case c.SignUp == SignUpDomains:
		return s.showSignIn(w, r, http.StatusOK, v, ref, "", textSignUpDomains)
	case c.SignUp != SignUpOpen:
		return s.showSignIn(w, r, http.StatusForbidden, v, ref, "", textSignUpOver)
	}
	return s.showNewAccount(w, r, http.StatusOK, v, newcomer{login: ref}, "")
}

func (s *Server) signUp(w http.ResponseWriter, r *http.Request, v *visit) error {
	f := r.PostForm
	ref, err := parseLoginRef(f.Get("id"), f.Get("port"), f.Get("state"))
	if err != nil {
		return err
	}
	err = s.newAccount(w, r, v, newcomer{login: ref}, func(tx store.Tx) error {
		c, err := settingsOf(tx)
		if err == nil && c.SignUp != SignUpOpen {
			return errSignUpOver
		}
		return err
	})
	return err
}

// showNewAccount asks for the name and the password of an account to be.
func (s *Server) showNewAccount(w http.ResponseWriter, r *http.Request, status int, v *visit, n newcomer, problem string) error {
	p := page{
		Title: "Your account", Token: s.formToken(v, r.URL.Path), Action: r.URL.Path, Role: string(n.role), First: n.first, Login: n.login,
		Problem: problem,
	}
	if !n.first {
		more := n.login.values()
		if n.invite != "" {
			more.Set("invite", n.invite)
		}
		err := s.store.Read(r.Context(), func(tx store.Tx) error {
			links, err := s.withLinks(tx, more)
			p.Body = links
			return err
		})
		if err != nil {
			return err
		}
	}
	if r.Method == http.MethodPost {
		p.Typed = bounded(r.PostForm.Get("login"), account.MaxLogin)
	}
	return s.show(w, status, "account", v, p)
}

// newAccount makes an account of what the form says, and signs it in. admit is part of the transaction: it uses up what
// permits the account.
func (s *Server) newAccount(w http.ResponseWriter, r *http.Request, v *visit, n newcomer, admit func(store.Tx) error) error {
	again := func(problem string) error {
		return s.showNewAccount(w, r, http.StatusUnprocessableEntity, v, n, problem)
	}
	f := r.PostForm
	login, password := f.Get("login"), f.Get("password")
	if err := account.CheckNew(login, password, s.network.Name); err != nil {
		return again(sentence(err))
	}
	if password != f.Get("again") {
		return again(textPasswordsDiffer)
	}
	role := n.role
	if role == "" {
		role = account.Member
		if err := s.store.Read(r.Context(), admit); err != nil { // before the costly hash
			return err
		}
		if wait := s.tooManySignUps(r); wait != "" {
			return s.showNewAccount(w, r, http.StatusTooManyRequests, v, n, wait)
		}
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
		if id, err = tx.AddUser(store.User{Login: login, Password: hash, Role: role, Created: s.now()}); err != nil {
			return err
		}
		return s.record(tx, caller{user: id, login: login, via: viaConsole, address: v.from}, actUserAdd, login, facts{"id": id, "role": role})
	})
	if errors.Is(err, store.ErrTaken) {
		return again(textNameTaken)
	}
	if err != nil {
		return err
	}
	if err := s.startWebSession(r, w, v, id, "making the account"); err != nil {
		return err
	}
	return redirect(w, r, n.login.path())
}

// tooManySignUps counts an account that nobody invited; the words are empty where it may be made.
func (s *Server) tooManySignUps(r *http.Request) string {
	bounds := []account.Bound{{Key: "sign-up", Free: freeSignUpsOverall}}
	for i, n := range account.AddressKeys(s.clientAddr(r)) {
		bounds = append(bounds, account.Bound{Key: "sign-up " + n, Free: freeSignUps * ofSite(i)})
	}
	wait := s.guesses.Try(s.now(), bounds...)
	if wait == 0 {
		return ""
	}
	return sayWaitSignUp(wait) + "."
}
