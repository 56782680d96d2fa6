// Package relay is the vocabulary of Warren's relays: their frames, the Ticket that admits to them, and the Client.
//
// A relay forwards packets between the nodes of a network that cannot reach each other directly. Nodes seal what they
// send (WireGuard, and probes of their own); a relay sees who sends how much to whom, and no more. It knows a node by
// the first 8 bytes of its WireGuard public key, its Address.
//
// What goes over the wire, byte by byte, stands in protocol.md, with test vectors; here is why.
//
// # A session
//
//	client                                              relay
//	  │  Hello ───────────────────────────────────────▶  │  knows the relay's key: not a scanner
//	  │  ◀────────────────────────────────── Challenge   │  keeps nothing: the cookie is time and a code of it
//	  │  Join ────────────────────────────────────────▶  │  receives at its address (cookie), may use the relay
//	  │  ◀──────────────────────── Welcome or Refused    │  (ticket), is who the ticket names (box)
//	  │  Data, Ping ══════════════════════════════════▶  │
//	  │  ◀═════════════════════════ Data, Pong, Absent   │
//	  │  Leave ───────────────────────────────────────▶  │
//
// What a frame says stands at its end, so that a packet becomes a frame, and a frame the frame for another node, without
// being moved; and all packets of a burst stay of one size, as UDP_SEGMENT and UDP_GRO want them.
//
// Cookies strictly rise in time, so that of two Joins one is the later, and an older one a replay. Nobody's clock but the
// relay's matters, and that only against the ticket's. A Join that comes again with the cookie of its session lost its Welcome.
//
// A client pings much less while nothing is sent: an idle one is to cost its relay next to nothing (see liveness.go). A relay
// that restarted knows nobody and says nothing, so that Pings without an answer mean another Join.
//
// A Pong shows that the relay is there, and not that it forwards, nor that the way to it, since the Hello perhaps another,
// carries full packets. One to oneself, beside a Ping, shows both.
package relay
