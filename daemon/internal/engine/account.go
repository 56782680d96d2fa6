package engine

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/store"
	"github.com/warren-mesh/warren/ipc"
)

// errNoLogin is what a client gets that names a login which is not under way.
var errNoLogin = &ipc.Error{Status: 404, Code: ipc.CodeLogin, Reason: ipc.ReasonLoginOver, Message: "That login is not under way any more.", Fix: "warren up starts another"}

// LoginWait waits for the end of the login that Up began, and then until packets flow.
func (e *Engine) LoginWait(ctx context.Context, r ipc.LoginWait) (*ipc.UpReply, error) {
	p, err := e.attemptOf(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	wait, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(p.over, func() { stop(context.Cause(p.over)) })()
	err = waitLogin(wait, p)
	if err != nil && wait.Err() == nil {
		// The server ends a login as soon as the machine begins another. Who begins it knows better why this one is over.
		if release, err := e.exclusive(ctx); err == nil {
			release()
		}
	}
	switch {
	case p.over.Err() != nil && !errors.Is(context.Cause(p.over), errCommitted):
		return nil, context.Cause(p.over)
	case ctx.Err() != nil: // nobody would see it succeed
		e.giveUp(context.WithoutCancel(ctx), r.ID)
		return nil, ctx.Err()
	case err != nil && p.over.Err() == nil:
		return nil, explain(err)
	}
	return e.complete(ctx, r.ID)
}

// awayPause is how long the wait for a login pauses while the server cannot be reached.
const awayPause = 2 * time.Second

// waitLogin waits at the server, also over its restarts and this machine's changes of network: the person at the page
// sees nothing of them.
func waitLogin(ctx context.Context, p *pending) error {
	for {
		err := p.attempt.client.WaitLogin(ctx, p.id)
		if err == nil || !away(err) || !time.Now().Add(awayPause).Before(p.expires) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(awayPause):
		}
	}
}

// errCommitted ends the wait for a login that the browser on this device brought to its end.
var errCommitted = errors.New("it has succeeded")

// giveUp ends a login that nobody waits for any more, here and at the server.
func (e *Engine) giveUp(ctx context.Context, id string) {
	var p *pending
	_ = e.do(ctx, func() {
		if e.waiting != nil && e.waiting.id == id {
			p, e.waiting = e.waiting, nil
		}
	})
	if p != nil {
		e.cancel(ctx, p)
	}
}

// cancel has the server forget a login, so that its page lets no machine in any more.
func (e *Engine) cancel(ctx context.Context, p *pending) {
	defer p.attempt.drop()
	ctx, done := context.WithTimeout(ctx, cancelWait)
	defer done()
	if err := p.attempt.client.CancelLogin(ctx, p.id); err != nil {
		e.log.Info("the server could not be told that a login is over; its page ends by itself", "err", err)
	}
}

