package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// The second step of a sign-in. Who has proved the first one has no session yet, only a ticket in a cookie of its own:
//
//	POST /signin ─ name and password ─▶ 303 /signin/second ─ code ─▶ a session under a new secret
const (
	cookieStep = "__Host-warren-step"
	pathSecond = "/signin/second"
	stepLife   = 10 * time.Minute

	freshFor = 15 * time.Minute // how long after signing in one may change how one signs in

	freeCodes        = freeGuesses // wrong ones for one account from one address
	freeCodesAccount = 100         // for one account from anywhere: guesses from many addresses do not add up (recovery codes pass)
)

// halfway is a sign-in that lacks its second step.
type halfway struct {
	User  int64  `json:"user"`
	Stamp string `json:"stamp"` // of how the account is signed in to: what changed voids it
	By    string `json:"by"`    // the first step
	To    string `json:"to"`    // where it leads
}

// stamp changes with the password.
func stamp(u store.User) string {
	sum := sha256.Sum256([]byte("stamp\x00" + u.Password))
	return fmt.Sprintf("%x", sum[:8])
}

// secondSteps are the ways in which an account takes its second step.
type secondSteps struct{ Code, Passkey bool }

func (st secondSteps) any() bool { return st.Code || st.Passkey }

func (s *Server) secondStepsOf(tx store.Tx, user int64) (st secondSteps, err error) {
	if _, err = tx.SecondFactor(user); err == nil {
		st.Code = true
	} else if !errors.Is(err, store.ErrNotFound) {
		return st, err
	}
	keys, err := tx.Passkeys(user)
	st.Passkey = len(keys) > 0 && s.desk != nil
	return st, err
}

// mustHaveSecond reports whether the settings want a second step of the account.
func mustHaveSecond(c Settings, u store.User) bool {
	return c.SecondFactor && (u.Role == account.Owner || u.Role == account.Admin)
}

// owesSecond reports whether the settings want a second step of an account that has none yet.
func (s *Server) owesSecond(tx store.Tx, u store.User) (bool, error) {
	c, err := settingsOf(tx)
	if err != nil || !mustHaveSecond(c, u) {
		return false, err
	}
	st, err := s.secondStepsOf(tx, u.ID)
	return !st.any(), err
}

// proved goes on after somebody proved to be the user by one thing: to the second step where there is one, else in. Who
// has a passkey and no codes may leave it at that, but where the settings want a second step.
func (s *Server) proved(w http.ResponseWriter, r *http.Request, v *visit, user store.User, by, to string) error {
	needed := false
	err := s.store.Read(r.Context(), func(tx store.Tx) error {
		st, err := s.secondStepsOf(tx, user.ID)
		if err != nil {
			return err
		}
		c, err := settingsOf(tx)
		needed = st.Code || st.Passkey && mustHaveSecond(c, user)
		return err
	})
	if err != nil {
		return err
	}
	if !needed {
		return s.letIn(w, r, v, user, by, to)
	}
	text, err := writeTicket(s, v, "second", stepLife, halfway{User: user.ID, Stamp: stamp(user), By: by, To: to})
	if err != nil {
		return err
	}
	setCookie(w, cookieStep, text, stepLife)
	return redirect(w, r, pathSecond)
}

// letIn starts a session and leads on.
func (s *Server) letIn(w http.ResponseWriter, r *http.Request, v *visit, user store.User, by, to string) error {
	if err := s.startWebSession(r, w, v, user.ID, by); err != nil {
		return err
	}
	return redirect(w, r, to)
}

// half finds the sign-in that the browser has begun; nil: none.
func (s *Server) half(r *http.Request, v *visit) *ticket[halfway] {
	c, err := r.Cookie(cookieStep)
	if err != nil {
		return nil
	}
	t, err := readTicket[halfway](s, v, "second", c.Value)
	if err != nil {
		return nil
	}
	return &t
}

// secondView is the page of the second step.
type secondView struct {
	secondSteps
	Ceremony ceremony
}

func (s *Server) secondPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	t := s.half(r, v)
	if t == nil {
		return redirect(w, r, "/signin")
	}
	return s.showSecond(w, r, http.StatusOK, v, t, "")
}

