package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, path string) *Journal {
	t.Helper()
	j, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func record(t testing.TB, j *Journal, changes ...Change) []ID {
	t.Helper()
	ids, err := j.Record(changes...)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// host is what a handler changes: a list of marks.
type host struct {
	undone []string
	fail   map[string]bool
}

func (h *host) handlers(volatile bool) Handlers {
	return Handlers{"mark": {Volatile: volatile, Undo: func(_ context.Context, data json.RawMessage) error {
		var mark string
		if err := json.Unmarshal(data, &mark); err != nil {
			return err
		}
		if h.fail[mark] {
			return errors.New("the host refuses")
		}
		h.undone = append(h.undone, mark)
		return nil
	}}}
}

func mark(s string) Change { return Change{Kind: "mark", Data: s} }

func TestRecoverUndoesInReverseAndTwiceIsOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	record(t, j, mark("a"), mark("b"))
	ids := record(t, j, mark("c"))
	record(t, j, mark("d"))
	if err := errors.Join(j.Done(ids...), j.Close()); err != nil {
		t.Fatal(err)
	}
	j = open(t, path)
	var h host
	r, err := j.Recover(t.Context(), h.handlers(true))
	if err != nil || r != (Report{Undone: 3}) || !slices.Equal(h.undone, []string{"d", "b", "a"}) {
		t.Fatalf("%+v, %v, undone %v", r, err, h.undone)
	}
	for range 2 {
		if r, err := j.Recover(t.Context(), h.handlers(true)); err != nil || r != (Report{}) {
			t.Errorf("again: %+v, %v", r, err)
		}
		j = open(t, path)
	}
	if info, _ := os.Stat(path); info.Size() != 0 {
		t.Errorf("the file still has %d bytes", info.Size())
	}
}

// TestWhatWaitsForOthersIsUndoneBesideTheRest: neither kind could be undone if it were not for the other.
func TestWhatWaitsForOthersIsUndoneBesideTheRest(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal"))
	record(t, j, Change{Kind: "own", Data: 1}, Change{Kind: "slow", Data: 2}, Change{Kind: "own", Data: 3}, Change{Kind: "slow", Data: 4})
	slow, own := make(chan string, 2), make(chan string, 2)
	meets := func(mine chan<- string, other <-chan string) Handler {
		return Handler{Undo: func(_ context.Context, data json.RawMessage) error {
			mine <- string(data)
			if got := <-other; string(data) == "4" && got != "3" || string(data) == "2" && got != "1" {
				return fmt.Errorf("%s beside %s", data, got)
			}
			return nil
		}}
	}
	hs := Handlers{"own": meets(own, slow), "slow": meets(slow, own)}
	h := hs["slow"]
	h.Beside = true
	hs["slow"] = h
	if r, err := j.Recover(t.Context(), hs); err != nil || r.Undone != 4 || len(j.Live()) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestWhatCannotBeUndoneStaysAndStopsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	record(t, j, mark("a"), mark("b"), Change{Kind: "unheard", Data: 1}, mark("c"))
	h := host{fail: map[string]bool{"b": true}}
	r, err := j.Recover(t.Context(), h.handlers(false))
	if r.Undone != 2 || r.Left != 2 || !slices.Equal(h.undone, []string{"c", "a"}) {
		t.Errorf("%+v, undone %v", r, h.undone)
	}
	if err == nil || !strings.Contains(err.Error(), "the host refuses") || !strings.Contains(err.Error(), "unheard") {
		t.Errorf("got %v", err)
	}
	h.fail = nil
	if r, _ := open(t, path).Recover(t.Context(), h.handlers(false)); r.Undone != 1 || r.Left != 1 {
		t.Errorf("the next time: %+v", r)
	}
}

func TestAnotherBootHasNoVolatileChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	j.boot = "the boot before"
	record(t, j, mark("a"))
	j = open(t, path)
	var h host
	if r, err := j.Recover(t.Context(), h.handlers(true)); err != nil || r.Undone != 1 || len(h.undone) != 0 {
		t.Errorf("volatile: %+v, %v, %v", r, err, h.undone)
	}
	j.boot = "the boot before"
	record(t, j, mark("b"))
	j = open(t, path)
	if _, err := j.Recover(t.Context(), h.handlers(false)); err != nil || !slices.Equal(h.undone, []string{"b"}) {
		t.Errorf("lasting: %v, %v", err, h.undone)
	}
}

