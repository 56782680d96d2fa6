package udpbatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func listen(tb testing.TB, address string) *Conn {
	tb.Helper()
	all, err := Listen(context.Background(), address, 1, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = all[0].Close() })
	return all[0]
}

func TestWhatTheKernelDropsIsCounted(t *testing.T) {
	to := listen(t, "127.0.0.1:0")
	from, err := Dial(t.Context(), to.LocalAddr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	got, wanted := to.ReceiveBuffer()
	if got <= 0 || wanted <= 0 || to.Overflowed() != 0 {
		t.Fatalf("a buffer of %d bytes of %d, and %d lost", got, wanted, to.Overflowed())
	}
	s, b := from.NewSender(1), make([]byte, 1400)
	for range 2 * got / len(b) { // and nobody receives
		s.Add(netip.AddrPort{}, b)
		if _, err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if to.Overflowed() == 0 {
		t.Errorf("twice what fits into %d bytes was sent, and nothing is said to be lost", got)
	}
}

// TestSeveralSocketsShareAPort has many clients speak to one port, and looks that each socket hears some of them, that
// all can answer from the port, and that nobody else gets it.
func TestSeveralSocketsShareAPort(t *testing.T) {
	all, err := Listen(context.Background(), "127.0.0.1:0", 4, nil)
	if err != nil || len(all) != 4 {
		t.Fatal(len(all), err)
	}
	to := all[0].LocalAddr()
	if others, err := Listen(context.Background(), to.String(), 4, nil); !errors.Is(err, unix.EADDRINUSE) {
		t.Fatalf("a second program got the port: %d sockets, %v", len(others), err)
	}
	const clients = 64
	heard := make(chan int, clients)
	var work sync.WaitGroup
	for i, c := range all {
		work.Go(func() {
			r, s := c.NewReceiver(8), c.NewSender(8)
			for {
				n, err := r.Receive()
				if err != nil {
					return
				}
				for j := range n {
					from, data, _ := r.Run(j)
					s.Add(from, data)
					heard <- i
				}
				_, _ = s.Flush()
			}
		})
	}
	for range clients {
		c, err := Dial(context.Background(), to, nil)
		if err != nil {
			t.Fatal(err)
		}
		s, r := c.NewSender(1), c.NewReceiver(1)
		s.Add(netip.AddrPort{}, []byte("hello"))
		if lost, err := s.Flush(); lost > 0 {
			t.Fatal(err)
		}
		if n, err := r.Receive(); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		_ = c.Close()
	}
	for _, c := range all {
		_ = c.Close()
	}
	work.Wait()
	close(heard)
	sockets := map[int]int{}
	for i := range heard {
		sockets[i]++
	}
	if len(sockets) < 2 {
		t.Errorf("clients of each socket: %v", sockets)
	}
}

// collect receives until want datagrams have come, and gives them per sender.
func collect(t *testing.T, r *Receiver, want int) map[netip.AddrPort][][]byte {
	t.Helper()
	got := map[netip.AddrPort][][]byte{}
	for want > 0 {
		n, err := r.Receive()
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			from, data, size := r.Run(i)
			for len(data) > 0 {
				d := data[:min(size, len(data))]
				data = data[len(d):]
				got[from] = append(got[from], bytes.Clone(d))
				want--
			}
		}
	}
	return got
}

func TestDatagramsArriveWholeAndInOrder(t *testing.T) {
	for _, network := range []struct{ name, listen, dial string }{
		{"both families, IPv4", ":0", "127.0.0.1"},
		{"both families, IPv6", ":0", "::1"},
		{"IPv4", "127.0.0.1:0", "127.0.0.1"},
		{"IPv6", "[::1]:0", "::1"},
	} {
		for _, offload := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, offloads %v", network.name, offload), func(t *testing.T) {
				server := listen(t, network.listen)
				to := netip.AddrPortFrom(netip.MustParseAddr(network.dial), server.LocalAddr().Port())
				client, err := Dial(context.Background(), to, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				if !offload {
					server.DisableOffloads()
					client.DisableOffloads()
				}
				exchange(t, server, client)
			})
		}
	}
}

