//go:build !race

package peerpath

// scenarios is how many TestRandomScenarios plays.
const scenarios = 10_000
