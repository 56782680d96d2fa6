// Package core decides what the daemon should do and what people see. It is pure: facts in, values out.
//
//	prefs ─┐                          ┌─▶ Plan    addresses, routes, peers, relays: the shells apply it
//	login ─┼─▶ Facts ─▶ State ────────┤
//	netmap ┘     ▲                    └─▶ Status  one snapshot for CLI and tray
//	             │
//	 what the shells report: paths, traffic, links, failures
//
// Who leads where (Leads: the exit node in use, one router for each subnet) is decided anew at every netmap and every answer of
// an exit node, and carried on from one to the next, so that what works stays.
//
// A Plan is a wish: it says how things should be, never how they came to be so, and applying it twice is as once.
package core
