package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/key"
)

// The control protocol: package coord's wire.go says what each request means.

func (s *Server) hello(w http.ResponseWriter, r *http.Request) error {
	var req coord.HelloRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	if len(req.Nonce) != coord.NonceSize {
		return badRequest("The nonce must have %d bytes", coord.NonceSize)
	}
	now := s.now()
	n, challenge := s.sessions.greet(now, nonce(req.Nonce))
	h := coord.Hello{Nonce: n[:], Cert: s.certOf(r.Context()), Challenge: challenge, Time: now}
	h.Sign(s.identity, req.Nonce)
	return writeJSON(w, &h)
}

func (s *Server) session(w http.ResponseWriter, r *http.Request) error {
	var req coord.SessionRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	if len(req.Nonce) != coord.NonceSize || len(req.ClientNonce) != coord.NonceSize {
		return badRequest("The nonces must have %d bytes", coord.NonceSize)
	}
	now := s.now()
	n := nonce(req.Nonce)
	switch { // the nonce is redeemed last: only who has signed for it can use it up
	case !s.sessions.genuine(now, n, nonce(req.ClientNonce)):
		return errHello
	case !req.Verify(s.identity.Public()):
		return errSignature
	case !s.sessions.redeem(n):
		return errHello
	}
	_, err := s.hub.member(r.Context(), req.Machine)
	expired, pending := errors.Is(err, errExpired), errors.Is(err, errPending)
	member := err == nil || expired || pending
	token, expires := s.sessions.start(now, req.Machine, n)
	return writeJSON(w, &coord.Session{Token: token, Expires: expires, Registered: member, Expired: expired, Pending: pending})
}

func (s *Server) register(w http.ResponseWriter, r *http.Request, sess *session) error {
	var req coord.RegisterRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	if !req.Check(sess.challenge, sess.stream()) {
		return errNodeProof
	}
	if req.Challenge != "" && !coord.ValidCodeChallenge(req.Challenge) {
		return badRequest("The PKCE challenge is none")
	}
	a := admission{
		machine: sess.machine, node: req.Node, host: bounded(req.Hostname, 255),
		os: bounded(req.OS, coord.MaxVersion), version: bounded(req.Version, coord.MaxVersion),
	}
	n, err := s.hub.member(r.Context(), sess.machine)
	pending := errors.Is(err, errPending)
	switch {
	case (err == nil || pending) && !req.Reauth && (req.AuthKey == "" || !pending):
		if n.Node.Key != req.Node {
			if err := s.rekey(r.Context(), s.clientAddr(r), sess.machine, req.Node); err != nil {
				return err
			}
		}
		return writeJSON(w, &coord.RegisterReply{Registered: true, Pending: pending})
	case req.AuthKey != "":
		a.authKey = bounded(req.AuthKey, 255)
		if err := s.admit(r.Context(), caller{via: viaMachine, address: s.clientAddr(r).String()}, a, nil); err != nil {
			return err
		}
		return writeJSON(w, &coord.RegisterReply{Registered: true, Pending: s.pending(r.Context(), a.machine)})
	}
	l, err := s.logins.start(r.Context(), s.now(), a, req.Challenge, account.AddressKey(s.clientAddr(r)))
	if err != nil {
		return err
	}
	return writeJSON(w, &coord.RegisterReply{LoginID: l.id, Code: showCode(l.code), Expires: l.Expires})
}

// ownLogin finds a login of this very machine.
func (s *Server) ownLogin(ctx context.Context, sess *session, id string) (*login, loginState, error) {
	l, st, err := s.logins.find(ctx, s.now(), id)
	if l != nil && l.admission.machine != sess.machine {
		return nil, 0, errLoginUnknown
	}
	return l, st, err
}

func (s *Server) registerWait(w http.ResponseWriter, r *http.Request, sess *session) error {
	l, st, err := s.ownLogin(r.Context(), sess, r.URL.Query().Get("id"))
	if err != nil {
		return err
	}
	wait := time.NewTimer(min(coord.MaxLoginWait, l.Expires.Sub(s.now())))
	defer wait.Stop()
	for over := false; st != loginDone && !over; {
		changed := s.logins.changed(l)
		if _, st, err = s.ownLogin(r.Context(), sess, l.id); err != nil { // whatever becomes of it from here on is heard
			return err
		}
		if st == loginDone {
			break
		}
		select {
		case <-changed:
		case <-wait.C:
			over = true
		case <-s.stopping:
			return errBusy
		case <-r.Context().Done():
			return r.Context().Err()
		}
		if _, st, err = s.ownLogin(r.Context(), sess, l.id); err != nil {
			return err
		}
	}
	return writeJSON(w, &coord.RegisterReply{Registered: st == loginDone, Pending: s.pending(r.Context(), sess.machine), LoginID: l.id, Expires: l.Expires})
}

