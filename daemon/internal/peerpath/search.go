package peerpath

import (
	"net/netip"
	"slices"
	"time"
)

// A NAT that gives each destination a port of its own ("hard") lets nobody guess the one at which its machine could be reached.
// Two machines of which one is behind such a NAT meet by chance instead (the birthday paradox): the hard side sends to
// the other's one known address from many sockets, and so opens as many ports; the other one sends to ports of the hard side's
// address at random. With 256 of 64,512 ports open, the odds are even after 175 probes, and 98 in 100 after 1,000.
//
// Both ends find their role in what they tell each other: who names several ports of one public address is behind a
// hard NAT. Probes to guessed ports tell the machine nothing; the message that at last arrives, one way or the other, is
// Heard, and is then proven as any other address is.
//
// That is much for a third party's address that a peer could name as its own. Hence it comes only after a hunt has found
// nothing, while there is traffic, 120 probes a second; searchTries times for one network and one address, and for
// whatever a peer names, once in searchLeast, searchMinutely times in a minute and searchHourly times in an hour, unless one
// found the peer. The second follows the first at once: who had bad luck, two in a hundred, has waited long enough.
const (
	// SearchPorts is how many ports the hard side opens.
	SearchPorts  = 256
	searchProbes = 1024
	searchEvery  = 50 * time.Millisecond
	searchBatch  = 6 // 120 a second

	searchAfter = 600 * time.Millisecond // of a hunt, which finds what can be found without
	searchFor   = 10 * time.Second       // longer than all probes take
	searchAgain = 3 * time.Second        // the hard side sends from all its ports again: some may have been hit meanwhile
	searchPause = searchFor              // from the beginning of the first search to the next, growing twofold
	searchTries = 4

	searchLeast    = searchFor // from the beginning of one search to the next, whatever happens
	searchMinutely = 3
	searchHourly   = 8
)

// The events and actions of a search.
type (
	// OwnNAT says whether this machine is behind a hard NAT, as far as is known.
	OwnNAT struct{ Hard bool }
	// OpenPorts wants a Ping sent to the address from each of SearchPorts sockets, opened for it if they are not yet.
	OpenPorts struct{ To netip.AddrPort }
	// GuessPorts wants that many Pings sent to ports of the address, each another one of 1024 and above, drawn at random.
	GuessPorts struct {
		To    netip.Addr
		Count int
	}
	// EndSearch says that sockets on which nothing came may be closed.
	EndSearch struct{}
)

func (OwnNAT) event()      {}
func (OpenPorts) action()  {}
func (GuessPorts) action() {}
func (EndSearch) action()  {}

// search is the state of one.
type search struct {
	hard   bool           // this machine is behind a hard NAT
	to     netip.AddrPort // whom the tries below were for; the port only where this side is the hard one
	wanted time.Time      // since when it would help; zero: it does not
	began  time.Time      // zero: none is under way
	opened time.Time      // the last OpenPorts
	sent   int            // probes of this one
	tries  int            // of this target on this network
	before time.Time      // not before that is the next
	next   time.Time      // zero: nothing is due
	starts []time.Time    // of the last hour, or since one found the peer; it outlives all else

	network uint64 // where this is; 0: not known
	others  []past // what came of searches on other networks, oldest first
}

// past is what came of searches on one network, that other things hold for than for the next.
type past struct {
	network uint64
	hard    bool
	to      netip.AddrPort
	tries   int
	before  time.Time
	left    time.Time // when that network was
}

// pastKept is how many are remembered, pastFor how long: networks change too.
const (
	pastKept = 8
	pastFor  = time.Hour
)

// again says when the starts of the last hour let another be.
func (s *search) again(now time.Time) time.Time {
	s.starts = slices.DeleteFunc(s.starts, func(at time.Time) bool { return now.Sub(at) >= time.Hour })
	n := len(s.starts)
	if n == 0 {
		return time.Time{}
	}
	again := s.starts[n-1].Add(searchLeast)
	if n >= searchMinutely {
		again = later(again, s.starts[n-searchMinutely].Add(time.Minute))
	}
	if n >= searchHourly {
		again = later(again, s.starts[n-searchHourly].Add(time.Hour))
	}
	return again
}

