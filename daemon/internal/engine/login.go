package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/core"
	"github.com/warren-mesh/warren/daemon/internal/store"
	"github.com/warren-mesh/warren/ipc"
)

// upWait is how long Up and the ends of a login wait until packets flow, before they say that it is on its way.
const upWait = 10 * time.Second

// attempt is a login under way. It becomes the machine's login only when it has succeeded, so that one that is
// broken off leaves all as it was.
type attempt struct {
	login  store.Login
	client Client
	fresh  bool // client is not the loop's
	member bool // a node already, as far as is known here
	// invited: the identity that the server has to show is from an invite, and not one that this machine met it by.
	invited bool
	edit    ipc.PrefsEdit
}

func (a *attempt) drop() {
	if a.fresh {
		a.client.Close()
	}
}

// pending is the attempt that waits for a person, with the id of its page.
type pending struct {
	id      string
	attempt *attempt
	expires time.Time
	over    context.Context // ends when the login is not waited for any more; its cause says why
	end     context.CancelCauseFunc
}

// Why a login that waited was ended from this side.
var (
	errTakenOver = &ipc.Error{Status: 409, Code: ipc.CodeLogin, Reason: ipc.ReasonLoginElsewhere, Message: "Another login was begun on this machine, so this one is over.", Fix: "Go on there, or log in again: warren up"}
	errTakenDown = &ipc.Error{Status: 409, Code: ipc.CodeLogin, Reason: ipc.ReasonLoginDown, Message: "The login was ended by warren down.", Fix: "warren up starts another"}
	errTakenOut  = &ipc.Error{Status: 409, Code: ipc.CodeLogin, Reason: ipc.ReasonLoginOut, Message: "The login was ended by warren logout.", Fix: "warren up starts another"}
)

// cancelWait is how long the server may take to hear of a login that is over. If it does not, the page ends by itself.
const cancelWait = 3 * time.Second

