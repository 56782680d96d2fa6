package engine

import (
	"context"
	"errors"
	"reflect"
	"runtime"
	"slices"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/control"
	"github.com/warren-mesh/warren/daemon/internal/core"
	"github.com/warren-mesh/warren/daemon/internal/sock"
	"github.com/warren-mesh/warren/daemon/internal/store"
	"github.com/warren-mesh/warren/ipc"
)

// use makes a login the current one: its client (a new one where none is handed over), and the netmap that was
// saved for it.
func (e *Engine) use(login *store.Login, client Client) {
	e.stopSession()
	e.closePlane()
	e.saveNetmap()
	if e.net.client != nil {
		e.net.client.Close()
	}
	e.net = network{}
	if login == nil {
		return
	}
	e.net.login = login.ID
	if client == nil {
		var err error
		client, err = e.dial(login)
		if err != nil {
			e.log.Error("the saved login is of no use", "server", login.Server, "err", err)
			e.net.coord.Error = err.Error()
			return
		}
	}
	e.net.client = client
	if login.Node == 0 {
		return
	}
	switch m, err := e.cfg.Store.LoadNetmap(login.ID); {
	case err != nil:
		e.log.Warn("starting without the saved netmap", "err", err)
	case m != nil:
		e.net.netmap = m
	}
}

func (e *Engine) dial(login *store.Login) (Client, error) {
	return e.cfg.Dial(coord.ClientConfig{URL: login.Server, Pin: login.ServerKey, Machine: login.Machine, Log: e.log, Control: sock.Marked(core.Mark), Resolver: e.names.resolver()})
}

func (e *Engine) startSession() {
	if e.net.client == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel: cancel}
	r.Session = control.New(e.net.client, e.net.netmap, func(ev control.Event) {
		e.post(ctx, func() { e.sessionEvent(r, ev) })
	}, e.log)
	e.net.node = coord.NodeUpdate{}
	e.net.session = r
	r.wg.Go(func() { r.Run(ctx) })
}

func (e *Engine) stopSession() {
	if e.net.session == nil {
		return
	}
	e.net.session.stop()
	e.net.session = nil
	e.net.coord = ipc.Link{}
}

// sessionEvent takes what the session tells; one that was stopped meanwhile tells nothing any more.
func (e *Engine) sessionEvent(r *running, ev control.Event) {
	if e.net.session != r {
		return
	}
	switch ev := ev.(type) {
	case control.Waiting:
		e.net.coord = ipc.Link{Connected: true, Since: time.Now()}
		e.net.expired = false
		e.setPending(true)
	case control.Connected:
		e.net.coord = ipc.Link{Connected: true, Since: time.Now()}
		e.net.expired = false
		e.setPending(false)
	case control.Lost:
		if e.plane != nil && e.net.coord.Connected {
			e.plane.SuspectRelay()
		}
		if e.net.coord.Connected || e.net.coord.Since.IsZero() {
			e.net.coord.Since = time.Now()
		}
		e.net.coord.Connected, e.net.coord.Error = false, ev.Err.Error()
	case control.Refused:
		e.net.coord = ipc.Link{Since: time.Now(), Error: ev.Err.Error()}
		e.net.expired = ev.Expired
		if !ev.Expired {
			e.forget()
		}
	case control.Changed:
		e.net.netmap = ev.Netmap
		if e.plane != nil && e.doubted(ev.Netmap.Peers) {
			e.plane.SuspectRelay()
		}
		login := *e.state.Login()
		login.Node, login.User, login.Network = ev.Netmap.Self.ID, ev.Netmap.Self.User.Login, ev.Netmap.Network.Name
		login.ServerKey = e.net.client.Server()
		e.amend(login)
		if !e.unsaved {
			e.unsaved = true
			e.saveTime.Reset(saveAfter)
		}
	}
}

// forget takes note that this machine is no node of the network any more. Its keys stay.
func (e *Engine) forget() {
	login := e.state.Login()
	if login == nil {
		return
	}
	next := *login
	if e.net.ended = core.Removed; next.Pending {
		e.net.ended = core.Denied
	}
	next.Node, next.Pending = 0, false
	e.dropNetmap()
	e.amend(next)
}

// setPending takes note of whether an admin has to approve this machine. One that waits has no part in the network: of
// an earlier membership nothing is left.
func (e *Engine) setPending(is bool) {
	login := *e.state.Login()
	if is && !login.Pending {
		e.dropNetmap()
	}
	login.Pending = is
	e.amend(login)
}

func (e *Engine) dropNetmap() {
	e.net.netmap, e.unsaved = nil, false
	if err := e.cfg.Store.DropNetmap(e.net.login); err != nil {
		e.log.Warn("could not drop the saved netmap", "err", err)
	}
}

// amend saves what is new of the current login, if anything is.
func (e *Engine) amend(next store.Login) {
	was := e.state.Login()
	same := was.Node == next.Node && was.User == next.User && was.Network == next.Network &&
		was.ServerKey == next.ServerKey && was.Pending == next.Pending
	if !same {
		e.state.Put(next)
		e.save()
	}
}

func (e *Engine) saveNetmap() {
	if !e.unsaved || e.net.netmap == nil {
		return
	}
	e.unsaved = false
	if err := e.cfg.Store.SaveNetmap(e.net.login, e.net.netmap); err != nil {
		e.log.Warn("could not save the netmap: a restart without the coordination server would not know it", "err", err)
	}
}

