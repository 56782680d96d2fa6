// Package key holds Warren's keys as types, so that one can never stand where another is meant.
//
//	           private half stays on     public half is known to        algorithm
//	Machine    the machine               coordination server            Ed25519: signs the start of a session
//	Node       the machine               every peer, relays             X25519:  WireGuard's static key
//	Disco      the machine (in memory)   every peer                     X25519:  seals path probes
//	Server     the coordination server   every machine (pinned)         Ed25519: signs netmaps and tickets
//	Relay      the relay                 every machine (in the netmap)  X25519:  proves the relay to its clients
//
// Public keys print as a prefix and 64 hexadecimal digits ("node:8f3c…") and read back the same way.
// Private keys print as "redacted" with every verb, in JSON and in log/slog; only Reveal gives their text,
// for the one file that keeps them. Nothing here compares secrets with ==.
package key