func (s *Server) showSecond(w http.ResponseWriter, r *http.Request, status int, v *visit, t *ticket[halfway], problem string) error {
	d := secondView{}
	var keys []store.Passkey
	err := s.store.Read(r.Context(), func(tx store.Tx) (err error) {
		if d.secondSteps, err = s.secondStepsOf(tx, t.What.User); err == nil && d.secondSteps.Passkey {
			keys, err = tx.Passkeys(t.What.User)
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(keys) > 0 {
		if d.Ceremony, err = s.signInCeremony(v, keys); err != nil {
			return err
		}
	}
	if !d.any() { // it was reset meanwhile
		return redirect(w, r, "/signin")
	}
	return s.show(w, status, "second", v, page{
		Title: "Second step", Token: s.formToken(v, pathSecond), Problem: problem, Body: d, Script: len(keys) > 0, PasskeyToken: s.formToken(v, pathPasskey),
	})
}

func (s *Server) secondStep(w http.ResponseWriter, r *http.Request, v *visit) error {
	t := s.half(r, v)
	if t == nil {
		return s.showSignIn(w, r, http.StatusForbidden, v, nil, "", textSecondOver)
	}
	user, by, wait, err := s.checkCode(r, t, r.PostForm.Get("code"))
	switch {
	case err != nil:
		return err
	case wait > 0:
		return s.showSecond(w, r, http.StatusTooManyRequests, v, t, sayWait(wait)+".")
	case user.ID == 0:
		return s.showSecond(w, r, http.StatusForbidden, v, t, textWrongSecond)
	}
	setCookie(w, cookieStep, "", -time.Second)
	return s.letIn(w, r, v, user, t.What.By+" and "+by, t.What.To)
}

// checkCode takes a one-time or a recovery code, once. The user has ID 0 where it is wrong.
func (s *Server) checkCode(r *http.Request, t *ticket[halfway], code string) (user store.User, by string, wait time.Duration, err error) {
	what := fmt.Sprint("code ", t.What.User)
	isKnown := func(l knownLogin) bool { return l.ID == t.What.User }
	bounds := s.guessAt(r, what, isKnown)
	overall := account.Bound{Key: what, Free: freeCodesAccount}
	recovery := account.CleanRecoveryCode(code)
	if recovery == "" && !slices.ContainsFunc(s.knownAs(r).Users, isKnown) {
		bounds = append(bounds, overall)
	}
	if wait = s.guesses.Try(s.now(), bounds...); wait > 0 {
		s.count.logins.WithLabelValues("throttled").Inc()
		return user, "", wait, nil
	}
	err = s.store.Write(r.Context(), func(tx store.Tx) error {
		if user, err = tx.User(t.What.User); err != nil {
			return err
		}
		if stamp(user) != t.What.Stamp {
			return store.ErrNotFound
		}
		if by, err = s.takeCode(tx, user.ID, code, recovery); err != nil {
			return err
		}
		return t.spend(tx, s.now())
	})
	if errors.Is(err, store.ErrNotFound) {
		s.count.logins.WithLabelValues("wrong").Inc()
		s.recordRefusal(r.Context(), caller{via: viaConsole, address: s.clientAddr(r).String()}, user, facts{"step": "second"})
		return store.User{}, "", 0, nil
	}
	if err != nil {
		return user, "", 0, err
	}
	s.guesses.Right(bounds...)
	s.guesses.Right(overall)
	return user, by, 0, nil
}

// takeCode uses up a code; ErrNotFound where it is wrong, or was used.
func (s *Server) takeCode(tx store.Tx, user int64, code, recovery string) (by string, err error) {
	if recovery != "" {
		return "recovery code", tx.UseRecoveryCode(user, s.recoveryHash(user, recovery))
	}
	f, err := tx.SecondFactor(user)
	if err != nil {
		return "", err
	}
	secret, err := s.vault.open(totpPurpose(user), f.Secret)
	if err != nil {
		return "", err
	}
	step, ok := account.CheckTOTP(secret, code, s.now(), f.Step)
	if !ok {
		return "", store.ErrNotFound
	}
	return "one-time code", tx.UseStep(user, step)
}

func totpPurpose(user int64) string { return fmt.Sprintf("totp of %d", user) }

func (s *Server) recoveryHash(user int64, code string) [sha256.Size]byte {
	return s.vault.hash(fmt.Sprintf("recovery code of %d", user), code)
}

// fresh reports whether the visitor has signed in lately, as who changes how they sign in must have.
func (s *Server) fresh(v *visit) bool { return s.now().Sub(v.since) < freshFor }

// enrolment is the page that sets one-time codes up.
type enrolment struct {
	QR     template.HTML
	Secret string
	Ticket string
	Must   bool // nothing else works before
}

// newSecondPage shows a new secret. Nothing is kept until a code proves that an app has it.
func (s *Server) newSecondPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	if !s.fresh(v) {
		return redirect(w, r, "/profile")
	}
	return s.showEnrolment(w, http.StatusOK, v, account.NewTOTP(), "")
}

func (s *Server) showEnrolment(w http.ResponseWriter, status int, v *visit, secret []byte, problem string) error {
	ticket, err := writeTicket(s, v, fmt.Sprint("enrol ", v.user.ID), freshFor, secret)
	if err != nil {
		return err
	}
	code, err := qrSVG(account.TOTPLink(secret, "Warren "+s.network.Name, v.user.Login))
	if err != nil {
		return err
	}
	text := account.TOTPText(secret)
	grouped := ""
	for i := 0; i < len(text); i += 4 {
		grouped += text[i:min(i+4, len(text))] + " "
	}
	return s.showConsole(w, status, "enrol", "/profile", v, page{Title: textSecond, Problem: problem, Body: enrolment{
		QR: code, Secret: grouped[:len(grouped)-1], Ticket: ticket, Must: v.owes,
	}})
}

func (s *Server) setSecondPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	if !s.fresh(v) {
		return redirect(w, r, "/profile")
	}
	t, err := readTicket[[]byte](s, v, fmt.Sprint("enrol ", v.user.ID), r.PostForm.Get("ticket"))
	if err != nil {
		return err
	}
	bound := account.Bound{Key: fmt.Sprint("enrol ", v.user.ID), Free: freeCodes}
	if wait := s.guesses.Try(s.now(), bound); wait > 0 {
		return s.showEnrolment(w, http.StatusTooManyRequests, v, t.What, sayWait(wait)+".")
	}
	step, ok := account.CheckTOTP(t.What, r.PostForm.Get("code"), s.now(), 0)
	if !ok {
		return s.showEnrolment(w, http.StatusForbidden, v, t.What, textWrongEnrol)
	}
	s.guesses.Right(bound)
	codes := account.NewRecoveryCodes()
	err = s.store.Write(r.Context(), func(tx store.Tx) error {
		if err := t.spend(tx, s.now()); err != nil {
			return err
		}
		f := store.SecondFactor{User: v.user.ID, Secret: s.vault.seal(totpPurpose(v.user.ID), t.What), Step: step, Created: s.now()}
		if err := tx.SetSecondFactor(f); err != nil {
			return err
		}
		if err := tx.RemoveWebSessions(v.user.ID, v.session); err != nil { // they came in by one step
			return err
		}
		if err := tx.SetRecoveryCodes(v.user.ID, s.recoveryHashes(v.user.ID, codes)); err != nil {
			return err
		}
		return s.record(tx, v.caller(), actSecondSet, v.user.Login, nil)
	})
	if err != nil {
		return err
	}
	return s.showCodes(w, v, codes)
}

func (s *Server) recoveryHashes(user int64, codes []string) (hashes [][sha256.Size]byte) {
	for _, c := range codes {
		hashes = append(hashes, s.recoveryHash(user, account.CleanRecoveryCode(c)))
	}
	return hashes
}

// showCodes shows recovery codes, this once.
func (s *Server) showCodes(w http.ResponseWriter, v *visit, codes []string) error {
	return s.showConsole(w, http.StatusOK, "codes", "/profile", v, page{Title: textRecovery, Body: codes})
}

// newCodesPage replaces the recovery codes.
func (s *Server) newCodesPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	if !s.fresh(v) {
		return redirect(w, r, "/profile")
	}
	codes := account.NewRecoveryCodes()
	err := s.store.Write(r.Context(), func(tx store.Tx) error {
		if _, err := tx.SecondFactor(v.user.ID); err != nil {
			return err
		}
		if err := tx.SetRecoveryCodes(v.user.ID, s.recoveryHashes(v.user.ID, codes)); err != nil {
			return err
		}
		return s.record(tx, v.caller(), actSecondCodes, v.user.Login, nil)
	})
	if errors.Is(err, store.ErrNotFound) {
		return redirect(w, r, "/profile")
	}
	if err != nil {
		return err
	}
	return s.showCodes(w, v, codes)
}

