//go:build race

package peerpath

// scenarios is few here: the detector makes each of them take twenty times as long, and a machine has one owner.
const scenarios = 300
