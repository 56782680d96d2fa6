package main

import (
	"testing"
	"time"
)

// TestAPingersLossIsWhatPingSaid reads ping's output, torn as a pipe may tear it: packets 3 and 4 are lost, 5 is late.
func TestAPingersLossIsWhatPingSaid(t *testing.T) {
	p := &pinger{answers: map[int]time.Time{}}
	for _, part := range []string{
		"PING 100.64.0.2 (100.64.0.2) 56(84) bytes of data.\n",
		"[1795354342.000000] 64 bytes from 100.64.0.2: icmp_seq=1 ttl=64 time=0.041 ms\n",
		"[1795354342.050000] 64 bytes from 100.64.0.2: icmp_", "seq=2 ttl=64 time=0.049 ms\n",
		"[1795354342.150000] no answer yet for icmp_seq=3\n",
		"[1795354342.200000] no answer yet for icmp_seq=4\n[1795354342.250000] no answer yet for icmp_seq=5\n",
		"[1795354342.270000] 64 bytes from 100.64.0.2: icmp_seq=5 ttl=64 time=70 ms\n",
		"[1795354342.300000] 64 bytes from 100.64.0.2: icmp_seq=6 ttl=64 time=1 ms\n",
		"[1795354342.350000] 64 bytes from 100.64.0.2: icmp_seq=7 ttl=64 time=1 ms\n",
	} {
		if n, err := p.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if got, want := p.since(1), (loss{sent: 5, lost: 2, silence: 220 * time.Millisecond}); got != want {
		t.Errorf("since 1: %v, want %v", got, want)
	}
	if got := p.since(4).String(); got != "none of 2 packets lost" {
		t.Errorf("since 4: %s", got)
	}
	if p.flows(4, 2) != nil || p.flows(4, 4) == nil || p.flows(2, 4) == nil {
		t.Error("it flows from packet 5 on, and no earlier")
	}
	if got := p.now(); got != 7 {
		t.Errorf("now at %d", got)
	}
}
