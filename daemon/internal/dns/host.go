package dns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/daemon/internal/dns/hostmode"
	"github.com/warren-mesh/warren/daemon/internal/journal"
)

// host is one way to tell the host's programs to ask us.
type host interface {
	// set tells them, and takes what is as it should be already for ours too; the journal has it before it is made.
	set(ctx context.Context, p hostmode.Plan) error
	// isSet looks whether they are told.
	isSet(ctx context.Context, p hostmode.Plan) (bool, error)
	// unset takes back what set did, and only that.
	unset(ctx context.Context) error
	// others are the nameservers that the host would ask without us, the first first.
	others(ctx context.Context) []netip.AddrPort
}

// records are the journal's entries of one host's way.
type records struct {
	journal *journal.Journal
	step    func() // tests die before the next change
	live    []journal.Entry
	data    map[string]bool
}

func newRecords(j *journal.Journal, step func()) records {
	return records{journal: j, step: step, data: make(map[string]bool)}
}

// record journals a change, once.
func (r *records) record(c journal.Change) error {
	name := fmt.Sprintf("%s %+v", c.Kind, c.Data)
	if r.data[name] {
		return nil
	}
	ids, err := r.journal.Record(c)
	if err != nil {
		return err
	}
	for _, e := range r.journal.Live() {
		if e.ID == ids[0] {
			r.live = append(r.live, e)
		}
	}
	r.data[name] = true
	return nil
}

// undo takes all changes back. What fails stays in the journal, for warrend recover.
func (r *records) undo(ctx context.Context, hs journal.Handlers) error {
	var failures []error
	var done []journal.ID
	for i := len(r.live) - 1; i >= 0; i-- {
		r.step()
		if err := hs[r.live[i].Kind].Undo(ctx, r.live[i].Data); err != nil {
			failures = append(failures, err)
			continue
		}
		done = append(done, r.live[i].ID)
	}
	failures = append(failures, r.journal.Done(done...))
	r.live, r.data = nil, make(map[string]bool)
	return errors.Join(failures...)
}

// Undo gives the handlers that take our changes of the host's DNS back. All together they wait for the bus and its services no
// longer than busTime: what these do not take back until then stays to be undone.
func Undo() journal.Handlers {
	var first sync.Once
	var end time.Time
	hs := undoing()
	for _, kind := range []journal.Kind{kindResolved, kindNM} {
		h := hs[kind]
		undo := h.Undo
		h.Undo = func(ctx context.Context, data json.RawMessage) error {
			first.Do(func() { end = time.Now().Add(busTime) })
			ctx, cancel := context.WithDeadline(ctx, end)
			defer cancel()
			return undo(ctx, data)
		}
		hs[kind] = h
	}
	return hs
}

// undoing is Undo, with as long for each answer as that may take.
func undoing() journal.Handlers {
	return journal.Handlers{
		kindFile:       {Undo: undoFile},
		kindResolved:   {Undo: undoResolved, Volatile: true, Beside: true},
		kindNM:         {Undo: undoNM},                         // NetworkManager keeps it
		kindResolvconf: {Undo: undoResolvconf, Volatile: true}, // below /run
	}
}

// locked reports whether the host does not let us change a file.
func locked(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS)
}
