package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Handler undoes one kind of change.
type Handler struct {
	// Undo takes the change back, and only exactly it. Where there is nothing to take back it returns nil.
	Undo func(ctx context.Context, data json.RawMessage) error
	// Volatile changes are the kernel's memory: another boot has none of them.
	Volatile bool
	// Beside changes wait for another program when they are undone, and touch nothing that others do: they are undone beside those.
	Beside bool
	// Passes changes are not undone: the process that has the journal now takes them over. Those of another boot are done.
	Passes bool
}

// Handlers has a Handler for each Kind.
type Handlers map[Kind]Handler

// Join gives the handlers of all.
func Join(all ...Handlers) Handlers {
	joined := make(Handlers)
	for _, hs := range all {
		maps.Copy(joined, hs)
	}
	return joined
}

// Report says what Recover did.
type Report struct {
	Undone  int // changes taken back, or found to be gone already
	Passed  int // changes that the caller takes over: they stay live
	Left    int // changes that could not be taken back: they stay live
	Damaged int // lines of the journal that could not be read
}

// Recover undoes everything that is live, in reverse, and Beside changes meanwhile. What fails stays live and does not keep the rest from being
// undone; the error joins all failures. Twice is as once.
func (j *Journal) Recover(ctx context.Context, hs Handlers) (Report, error) {
	r := Report{Damaged: j.damaged}
	var failures []error
	var done []ID
	entries := j.Live()
	errs := make([]error, len(entries))
	passes := func(e *Entry) bool { return hs[e.Kind].Passes && !j.past(*e) }
	undo := func(beside bool) {
		for n, e := range slices.Backward(entries) {
			if hs[e.Kind].Beside == beside && !passes(&e) {
				errs[n] = j.undo(ctx, e, hs)
			}
		}
	}
	var others sync.WaitGroup
	others.Go(func() { undo(true) })
	undo(false)
	others.Wait()
	for n, e := range slices.Backward(entries) {
		switch {
		case passes(&e):
			r.Passed++
		case errs[n] != nil:
			j.log.Error("cannot undo a change to this host", "kind", e.Kind, "data", string(e.Data), "err", errs[n])
			failures = append(failures, errs[n])
		default:
			done = append(done, e.ID)
		}
	}
	// One sync for all: should it not be reached, undoing again is fine.
	failures = append(failures, j.Done(done...))
	r.Undone, r.Left = len(done), len(entries)-len(done)-r.Passed
	return r, errors.Join(failures...)
}

func (j *Journal) undo(ctx context.Context, e Entry, hs Handlers) error {
	h, known := hs[e.Kind]
	switch {
	case !known:
		return fmt.Errorf("this version does not know how to undo a change of kind %q: recover with the version that made it, or restart the machine", e.Kind)
	case h.Volatile && j.past(e):
		return nil
	}
	if err := h.Undo(ctx, e.Data); err != nil {
		return fmt.Errorf("cannot undo %s %s: %w", e.Kind, e.Data, err)
	}
	return nil
}

// past reports whether the change was made in another boot.
func (j *Journal) past(e Entry) bool { return e.Boot != "" && j.boot != "" && e.Boot != j.boot }