// target finds where the peer is for a search: the one public IPv4 address that it names, with its port, or several ports, as
// who is behind a hard NAT has. It is not valid where none is named, or more than one. What the peer said itself is newer than
// what the netmap says.
func (m *Machine) target() (at netip.AddrPort, hard bool) {
	from := fromNetmap
	for _, c := range m.cands.list {
		if c.origin&fromCallMe != 0 {
			from = fromCallMe
		}
	}
	for _, c := range m.cands.list {
		if !c.addr.Addr().Is4() || c.local || c.origin&from == 0 {
			continue
		}
		switch {
		case !at.IsValid():
			at = c.addr
		case at.Addr() != c.addr.Addr():
			return netip.AddrPort{}, false
		default:
			hard = true
		}
	}
	return at, hard
}

// searching does what a search asks for now.
func (m *Machine) searching(now time.Time) {
	s := &m.search
	if m.current != nil && !m.doubt {
		s.tries, s.before = 0, time.Time{} // what is found is worth finding again
		if m.current.addr.Addr() == s.to.Addr() {
			s.starts = nil
		}
	}
	at, hard := m.target()
	if s.next = (time.Time{}); !at.IsValid() || hard == s.hard || !m.relayUp || (m.current != nil && !m.doubt) || m.sent.IsZero() {
		m.endSearch()
		s.wanted = time.Time{}
		return
	}
	if hard {
		at = netip.AddrPortFrom(at.Addr(), 0)
	}
	if at != s.to {
		m.endSearch()
		*s = search{hard: s.hard, to: at, starts: s.starts, network: s.network, others: s.others}
	}
	if s.wanted.IsZero() {
		s.wanted = now
	}
	if !s.began.IsZero() && now.Sub(s.began) >= searchFor {
		s.before = s.began.Add(searchPause << s.tries)
		s.tries++
		m.endSearch()
	}
	if s.began.IsZero() {
		if s.tries >= searchTries {
			return
		}
		if start := later(later(s.wanted.Add(searchAfter), s.before), s.again(now)); now.Before(start) {
			s.next = start
			return
		}
		s.began, s.opened, s.sent = now, time.Time{}, 0
		s.starts = append(s.starts, now)
	}
	s.next = s.began.Add(searchFor)
	if s.hard {
		m.openPorts(now)
	} else {
		m.guessPorts(now)
	}
}

func (m *Machine) openPorts(now time.Time) {
	s := &m.search
	if s.opened.IsZero() || now.Sub(s.opened) >= searchAgain {
		s.opened = now
		m.out = append(m.out, OpenPorts{s.to})
	}
	s.next = earliest(s.next, s.opened.Add(searchAgain))
}

func (m *Machine) guessPorts(now time.Time) {
	s := &m.search
	due := min(searchProbes, searchBatch*(1+int(now.Sub(s.began)/searchEvery)))
	if due > s.sent {
		n := min(due-s.sent, 2*searchBatch) // who was late does not make up for it all at once
		s.sent = due
		m.out = append(m.out, GuessPorts{s.to.Addr(), n})
	}
	if s.sent < searchProbes {
		s.next = earliest(s.next, s.began.Add(time.Duration(s.sent/searchBatch)*searchEvery))
	}
}

func (m *Machine) endSearch() {
	if s := &m.search; !s.began.IsZero() {
		s.began = time.Time{}
		m.out = append(m.out, EndSearch{})
	}
}

// forgetSearches is for another peer than it was, where other things hold.
func (m *Machine) forgetSearches() {
	m.endSearch()
	m.search = search{hard: m.search.hard, starts: m.search.starts, network: m.search.network}
}

// changeSearch is for another network, or for the same with another NAT: what came of searches is remembered for where that was,
// so that neither a network that comes back nor one that only flaps has all of them done again.
func (m *Machine) changeSearch(now time.Time, network uint64, hard bool) {
	m.endSearch()
	s := &m.search
	if network == s.network && hard == s.hard && network != 0 {
		return
	}
	others := slices.DeleteFunc(s.others, func(p past) bool {
		return now.Sub(p.left) >= pastFor || p.network == s.network && p.hard == s.hard
	})
	if s.network != 0 && s.tries > 0 {
		others = append(others, past{s.network, s.hard, s.to, s.tries, s.before, now})
	}
	*s = search{hard: hard, starts: s.starts, network: network, others: others[max(0, len(others)-pastKept):]}
	for _, p := range s.others {
		if p.network == network && p.hard == hard {
			s.to, s.tries, s.before = p.to, p.tries, p.before
		}
	}
}