func (s *Server) askRemoveSecond(w http.ResponseWriter, _ *http.Request, v *visit) error {
	return s.confirm(w, "/profile", v, confirmation{
		Ask: textSecondOffAsk, What: textSecondOffWhat, Action: "/profile/second/remove", Button: textSecondOff, Back: "/profile",
	})
}

func (s *Server) removeSecondPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	if !s.fresh(v) {
		return redirect(w, r, "/profile")
	}
	err := s.store.Write(r.Context(), func(tx store.Tx) error {
		if err := tx.RemoveSecondFactor(v.user.ID); err != nil {
			return err
		}
		return s.record(tx, v.caller(), actSecondRemove, v.user.Login, nil)
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) { // it is gone: as wished
		return err
	}
	return redirect(w, r, "/profile")
}

// ResetSecond takes an account's second steps away, for who has lost them.
func (s *Server) ResetSecond(ctx context.Context, login string) error {
	return s.resetSecond(ctx, operator, byLogin(login))
}

func (s *Server) resetSecond(ctx context.Context, by caller, find finder) error {
	return s.store.Write(ctx, func(tx store.Tx) error {
		u, err := find(tx)
		if err != nil {
			return err
		}
		if _, err := govern(tx, by, find, u.Role); err != nil {
			return err
		}
		if err := tx.RemoveWebSessions(u.ID, [sha256.Size]byte{}); err != nil {
			return err
		}
		if err := tx.RemoveSecondFactor(u.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err := s.dropPasskeys(tx, u); err != nil {
			return err
		}
		return s.record(tx, by, actSecondReset, u.Login, facts{"id": u.ID})
	})
}

func (s *Server) askResetSecond(w http.ResponseWriter, r *http.Request, v *visit) error {
	u, err := s.userInPath(r)
	if err != nil {
		return err
	}
	return s.confirm(w, "/users", v, confirmation{
		Ask: fmt.Sprintf(textResetSecondAsk, u.Login), What: textResetSecondWhat, Action: r.URL.Path, Button: textResetSecond,
		Back: "/users/" + r.PathValue("id"),
	})
}

func (s *Server) resetSecondPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	if err := s.resetSecond(r.Context(), v.caller(), byNumber(pathNumber(r))); err != nil {
		return err
	}
	return redirect(w, r, "/users/"+r.PathValue("id"))
}
