package tray

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warren-mesh/warren/app/internal/autostart"
	"github.com/warren-mesh/warren/app/internal/desktop"
	"github.com/warren-mesh/warren/app/internal/item"
	"github.com/warren-mesh/warren/app/internal/notify"
	"github.com/warren-mesh/warren/app/internal/view"
	"github.com/warren-mesh/warren/ipc"
)

const (
	// maxClicks bounds the clicks that wait: a person is not faster.
	maxClicks = 16
	lateHost  = 10 * time.Second
	// saidOnce is how long a text that was said is not said again.
	saidOnce = 5 * time.Second
	maxWords = 8
	// whyAge is how old what a machine was asked about may be while somebody looks at it: a search for a path takes seconds.
	whyAge = 2 * time.Second
)

// Config is what the tray needs of its program.
type Config struct {
	Socket   string // warrend's
	Version  string
	Language view.Language
	Environ  []string
	Words    io.Writer     // what is said to whoever started the program
	LateHost time.Duration // how long the desktop's panel may take to start, before people are told that there is none; 0: 10 s
	// Background: nobody asked to see anything. Where no panel shows the icon, that is said, and no window opens.
	Background bool
	// Autostart has the desktop start the tray; nil where it cannot be told to.
	Autostart *autostart.Entry
	// Window opens the window at a page; nil without one.
	Window func(view.Page) error
}

// program is the tray while it runs.
type program struct {
	Config
	client  *ipc.Client
	desktop *desktop.Desktop  // nil without a session bus
	notes   *notify.Notifier  // nil without one
	draw    func(*view.Input) // shows what is so now
	work    sync.WaitGroup
	ctx     context.Context //nolint:containedctx // of Run, which all work ends with

	facts   chan facts
	clicks  chan view.Intent
	ends    chan end
	steps   chan step
	hosts   chan bool
	words   chan string
	answers chan answer
	found   chan func()   // what was asked, to be drawn by the loop
	looks   chan struct{} // signalled when live has changed
	live    atomic.Bool   // somebody looks at what changes by the second
	window  bool          // this is the window, not the icon

	// What the loop owns.
	in          view.Input
	told        *notify.Known      // what notices told of the status; nil: they do not, the other process does
	login       int                // number of the last one
	cancelLogin context.CancelFunc // nil without a login
	cancelOrder context.CancelFunc // of the last order
	stopped     bool               // a person has broken it off
	whyOf       string             // the machine that was last asked about
	whyAt       time.Time          // when that was
}

// facts are what the daemon says.
type facts struct {
	status   *ipc.Status
	missing  *ipc.Error
	prefs    *ipc.Prefs
	profiles []ipc.Profile

	autostart string
}

// ErrRuns says that another tray runs already; it was brought to the front.
var ErrRuns = errors.New("another tray runs already")

// start makes the program; end it with stop.
func start(ctx context.Context, d *desktop.Desktop, c Config) (p *program, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	p = &program{
		Config: c, client: ipc.NewClient(c.Socket).Asking(), desktop: d, ctx: ctx,
		facts: make(chan facts), clicks: make(chan view.Intent, maxClicks), ends: make(chan end), steps: make(chan step), hosts: make(chan bool),
		words: make(chan string, maxWords), answers: make(chan answer), found: make(chan func()), looks: make(chan struct{}, 1), in: view.Input{Language: c.Language, Version: c.Version, Windows: c.Window != nil},
	}
	if d != nil {
		p.notes = notify.New(d.Conn(), desktop.Name, p.click)
		p.work.Go(func() { p.notes.Run(p.ctx) })
	}
	return p, func() {
		cancel()
		p.work.Wait()
		p.client.Close()
	}
}

// Run shows the tray until ctx ends or a person quits it. It returns ErrRuns, or why there can be no tray.
func Run(ctx context.Context, d *desktop.Desktop, c Config) error {
	p, stop := start(ctx, d, c)
	defer stop()
	alone, err := d.Alone(p.ctx, desktop.Name, "", p.front)
	switch {
	case err != nil:
		return err
	case !alone:
		return ErrRuns
	}
	var opens func()
	if c.Window != nil {
		opens = func() { p.front("") }
	}
	shown, err := item.New(d.Conn(), "warren", view.Draw(&p.in), p.click, opens)
	if err != nil {
		return err
	}
	d.InOrder(shown.Answer)
	p.draw = func(in *view.Input) { shown.Show(view.Draw(in)) }
	p.told = &notify.Known{}
	failed := make(chan error, 1)
	p.work.Go(func() { d.FollowTheme(p.ctx, shown.SetDark) })
	p.work.Go(func() { failed <- shown.Run(p.ctx, func(hosted bool) { send(p.ctx, p.hosts, hosted) }) })
	p.work.Go(func() { p.follow(p.ctx) })
	p.work.Go(func() { p.speak(p.ctx) })
	return p.loop(p.ctx, failed)
}

// windowName is the window's on the bus, of which there is one.
const windowName = desktop.Name + ".Window"

