package wsbatch

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// drain takes everything and gives the frames.
func drain(t testing.TB, q *Queue) (frames [][]byte) {
	for {
		m, _ := q.Take(nil)
		if len(m) == 0 {
			return frames
		}
		if len(m) > MaxMessage {
			t.Fatalf("a message of %d bytes", len(m))
		}
		for rest := m; len(rest) > 0; {
			f, r, ok := Next(rest)
			if !ok {
				t.Fatal("a message that cannot be read")
			}
			frames, rest = append(frames, bytes.Clone(f)), r
		}
	}
}

// TestQueueAgainstASlice compares the ring with the plain thing.
func TestQueueAgainstASlice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		q := NewQueue()
		var want [][]byte
		held, serial := 0, uint32(0)
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			if rapid.IntRange(0, 5).Draw(rt, "take") == 0 {
				for _, f := range drain(t, q) {
					if len(want) == 0 || !bytes.Equal(f, want[0]) {
						rt.Fatal("another frame than the oldest")
					}
					want = want[1:]
				}
				if len(want) != 0 {
					rt.Fatalf("%d frames are missing", len(want))
				}
				held = 0
				continue
			}
			f := make([]byte, rapid.IntRange(4, 60000).Draw(rt, "size"))
			serial++
			binary.BigEndian.PutUint32(f, serial)
			dropped := q.Push(f[:3], f[3:])
			want, held = append(want, f), held+len(f)+lengthSize
			for held > queueSize {
				held -= len(want[0]) + lengthSize
				want = want[1:]
				dropped--
			}
			if dropped != 0 {
				rt.Fatalf("%d more dropped than there was need", dropped)
			}
		}
	})
}

func TestAClosedQueueStillGivesWhatItHas(t *testing.T) {
	q := NewQueue()
	q.Push([]byte("last words"), nil)
	q.Close()
	if q.Push([]byte("more"), nil) != 1 {
		t.Error("it took more")
	}
	if m, ended := q.Take(nil); ended || len(m) != lengthSize+len("last words") {
		t.Errorf("got %q, %v", m, ended)
	}
	if _, ended := q.Take(nil); !ended {
		t.Error("it did not end")
	}
}

// However putting, pushing, closing and leaving meet, nothing is left behind without a writer, and there is never a second one.
func TestAnIdleQueueHasAWriterWheneverThereIsSomething(t *testing.T) {
	const pushers, each = 4, 5000
	var writers, begun atomic.Int32
	var q *Queue
	var work sync.WaitGroup
	got := 0 // of the one writer
	take := func() (size int, ended bool) {
		m, ended := q.Take(nil)
		for rest := m; len(rest) > 0; got++ {
			_, rest, _ = Next(rest)
		}
		return len(m), ended
	}
	write := func() {
		if writers.Add(1) != 1 {
			t.Error("two writers at a time")
		}
		for {
			size, ended := take()
			if ended {
				return
			}
			if size == 0 {
				writers.Add(-1)
				if q.Leave() {
					return
				}
				writers.Add(1)
			}
		}
	}
	begin := func() {
		begun.Add(1)
		work.Go(write)
	}
	q = NewIdleQueue(begin)
	if q.Leave(); begun.Load() != 0 || q.Attend() {
		t.Error("an empty queue has a writer")
	}
	var pushing sync.WaitGroup
	for i := range pushers {
		pushing.Go(func() {
			for range each {
				if i > 0 {
					q.Push([]byte("frame"), nil)
				} else if q.Put([]byte("frame")); q.Attend() { // as who writes its own answers
					if writers.Add(1) != 1 {
						t.Error("a second writer")
					}
					take()
					if writers.Add(-1); !q.Leave() {
						begin()
					}
				}
				runtime.Gosched()
			}
		})
	}
	pushing.Wait()
	q.Close()
	work.Wait()
	if got != pushers*each {
		t.Errorf("%d of %d frames were taken", got, pushers*each)
	}
	if q.Push([]byte("more"), nil); q.Leave() {
		t.Error("a closed queue lets its writer go")
	}
	t.Logf("%d writers, one after the other", begun.Load())
}

func TestPushAndTakeAllocateNothing(t *testing.T) {
	q, f, m := NewQueue(), make([]byte, 1400), make([]byte, 0, MaxMessage)
	q.Push(f, nil)
	if n := testing.AllocsPerRun(100, func() {
		for range 40 {
			q.Push(f, nil)
		}
		_, _ = q.Take(m)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzNext(f *testing.F) {
	f.Add([]byte{0, 1, 'a', 0, 2, 'b', 'c'})
	f.Add([]byte{0, 0})
	f.Add([]byte{0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		for rest := b; ; {
			frame, r, ok := Next(rest)
			if !ok {
				break
			}
			again = binary.BigEndian.AppendUint16(again, uint16(len(frame)))
			again = append(again, frame...)
			rest = r
		}
		if !bytes.HasPrefix(b, again) {
			t.Errorf("%x became %x", b, again)
		}
	})
}
