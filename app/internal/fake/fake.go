// Package fake is a warrend in memory, for the tests of the programs in front of it: an ipc.Backend on a real
// socket, whose state tests set and whose callers have the level that tests say.
package fake

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/warren-mesh/warren/ipc"
)

// What a login of the fake goes by.
const (
	LoginID   = "fakefakefakefakefakefa"
	LoginCode = "4821-93" // to type on another device
	PageCode  = "page-code"
	AuthKey   = "good-key"
)

// Daemon implements ipc.Backend.
type Daemon struct {
	mu       sync.Mutex
	status   ipc.Status
	prefs    ipc.Prefs
	number   int           // of the status
	seen     int           // number of the last status that the watcher took; 0 without one
	change   chan struct{} // closed and replaced at every new status
	progress chan struct{} // closed and replaced at that, and when seen or waiters change

	login     ipc.Login // what Up says next
	challenge string    // of the login under way
	over      bool      // the login under way, and how it ended
	ended     error
	waiters   int // in LoginWait

	netcheck *ipc.Netcheck // nil: a usual one
	advice   []string      // of Why
	pings    []any         // *ipc.PingReply or error, in order; the last one repeats
	upErr    error
	upHangs  bool      // the next Up does
	hung     int       // how many do
	stuck    ipc.State // Up gets no further
	lastUp   ipc.UpRequest

	profiles []ipc.Profile
}

// New returns a daemon that runs with two peers.
func New() *Daemon {
	return &Daemon{
		status:   Running(),
		prefs:    ipc.Prefs{Server: "https://warren.example.org", Up: true},
		number:   1,
		change:   make(chan struct{}),
		progress: make(chan struct{}),
		login:    ipc.Login{Server: "https://warren.example.org", ID: LoginID, Code: LoginCode},
		profiles: []ipc.Profile{
			{ID: "0011223344556677", Name: "home", Server: "https://warren.example.org", User: "alice", Network: "demo", Current: true},
			{ID: "8899aabbccddeeff", Name: "work", Server: "https://work.example", User: "alice@work", Network: "work\x1b[2J"},
			{ID: "fedcba9876543210", Name: "lab", Server: "https://lab.example:8443", NeedsLogin: true},
		},
	}
}

// Running is the status of a machine that runs, with three peers.
func Running() ipc.Status {
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	addr := netip.MustParseAddr
	return ipc.Status{
		Version: "fake",
		State:   ipc.StateRunning,
		Profile: "home",
		Server:  "https://warren.example.org",
		Network: ipc.Network{Name: "demo", Suffix: "demo.warren.internal"},
		Self: ipc.Self{
			Name: "alice-laptop", DNSName: "alice-laptop.demo.warren.internal", User: "alice",
			Addrs: []netip.Addr{addr("100.64.0.2"), addr("fd7a::2")}, Interface: "warren0", Port: 41641,
		},
		Peers: []ipc.Peer{
			{
				ID: 3, Name: "bob", DNSName: "bob.demo.warren.internal", User: "alice", OS: "linux", Online: true,
				Addrs: []netip.Addr{addr("100.64.0.3"), addr("fd7a::3")}, RxBytes: 1_200_000, TxBytes: 3400,
				Path: ipc.Path{Kind: ipc.PathDirect, Endpoint: netip.MustParseAddrPort("203.0.113.7:41641"), Latency: 12, MTU: 1420},
			},
			{
				ID: 4, Name: "carol\x1b[2J\u202E", DNSName: "carol.demo.warren.internal", User: "alice", OS: "linux", Online: true,
				Addrs: []netip.Addr{addr("100.64.0.4")},
				Path:  ipc.Path{Kind: ipc.PathRelay, Relay: "fra", Latency: 30},
			},
			{
				ID: 5, Name: "dave", DNSName: "dave.demo.warren.internal", User: "alice", OS: "linux",
				Addrs: []netip.Addr{addr("100.64.0.5")}, LastSeen: now.Add(-3 * time.Hour), Path: ipc.Path{Kind: ipc.PathNone},
			},
		},
		Coord:  ipc.Link{Connected: true},
		Relays: []ipc.Relay{{Name: "fra", Home: true, Transport: "udp", Latency: 30, Link: ipc.Link{Connected: true}}},
		Time:   now,
	}
}

