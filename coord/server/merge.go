package server

import (
	"bytes"

	"github.com/warren-mesh/warren/coord/internal/state"
)

// maxMerged is up to how many bytes of changes go into one line: more would be late for others' sake.
const maxMerged = 1 << 20

// How an update with changes begins and ends, as package state writes it.
var (
	changesBegin = []byte(`{"changes":[`)
	changesEnd   = []byte(`]}`)
)

// merged makes one delivery of d and of what waits behind it: a stream that is behind catches up with one line, one
// signature and one write. What came up to told the machine has.
func merged(d *state.Delivery, queue <-chan *state.Delivery, told uint64) *state.Delivery {
	if len(queue) == 0 || !bytes.HasPrefix(d.Body, changesBegin) {
		return d
	}
	out := &state.Delivery{}
	add := func(d *state.Delivery) {
		inner := bytes.TrimSuffix(bytes.TrimPrefix(d.Body, changesBegin), changesEnd)
		switch {
		case d.Seq != 0 && d.Seq <= told: // it has it; a ticket has no number, and must not get this one
			return
		case len(inner) == 0: // there is nothing in it
		case out.Body == nil:
			out.Body = append(append(make([]byte, 0, 2*len(d.Body)), changesBegin...), inner...)
		default:
			out.Body = append(append(out.Body, ','), inner...)
		}
		out.Seq = max(out.Seq, d.Seq)
	}
	add(d)
	for len(out.Body) < maxMerged {
		select {
		case next := <-queue:
			add(next)
			continue
		default:
		}
		break
	}
	switch {
	case out.Body != nil:
	case out.Seq == 0:
		return d // it has all of it
	default:
		out.Body = bytes.Clone(changesBegin)
	}
	out.Body = append(out.Body, changesEnd...)
	return out
}
