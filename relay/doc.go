// Package relay is the vocabulary of Warren's relays: their frames, the Ticket that admits to them, and the Client.
//
// A relay forwards packets between the nodes of a network that cannot reach each other directly. Nodes seal what they
// send (WireGuard, and probes of their own); a relay sees who sends how much to whom, and no more. It knows a node by
// the first 8 bytes of its WireGuard public key, its Address. For a second implementation there is protocol.md, with test
// vectors.
//
// # The wire
//
// A frame is one UDP datagram, or a part of a WebSocket message (below). What a frame says stands at its end, so that
// a packet becomes a frame, and a frame the frame for another node, without being moved; and all packets of a burst
// stay of one size, as UDP_SEGMENT and UDP_GRO want them. Numbers are big endian, sizes in bytes:
//
//	Data       0x01  both ways  │ packet 1… │ address 8 │ tag 8 │ type 1 │
//	Absent     0x02  to client              │ address 8 │ tag 8 │ type 1 │
//	Hello      0x03  to relay   │ version 1 = 1 │ nonce 8 │ code 16 │ zero 1303 │ type 1 │      1,329 in all
//	Challenge  0x04  to client  │ nonce 8 │ cookie 24 │ zero 1296 │ type 1 │                      1,329 in all
//	Join       0x05  to relay   │ cookie 24 │ length 2 │ ticket │ box(flags 1 = 0) │ type 1 │
//	Welcome    0x06  to client  │ box(tag 8, observed 18, idle seconds 2) │ type 1 │
//	Refused    0x07  to client  │ box(reason 1) │ type 1 │
//	Ping       0x08  to relay   │ box(counter 8, zero 18, ticket or nothing) │ tag 8 │ type 1 │
//	Pong       0x09  to client  │ box(counter 8, observed 18) │ tag 8 │ type 1 │
//	Leave      0x0a  to relay   │ box(counter 8) │ tag 8 │ type 1 │
//	Bye        0x0b  to client  │ box(reason 1) │ tag 8 │ type 1 │
//	Drain      0x0c  to client  │ box(seconds 2) │ tag 8 │ type 1 │
//
//	address   in a Data frame to the relay whom it is for, in one from the relay whom it is from
//	tag       the session: that of the sender to the relay, that of the receiver from it
//	code      HMAC-SHA256(the relay's public key, "warren relay hello v1" and all that stands before), first 16
//	observed  the client's address as the relay sees it: IPv6, or IPv4 mapped into it, 16; port 2
//	box(…)    a random nonce 24, then XChaCha20-Poly1305 of the content with its tag of 16, under HMAC-SHA256(X25519
//	          of node key and relay key, "warren relay v1"). Beside the content it authenticates: in a Join all that
//	          stands before it and the type; in Welcome and Refused the Join's cookie and the type; in the others tag
//	          and type
//
// A content may grow at its end in later versions; who does not know the rest ignores it.
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
// Cookies are good for 10 seconds and strictly rise in time: a Join replaces the session of its node unless that one
// was opened with the same cookie (then its Welcome is repeated) or a later one (then it is a replay). Nobody's clock
// but the relay's matters, and that only against the ticket's.
//
// The counter of Ping and Leave rises within a session; what does not rise is ignored. A Ping from another address
// moves the session there, and one with a newer ticket prolongs it. A client pings when nothing came for 25 seconds, over a
// WebSocket for 40, or much less while there is traffic, and joins again when three Pings have no answer: a relay that restarted knows
// nobody and says nothing. Absent is a hint, at most ten a second: the address has no session here.
//
// Data for one's own address comes back. A full packet there beside a Ping shows what the Pong does not: that the relay forwards,
// and that the way to it, since the Hello perhaps another, carries such packets. Five a second count for no rate.
//
// Drain says that the relay will stop after so many seconds at the most: the session goes on until then, and whoever has
// another relay moves there in peace. It is repeated; a relay that drains answers no STUN.
//
// No answer is longer than its question. Hello and Challenge are as long as the longest packet of a node, so that nobody joins
// by a way that carries only short ones. What is malformed, unknown or unproven gets none.
//
// # STUN
//
// The UDP port also answers STUN Binding requests (RFC 8489) that are at least as long as the answer, 32 bytes over
// IPv4 and 44 over IPv6; AppendSTUNRequest pads. A datagram is STUN if its first two bits are zero, bytes 4 to 7 are
// the magic cookie and bytes 2 and 3 its length less 20. A WireGuard message never is, relayed or not (see IsSTUN).
// The port above answers STUN alone, and answers for the first one where a request asks for that (CHANGE-REQUEST, RFC 5780):
// by the two a client learns what its NAT does.
//
// # WebSocket
//
// Where UDP is blocked the same frames go over a WebSocket at the path /relay, below TLS and HTTP/1.1. A binary
// message of at most 65,536 bytes is one or more of │ length 2 │ frame │. The Hello's answer and all that follows are
// the same; a cookie is for one connection.
//
// # Tickets
//
//	│ version 1 = 1 │ issuer 32 │ node 32 │ not after, Unix seconds 8 │ signature 64 │                 137 in all
//
// The coordination server signs all before the signature in the context "warren relay ticket v1" (key.Server.Sign).
package relay
