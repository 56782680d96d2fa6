package tunnel

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/warren-mesh/warren/coord/key"
)

// delay is how long a packet of a wire is under way.
const delay = 5 * time.Millisecond

// wire is the Bind of one of two ends, without a network, so that time may be virtual.
type wire struct {
	conn.Bind // for the endpoints
	other     *wire
	from      conn.Endpoint // the other end
	in        chan []byte

	mu     sync.Mutex
	closed chan struct{}
	sent   [][]byte // by an end without another
}

func newWire(t testing.TB, other string) *wire {
	t.Helper()
	w := &wire{Bind: conn.NewStdNetBind(), in: make(chan []byte, 1000)}
	var err error
	if w.from, err = w.ParseEndpoint(other); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *wire) BatchSize() int { return 1 }

func (w *wire) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	closed := make(chan struct{})
	w.closed = closed
	return []conn.ReceiveFunc{func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		select {
		case b := <-w.in:
			sizes[0], eps[0] = copy(bufs[0], b), w.from
			return 1, nil
		case <-closed:
			return 0, net.ErrClosed
		}
	}}, port, nil
}

func (w *wire) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed != nil {
		close(w.closed)
		w.closed = nil
	}
	return nil
}

func (w *wire) Send(bufs [][]byte, _ conn.Endpoint) error {
	for _, b := range bufs {
		b = bytes.Clone(b)
		if w.other == nil {
			w.mu.Lock()
			w.sent = append(w.sent, b)
			w.mu.Unlock()
			continue
		}
		time.AfterFunc(delay, func() { w.other.in <- b })
	}
	return nil
}

func (w *wire) all() [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sent)
}

// silent is a TUN by which nothing comes.
type silent struct {
	events chan tun.Event
	once   sync.Once
}

func (s *silent) File() *os.File           { return nil }
func (s *silent) MTU() (int, error)        { return DefaultMTU, nil }
func (s *silent) Name() (string, error)    { return DefaultName, nil }
func (s *silent) BatchSize() int           { return 1 }
func (s *silent) Events() <-chan tun.Event { return s.events }
func (s *silent) Close() error             { s.once.Do(func() { close(s.events) }); return nil }

func (s *silent) Read([][]byte, []int, int) (int, error) { <-s.events; return 0, os.ErrClosed }

func (s *silent) Write(bufs [][]byte, _ int) (int, error) { return len(bufs), nil }

// pair makes two tunnels that know each other. It is called within virtual time.
func pair(t testing.TB) (a, b *Tunnel) {
	t.Helper()
	end := func(w *wire) *Tunnel {
		log := slog.New(slog.DiscardHandler)
		tn, err := on(&silent{events: make(chan tun.Event)}, newCalm(log), Config{NodeKey: key.NewNode(), SkipUAPI: true, Bind: w, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(tn.Close)
		return tn
	}
	const at, bt = "192.0.2.1:4501", "192.0.2.2:4502"
	wa, wb := newWire(t, bt), newWire(t, at)
	wa.other, wb.other = wb, wa
	a, b = end(wa), end(wb)
	set(t, a, Peer{Key: b.self, AllowedIPs: prefixes("100.64.0.2/32"), Endpoint: bt})
	set(t, b, Peer{Key: a.self, AllowedIPs: prefixes("100.64.0.1/32"), Endpoint: at})
	keep(a)
	keep(b)
	return a, b
}

// kept is all devices of virtual time and their peers. Finalizers of the device's drain its queues, and they run outside of
// virtual time, where its channels are out of bounds.
var kept []any

// keep is called whenever there are other peers.
func keep(t *Tunnel) {
	kept = append(kept, t.dev)
	for k := range t.peers {
		kept = append(kept, t.dev.LookupPeer(device.NoisePublicKey(k)))
	}
}

// handshake waits for one that is later than since at both ends, and says how long that took.
func handshake(t testing.TB, a, b *Tunnel, since time.Time) time.Duration {
	t.Helper()
	start := time.Now()
	for end := start.Add(10 * time.Second); time.Now().Before(end); {
		if stats(t, a)[b.self].LastHandshake.After(since) && stats(t, b)[a.self].LastHandshake.After(since) {
			return time.Since(start)
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("there is no session")
	return 0
}

// pace keeps handshakes as far apart as the receiver wants them: it takes one in 20 ms from a peer, and its replay
// protection tells only times that are some 17 ms apart. And none of them is fresh any more.
func pace() { time.Sleep(2 * fresh) }

func TestWakeMakesASessionAndRehandshakeANewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t)
		if s := stats(t, a)[b.self]; s != (PeerStats{}) {
			t.Errorf("before: %+v", s)
		}
		if err := a.Wake(b.self); err != nil {
			t.Fatal(err)
		}
		handshake(t, a, b, time.Time{})
		for range 5 { // within 5 s of the last, where WireGuard by itself would wait
			pace()
			before := time.Now()
			if err := a.Rehandshake(b.self); err != nil {
				t.Fatal(err)
			}
			if took := handshake(t, a, b, before); took > time.Second {
				t.Errorf("the new session took %v", took)
			}
		}
		s := stats(t, a)[b.self]
		if s.Rx == 0 || s.Tx == 0 {
			t.Errorf("after: %+v", s)
		}
		pace()
		if err := a.Expire(b.self); err != nil {
			t.Fatal(err)
		}
		pace()
		if now := stats(t, a)[b.self]; now.Tx-s.Tx >= device.MessageInitiationSize { // an empty packet may have been under way
			t.Errorf("without a packet for it %d bytes were sent to a peer whose sessions were dropped", now.Tx-s.Tx)
		}
		before := time.Now()
		if err := a.Wake(b.self); err != nil {
			t.Fatal(err)
		}
		if took := handshake(t, a, b, before); took > time.Second {
			t.Errorf("with the next packet the new session took %v", took)
		}
		if err := errors.Join(a.Wake(a.self)); !errors.Is(err, ErrNoPeer) {
			t.Errorf("a stranger: %v", err)
		}
	})
}

