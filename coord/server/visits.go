package server

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// Browsers. Both cookies are bound to this very host by their prefix (RFC 6265bis, section 4.1.3.2).
const (
	cookieSession = "__Host-warren"      // signed in
	cookieForm    = "__Host-warren-form" // binds forms to this browser, signed in or not

	webLife  = 30 * 24 * time.Hour
	webIdle  = 7 * 24 * time.Hour
	webTouch = time.Hour // how exactly the store knows when a sign-in was last used
	maxForm  = 16 << 10
)

// visit is a browser's request.
type visit struct {
	user    store.User // ID 0: nobody
	session [sha256.Size]byte
	since   time.Time // of the sign-in
	owes    bool      // a second step, before anything else
	form    string
	newForm bool // the browser does not have the form cookie yet
	from    string
}

func (v *visit) caller() caller {
	return caller{user: v.user.ID, role: v.user.Role, login: v.user.Login, via: viaConsole, address: v.from}
}

// visit finds out who a browser is.
func (s *Server) visit(r *http.Request) (*visit, error) {
	v := &visit{from: s.clientAddr(r).String()}
	if c, err := r.Cookie(cookieForm); err == nil && len(c.Value) == len(rand.Text()) {
		v.form = c.Value
	} else {
		v.form, v.newForm = rand.Text(), true
	}
	c, err := r.Cookie(cookieSession)
	if err != nil || len(c.Value) != len(rand.Text()) {
		return v, nil
	}
	hash := sha256.Sum256([]byte(c.Value))
	now := s.now()
	var ws store.WebSession
	err = s.store.Read(r.Context(), func(tx store.Tx) (err error) {
		if ws, err = tx.WebSession(hash); err != nil {
			return err
		}
		if now.Sub(ws.Created) > webLife || now.Sub(ws.Seen) > webIdle {
			return store.ErrNotFound
		}
		if v.user, err = tx.User(ws.User); err != nil {
			return err
		}
		v.owes, err = s.owesSecond(tx, v.user)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		v.user = store.User{}
		return v, nil
	}
	if err != nil {
		return nil, err
	}
	v.session, v.since = hash, ws.Created
	if now.Sub(ws.Seen) > webTouch && r.Header.Get(headerLive) == "" { // a page that is only open is no visit
		err := s.store.Write(r.Context(), func(tx store.Tx) error { return tx.TouchWebSession(hash, now) })
		if err != nil {
			s.log.Warn("cannot note a visit", "err", err)
		}
	}
	return v, nil
}

// formToken ties a form to the browser, the sign-in and the path that it is sent to.
func (s *Server) formToken(v *visit, path string) string {
	mac := hmac.New(sha256.New, s.formKey[:])
	mac.Write(v.session[:])
	mac.Write([]byte(v.form + "\x00" + path))
	return hex.EncodeToString(mac.Sum(nil))
}

// readForm reads a form, and holds it to its token: it was made for this visitor and this path.
func (s *Server) readForm(w http.ResponseWriter, r *http.Request, v *visit, most int64) error {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(readTimeout))
	defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
	r.Body = http.MaxBytesReader(w, r.Body, most)
	if err := r.ParseForm(); err != nil {
		if isTooLong(err) {
			return errTooLong
		}
		return badRequest("The form cannot be read")
	}
	if !hmac.Equal([]byte(r.PostForm.Get("token")), []byte(s.formToken(v, r.URL.Path))) {
		return errForm
	}
	return nil
}

func setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(life.Seconds()),
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// signInPage asks who it is, for a login or for the console.
func (s *Server) signInPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	if v.user.ID != 0 {
		return redirect(w, r, "/")
	}
	return s.showSignIn(w, r, http.StatusOK, v, nil, "", "")
}

// signInView is what the page offers beside name and password.
type signInView struct {
	SignUp  string // the path of the page that makes accounts; empty: they are by invitation
	With    []withLink
	Passkey ceremony
	To      string // one of destinations
}

// What a sign-in may lead to, beside a machine's login and the front page.
const (
	toProfile = "profile"
	toCode    = "code"
)

var destinations = map[string]string{toProfile: "/profile", toCode: pathCode}

// destination is where a sign-in leads: to the login that it is for, or where somebody wanted to go.
func destination(ref *loginRef, to string) string {
	if path := destinations[to]; ref == nil && path != "" {
		return path
	}
	return ref.path()
}

func (s *Server) showSignIn(w http.ResponseWriter, r *http.Request, status int, v *visit, l *loginRef, typed, problem string) error {
	d, more := signInView{}, l.values()
	if to := r.FormValue("to"); l == nil && destinations[to] != "" {
		d.To = to
		more.Set("to", to)
	}
	err := s.store.Read(r.Context(), func(tx store.Tx) error {
		c, err := settingsOf(tx)
		if err != nil {
			return err
		}
		if c.SignUp != SignUpInvitation {
			d.SignUp = pathSignUp + l.query()
		}
		d.With, err = s.withLinks(tx, more)
		return err
	})
	if err != nil {
		return err
	}
	if d.Passkey, err = s.signInCeremony(v, nil); err != nil {
		return err
	}
	return s.show(w, status, "signin", v, page{
		Title: "Sign in", Token: s.formToken(v, "/signin"), Login: l, Typed: typed, Problem: problem, Body: d, Script: s.desk != nil,
		PasskeyToken: s.formToken(v, pathPasskey),
	})
}

