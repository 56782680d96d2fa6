package server

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/warren-mesh/warren/coord/internal/account"
)

// gate bounds the connections of strangers and members together, overall and for each address, so that neither files
// nor memory run out, whoever floods.
//
// Where there is no room, the connection that has been without a sign of life for longest makes it: one that has asked
// for nothing yet, one that waits for the next request, or one whose request drags on. A request takes milliseconds
// and whoever is turned out between two simply connects again; so it is a flood's own connections that go, and who
// comes in the midst of one still gets in. To refuse the newcomer instead would let the flood's first wave keep
// everybody out. The netmap streams of members and the connections of the relay are never turned out: where they
// alone fill the bound, newcomers are refused.
//
// An address (an IPv6 address's /64, which is one customer's) may have a part of the whole: many machines can be
// behind one NAT. Loopback and reverse proxies have all of it: many clients come through them.
//
// And it lets only a few TLS handshakes compute at a time (shake): where a whole network comes back at once, all would
// otherwise share the processors until each had taken longer than it may, and all that work would be for nothing.
type gate struct {
	// fixed
	most, mostOf int
	count        *counters
	proxy        func(netip.Addr) bool
	shaking      chan struct{} // holds one for each handshake that computes
	patience     time.Duration // how long one waits for its turn

	mu     sync.Mutex
	known  map[string]*guest // by both ends
	quiet  *list.List        // of *guest: those that may be turned out, the longest without a sign of life first
	byAddr map[string]*crowd
}

// crowd is the guests of one address.
type crowd struct {
	count int
	quiet *list.List
}

// guest is one connection; all of it but shakes is guarded by gate.mu.
type guest struct {
	net.Conn
	gate       *gate
	id, addr   string      // addr is empty where there is no bound for it
	shakes     atomic.Bool // it holds a place in gate.shaking
	in         bool
	held       int // why it stays: streams of members, or the relay's
	all, those *list.Element
}

// What the bounds are made of.
const (
	memoryPerConn = 128 << 10 // bytes: TLS, HTTP, a member's stream and its place in the network
	memoryShare   = 2         // one part of so many of the memory is for connections
	filesApart    = 64        // files for the database, the sockets and the rest
	fewestConns   = 256
	mostConns     = 1 << 17
	addressShare  = 4 // one address may have one part of so many

	handshakeWait = headerTimeout / 2 // the rest is for the machine's own part
)

// connsOf sizes the bound by the files that may be open and the memory that there is, in bytes; 0: unknown.
func connsOf(files, memory uint64) int {
	n := uint64(mostConns)
	if files > 0 {
		n = min(n, max(files, filesApart)-filesApart)
	}
	if memory > 0 {
		n = min(n, memory/memoryShare/memoryPerConn)
	}
	return int(max(n, fewestConns))
}

func newGate(most int, count *counters, proxy func(netip.Addr) bool) *gate {
	return &gate{
		most: most, mostOf: max(1, most/addressShare), count: count, proxy: proxy,
		shaking: make(chan struct{}, 2*runtime.GOMAXPROCS(0)), patience: handshakeWait,
		known: map[string]*guest{}, quiet: list.New(), byAddr: map[string]*crowd{},
	}
}

// listen makes the listener let in only whom the gate lets in.
func (g *gate) listen(ln net.Listener) net.Listener { return &gateListener{ln, g} }

type gateListener struct {
	net.Listener
	gate *gate
}

// Accept implements net.Listener.
func (l *gateListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if in := l.gate.enter(c); in != nil {
			return in, nil
		}
	}
}

func idOf(remote, local string) string { return remote + " " + local }

// enter lets a connection in, in the place of another where it must be, or closes it.
func (g *gate) enter(c net.Conn) net.Conn {
	remote := c.RemoteAddr().String()
	v := &guest{Conn: c, gate: g, id: idOf(remote, c.LocalAddr().String()), in: true}
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		if a := ap.Addr().Unmap(); !a.IsLoopback() && !g.proxy(a) {
			v.addr = account.AddressKey(a)
		}
	}
	g.mu.Lock()
	out, ok := g.room(v.addr)
	if out != nil {
		g.leave(out)
	}
	if ok {
		g.known[v.id] = v
		if v.addr != "" {
			of := g.byAddr[v.addr]
			if of == nil {
				of = &crowd{quiet: list.New()}
				g.byAddr[v.addr] = of
			}
			of.count++
		}
		g.wait(v)
	}
	g.mu.Unlock()
	if out != nil {
		g.count.turnedOut.Inc()
		_ = out.Conn.Close()
	}
	if !ok {
		g.count.refused.Inc()
		_ = c.Close()
		return nil
	}
	return v
}

