package router

import (
	"context"
	"encoding/json"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/daemon/internal/journal"
)

// Leave has Close leave the rules and the routes that lead nowhere: another Router follows, for an interface anew, and until
// then nothing goes around an exit node. New takes over what was left; Sweep takes it away where none follows after all.
func (r *Router) Leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaving = true
}

// UndoPassing gives the handlers for a process that runs a Router next: what keeps packets from going around an exit node stays,
// as after Leave.
func UndoPassing() journal.Handlers {
	hs := Undo()
	for _, kind := range []journal.Kind{kindRule, kindDetour, kindSetting} {
		h := hs[kind]
		h.Passes = true
		hs[kind] = h
	}
	return hs
}

// adopt takes over what an earlier Router, of this process or of one that was killed, left.
func (r *Router) adopt() error {
	var gone []journal.ID
	for _, e := range r.journal.Live() {
		c, ok := changeOf(e)
		switch {
		case !ok:
		case c.kind == kindDetour && c.item.way == viaTunnel: // the kernel took it with its interface
			gone = append(gone, e.ID)
		default:
			r.records[c] = e.ID
		}
	}
	return r.journal.Done(gone...)
}

// changeOf reads what a record of rules and settings is about.
func changeOf(e journal.Entry) (c change, ok bool) {
	switch e.Kind {
	case kindRule:
		var d ruleData
		ok = json.Unmarshal(e.Data, &d) == nil
		return item{six: d.Six, rule: d.Priority}.change(), ok
	case kindDetour:
		var d detourData
		ok = json.Unmarshal(e.Data, &d) == nil
		i := item{six: d.Dst.Addr().Is6(), dst: d.Dst}
		switch {
		case d.Type == unix.RTN_THROW:
			i.way = viaHost
		case d.Type == unix.RTN_UNREACHABLE:
			i.way = nowhere
		case d.Index == loopback:
			i.way = aside
		}
		return i.change(), ok
	case kindSetting:
		return change{kind: kindSetting}, true
	}
	return change{}, false
}

// Sweep takes away what a Router left, in the network namespace of the calling thread.
func Sweep(ctx context.Context, j *journal.Journal) error {
	undo := Undo()
	var failures []error
	var done []journal.ID
	live := j.Live()
	for n := len(live) - 1; n >= 0; n-- {
		e := live[n]
		if _, ours := changeOf(e); !ours {
			continue
		}
		if err := undo[e.Kind].Undo(ctx, e.Data); err != nil {
			failures = append(failures, err)
			continue
		}
		done = append(done, e.ID)
	}
	return errors.Join(append(failures, j.Done(done...))...)
}
