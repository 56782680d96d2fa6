package state

import (
	"iter"
	"slices"

	"github.com/warren-mesh/warren/coord"
)

const pieceSize = 128

type piece [pieceSize]*entry

// table holds entries by ID. It is a value: with gives another one, and shares all pieces but one with it.
type table struct {
	pieces []*piece
	count  int
}

func (t table) get(id coord.NodeID) *entry {
	i := int(id / pieceSize)
	if id <= 0 || i >= len(t.pieces) || t.pieces[i] == nil {
		return nil
	}
	return t.pieces[i][id%pieceSize]
}

// with sets the entry; nil deletes it.
func (t table) with(id coord.NodeID, e *entry) table {
	i := int(id / pieceSize)
	t.pieces = append(make([]*piece, 0, max(len(t.pieces), i+1)), t.pieces...)
	if i >= len(t.pieces) {
		t.pieces = t.pieces[:i+1]
	}
	p := &piece{}
	if t.pieces[i] != nil {
		*p = *t.pieces[i]
	}
	switch was := p[id%pieceSize]; {
	case was == nil && e != nil:
		t.count++
	case was != nil && e == nil:
		t.count--
	}
	p[id%pieceSize] = e
	t.pieces[i] = p
	if e == nil && *p == (piece{}) {
		t.pieces[i] = nil
	}
	return t
}

// all goes through the entries in the order of their IDs.
func (t table) all() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for _, p := range t.pieces {
			if p == nil {
				continue
			}
			for _, e := range slices.All(p[:]) {
				if e != nil && !yield(e) {
					return
				}
			}
		}
	}
}
