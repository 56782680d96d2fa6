package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/core"
	"github.com/warren-mesh/warren/daemon/internal/journal"
	"github.com/warren-mesh/warren/daemon/internal/store"
	"github.com/warren-mesh/warren/ipc"
)

// server is a coordination server in memory, and the Client of it.
type server struct {
	mu         sync.Mutex
	key        key.ServerPublic
	away       bool // cannot be reached
	other      bool // has another identity than the pinned one
	silent     bool // does not answer
	drops      int  // so many connections are closed without an answer
	registered bool
	expired    bool
	pending    bool
	decided    chan struct{}              // closed when an admin has decided
	cancelled  []string                   // logins
	machines   map[key.MachinePublic]bool // that have spoken to it
	nodes      []key.NodePublic           // that were registered
	usedKey    string                     // the pre-auth key that was used up
	deaf       bool                       // registers, but the answer is lost
	loginDone  chan struct{}
	netmap     *coord.Netmap
	updates    []coord.NodeUpdate
	cut        chan struct{} // closed to end the streams
	registers  int
	logins     int
}

func newServer() *server {
	return &server{
		key: key.ServerPublic{9}, loginDone: make(chan struct{}), cut: make(chan struct{}), decided: make(chan struct{}),
		machines: map[key.MachinePublic]bool{},
		netmap: &coord.Netmap{
			Seq:     5,
			Network: coord.Network{Name: "home", Suffix: "warren.internal", IPv4: netip.MustParsePrefix("100.64.0.0/10")},
			Self:    coord.Node{ID: 3, Name: "alice", Key: key.NodePublic{1}, Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.3")}},
			Peers:   []coord.Node{{ID: 4, Name: "bob", Key: key.NodePublic{2}, Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.4")}}},
		},
	}
}

var errAway = errors.New("connection refused")

func (s *server) Connect(ctx context.Context) (*coord.Session, error) {
	s.mu.Lock()
	silent := s.silent
	s.mu.Unlock()
	if silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.away:
		return nil, errAway
	case s.drops > 0:
		s.drops--
		return nil, &coord.Trouble{Code: coord.TroubleDropped, Host: "coord.example", Err: coord.ErrUnreachable}
	case s.other:
		said := fmt.Errorf("coord.example: %w", coord.ErrWrongServer)
		return nil, &coord.Trouble{Code: coord.TroubleWrongServer, Host: "coord.example", About: []string{"SHOWN", "KNOWN"}, Err: said}
	}
	return &coord.Session{Registered: s.registered, Expired: s.expired, Pending: s.pending}, nil
}

func (s *server) WaitApproval(ctx context.Context) error {
	s.mu.Lock()
	decided := s.decided
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-decided:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.registered {
		return &coord.Error{Code: coord.CodeNotRegistered, Message: "This machine is no member"}
	}
	return nil
}

// hangUp ends all streams of netmaps.
func (s *server) hangUp() {
	close(s.cut)
	s.cut = make(chan struct{})
}

// decide lets a waiting machine in, or not.
func (s *server) decide(in bool) {
	s.set(func(s *server) {
		s.pending, s.registered = false, in
		close(s.decided)
		s.decided = make(chan struct{})
	})
}

func (s *server) CancelLogin(_ context.Context, id string) error {
	s.set(func(s *server) { s.cancelled = append(s.cancelled, id) })
	return nil
}

func (s *server) Update(_ context.Context, u coord.NodeUpdate) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.updates = append(s.updates, u)
	return nil
}

func (s *server) Netmap(ctx context.Context, _ *coord.Netmap, got func(*coord.Netmap) error) error {
	s.mu.Lock()
	m, cut, expired := *s.netmap, s.cut, s.expired
	s.mu.Unlock()
	if expired {
		return &coord.Error{Code: coord.CodeExpired, Message: "The key has expired"}
	}
	if err := got(&m); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-cut:
		return errAway
	}
}