// exclusive waits for the right to log in or out: one at a time. People do not wait for what the daemon does of itself.
func (e *Engine) exclusive(ctx context.Context) (release func(), err error) {
	select {
	case e.logging <- struct{}{}:
		return func() { <-e.logging }, nil
	default:
	}
	if giveWay := e.giveWay.Load(); giveWay != nil {
		(*giveWay)()
	}
	select {
	case e.logging <- struct{}{}:
		return func() { <-e.logging }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Up brings the machine onto its network. Where a person has to log in, it says how.
func (e *Engine) Up(ctx context.Context, r ipc.UpRequest) (*ipc.UpReply, error) {
	release, err := e.exclusive(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	a, err := e.prepare(ctx, r)
	if err != nil {
		return nil, err
	}
	if a.member && r.AuthKey == "" && !r.Reauth {
		// No need to ask a server that may be away.
		if reply, err := e.commit(ctx, a); err != nil || reply.State != ipc.StateNeedsLogin {
			return reply, err
		}
		a.login.Node = 0
	}
	reply, err := e.register(ctx, a, r)
	if err != nil {
		a.drop()
		return nil, err
	}
	return reply, nil
}

// register asks the server to make this machine a node.
func (e *Engine) register(ctx context.Context, a *attempt, r ipc.UpRequest) (*ipc.UpReply, error) {
	session, err := connect(ctx, a.client)
	switch {
	case err != nil && a.invited:
		return nil, otherServer(err)
	case err != nil:
		return nil, explain(err)
	}
	a.login.ServerKey = a.client.Server()
	if session.Registered && !session.Expired && !r.Reauth && (r.AuthKey == "" || !session.Pending) {
		return e.commit(ctx, a)
	}
	if r.AuthKey != "" {
		// On disk before the server may use it up: a machine that dies before it hears the answer asks again.
		a.login.AuthKey = r.AuthKey
		if err := e.remember(ctx, a); err != nil {
			return nil, err
		}
	}
	reply, err := a.client.Register(ctx, a.login.Key, e.request(a, r))
	switch {
	case err != nil:
		if refused(err) {
			e.unremember(ctx, a)
		}
		return nil, explain(err)
	case reply.Registered:
		return e.commit(ctx, a)
	}
	p := &pending{id: reply.LoginID, attempt: a, expires: reply.Expires}
	p.over, p.end = context.WithCancelCause(context.Background())
	if err := e.do(ctx, func() {
		if e.waiting != nil && e.waiting.id != p.id {
			e.waiting.end(errTakenOver) // the server has ended it too: a machine logs in once at a time
			e.waiting.attempt.drop()
		}
		e.waiting = p
	}); err != nil {
		return nil, err
	}
	return &ipc.UpReply{State: ipc.StateNeedsLogin, Login: &ipc.Login{
		Server: a.login.Server, ID: reply.LoginID, Code: reply.Code, Expires: reply.Expires,
	}}, nil
}

// droppedPause is before the one other try at a server that closed the connection: no two machines of a crowd come back together.
const droppedPause = time.Second

// connect starts a session for a person, who is there once: a server that has too much to do just now is asked once more.
func connect(ctx context.Context, c Client) (*coord.Session, error) {
	session, err := c.Connect(ctx)
	var trouble *coord.Trouble
	if !errors.As(err, &trouble) || trouble.Code != coord.TroubleDropped {
		return session, err
	}
	select {
	case <-ctx.Done():
		return nil, err
	case <-time.After(droppedPause + rand.N(2*droppedPause)):
		return c.Connect(ctx)
	}
}

func (e *Engine) request(a *attempt, r ipc.UpRequest) coord.RegisterRequest {
	q := coord.RegisterRequest{
		AuthKey: r.AuthKey, Challenge: r.Challenge, Reauth: r.Reauth,
		Hostname: hostname(), OS: runtime.GOOS, Version: e.cfg.Version,
	}
	if a.login.Hostname != "" {
		q.Hostname = a.login.Hostname
	}
	if a.edit.Hostname != nil && *a.edit.Hostname != "" {
		q.Hostname = *a.edit.Hostname
	}
	return q
}

// prepare finds out which server is meant, and makes the attempt.
func (e *Engine) prepare(ctx context.Context, r ipc.UpRequest) (*attempt, error) {
	if err := checkEdit(r.Edit); err != nil {
		return nil, err
	}
	a := &attempt{edit: r.Edit}
	var failed error
	err := e.do(ctx, func() {
		if a.login, failed = e.loginFor(r); failed != nil {
			return
		}
		a.invited = !a.login.ServerKey.IsZero() && !slices.ContainsFunc(e.state.Logins, func(l store.Login) bool {
			return l.ID == a.login.ID && l.ServerKey == a.login.ServerKey
		})
		a.member = a.login.Node != 0 && !(a.login.ID == e.net.login && e.net.expired)
		if a.login.ID == e.net.login && e.net.client != nil && a.login.ServerKey == e.net.client.Server() {
			a.client = e.net.client
			return
		}
		a.fresh = true
		if a.client, failed = e.dial(&a.login); failed != nil {
			failed = explain(failed)
		}
	})
	return a, errors.Join(err, failed)
}

// commit makes an attempt that succeeded the machine's login, and waits until packets flow.
func (e *Engine) commit(ctx context.Context, a *attempt) (*ipc.UpReply, error) {
	var failed error
	var displaced *pending
	err := e.do(ctx, func() {
		next := *e.state
		next.Put(a.succeeded(e.state))
		next.DropAuthKeys()
		next.Current, next.Up = a.login.ID, true
		if failed = edit(&next, a.edit, e.netmapOf(a.login.ID)); failed != nil {
			return
		}
		if failed = e.cfg.Store.Save(&next); failed != nil {
			return
		}
		reopen := next.WantPort != e.state.WantPort
		*e.state = next
		displaced = e.displaced()
		switch {
		case e.net.login != a.login.ID || a.fresh:
			var client Client
			if a.fresh {
				client, a.fresh = a.client, false
			}
			e.use(e.state.Login(), client)
		case reopen:
			e.closePlane()
		}
		e.net.ended = core.NotDismissed
		if e.net.expired {
			e.net.expired = false
			e.stopSession() // and settle starts another, at once
		}
		e.told(HostChanged) // and with it any wait for the next session
	})
	e.endWaiting(ctx, displaced, errTakenOver)
	if err := errors.Join(err, failed); err != nil {
		return nil, hostError(err)
	}
	return e.arrived(ctx)
}

// succeeded is the login as it is once it has succeeded: what changed meanwhile in that of the state stays.
func (a *attempt) succeeded(s *store.State) store.Login {
	l := a.login
	if i := slices.IndexFunc(s.Logins, func(o store.Login) bool { return o.ID == l.ID }); i >= 0 {
		l = s.Logins[i]
		l.ServerKey = a.login.ServerKey
	}
	l.AuthKey, l.Former = "", false
	if l.Node == 0 {
		l.Node = unknownNode
	}
	return l
}

// unknownNode marks a login as registered before the first netmap tells the node's number.
const unknownNode coord.NodeID = -1

// arrived waits until packets flow, or until it is clear that they will not.
func (e *Engine) arrived(ctx context.Context) (*ipc.UpReply, error) {
	ctx, cancel := context.WithTimeout(ctx, upWait)
	defer cancel()
	last := ipc.StateStarting
	err := e.Watch(ctx, func(s *ipc.Status) error {
		last = s.State
		switch {
		case s.State == ipc.StateRunning, s.State == ipc.StateNeedsLogin, s.State == ipc.StatePending, s.State == ipc.StateDown:
			return errEnough
		case len(s.Problems) > 0 && s.Problems[0].Code == ipc.CodeHost:
			return &ipc.Error{Status: 500, Code: ipc.CodeHost, Message: s.Problems[0].Text, Fix: s.Problems[0].Fix}
		}
		return nil
	})
	if err == nil || errors.Is(err, errEnough) || errors.Is(err, context.DeadlineExceeded) {
		return &ipc.UpReply{State: last}, nil
	}
	return nil, err
}

var errEnough = errors.New("seen enough")

// remember puts an attempt with its pre-auth key on disk, beside the login that is in use.
func (e *Engine) remember(ctx context.Context, a *attempt) error {
	var failed error
	var displaced *pending
	err := e.do(ctx, func() {
		next, l := *e.state, a.login
		l.Former = false
		next.DropAuthKeys() // of two, the later is meant
		next.Put(l)
		if failed = e.cfg.Store.Save(&next); failed == nil {
			*e.state = next
			displaced = e.displaced()
		}
	})
	e.endWaiting(ctx, displaced, errTakenOver)
	return hostError(errors.Join(err, failed))
}

// displaced takes out the login that waits for a person if it is a new one whose keys another new one has just taken: two
// logins never have the same. The caller ends it.
func (e *Engine) displaced() *pending {
	p := e.waiting
	if p == nil || p.attempt.login.Machine == e.state.Machine ||
		slices.ContainsFunc(e.state.Logins, func(l store.Login) bool { return l.ID == p.attempt.login.ID }) {
		return nil
	}
	e.waiting = nil
	return p
}

// endWaiting ends a login that waited, if there is one, here and at the server.
func (e *Engine) endWaiting(ctx context.Context, p *pending, why error) {
	if p != nil {
		p.end(why)
		e.cancel(ctx, p)
	}
}

// unremember takes a refused pre-auth key off the disk again.
func (e *Engine) unremember(ctx context.Context, a *attempt) {
	_ = e.do(ctx, func() {
		next := *e.state
		a.login.AuthKey = ""
		next.Logins = slices.DeleteFunc(slices.Clone(e.state.Logins), func(l store.Login) bool {
			return l.ID == a.login.ID && l.Node == 0 && l.ID != e.state.Current && !a.login.Former
		})
		for i := range next.Logins {
			if l := &next.Logins[i]; l.ID == a.login.ID {
				l.AuthKey, l.Former = "", a.login.Former
			}
		}
		if err := e.cfg.Store.Save(&next); err != nil {
			e.log.Warn("could not save the state", "err", err)
			return
		}
		*e.state = next
	})
}

// interrupted gives the login by pre-auth key whose answer an earlier daemon on this state did not live to hear.
func interrupted(s *store.State) *store.Login {
	if i := slices.IndexFunc(s.Logins, func(l store.Login) bool { return l.AuthKey != "" }); i >= 0 {
		l := s.Logins[i]
		return &l
	}
	return nil
}

// resumption is the completion of an interrupted login.
type resumption struct {
	login  string // ID
	failed string // why the last try did; empty: none has
}

// resume completes an interrupted login, unless somebody else ends it first.
func (e *Engine) resume(ctx context.Context, l *store.Login) {
	defer e.post(ctx, func() { e.resumes = nil })
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		var still *store.Login
		if err := e.do(ctx, func() { still = interrupted(e.state) }); err != nil || still == nil || still.ID != l.ID {
			return
		}
		try, cancel := context.WithCancel(ctx)
		e.giveWay.Store(&cancel)
		_, err := e.Up(try, ipc.UpRequest{Profile: l.ID, AuthKey: l.AuthKey})
		e.giveWay.Store(nil)
		cancel()
		if err == nil || ctx.Err() != nil {
			return
		}
		e.log.Warn("could not complete the login by pre-auth key yet", "server", l.Server, "err", err)
		e.post(ctx, func() { e.resumes.failed = err.Error() })
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}
