package tray

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/warren-mesh/warren/app/internal/login"
	"github.com/warren-mesh/warren/app/internal/nearest"
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
	case view.OpPing:
		p.ping(do.Arg)
	case view.OpWhy:
		p.why(do.Arg)
	case view.OpNetcheck:
		p.netcheck()
	case view.OpLook:
		p.look(do.Arg == view.On)
	case view.OpCancelLogin:
		p.cancel()
	default:
		order := p.order(do)
		if order == nil || p.in.Busy {
			return
		}
		p.in.Busy, p.in.Failed, p.in.Tried, p.in.Asking = true, nil, do.Op, p.asks(do)
		ctx, cancel := context.WithTimeout(p.ctx, orderLimit)
		p.cancelOrder = cancel
		p.work.Go(func() {
			defer cancel()
			send(p.ctx, p.ends, order(ctx))
		})
	}
}

// asks is the server that an order asks for a login, "" for any other order. Only such a one can be broken off: it has changed
// nothing yet.
func (p *program) asks(do view.Intent) string {
	switch {
	case do.Op == view.OpJoin, do.Op == view.OpAdd:
		return do.Arg
	case do.Op == view.OpLogin && p.in.Status != nil:
		return p.in.Status.Server
	}
	return ""
}

// cancel ends a login, or the question for one: the daemon sees that nobody waits any more.
func (p *program) cancel() {
	switch {
	case p.in.Asking != "":
		p.in.Asking, p.stopped = "", true
		p.cancelOrder()
	case p.cancelLogin != nil:
		p.cancelLogin()
	}
}

// order is what the daemon is told; nil for what is none.
func (p *program) order(do view.Intent) func(context.Context) end {
	switch do.Op {
	case view.OpConnect:
		return p.up(ipc.UpRequest{})
	case view.OpJoin:
		return p.up(ipc.UpRequest{Server: strings.TrimSpace(do.Arg)})
	case view.OpAdd:
		server := strings.TrimSpace(do.Arg)
		return p.up(ipc.UpRequest{Server: server, Profile: p.unused(server)})
	case view.OpLogin:
		return p.up(ipc.UpRequest{Reauth: p.in.Status != nil && p.in.Status.State != ipc.StateNeedsLogin})
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
		return func(ctx context.Context) end { return p.useExit(ctx, do.Arg) }
	case view.OpNearest:
		return p.nearest
	case view.OpPortal:
		return func(ctx context.Context) end {
			open := ipc.PortalRequest{}
			if do.Arg == view.On {
				open.Duration = ipc.Millis(portalTime)
			}
			_, err := p.client.Portal(ctx, open)
			return end{err: err}
		}
	case view.OpAutostart:
		if p.Autostart == nil {
			return nil
		}
		return func(context.Context) end {
			err := p.Autostart.Set(do.Arg == view.On)
			return end{err: err, autostart: p.autostart()}
		}
	case view.OpSet:
		return p.set(do.Arg)
	}
	return nil
}

// portalTime is for how long a person may sign in to a network.
const portalTime = 15 * time.Minute

// useExit chooses the exit node; "" is none.
func (p *program) useExit(ctx context.Context, name string) end {
	nodes := []string{}
	if name != "" {
		nodes = append(nodes, name)
	}
	return p.edit(ctx, ipc.PrefsEdit{ExitNodes: &nodes})
}

// nearest chooses the exit node that answers soonest.
func (p *program) nearest(ctx context.Context) end {
	best, err := nearest.Exit(ctx, p.client)
	switch {
	case errors.Is(err, nearest.ErrNone), errors.Is(err, nearest.ErrSilent):
		return end{err: p.Language.NoNearest(errors.Is(err, nearest.ErrSilent))}
	case err != nil:
		return end{err: err}
	}
	return p.useExit(ctx, best.Name)
}

