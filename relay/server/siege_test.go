package server

import (
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

// besieged starts a relay in a process of its own and a pair that talks through it.
func besieged(t *testing.T, by relay.Transport) (p *relayProcess, a, b *peer) {
	t.Helper()
	n := newNetwork(t)
	p = startProcess(t, n, false)
	t.Cleanup(func() { p.stop() })
	a, b = n.join(p.by(t, by)).connected(by), n.join(p.by(t, by)).connected(by)
	a.reaches(b, "before")
	b.reaches(a, "before")
	return p, a, b
}

// losses sends a packet every two milliseconds until the end, and gives how many of them did not arrive.
func losses(t *testing.T, a, b *peer, end <-chan struct{}) (lost, sent int) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	to := b.node.Public()
	got := map[string]bool{}
	for going := true; going; {
		select {
		case <-end:
			going = false
		case m := <-b.got:
			got[m.text] = true
		case <-tick.C:
			_ = a.Send(to, [][]byte{fmt.Appendf(nil, "packet %d", sent)})
			sent++
		}
	}
	for more := true; more; {
		select {
		case m := <-b.got:
			got[m.text] = true
		case <-time.After(time.Second):
			more = false
		}
	}
	for i := range sent {
		if !got[fmt.Sprintf("packet %d", i)] {
			lost++
		}
	}
	return lost, sent
}

// floods is how often a flood is tried until it costs nothing: a busy host, which lets the flood run and not the relay for
// some milliseconds, loses packets in the kernel. What the relay itself loses, it loses each time.
const floods = 5

// TestAFloodOfJunkCostsAPairNothing sends datagrams of all kinds that prove nothing, as fast as one program can.
func TestAFloodOfJunkCostsAPairNothing(t *testing.T) {
	p, a, b := besieged(t, relay.TransportUDP)
	for range floods {
		before := a.State().Connects
		lost, sent, junk := flooded(t, p, a, b)
		again := a.State().Connects - before
		t.Logf("%d of %d packets lost below %d datagrams of junk, and the session opened %d times more", lost, sent, junk, again)
		if lost*100 <= sent && again == 0 {
			return
		}
	}
	t.Errorf("each of %d floods cost more than one packet in a hundred, or the session", floods)
}

// flooded sends junk to the relay for three seconds, and tells what became of the pair's packets meanwhile.
func flooded(t *testing.T, p *relayProcess, a, b *peer) (lost, sent, junk int) {
	t.Helper()
	end := make(chan struct{})
	var flood sync.WaitGroup
	flood.Go(func() {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(p.udp))
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		b := make([]byte, 1400)
		_, _ = rand.Read(b)
		node := key.NewNode()
		hello := relay.AppendHello(nil, key.NewRelay().Public(), relay.Nonce{1})
		for i := 0; ; i++ {
			select {
			case <-end:
				return
			default:
			}
			d := b[:1+i%1400]
			d[len(d)-1] = byte(i % 16)
			switch i % 3 {
			case 0:
				d = hello
			case 1:
				d = relay.AppendTrailer(d[:i%1000+1:i%1000+1], relay.AddressOf([32]byte(node.Bytes())), relay.Tag{byte(i)})
			}
			if _, err := c.Write(d); err == nil {
				junk++
			}
		}
	})
	time.AfterFunc(3*time.Second, func() { close(end) })
	lost, sent = losses(t, a, b, end)
	flood.Wait()
	return lost, sent, junk
}

// TestARelayThatStoodStillGoesOn stops the process until its clients have given it up, as a host does that is suspended or out
// of memory. What they sent meanwhile all comes at once; and then it serves whoever is there.
func TestARelayThatStoodStillGoesOn(t *testing.T) {
	for _, by := range []relay.Transport{relay.TransportUDP, relay.TransportWebSocket} {
		t.Run(string(by), func(t *testing.T) {
			p, a, b := besieged(t, by)
			signal := func(s syscall.Signal) {
				t.Helper()
				if err := p.cmd.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
			}
			signal(syscall.SIGSTOP)
			defer signal(syscall.SIGCONT)
			for _, who := range []*peer{a, b} {
				who.waitFor(time.Minute, "it gives the relay up", func(s relay.State) bool {
					_ = who.Send(a.node.Public(), [][]byte{[]byte("into the void")})
					return !s.Connected
				})
			}
			signal(syscall.SIGCONT)
			for _, who := range []*peer{a, b} {
				who.waitFor(time.Minute, "connected again", func(s relay.State) bool { return s.Connected })
			}
			a.reaches(b, "after")
			b.reaches(a, "and back")
		})
	}
}

// slow is how many connections that never say anything whole a relay has to bear.
const slow = 5000

// TestSlowConnectionsCostBoundedMemory opens connections that say nothing, half of a TLS handshake, or half of a request a
// byte at a time, and leaves them open.
func TestSlowConnectionsCostBoundedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	p, a, b := besieged(t, relay.TransportWebSocket)
	before := p.rss(t)
	var conns []net.Conn
	var mu sync.Mutex
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	var dialing sync.WaitGroup
	for part := range 10 {
		dialing.Go(func() {
			for i := range slow / 10 {
				c, err := net.Dial("tcp", p.web.String())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				conns = append(conns, c)
				mu.Unlock()
				switch {
				case i%3 == 1:
					_, _ = c.Write([]byte{22, 3, 1, 2, 0, 1, 0}) // of a handshake's 512 bytes
				case part == 0 && i%3 == 2: // few, since both ends are ours: each costs a handshake
					s := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
					_ = s.SetDeadline(time.Now().Add(deadline))
					_, _ = s.Write([]byte("GET /relay HTTP/1.1\r\nHost: x\r\nUpgr"))
				}
			}
		})
	}
	dialing.Wait()
	most := p.rss(t)
	t.Logf("%d connections: %.1f MiB, and before them %.1f", len(conns), float64(most)/(1<<20), float64(before)/(1<<20))
	// 15 KiB each; the race detector makes it four times that.
	if each := (most - before) / slow; each > 128<<10 {
		t.Errorf("each connection costs %d bytes", each)
	}
	a.reaches(b, "meanwhile")
	for _, c := range conns { // all are ended, without a word of ours
		_ = c.SetReadDeadline(time.Now().Add(deadline))
		for {
			if _, err := c.Read(make([]byte, 4096)); err != nil {
				if e, ok := err.(net.Error); ok && e.Timeout() {
					t.Fatal("a connection that says nothing is still open")
				}
				break
			}
		}
	}
	b.reaches(a, "after")
}