func (s *server) Server() key.ServerPublic { return s.key }

func (s *server) Register(_ context.Context, k key.Node, r coord.RegisterRequest) (*coord.RegisterReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.registers++
	switch {
	case s.away:
		return nil, errAway
	case r.AuthKey == "":
		s.logins++
		s.nodes = append(s.nodes, k.Public())
		return &coord.RegisterReply{LoginID: fmt.Sprintf("login-%d", s.logins), Code: "1234", Expires: time.Now().Add(coord.LoginTTL)}, nil
	case r.AuthKey == "copied":
		return nil, &coord.Error{Status: http.StatusConflict, Code: coord.CodeNodeKeyTaken, Message: "Another machine has it"}
	case r.AuthKey != "good":
		return nil, &coord.Error{Code: coord.CodeKeyUnknown, Message: "No such key"}
	}
	s.registered, s.expired, s.usedKey = true, false, r.AuthKey
	s.nodes = append(s.nodes, k.Public())
	if s.deaf {
		return nil, errAway
	}
	return &coord.RegisterReply{Registered: true}, nil
}

func (s *server) WaitLogin(ctx context.Context, _ string) error {
	s.mu.Lock()
	cut, unreachable := s.cut, s.away
	s.mu.Unlock()
	if unreachable {
		return fmt.Errorf("%w: connection refused", coord.ErrUnreachable)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-cut:
		return fmt.Errorf("%w: the connection broke", coord.ErrUnreachable)
	case <-s.loginDone:
		return s.FinishLogin(ctx, coord.CodeRequest{})
	}
}

func (s *server) FinishLogin(context.Context, coord.CodeRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.registered, s.expired = true, false
	return nil
}

func (s *server) Logout(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return errAway
	}
	s.registered = false
	return nil
}

func (s *server) Close() {}

