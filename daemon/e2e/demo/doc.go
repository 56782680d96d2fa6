// Demo shows what Warren does, with the real programs, on a network made of network namespaces: two machines behind
// two NATs find each other. `make demo` builds and runs it.
//
//	main.go      start and end; whatever happens between, the lab is taken down
//	story.go     what happens, step by step
//	crossing.go  the part with the fault: direct, relay, direct, under a ping that goes on
//	pinger.go    that ping, and what it lost
//	person.go    the browser's part in a login (package browser) left to a person: the lab's pages, forwarded to this machine's loopback
//	visit.go     `demo alice COMMAND…`: a command on a machine of the demo that runs
//	stay.go      on a terminal: what to try until Ctrl-C
//	picture.go   the network, drawn
//	screen.go    progress
//
// It exits with 0 only if all of it was so; with 130 if it was interrupted before.
package main
