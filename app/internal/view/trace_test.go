package view

import (
	"testing"
	"time"
)

func TestATraceHasRatesAndGaps(t *testing.T) {
	s := running()
	var tr Trace
	add := func(after time.Duration, rx, tx uint64) bool {
		s.Time = s.Time.Add(after)
		s.Peers[0].RxBytes, s.Peers[0].TxBytes = rx, tx
		return tr.Add(s, 3)
	}
	if !add(0, 1000, 500) || !add(time.Second, 3000, 500) || add(10*time.Millisecond, 4000, 500) || !add(2*time.Second, 4000, 1500) || !add(time.Second, 10, 0) {
		t.Fatalf("it took %d points", len(tr.Points))
	}
	rx, tx, top := tr.Traffic()
	if len(rx) != 4 || rx[0] != -1 || rx[1] != 2000 || int(tx[2]) != 497 || rx[3] != -1 || top != 2000 {
		t.Errorf("%v %v %v", rx, tx, top)
	}
	s.Peers[0].Path.Latency = 0
	add(time.Second, 20, 0)
	if l, top := tr.Latencies(); l[4] != -1 || top != 12 {
		t.Errorf("%v %v", l, top)
	}
	for range 2 * maxPoints {
		add(time.Second, 20, 0)
	}
	if len(tr.Points) != maxPoints {
		t.Errorf("%d points", len(tr.Points))
	}
	if tr.Add(s, 99) || !tr.Add(s, 4) || tr.ID != 4 || len(tr.Points) != 1 {
		t.Errorf("of another machine: %+v", tr)
	}
}
