package server

import (
	"testing"
	"time"
)

// walk runs a pace in virtual time: streams need write for each telling, and a change comes each every until last. It
// gives when was told.
func walk(write, every, last, until time.Duration) (told []time.Duration) {
	var p pace
	start := time.Unix(1_000_000, 0)
	next := time.Duration(0)
	for t := time.Duration(0); t < until; t += time.Millisecond {
		now := start.Add(t)
		if t >= next && t <= last {
			p.came(now)
			next += every
		}
		if due := p.due(now); due.IsZero() || due.After(now) && !p.busy {
			continue
		}
		p.wrote(now, now.Before(p.began.Add(write)))
		if p.ready(now) {
			p.told(now)
			told = append(told, t)
		}
	}
	return told
}

func TestALoneChangeIsToldAtOnce(t *testing.T) {
	for _, write := range []time.Duration{0, 200 * time.Millisecond, time.Minute} {
		if told := walk(write, time.Second, 0, 5*time.Second); len(told) != 1 || told[0] != gather {
			t.Errorf("writing takes %v: told at %v", write, told)
		}
	}
	told := walk(200*time.Millisecond, 5*time.Second, time.Hour, 21*time.Second) // however slow the last telling was
	if len(told) != 5 {
		t.Fatalf("told at %v", told)
	}
	for i, at := range told {
		if want := time.Duration(i)*5*time.Second + gather; at != want {
			t.Errorf("change %d was told at %v, not %v", i, at, want)
		}
	}
}

func TestTellingLeavesTimeForWhoComes(t *testing.T) {
	for write, most := range map[time.Duration]int{
		time.Millisecond: 700, 10 * time.Millisecond: 250, 100 * time.Millisecond: 26, 500 * time.Millisecond: 6,
		time.Minute: 4, // streams that do not write hold the others up no longer than bounded
	} {
		told := walk(write, 5*time.Millisecond, 10*time.Second, 20*time.Second)
		n := 0
		for _, at := range told {
			if at <= 10*time.Second {
				n++
			}
		}
		if n > most || n < most/2 {
			t.Errorf("writing takes %v: told %d times in 10 s, not about %d", write, n, most)
		}
		if end := told[len(told)-1]; end < 10*time.Second || end > 10*time.Second+longestWrite+longestBreath+gather {
			t.Errorf("writing takes %v: the last change was told at %v", write, end)
		}
	}
}
