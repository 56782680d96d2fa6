package peerpath

import (
	"net/netip"
	"time"
)

// Try is what became of one of the peer's addresses, on this machine's present network.
type Try struct {
	Addr     netip.AddrPort
	Local    bool          // of a range for local networks
	Probed   time.Time     // last; zero: never
	Answered time.Time     // last; zero: never, or not since it was given up
	Latency  time.Duration // of that answer
}

// Explanation is what a Machine knows of why the path is what it is.
type Explanation struct {
	Tries     []Try
	OwnHard   bool // this machine's NAT gives each destination a port of its own
	PeerHard  bool // the peer's does
	Searches  int  // for ports, that found nothing
	Searching bool
}

// Explain gives it.
func (m *Machine) Explain() Explanation {
	e := Explanation{OwnHard: m.search.hard, Searches: m.search.tries, Searching: !m.search.began.IsZero()}
	_, e.PeerHard = m.target()
	for _, c := range m.cands.list {
		t := Try{c.addr, c.local, c.lastProbe, c.lastPong, c.latency}
		if c.lastLoss.After(c.lastPong) {
			t.Answered = time.Time{}
		}
		e.Tries = append(e.Tries, t)
	}
	return e
}
