package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/idp"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// Signing in with a provider. What a sign-in has to know at its end travels in the state, sealed, and is bound to the
// browser by its form cookie:
//
//	GET /signin/with/ID ─▶ the provider ─▶ GET /signin/callback?state&code ─ 303 ─▶ where it was to lead
//
// Who somebody is, is what the provider calls them by for ever: issuer and subject. An e-mail address never is.
const (
	pathWith     = "/signin/with/"
	pathCallback = "/signin/callback"
	pathLink     = "/profile/link"
	journeyLife  = 15 * time.Minute
)

// journey is a sign-in that is under way at a provider.
type journey struct {
	Provider int64  `json:"p"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	To       string `json:"t,omitempty"`
	Invite   string `json:"i,omitempty"` // the secret of an invitation
	Link     int64  `json:"l,omitempty"` // the account that is to be known by it; 0: sign in
}

// withLink is a button that leads to a provider.
type withLink struct{ Name, Path string }

// withLinks are the buttons to all providers.
func (s *Server) withLinks(tx store.Tx, more url.Values) (links []withLink, err error) {
	all, err := tx.Providers()
	for _, p := range all {
		l := withLink{Name: p.Name, Path: pathWith + fmt.Sprint(p.ID)}
		if len(more) > 0 {
			l.Path += "?" + more.Encode()
		}
		links = append(links, l)
	}
	return links, err
}

// withPage sends the browser to a provider.
func (s *Server) withPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	q := r.URL.Query()
	ref, err := parseLoginRef(q.Get("id"), q.Get("port"), q.Get("state"))
	if err != nil {
		return err
	}
	j := journey{Provider: pathNumber(r), To: destination(ref, q.Get("to")), Invite: bounded(q.Get("invite"), 2*len(rand.Text()))}
	return s.depart(w, r, v, j)
}

// linkWithPage sends the browser to a provider whose identity is to be the visitor's too.
func (s *Server) linkWithPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	if !s.fresh(v) {
		return redirect(w, r, "/profile")
	}
	return s.depart(w, r, v, journey{Provider: pathNumber(r), Link: v.user.ID})
}

func (s *Server) depart(w http.ResponseWriter, r *http.Request, v *visit, j journey) error {
	p, err := s.findProvider(r.Context(), j.Provider)
	if err != nil {
		return s.sayProvider(p.Name, err)
	}
	j.Nonce, j.Verifier = rand.Text(), rand.Text()+rand.Text()
	state, err := writeTicket(s, v, "journey", journeyLife, j)
	if err != nil {
		return err
	}
	at, err := s.idps.Begin(r.Context(), p.config, idp.Journey{State: state, Nonce: j.Nonce, Verifier: j.Verifier})
	if err != nil {
		return s.sayProvider(p.Name, err)
	}
	if v.newForm {
		setCookie(w, cookieForm, v.form, 0)
	}
	return redirect(w, r, at)
}

// sayProvider gives people one sentence on what went wrong; the log has the cause.
func (s *Server) sayProvider(name string, err error) error {
	say := func(status int, text string) error { return refuse(status, codeProvider, fmt.Sprintf(text, name)) }
	var known *coord.Error
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.Is(err, idp.ErrDenied):
		return say(http.StatusForbidden, textProviderDenied)
	case errors.Is(err, idp.ErrExpired):
		err = errors.Join(err, say(http.StatusForbidden, textProviderExpired))
	case errors.Is(err, idp.ErrAnswer):
		err = errors.Join(err, say(http.StatusForbidden, textProviderAnswer))
	case errors.Is(err, idp.ErrClient), errors.Is(err, coord.ErrInvalid), errors.Is(err, errUnsealed):
		err = errors.Join(err, say(http.StatusBadGateway, textProviderClient))
	case errors.Is(err, idp.ErrAway):
		err = errors.Join(err, say(http.StatusBadGateway, textProviderDown))
	default:
		return err
	}
	s.log.Warn("a sign-in with a provider failed", "provider", name, "err", err)
	return err
}

// callbackPage is where a provider sends the browser back. It is used up before the provider is asked, and leads on to a
// clean address.
func (s *Server) callbackPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	q := r.URL.Query()
	t, err := readTicket[journey](s, v, "journey", q.Get("state"))
	if err != nil {
		return errJourney
	}
	j := t.What
	if j.Link != 0 && j.Link != v.user.ID {
		return errJourney
	}
	from := s.guesser(r)
	if wait := s.guesses.Try(s.now(), from...); wait > 0 {
		return refuse(http.StatusTooManyRequests, coord.CodeBusy, sayWait(wait))
	}
	if err := s.store.Write(r.Context(), func(tx store.Tx) error { return t.spend(tx, s.now()) }); err != nil {
		return err
	}
	p, err := s.findProvider(r.Context(), j.Provider)
	if err != nil {
		return s.sayProvider(p.Name, err)
	}
	who, err := s.idps.Finish(r.Context(), p.config, idp.Journey{Nonce: j.Nonce, Verifier: j.Verifier}, q)
	if err != nil {
		return s.sayProvider(p.Name, err)
	}
	if !p.allows(&who) {
		s.recordRefusal(r.Context(), caller{via: viaConsole, address: s.clientAddr(r).String()}, store.User{}, facts{"step": p.Name, "subject": who.Subject, "why": "domain or group"})
		return refuse(http.StatusForbidden, codeProvider, fmt.Sprintf(textProviderNotAllowed, p.Name))
	}
	s.guesses.TakeBack(from...)
	if j.Link != 0 {
		return s.askLink(w, r, v, p, who)
	}
	user, err := s.identified(r, p, who, j.Invite)
	if err != nil {
		return err
	}
	return s.proved(w, r, v, user, p.Name, j.To)
}

// identified finds the account that the provider's word is for, or makes one where it may be made.
func (s *Server) identified(r *http.Request, p provider, who idp.Person, invite string) (user store.User, err error) {
	known, err := s.isKnown(r, who)
	if err != nil {
		return user, err
	}
	if !known && invite == "" {
		if wait := s.tooManySignUps(r); wait != "" {
			return user, refuse(http.StatusTooManyRequests, codeProvider, wait)
		}
	}
	err = s.store.Write(r.Context(), func(tx store.Tx) error {
		i, err := tx.Identity(who.Issuer, who.Subject)
		switch {
		case err == nil: // also where an invitation came along: it stays for somebody else
			i.Name, i.Used = shownAs(who), s.now()
			if err := tx.SetIdentity(i); err != nil {
				return err
			}
			user, err = tx.User(i.User)
			return err
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		from := s.clientAddr(r).String()
		role, err := s.admitPerson(tx, p, who, invite, from)
		if err != nil {
			return err
		}
		if user, err = s.addPerson(tx, who, role); err != nil {
			return err
		}
		_, err = tx.AddIdentity(store.Identity{
			User: user.ID, Issuer: who.Issuer, Subject: who.Subject, Name: shownAs(who), Created: s.now(), Used: s.now(),
		})
		if err != nil {
			return err
		}
		by := caller{user: user.ID, login: user.Login, via: viaConsole, address: from}
		return s.record(tx, by, actUserAdd, user.Login, facts{"id": user.ID, "role": role, "provider": p.Name, "issuer": who.Issuer, "subject": who.Subject})
	})
	return user, err
}

func (s *Server) isKnown(r *http.Request, who idp.Person) (known bool, err error) {
	err = s.store.Read(r.Context(), func(tx store.Tx) error {
		_, err := tx.Identity(who.Issuer, who.Subject)
		known = err == nil
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return known, err
}

// admitPerson says as what somebody may have an account here, and uses up what permits it.
func (s *Server) admitPerson(tx store.Tx, p provider, who idp.Person, invite, from string) (account.Role, error) {
	if invite != "" {
		return s.useInvitation(tx, invite, from)
	}
	c, err := settingsOf(tx)
	if err != nil {
		return "", err
	}
	listed := c.SignUp == SignUpDomains && who.Domain() != "" && strings.Contains(" "+strings.Join(c.Domains, " ")+" ", " "+who.Domain()+" ")
	if p.SignUp || c.SignUp == SignUpOpen || listed {
		return account.Member, nil
	}
	if c.SignUp == SignUpDomains {
		return "", refuse(http.StatusForbidden, codeProvider, fmt.Sprintf(textProviderDomain, p.Name))
	}
	return "", refuse(http.StatusForbidden, codeProvider, fmt.Sprintf(textProviderNobody, p.Name))
}

// addPerson makes an account without a password, under a name that is free.
func (s *Server) addPerson(tx store.Tx, who idp.Person, role account.Role) (u store.User, err error) {
	local, _, _ := strings.Cut(who.Email, "@")
	base := account.CleanLogin(local)
	if who.Login != "" {
		base = account.CleanLogin(who.Login)
	}
	u = store.User{Login: base, Role: role, Created: s.now()}
	for i := 2; ; i++ {
		_, err := tx.UserByLogin(u.Login)
		switch {
		case errors.Is(err, store.ErrNotFound):
			u.ID, err = tx.AddUser(u)
			return u, err
		case err != nil:
			return u, err
		case i > 30: // somebody plays with it
			u.Login = base + "-" + strings.ToLower(rand.Text()[:8])
		default:
			u.Login = fmt.Sprintf("%s-%d", base, i)
		}
	}
}

// shownAs is what a person is called on pages.
func shownAs(who idp.Person) string {
	for _, name := range []string{who.Email, who.Login, who.Name} {
		if name != "" {
			return cleanText(name, maxQuery)
		}
	}
	return cleanText(who.Subject, maxQuery)
}

// addition is an identity that its owner has proved, and may add to the account.
type addition struct {
	Issuer  string `json:"i"`
	Subject string `json:"s"`
	Name    string `json:"n"`
	By      string `json:"b"` // the provider's name
}

func linkPurpose(user int64) string { return fmt.Sprintf("link %d", user) }

// askLink goes on to the question whether the identity is to be the visitor's: somebody else could have signed this
// browser in at the provider.
func (s *Server) askLink(w http.ResponseWriter, r *http.Request, v *visit, p provider, who idp.Person) error {
	text, err := writeTicket(s, v, linkPurpose(v.user.ID), stepLife, addition{Issuer: who.Issuer, Subject: who.Subject, Name: shownAs(who), By: p.Name})
	if err != nil {
		return err
	}
	setCookie(w, cookieStep, text, stepLife)
	return redirect(w, r, pathLink)
}

func (s *Server) wished(r *http.Request, v *visit) (t ticket[addition], ok bool) {
	c, err := r.Cookie(cookieStep)
	if err != nil || !s.fresh(v) {
		return t, false
	}
	t, err = readTicket[addition](s, v, linkPurpose(v.user.ID), c.Value)
	return t, err == nil
}

func (s *Server) linkPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	t, ok := s.wished(r, v)
	if !ok {
		return redirect(w, r, "/profile")
	}
	return s.confirm(w, "/profile", v, confirmation{
		Ask: fmt.Sprintf(textLinkAsk, t.What.By), What: fmt.Sprintf(textLinkWhat, t.What.Name, t.What.By, v.user.Login), Action: pathLink,
		Button: textLink, Back: "/profile", Plain: true,
	})
}

func (s *Server) setLinkPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	t, ok := s.wished(r, v)
	if !ok {
		return redirect(w, r, "/profile")
	}
	err := s.store.Write(r.Context(), func(tx store.Tx) error {
		if err := t.spend(tx, s.now()); err != nil {
			return err
		}
		switch i, err := tx.Identity(t.What.Issuer, t.What.Subject); {
		case err == nil && i.User != v.user.ID:
			return errIdentityTaken
		case err == nil:
			return nil // it is theirs already
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		id, err := tx.AddIdentity(store.Identity{User: v.user.ID, Issuer: t.What.Issuer, Subject: t.What.Subject, Name: t.What.Name, Created: s.now()})
		if err != nil {
			return err
		}
		return s.record(tx, v.caller(), actIdentityAdd, v.user.Login, facts{
			"id": id, "provider": t.What.By, "issuer": t.What.Issuer, "subject": t.What.Subject, "name": t.What.Name,
		})
	})
	if err != nil {
		return err
	}
	setCookie(w, cookieStep, "", -time.Second)
	return redirect(w, r, "/profile")
}

func (s *Server) removeIdentityPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	if !s.fresh(v) {
		return redirect(w, r, "/profile")
	}
	err := s.removeWay(r, v, func(tx store.Tx) error {
		if err := tx.RemoveIdentity(v.user.ID, pathNumber(r)); err != nil {
			return err
		}
		return s.record(tx, v.caller(), actIdentityRemove, v.user.Login, facts{"id": pathNumber(r)})
	})
	if errors.Is(err, errLastWay) {
		return s.showProfile(w, r, http.StatusConflict, v, errLastWay.Message+".")
	}
	if err != nil {
		return err
	}
	return redirect(w, r, "/profile")
}

// removeWay removes a way to sign in, but for the last.
func (s *Server) removeWay(r *http.Request, v *visit, remove func(store.Tx) error) error {
	return s.store.Write(r.Context(), func(tx store.Tx) error {
		if err := remove(tx); errors.Is(err, store.ErrNotFound) {
			return nil // it is gone: as wished
		} else if err != nil {
			return err
		}
		left, err := s.waysIn(tx, v.user.ID)
		if err == nil && left == 0 {
			return errLastWay
		}
		return err
	})
}

// waysIn counts what can sign the account in by itself.
func (s *Server) waysIn(tx store.Tx, user int64) (n int, err error) {
	u, err := tx.User(user)
	if err != nil {
		return 0, err
	}
	if u.Password != "" {
		n++
	}
	providers, err := tx.Providers()
	if err != nil {
		return 0, err
	}
	ids, err := tx.Identities(user)
	if err != nil {
		return 0, err
	}
	for _, i := range ids {
		for _, p := range providers {
			if p.Issuer == i.Issuer {
				n++
			}
		}
	}
	keys, err := tx.Passkeys(user)
	return n + len(keys), err
}
