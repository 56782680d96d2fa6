// Package core decides what the daemon should do and what people see. It is pure: facts in, values out.
//
//	prefs ─┐                          ┌─▶ Plan    addresses, routes, peers, relays: the shells apply it
//	login ─┼─▶ Facts ─▶ State ────────┤
//	netmap ┘     ▲                    └─▶ Status  one snapshot for CLI and tray
//	             │
//	 what the shells report: paths, traffic, links, failures
//
// A Plan is a wish: it says how things should be, never how they came to be so, and applying it twice is as once.
package core