// Without the rule about who goes first, every other one of these would wait for 5 s.
func TestHandshakesOfBothEndsAtOnceMakeASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t)
		for later := -4 * delay; later <= 4*delay; later += delay / 5 { // how much later b begins
			pace()
			before := time.Now()
			var wg sync.WaitGroup
			wg.Go(func() { time.Sleep(-later); _ = a.Rehandshake(b.self) })
			wg.Go(func() { time.Sleep(later); _ = b.Rehandshake(a.self) })
			wg.Wait()
			if took := handshake(t, a, b, before); took > time.Second {
				t.Errorf("b began %v after a: the session took %v", later, took)
			}
			for _, end := range []struct{ from, to *Tunnel }{{a, b}, {b, a}} {
				// What is sent at either end is received at the other: the sessions are one.
				time.Sleep(4 * delay) // what is under way arrives
				rx := stats(t, end.to)[end.from.self].Rx
				if err := end.from.Wake(end.to.self); err != nil {
					t.Fatal(err)
				}
				time.Sleep(4 * delay)
				if stats(t, end.to)[end.from.self].Rx == rx {
					t.Fatalf("b began %v after a: the ends have different sessions", later)
				}
			}
		}
	})
}

// first is a first message of the given number, response one that answers.
func first(n byte) []byte {
	b := make([]byte, device.MessageInitiationSize)
	b[0], b[4] = device.MessageInitiationType, n
	return b
}

func response() []byte {
	b := make([]byte, device.MessageResponseSize)
	b[0] = device.MessageResponseType
	return b
}

func TestABusyDeviceAnswersBeforeWeBegin(t *testing.T) {
	for _, refused := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWire(t, "192.0.2.1:4501")
			u, ep := uncross(w), w.from
			u.know(map[string]bool{ep.DstToString(): true}, nil)
			if u.drop(first(1), ep) {
				t.Fatal("it crosses nothing")
			}
			if err := u.Send([][]byte{first(2)}, ep); err != nil {
				t.Fatal(err)
			}
			held := make(chan bool, 1)
			go func() {
				free, ok := u.hold(ep.DstToString())
				if ok {
					free()
				}
				held <- ok
			}()
			time.Sleep(answering / 2)
			if len(w.all()) > 0 || len(held) > 0 {
				t.Fatal("the device still works on the first message of the other end")
			}
			want := first(2) // when the device refused the other
			if !refused {
				want = response()
				if err := u.Send([][]byte{want}, ep); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(answering)
			if !slices.EqualFunc(w.all(), [][]byte{want}, bytes.Equal) {
				t.Errorf("refused %v: sent %v", refused, w.all())
			}
			if ok := <-held; ok != refused {
				t.Errorf("refused %v: may begin anew: %v", refused, ok)
			}
			if free, ok := u.hold(ep.DstToString()); !ok {
				t.Errorf("refused %v: the answer is old", refused)
			} else {
				free()
			}
		})
	}
}

// A Bind that is being closed waits for whoever receives, and whoever begins a session for the Bind.
func TestAFirstMessageIsNotHeldForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, "192.0.2.1:4501")
		u := uncross(w)
		if _, ok := u.hold(w.from.DstToString()); !ok {
			t.Fatal("nobody has begun")
		}
		if u.drop(first(1), w.from) { // it would block for good, which ends this test
			t.Error("it crosses nothing")
		}
	})
}
