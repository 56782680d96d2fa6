package server

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord/internal/passkey"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// Signing in with passkeys. A page carries what the browser needs, and the ticket of a challenge that serves this browser
// once; the one script that there is (assets/static/passkey.js) puts the device's answer into the page's form.
const (
	pathPasskey   = "/signin/passkey"
	pathPasskeys  = "/profile/passkeys"
	ceremonyLife  = 15 * time.Minute // a sign-in page may be open for a while before somebody uses it
	maxPasskeys   = 20
	maxPasskeyTag = 40 // bytes of a passkey's name
)

// ceremony is what a page needs for a passkey.
type ceremony struct {
	Options template.HTMLAttr // of the data that the script reads; empty: this server has no passkeys
	Ticket  string
}

func (s *Server) ceremony(v *visit, purpose, options, keep string) (c ceremony, err error) {
	c.Options = template.HTMLAttr(`data-options="` + template.HTMLEscapeString(options) + `"`) //nolint:gosec // escaped
	c.Ticket, err = writeTicket(s, v, purpose, ceremonyLife, keep)
	return c, err
}

// signInCeremony lets a browser sign in with a passkey: one of these, or any that it has.
func (s *Server) signInCeremony(v *visit, only []store.Passkey) (c ceremony, err error) {
	if s.desk == nil {
		return c, nil
	}
	options, keep, err := s.desk.BeginSignIn(keysOf(only))
	if err != nil {
		return c, err
	}
	return s.ceremony(v, "passkey", options, keep)
}

func keysOf(all []store.Passkey) (keys []passkey.Key) {
	for _, p := range all {
		keys = append(keys, passkey.Key{ID: p.Credential, Data: p.Data})
	}
	return keys
}

// person is an account as its passkeys know it. The handle tells nobody who, or the how-many-eth, they are.
func (s *Server) person(tx store.Tx, u store.User) (p passkey.Person, err error) {
	keys, err := tx.Passkeys(u.ID)
	handle := s.vault.hash("passkey handle", fmt.Sprint(u.ID))
	return passkey.Person{Handle: handle[:], Login: u.Login, Keys: keysOf(keys)}, err
}

// passkeySignIn lets in who shows a passkey. It needs no second step: the device and what unlocks it are two.
func (s *Server) passkeySignIn(w http.ResponseWriter, r *http.Request, v *visit) error {
	f := r.PostForm
	ref, err := parseLoginRef(f.Get("id"), f.Get("port"), f.Get("state"))
	if err != nil {
		return err
	}
	t, err := readTicket[string](s, v, "passkey", f.Get("ticket"))
	if err != nil || s.desk == nil {
		return errTicket
	}
	from := s.guesser(r)
	if wait := s.guesses.Try(s.now(), from...); wait > 0 {
		return s.showSignIn(w, r, http.StatusTooManyRequests, v, ref, "", sayWait(wait))
	}
	user, err := s.checkPasskey(r, &t, f.Get("answer"))
	switch {
	case errors.Is(err, passkey.ErrAnswer), errors.Is(err, passkey.ErrUnknown):
		s.count.logins.WithLabelValues("wrong").Inc()
		s.recordRefusal(r.Context(), caller{via: viaConsole, address: s.clientAddr(r).String()}, store.User{}, facts{"step": "passkey", "why": err.Error()})
		return s.showSignIn(w, r, http.StatusForbidden, v, ref, "", textWrongPasskey)
	case err != nil:
		return err
	}
	s.guesses.TakeBack(from...)
	s.count.logins.WithLabelValues("ok").Inc()
	to := destination(ref, f.Get("to"))
	if half := s.half(r, v); half != nil { // it took the second step's place
		to = half.What.To
		setCookie(w, cookieStep, "", -time.Second)
	}
	return s.letIn(w, r, v, user, "passkey", to)
}

// checkPasskey uses up the challenge, and finds out whose passkey answered it.
func (s *Server) checkPasskey(r *http.Request, t *ticket[string], answer string) (user store.User, err error) {
	if len(answer) > passkey.MaxAnswer {
		return user, passkey.ErrAnswer
	}
	if err := s.store.Write(r.Context(), func(tx store.Tx) error { return t.spend(tx, s.now()) }); err != nil {
		return user, err
	}
	err = s.store.Write(r.Context(), func(tx store.Tx) error {
		var stored store.Passkey
		_, key, twice, err := s.desk.FinishSignIn(t.What, answer, func(id []byte) (p passkey.Person, err error) {
			stored, err = tx.Passkey(id)
			if errors.Is(err, store.ErrNotFound) {
				return p, passkey.ErrUnknown
			}
			if err != nil {
				return p, err
			}
			if user, err = tx.User(stored.User); err != nil {
				return p, err
			}
			return s.person(tx, user)
		})
		if err != nil {
			return err
		}
		if twice {
			by := caller{user: user.ID, login: user.Login, via: viaConsole, address: s.clientAddr(r).String()}
			if err := s.record(tx, by, actPasskeyCopied, user.Login, facts{"id": stored.ID, "name": stored.Name}); err != nil {
				return err
			}
		}
		stored.Data, stored.Used = key.Data, s.now()
		return tx.SetPasskey(stored)
	})
	return user, err
}

