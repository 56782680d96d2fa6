//go:build race

package tray

// slower is how much the race detector may slow things down that have to be quick.
const slower = 10
