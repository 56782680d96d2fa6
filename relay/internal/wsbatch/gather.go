package wsbatch

import (
	"io"
	"sync"
)

// gatherSize is room for a message with its head, and those of its TLS records.
const gatherSize = MaxMessage + 512

// gathers are lent while a message is written.
var gathers = sync.Pool{New: func() any { return new([gatherSize]byte) }}

// Gatherer makes the writes of one message one. Above TLS it makes a few records of full length of the 4 KiB that a masked message
// is written in, and below TLS one segment to offload, with one system call, of its records. A nil one gathers nothing.
type Gatherer struct {
	Out io.Writer

	mu      sync.Mutex
	holding bool
	lent    *[gatherSize]byte // nil while nothing is held
	n       int               // bytes held
}

// Hold keeps what is written from now on until Flush.
func (g *Gatherer) Hold() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holding = true
}

// Write is io.Writer's.
func (g *Gatherer) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n+len(b) > gatherSize {
		if err := g.out(); err != nil {
			return 0, err
		}
	}
	if !g.holding || len(b) > gatherSize {
		return g.Out.Write(b)
	}
	if g.lent == nil {
		g.lent = gathers.Get().(*[gatherSize]byte)
	}
	g.n += copy(g.lent[g.n:], b)
	return len(b), nil
}

// Flush writes what was held.
func (g *Gatherer) Flush() error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holding = false
	return g.out()
}

func (g *Gatherer) out() error {
	if g.lent == nil {
		return nil
	}
	_, err := g.Out.Write(g.lent[:g.n])
	gathers.Put(g.lent)
	g.lent, g.n = nil, 0
	return err
}
