package netcheck

import (
	"net/netip"
	"time"

	"github.com/warren-mesh/warren/coord"
)

// Family is a version of IP.
type Family uint8

// The families.
const (
	IPv4 Family = iota
	IPv6
	Families = int(iota)
)

// FamilyOf gives an address's family.
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// Socket is one of the sockets that a check has in each family.
type Socket uint8

// The sockets.
const (
	Mapping Socket = iota
	Filtering
	Size    // sends unfragmented, or not at all
	Sockets = int(iota)
)

// Server is a relay's address in one family. Other is its second port, not valid where there is none.
type Server struct {
	Relay       coord.RelayID
	Addr, Other netip.AddrPort
}

// Local is what this machine is in one family.
type Local struct {
	Addr  netip.Addr      // towards the internet; not valid: there is no route
	Ports [Sockets]uint16 // of the sockets
}

// Ask wants a STUN request sent. Size is that of the whole packet, with all headers; 0: as short as may be.
type Ask struct {
	ID     uint64
	Family Family
	Socket Socket
	To     netip.AddrPort
	Size   int
	// OtherPort has the server answer from its second port.
	OtherPort bool
}

// Greet wants a datagram sent that says nothing, and which the check would know again.
type Greet struct {
	Family Family
	Socket Socket
	To     netip.AddrPort
}

// Action is an Ask or a Greet.
type Action interface{ action() }

func (Ask) action()   {}
func (Greet) action() {}

// Event is an Answer or a Greeted.
type Event interface{ event() }

// Answer came for the Ask of that ID.
type Answer struct {
	ID   uint64
	From netip.AddrPort
	Seen netip.AddrPort // where the server saw the request come from
	RTT  time.Duration
}

// Greeted says that a Greet arrived at one of the sockets.
type Greeted struct{ Family Family }

func (Answer) event()  {}
func (Greeted) event() {}

// tries are when a question is asked, since it first was; what has no answer after patience has none.
var tries = [...]time.Duration{0, 250 * time.Millisecond, 600 * time.Millisecond, 1000 * time.Millisecond}

const patience = 1600 * time.Millisecond

// The bounds of one check, whatever the network map names.
const (
	maxServers = 8 // in each family
	maxAsks    = 256
)

// sizes are those of packets that are tried: Ethernet's, with PPPoE, usual tunnels and IPv6's least; and a jumbo frame.
var sizes = [...]int{9000, 1500, 1492, 1480, 1460, 1440, 1420, 1400, 1360, 1340, 1280}

// question is an Ask with what became of it.
type question struct {
	Ask
	began    time.Time
	tried    int
	answered bool
	Answer
}

// side is a check in one family.
type side struct {
	local   Local
	servers []Server
	sized   bool      // the sizes are being asked
	greets  time.Time // the first Greet; zero: none yet
	greeted int       // how often it was tried
	hairpin bool
}

// Check is one check. Use New.
type Check struct {
	began     time.Time
	sides     [Families]side
	questions []*question
	end       time.Time // of the last Step
}

// New plans a check. Servers of a family that this machine has no address of are left out.
func New(now time.Time, local [Families]Local, servers []Server) *Check {
	c := &Check{began: now, end: now}
	for f := range c.sides {
		c.sides[f].local = local[f]
	}
	for _, s := range servers {
		f := FamilyOf(s.Addr.Addr())
		sd := &c.sides[f]
		if !sd.local.Addr.IsValid() || len(sd.servers) >= maxServers {
			continue
		}
		sd.servers = append(sd.servers, s)
		c.ask(now, Ask{Family: f, Socket: Mapping, To: s.Addr})
		if s.Other.IsValid() {
			c.ask(now, Ask{Family: f, Socket: Mapping, To: s.Other})
		}
		if len(sd.servers) == 1 {
			c.ask(now, Ask{Family: f, Socket: Filtering, To: s.Addr})
			c.ask(now, Ask{Family: f, Socket: Filtering, To: s.Addr, OtherPort: true})
		}
	}
	return c
}