func (s *Server) registerCode(w http.ResponseWriter, r *http.Request, sess *session) error {
	var req coord.CodeRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	l, st, err := s.ownLogin(r.Context(), sess, req.LoginID)
	if err != nil {
		return err
	}
	if st != loginDone { // asked again, after an answer that was lost
		user, err := s.logins.redeem(r.Context(), l, req.Code, req.Verifier)
		if err != nil {
			return err
		}
		if err := s.complete(r.Context(), caller{user: user, via: viaMachine, address: s.clientAddr(r).String()}, l, user); err != nil {
			return err
		}
	}
	return writeJSON(w, &coord.RegisterReply{Registered: true, Pending: s.pending(r.Context(), sess.machine)})
}

// registerStop ends a login that its own machine gives up. Of one that is over already nothing changes.
func (s *Server) registerStop(w http.ResponseWriter, r *http.Request, sess *session) error {
	var req coord.StopRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	l, _, err := s.ownLogin(r.Context(), sess, req.LoginID)
	if l == nil {
		return err
	}
	if err := s.logins.finish(r.Context(), l, loginDenied); err != nil {
		return err
	}
	return writeJSON(w, struct{}{})
}

// pending reports whether a machine waits for an admin's approval.
func (s *Server) pending(ctx context.Context, m key.MachinePublic) bool {
	_, err := s.hub.member(ctx, m)
	return errors.Is(err, errPending)
}

// approval is held until an admin has decided on the machine, or for as long as a request may be.
func (s *Server) approval(w http.ResponseWriter, r *http.Request, sess *session) error {
	wait := time.NewTimer(coord.MaxLoginWait)
	defer wait.Stop()
	select {
	case <-s.hub.ask(sess.machine):
	case <-wait.C:
	case <-s.stopping:
		return errBusy
	case <-r.Context().Done():
		return r.Context().Err()
	}
	_, err := s.hub.member(r.Context(), sess.machine)
	if err != nil && !errors.Is(err, errPending) {
		return err
	}
	return writeJSON(w, &coord.ApprovalReply{Approved: err == nil})
}

func (s *Server) node(w http.ResponseWriter, r *http.Request, sess *session) error {
	var u coord.NodeUpdate
	if err := readJSON(w, r, &u); err != nil {
		return err
	}
	n, err := s.hub.member(r.Context(), sess.machine)
	if err != nil {
		return err
	}
	if err := coord.ValidateEndpoints(u.Endpoints, &s.network); err != nil {
		return err
	}
	if err := coord.ValidateRoutes(u.Routes, &s.network); err != nil {
		return err
	}
	if err := u.Relaying.Validate(&s.network); err != nil {
		return err
	}
	u.Routes = inOrder(u.Routes)
	u.Cut = inOrder(without(u.Routes, without(u.Routes, u.Cut))) // of Routes
	if u.Relay < 0 || u.Doubt < 0 {
		return badRequest("The relay's number is none")
	}
	u.OS, u.Version, u.Hostname = bounded(u.OS, coord.MaxVersion), bounded(u.Version, coord.MaxVersion), bounded(u.Hostname, 255)
	if base := coord.CleanName(u.Hostname); u.Hostname != "" && !namedAfter(n.Node.Name, base) {
		if err := s.rename(r.Context(), s.clientAddr(r), sess.machine, base); err != nil {
			return err
		}
	}
	s.hub.say(r.Context(), n.Node.ID, u)
	if fresh := without(without(u.Routes, n.Offered), n.Approved); len(fresh) > 0 {
		if err := s.autoApprove(r.Context(), n.Node.ID, fresh); err != nil {
			s.log.Warn("cannot approve what a machine offers", "err", err) // an admin can
		}
		if err := s.noteOffer(r.Context(), s.clientAddr(r), sess.machine, actMachineOffer, facts{"routes": fresh}); err != nil {
			s.log.Warn("cannot record what a machine offers", "err", err) // it is offered all the same
		}
	}
	if u.Relaying != nil && n.OffersRelay == nil && !n.MayRelay {
		if err := s.noteOffer(r.Context(), s.clientAddr(r), sess.machine, actMachineRelay, facts{}); err != nil {
			s.log.Warn("cannot record what a machine offers", "err", err)
		}
	}
	return writeJSON(w, struct{}{})
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request, sess *session) error {
	if err := s.leave(r.Context(), s.clientAddr(r), sess.machine); err != nil {
		return err
	}
	return writeJSON(w, struct{}{})
}

// bounded makes a machine's text fit to be shown: printable, and no longer than n bytes.
func bounded(text string, n int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(text, ""))
	return strings.ToValidUTF8(text[:min(n, len(text))], "")
}

func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	if ct := r.Header.Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
		return badRequest("The body must be application/json")
	}
	if w != nil { // nil: the admin socket, whose callers are trusted
		rc := http.NewResponseController(w)
		_ = rc.SetReadDeadline(time.Now().Add(readTimeout))
		defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, coord.MaxBody))
	if err := d.Decode(into); err != nil {
		if isTooLong(err) {
			return errTooLong
		}
		return badRequest("The body cannot be read")
	}
	if d.More() {
		return badRequest("Something follows the body")
	}
	return nil
}

func writeJSON(w http.ResponseWriter, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n'))
	return nil
}
