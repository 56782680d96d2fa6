// Package engine is the one loop of the daemon. It owns all that changes; everybody else sends it closures, or gets
// snapshots.
//
//	ipc.Backend (localapi) ──do──▶ ┌────────── loop ──────────┐ ──start, stop──▶ control.Session ──▶ coord
//	control.Session ────────post──▶│ state, netmap, failures  │
//	plane (sock, tunnel, router) ─▶│ settle: wish against fact│ ──Apply, Close──▶ plane ──▶ host, peers
//	                               └──────────┬───────────────┘
//	                                          ▼ Status to whoever watches
//
// The loop has one rule: after every event, settle compares what should be (preferences, login, netmap) with what is
// (session, plane) and does what is missing. No event needs to know what came before it, and a step that failed is
// taken again.
package engine

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/control"
	"github.com/warren-mesh/warren/daemon/internal/core"
	"github.com/warren-mesh/warren/daemon/internal/journal"
	"github.com/warren-mesh/warren/daemon/internal/router"
	"github.com/warren-mesh/warren/daemon/internal/store"
	"github.com/warren-mesh/warren/ipc"
)

// Times of the loop.
const (
	planeRetry  = 5 * time.Second  // after a data plane that did not come up
	planeAnew   = time.Second      // after an interface that was taken away
	saveAfter   = 2 * time.Second  // a changed netmap is written at most that often; losing one costs a download
	healthyTime = 30 * time.Second // a start that lived so long was no crash
)

// Config is what an Engine needs of the outside.
type Config struct {
	Version   string
	Store     *store.Store
	Journal   *journal.Journal
	Interface string
	NoHostDNS bool // the host's DNS stays as it is, whatever people set
	Service   bool // after the end somebody else decides whether the rules of an exit node are taken away
	Lockdown  Lockdown
	Log       *slog.Logger

	// OpenPlane starts the data plane; Dial makes a client of a coordination server. Tests replace them.
	OpenPlane func(PlaneConfig) (Plane, error)
	Dial      func(coord.ClientConfig) (Client, error)
}

// Client is what the engine asks of a coordination server; *coord.Client is one.
type Client interface {
	control.Client
	Server() key.ServerPublic
	Register(ctx context.Context, node key.Node, r coord.RegisterRequest) (*coord.RegisterReply, error)
	WaitLogin(ctx context.Context, loginID string) error
	FinishLogin(ctx context.Context, r coord.CodeRequest) error
	CancelLogin(ctx context.Context, loginID string) error
	Logout(ctx context.Context) error
	Close()
}

// Engine runs the daemon. New makes one, Run runs it.
type Engine struct {
	cfg   Config
	log   *slog.Logger
	inbox chan func() // to be run by the loop, one after another
	looks chan func() // the same, for what changes nothing
	done  chan struct{}

	// Owned by the loop.
	state    *store.State
	net      network
	plane    Plane
	planeErr error      // why there is none
	applied  *core.Plan // nil: none

	wants    *core.Wants // of routes
	leads    *core.Leads // who leads where
	asks     asking
	names    lookups // of servers, for ourselves
	made     made
	left     bool        // a plane, or a daemon before, left the rules of an exit node to the next one
	tryAgain *time.Timer // when settle should look again
	unsaved  bool        // the netmap on disk is older than net.netmap
	saveTime *time.Timer
	waiters  []chan struct{} // to be closed after the next settle
	waiting  *pending        // the login that waits for a person
	resumes  *resumption     // of a login that an earlier daemon began; nil: there is none
	hold     hold

	watch   watchers
	logging chan struct{}                      // holds one token: the right to log in or out, or to switch
	giveWay atomic.Pointer[context.CancelFunc] // breaks off what the daemon does of itself with that right; nil: nothing
}

// made is what the applied plan was made of.
type made struct {
	netmap *coord.Netmap // nil: this machine is not on its network, and held behind its exit node
	leads  *core.Leads
	noDNS  bool
}