// set changes a preference.
func (p *program) set(arg string) func(context.Context) end {
	edit, bad := p.Language.Edit(arg)
	return func(ctx context.Context) end {
		if bad != nil {
			return end{err: bad}
		}
		return p.edit(ctx, edit)
	}
}

func (p *program) edit(ctx context.Context, e ipc.PrefsEdit) end {
	prefs, err := p.client.EditPrefs(ctx, e)
	if err != nil {
		return end{err: err}
	}
	return end{prefs: &prefs}
}

// unused is a name for another account at a server: the server's own, with a number where that is taken.
func (p *program) unused(server string) string {
	name := "account"
	if u, err := url.Parse(server); err == nil && u.Hostname() != "" {
		name = u.Hostname()
	}
	for n := 1; ; n++ {
		with := name
		if n > 1 {
			with += "-" + strconv.Itoa(n)
		}
		if !slices.ContainsFunc(p.in.Profiles, func(other ipc.Profile) bool { return other.Name == with }) {
			return with
		}
	}
}

// up connects, and asks for a login where one is needed, or wanted. r.Server is the one that a person named, or "".
func (p *program) up(r ipc.UpRequest) func(context.Context) end {
	return func(ctx context.Context) end {
		secret := login.NewSecret()
		r.Challenge = secret.Challenge
		reply, err := p.client.Up(ctx, r)
		if err != nil {
			return end{err: err}
		}
		return end{login: reply.Login, secret: secret, asked: r.Server}
	}
}

// ended draws how an order ended.
func (p *program) ended(e end) {
	stopped := p.stopped
	p.in.Busy, p.in.Asking, p.stopped = false, "", false
	if e.prefs != nil {
		p.in.Prefs = *e.prefs
	}
	if e.autostart != "" {
		p.in.Autostart = e.autostart
	}
	if e.login != nil && !stopped {
		p.logIn(e.login, e.secret, e.asked)
	}
	p.fail(e.err, p.in.Tried)
}

// fail tells a person what went wrong, if anything did. tried is what they had asked for.
func (p *program) fail(err error, tried view.Op) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	p.in.Failed, p.in.Tried = p.refusal(err), tried
	p.say(p.Language.Failure(p.in.Failed, tried))
}

// refusal gives an error as people read it.
func (p *program) refusal(err error) *ipc.Error {
	var e *ipc.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, login.ErrUnsafe):
		return p.Language.UnsafePage(err)
	case errors.Is(err, login.ErrExpired):
		return p.Language.LoginExpired()
	case errors.Is(err, context.DeadlineExceeded):
		return p.Language.NoAnswer()
	}
	return &ipc.Error{Message: err.Error()}
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
			shown := view.Login{Page: page.Elsewhere(), Code: l.Code, Expires: l.Expires}
			send(p.ctx, p.steps, step{number: number, shown: &shown})
			p.work.Go(func() { // which may take a while to fail; the login does not wait for it
				if err := p.browse(ctx, listener); err != nil && ctx.Err() == nil {
					unopened := shown
					unopened.Unopened = true
					send(p.ctx, p.steps, step{number: number, shown: &unopened, err: p.Language.NoBrowser(page.Elsewhere())})
				}
			})
		})
		send(p.ctx, p.steps, step{number: number, over: true, err: err})
	})
}

// stepped draws how a login goes on. What one that is over still has to say is of no interest.
func (p *program) stepped(s step) {
	if s.number != p.login {
		return
	}
	p.in.Login = s.shown
	switch {
	case s.over:
		p.cancelLogin = nil
		p.login++
	case p.window: // it shows the page's address in the middle
		return
	}
	p.fail(s.err, view.OpLogin)
}

// opens is how long xdg-open is watched: one that finds no browser says so within it, also on a busy machine.
const opens = 10 * time.Second

