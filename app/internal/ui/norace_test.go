//go:build !race

package ui

// slower: see race_test.go.
const slower = 1
