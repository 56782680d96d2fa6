package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

const maxAgent = 256 // bytes that are kept of what a browser calls itself

// signInRow is a browser that is signed in.
type signInRow struct {
	ID, Agent, Address, Since, Seen string
	This                            bool
}

// identityRow is an account elsewhere that signs in to this one.
type identityRow struct {
	ID             int64
	Name, At, Last string
}

type profile struct {
	Login, Role, Since string
	SignIns            []signInRow
	Fresh              bool // how one signs in can be changed now
	Second             bool
	Codes              int64 // recovery codes that are left
	Password           bool  // there is one
	CanPasskey         bool  // there can be some
	Passkeys           []passkeyRow
	Identities         []identityRow
	Link               []withLink // to add
}

func (s *Server) profilePage(w http.ResponseWriter, r *http.Request, v *visit) error {
	return s.showProfile(w, r, http.StatusOK, v, "")
}

func (s *Server) showProfile(w http.ResponseWriter, r *http.Request, status int, v *visit, problem string) error {
	d := profile{Login: v.user.Login, Role: string(v.user.Role), Since: v.user.Created.Format("2 Jan 2006"), Fresh: s.fresh(v), Password: v.user.Password != "", CanPasskey: s.desk != nil}
	now := s.now()
	err := s.store.Read(r.Context(), func(tx store.Tx) error {
		all, err := tx.WebSessions(v.user.ID)
		for _, ws := range all {
			if now.Sub(ws.Created) > webLife || now.Sub(ws.Seen) > webIdle {
				continue
			}
			d.SignIns = append(d.SignIns, signInRow{
				ID: hex.EncodeToString(ws.Hash[:]), Agent: browserName(ws.Agent), Address: ws.Address,
				Since: ago(now, ws.Created), Seen: ago(now, ws.Seen), This: ws.Hash == v.session,
			})
		}
		if err != nil {
			return err
		}
		st, err := s.secondStepsOf(tx, v.user.ID)
		if err != nil {
			return err
		}
		d.Second = st.Code
		if err := s.fillIdentities(tx, v, &d); err != nil {
			return err
		}
		if d.Passkeys, err = s.passkeyRows(tx, v); err != nil {
			return err
		}
		d.Codes, err = tx.RecoveryCodes(v.user.ID)
		return err
	})
	if err != nil {
		return err
	}
	return s.showConsole(w, status, "profile", "/profile", v, page{Title: textProfile, Problem: problem, Body: d})
}

// fillIdentities reads the providers that know the account, and those that could.
func (s *Server) fillIdentities(tx store.Tx, v *visit, d *profile) error {
	providers, err := tx.Providers()
	if err != nil {
		return err
	}
	ids, err := tx.Identities(v.user.ID)
	if err != nil {
		return err
	}
	for _, i := range ids {
		row := identityRow{ID: i.ID, Name: i.Name, At: i.Issuer, Last: ago(s.now(), i.Used)}
		for _, p := range providers {
			if p.Issuer == i.Issuer {
				row.At = p.Name
			}
		}
		d.Identities = append(d.Identities, row)
	}
	for _, p := range providers {
		d.Link = append(d.Link, withLink{Name: p.Name, Path: pathLink + "/" + strconv.FormatInt(p.ID, 10)})
	}
	return nil
}

// passwordPage changes the visitor's password, which ends all sign-ins but a new one of this browser.
func (s *Server) passwordPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	again := func(status int, problem string) error { return s.showProfile(w, r, status, v, problem) }
	f := r.PostForm
	next := f.Get("next")
	if err := account.CheckNew(v.user.Login, next, s.network.Name); err != nil {
		return again(http.StatusUnprocessableEntity, sentence(err))
	}
	if next != f.Get("again") {
		return again(http.StatusUnprocessableEntity, textPasswordsDiffer)
	}
	if v.user.Password == "" && !s.fresh(v) {
		return redirect(w, r, "/profile")
	}
	user, wait, err := v.user, time.Duration(0), error(nil)
	if v.user.Password != "" {
		user, wait, err = s.checkOwnPassword(r.Context(), v.caller(), f.Get("password"))
	}
	switch {
	case err != nil:
		return err
	case wait > 0:
		return again(http.StatusTooManyRequests, sayWait(wait)+".")
	case user.ID != v.user.ID:
		return again(http.StatusForbidden, textWrongCurrent)
	}
	if err := s.setPassword(r.Context(), v.caller(), byNumber(v.user.ID), next); err != nil {
		return err
	}
	if err := s.startWebSession(r, w, v, v.user.ID, "password"); err != nil {
		return err
	}
	return redirect(w, r, "/profile")
}

// againPage ends the sign-in and asks for another, which may change more.
func (s *Server) againPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	err := s.store.Write(r.Context(), func(tx store.Tx) error {
		if err := tx.RemoveWebSession(v.session); err != nil {
			return err
		}
		return s.record(tx, v.caller(), actSignOut, v.user.Login, nil)
	})
	if err != nil {
		return err
	}
	setCookie(w, cookieSession, "", -time.Second)
	return redirect(w, r, "/signin?to="+toProfile)
}

// revokeSignInPage ends one of the visitor's own sign-ins.
func (s *Server) revokeSignInPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	err := s.removeSignIn(r.Context(), v.caller(), r.PathValue("id"))
	if err != nil && !errors.Is(err, errNoSignIn) { // it is gone: as wished
		return err
	}
	return redirect(w, r, "/profile")
}

// removeSignIn ends one of the caller's own sign-ins.
func (s *Server) removeSignIn(ctx context.Context, by caller, id string) error {
	if err := person(by); err != nil {
		return err
	}
	return s.store.Write(ctx, func(tx store.Tx) error {
		all, err := tx.WebSessions(by.user)
		if err != nil {
			return err
		}
		for _, ws := range all {
			if hex.EncodeToString(ws.Hash[:]) != id {
				continue
			}
			if err := tx.RemoveWebSession(ws.Hash); err != nil {
				return err
			}
			return s.record(tx, by, actSignOut, by.login, facts{"browser": browserName(ws.Agent), "from": ws.Address})
		}
		return errNoSignIn
	})
}

func (s *Server) revokeOthersPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	if err := s.removeSignIns(r.Context(), v.caller(), v.session); err != nil {
		return err
	}
	return redirect(w, r, "/profile")
}

// removeSignIns ends all sign-ins of the caller, but the one to keep.
func (s *Server) removeSignIns(ctx context.Context, by caller, keep [sha256.Size]byte) error {
	if err := person(by); err != nil {
		return err
	}
	return s.store.Write(ctx, func(tx store.Tx) error {
		if err := tx.RemoveWebSessions(by.user, keep); err != nil {
			return err
		}
		return s.record(tx, by, actSignOut, by.login, facts{"all": true})
	})
}

// browserName makes of what a browser calls itself what people call it.
func browserName(agent string) string {
	first := func(names ...[2]string) string {
		for _, n := range names {
			if strings.Contains(agent, n[0]) {
				return n[1]
			}
		}
		return ""
	}
	name := first([2]string{"Firefox/", "Firefox"}, [2]string{"Edg/", "Edge"}, [2]string{"Chrome/", "Chromium or Chrome"}, [2]string{"Safari/", "Safari"})
	system := first([2]string{"Android", "Android"}, [2]string{"Linux", "Linux"}, [2]string{"iPhone", "iPhone"}, [2]string{"iPad", "iPad"},
		[2]string{"Mac OS", "macOS"}, [2]string{"Windows", "Windows"})
	switch {
	case name != "" && system != "":
		return name + " on " + system
	case name != "":
		return name
	}
	return textSomeBrowser
}
