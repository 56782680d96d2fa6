package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// far is a connection that only has addresses.
type far struct {
	net.Conn
	from   *net.TCPAddr
	closed bool
}

var lastPort int

func call(from string) *far {
	lastPort = lastPort%60000 + 1
	return &far{from: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), uint16(lastPort)))}
}

func (c *far) RemoteAddr() net.Addr { return c.from }
func (c *far) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443} }
func (c *far) Close() error         { c.closed = true; return nil }

func (c *far) Write(b []byte) (int, error) { return len(b), nil }

// request is as http.Server makes it.
func (c *far) request() *http.Request {
	ctx := context.WithValue(context.Background(), http.LocalAddrContextKey, c.LocalAddr())
	return (&http.Request{RemoteAddr: c.from.String()}).WithContext(ctx)
}

func nobody(netip.Addr) bool { return false }

func TestTheGateTurnsOutWhoGaveNoSignOfLifeForLongest(t *testing.T) {
	g := newGate(4, newCounters(), nobody)
	g.mostOf = 4
	var all []*far
	for i := range 4 {
		all = append(all, call(fmt.Sprintf("198.51.100.%d", i)))
		g.enter(all[i])
	}
	g.state(all[0], http.StateActive)
	release := g.hold(all[1].request()) // a member's stream
	newcomer := func() (out int) {
		if g.enter(call("203.0.113.1")) == nil {
			return -1
		}
		out = slices.IndexFunc(all, func(c *far) bool { return c.closed })
		if out >= 0 {
			all[out].closed = false
		}
		return out
	}
	for i, want := range []int{2, 3, 0} {
		if got := newcomer(); got != want {
			t.Errorf("newcomer %d turned out %d, not %d", i, got, want)
		}
	}
	newcomer()
	if all[1].closed {
		t.Error("a member's stream was turned out")
	}
	release()
	for range 4 {
		newcomer()
	}
	if g.len() != 4 {
		t.Errorf("%d are in", g.len())
	}
}

func TestWhereOnlyStreamsAreInNewcomersAreRefused(t *testing.T) {
	g := newGate(2, newCounters(), nobody)
	g.mostOf = 2
	a, b, c := call("198.51.100.1"), call("198.51.100.2"), call("198.51.100.3")
	in := g.enter(a)
	g.enter(b)
	g.hold(a.request())
	g.state(b, http.StateHijacked) // the relay's
	if g.enter(c) != nil || !c.closed || a.closed || b.closed {
		t.Error("it was let in, or one was turned out for it")
	}
	_ = in.Close()
	if g.enter(call("198.51.100.3")) == nil {
		t.Error("there is room, and it was refused")
	}
}

func TestAnAddressHasAPartOfTheWhole(t *testing.T) {
	proxy := netip.MustParseAddr("192.0.2.80")
	g := newGate(40, newCounters(), func(a netip.Addr) bool { return a == proxy })
	other := call("2001:db8:1::1")
	g.enter(other)
	for i := range 100 {
		g.enter(call(fmt.Sprintf("2001:db8::%x", i+1))) // one /64
	}
	if g.len() != 1+g.mostOf || other.closed {
		t.Errorf("%d are in; the other one's end: %v", g.len(), other.closed)
	}
	for range g.most - g.len() {
		g.enter(call("127.0.0.1"))
	}
	if n := g.len(); n != g.most {
		t.Errorf("loopback has %d in all", n)
	}
	for range 30 {
		g.enter(call(proxy.String()))
	}
	if len(g.byAddr) > 2 || g.len() != g.most {
		t.Errorf("the proxy is bounded: %d addresses, %d in", len(g.byAddr), g.len())
	}
}

func TestHandshakesComputeInTurn(t *testing.T) {
	g := newGate(4, newCounters(), nobody)
	g.shaking, g.patience = make(chan struct{}, 1), 10*time.Millisecond
	first, second := g.enter(call("198.51.100.1")), g.enter(call("198.51.100.2"))
	if err := g.turn(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if err := g.turn(t.Context(), second); !errors.Is(err, errLate) {
		t.Errorf("one too many: %v", err)
	}
	_, _ = second.Write(nil) // it has no place to give away
	if err := g.turn(t.Context(), second); !errors.Is(err, errLate) {
		t.Errorf("one too many, again: %v", err)
	}
	_, _ = first.Write([]byte("the server's part"))
	if err := g.turn(t.Context(), second); err != nil {
		t.Errorf("after the first's part: %v", err)
	}
	_ = second.Close() // before it has written anything
	_ = second.Close()
	if err := g.turn(t.Context(), first); err != nil {
		t.Errorf("after the second's end: %v", err)
	}
	_ = first.Close()
	if len(g.shaking) != 0 {
		t.Errorf("%d places are lost", len(g.shaking))
	}
}

// TestTheGatesBooksBalance plays anything, and holds the gate to its bounds after each step.
func TestTheGatesBooksBalance(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	g := newGate(20, newCounters(), nobody)
	var in []net.Conn
	var releases []func()
	for range 20_000 {
		switch n := random.IntN(10); {
		case n < 5:
			if c := g.enter(call(fmt.Sprintf("198.51.100.%d", random.IntN(8)))); c != nil {
				in = append(in, c)
			}
		case n < 7 && len(in) > 0:
			i := random.IntN(len(in))
			_ = in[i].Close()
			in = slices.Delete(in, i, i+1)
		case n < 8 && len(in) > 0:
			g.state(in[random.IntN(len(in))], []http.ConnState{http.StateActive, http.StateIdle}[random.IntN(2)])
		case n < 9 && len(in) > 0:
			releases = append(releases, g.hold(in[random.IntN(len(in))].(*guest).Conn.(*far).request()))
		case len(releases) > 0:
			i := random.IntN(len(releases))
			releases[i]()
			releases = slices.Delete(releases, i, i+1)
		}
		held, quiet, sum := 0, g.quiet.Len(), 0
		for _, v := range g.known {
			if v.held > 0 {
				held++
			}
		}
		for addr, of := range g.byAddr {
			if sum += of.count; of.count > g.mostOf || of.count < of.quiet.Len() || of.count == 0 {
				t.Fatalf("%s has %d, %d of them quiet", addr, of.count, of.quiet.Len())
			}
		}
		if len(g.known) > g.most || held+quiet != len(g.known) || sum != len(g.known) {
			t.Fatalf("%d are in, %d held, %d quiet, %d by address", len(g.known), held, quiet, sum)
		}
	}
}

func TestConnectionsAreSizedByFilesAndMemory(t *testing.T) {
	for _, c := range []struct {
		files, memory uint64
		want          int
	}{
		{20_000, 0, 20_000 - filesApart},
		{1 << 30, 0, mostConns},
		{0, 1 << 30, 4096},
		{1024, 64 << 30, 1024 - filesApart},
		{10, 10, fewestConns},
		{0, 0, mostConns},
	} {
		if got := connsOf(c.files, c.memory); got != c.want {
			t.Errorf("connsOf(%d, %d) = %d, not %d", c.files, c.memory, got, c.want)
		}
	}
	if openFiles() < 256 || memory() < 64<<20 {
		t.Errorf("this host seems to allow %d files and %d bytes", openFiles(), memory())
	}
}