// Face is what shows things in place of the icon: the window.
type Face struct {
	Draw   func(view.Input)   // shows what is so now
	Open   func(view.Page)    // comes to the front
	Clicks <-chan view.Intent // what a person asks for
}

// RunWindow does for the window what Run does for the icon, until ctx ends. d is nil without a session bus.
func RunWindow(ctx context.Context, d *desktop.Desktop, c Config, page view.Page, f Face) error {
	p, stop := start(ctx, d, c)
	defer stop()
	p.in.Windows, p.window = true, true
	if d != nil {
		alone, err := d.Alone(p.ctx, windowName, string(page), func(page string) {
			if desktop.Quits(page) {
				p.click(view.Intent{Op: view.OpQuit})
			} else {
				f.Open(view.Page(page))
			}
		})
		switch {
		case err != nil:
			return err
		case !alone:
			return ErrRuns
		}
	}
	p.draw = func(in *view.Input) { f.Draw(*in) }
	p.draw(&p.in)
	f.Open(page)
	p.work.Go(func() { p.follow(p.ctx) })
	p.work.Go(func() { p.speak(p.ctx) })
	p.work.Go(func() {
		for {
			select {
			case <-p.ctx.Done():
				return
			case do := <-f.Clicks:
				p.click(do)
			}
		}
	})
	return p.loop(p.ctx, nil)
}

// send gives a value to the loop, unless that has ended.
func send[T any](ctx context.Context, to chan<- T, v T) {
	select {
	case to <- v:
	case <-ctx.Done():
	}
}

// click is called by the panel. Clicks beyond the bound are lost, as on a program that hangs.
func (p *program) click(do view.Intent) {
	select {
	case p.clicks <- do:
	default:
	}
}

// front is a click on the icon, or the program started once more, maybe with a page.
func (p *program) front(page string) {
	if !slices.Contains(view.Pages, view.Page(page)) {
		page = string(view.PageHome)
	}
	if p.Window != nil {
		p.click(view.Intent{Op: view.OpOpen, Arg: page})
	}
}

// loop owns what is shown.
func (p *program) loop(ctx context.Context, failed <-chan error) error {
	late := time.NewTimer(cmp.Or(p.LateHost, lateHost)) // until people are told, once, that there is no panel
	alone := false                                      // that they were told
	defer late.Stop()
	if failed == nil { // the window needs no panel
		late.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return err
		case f := <-p.facts:
			p.take(f)
		case do := <-p.clicks:
			if do.Op == view.OpQuit {
				if p.desktop != nil && !p.window {
					p.desktop.Quit(ctx, windowName) // who quits is rid of all of it
				}
				return nil
			}
			p.do(do)
		case e := <-p.ends:
			p.ended(e)
		case f := <-p.found:
			f()
		case a := <-p.answers:
			p.answered(a)
		case s := <-p.steps:
			p.stepped(s)
		case hosted := <-p.hosts:
			if hosted {
				late.Stop()
			} else if !alone {
				late.Reset(cmp.Or(p.LateHost, lateHost))
			}
			continue
		case <-late.C:
			alone = true
			p.say(p.Language.NoHost())
			if !p.Background {
				p.open(view.PageHome)
			}
			continue
		}
		p.draw(&p.in)
	}
}

// take draws what the daemon says from now on.
func (p *program) take(f facts) {
	if f.status == nil || p.in.Status == nil || f.status.State != p.in.Status.State || f.status.Profile != p.in.Status.Profile {
		p.in.Failed = nil // it is about what was
	}
	p.in.Status, p.in.Missing, p.in.Autostart = f.status, f.missing, f.autostart
	if f.prefs != nil {
		p.in.Prefs = *f.prefs
	}
	if f.profiles != nil {
		p.in.Profiles = f.profiles
	}
	p.notice(f.status)
	if p.whyOf != "" && p.live.Load() && time.Since(p.whyAt) >= whyAge {
		p.why(p.whyOf)
	}
}

// notice tells a person who does not look at the icon what a status changes.
func (p *program) notice(s *ipc.Status) {
	if p.told == nil {
		return
	}
	known, tell, over := notify.Next(p.Language, *p.told, s)
	p.told = &known
	for _, t := range over {
		p.notes.Over(t)
	}
	for _, n := range tell {
		p.notes.Tell(n)
	}
}

// say tells a person something. What comes faster than it can be told is lost.
func (p *program) say(text string) {
	select {
	case p.words <- text:
	default:
	}
}

// speak tells whoever looks at the desktop, and whoever started the program. The same is not said over and over.
func (p *program) speak(ctx context.Context) {
	said, at := "", time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case text := <-p.words:
			if now := time.Now(); text != said || now.Sub(at) >= saidOnce {
				said, at = text, now
				_, _ = fmt.Fprintln(p.Words, "warren-tray: "+text)
				if p.notes != nil {
					p.notes.Tell(notify.Notice{Topic: notify.TopicOrder, Title: "Warren", Text: text, Opens: p.Language.Opens()})
				}
			}
		}
	}
}