// exchange sends a mix of sizes to the server and all of it back.
func exchange(t *testing.T, server, client *Conn) {
	t.Helper()
	var want [][]byte
	for i, size := range []int{100, 100, 100, 60, 100, 1400, 1400, 1400, 1400, 1, 1200, 1300, 9000, 9000, 9000, 9000, 9000, 9000, 9000, 9000} {
		want = append(want, bytes.Repeat([]byte{byte(i + 1)}, size))
	}
	for range 100 { // more than one message can hold
		want = append(want, bytes.Repeat([]byte{7}, 200))
	}
	s := client.NewSender(4)
	for _, b := range want {
		s.Add(netip.AddrPort{}, b)
	}
	if dropped, err := s.Flush(); dropped != 0 || err != nil {
		t.Fatal(dropped, err)
	}
	got := collect(t, server.NewReceiver(8), len(want))
	from := client.LocalAddr()
	compare(t, got[from], want)

	back := server.NewSender(8)
	for _, b := range want {
		back.Add(from, b)
	}
	if dropped, err := back.Flush(); dropped != 0 || err != nil {
		t.Fatal(dropped, err)
	}
	for addr, b := range collect(t, client.NewReceiver(8), len(want)) {
		if addr.Port() != server.LocalAddr().Port() {
			t.Errorf("from %s", addr)
		}
		compare(t, b, want)
	}
}

func compare(t *testing.T, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d datagrams, not %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("datagram %d is %d bytes of %d, not %d of %d", i, len(got[i]), got[i][0], len(want[i]), want[i][0])
		}
	}
}

func TestAlternatingDestinationsStillBecomeRuns(t *testing.T) {
	from, a, b := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	if from.gsoLimit.Load() == 0 {
		t.Fatal("this kernel cuts nothing (UDP_SEGMENT, Linux 4.18)")
	}
	s := from.NewSender(8)
	for range 20 {
		s.Add(a.LocalAddr(), make([]byte, 500))
		s.Add(b.LocalAddr(), make([]byte, 700))
	}
	if s.n != 2 {
		t.Errorf("%d messages, not 2", s.n)
	}
	if dropped, err := s.Flush(); dropped != 0 || err != nil {
		t.Fatal(dropped, err)
	}
	collect(t, a.NewReceiver(4), 20)
	collect(t, b.NewReceiver(4), 20)
}

func TestARunThatTheKernelCannotCutGoesSingly(t *testing.T) {
	to := listen(t, "127.0.0.1:0")
	from, err := Dial(context.Background(), to.LocalAddr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	// Three empty spaces of a size that the kernel refuses to cut (more segments than UDP_MAX_SEGMENTS).
	s := from.NewSender(4)
	run := make([]byte, 2000)
	for i := range 60 {
		s.Add(netip.AddrPort{}, run[i*10:][:10])
	}
	s.messages[0].size = 1 // as if they were 600 datagrams
	if dropped, err := s.Flush(); dropped != 0 || err != nil {
		t.Fatal(dropped, err)
	}
	if got := collect(t, to.NewReceiver(8), 600); len(got[from.LocalAddr()]) != 600 {
		t.Error("not all arrived")
	}
}

func TestWhatCannotBeSentIsCounted(t *testing.T) {
	c := listen(t, "127.0.0.1:0")
	s := c.NewSender(4)
	s.Add(netip.MustParseAddrPort("[2001:db8::1]:9"), make([]byte, 9)) // not from an IPv4 socket
	s.Add(c.LocalAddr(), make([]byte, maxDatagram+1))
	s.Add(c.LocalAddr(), nil)
	if dropped, _ := s.Flush(); dropped != 3 {
		t.Errorf("%d dropped, not 3", dropped)
	}
}

func TestNothingListens(t *testing.T) {
	to := listen(t, "127.0.0.1:0")
	c, err := Dial(context.Background(), to.LocalAddr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = to.Close()
	s := c.NewSender(1)
	s.Add(netip.AddrPort{}, []byte("x"))
	_, _ = s.Flush()
	if _, err := c.NewReceiver(1).Receive(); !Refused(err) {
		t.Errorf("got %v", err)
	}
}

func TestCloseEndsReceive(t *testing.T) {
	c := listen(t, "127.0.0.1:0")
	done := make(chan error)
	go func() {
		_, err := c.NewReceiver(1).Receive()
		done <- err
	}()
	_ = c.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	s := c.NewSender(1)
	s.Add(netip.MustParseAddrPort("127.0.0.1:9"), []byte("x"))
	if dropped, err := s.Flush(); dropped != 1 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %d, %v", dropped, err)
	}
}

func TestNothingIsAllocatedPerDatagram(t *testing.T) {
	server := listen(t, "127.0.0.1:0")
	client := listen(t, "127.0.0.1:0")
	s, r := client.NewSender(16), server.NewReceiver(8)
	b := make([]byte, 100*50)
	to := server.LocalAddr()
	if n := testing.AllocsPerRun(50, func() {
		for i := range 50 {
			s.Add(to, b[i*100:][:100])
		}
		_, _ = s.Flush()
		for got := 0; got < 50; {
			n, err := r.Receive()
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				_, data, _ := r.Run(i)
				got += len(data) / 100
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations per 50 datagrams", n)
	}
}
