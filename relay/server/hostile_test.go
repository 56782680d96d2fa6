package server

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
	"github.com/warren-mesh/warren/relay/internal/wsbatch"
)

func TestAnotherCertificateThanThePinnedIsRefused(t *testing.T) {
	n := newNetwork(t)
	n.serve("", "127.0.0.1:0")
	wrong := sha256.Sum256([]byte("another"))
	p := n.join(func(c *relay.ClientConfig) { c.Cert = wrong[:] })
	p.wait("it says so", func(s relay.State) bool {
		return s.Err != nil && strings.Contains(s.Err.Error(), "not the one that the network knows")
	})
	unknown := n.join(func(c *relay.ClientConfig) { c.Cert = nil }) // no public authority knows it
	unknown.wait("it says so", func(s relay.State) bool {
		return s.Err != nil && strings.Contains(s.Err.Error(), "certificate")
	})
}

func TestAnotherRelaysKeyGetsNoAnswer(t *testing.T) {
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "")
	p := n.join(func(c *relay.ClientConfig) { c.Key = key.NewRelay().Public() })
	p.wait("it says so", func(s relay.State) bool {
		return s.Err != nil && strings.Contains(s.Err.Error(), "another key")
	})
	if n.server.Sessions() != 0 {
		t.Error("there is a session")
	}
}

// dialWeb connects to the relay as a program that is no client.
func dialWeb(t *testing.T, n *network) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(context.Background(), "https://"+n.server.HTTPSAddr().String()+Path, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

func TestJunkOverWebSocketHurtsNobodyElse(t *testing.T) {
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "127.0.0.1:0")
	a, b := n.join(webOnly).connected(relay.TransportWebSocket), n.join(udpOnly).connected(relay.TransportUDP)
	ctx := context.Background()
	for _, m := range [][]byte{{}, {0}, {0, 0}, {0, 1, 1}, {0xff, 0xff, 0}, make([]byte, 1<<16)} {
		c := dialWeb(t, n)
		_ = c.Write(ctx, websocket.MessageBinary, m)
		_ = c.Write(ctx, websocket.MessageBinary, m)
	}
	c := dialWeb(t, n)
	_ = c.Write(ctx, websocket.MessageBinary, make([]byte, 1<<16+1)) // too long: the connection ends
	if _, _, err := c.Read(ctx); err == nil {
		t.Error("it was taken")
	}
	c = dialWeb(t, n)
	_ = c.Write(ctx, websocket.MessageText, []byte("hello"))
	if _, _, err := c.Read(ctx); err == nil {
		t.Error("text was taken")
	}
	a.reaches(b, "through")
	b.reaches(a, "and back")
}

// TestAFrozenReceiverCostsABoundedQueue fills a WebSocket client that reads nothing, and shows that another pair goes on.
func TestAFrozenReceiverCostsABoundedQueue(t *testing.T) {
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "127.0.0.1:0")
	a, b := n.join(udpOnly).connected(relay.TransportUDP), n.join(udpOnly).connected(relay.TransportUDP)
	cfg := n.config(key.NewNode())
	webOnly(&cfg)
	frozen := startWith(t, cfg, func(*peer) {}).connected(relay.TransportWebSocket)

	packets := make([][]byte, 64)
	for i := range packets {
		packets[i] = make([]byte, 1400, 1500)
	}
	limit := time.Now().Add(deadline)
	for n.server.hub.count.dropped.Load() == 0 {
		_ = a.Send(frozen.node.Public(), packets)
		if time.Now().After(limit) {
			t.Fatalf("nothing was dropped; %+v", a.State())
		}
	}
	a.reaches(b, "meanwhile")
}

// joinRaw joins over a WebSocket by hand, and reads nothing from then on.
func joinRaw(t *testing.T, n *network, node key.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	c := dialWeb(t, n)
	ask := func(frame []byte) []byte {
		err := c.Write(ctx, websocket.MessageBinary, append([]byte{byte(len(frame) >> 8), byte(len(frame))}, frame...))
		_, answer, err2 := c.Read(ctx)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		return answer[2:]
	}
	cookie, ok := relay.ParseChallenge(ask(relay.AppendHello(nil, n.key.Public(), relay.Nonce{1})), relay.Nonce{1})
	shared, err := node.Shared(n.key.Public())
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, ok := relay.OpenWelcome(ask(relay.AppendJoin(nil, shared, cookie, n.ticket(node))), shared, cookie); !ok {
		t.Fatal("no welcome")
	}
}

