// Package state is the network in memory: an event goes in, and what comes out says who must be told what. It is pure:
// it knows no net, no disk and no clock, and has one owner.
//
//	event ──▶ Apply(now, event) ──▶ numbered, kept in a log
//	                                     │ gathered for some milliseconds by the owner
//	                               Flush() ──▶ []Delivery: one body, encoded once, and whom it concerns
//
//	machine that reconnects ──▶ Since(id, number) ──▶ what came after, or a whole netmap
//	readers ──▶ View(): an immutable snapshot
//
// A change costs in proportion to the machines that are online and may see it. The snapshot's table is copied in
// pieces (table), so that a change copies little of it whatever the size of the network.
package state
