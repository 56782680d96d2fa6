//go:build !race

package lab

const (
	// Race reports whether the race detector is on.
	Race = false
	// Patience stretches all waits, and bounds that a program must keep.
	Patience = 1
)