func (s *Server) signIn(w http.ResponseWriter, r *http.Request, v *visit) error {
	f := r.PostForm
	ref, err := parseLoginRef(f.Get("id"), f.Get("port"), f.Get("state"))
	if err != nil {
		return err
	}
	login := f.Get("login")
	user, wait, err := s.checkPassword(r, login, f.Get("password"))
	switch {
	case err != nil:
		return err
	case wait > 0:
		return s.showSignIn(w, r, http.StatusTooManyRequests, v, ref, bounded(login, account.MaxLogin), sayWait(wait))
	case user.ID == 0:
		return s.showSignIn(w, r, http.StatusForbidden, v, ref, bounded(login, account.MaxLogin), textWrongPassword)
	}
	return s.proved(w, r, v, user, "password", destination(ref, f.Get("to")))
}

// checkPassword permits guesses as account.Throttle does. The user has ID 0 where name or password is wrong, which nobody
// can tell apart.
func (s *Server) checkPassword(r *http.Request, login, password string) (user store.User, wait time.Duration, err error) {
	name := login
	if account.CheckLogin(login) != nil {
		name = "?"
	}
	bounds := s.guessAt(r, "password "+name, func(l knownLogin) bool { return l.Login == login })
	return s.checkPasswordFor(r.Context(), caller{via: viaConsole, address: s.clientAddr(r).String()}, login, password, bounds...)
}

// checkOwnPassword is checkPassword for who is in already, and wants to change it.
func (s *Server) checkOwnPassword(ctx context.Context, by caller, password string) (user store.User, wait time.Duration, err error) {
	return s.checkPasswordFor(ctx, by, by.login, password, account.Bound{Key: fmt.Sprint("own password of ", by.user), Free: freeGuesses})
}

// checkPasswordFor is checkPassword for a caller whose guesses count against the bounds.
func (s *Server) checkPasswordFor(ctx context.Context, by caller, login, password string, bounds ...account.Bound) (user store.User, wait time.Duration, err error) {
	if account.CheckLogin(login) != nil {
		login = ""
	}
	if wait = s.guesses.Try(s.now(), bounds...); wait > 0 {
		s.count.logins.WithLabelValues("throttled").Inc()
		return user, wait, nil
	}
	err = s.store.Read(ctx, func(tx store.Tx) (err error) {
		user, err = tx.UserByLogin(login)
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return user, 0, err
	}
	ok, err := s.hasher.Check(ctx, password, user.Password)
	if err != nil {
		return user, 0, err
	}
	if !ok {
		s.count.logins.WithLabelValues("wrong").Inc()
		s.recordRefusal(ctx, by, user, facts{"step": "password"})
		return store.User{}, 0, nil
	}
	s.guesses.Right(bounds...)
	s.count.logins.WithLabelValues("ok").Inc()
	return user, 0, nil
}

// startWebSession signs the browser in under a new secret, by that step; what it had before is void.
func (s *Server) startWebSession(r *http.Request, w http.ResponseWriter, v *visit, user int64, step string) error {
	secret, now := rand.Text(), s.now()
	agent, from := cleanText(r.UserAgent(), maxAgent), s.clientAddr(r).String()
	var u store.User
	err := s.store.Write(r.Context(), func(tx store.Tx) (err error) {
		if err := tx.RemoveWebSession(v.session); err != nil {
			return err
		}
		if err := tx.AddWebSession(store.WebSession{Hash: sha256.Sum256([]byte(secret)), User: user, Created: now, Seen: now, Agent: agent, Address: from}); err != nil {
			return err
		}
		if u, err = tx.User(user); err != nil {
			return err
		}
		by := caller{user: u.ID, login: u.Login, via: viaConsole, address: from}
		return s.record(tx, by, actSignIn, u.Login, facts{"browser": browserName(agent), "by": step})
	})
	if err != nil {
		return err
	}
	setCookie(w, cookieSession, secret, webLife)
	setCookie(w, cookieForm, rand.Text(), 0)
	return s.remember(w, r, u)
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request, v *visit) error {
	ref, err := parseLoginRef(r.PostForm.Get("id"), r.PostForm.Get("port"), r.PostForm.Get("state"))
	if err != nil {
		return err
	}
	err = s.store.Write(r.Context(), func(tx store.Tx) error {
		if err := tx.RemoveWebSession(v.session); err != nil {
			return err
		}
		return s.record(tx, v.caller(), actSignOut, v.user.Login, nil)
	})
	if err != nil {
		return err
	}
	setCookie(w, cookieSession, "", -time.Second)
	return redirect(w, r, ref.path())
}

func redirect(w http.ResponseWriter, r *http.Request, to string) error {
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}
