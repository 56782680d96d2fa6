package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

const (
	// idlers is how many clients BenchmarkIdleClients has, and idleFor and idleForWeb how long it watches them: as long as
	// each takes for one keepalive.
	idlers     = 10_000
	idleFor    = 25 * time.Second
	idleForWeb = 40 * time.Second
	// echoes is how many round trips between two active clients are measured.
	echoes = 1000
)

// idler is a client without a goroutine or a buffer of its own, so that ten thousand fit beside the relay.
type idler struct {
	send    func([]byte) error
	receive func() ([]byte, error)
	shared  key.Shared
	tag     relay.Tag
	counter uint64
}

func (i *idler) ask(frame []byte) ([]byte, error) {
	if err := i.send(frame); err != nil {
		return nil, err
	}
	return i.receive()
}

// join opens the session.
func (i *idler) join(n *network, node key.Node) error {
	shared, err1 := node.Shared(n.key.Public())
	answer, err2 := i.ask(relay.AppendHello(nil, n.key.Public(), relay.Nonce{1}))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	cookie, ok := relay.ParseChallenge(answer, relay.Nonce{1})
	if !ok {
		return errors.New("no challenge")
	}
	if answer, err2 = i.ask(relay.AppendJoin(nil, shared, cookie, n.ticket(node))); err2 != nil {
		return err2
	}
	w, ok := relay.OpenWelcome(answer, shared, cookie)
	if !ok {
		return errors.New("no welcome")
	}
	i.shared, i.tag = shared, w.Tag
	return nil
}

func (i *idler) ping() error {
	i.counter++
	answer, err := i.ask(relay.AppendPing(nil, i.shared, i.tag, relay.Ping{Counter: i.counter}))
	if err == nil && relay.TypeOf(answer) != relay.TypePong {
		err = errors.New("no pong")
	}
	return err
}

func dialIdler(p *relayProcess, by relay.Transport) (*idler, func(), error) {
	if by == relay.TransportUDP {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(p.udp))
		if err != nil {
			return nil, nil, err
		}
		return &idler{
			send: func(b []byte) error { _, err := c.Write(b); return err },
			receive: func() ([]byte, error) {
				_ = c.SetReadDeadline(time.Now().Add(deadline))
				b := make([]byte, 2048)
				n, err := c.Read(b)
				return b[:n], err
			},
		}, func() { _ = c.Close() }, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ReadBufferSize: 512, WriteBufferSize: 512}
	c, _, err := websocket.Dial(ctx, "https://"+p.web.String()+Path, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return nil, nil, err
	}
	return &idler{
		send: func(b []byte) error {
			return c.Write(context.Background(), websocket.MessageBinary, append([]byte{byte(len(b) >> 8), byte(len(b))}, b...))
		},
		receive: func() ([]byte, error) {
			_, b, err := c.Read(context.Background())
			return b[min(2, len(b)):], err
		},
	}, func() { _ = c.CloseNow() }, nil
}

// BenchmarkIdleClients has clients that only keep their sessions, and measures what they cost the relay, and how long a
// packet and its answer take between two that are active meanwhile.
func BenchmarkIdleClients(b *testing.B) {
	for _, by := range []relay.Transport{relay.TransportUDP, relay.TransportWebSocket} {
		b.Run(string(by), func(b *testing.B) { benchIdle(b, by) })
	}
}

func benchIdle(b *testing.B, by relay.Transport) {
	n := newNetwork(b)
	p := startProcess(b, n, false)
	defer p.stop()
	x, y := n.join(p.by(b, by)).connected(by), n.join(p.by(b, by)).connected(by)
	x.reaches(y, "before")
	y.reaches(x, "before")
	before := p.rss(b)
	all := make([]*idler, idlers)
	var joining sync.WaitGroup
	for part := range 8 {
		joining.Go(func() {
			kept := time.Now()
			for i := part; i < idlers; i += 8 {
				is, closing, err := dialIdler(p, by)
				if err == nil {
					b.Cleanup(closing)
					err = is.join(n, key.NewNode())
				}
				all[i] = is
				for j := part; err == nil && j <= i && time.Since(kept) > idleTime/3; j += 8 { // the first must not be forgotten
					err = all[j].ping()
					if j+8 > i {
						kept = time.Now()
					}
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	joining.Wait()
	if b.Failed() {
		return
	}
	// Each pings once, evenly over the time.
	during := idleFor
	if by == relay.TransportWebSocket {
		during = idleForWeb
	}
	spent, begun := p.cpu(b), time.Now()
	for i, is := range all {
		time.Sleep(time.Until(begun.Add(time.Duration(i) * during / idlers)))
		if err := is.ping(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(p.rss(b)-before)/1024/idlers, "KiB/client")
	b.ReportMetric(100*(p.cpu(b)-spent).Seconds()/time.Since(begun).Seconds(), "%cpu-idle")

	var trips []time.Duration
	for range echoes {
		sent := time.Now()
		x.reaches(y, "there")
		y.reaches(x, "back")
		trips = append(trips, time.Since(sent))
	}
	slices.Sort(trips)
	b.ReportMetric(float64(trips[echoes*99/100].Microseconds())/1000, "ms-echo-p99")
	b.ReportMetric(0, "ns/op")
}
