package server

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
)

// The pages of a machine's login:
//
//	GET  /login/ID?port=P&state=S   same device: the machine's client listens on 127.0.0.1:P
//	GET  /login                     another device, whose address nobody wants to type: asks for the code alone
//	POST /login                     the page of the login with that code
//	GET  /login/ID                  another device: asks for the code that the machine shows
//	POST /login/ID                  Connect or Cancel
//	GET  /login/ID/done             the end, as often as one looks

// pathCode is the page that asks for a code alone.
const pathCode = "/login"

// Wrong codes that are free before each has to wait: an account's own, and all from an address. Each is looked for
// among all logins, so these are fewer than they would be against one.
const (
	freeLoginCodes        = 5
	freeLoginCodesAddress = 20
)

// loginRef is the login that a page is for. The nil one is none.
type loginRef struct {
	ID    string
	Port  int // 0: another device
	State string
}

// parseLoginRef holds what a browser brings to its bounds. No id is no login.
func parseLoginRef(id, port, state string) (*loginRef, error) {
	if id == "" {
		return nil, nil //nolint:nilnil // none
	}
	if !coord.ValidLoginID(id) {
		return nil, errLoginUnknown
	}
	ref := &loginRef{ID: id}
	if port == "" || port == "0" {
		return ref, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n < 1024 || port != strconv.FormatUint(n, 10) || !validState(state) {
		return nil, errLoginLink
	}
	ref.Port, ref.State = int(n), state
	return ref, nil
}

// validState takes 16 to 128 characters of base64url: what clients make, and nothing that could change a URL.
func validState(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return len(s) >= 16 && len(s) <= 128
}

// path is the login's page, or the front page.
func (l *loginRef) path() string {
	switch {
	case l == nil:
		return "/"
	case l.Port == 0:
		return coord.PathLogin + l.ID
	}
	return coord.PathLogin + l.ID + "?" + url.Values{"port": {strconv.Itoa(l.Port)}, "state": {l.State}}.Encode()
}

// query hands the login on to a page that leads back to it.
func (l *loginRef) query() string {
	if l == nil {
		return ""
	}
	return "?" + l.values().Encode()
}

func (l *loginRef) values() url.Values {
	if l == nil {
		return url.Values{}
	}
	return url.Values{"id": {l.ID}, "port": {strconv.Itoa(l.Port)}, "state": {l.State}}
}

// SignInPath is the page that signs in for the login.
func (l *loginRef) SignInPath() string {
	if l == nil {
		return "/signin"
	}
	return l.path()
}

// loopback is where the machine's client listens.
func (l *loginRef) loopback() string { return "http://127.0.0.1:" + strconv.Itoa(l.Port) }

// findLogin finds the login that the request names.
func (s *Server) findLogin(ctx context.Context, id, port, state string) (*loginRef, *login, loginState, error) {
	ref, err := parseLoginRef(id, port, state)
	if err != nil {
		return nil, nil, 0, err
	}
	l, st, err := s.logins.find(ctx, s.now(), id)
	if err == nil && l.challenge == "" && ref.Port != 0 {
		ref.Port, ref.State = 0, "" // its client cannot prove that it is on this device
	}
	return ref, l, st, err
}

func (s *Server) loginPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	q := r.URL.Query()
	ref, l, st, err := s.findLogin(r.Context(), r.PathValue("id"), q.Get("port"), q.Get("state"))
	switch {
	case err != nil:
		return err
	case st == loginDone:
		return redirect(w, r, coord.PathLogin+ref.ID+"/done")
	case v.user.ID == 0:
		return s.showSignIn(w, r, http.StatusOK, v, ref, "", "")
	}
	return s.showConnect(w, http.StatusOK, v, ref, l, "")
}

// codePage asks for the code that a machine shows.
func (s *Server) codePage(w http.ResponseWriter, r *http.Request, v *visit) error {
	if v.user.ID == 0 {
		return redirect(w, r, "/signin?to="+toCode)
	}
	return s.showCodePage(w, http.StatusOK, v, "", "")
}

func (s *Server) showCodePage(w http.ResponseWriter, status int, v *visit, typed, problem string) error {
	return s.show(w, status, "code", v, page{Title: textConnect, Token: s.formToken(v, pathCode), Typed: typed, Problem: problem})
}

