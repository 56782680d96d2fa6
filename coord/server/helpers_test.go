package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/store/ramdisk"
	"github.com/warren-mesh/warren/coord/key"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The pace at which authorities are asked is kept for the life of the process.
	ramdisk.Use()
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).permit"),
		// It touches a lock's file each 5 s, and sees only after its sleep that the lock is gone.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}

// patience is for what other goroutines and processes do; it only ever runs out where they never will. What is asked again
// and again is asked every look.
const (
	patience = time.Minute
	look     = 10 * time.Millisecond
)

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(look) {
		if time.Now().After(end) {
			t.Fatalf("never came: %s", what)
		}
	}
}

// lightHasher stands for the one that costs 64 MiB and a tenth of a second each time, in tests of what is around passwords.
// What it makes opens with the password only, and does not show it.
type lightHasher struct{}

func (lightHasher) Hash(ctx context.Context, password string) (string, error) {
	return fmt.Sprintf("light %x", sha256.Sum256([]byte(password))), ctx.Err()
}

func (l lightHasher) Check(ctx context.Context, password, encoded string) (bool, error) {
	got, err := l.Hash(ctx, password)
	return got == encoded, err
}

// running is a server that serves on loopback.
type running struct {
	*Server
	t    testing.TB
	dir  string
	addr string
	stop func()
}

// serve sets up a server in a directory of its own and serves it until the test ends.
func serve(t testing.TB) *running {
	t.Helper()
	dir := t.TempDir()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	return serveDir(t, dir, "127.0.0.1:0", Options{})
}

func serveDir(t testing.TB, dir, addr string, o Options, prepare ...func(*Server)) *running {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if o.URL == "" {
		o.URL = "https://" + ln.Addr().String()
	}
	s, err := Open(t.Context(), dir, o)
	if err != nil {
		_ = ln.Close()
		t.Fatal(err)
	}
	s.hasher = lightHasher{}
	for _, p := range prepare {
		p(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	r := &running{Server: s, t: t, dir: dir, addr: ln.Addr().String()}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// authKey makes a pre-auth key.
func (r *running) authKey(o KeyOptions) string {
	r.t.Helper()
	k, _, err := r.CreateKey(r.t.Context(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	return k
}

// device is a machine under test.
type device struct {
	*coord.Client
	t    testing.TB
	node key.Node
	mach key.Machine
}

func (r *running) device() *device { return r.deviceOf(key.NewMachine(), key.NewNode()) }

func (r *running) deviceOf(m key.Machine, n key.Node) *device {
	r.t.Helper()
	return r.deviceWith(n, coord.ClientConfig{Machine: m})
}

func (r *running) deviceWith(n key.Node, cfg coord.ClientConfig) *device {
	r.t.Helper()
	cfg.URL, cfg.Pin = r.URL(), r.Key()
	c, err := coord.NewClient(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return &device{Client: c, t: r.t, node: n, mach: cfg.Machine}
}

// join registers with a pre-auth key.
func (d *device) join(host, authKey string) {
	d.t.Helper()
	reply, err := d.Register(d.t.Context(), d.node, coord.RegisterRequest{Hostname: host, AuthKey: authKey, OS: "linux"})
	if err != nil || !reply.Registered {
		d.t.Fatalf("Register = %+v, %v", reply, err)
	}
}

// follow runs the netmap stream; each netmap comes out of the channel. The newest is never lost.
func (d *device) follow(have *coord.Netmap) (maps <-chan *coord.Netmap, stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ch := make(chan *coord.Netmap, 1024)
	done := make(chan error, 1)
	go func() {
		defer close(ch)
		done <- d.Netmap(ctx, have, func(m *coord.Netmap) error { ch <- m; return nil })
	}()
	var err error
	once := sync.OnceFunc(func() {
		cancel()
		err = <-done
		for range ch { //nolint:revive // nobody reads the rest
		}
	})
	stop = func() error { once(); return err }
	d.t.Cleanup(func() { _ = stop() })
	return ch, stop
}

// until reads netmaps until one is as wanted.
func until(t testing.TB, maps <-chan *coord.Netmap, what string, want func(*coord.Netmap) bool) *coord.Netmap {
	t.Helper()
	timeout := time.After(patience)
	var last *coord.Netmap
	for {
		select {
		case m, ok := <-maps:
			if !ok {
				t.Fatalf("the stream ended before %s; last netmap: %+v", what, last)
			}
			if last = m; want(m) {
				return m
			}
		case <-timeout:
			t.Fatalf("never came: %s; last netmap: %+v", what, last)
		}
	}
}

func peerNamed(m *coord.Netmap, name string) *coord.Node {
	for i := range m.Peers {
		if m.Peers[i].Name == name {
			return &m.Peers[i]
		}
	}
	return nil
}

func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	if !errors.Is(err, &coord.Error{Code: code}) {
		t.Errorf("got %v, not %s", err, code)
	}
}

func update(port uint16) coord.NodeUpdate {
	return coord.NodeUpdate{
		Disco: key.NewDisco().Public(), OS: "linux", Version: "1",
		Endpoints: []coord.Endpoint{{Addr: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port), Kind: coord.EndpointLocal}},
	}
}