// network is what the loop holds of the current login: its client, its session and what came of them.
type network struct {
	login   string // ID; empty: none
	client  Client
	netmap  *coord.Netmap
	expired bool
	ended   core.Dismissal
	coord   ipc.Link
	node    coord.NodeUpdate // as last published
	session *running
}

// running is a control session and the way to end it.
type running struct {
	*control.Session
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func (r *running) stop() {
	r.cancel()
	r.wg.Wait()
}

// New loads the state. Its errors are sentences for people.
func New(cfg Config) (*Engine, error) {
	if cfg.OpenPlane == nil {
		cfg.OpenPlane = OpenPlane
	}
	if cfg.Dial == nil {
		cfg.Dial = func(c coord.ClientConfig) (Client, error) { return coord.NewClient(c) }
	}
	state, err := cfg.Store.Load()
	if err != nil {
		return nil, err
	}
	if state.Port == 0 {
		// Each machine has a port of its own: two behind one carrier's NAT would fight over a common one.
		state.Port = uint16(20000 + rand.IntN(40000)) // above what services use, below what Linux hands out last
		if err := cfg.Store.Save(state); err != nil {
			return nil, err
		}
	}
	e := &Engine{
		cfg: cfg, log: cfg.Log, state: state, left: true,
		inbox: make(chan func(), 64), looks: make(chan func()), done: make(chan struct{}), logging: make(chan struct{}, 1),
		tryAgain: time.NewTimer(0), saveTime: time.NewTimer(time.Hour),
		wants: wants(state), leads: &core.Leads{}, asks: asking{timer: time.NewTimer(time.Hour)}, hold: hold{timer: time.NewTimer(time.Hour)},
	}
	return e, nil
}

// Run runs the loop until ctx ends, and then puts the host back.
func (e *Engine) Run(ctx context.Context) error {
	healthy := time.NewTimer(healthyTime)
	defer healthy.Stop()
	e.use(e.state.Login(), nil)
	var pending sync.WaitGroup
	e.startHold()
	pending.Go(func() { e.watchFilter(ctx) })
	if l := interrupted(e.state); l != nil {
		e.resumes = &resumption{login: l.ID}
		pending.Go(func() { e.resume(ctx, l) })
	}
	for {
		select {
		case <-ctx.Done():
			e.shutdown()
			close(e.done) // before the wait: who asks the loop now gets errStopping
			pending.Wait()
			return nil
		case f := <-e.looks:
			f()
			continue // nothing follows, and nobody is told: a watcher that looks would wake itself
		case f := <-e.inbox:
			f()
		case <-e.tryAgain.C:
			e.planeErr = nil
		case <-e.saveTime.C:
			e.saveNetmap()
		case <-e.asks.timer.C:
			e.ask()
		case <-e.hold.timer.C:
			e.resumeHold()
		case <-healthy.C:
			if err := e.cfg.Store.RecordHealthy(); err != nil {
				e.log.Warn("could not note that this start is healthy", "err", err)
			}
		}
		e.settle()
		for _, settled := range e.waiters {
			close(settled)
		}
		e.waiters = e.waiters[:0]
	}
}

// errStopping is what callers get who come while the daemon ends.
var errStopping = &ipc.Error{Status: 503, Code: ipc.CodeBusy, Reason: ipc.ReasonStopping, Message: "warrend is stopping", Fix: "try again when it runs again"}

// do runs f in the loop, and returns when what follows from it is done too.
func (e *Engine) do(ctx context.Context, f func()) error {
	settled := make(chan struct{})
	select {
	case e.inbox <- func() { f(); e.waiters = append(e.waiters, settled) }:
	case <-ctx.Done():
		return ctx.Err()
	case <-e.done:
		return errStopping
	}
	select {
	case <-settled:
		return nil
	case <-e.done:
		return errStopping
	}
}

// look runs f, which changes nothing, in the loop.
func (e *Engine) look(ctx context.Context, f func()) error {
	seen := make(chan struct{})
	select {
	case e.looks <- func() { f(); close(seen) }:
		<-seen
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.done:
		return errStopping
	}
}

// post hands f to the loop, or drops it when ctx ends: for the goroutines that the loop itself waits for.
func (e *Engine) post(ctx context.Context, f func()) {
	select {
	case e.inbox <- f:
	case <-ctx.Done():
	}
}

// Alive reports whether the loop still turns.
func (e *Engine) Alive(ctx context.Context) bool { return e.do(ctx, func() {}) == nil }

// settle does what is missing between what should be and what is.
func (e *Engine) settle() {
	e.lock()
	login := e.state.Login()
	if e.net.session == nil && e.member() {
		e.startSession()
	}
	if e.net.session != nil && (login == nil || login.Node == 0 || !e.state.Up) {
		e.stopSession()
	}
	switch {
	case !e.connects() && !e.holds():
		e.closePlane()
	case e.plane == nil && e.planeErr == nil:
		e.openPlane()
	}
	e.lead()
	if e.left && e.plane == nil && !e.holds() {
		e.sweep()
	}
	if e.plane != nil && e.planeErr == nil {
		e.apply()
	}
	e.publish()
	e.watch.wake()
}

// member reports whether this machine is one of the network, and is to be on it.
func (e *Engine) member() bool {
	login := e.state.Login()
	return login != nil && login.Node != 0 && !e.net.expired && e.state.Up
}

// connects reports whether it can be on it.
func (e *Engine) connects() bool { return e.member() && e.net.netmap != nil }

// holds reports whether a person wants it behind an exit node: then nothing goes around that, whatever becomes of the
// membership. A person ends it, by going down, logging out or doing without the exit node.
func (e *Engine) holds() bool {
	login := e.state.Login()
	return login != nil && e.state.Up && len(login.Routing.Exits) > 0
}

// lead decides who leads where.
func (e *Engine) lead() {
	if w := wants(e.state); !w.Equal(e.wants) {
		e.wants, e.applied = w, nil
	}
	m := e.net.netmap
	if !e.connects() {
		e.leads = &core.Leads{}
		e.planAsks(false)
		return
	}
	doubt := m != e.made.netmap && e.leads.Doubt(m)
	e.leads = e.leads.Decide(m, e.wants, time.Now())
	e.planAsks(doubt)
}

// apply makes the host as it should be, where anything that decides it has changed.
func (e *Engine) apply() {
	of := made{nil, e.leads, e.state.NoDNS}
	plan := core.Hold(e.wants)
	if e.connects() {
		of.netmap = e.net.netmap
	}
	if e.applied != nil && e.made == of {
		return
	}
	e.made = of
	if of.netmap != nil {
		plan = core.NewPlan(of.netmap, e.wants, e.leads)
	}
	plan.DNS.Accept = !e.state.NoDNS && !e.cfg.NoHostDNS
	if !e.hold.until.IsZero() {
		// A person signs in to the network that the host is on, which often answers questions for names itself at first.
		plan.Exit, plan.Lockdown, plan.DNS.ViaExit, plan.DNS.Exit = nil, false, false, nil
	}
	if err := e.plane.Apply(plan); err != nil {
		e.log.Error("could not apply the netmap", "err", err)
		e.planeErr, e.applied = err, nil
		e.tryAgain.Reset(planeRetry)
		return
	}
	e.applied = plan
}

func (e *Engine) openPlane() {
	port := e.state.Port
	if e.state.WantPort != 0 {
		port = e.state.WantPort
	}
	ctx, cancel := context.WithCancel(context.Background())
	plane, err := e.cfg.OpenPlane(PlaneConfig{
		Interface: e.cfg.Interface, Port: port, Node: e.state.Login().Key, Server: e.state.Login().ServerKey, Log: e.log, Journal: e.cfg.Journal, Names: &e.names,
		Told: func(what Happened) { e.post(ctx, func() { e.told(what) }) },
	})
	if err != nil {
		cancel()
		e.log.Error("the data plane did not come up", "err", err)
		e.planeErr = err
		e.tryAgain.Reset(planeRetry)
		return
	}
	e.left = false
	e.plane = &cancelling{Plane: plane, ctx: ctx, cancel: cancel}
	e.applied = nil
}

// cancelling is a plane whose events end before it is closed, so that closing cannot wait for the loop that closes it.
type cancelling struct {
	Plane
	ctx    context.Context // ends before the plane
	cancel context.CancelFunc
	wg     sync.WaitGroup // of what uses the plane beside the loop
}

func (c *cancelling) Close() error {
	c.cancel()
	c.wg.Wait()
	return c.Plane.Close()
}

// closePlane closes the plane. Where a person wants an exit node another one follows, and meanwhile nothing goes around it.
func (e *Engine) closePlane() {
	if e.plane == nil {
		return
	}
	if e.holds() {
		e.plane.Leave()
		e.left = true
	}
	if err := e.plane.Close(); err != nil {
		e.log.Error("the host could not be put back wholly; warrend recover tries again", "err", err)
	}
	e.plane, e.applied, e.asks.round, e.asks.seen = nil, nil, false, nil
}

// sweep takes away what closePlane or a daemon that was killed left, where no plane follows.
func (e *Engine) sweep() {
	e.left = false
	if err := router.Sweep(context.Background(), e.cfg.Journal); err != nil {
		e.log.Error("the host's routing rules could not be put back wholly; warrend recover tries again", "err", err)
	}
}

// told takes what the plane tells.
func (e *Engine) told(what Happened) {
	switch what {
	case Seen: // settle looks
	case Disturbed:
		e.applied = nil
	case HostChanged:
		e.hold.done, e.applied = nil, nil // the LAN may be another: of what leaves, and of what is forwarded
		if e.net.session != nil {
			e.net.session.Retry()
		}
		if e.plane == nil {
			e.planeErr = nil // what was in its way may be gone
		}
	case Gone:
		e.log.Warn("the interface was taken away; making it anew", "interface", e.cfg.Interface)
		e.closePlane()
		e.planeErr = errors.New("the network interface was taken away by another program; it is being made anew")
		e.tryAgain.Reset(planeAnew)
	}
}

func (e *Engine) shutdown() {
	e.stopSession()
	e.closePlane()
	if e.left && !(e.cfg.Service && e.holds()) {
		e.sweep()
	}
	e.saveNetmap()
	if err := e.cfg.Store.RecordHealthy(); err != nil { // who ends as it was told to has not crashed
		e.log.Warn("could not note that this start is healthy", "err", err)
	}
	if e.net.client != nil {
		e.net.client.Close()
	}
}

// facts gathers what is known now.
func (e *Engine) facts() *core.Facts {
	login := e.state.Login()
	f := &core.Facts{
		Version: e.cfg.Version, Prefs: e.state.Prefs(), Key: e.state.Node.Public(),
		Expired: e.net.expired, Dismissed: e.net.ended, Netmap: e.net.netmap, Coord: e.net.coord,
		Wants: *e.wants, Leads: e.leads,
	}
	if login != nil {
		f.Key, f.Registered, f.Pending = login.Key.Public(), login.Node != 0, login.Pending
		if !login.Former {
			f.Profile = login.Name
		}
	}
	if l := interrupted(e.state); l != nil && e.resumes != nil && l.ID == e.resumes.login {
		f.Unfinished = l.Server
		if login == nil {
			f.Coord.Error = e.resumes.failed
		}
	}
	if f.Prefs.Hostname == "" {
		f.Prefs.Hostname = hostname()
	}
	if e.plane != nil {
		e.plane.Observe(f)
	}
	if e.hold.err != nil {
		f.Failures = append(f.Failures, lockdownProblem(e.hold.err))
	}
	f.Paused = e.hold.until
	if e.planeErr != nil {
		f.Failures = append(f.Failures, problem(e.planeErr))
	}
	return f
}

// problem words a failure of the host for people.
func problem(err error) ipc.Problem {
	var refusal *ipc.Error
	if errors.As(err, &refusal) {
		return ipc.Problem{Code: refusal.Code, Text: refusal.Message, Fix: refusal.Fix}
	}
	return ipc.Problem{Code: ipc.ProblemHost, Text: oneLine(err), Fix: "It is tried again every few seconds. What this host lacks: warren doctor; what happened: journalctl -u warrend"}
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "machine"
	}
	return name
}
