package wsbatch

import (
	"bytes"
	"slices"
	"testing"
)

// writes records each write.
type writes struct{ got [][]byte }

func (w *writes) Write(b []byte) (int, error) {
	w.got = append(w.got, bytes.Clone(b))
	return len(b), nil
}

func TestWhatIsHeldGoesOutInOneWriteAndInOrder(t *testing.T) {
	w := &writes{}
	g := &Gatherer{Out: w}
	say := func(b []byte) {
		if n, err := g.Write(b); n != len(b) || err != nil {
			t.Fatal(n, err)
		}
	}
	say([]byte("before "))
	g.Hold()
	say([]byte("a"))
	say([]byte("b"))
	if err := g.Flush(); err != nil {
		t.Fatal(err)
	}
	say([]byte(" between "))
	g.Hold()
	say([]byte("c"))
	long := bytes.Repeat([]byte("d"), gatherSize)
	say(long) // fits only alone
	say([]byte("e"))
	if err := g.Flush(); err != nil {
		t.Fatal(err)
	}
	want := [][]byte{[]byte("before "), []byte("ab"), []byte(" between "), []byte("c"), long, []byte("e")}
	if !slices.EqualFunc(w.got, want, bytes.Equal) {
		t.Errorf("%d writes: %.40q", len(w.got), w.got)
	}
}