func (e *Engine) save() {
	if err := e.cfg.Store.Save(e.state); err != nil {
		e.log.Error("could not save the state", "err", err)
	}
}

// publish tells the coordination server what this machine says of itself, where that has changed.
func (e *Engine) publish() {
	if e.net.session == nil || e.plane == nil || !e.connects() {
		return // nobody could reach it
	}
	f := e.published()
	if reflect.DeepEqual(f, e.net.node) {
		return
	}
	e.net.node = f
	e.net.session.Publish(f)
}

func (e *Engine) published() coord.NodeUpdate {
	reach := e.plane.Reach()
	u := coord.NodeUpdate{
		Disco: reach.Disco, Relay: reach.Relay, Endpoints: slices.Clone(reach.Endpoints),
		Hostname: e.state.Prefs().Hostname, OS: runtime.GOOS, Version: e.cfg.Version,
		Routes: slices.Clone(e.wants.Offer), Cut: reach.Cut, Doubt: e.doubt(reach.Missing),
	}
	if e.wants.Relay {
		u.Relaying = reach.Relaying
	}
	if u.Hostname == "" {
		u.Hostname = hostname()
	}
	u.Version = u.Version[:min(len(u.Version), coord.MaxVersion)]
	return u
}

// doubt is the home relay of peers that were not found there, though they are online; 0: all were.
func (e *Engine) doubt(missing []key.NodePublic) coord.RelayID {
	if e.net.netmap == nil || len(missing) == 0 {
		return 0
	}
	for _, n := range e.net.netmap.Peers {
		if n.Online && slices.Contains(missing, n.Key) {
			return n.Relay
		}
	}
	return 0
}

// doubted reports whether a peer did not find somebody at the relay that is this machine's home. What one said that is offline is
// over: it cannot take it back.
func (e *Engine) doubted(peers []coord.Node) bool {
	home := e.plane.Reach().Relay
	return home != 0 && slices.ContainsFunc(peers, func(n coord.Node) bool { return n.Online && n.Doubt == home })
}

// Status gives a snapshot.
func (e *Engine) Status(ctx context.Context) (*ipc.Status, error) {
	var f *core.Facts
	if err := e.look(ctx, func() { f = e.facts() }); err != nil {
		return nil, err
	}
	return f.Status(time.Now()), nil
}

// connected is the plane of a machine that is on its network, or nil.
func (e *Engine) connected() Plane {
	if !e.connects() {
		return nil
	}
	return e.plane
}

// Ping asks a peer for an answer over the present path.
func (e *Engine) Ping(ctx context.Context, k key.NodePublic) (ipc.Path, error) {
	var plane Plane
	if err := e.look(ctx, func() { plane = e.connected() }); err != nil {
		return ipc.Path{}, err
	}
	if plane == nil {
		return ipc.Path{}, errNotUp
	}
	return plane.Ping(ctx, k)
}

// Explain says what was tried for a direct path to a peer, and what a person could change.
func (e *Engine) Explain(ctx context.Context, k key.NodePublic, online bool) (tried []ipc.PathTry, advice []ipc.Advice, err error) {
	var plane Plane
	if err := e.look(ctx, func() { plane = e.plane }); err != nil {
		return nil, nil, err
	}
	if plane == nil {
		return nil, nil, errNotUp
	}
	return plane.Explain(ctx, k, online)
}

// Netcheck finds out what the network lets through.
func (e *Engine) Netcheck(ctx context.Context) (*ipc.Netcheck, error) {
	var plane Plane
	if err := e.look(ctx, func() { plane = e.plane }); err != nil {
		return nil, err
	}
	if plane == nil {
		return nil, errNotUp
	}
	report, err := plane.Netcheck(ctx)
	if errors.Is(err, sock.ErrChecking) {
		return nil, &ipc.Error{Code: ipc.CodeBusy, Reason: ipc.ReasonChecking, Message: "The network is being checked already.", Fix: "Try again in a few seconds."}
	}
	return report, err
}

// Access says what this machine's rules say of a peer.
func (e *Engine) Access(ctx context.Context, peer key.NodePublic, s *coord.Service) (in ipc.Access, routes []ipc.RouteAccess, err error) {
	err = e.look(ctx, func() {
		f := &core.Facts{Netmap: e.net.netmap, Wants: *e.wants}
		if f.Netmap == nil {
			return
		}
		if i := slices.IndexFunc(f.Netmap.Peers, func(n coord.Node) bool { return n.Key == peer }); i >= 0 {
			in, routes = f.Access(&f.Netmap.Peers[i], s)
		}
	})
	return in, routes, err
}

// QueryDNS asks the resolver, as the host's programs do.
func (e *Engine) QueryDNS(ctx context.Context, q ipc.DNSQuery) (*ipc.DNSAnswer, error) {
	var plane Plane
	if err := e.look(ctx, func() { plane = e.connected() }); err != nil {
		return nil, err
	}
	if plane == nil {
		return nil, errNotUp
	}
	return plane.QueryDNS(ctx, q)
}

var errNotUp = &ipc.Error{Status: 409, Code: ipc.CodeNotUp, Message: "This machine is not connected to its network.", Fix: "warren up"}
