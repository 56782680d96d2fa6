package engine

import (
	"cmp"
	"context"
	"errors"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/store"
	"github.com/warren-mesh/warren/ipc"
)

// errNoLogin is what a client gets that names a login which is not under way.
var errNoLogin = &ipc.Error{Status: 404, Code: ipc.CodeLogin, Message: "That login is not under way any more.", Fix: "warren up starts another"}

// LoginWait waits for the end of the login that Up began, and then until packets flow.
func (e *Engine) LoginWait(ctx context.Context, r ipc.LoginWait) (*ipc.UpReply, error) {
	a, err := e.attemptOf(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	if err := a.client.WaitLogin(ctx, r.ID); err != nil {
		return nil, explain(err)
	}
	return e.complete(ctx, r.ID)
}

// LoginFinish ends a login on this device with what the browser brought.
func (e *Engine) LoginFinish(ctx context.Context, r ipc.LoginFinish) (*ipc.UpReply, error) {
	a, err := e.attemptOf(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	if err := a.client.FinishLogin(ctx, coord.CodeRequest{LoginID: r.ID, Code: r.Code, Verifier: r.Verifier}); err != nil {
		return nil, explain(err)
	}
	return e.complete(ctx, r.ID)
}

func (e *Engine) attemptOf(ctx context.Context, id string) (*attempt, error) {
	release, err := e.exclusive(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if e.waiting == nil || e.waiting.id != id {
		return nil, errNoLogin
	}
	return e.waiting.attempt, nil
}

// complete commits the attempt of a login that has succeeded. Two callers may see the end of one login: the second
// finds it done.
func (e *Engine) complete(ctx context.Context, id string) (*ipc.UpReply, error) {
	release, err := e.exclusive(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if e.waiting == nil || e.waiting.id != id {
		return e.arrived(ctx)
	}
	a := e.waiting.attempt
	e.waiting = nil
	return e.commit(ctx, a)
}

// Down takes the machine off its network; its login stays.
func (e *Engine) Down(ctx context.Context) error {
	return e.change(ctx, func(s *store.State) error { s.Prefs.Up = false; return nil })
}

// Logout ends this machine's membership at the server, and forgets it here. Which server it was stays known, so that
// warren up logs in there again.
func (e *Engine) Logout(ctx context.Context) error {
	release, err := e.exclusive(ctx)
	if err != nil {
		return err
	}
	defer release()
	var client Client
	var login store.Login
	if err := e.do(ctx, func() {
		if l := e.state.Login(); l != nil {
			login, client = *l, e.net.client
		}
	}); err != nil {
		return err
	}
	if login.ID == "" {
		return nil
	}
	var untold error
	if client != nil && login.Node != 0 {
		if err := client.Logout(ctx); err != nil && !errors.Is(err, &coord.Error{Code: coord.CodeNotRegistered}) {
			untold = &ipc.Error{
				Status: 502, Code: ipc.CodeCoord, Message: "Logged out here, but the server could not be told: " + err.Error(),
				Fix: "Remove this machine in the server's console, or let its key expire.",
			}
		}
	}
	err = e.change(ctx, func(s *store.State) error {
		login.Node, login.User, login.AuthKey = 0, "", ""
		s.Logins, s.Prefs.Up = upsert(s.Logins, login), false
		return nil
	})
	return cmp.Or(err, untold)
}

// EditPrefs changes what the edit names.
func (e *Engine) EditPrefs(ctx context.Context, edit ipc.PrefsEdit) (ipc.Prefs, error) {
	if err := checkEdit(edit); err != nil {
		return ipc.Prefs{}, err
	}
	var after ipc.Prefs
	err := e.change(ctx, func(s *store.State) error {
		s.Prefs = edited(s.Prefs, edit)
		after = s.Prefs
		return nil
	})
	return after, err
}

// Prefs gives what the people of this machine want.
func (e *Engine) Prefs(ctx context.Context) (p ipc.Prefs, err error) {
	err = e.do(ctx, func() { p = e.state.Prefs })
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
		left, reopened := e.leaves(&next), next.Prefs.Port != e.state.Prefs.Port
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

func edited(p ipc.Prefs, e ipc.PrefsEdit) ipc.Prefs {
	if e.Hostname != nil {
		p.Hostname = *e.Hostname
	}
	if e.Port != nil {
		p.Port = *e.Port
	}
	return p
}

func checkEdit(e ipc.PrefsEdit) error {
	if e.Hostname != nil && *e.Hostname != "" && !coord.ValidName(*e.Hostname) {
		return &ipc.Error{
			Status: 400, Code: ipc.CodeBadRequest, Message: "That cannot be a machine's name.",
			Fix: "Use up to 63 letters a-z, digits and hyphens, such as " + coord.CleanName(*e.Hostname),
		}
	}
	return nil
}
