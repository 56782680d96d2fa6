package sock

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/warren-mesh/warren/relay"
)

// liar stands between a node and its relay, and does all that a malicious relay can: it flips, repeats, delays, drops,
// swaps and makes up frames, and says of nodes that they are not there.
type liar struct {
	inside *net.UDPConn
	work   sync.WaitGroup

	mu     sync.Mutex
	honest bool
	random *rand.Rand
	past   [][]byte // frames of either direction
	lies   int
}

func newLiar(t *testing.T, relay string) *liar {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", relay)
	if err != nil {
		t.Fatal(err)
	}
	inside, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{inside: inside, honest: true, random: rand.New(rand.NewPCG(1, 2))}
	l.work.Go(func() { l.serve(to) })
	t.Cleanup(func() { _ = inside.Close(); l.work.Wait() })
	return l
}

// serve gives each of the machine's sockets a way of its own, as a NAT does: it also asks by STUN.
func (l *liar) serve(to *net.UDPAddr) {
	ways := map[netip.AddrPort]*net.UDPConn{}
	defer func() {
		for _, way := range ways {
			_ = way.Close()
		}
	}()
	b := make([]byte, 1<<16)
	for {
		n, from, err := l.inside.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		way := ways[from]
		if way == nil {
			if way, err = net.DialUDP("udp", nil, to); err != nil {
				return
			}
			ways[from] = way
			l.work.Go(func() {
				b := make([]byte, 1<<16)
				for {
					n, err := way.Read(b)
					if err != nil {
						return
					}
					l.pass(b[:n], func(b []byte) { _, _ = l.inside.WriteToUDPAddrPort(b, from) })
				}
			})
		}
		l.pass(b[:n], func(b []byte) { _, _ = way.Write(b) })
	}
}

func (l *liar) pass(b []byte, write func([]byte)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.honest {
		write(b)
	} else {
		l.lie(bytes.Clone(b), write)
	}
}

// lie passes a frame on, perhaps.
func (l *liar) lie(b []byte, write func([]byte)) {
	if l.past = append(l.past, bytes.Clone(b)); len(l.past) > 100 {
		l.past = l.past[1:]
	}
	l.lies++
	switch l.random.IntN(8) {
	case 0: // nothing
	case 1:
		b[l.random.IntN(len(b))] ^= 1 << l.random.IntN(8)
		write(b)
	case 2:
		write(b)
		write(b)
	case 3:
		write(l.past[l.random.IntN(len(l.past))]) // also one of the other direction
	case 4:
		for _, old := range slices.Backward(l.past[max(0, len(l.past)-5):]) {
			write(old)
		}
	case 5:
		if tag, ok := relay.TagOf(b); ok { // made up, with the session's own tag
			made := make([]byte, 1+l.random.IntN(200))
			for i := range made {
				made[i] = byte(l.random.Uint32())
			}
			write(relay.AppendTrailer(made, relay.Address(bytes.Repeat([]byte{made[0]}, relay.AddressSize)), tag))
		}
		write(b)
	case 6:
		if _, addr, tag, ok := relay.SplitData(b); ok {
			write(relay.AppendAbsent(nil, addr, tag))
		}
		write(b)
	default:
		write(b)
		l.lies--
	}
}

func (l *liar) be(honest bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.honest = honest
}

// numbered is an IPv4 packet of a protocol for experiments (RFC 3692) with a number in it.
func numbered(to, from netip.Addr, n uint32) []byte {
	b := make([]byte, 20+64)
	b[0], b[8], b[9] = 0x45, 64, 253
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	for i := 20; i < len(b); i += 4 {
		binary.BigEndian.PutUint32(b[i:], n)
	}
	return b
}

// TestAMaliciousRelayChangesNothingButWhatGetsThrough sends numbered packets through liars: what arrives is as it was sent,
// at most once, and from whom it says. When they stop lying, all is well.
func TestAMaliciousRelayChangesNothingButWhatGetsThrough(t *testing.T) {
	w := newWorld(t, "udp")
	real := w.relays[0].UDP
	var liars []*liar
	var nodes []*node
	for range 2 { // each has its own way to the relay
		l := newLiar(t, real)
		w.relays[0].UDP, w.relays[0].URL = l.inside.LocalAddr().String(), ""
		liars, nodes = append(liars, l), append(nodes, w.node(false).home())
	}
	a, b := nodes[0], nodes[1]
	a.know(b)
	b.know(a)
	a.reaches(b)
	b.reaches(a)
	for _, l := range liars {
		l.be(false)
	}
	const packets = 1000
	got := map[uint32]int{}
	take := func(p []byte) {
		n := binary.BigEndian.Uint32(p[20:])
		if !bytes.Equal(p, numbered(b.addr, a.addr, n)) || n >= packets {
			t.Errorf("a packet that nobody sent: %x", p)
		}
		got[n]++
	}
	for n := range uint32(packets) {
		a.tun.Outbound <- numbered(b.addr, a.addr, n)
		select {
		case p := <-b.tun.Inbound:
			take(p)
		case <-time.After(time.Millisecond):
		}
	}
	for more := true; more; {
		select {
		case p := <-b.tun.Inbound:
			take(p)
		case <-time.After(500 * time.Millisecond):
			more = false
		}
	}
	for n, times := range got {
		if times > 1 {
			t.Errorf("packet %d arrived %d times", n, times)
		}
	}
	lies := 0
	for _, l := range liars {
		l.be(true)
		l.mu.Lock()
		lies += l.lies
		l.mu.Unlock()
	}
	if lies < packets/4 || len(got) < packets/20 {
		t.Errorf("%d lies, and %d of %d packets arrived: this proves little", lies, len(got), packets)
	}
	t.Logf("%d lies; %d of %d packets arrived", lies, len(got), packets)
	begun := time.Now()
	for !a.tries(b, 100*time.Millisecond) {
		if time.Since(begun) > patience {
			t.Fatal("nothing gets through after the last lie")
		}
	}
	b.reaches(a)
	if s := a.sock.Snapshot(); s.Relays[0].Error != "" || !s.Relays[0].Up {
		t.Errorf("%+v", s.Relays)
	}
}
