package peerpath

import (
	"net/netip"
	"testing"
	"time"
)

// A peer behind a hard NAT that searches is heard from hundreds of ports at once, where our own NAT lets it in. A few are
// tried at a time, and when those do not answer, the next.
func TestAFewOfManyPortsThatAreHeardAreTried(t *testing.T) {
	m := New(nil)
	now := simStart
	m.Step(now, Sent{})
	port := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr("203.0.113.9"), uint16(2000+i))
	}
	tried := func() (n int) {
		for i := range 256 {
			for _, a := range m.Step(now, Heard{port(i)}) {
				if _, ok := a.(Probe); ok {
					n++
				}
			}
		}
		return n
	}
	for range 3 {
		if n := tried(); n != maxHeard {
			t.Fatalf("%d were tried at once, want %d", n, maxHeard)
		}
		now = now.Add(confirmEvery + time.Millisecond)
	}
}
