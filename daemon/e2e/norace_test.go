//go:build !race

package e2e

// searches reports whether the matrix has the pairs that must search for ports.
const searches = true