func TestATornLineIsIgnoredAndADamagedOneCostsOnlyItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	for _, m := range []string{"a", "b", "c"} {
		record(t, j, mark(m))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	for cut := range len(lines[2]) {
		torn := slices.Concat(lines[0], lines[1], lines[2][:cut])
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		j := open(t, path)
		if got := len(j.Live()); got != 2 || j.damaged != 0 {
			t.Fatalf("torn at %d: %d live, %d damaged", cut, got, j.damaged)
		}
		record(t, j, mark("after")) // must not run into what was torn
		if j := open(t, path); len(j.Live()) != 3 || j.damaged != 0 {
			t.Fatalf("torn at %d, then written to: %d live, %d damaged", cut, len(j.Live()), j.damaged)
		}
	}
	for i := range len(lines[1]) - 1 {
		bad := slices.Clone(text)
		bad[len(lines[0])+i] ^= 4
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		var h host
		r, err := open(t, path).Recover(t.Context(), h.handlers(true))
		if err != nil || r.Damaged == 0 || !slices.Equal(h.undone, []string{"c", "a"}) {
			t.Fatalf("byte %d changed: %+v, %v, %v", i, r, err, h.undone)
		}
	}
}

func TestTheFileStaysSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	record(t, j, mark("stays"))
	big := strings.Repeat("x", 4096)
	for range 400 {
		if err := j.Done(record(t, j, mark(big))...); err != nil {
			t.Fatal(err)
		}
	}
	if info, _ := os.Stat(path); info.Size() > compactAt+2*4096 {
		t.Errorf("the file has %d bytes", info.Size())
	}
	record(t, j, mark("after"))
	if live := open(t, path).Live(); len(live) != 2 || string(live[0].Data) != `"stays"` || string(live[1].Data) != `"after"` {
		t.Errorf("live: %+v", live)
	}
	if _, err := j.Record(slices.Repeat([]Change{mark("many")}, MaxLive)...); !errors.Is(err, ErrFull) {
		t.Errorf("a full journal: %v", err)
	}
}

// TestAnyHistoryLeavesWhatAListWouldHold runs random histories, with restarts, against a plain list.
func TestAnyHistoryLeavesWhatAListWouldHold(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		path := filepath.Join(dir, fmt.Sprint(n))
		j, err := Open(path, nil)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = j.Close() }()
		var want []Entry
		rt.Repeat(map[string]func(*rapid.T){
			"record": func(rt *rapid.T) {
				text := rapid.String().Draw(rt, "mark")
				ids, err := j.Record(mark(text), mark(text+"2"))
				if err != nil {
					rt.Fatal(err)
				}
				for _, id := range ids {
					want = append(want, Entry{ID: id})
				}
			},
			"done": func(rt *rapid.T) {
				if len(want) == 0 {
					rt.Skip("nothing is live")
				}
				i := rapid.IntRange(0, len(want)-1).Draw(rt, "which")
				if err := j.Done(want[i].ID); err != nil {
					rt.Fatal(err)
				}
				want = slices.Delete(want, i, i+1)
			},
			"restart": func(rt *rapid.T) {
				_ = j.Close()
				if j, err = Open(path, nil); err != nil {
					rt.Fatal(err)
				}
			},
			"": func(rt *rapid.T) {
				live := j.Live()
				if !slices.EqualFunc(live, want, func(a, b Entry) bool { return a.ID == b.ID }) {
					rt.Fatalf("live %+v, want %+v", live, want)
				}
			},
		})
	})
}

func TestAChangeIsNotMadeWhereItCannotBeWritten(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal"))
	record(t, j, mark("a"))
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = j.file.Close()
	j.file = full
	if _, err := j.Record(mark("b")); err == nil || !strings.Contains(err.Error(), "not changed: the disk is full; make room on the file system of ") {
		t.Errorf("got %v", err)
	}
	if len(j.Live()) != 1 {
		t.Errorf("it counts as live")
	}
}

func FuzzReplay(f *testing.F) {
	text, _ := appendLine(nil, line{Entry: Entry{ID: 1, Kind: "mark", Data: json.RawMessage(`"a"`)}})
	text, _ = appendLine(text, line{Done: []ID{1}})
	f.Add(text)
	f.Add([]byte("00000000 {}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		live, last, _, whole := replay(text)
		if whole > len(text) {
			t.Fatal("longer than it is")
		}
		for _, e := range live {
			if e.ID == 0 || e.ID > last || e.Kind == "" {
				t.Fatalf("live: %+v, last %d", e, last)
			}
		}
	})
}

func TestWhatPassesToTheCallerStaysLiveInThisBootOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	record(t, j, mark("a"), mark("b"))
	var h host
	passing := func() Handlers {
		hs := h.handlers(true)
		hs["mark"] = Handler{Undo: hs["mark"].Undo, Volatile: true, Passes: true}
		return hs
	}
	for range 2 {
		if r, err := open(t, path).Recover(t.Context(), passing()); err != nil || r.Passed != 2 || r.Left+r.Undone+len(h.undone) > 0 {
			t.Fatalf("%+v, %v, %v", r, err, h.undone)
		}
	}
	next := open(t, path)
	next.boot = "another"
	if r, err := next.Recover(t.Context(), passing()); err != nil || r.Undone != 2 || r.Passed+len(h.undone)+len(next.Live()) > 0 {
		t.Fatalf("in another boot: %+v, %v, %v", r, err, h.undone)
	}
}