// LoginFinish ends a login on this device with what the browser brought.
func (e *Engine) LoginFinish(ctx context.Context, r ipc.LoginFinish) (*ipc.UpReply, error) {
	p, err := e.attemptOf(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	if err := p.attempt.client.FinishLogin(ctx, coord.CodeRequest{LoginID: r.ID, Code: r.Code, Verifier: r.Verifier}); err != nil {
		return nil, explain(err)
	}
	return e.complete(ctx, r.ID)
}

func (e *Engine) attemptOf(ctx context.Context, id string) (p *pending, err error) {
	if err := e.look(ctx, func() { p = e.waiting }); err != nil {
		return nil, err
	}
	if p == nil || p.id != id {
		return nil, errNoLogin
	}
	return p, nil
}

// complete commits the attempt of a login that has succeeded. Two callers may see the end of one login: the second
// finds it done.
func (e *Engine) complete(ctx context.Context, id string) (*ipc.UpReply, error) {
	release, err := e.exclusive(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	var p *pending
	if err := e.do(ctx, func() {
		if e.waiting != nil && e.waiting.id == id {
			p, e.waiting = e.waiting, nil
		}
	}); err != nil {
		return nil, err
	}
	if p == nil {
		return e.arrived(ctx)
	}
	p.end(errCommitted)
	return e.commit(ctx, p.attempt)
}

// Down takes the machine off its network; its login stays. A login that waits for a person is over.
func (e *Engine) Down(ctx context.Context) error {
	var p *pending
	err := e.change(ctx, func(s *store.State) error {
		s.Up, p, e.waiting = false, e.waiting, nil
		s.DropAuthKeys()
		return nil
	})
	e.endWaiting(ctx, p, errTakenDown)
	return err
}

// Logout ends this machine's membership at the server, and takes the current login out of the profiles. Which server it
// was stays known, so that warren up logs in there again. If that login waits for a person, or there is none yet, the wait
// is over too.
func (e *Engine) Logout(ctx context.Context) error {
	release, err := e.exclusive(ctx)
	if err != nil {
		return err
	}
	defer release()
	var client Client
	var login store.Login
	var p *pending
	if err := e.do(ctx, func() {
		if l := e.state.Login(); l != nil {
			login, client = *l, e.net.client
		}
		if e.waiting != nil && (login.ID == "" || e.waiting.attempt.login.ID == login.ID) {
			p, e.waiting = e.waiting, nil
		}
	}); err != nil {
		return err
	}
	e.endWaiting(ctx, p, errTakenOut)
	if login.ID == "" {
		return nil
	}
	var untold error
	if client != nil && login.Node != 0 {
		if err := client.Logout(ctx); err != nil && !errors.Is(err, &coord.Error{Code: coord.CodeNotRegistered}) {
			untold = &ipc.Error{
				Status: 502, Code: ipc.CodeCoord, Reason: ipc.ReasonUntold, Message: "Logged out here, but the server could not be told: " + err.Error(),
				Fix: "Remove this machine in the server's console, or let its key expire.",
			}
		}
	}
	err = e.change(ctx, func(s *store.State) error {
		login.Node, login.User, login.AuthKey, login.Pending, login.Former = 0, "", "", false, true
		s.Put(login)
		s.DropAuthKeys()
		s.Up = false
		return nil
	})
	return cmp.Or(err, untold)
}

// EditPrefs changes what the edit names.
func (e *Engine) EditPrefs(ctx context.Context, q ipc.PrefsEdit) (ipc.Prefs, error) {
	if err := checkEdit(q); err != nil {
		return ipc.Prefs{}, err
	}
	var after ipc.Prefs
	err := e.change(ctx, func(s *store.State) error {
		err := edit(s, q, e.net.netmap)
		after = s.Prefs()
		return err
	})
	return after, err
}

// Prefs gives what the people of this machine want.
func (e *Engine) Prefs(ctx context.Context) (p ipc.Prefs, err error) {
	err = e.do(ctx, func() { p = e.state.Prefs() })
	return p, err
}

// change edits a copy of the state, saves it, and only then makes it the state.
func (e *Engine) change(ctx context.Context, f func(*store.State) error) error {
	var failed error
	err := e.do(ctx, func() {
		next := *e.state
		if failed = f(&next); failed != nil {
			return
		}
		if failed = e.cfg.Store.Save(&next); failed != nil {
			return
		}
		left, reopened := e.leaves(&next), next.WantPort != e.state.WantPort
		*e.state = next
		switch {
		case left:
			e.unsaved = false
			if err := e.cfg.Store.DropNetmap(e.net.login); err != nil {
				e.log.Warn("could not drop the saved netmap", "err", err)
			}
			e.use(e.state.Login(), nil)
		case reopened:
			e.closePlane()
		}
	})
	return hostError(errors.Join(err, failed))
}

// leaves reports whether the next state is no longer a member where this one is.
func (e *Engine) leaves(next *store.State) bool {
	was, is := e.state.Login(), next.Login()
	return was != nil && was.Node != 0 && (is == nil || is.ID != was.ID || is.Node == 0)
}

// edit changes what q names of the state; a hostname, a name and routes are the current login's, whose network is m.
func edit(s *store.State, q ipc.PrefsEdit, m *coord.Netmap) error {
	if q.Port != nil {
		s.WantPort = *q.Port
	}
	if q.AcceptDNS != nil {
		s.NoDNS = !*q.AcceptDNS
	}
	if q.ShieldsUp != nil {
		s.ShieldsUp = *q.ShieldsUp
	}
	if q.Lockdown != nil {
		s.Lockdown = *q.Lockdown
	}
	current := s.Login()
	if current == nil {
		if q.Hostname != nil {
			s.Hostname = *q.Hostname
		}
		if q.Profile != nil || q.OfRoutes() {
			return errNoServer
		}
		return nil
	}
	l := *current
	routing, err := editRouting(l.Routing, q, m)
	if err != nil {
		return err
	}
	if s.Lockdown && len(routing.Offers()) > 0 && (q.Lockdown != nil || q.AdvertiseExitNode != nil || q.AdvertiseRoutes != nil) {
		return lockedOffer(q.Lockdown != nil && *q.Lockdown)
	}
	l.Routing = routing
	if q.Hostname != nil {
		l.Hostname = *q.Hostname
	}
	if q.Profile != nil {
		switch other := s.Find(*q.Profile); {
		case !store.ValidProfile(*q.Profile):
			return errProfileName
		case other != nil && other.ID != l.ID:
			return &ipc.Error{
				Status: 409, Code: ipc.CodeBadRequest, Message: "Another login has the name " + other.Name + ".",
				Fix: "Take one that is free: warren switch --list shows them",
			}
		}
		l.Name = *q.Profile
	}
	s.Put(l)
	return nil
}

func checkEdit(e ipc.PrefsEdit) error {
	if e.Hostname != nil && *e.Hostname != "" && !coord.ValidName(*e.Hostname) {
		better := coord.CleanName(*e.Hostname)
		return &ipc.Error{
			Status: 400, Code: ipc.CodeBadRequest, Reason: ipc.ReasonHostname, About: []string{better}, Message: "That cannot be a machine's name.",
			Fix: "Use up to 63 letters a-z, digits and hyphens, such as " + better,
		}
	}
	if e.AdvertiseRoutes != nil {
		return checkRoutes(*e.AdvertiseRoutes, nil)
	}
	return nil
}