// Listen serves the daemon on the socket to callers of one level, until stop is called.
func (d *Daemon) Listen(socket string, level ipc.Level) (stop func(), err error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		return nil, err
	}
	base, cancel := context.WithCancel(context.Background())
	s := &http.Server{
		Handler:     ipc.Handler(d, nil, slog.New(slog.DiscardHandler)),
		BaseContext: func(net.Listener) context.Context { return base },
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return ipc.WithCaller(ctx, ipc.Caller{UID: 1000, Level: level})
		},
		ReadHeaderTimeout: time.Minute,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	return sync.OnceFunc(func() {
		cancel()
		_ = s.Close()
		<-done
	}), nil
}

// Edit changes the status and tells the watchers.
func (d *Daemon) Edit(f func(*ipc.Status)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.edit(f)
}

func (d *Daemon) edit(f func(*ipc.Status)) {
	f(&d.status)
	d.number++
	close(d.change)
	d.change = make(chan struct{})
	d.step()
}

// step tells Await that something happened; d.mu is held.
func (d *Daemon) step() {
	close(d.progress)
	d.progress = make(chan struct{})
}

// Stick has Up get no further than to a state.
func (d *Daemon) Stick(s ipc.State) { d.mu.Lock(); defer d.mu.Unlock(); d.stuck = s }

// SetLogin sets what Up says of a login.
func (d *Daemon) SetLogin(l ipc.Login) { d.mu.Lock(); defer d.mu.Unlock(); d.login = l }

// FailUp has every Up fail with err.
func (d *Daemon) FailUp(err error) { d.mu.Lock(); defer d.mu.Unlock(); d.upErr = err }

// SetPings sets what Ping answers, in order: *ipc.PingReply or error.
func (d *Daemon) SetPings(p ...any) { d.mu.Lock(); defer d.mu.Unlock(); d.pings = p }

// LastUp is the last request for Up.
func (d *Daemon) LastUp() ipc.UpRequest { d.mu.Lock(); defer d.mu.Unlock(); return d.lastUp }

// EndLogin ends the login as somebody would on another device: with success where err is nil. A program must wait
// for it already (AwaitLogin).
func (d *Daemon) EndLogin(err error) {
	d.Edit(func(s *ipc.Status) {
		d.over, d.ended = true, err
		if err == nil {
			s.State = ipc.StateRunning
		}
	})
}

// AwaitLogin returns when a program waits for the end of a login.
func (d *Daemon) AwaitLogin(ctx context.Context) error {
	return d.await(ctx, func() bool { return d.waiters > 0 })
}

// HangUp lets the next Up wait for a server that is silent, until its caller goes away.
func (d *Daemon) HangUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.upHangs = true
}

// AwaitHung returns when so many callers of Up wait for such a server.
func (d *Daemon) AwaitHung(ctx context.Context, n int) error {
	return d.await(ctx, func() bool { return d.hung == n })
}

// AwaitNoLogin returns when no program waits for the end of a login: one that gave up is gone a moment before that is seen here.
func (d *Daemon) AwaitNoLogin(ctx context.Context) error {
	return d.await(ctx, func() bool { return d.waiters == 0 })
}

// AwaitSeen returns when a watcher has taken the last status.
func (d *Daemon) AwaitSeen(ctx context.Context) error {
	return d.await(ctx, func() bool { return d.seen == d.number })
}

// AwaitState returns when a watcher has taken the last status, and that is of the state.
func (d *Daemon) AwaitState(ctx context.Context, s ipc.State) error {
	return d.await(ctx, func() bool { return d.seen == d.number && d.status.State == s })
}

// await returns when f, called under the lock, is true.
func (d *Daemon) await(ctx context.Context, f func() bool) error {
	for {
		d.mu.Lock()
		ok, progress := f(), d.progress
		d.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-progress:
		}
	}
}

// Status implements ipc.Backend.
func (d *Daemon) Status(context.Context) (*ipc.Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.status
	return &s, nil
}

// Watch implements ipc.Backend.
func (d *Daemon) Watch(ctx context.Context, f func(*ipc.Status) error) error {
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.seen = 0
	}()
	for {
		d.mu.Lock()
		s, number, change := d.status, d.number, d.change
		d.mu.Unlock()
		if err := f(&s); err != nil {
			return err
		}
		d.mu.Lock()
		d.seen = number
		d.step()
		d.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-change:
		}
	}
}

