package tray

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/warren-mesh/warren/app/internal/desktop"
	"github.com/warren-mesh/warren/app/internal/fake"
	"github.com/warren-mesh/warren/app/internal/view"
	"github.com/warren-mesh/warren/ipc"
)

// pane is a window without pictures.
type pane struct {
	d      *desk
	draws  chan view.Input
	opened chan view.Page
	clicks chan view.Intent
	ended  chan error
}

// window opens one, on the bus or without.
func (d *desk) window(onBus bool, page view.Page) *pane {
	d.t.Helper()
	ctx, cancel := context.WithCancel(d.ctx)
	var bus *desktop.Desktop
	if onBus {
		b, err := desktop.Connect(ctx, d.environ)
		d.must(err)
		bus = b
	}
	p := &pane{d: d, draws: make(chan view.Input, 1000), opened: make(chan view.Page, 10), clicks: make(chan view.Intent, 10), ended: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.ended <- RunWindow(ctx, bus, Config{Socket: d.socket, Environ: d.environ, Words: &d.words}, page, Face{
			Draw: func(in view.Input) { p.draws <- in }, Open: func(page view.Page) { p.opened <- page }, Clicks: p.clicks,
		})
		if bus != nil {
			_ = bus.Close()
		}
	}()
	d.t.Cleanup(func() {
		cancel()
		<-done
	})
	return p
}

// shows waits until what is drawn is so.
func (p *pane) shows(ok func(view.Window) bool) {
	p.d.t.Helper()
	p.until(func(in *view.Input) bool { return ok(view.DrawWindow(in)) })
}

// until waits until it is drawn from what is so.
func (p *pane) until(ok func(*view.Input) bool) {
	p.d.t.Helper()
	var last view.Input
	for {
		select {
		case last = <-p.draws:
			if ok(&last) {
				return
			}
		case <-p.d.ctx.Done():
			p.d.t.Fatalf("it shows %+v; said was %s", view.DrawWindow(&last), p.d.words.String())
		}
	}
}

func TestAPersonJoinsInTheWindow(t *testing.T) {
	d := newDesk(t)
	d.daemon.Edit(func(s *ipc.Status) { *s = ipc.Status{State: ipc.StateNoServer} })
	d.serve(ipc.LevelOperate)
	w := d.window(false, view.PageHome)
	w.shows(func(v view.Window) bool { return v.First != nil })
	w.clicks <- view.Intent{Op: view.OpJoin, Arg: " https://warren.example.org/join#server:00 \n"}
	w.shows(func(v view.Window) bool { return v.First == nil && v.Power.Do.Op == view.OpDisconnect })
	if got := d.daemon.LastUp(); got.Server != "https://warren.example.org/join#server:00" || got.Challenge == "" || got.Reauth {
		t.Errorf("the daemon was asked for %+v", got)
	}
}

// A server that does not answer is seen to be asked, and a person need not wait for it.
func TestAPersonBreaksOffAQuestionThatIsNotAnswered(t *testing.T) {
	d := newDesk(t)
	d.daemon.Edit(func(s *ipc.Status) { *s = ipc.Status{State: ipc.StateNoServer} })
	d.daemon.HangUp()
	d.serve(ipc.LevelOperate)
	w := d.window(false, view.PageHome)
	w.shows(func(v view.Window) bool { return v.First != nil })
	w.clicks <- view.Intent{Op: view.OpJoin, Arg: " https://warren.example.org/join#server:00"}
	w.shows(func(v view.Window) bool {
		return v.Waiting != nil && v.Waiting.Asks && v.Waiting.Title == "Asking warren.example.org…" && v.Waiting.Cancel.Do.Op == view.OpCancelLogin
	})
	d.must(d.daemon.AwaitHung(d.ctx, 1))
	w.clicks <- view.Intent{Op: view.OpCancelLogin}
	w.until(func(in *view.Input) bool { return in.Asking == "" && !in.Busy && in.Failed == nil })
	d.must(d.daemon.AwaitHung(d.ctx, 0)) // the daemon asks no more
	w.clicks <- view.Intent{Op: view.OpJoin, Arg: "https://warren.example.org"}
	w.shows(func(v view.Window) bool { return v.First == nil && v.Power.Do.Op == view.OpDisconnect })
}

// A browser that cannot be opened after all, which xdg-open finds out only when it runs.
func TestAPageThatDidNotOpenIsNamed(t *testing.T) {
	d := newDesk(t)
	d.program("xdg-open", "exit 3")
	d.daemon.Edit(func(s *ipc.Status) { s.State = ipc.StateNeedsLogin })
	d.serve(ipc.LevelOperate)
	w := d.window(false, view.PageHome)
	w.clicks <- view.Intent{Op: view.OpJoin, Arg: "https://warren.example.org"}
	page := "https://warren.example.org/login/" + fake.LoginID
	w.shows(func(v view.Window) bool {
		return v.Waiting != nil && v.Waiting.Address == page && v.Waiting.Copy.Do == (view.Intent{Op: view.OpCopy, Arg: page}) && v.Failed == ""
	})
	w.clicks <- view.Intent{Op: view.OpCancelLogin}
	w.shows(func(v view.Window) bool { return v.Waiting == nil && v.Failed == "" })
}