// findByCode shows the page of the login with the code that a person typed, which is then in its field.
func (s *Server) findByCode(w http.ResponseWriter, r *http.Request, v *visit) error {
	code := cleanCode(r.PostForm.Get("code"))
	bounds := []account.Bound{
		{Key: fmt.Sprint("login code of ", v.user.ID), Free: freeLoginCodes},
		{Key: "login code at " + account.AddressKey(s.clientAddr(r)), Free: freeLoginCodesAddress},
	}
	if wait := s.guesses.Try(s.now(), bounds...); wait > 0 {
		return s.showCodePage(w, http.StatusTooManyRequests, v, "", sayWait(wait)+".")
	}
	l, err := s.logins.byCode(r.Context(), s.now(), code)
	if err != nil {
		return err
	}
	if l == nil {
		return s.showCodePage(w, http.StatusNotFound, v, code, textNoSuchCode)
	}
	s.guesses.TakeBack(bounds...) // and no more: who has a machine of their own must not guess at others' for ever
	return s.showConnectWith(w, http.StatusOK, v, &loginRef{ID: l.id}, l, showCode(l.code), "")
}

func (s *Server) showConnect(w http.ResponseWriter, status int, v *visit, ref *loginRef, l *login, problem string) error {
	return s.showConnectWith(w, status, v, ref, l, "", problem)
}

func (s *Server) showConnectWith(w http.ResponseWriter, status int, v *visit, ref *loginRef, l *login, code, problem string) error {
	if ref.Port != 0 { // browsers hold a form's redirects to form-action too
		w.Header().Set("Content-Security-Policy", csp(ref.loopback()))
	}
	return s.show(w, status, "connect", v, page{
		Title: textConnect, Token: s.formToken(v, coord.PathLogin+ref.ID), Login: ref, Device: s.device(l), Typed: code, Problem: problem,
	})
}

func (s *Server) device(l *login) *deviceInfo {
	return &deviceInfo{
		Name: coord.CleanName(l.admission.host), OS: l.admission.os, From: l.Address, Asked: ago(s.now(), l.Started),
		Fingerprint: shortKey(l.admission.machine),
	}
}

// connect is a person's word: let the machine in, or not.
func (s *Server) connect(w http.ResponseWriter, r *http.Request, v *visit) error {
	id := r.PathValue("id")
	ref, l, st, err := s.findLogin(r.Context(), id, r.PostForm.Get("port"), r.PostForm.Get("state"))
	switch {
	case err != nil:
		return err
	case st == loginDone:
		return redirect(w, r, coord.PathLogin+id+"/done")
	case r.PostForm.Get("do") != "connect":
		if err := s.logins.finish(r.Context(), l, loginDenied); err != nil {
			return err
		}
		return redirect(w, r, coord.PathLogin+id+"/done")
	case ref.Port != 0:
		code, err := s.logins.approve(r.Context(), l, v.user.ID)
		if err != nil {
			return err
		}
		return redirect(w, r, ref.loopback()+"/done?"+url.Values{"state": {ref.State}, "code": {code}}.Encode())
	}
	ok, left, err := s.logins.try(r.Context(), l, r.PostForm.Get("code"))
	switch {
	case err != nil:
		return err
	case !ok && left == 0:
		return errLoginTries
	case !ok:
		return s.showConnect(w, http.StatusForbidden, v, ref, l, fmt.Sprintf(textWrongCode, left))
	}
	if err := s.complete(r.Context(), v.caller(), l, v.user.ID); err != nil {
		return err
	}
	return redirect(w, r, coord.PathLogin+id+"/done")
}

// loginDonePage is safe to be fetched again by anything.
func (s *Server) loginDonePage(w http.ResponseWriter, r *http.Request, v *visit) error {
	l, st, err := s.logins.find(r.Context(), s.now(), r.PathValue("id"))
	p := page{Title: "Connected"}
	switch {
	case l == nil, err != nil && st != loginDenied:
		p.Title = "All done"
	case err != nil:
		return err
	case st == loginDone:
		p.Device, p.Waiting = s.device(l), s.pending(r.Context(), l.admission.machine)
		if p.Waiting {
			p.Title = "Waiting for approval"
		}
	default:
		p.Title, p.Refresh = "Almost there", 2
	}
	return s.show(w, http.StatusOK, "done", v, p)
}
