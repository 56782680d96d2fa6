package tunnel

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
)

// late is a Bind with a way to go: what it sends arrives some milliseconds later, in order.
type late struct {
	conn.Bind
	once sync.Once
	wg   sync.WaitGroup
	way  chan func()
}

func newLate() *late {
	l := &late{Bind: conn.NewStdNetBind(), way: make(chan func(), 1000)}
	l.wg.Go(func() {
		for deliver := range l.way {
			deliver()
		}
	})
	return l
}

func (l *late) Send(bufs [][]byte, ep conn.Endpoint) error {
	sent := make([][]byte, len(bufs))
	for i, b := range bufs {
		sent[i] = slices.Clone(b)
	}
	due := time.After(5 * time.Millisecond)
	l.way <- func() { <-due; _ = l.Bind.Send(sent, ep) }
	return nil
}

// end waits for what is under way. (Close of a Bind is also a part of its opening.)
func (l *late) end() { l.once.Do(func() { close(l.way) }); l.wg.Wait() }

// pair makes two tunnels that know each other, a few milliseconds apart.
func pair(t testing.TB) (a, b *Tunnel) {
	t.Helper()
	la, lb := newLate(), newLate()
	t.Cleanup(la.end) // after the tunnels
	t.Cleanup(lb.end)
	a = newTunnel(t, Config{Name: "wa0", Port: 4501, SkipUAPI: true, Bind: la})
	b = newTunnel(t, Config{Name: "wb0", Port: 4502, SkipUAPI: true, Bind: lb})
	set(t, a, Peer{Key: b.self, AllowedIPs: prefixes("100.64.0.2/32"), Endpoint: "127.0.0.1:4502"})
	set(t, b, Peer{Key: a.self, AllowedIPs: prefixes("100.64.0.1/32"), Endpoint: "127.0.0.1:4501"})
	return a, b
}

// handshake waits for one that is later than since at both ends, and says how long that took.
func handshake(t testing.TB, a, b *Tunnel, since time.Time) time.Duration {
	t.Helper()
	start := time.Now()
	for end := start.Add(10 * time.Second); time.Now().Before(end); {
		if stats(t, a)[b.self].LastHandshake.After(since) && stats(t, b)[a.self].LastHandshake.After(since) {
			return time.Since(start)
		}
		<-time.After(time.Millisecond)
	}
	t.Fatal("there is no session")
	return 0
}

// pace keeps handshakes as far apart as the receiver wants them: it takes one in 20 ms from a peer, and its replay
// protection tells only times that are some 17 ms apart.
func pace() { <-time.After(50 * time.Millisecond) }

func TestWakeMakesASessionAndRehandshakeANewOne(t *testing.T) {
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
		if took := handshake(t, a, b, before); took > 2*time.Second {
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
	if took := handshake(t, a, b, before); took > 2*time.Second {
		t.Errorf("with the next packet the new session took %v", took)
	}
	if err := errors.Join(a.Wake(a.self)); !errors.Is(err, ErrNoPeer) {
		t.Errorf("a stranger: %v", err)
	}
}

// Without the rule about who goes first, every other one of these would wait for 5 s. With it, one does where the
// machine is so busy that a packet is under way for longer than the rule allows for.
func TestHandshakesOfBothEndsAtOnceMakeASession(t *testing.T) {
	a, b := pair(t)
	const trials, most = 30, 5
	waited := 0
	defer func() {
		if waited > most {
			t.Errorf("%d of %d had to wait for WireGuard's next try", waited, trials)
		}
	}()
	for range trials {
		pace()
		before := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { _ = a.Rehandshake(b.self) })
		wg.Go(func() { _ = b.Rehandshake(a.self) })
		wg.Wait()
		if handshake(t, a, b, before) > 2*time.Second {
			waited++
		}
		for _, end := range []struct{ from, to *Tunnel }{{a, b}, {b, a}} {
			// What is sent at either end is received at the other: the sessions are one.
			rx := stats(t, end.to)[end.from.self].Rx
			if err := end.from.Wake(end.to.self); err != nil {
				t.Fatal(err)
			}
			for start := time.Now(); stats(t, end.to)[end.from.self].Rx == rx; {
				if time.Since(start) > 20*time.Second {
					t.Fatal("the ends have different sessions")
				}
				<-time.After(time.Millisecond)
			}
		}
	}
}

// A Bind that is being closed waits for whoever receives, and whoever begins a session for the Bind.
func TestAFirstMessageIsNotHeldForGood(t *testing.T) {
	u := uncross(conn.NewStdNetBind())
	ep, err := u.ParseEndpoint("127.0.0.1:4501")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := u.hold(ep.DstToString()); !ok {
		t.Fatal("nobody has begun")
	}
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		first := make([]byte, device.MessageInitiationSize)
		first[0] = device.MessageInitiationType
		u.drop(first, ep)
	}()
	select {
	case <-passed:
	case <-time.After(time.Minute):
		t.Fatal("it is held for good")
	}
}
