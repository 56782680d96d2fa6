package sock

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/tun/tuntest"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/daemon/internal/peerpath"
	"github.com/warren-mesh/warren/relay"
)

func pingPacket(to, from *node) []byte { return tuntest.Ping(to.addr, from.addr) }

func stdEndpoint(i int) *conn.StdNetEndpoint {
	return &conn.StdNetEndpoint{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(1+i))}
}

// loopTest is a loop that does not run, with one peer.
type loopTest struct {
	*loop
	first key.NodePublic
}

func testLoop() loopTest {
	s := New(Config{Node: key.NewNode(), Disco: key.NewDisco()})
	l := &loop{
		Sock: s, now: time.Now(), start: func(func(context.Context)) {},
		peers: make(map[key.NodePublic]*peer), active: make(map[*peer]struct{}),
	}
	t := loopTest{l, key.NewNode().Public()}
	l.setPeers([]Peer{{Key: t.first, Disco: key.NewDisco().Public()}})
	return t
}

// nullBind is a Bind that sends nowhere and receives the same batch again and again.
type nullBind struct {
	conn.Bind
	sent int
}

func (b *nullBind) Send(bufs [][]byte, _ conn.Endpoint) error {
	b.sent += len(bufs)
	return nil
}

func dataPackets(n, size int) [][]byte {
	bufs := make([][]byte, n)
	for i := range bufs {
		bufs[i] = make([]byte, size, size+spare)
		bufs[i][0] = 4
	}
	return bufs
}

func sendRig() (*bind, *Endpoint, *nullBind) {
	l := testLoop()
	null := &nullBind{}
	l.bind.Bind = null
	e := l.peers[l.first].ep
	to := stdEndpoint(1)
	e.path.Store(&path{addr: to.AddrPort, direct: to})
	return &l.bind, e, null
}

func receiveRig(n int) (conn.ReceiveFunc, [][]byte, []int, []conn.Endpoint) {
	l := testLoop()
	from := stdEndpoint(1)
	l.admit(l.peers[l.first], from, true)
	bufs, sizes, eps := dataPackets(n, 1400), make([]int, n), make([]conn.Endpoint, n)
	var ep conn.Endpoint = from
	return l.receiveUDP(func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		for i := range bufs {
			sizes[i], eps[i] = len(bufs[i]), ep
		}
		return len(bufs), nil
	}), bufs, sizes, eps
}

func TestThePathOfAPacketAllocatesNothing(t *testing.T) {
	b, e, _ := sendRig()
	bufs := dataPackets(conn.IdealBatchSize, 1400)
	if n := testing.AllocsPerRun(100, func() { _ = b.Send(bufs, e) }); n > 0 {
		t.Errorf("Send: %v allocations for a batch", n)
	}
	receive, bufs, sizes, eps := receiveRig(conn.IdealBatchSize)
	if n := testing.AllocsPerRun(100, func() { _, _ = receive(bufs, sizes, eps) }); n > 0 {
		t.Errorf("Receive: %v allocations for a batch", n)
	}
	if eps[0] != conn.Endpoint(eps[1]) || sizes[0] != 1400 {
		t.Errorf("%v, %d", eps[0], sizes[0])
	}
}

func TestTrafficWakesTheLoopOnce(t *testing.T) {
	b, e, _ := sendRig()
	bufs := dataPackets(1, 1400)
	for range 1000 {
		_ = b.Send(bufs, e)
	}
	if n := len(b.sock.notes); n != 1 {
		t.Errorf("%d notes", n)
	}
}

func TestAnIdleMachineHasNoDeadline(t *testing.T) {
	l := testLoop()
	l.now = time.Now()
	p := l.peers[l.first]
	l.step(p, peerpath.Relay{ID: 1, Up: true})
	l.step(p, peerpath.Sent{})
	for range 1000 {
		next := l.deadline()
		if next.IsZero() {
			break
		}
		l.now = next
		l.due()
	}
	if d := l.deadline(); !d.IsZero() || len(l.active) > 0 || p.ep.traffic.Load() != idle {
		t.Errorf("deadline %v, %d active, traffic %d", d, len(l.active), p.ep.traffic.Load())
	}
}

func BenchmarkSend(b *testing.B) {
	bind, e, _ := sendRig()
	bufs := dataPackets(conn.IdealBatchSize, 1400)
	b.ReportAllocs()
	for b.Loop() {
		_ = bind.Send(bufs, e)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(bufs)), "ns/packet")
}

func BenchmarkReceive(b *testing.B) {
	receive, bufs, sizes, eps := receiveRig(conn.IdealBatchSize)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = receive(bufs, sizes, eps)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(bufs)), "ns/packet")
}

// A relay is joined by a way only that carries packets of the size that is then sent by it.
func TestAFullPacketIsTheRelaysToo(t *testing.T) {
	if fullSize != relay.FullPacket {
		t.Errorf("%d bytes are sent through a relay, and %d tried", fullSize, relay.FullPacket)
	}
}
