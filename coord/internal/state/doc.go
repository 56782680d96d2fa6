// Package state is the network in memory: what the store's log says goes in, and what comes out says who must be told
// what. It is pure: it knows no net, no disk and no clock, and has one owner.
//
//	log of the store ──▶ Apply(News): numbered changes, and how all that they name is now
//	                                     │ gathered for some milliseconds by the owner
//	                               Flush() ──▶ []Delivery: one body, encoded once, and whom it concerns
//
//	machine that reconnects ──▶ Since(id, number) ──▶ what came after; or a whole netmap: the base, which many get
//	                                                   alike, and what only this machine needs beside it
//	readers ──▶ View(): an immutable snapshot
//
// All numbers are the store's, so that a State that was just loaded says the same as one that has been there all the
// time, in this process or another. A machine's number counts only if the log has it: one from a history that was lost
// (a database restored from a backup, or one that lost its last commits with the power) gets a whole netmap.
//
// # Rules
//
// The compiled policy file (policy.Compiled) says who sees whom, which of its routes, and what may come in to each. It is
// told of every change of a machine that it goes by, and says whom that concerns. Machines of one sight see the same of
// all others and so are told in one body; who hears something else beside it, such as a change of its filter, is told
// apart, together with all who hear just that. An edit of the file compares what the followers of each sight saw with
// what they see; a Draft of it is worked out while the State answers others.
//
// A machine that comes back hears what came after its number only if the rules, and what they go by of itself, are as
// they were then; else it gets a whole netmap. So nobody keeps what it may see no more. Of a machine that the rules take
// for another now it hears that it is gone, unless it sees it, also where it never saw it: of that it learns a number.
//
// A change costs in proportion to the machines that follow and may see it. The snapshot's table is copied in
// pieces (table), so that a change copies little of it whatever the size of the network.
package state