// WatchLive implements ipc.Backend.
func (d *Daemon) WatchLive(ctx context.Context, f func(*ipc.Status) error) error {
	return d.Watch(ctx, f)
}

// Prefs implements ipc.Backend.
func (d *Daemon) Prefs(context.Context) (ipc.Prefs, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.prefs, nil
}

// EditPrefs implements ipc.Backend.
func (d *Daemon) EditPrefs(_ context.Context, e ipc.PrefsEdit) (ipc.Prefs, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.Hostname != nil {
		d.prefs.Hostname = *e.Hostname
	}
	if e.Port != nil {
		d.prefs.Port = *e.Port
	}
	if e.AcceptDNS != nil {
		d.prefs.IgnoreDNS = !*e.AcceptDNS
	}
	if e.Profile != nil {
		d.edit(func(s *ipc.Status) { s.Profile = *e.Profile })
	}
	err := d.editRoutes(e)
	d.edit(func(s *ipc.Status) { s.Prefs = d.prefs.Number() })
	return d.prefs, err
}

// editRoutes does what concerns exit nodes and subnets: dave alone is an exit node.
func (d *Daemon) editRoutes(e ipc.PrefsEdit) error {
	p := &d.prefs
	if e.ExitNodes != nil {
		for _, name := range *e.ExitNodes {
			if name != "dave" && name != "bob" {
				return &ipc.Error{Code: ipc.CodeNoExit, Message: name + " is no exit node", Fix: "warren exit-node list"}
			}
		}
		p.ExitNodes = *e.ExitNodes
		d.edit(func(s *ipc.Status) {
			s.Exit, s.Problems = nil, nil
			if len(p.ExitNodes) > 0 {
				s.Exit = &ipc.Exit{Wanted: p.ExitNodes, Name: p.ExitNodes[0], Up: p.ExitNodes[0] == "bob", IPv4: true}
			}
			for i := range s.Peers {
				s.Peers[i].Exit = s.Exit != nil && s.Peers[i].Name == s.Exit.Name
			}
			if s.Exit != nil && !s.Exit.Up {
				s.Problems = []ipc.Problem{{Code: ipc.ProblemExitDown, Level: ipc.ProblemUrgent, Text: "The exit node does not answer.", Fix: "warren exit-node off"}}
			}
		})
	}
	for _, b := range []struct{ to, from *bool }{
		{&p.ExitNodeAllowLAN, e.ExitNodeAllowLAN}, {&p.AcceptRoutes, e.AcceptRoutes}, {&p.AdvertiseExitNode, e.AdvertiseExitNode}, {&p.Relay, e.Relay}, {&p.Lockdown, e.Lockdown}, {&p.ShieldsUp, e.ShieldsUp},
	} {
		if b.from != nil {
			*b.to = *b.from
		}
	}
	if e.Relay != nil {
		d.edit(func(s *ipc.Status) {
			if s.Self.Relaying = nil; p.Relay {
				s.Self.Relaying = &ipc.Relaying{Rate: p.RelayRate}
			}
		})
	}
	if e.RelayRate != nil {
		p.RelayRate = *e.RelayRate
	}
	if e.Lockdown != nil {
		d.edit(func(s *ipc.Status) { s.Lockdown = p.Lockdown })
	}
	if e.SNATSubnetRoutes != nil {
		p.NoSNAT = !*e.SNATSubnetRoutes
	}
	if e.AdvertiseRoutes != nil {
		p.AdvertiseRoutes = *e.AdvertiseRoutes
		d.edit(func(s *ipc.Status) {
			s.Self.Offers = nil
			for i, r := range p.AdvertiseRoutes {
				s.Self.Offers = append(s.Self.Offers, ipc.Offer{Route: r, Approved: i == 0})
			}
		})
	}
	return nil
}

