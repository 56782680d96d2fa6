package server

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

// benchPacket is a full packet of a tunnel whose MTU is 1,420 bytes.
const benchPacket = 1452

// BenchmarkForwardRun measures the decision alone: a received run of 40 packets, rewritten for another client.
func BenchmarkForwardRun(b *testing.B) {
	f, issuer := newHubTest()
	a, c := newScript(b, f, issuer, "192.0.2.1:1"), newScript(b, f, issuer, "192.0.2.2:2")
	a.join()
	c.join()
	f.out = &counter{}
	const packets = 40
	to, back := relay.AddressOf(c.node.Public()), a.tag
	run := make([]byte, packets*(benchPacket+relay.Overhead))
	b.SetBytes(packets * benchPacket)
	b.ReportAllocs()
	for b.Loop() {
		for i := range packets {
			relay.Readdress(run[:(i+1)*(benchPacket+relay.Overhead)], to, back)
			run[(i+1)*(benchPacket+relay.Overhead)-1] = byte(relay.TypeData)
		}
		f.begin(begun)
		f.run(origin{addr: a.addr}, run, benchPacket+relay.Overhead)
		f.end()
	}
}

// BenchmarkRelay sends through a relay over loopback as fast as it takes it, with a window as TCP has one. Client,
// relay and client share the machine; cpu-s/GB is of all three.
func BenchmarkRelay(b *testing.B) {
	for _, c := range []struct {
		name   string
		change func(*relay.ClientConfig)
		by     relay.Transport
		single bool
	}{
		{"UDP", udpOnly, relay.TransportUDP, false},
		{"UDP without offloads", udpOnly, relay.TransportUDP, true},
		{"WebSocket", webOnly, relay.TransportWebSocket, false},
	} {
		b.Run(c.name, func(b *testing.B) { benchRelay(b, c.change, c.by, c.single) })
	}
}

func benchRelay(b *testing.B, change func(*relay.ClientConfig), by relay.Transport, single bool) {
	n := newNetwork(b)
	n.serve("127.0.0.1:0", "127.0.0.1:0")
	if single {
		n.server.singly()
	}
	benchClients(b, n, change, by)
}

// singly makes the relay receive and send each datagram by itself.
func (s *Server) singly() {
	for _, c := range s.udp {
		c.DisableOffloads()
	}
}

// benchClients gives how many packets came through.
func benchClients(b *testing.B, n *network, change func(*relay.ClientConfig), by relay.Transport) float64 {
	from := n.join(change).connected(by)
	cfg := n.config(key.NewNode())
	change(&cfg)
	sink := newSink(b, cfg)
	defer sink.end()
	for sink.got.Load() == 0 {
		_ = from.Send(cfg.Node.Public(), [][]byte{make([]byte, benchPacket)})
		sink.waitFor(1, 10*time.Millisecond)
	}
	const batch, window = 64, 512
	packets := make([][]byte, batch)
	for i := range packets {
		packets[i] = make([]byte, benchPacket, benchPacket+relay.Overhead)
	}
	to := cfg.Node.Public()
	start, sent, lost := sink.got.Load(), int64(0), int64(0)
	cpu := cpuTime()
	b.SetBytes(benchPacket)
	b.ResetTimer()
	for sent < int64(b.N) {
		_ = from.Send(to, packets)
		sent += batch
		if !sink.waitFor(start+sent-lost-window, 50*time.Millisecond) {
			lost = sent - (sink.got.Load() - start)
		}
	}
	sink.waitFor(start+sent-lost, 50*time.Millisecond)
	b.StopTimer()
	got := float64(sink.got.Load() - start)
	b.ReportMetric((cpuTime()-cpu).Seconds()/(got*benchPacket/1e9), "cpu-s/GB")
	b.ReportMetric(100*(1-got/float64(sent)), "%lost")
	return got
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// sink is a client that only counts.
type sink struct {
	*peer
	got  atomic.Int64
	more chan struct{}
}

func newSink(b *testing.B, cfg relay.ClientConfig) *sink {
	s := &sink{more: make(chan struct{}, 1)}
	s.peer = startWith(b, cfg, func(p *peer) {
		bufs, sizes, from := make([][]byte, 128), make([]int, 128), make([]relay.Address, 128)
		for i := range bufs {
			bufs[i] = make([]byte, 2000)
		}
		for {
			n, err := p.Receive(bufs, sizes, from)
			if err != nil {
				return
			}
			s.got.Add(int64(n))
			select {
			case s.more <- struct{}{}:
			default:
			}
		}
	})
	return s
}

// waitFor waits until n packets have come, or none for the time.
func (s *sink) waitFor(n int64, patience time.Duration) bool {
	for s.got.Load() < n {
		select {
		case <-s.more:
		case <-time.After(patience):
			return false
		}
	}
	return true
}