// passkeyForm is the page that adds a passkey.
type passkeyForm struct {
	ceremony
	Name string
}

func (s *Server) newPasskeyPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	if !s.fresh(v) || s.desk == nil {
		return redirect(w, r, "/profile")
	}
	return s.showNewPasskey(w, r, http.StatusOK, v, "")
}

func registerPurpose(user int64) string { return fmt.Sprintf("register passkey of %d", user) }

func (s *Server) showNewPasskey(w http.ResponseWriter, r *http.Request, status int, v *visit, problem string) error {
	var p passkey.Person
	err := s.store.Read(r.Context(), func(tx store.Tx) (err error) {
		p, err = s.person(tx, v.user)
		return err
	})
	if err != nil {
		return err
	}
	options, keep, err := s.desk.BeginRegister(p)
	if err != nil {
		return err
	}
	d := passkeyForm{Name: browserName(r.UserAgent())}
	if d.ceremony, err = s.ceremony(v, registerPurpose(v.user.ID), options, keep); err != nil {
		return err
	}
	return s.showConsole(w, status, "passkey", "/profile", v, page{Title: textPasskey, Problem: problem, Script: true, Body: d})
}

func (s *Server) addPasskeyPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	if !s.fresh(v) || s.desk == nil {
		return redirect(w, r, "/profile")
	}
	f := r.PostForm
	t, err := readTicket[string](s, v, registerPurpose(v.user.ID), f.Get("ticket"))
	if err != nil {
		return err
	}
	name := strings.TrimSpace(cleanText(f.Get("name"), maxPasskeyTag))
	if name == "" {
		name = textPasskey
	}
	if err := s.store.Write(r.Context(), func(tx store.Tx) error { return t.spend(tx, s.now()) }); err != nil {
		return err
	}
	err = s.store.Write(r.Context(), func(tx store.Tx) error {
		p, err := s.person(tx, v.user)
		if err != nil {
			return err
		}
		if len(p.Keys) >= maxPasskeys {
			return errPasskeysFull
		}
		if len(f.Get("answer")) > passkey.MaxAnswer {
			return passkey.ErrAnswer
		}
		key, err := s.desk.FinishRegister(p, t.What, f.Get("answer"))
		if err != nil {
			return err
		}
		if _, err := tx.Passkey(key.ID); !errors.Is(err, store.ErrNotFound) {
			return errors.Join(passkey.ErrAnswer, err) // somebody has it already (level 3, section 7.1, step 26)
		}
		id, err := tx.AddPasskey(store.Passkey{User: v.user.ID, Credential: key.ID, Name: name, Data: key.Data, Created: s.now()})
		if err != nil {
			return err
		}
		return s.record(tx, v.caller(), actPasskeyAdd, v.user.Login, facts{"id": id, "name": name})
	})
	switch {
	case errors.Is(err, passkey.ErrAnswer):
		s.log.Info("a passkey was not registered", "login", v.user.Login, "err", err)
		return s.showNewPasskey(w, r, http.StatusForbidden, v, textWrongNewPasskey)
	case err != nil:
		return err
	}
	return redirect(w, r, "/profile")
}

func (s *Server) removePasskeyPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	if !s.fresh(v) {
		return redirect(w, r, "/profile")
	}
	err := s.removeWay(r, v, func(tx store.Tx) error {
		if err := tx.RemovePasskey(v.user.ID, pathNumber(r)); err != nil {
			return err
		}
		return s.record(tx, v.caller(), actPasskeyRemove, v.user.Login, facts{"id": pathNumber(r)})
	})
	if errors.Is(err, errLastWay) {
		return s.showProfile(w, r, http.StatusConflict, v, errLastWay.Message+".")
	}
	if err != nil {
		return err
	}
	return redirect(w, r, "/profile")
}

// passkeyRow is a passkey as its owner sees it.
type passkeyRow struct {
	ID                  int64
	Name, Since, Used   string
	Copied, WasNotInUse bool
}

func (s *Server) passkeyRows(tx store.Tx, v *visit) (rows []passkeyRow, err error) {
	all, err := tx.Passkeys(v.user.ID)
	for _, p := range all {
		k := passkey.Key{Data: p.Data}
		rows = append(rows, passkeyRow{
			ID: p.ID, Name: p.Name, Since: ago(s.now(), p.Created), Used: ago(s.now(), p.Used), Copied: k.Copied(), WasNotInUse: p.Used.IsZero(),
		})
	}
	return rows, err
}

// dropPasskeys removes the passkeys of an account that can sign in without them.
func (s *Server) dropPasskeys(tx store.Tx, u store.User) error {
	keys, err := tx.Passkeys(u.ID)
	if err != nil {
		return err
	}
	ways, err := s.waysIn(tx, u.ID)
	if err != nil || ways == len(keys) {
		return err
	}
	for _, k := range keys {
		if err := tx.RemovePasskey(u.ID, k.ID); err != nil {
			return err
		}
	}
	return nil
}
