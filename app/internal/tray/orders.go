package tray

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/warren-mesh/warren/app/internal/login"
	"github.com/warren-mesh/warren/app/internal/view"
	"github.com/warren-mesh/warren/ipc"
)

// orderLimit is how long the daemon may take to follow an order. It may have to ask the coordination server, and before that
// a person for a password.
const orderLimit = 3 * time.Minute

// end is how an order ended.
type end struct {
	err    error
	prefs  *ipc.Prefs // as they are now, where they were changed
	login  *ipc.Login // a person has to log in
	secret login.Secret
	asked  string // the server that the person named

	autostart string // as it is now, where it was changed
}

// do does what a person asks for. An order while another is under way is for nobody: the menu shows that it waits.
func (p *program) do(do view.Intent) {
	switch do.Op {
	case view.OpCopy:
		p.copy(do.Arg)
	case view.OpOpen:
		p.open(view.Page(do.Arg))
	case view.OpCancelLogin:
		if p.cancelLogin != nil {
			p.cancelLogin()
		}
	default:
		order := p.order(do)
		if order == nil || p.in.Busy {
			return
		}
		p.in.Busy, p.in.Failed = true, nil
		p.work.Go(func() {
			ctx, cancel := context.WithTimeout(p.ctx, orderLimit)
			defer cancel()
			send(p.ctx, p.ends, order(ctx))
		})
	}
}

// order is what the daemon is told; nil for what is none.
func (p *program) order(do view.Intent) func(context.Context) end {
	switch do.Op {
	case view.OpConnect:
		return p.up("", false)
	case view.OpJoin:
		return p.up(strings.TrimSpace(do.Arg), false)
	case view.OpLogin:
		return p.up("", p.in.Status != nil && p.in.Status.State != ipc.StateNeedsLogin)
	case view.OpDisconnect:
		return func(ctx context.Context) end { return end{err: p.client.Down(ctx)} }
	case view.OpLogout:
		return func(ctx context.Context) end { return end{err: p.client.Logout(ctx)} }
	case view.OpSwitch:
		return func(ctx context.Context) end {
			_, err := p.client.Switch(ctx, ipc.SwitchRequest{Profile: do.Arg})
			return end{err: err}
		}
	case view.OpExit:
		nodes := []string{}
		if do.Arg != "" {
			nodes = append(nodes, do.Arg)
		}
		return func(ctx context.Context) end {
			prefs, err := p.client.EditPrefs(ctx, ipc.PrefsEdit{ExitNodes: &nodes})
			if err != nil {
				return end{err: err}
			}
			return end{prefs: &prefs}
		}
	case view.OpAutostart:
		if p.Autostart == nil {
			return nil
		}
		return func(context.Context) end {
			err := p.Autostart.Set(do.Arg == view.On)
			return end{err: err, autostart: p.autostart()}
		}
	case view.OpAcceptDNS:
		return func(ctx context.Context) end {
			accept := do.Arg == view.On
			prefs, err := p.client.EditPrefs(ctx, ipc.PrefsEdit{AcceptDNS: &accept})
			if err != nil {
				return end{err: err}
			}
			return end{prefs: &prefs}
		}
	}
	return nil
}

// up connects, and asks for a login where one is needed, or wanted.
// server is the one that a person named, or "".
func (p *program) up(server string, again bool) func(context.Context) end {
	return func(ctx context.Context) end {
		secret := login.NewSecret()
		reply, err := p.client.Up(ctx, ipc.UpRequest{Server: server, Challenge: secret.Challenge, Reauth: again})
		if err != nil {
			return end{err: err}
		}
		return end{login: reply.Login, secret: secret, asked: server}
	}
}

// ended draws how an order ended.
func (p *program) ended(e end) {
	p.in.Busy = false
	if e.prefs != nil {
		p.in.Prefs = *e.prefs
	}
	if e.autostart != "" {
		p.in.Autostart = e.autostart
	}
	if e.login != nil {
		p.logIn(e.login, e.secret, e.asked)
	}
	p.fail(e.err)
}

// fail tells a person what went wrong, if anything did.
func (p *program) fail(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	p.in.Failed = told(err)
	p.say(p.Language.Failure(p.in.Failed))
}

// step is what a login has come to.
type step struct {
	number int // of the login
	shown  *view.Login
	over   bool
	err    error
}

// logIn opens the login's page and waits, for a person's time, until it has ended. One that is under way gives way.
func (p *program) logIn(l *ipc.Login, secret login.Secret, asked string) {
	if p.cancelLogin != nil {
		p.cancelLogin()
	}
	ctx, cancel := context.WithCancel(p.ctx)
	p.cancelLogin = cancel
	p.login++
	number := p.login
	p.work.Go(func() {
		defer cancel()
		err := login.Through(ctx, p.client, l, secret, asked, func(page login.Page, listener *login.Listener) {
			s := step{number: number, shown: &view.Login{Page: page.Elsewhere(), Code: l.Code, Expires: l.Expires}}
			if p.browse(ctx, listener) != nil {
				s.err = &ipc.Error{Code: ipc.CodeLogin, Message: p.Language.NoBrowser(page.Elsewhere())}
			}
			send(p.ctx, p.steps, s)
		})
		if errors.Is(err, login.ErrExpired) {
			err = &ipc.Error{Code: ipc.CodeLogin, Message: p.Language.LoginExpired()}
		}
		send(p.ctx, p.steps, step{number: number, over: true, err: err})
	})
}

// stepped draws how a login goes on. What an older one still has to say is of no interest.
func (p *program) stepped(s step) {
	if s.number != p.login {
		return
	}
	p.in.Login = s.shown
	if s.over {
		p.cancelLogin = nil
	}
	p.fail(s.err)
}

// browse opens the page, whose address was built here, by the desktop's portal, or by xdg-open.
func (p *program) browse(ctx context.Context, l *login.Listener) error {
	if l == nil {
		return login.ErrNoBrowser
	}
	if p.desktop != nil && p.desktop.OpenPage(ctx, l.URL()) == nil {
		return nil
	}
	return l.Open(p.Environ)
}

// copy takes a text into the clipboard, which may need another program.
func (p *program) copy(text string) {
	if p.desktop == nil {
		return // the window copies by itself
	}
	p.work.Go(func() {
		if err := p.desktop.Copy(p.ctx, text); err != nil {
			p.say(p.Language.CannotCopy(text))
			return
		}
		p.say(p.Language.Copied(text))
	})
}

func (p *program) open(page view.Page) {
	if p.Window != nil {
		p.fail(p.Window(page))
	}
}
