package server

import (
	"bytes"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// natForwarder is a NAT for one client: what it forgets and blocks is the test's choice.
type natForwarder struct {
	inside *net.UDPConn
	to     *net.UDPAddr
	work   sync.WaitGroup

	mu      sync.Mutex
	outside *net.UDPConn
	client  netip.AddrPort
	blocked bool
	delay   time.Duration  // each way
	cut     netip.AddrPort // nothing passes from there any more
	swallow func(frame []byte) bool
}

func newForwarder(t *testing.T, to netip.AddrPort) *natForwarder {
	t.Helper()
	inside, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	f := &natForwarder{inside: inside, to: net.UDPAddrFromAddrPort(to)}
	f.remap()
	f.work.Go(f.out)
	t.Cleanup(func() {
		_ = inside.Close()
		f.mu.Lock()
		_ = f.outside.Close()
		f.mu.Unlock()
		f.work.Wait()
	})
	return f
}

func (f *natForwarder) addr() netip.AddrPort {
	return f.inside.LocalAddr().(*net.UDPAddr).AddrPort()
}

// remap gives the client another port, and closes the one that it had.
func (f *natForwarder) remap() {
	c, err := net.DialUDP("udp4", nil, f.to)
	if err != nil {
		panic(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.outside != nil {
		_ = f.outside.Close()
	}
	f.outside = c
	f.work.Go(func() { f.in(c) })
}

func (f *natForwarder) block(yes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blocked = yes
}

// swallowing loses what is so, both ways.
func (f *natForwarder) swallowing(so func(frame []byte) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.swallow = so
}

func (f *natForwarder) swallows(frame []byte) bool { return f.swallow != nil && f.swallow(frame) }

// leave has nothing pass from the socket that sent last, as on a network that was left, and reports whether any has sent.
func (f *natForwarder) leave() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = f.client
	return f.cut.IsValid()
}

func (f *natForwarder) out() {
	b := make([]byte, 1<<16)
	for {
		n, from, err := f.inside.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		f.mu.Lock()
		f.client = from
		if !f.blocked && from != f.cut && !f.swallows(b[:n]) {
			outside, d := f.outside, bytes.Clone(b[:n])
			after(f.delay, func() { _, _ = outside.Write(d) })
		}
		f.mu.Unlock()
	}
}

func (f *natForwarder) in(c *net.UDPConn) {
	b := make([]byte, 1<<16)
	for {
		n, err := c.Read(b)
		if err != nil {
			if _, ok := err.(*net.OpError); ok && f.gone(c) {
				return
			}
			continue
		}
		f.mu.Lock()
		client, blocked, delay := f.client, f.blocked || f.swallows(b[:n]), f.delay
		f.mu.Unlock()
		if !blocked {
			d := bytes.Clone(b[:n])
			after(delay, func() { _, _ = f.inside.WriteToUDPAddrPort(d, client) })
		}
	}
}

// after does what the way takes time for.
func after(delay time.Duration, do func()) {
	if delay == 0 {
		do()
		return
	}
	time.AfterFunc(delay, do)
}

// far makes the way long, each direction.
func (f *natForwarder) far(delay time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = delay
}

// gone reports whether the port was closed: else it was only that nothing listened, and that passes.
func (f *natForwarder) gone(c *net.UDPConn) bool {
	return c.SetReadDeadline(noDeadline) != nil
}