// frozen has a relay write to a client that reads nothing, until the system takes no more.
func frozen(t *testing.T) *network {
	t.Helper()
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "127.0.0.1:0")
	a, frozen := n.join(udpOnly).connected(relay.TransportUDP), key.NewNode()
	joinRaw(t, n, frozen)
	packets := make([][]byte, 64)
	for i := range packets {
		packets[i] = make([]byte, 1400, 1500)
	}
	limit := time.Now().Add(deadline)
	for n.server.hub.count.dropped.Load() < 20_000 { // 28 MB: more than the system takes for a connection
		_ = a.Send(frozen.Public(), packets)
		if time.Now().After(limit) {
			t.Fatalf("only %d were dropped", n.server.hub.count.dropped.Load())
		}
	}
	return n
}

func TestAFrozenReceiverIsGivenUp(t *testing.T) {
	n := frozen(t)
	limit := time.Now().Add(2 * writeTime) // far below the time for which one that says nothing is remembered
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n.server.Sessions() > 1 {
		if <-tick.C; time.Now().After(limit) {
			t.Fatal("it still has its session")
		}
	}
}

func TestTheEndWaitsForNoFrozenReceiver(t *testing.T) {
	n := frozen(t)
	begun := time.Now()
	n.stop()
	took := time.Since(begun)
	t.Logf("the relay took %v to stop (a client has %v)", took, stopTime)
	if took > writeTime/2 { // without its cut it would wait until the client's message is given up
		t.Error("the relay waits for the client")
	}
}

func TestAFloodOfWebSocketsKeepsNobodyOut(t *testing.T) {
	n := newNetwork(t)
	n.serve("", "127.0.0.1:0")
	first := dialWeb(t, n)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range maxStrangers / 8 {
				dialWeb(t, n)
			}
		})
	}
	wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if _, _, err := first.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("the first of them: %v", err)
	}
	a, b := n.join(webOnly).connected(relay.TransportWebSocket), n.join(webOnly).connected(relay.TransportWebSocket)
	a.reaches(b, "through")
}

// Where a flood comes faster than those without a session are ended for their age, the oldest goes for each that is too many.
func TestOneStrangerTooManyEndsTheOldest(t *testing.T) {
	var all strangers
	connect := func() (ws *webSocket, remove func()) {
		ws = &webSocket{queue: wsbatch.NewIdleQueue(func() {})}
		return ws, all.add(ws)
	}
	ended := func(ws *webSocket) bool {
		_, is := ws.queue.Take(nil)
		return is
	}
	first, _ := connect()
	second, joins := connect()
	third, _ := connect()
	for range maxStrangers - 3 {
		connect()
	}
	if ended(first) {
		t.Fatal("control: nobody is too many")
	}
	joins()
	connect()
	if ended(first) {
		t.Error("who has joined still counts")
	}
	connect()
	connect()
	if !ended(first) || ended(second) || !ended(third) || all.list.Len() != maxStrangers {
		t.Errorf("of the first three %v %v %v ended, and %d are there", ended(first), ended(second), ended(third), all.list.Len())
	}
}

func TestAWebSocketThatDoesNotJoinIsClosed(t *testing.T) {
	n := newNetwork(t)
	n.serve("", "127.0.0.1:0")
	c := dialWeb(t, n)
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if _, _, err := c.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("got %v", err)
	}
}

// TestJunkOverUDPGetsNoAnswer is on a real socket; a STUN request after it shows that an answer would have come.
func TestJunkOverUDPGetsNoAnswer(t *testing.T) {
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "")
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(n.server.UDPAddr()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for kind := range 256 {
		for _, size := range []int{1, 9, 17, 20, 33, 64, 200, 1400} {
			b := make([]byte, size)
			b[size-1] = byte(kind)
			_, _ = c.Write(b)
		}
	}
	_, _ = c.Write(relay.AppendSTUNRequest(nil, relay.STUNTransaction{9}))
	_ = c.SetReadDeadline(time.Now().Add(deadline))
	b := make([]byte, 2000)
	size, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if id, addr, ok := relay.ParseSTUNResponse(b[:size]); !ok || id != (relay.STUNTransaction{9}) || addr.Port() != uint16(c.LocalAddr().(*net.UDPAddr).Port) {
		t.Errorf("junk got an answer: %x", b[:size])
	}
}