// Up implements ipc.Backend: at once where the machine is logged in, or with AuthKey; otherwise there is a login.
func (d *Daemon) Up(ctx context.Context, r ipc.UpRequest) (*ipc.UpReply, error) {
	if _, err := d.EditPrefs(ctx, r.Edit); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lastUp = r
	if d.upHangs {
		d.upHangs = false
		d.hung++
		d.step()
		d.mu.Unlock()
		<-ctx.Done()
		d.mu.Lock()
		d.hung--
		d.step()
		return nil, ctx.Err()
	}
	if r.Server != "" {
		d.prefs.Server = r.Server
	}
	needs := r.Reauth || d.status.State == ipc.StateNeedsLogin
	switch {
	case d.upErr != nil:
		return nil, d.upErr
	case d.prefs.Server == "":
		return nil, &ipc.Error{Code: ipc.CodeNoServer, Message: "no coordination server is known", Fix: "Name one: warren up https://warren.example.org"}
	case d.stuck != "":
		d.edit(func(s *ipc.Status) { s.State = d.stuck })
		return &ipc.UpReply{State: d.stuck}, nil
	case r.AuthKey == AuthKey, r.AuthKey == "" && !needs:
		d.edit(func(s *ipc.Status) { s.State = ipc.StateRunning })
		return &ipc.UpReply{State: ipc.StateRunning}, nil
	case r.AuthKey != "":
		return nil, &ipc.Error{Code: ipc.CodeKey, Message: "the pre-auth key was used before", Fix: "Ask for another."}
	}
	d.challenge, d.over, d.ended = r.Challenge, false, nil
	login := d.login
	login.Expires = time.Now().Add(time.Minute)
	return &ipc.UpReply{State: ipc.StateNeedsLogin, Login: &login}, nil
}

// Down implements ipc.Backend.
func (d *Daemon) Down(context.Context) error {
	d.Edit(func(s *ipc.Status) { s.State = ipc.StateDown })
	return nil
}

// LoginWait implements ipc.Backend.
func (d *Daemon) LoginWait(ctx context.Context, r ipc.LoginWait) (*ipc.UpReply, error) {
	count := func(n int) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.waiters += n
		d.step()
	}
	count(1)
	defer count(-1)
	var ended error
	err := d.await(ctx, func() bool {
		ended = d.ended
		return d.over || r.ID != d.login.ID
	})
	if err = errors.Join(err, ended); err != nil {
		return nil, err
	}
	return &ipc.UpReply{State: ipc.StateRunning}, nil
}

// LoginFinish implements ipc.Backend: the verifier must fit the challenge (RFC 7636).
func (d *Daemon) LoginFinish(_ context.Context, r ipc.LoginFinish) (*ipc.UpReply, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	sum := sha256.Sum256([]byte(r.Verifier))
	if r.ID != d.login.ID || r.Code != PageCode || base64.RawURLEncoding.EncodeToString(sum[:]) != d.challenge {
		return nil, &ipc.Error{Code: ipc.CodeLogin, Message: "the login's code was refused", Fix: "Log in again: warren login"}
	}
	d.over = true
	d.edit(func(s *ipc.Status) { s.State = ipc.StateRunning })
	return &ipc.UpReply{State: ipc.StateRunning}, nil
}

// Logout implements ipc.Backend.
func (d *Daemon) Logout(context.Context) error {
	d.Edit(func(s *ipc.Status) { s.State = ipc.StateNeedsLogin })
	return nil
}

// Profiles implements ipc.Backend.
func (d *Daemon) Profiles(context.Context) (*ipc.Profiles, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &ipc.Profiles{Profiles: slices.Clone(d.profiles)}, nil
}

// Switch implements ipc.Backend.
func (d *Daemon) Switch(_ context.Context, r ipc.SwitchRequest) (*ipc.UpReply, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.profiles, func(p ipc.Profile) bool { return p.Name == r.Profile || p.ID == r.Profile })
	if i < 0 {
		return nil, &ipc.Error{Code: ipc.CodeNoProfile, Message: "no login of this machine is called " + r.Profile, Fix: "See them: warren switch --list"}
	}
	for j := range d.profiles {
		d.profiles[j].Current = j == i
	}
	d.edit(func(s *ipc.Status) {
		s.Profile, s.Server, s.Network.Name = d.profiles[i].Name, d.profiles[i].Server, d.profiles[i].Network
		if d.profiles[i].NeedsLogin {
			s.State = ipc.StateNeedsLogin
		}
	})
	return &ipc.UpReply{State: d.status.State}, nil
}
