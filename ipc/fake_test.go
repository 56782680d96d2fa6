package ipc

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a Backend in memory, which counts what reached it.
type fake struct {
	mu     sync.Mutex
	status Status
	prefs  Prefs
	calls  []string
	fail   error
	change chan struct{} // closed and replaced at every change
	waits  chan struct{} // LoginWait says here that it waits
}

func newFake() *fake {
	return &fake{
		status: Status{Version: "test", State: StateRunning, Self: Self{Name: "alice"}},
		change: make(chan struct{}),
		waits:  make(chan struct{}, 1),
	}
}

func (f *fake) note(call string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
	return f.fail
}

func (f *fake) reached() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

func (f *fake) set(s State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.State = s
	close(f.change)
	f.change = make(chan struct{})
}

func (f *fake) Status(context.Context) (*Status, error) {
	_ = f.note("status")
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	return &s, nil
}

func (f *fake) WatchLive(ctx context.Context, send func(*Status) error) error {
	return f.Watch(ctx, send)
}

func (f *fake) Watch(ctx context.Context, send func(*Status) error) error {
	if err := f.note("watch"); err != nil {
		return err
	}
	for {
		f.mu.Lock()
		s, change := f.status, f.change
		f.mu.Unlock()
		if err := send(&s); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-change:
		}
	}
}

func (f *fake) Prefs(context.Context) (Prefs, error) {
	_ = f.note("prefs")
	return f.prefs, nil
}

func (f *fake) EditPrefs(_ context.Context, e PrefsEdit) (Prefs, error) {
	if e.Port != nil {
		f.prefs.Port = *e.Port
	}
	return f.prefs, f.note("edit")
}

func (f *fake) Up(context.Context, UpRequest) (*UpReply, error) {
	return &UpReply{State: StateRunning}, f.note("up")
}

func (f *fake) Down(context.Context) error { return f.note("down") }

func (f *fake) LoginWait(ctx context.Context, r LoginWait) (*UpReply, error) {
	if err := f.note("wait"); err != nil {
		return nil, err
	}
	if r.ID == "forever" {
		f.waits <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &UpReply{State: StateRunning}, nil
}

func (f *fake) LoginFinish(context.Context, LoginFinish) (*UpReply, error) {
	return &UpReply{State: StateRunning}, f.note("finish")
}

func (f *fake) Logout(context.Context) error { return f.note("logout") }

func (f *fake) Profiles(context.Context) (*Profiles, error) { return &Profiles{}, f.note("profiles") }

func (f *fake) Switch(context.Context, SwitchRequest) (*UpReply, error) {
	return &UpReply{State: StateRunning}, f.note("switch")
}

func (f *fake) Ping(context.Context, PingRequest) (*PingReply, error) {
	return &PingReply{Name: "bob", Addr: netip.MustParseAddr("100.64.0.3")}, f.note("ping")
}

func (f *fake) Portal(context.Context, PortalRequest) (*PortalReply, error) {
	return &PortalReply{}, f.note("portal")
}

func (f *fake) Netcheck(context.Context) (*Netcheck, error) {
	return &Netcheck{UDP: Yes}, f.note("netcheck")
}

func (f *fake) Why(context.Context, WhyRequest) (*Why, error) {
	return &Why{Name: "bob"}, f.note("why")
}

func (f *fake) QueryDNS(context.Context, DNSQuery) (*DNSAnswer, error) {
	return &DNSAnswer{Code: "NOERROR"}, f.note("dns")
}

// running is a server of the fake whose callers all are the given one.
type running struct {
	*fake
	socket string
	stop   func() error // ends the server and returns its error
}

func start(t *testing.T, as func(net.Conn) (Caller, error), log *slog.Logger) *running {
	t.Helper()
	return startWith(t, as, nil, log)
}

func startWith(t *testing.T, as func(net.Conn) (Caller, error), a Authority, log *slog.Logger) *running {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f := newFake()
	ended := make(chan error, 1)
	go func() {
		ended <- serve(ctx, &doorkeeper{Listener: l, peer: as, log: log, open: map[uint32]int{}}, f, a, log)
	}()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { _ = stop() })
	return &running{fake: f, socket: socket, stop: stop}
}

// caller makes everybody this one.
func caller(c Caller) func(net.Conn) (Caller, error) {
	return func(net.Conn) (Caller, error) { return c, nil }
}

func client(t *testing.T, socket string) *Client {
	c := NewClient(socket)
	t.Cleanup(c.Close)
	return c
}

var quiet = slog.New(slog.DiscardHandler)