func (c *Check) ask(now time.Time, a Ask) {
	if len(c.questions) < maxAsks {
		a.ID = uint64(len(c.questions) + 1)
		c.questions = append(c.questions, &question{Ask: a, began: now})
	}
}

// Step takes an event into account, if not nil, and gives what is to be done.
func (c *Check) Step(now time.Time, ev Event) (acts []Action) {
	c.end = now
	switch ev := ev.(type) {
	case Answer:
		c.answer(now, ev)
	case Greeted:
		c.sides[ev.Family].hairpin = true
	}
	for _, q := range c.questions {
		for !q.answered && q.tried < len(tries) && !now.Before(q.began.Add(tries[q.tried])) {
			if q.tried++; q.tried == len(tries) || now.Before(q.began.Add(tries[q.tried])) {
				acts = append(acts, q.Ask)
			}
		}
	}
	for f := range c.sides {
		acts = append(acts, c.greet(now, Family(f))...)
	}
	return acts
}

func (c *Check) answer(now time.Time, a Answer) {
	if a.ID == 0 || a.ID > uint64(len(c.questions)) || !a.Seen.IsValid() {
		return
	}
	q := c.questions[a.ID-1]
	sd := &c.sides[q.Family]
	want := q.To
	if q.OtherPort {
		want = sd.servers[0].Other
	}
	if q.answered || a.From != want || FamilyOf(a.Seen.Addr()) != q.Family {
		return
	}
	q.answered, q.Answer = true, a
	if !sd.sized && q.Socket == Mapping && q.To == serverOf(sd, q.To).Addr {
		sd.sized = true
		for _, size := range sizes {
			c.ask(now, Ask{Family: q.Family, Socket: Size, To: q.To, Size: size})
		}
	}
}

// serverOf finds a server by either address.
func serverOf(sd *side, addr netip.AddrPort) Server {
	for _, s := range sd.servers {
		if s.Addr == addr || s.Other == addr {
			return s
		}
	}
	return Server{}
}

// greet has the two sockets greet each other as soon as both know where they are seen, if there is a NAT between.
func (c *Check) greet(now time.Time, f Family) []Action {
	sd := &c.sides[f]
	if sd.hairpin || sd.greeted >= len(tries) {
		return nil
	}
	one, two := c.seen(f, Mapping), c.seen(f, Filtering)
	if !one.IsValid() || !two.IsValid() || one.Addr() == sd.local.Addr {
		return nil
	}
	if sd.greets.IsZero() {
		sd.greets = now
	}
	if now.Before(sd.greets.Add(tries[sd.greeted])) {
		return nil
	}
	sd.greeted++
	return []Action{Greet{f, Filtering, one}, Greet{f, Mapping, two}}
}

// seen gives where the first server that answered saw a socket.
func (c *Check) seen(f Family, s Socket) netip.AddrPort {
	for _, q := range c.questions {
		if q.answered && q.Family == f && q.Socket == s {
			return q.Seen
		}
	}
	return netip.AddrPort{}
}

// Deadline says when to call Step again if nothing happens before. Zero: the check has ended.
func (c *Check) Deadline() time.Time {
	var next time.Time
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for _, q := range c.questions {
		switch end := q.began.Add(patience); {
		case q.answered || !c.end.Before(end):
		case q.tried < len(tries):
			sooner(q.began.Add(tries[q.tried]))
		default:
			sooner(end)
		}
	}
	for f := range c.sides {
		switch sd := &c.sides[f]; {
		case sd.greets.IsZero() || sd.hairpin || !c.end.Before(sd.greets.Add(patience)):
		case sd.greeted < len(tries):
			sooner(sd.greets.Add(tries[sd.greeted]))
		default:
			sooner(sd.greets.Add(patience))
		}
	}
	return next
}
