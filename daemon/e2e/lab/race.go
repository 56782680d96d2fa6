//go:build race

package lab

const (
	// Race reports whether the race detector is on.
	Race = true
	// Patience stretches all waits, and bounds that a program must keep: with the race detector programs are several times
	// slower, while others' tests run on the same processors.
	Patience = 4
)