// room says whether there is any for one more of the address, and who must go for it: the lock is held.
func (g *gate) room(addr string) (out *guest, ok bool) {
	first := func(l *list.List) (*guest, bool) {
		if e := l.Front(); e != nil {
			return e.Value.(*guest), true
		}
		return nil, false
	}
	if of := g.byAddr[addr]; of != nil && of.count >= g.mostOf {
		return first(of.quiet)
	}
	if len(g.known) >= g.most {
		return first(g.quiet)
	}
	return nil, true
}

// wait puts a guest behind all others that may be turned out: the lock is held.
func (g *gate) wait(v *guest) {
	switch {
	case !v.in || v.held > 0:
	case v.all == nil:
		v.all = g.quiet.PushBack(v)
		if of := g.byAddr[v.addr]; of != nil {
			v.those = of.quiet.PushBack(v)
		}
	default:
		g.quiet.MoveToBack(v.all)
		if v.those != nil {
			g.byAddr[v.addr].quiet.MoveToBack(v.those)
		}
	}
}

// stay takes a guest out of those that may be turned out: the lock is held.
func (g *gate) stay(v *guest) {
	if v.all == nil {
		return
	}
	g.quiet.Remove(v.all)
	if v.those != nil {
		g.byAddr[v.addr].quiet.Remove(v.those)
	}
	v.all, v.those = nil, nil
}

// leave forgets a guest: the lock is held.
func (g *gate) leave(v *guest) {
	if !v.in {
		return
	}
	g.stay(v)
	v.in = false
	if g.known[v.id] == v {
		delete(g.known, v.id)
	}
	if of := g.byAddr[v.addr]; of != nil {
		if of.count--; of.count == 0 {
			delete(g.byAddr, v.addr)
		}
	}
}

// shake is tls.Config.GetConfigForClient: the handshake computes when it is its turn, and gives up without having
// computed where that would be too late. What computing takes is between a client's first message and the server's
// answer to it, so that nobody who sends slowly holds the place of others.
func (g *gate) shake(h *tls.ClientHelloInfo) (*tls.Config, error) {
	return nil, g.turn(h.Context(), h.Conn) // no configuration but the listener's own
}

// turn waits for a connection's turn to compute.
func (g *gate) turn(ctx context.Context, c net.Conn) error {
	g.mu.Lock()
	v := g.known[idOf(c.RemoteAddr().String(), c.LocalAddr().String())]
	g.mu.Unlock()
	if v == nil {
		return nil
	}
	wait := time.NewTimer(g.patience)
	defer wait.Stop()
	select {
	case g.shaking <- struct{}{}:
		v.shakes.Store(true)
		return nil
	case <-wait.C:
		g.count.late.Inc()
		return errLate
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errLate = errors.New("too many TLS handshakes at a time")

// shaken gives the handshake's place to the next.
func (v *guest) shaken() {
	if v.shakes.CompareAndSwap(true, false) {
		<-v.gate.shaking
	}
}

// Write implements net.Conn.
func (v *guest) Write(b []byte) (int, error) {
	v.shaken()
	return v.Conn.Write(b)
}

// Close implements net.Conn.
func (v *guest) Close() error {
	v.shaken()
	v.gate.mu.Lock()
	v.gate.leave(v)
	v.gate.mu.Unlock()
	return v.Conn.Close()
}

// state is http.Server.ConnState: a request that begins or ends is a sign of life, and what is hijacked is the relay's.
func (g *gate) state(c net.Conn, st http.ConnState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.known[idOf(c.RemoteAddr().String(), c.LocalAddr().String())]
	switch {
	case v == nil:
	case st == http.StateHijacked:
		v.held++
		g.stay(v)
	case st == http.StateActive || st == http.StateIdle:
		g.wait(v)
	}
}

// hold keeps the request's connection in until the function that it returns is called.
func (g *gate) hold(r *http.Request) (release func()) {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil {
		return func() {}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.known[idOf(r.RemoteAddr, local.String())]
	if v == nil {
		return func() {}
	}
	v.held++
	g.stay(v)
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		v.held--
		g.wait(v)
	}
}

func (g *gate) len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.known)
}

// openFiles is how many files this process may have open; Go has raised it to what it may be.
func openFiles() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return l.Cur
}

// memory is the least of what the host, the control group and GOMEMLIMIT give to this process, in bytes; 0: unknown.
func memory() (least uint64) {
	take := func(n uint64) {
		if n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	text, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseUint(f[1], 10, 64)
			take(kib << 10)
		}
	}
	text, _ = os.ReadFile("/proc/self/cgroup") // 0::/path (cgroups(7), version 2)
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			limit, _ := os.ReadFile("/sys/fs/cgroup" + path + "/memory.max") // "max" is none
			n, _ := strconv.ParseUint(strings.TrimSpace(string(limit)), 10, 64)
			take(n)
		}
	}
	take(uint64(debug.SetMemoryLimit(-1)))
	return least
}
