// Package server is a relay: it forwards sealed packets between the nodes of a network, over UDP and over
// WebSocket, and answers STUN. What the two ends say is drawn in package relay.
//
//	 UDP socket ──▶ loop ─┐                       ┌─▶ loop's Sender ──▶ UDP socket
//	                      ├─▶ forwarder ─▶ hub ───┤
//	WebSocket ──▶ reader ─┘   (one per  (sessions)└─▶ session's Queue ──▶ writer ──▶ WebSocket
//	                          goroutine)
//
// The hub has the sessions and decides; it knows no sockets. A forwarder belongs to the goroutine that reads, and
// rewrites the trailers of a batch in place. No lock is held while anything is sent.
//
// For a stranger nothing is kept: a cookie is all that a Hello gets, and a session begins with a Join that brings it
// back with a Ticket and the proof of the ticket's key. What is malformed, unknown or unproven is counted and dropped.
package server