// Another account gets a name of its own: the login in use stays what it is.
func TestAPersonAddsAnAccount(t *testing.T) {
	d := newDesk(t)
	d.program("xdg-open", "exit 0")
	d.serve(ipc.LevelOperate)
	d.daemon.Edit(func(s *ipc.Status) { s.State = ipc.StateNeedsLogin })
	w := d.window(false, view.PageJoin)
	w.until(func(in *view.Input) bool { return len(in.Profiles) > 0 })
	for server, want := range map[string]string{"https://warren.example.org:8443/join#server:00": "warren.example.org", "https://lab": "lab-2", "home": "account"} {
		w.clicks <- view.Intent{Op: view.OpAdd, Arg: " " + server}
		w.until(func(in *view.Input) bool { return d.daemon.LastUp().Server == server && !in.Busy })
		if got := d.daemon.LastUp(); got.Profile != want {
			t.Errorf("%s: the account is called %q, want %q", server, got.Profile, want)
		}
		w.clicks <- view.Intent{Op: view.OpCancelLogin}
	}
}

// A login of another server than the one that a person named is not opened.
func TestALoginAtAnotherServerIsRefused(t *testing.T) {
	d := newDesk(t)
	d.program("xdg-open", `echo "$1" >"$HOME/opened.part" && mv "$HOME/opened.part" "$HOME/opened"`)
	d.daemon.Edit(func(s *ipc.Status) { s.State = ipc.StateNeedsLogin })
	d.serve(ipc.LevelOperate)
	w := d.window(false, view.PageHome)
	w.clicks <- view.Intent{Op: view.OpJoin, Arg: "https://other.example"}
	w.shows(func(v view.Window) bool { return v.Failed != "" && v.Waiting == nil })
	w.clicks <- view.Intent{Op: view.OpJoin, Arg: "https://warren.example.org"}
	w.shows(func(v view.Window) bool { return v.Waiting != nil && v.Waiting.Code == "4821-93" })
	if got := d.file("opened"); got[:27] != "https://warren.example.org/" {
		t.Errorf("opened was %s", got)
	}
}

func TestThereIsOneWindow(t *testing.T) {
	d := newDesk(t)
	d.serve(ipc.LevelOperate)
	first := d.window(true, view.PageHome)
	if p := <-first.opened; p != view.PageHome {
		t.Errorf("it opens at %s", p)
	}
	second := d.window(true, view.PageProblems)
	if err := <-second.ended; !errors.Is(err, ErrRuns) {
		t.Errorf("the second window ends with %v", err)
	}
	if p := <-first.opened; p != view.PageProblems {
		t.Errorf("the first goes to %s", p)
	}
	first.shows(func(v view.Window) bool { return len(v.Machines.Rows) == 3 })
	d.stop()
	first.shows(func(v view.Window) bool { return v.Icon == view.IconAttention && len(v.Problems) == 1 })
}

// Who quits the tray is rid of its window, too; where there is none, nothing waits for it.
func TestToQuitClosesTheWindow(t *testing.T) {
	for _, open := range []bool{true, false} {
		d := newDesk(t)
		d.serve(ipc.LevelOperate)
		d.show()
		d.start()
		d.sees("Connected to demo")
		var w *pane
		if open {
			w = d.window(true, view.PageHome)
			<-w.opened
		}
		d.click("Quit")
		d.must(<-d.ended)
		if open {
			select {
			case err := <-w.ended:
				d.must(err)
			case <-d.ctx.Done():
				t.Fatal("the window stays")
			}
		}
	}
}

// Advice on a machine is asked for again while somebody looks at it: what is tried for a path goes on.
func TestAdviceIsFresh(t *testing.T) {
	d := newDesk(t)
	d.serve(ipc.LevelOperate)
	w := d.window(false, view.PageHome)
	w.until(func(in *view.Input) bool { return in.Status != nil && len(in.Status.Peers) > 0 })
	w.clicks <- view.Intent{Op: view.OpWhy, Arg: "3"}
	w.until(func(in *view.Input) bool { return in.Whys[3] != nil && in.Whys[3].Advice == nil })
	w.clicks <- view.Intent{Op: view.OpLook, Arg: view.On}
	d.daemon.SetAdvice("Let UDP out")
	for n := uint64(1); ; n++ { // as traffic does
		d.daemon.Edit(func(s *ipc.Status) {
			s.Peers = slices.Clone(s.Peers) // who watches reads the others yet
			s.Peers[0].RxBytes += n
		})
		fresh := false
		w.until(func(in *view.Input) bool {
			fresh = in.Whys[3] != nil && len(in.Whys[3].Advice) == 1
			return fresh || in.Status != nil
		})
		if fresh {
			return
		}
		pause(d.ctx, pace)
	}
}

// What is set elsewhere, the window shows too: each of them alone.
func TestASettingOfElsewhereIsSeen(t *testing.T) {
	d := newDesk(t)
	d.serve(ipc.LevelOperate)
	w := d.window(false, view.PageSettings)
	w.until(func(in *view.Input) bool { return in.Prefs.Server != "" })
	no, port, name := false, uint16(4242), "den"
	for _, e := range []ipc.PrefsEdit{{SNATSubnetRoutes: &no}, {Port: &port}, {Hostname: &name}} {
		want, err := d.daemon.EditPrefs(d.ctx, e)
		d.must(err)
		w.until(func(in *view.Input) bool { return in.Prefs.Number() == want.Number() })
	}
}
