//go:build !race

package tray

// slower: see race_test.go.
const slower = 1
