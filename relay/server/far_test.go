package server

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/warren-mesh/warren/relay"
)

// farWay is the way to a relay, one direction, on a crowded mobile line.
const farWay = 700 * time.Millisecond

// farTCP gives an address from which everything takes farWay to another, and back.
func farTCP(t *testing.T, to string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	carry := func(from, to net.Conn) {
		type part struct {
			at time.Time
			b  []byte
		}
		way := make(chan part, 1000)
		work.Go(func() {
			defer close(way)
			for {
				b := make([]byte, 1<<14)
				n, err := from.Read(b)
				if err != nil {
					return
				}
				way <- part{time.Now().Add(farWay), b[:n]}
			}
		})
		work.Go(func() {
			defer func() { _, _ = from.Close(), to.Close() }()
			for p := range way {
				time.Sleep(time.Until(p.at))
				_, _ = to.Write(p.b)
			}
		})
	}
	work.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				time.Sleep(2 * farWay) // as long as TCP's own beginning takes
				out, err := net.Dial("tcp", to)
				if err != nil {
					_ = in.Close()
					return
				}
				carry(in, out)
				carry(out, in)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); work.Wait() })
	return l.Addr().String()
}

// Over a line on which each round trip takes 1.4 seconds a session is opened all the same, and stays.
func TestAFarRelayIsJoined(t *testing.T) {
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "127.0.0.1:0")
	near := n.join(udpOnly).connected(relay.TransportUDP)
	for _, c := range []struct {
		by     relay.Transport
		change func(*relay.ClientConfig)
	}{
		{relay.TransportUDP, func(cfg *relay.ClientConfig) {
			f := newForwarder(t, n.server.UDPAddr())
			f.far(farWay)
			cfg.UDP, cfg.URL = f.addr().String(), ""
		}},
		{relay.TransportWebSocket, func(cfg *relay.ClientConfig) {
			cfg.UDP, cfg.URL = "", fmt.Sprintf("https://%s%s", farTCP(t, n.server.HTTPSAddr().String()), Path)
		}},
	} {
		p := n.join(c.change)
		took := p.waitFor(time.Minute, "connected by "+string(c.by), func(s relay.State) bool { return s.Connected })
		t.Logf("%s: connected after %v", c.by, took.Round(time.Millisecond))
		for range 2 {
			p.reaches(near, string(c.by))
		}
		if s := p.State(); s.Connects != 1 {
			t.Errorf("%s: the session was opened %d times", c.by, s.Connects)
		}
	}
}