func (s *server) set(f func(*server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// host counts the planes that were opened, and refuses them on demand.
type host struct {
	mu           sync.Mutex
	refuse       error
	open, opened int
	most         int // open at once
	plans        []*core.Plan
	silent       []byte // first bytes of the keys of peers that do not answer
	talks        byte   // and of the one that packets go to all the time; it answers them unless it is silent
	traffic      map[key.NodePublic]core.Traffic
	pings        int
	suspected    int            // how often the home relay was
	cut          []netip.Prefix // that this machine does not reach itself
	missing      []key.NodePublic
}

func (h *host) silence(keys ...byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.silent = keys
}

type fakePlane struct {
	host *host
	cfg  PlaneConfig
}

func (h *host) openPlane(cfg PlaneConfig) (Plane, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuse != nil {
		return nil, h.refuse
	}
	h.open++
	h.opened++
	h.most = max(h.most, h.open)
	return &fakePlane{h, cfg}, nil
}

func (p *fakePlane) Apply(plan *core.Plan) error {
	p.host.mu.Lock()
	defer p.host.mu.Unlock()
	p.host.plans = append(p.host.plans, plan)
	return nil
}

func (p *fakePlane) Observe(f *core.Facts) { f.Interface, f.Port = p.cfg.Interface, p.cfg.Port }

func (p *fakePlane) Traffic() map[key.NodePublic]core.Traffic {
	p.host.mu.Lock()
	defer p.host.mu.Unlock()
	if p.host.traffic == nil {
		p.host.traffic = make(map[key.NodePublic]core.Traffic)
	}
	if k := p.host.talks; k != 0 {
		t := p.host.traffic[key.NodePublic{k}]
		t.Tx++
		if !slices.Contains(p.host.silent, k) {
			t.Rx++
		}
		p.host.traffic[key.NodePublic{k}] = t
	}
	return maps.Clone(p.host.traffic)
}

func (p *fakePlane) Reach() Reach {
	p.host.mu.Lock()
	defer p.host.mu.Unlock()
	return Reach{Cut: p.host.cut, Missing: p.host.missing, Disco: key.DiscoPublic{7}, Relay: 1, Endpoints: []coord.Endpoint{{Addr: netip.MustParseAddrPort("192.0.2.1:1"), Kind: coord.EndpointLocal}}}
}

func (p *fakePlane) SuspectRelay() {
	p.host.mu.Lock()
	defer p.host.mu.Unlock()
	p.host.suspected++
}

func (p *fakePlane) Ping(ctx context.Context, k key.NodePublic) (ipc.Path, error) {
	p.host.mu.Lock()
	silent := slices.Contains(p.host.silent, k[0])
	p.host.pings++
	p.host.mu.Unlock()
	if silent {
		<-ctx.Done()
		return ipc.Path{}, ctx.Err()
	}
	return ipc.Path{Kind: ipc.PathDirect}, nil
}

func (p *fakePlane) Explain(context.Context, key.NodePublic, bool) ([]ipc.PathTry, []ipc.Advice, error) {
	return nil, nil, nil
}

func (p *fakePlane) Netcheck(context.Context) (*ipc.Netcheck, error) {
	return &ipc.Netcheck{UDP: ipc.Yes}, nil
}

func (p *fakePlane) QueryDNS(context.Context, ipc.DNSQuery) (*ipc.DNSAnswer, error) {
	return &ipc.DNSAnswer{Code: "NOERROR"}, nil
}

func (p *fakePlane) Leave() {}

func (p *fakePlane) Close() error {
	p.host.mu.Lock()
	defer p.host.mu.Unlock()
	p.host.open--
	return nil
}

func (h *host) counts() (open, opened, plans int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open, h.opened, len(h.plans)
}

// machine is a state directory with one daemon after another on it.
type machine struct {
	lockdown Lockdown
	t        *testing.T
	dir      string
	srv      *server
	host     *host
	more     map[string]*server // by URL; srv is all others
	*Engine
	stop func()
}

func newMachine(t *testing.T) *machine { return newMachineWith(t, nil) }

func newMachineWith(t *testing.T, l Lockdown) *machine {
	m := &machine{t: t, dir: t.TempDir(), srv: newServer(), host: &host{}, lockdown: l}
	m.start()
	return m
}

func (m *machine) start() {
	m.t.Helper()
	st, err := store.Open(m.dir, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	j, err := journal.Open(st.Path("journal"), nil)
	if err != nil {
		m.t.Fatal(err)
	}
	m.Engine, err = New(Config{
		Version: "test", Store: st, Journal: j, Interface: "warren0", Log: slog.New(slog.DiscardHandler), OpenPlane: m.host.openPlane, Lockdown: m.lockdown,
		Dial: func(c coord.ClientConfig) (Client, error) {
			srv := m.more[c.URL]
			if srv == nil {
				srv = m.srv
			}
			srv.set(func(s *server) { s.machines[c.Machine.Public()] = true })
			return srv, nil
		},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	e := m.Engine
	wg.Go(func() { _ = e.Run(ctx) })
	m.stop = func() {
		cancel()
		wg.Wait()
		_ = errors.Join(j.Close(), st.Close())
	}
}

func (m *machine) status() *ipc.Status {
	m.t.Helper()
	s, err := m.Status(context.Background())
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

func (m *machine) wantState(want ipc.State) {
	m.t.Helper()
	if s := m.status(); s.State != want {
		m.t.Fatalf("state %s, not %s; problems %+v, coord %+v", s.State, want, s.Problems, s.Coord)
	}
}

func (m *machine) up(r ipc.UpRequest) *ipc.UpReply {
	m.t.Helper()
	reply, err := m.Up(context.Background(), r)
	if err != nil {
		m.t.Fatal(err)
	}
	return reply
}

func codes(s *ipc.Status) (out []string) {
	for _, p := range s.Problems {
		out = append(out, p.Code)
	}
	slices.Sort(out)
	return out
}