// browse opens the page, whose address was built here, by the desktop's portal, or by xdg-open.
func (p *program) browse(ctx context.Context, l *login.Listener) error {
	if l == nil {
		return login.ErrNoBrowser
	}
	if p.desktop != nil && p.desktop.OpenPage(ctx, l.URL()) == nil {
		return nil
	}
	ended, err := l.Open(p.Environ)
	if err != nil {
		return err
	}
	watched := time.NewTimer(opens)
	defer watched.Stop()
	select {
	case err = <-ended:
	case <-watched.C: // a browser
	case <-ctx.Done():
	}
	return err
}

// copy takes a text into the clipboard, which may need another program. The window has copied it itself already, for as long as
// it is open.
func (p *program) copy(text string) {
	if p.desktop == nil {
		return
	}
	p.work.Go(func() {
		err := p.desktop.Copy(p.ctx, text)
		switch {
		case p.window:
		case err != nil:
			p.say(p.Language.CannotCopy(text))
		default:
			p.say(p.Language.Copied(text))
		}
	})
}

func (p *program) open(page view.Page) {
	if p.Window != nil {
		p.fail(p.Window(page), view.OpOpen)
	}
}

// answer is what came of a ping.
type answer struct {
	machine int64
	name    string
	view.Answer
}

// peer is the machine of a number, or nil.
func (p *program) peer(number string) *ipc.Peer {
	id, _ := strconv.ParseInt(number, 10, 64)
	if p.in.Status != nil {
		for i := range p.in.Status.Peers {
			if p.in.Status.Peers[i].ID == id {
				return &p.in.Status.Peers[i]
			}
		}
	}
	return nil
}

// why asks what the access rules say of a machine. A daemon that cannot tell is asked in vain.
func (p *program) why(machine string) {
	peer := p.peer(machine)
	if peer == nil {
		return
	}
	p.whyOf, p.whyAt = machine, time.Now()
	id, name := peer.ID, peer.Name
	p.work.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, askLimit)
		defer cancel()
		if w, err := p.client.Why(ctx, ipc.WhyRequest{Peer: name}); err == nil {
			send(p.ctx, p.found, func() { p.in.Whys = with(p.in.Whys, id, w) })
		}
	})
}

// netcheck finds out what this network lets through.
func (p *program) netcheck() {
	if p.in.Checking {
		return
	}
	p.in.Checking = true
	p.work.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, orderLimit)
		defer cancel()
		n, err := p.client.Netcheck(ctx)
		send(p.ctx, p.found, func() {
			if p.in.Checking = false; err == nil {
				p.in.Netcheck = n
			}
			p.fail(err, view.OpNetcheck)
		})
	})
}

// with adds to a map what is known of a machine. Who draws has the map of before, which stays as it is.
func with[T any](was map[int64]T, id int64, is T) map[int64]T {
	now := map[int64]T{id: is}
	for other, v := range was {
		if other != id && len(now) < maxKnown {
			now[other] = v
		}
	}
	return now
}

// maxKnown is of how many machines what was asked is kept.
const maxKnown = 50

// ping asks a machine for an answer, which is shown where it was asked for, and told to who looks elsewhere by then.
func (p *program) ping(machine string) {
	peer := p.peer(machine)
	if peer == nil {
		return
	}
	id := peer.ID
	if was, asked := p.in.Pings[id]; asked && was == (view.Answer{}) {
		return // it is asked already
	}
	p.answered(answer{machine: id})
	name := peer.Name
	p.work.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, orderLimit)
		defer cancel()
		a := answer{machine: id, name: name}
		var err error
		if a.Reply, err = p.client.Ping(ctx, ipc.PingRequest{Peer: name}); err != nil {
			a.Reply, a.Err = nil, p.refusal(err)
		}
		send(p.ctx, p.answers, a)
	})
}

// answered draws what came of a ping.
func (p *program) answered(a answer) {
	p.in.Pings = with(p.in.Pings, a.machine, a.Answer)
	if a.name != "" && p.desktop != nil && !p.window {
		p.say(p.Language.Pinged(a.name, a.Answer))
	}
}
