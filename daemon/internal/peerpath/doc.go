// Package peerpath decides by which path packets go to one peer: directly to one of its addresses, through its relay,
// through both while in doubt, or by none. It is pure: events and the time go in, actions come out.
//
//	            traffic                    our probe answered
//	idle ───────────────► relay, hunting ─────────────────────► direct, probed every second
//	 ▲  15 s without               ▲                                │ unanswered
//	 │                             │ 1.5 s unanswered               ▼
//	 └──────── (all) ──────────────┴───────────────── doubt: direct and relay
//
// An address proves nothing before a probe of ours to it was answered from it. Relay at once, direct as soon as proven.
// Going over both ways is harmless: WireGuard drops what it has seen (whitepaper, section 5.4.6).
//
// Hunting is probing all candidates, begun by a CallMe through the relay, so that both sides open their NATs at once
// (RFC 5128, section 3.3). A peer could name addresses of third parties as its own: therefore an address that has not
// answered yet gets five probes in any 30 s, all of a peer's together eighty, whatever happens. They are spread: one every
// 7.5 s, so that a path that opens unnoticed is found by then, and one for what happens in between; what is left, when a
// message came from there. One that has answered belongs to the peer, and is tried every second for a minute after
// the hunt last began anew, while there is traffic.
//
// What a direct path carries beyond the least is found out while it is used, and lowered when it carries less: mtu.go.
// A probe of the path in use that is not answered is asked again before it is taken for more than lost: inquiry.go.
//
// Where a hunt finds nothing and one side is behind a NAT with a port for each destination, ports are searched for: search.go.
//
// A machine without traffic hunts when it is called, and when its own network changes not long after that.
//
// Without traffic nothing is sent and Deadline is zero. The first packets after that go over the last proven
// path and the relay, since nobody knows whether the former still exists.
package peerpath
