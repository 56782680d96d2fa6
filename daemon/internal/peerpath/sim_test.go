package peerpath

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// sim is an internet with two hosts, in virtual time. What it does depends on its seed alone.
type sim struct {
	rng    *rand.Rand
	now    time.Time
	queue  simQueue
	order  uint64
	a, b   *simHost
	log    *strings.Builder // nil: not kept
	loss   float64          // of direct datagrams, each way
	dup    float64
	jitter time.Duration
	direct time.Duration // delay one way
	relay  time.Duration
	block  bool // no direct datagram passes between homes
	mtu    int  // of the direct path
	oneWay bool // only A has something to say; B sends WireGuard's keepalives
	lose   int  // the number of the probe, answer or CallMe that is lost on its way; 0: none
	told   int  // how many of these there were

	fresh   time.Time     // the last fault
	checked int           // packets before this one were sent before it
	opened  time.Time     // when a direct path became possible, or was last to be looked for anew; zero: there is none
	within  time.Duration // of opened, it is to be used
	moves   int
}

var simStart = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func newSim(seed uint64) *sim {
	s := &sim{
		rng: rand.New(rand.NewPCG(seed, 1)), now: simStart,
		direct: 10 * time.Millisecond, relay: 20 * time.Millisecond, mtu: 1420,
	}
	s.a, s.b = newSimHost(s, "A", 1), newSimHost(s, "B", 2)
	s.a.peer, s.b.peer = s.b, s.a
	return s
}

// simHost is one end: a Machine, and what its shell would do.
type simHost struct {
	s    *sim
	name string
	peer *simHost
	m    *Machine

	lan     netip.AddrPort
	nat     *simNAT // nil: lan is a public address
	home    int     // hosts of one home reach each other's lan address
	relayOn bool
	unseen  bool             // no STUN server has answered yet, so that the public address is not known
	offline bool             // it sleeps, or its cable is pulled
	stale   []netip.AddrPort // what it takes for its endpoints until a STUN server tells; nil: it knows

	deadline time.Time
	path     Path
	mtu      int    // 0: SafeMTU
	alarm    uint64 // the order of the event that steps at the deadline

	sentAt    []time.Time // each data packet, by number
	arrived   []time.Time // each data packet of the other, by number; zero: never
	lastSent  time.Time
	owes      bool // a keepalive is due
	handshake int  // initiations that arrived
	probes    []simProbe
	answered  map[netip.AddrPort]time.Time // when each address last answered
	direct    time.Time                    // since when the direct path is the one that works; zero: it is not
	callMes   int
	lastAct   time.Time
	door      int // the socket at which the peer was last heard through a hard NAT; 0: WireGuard's own
	opened    int // pings from sockets of a search
	guessed   []time.Time
}

type simProbe struct {
	to    netip.AddrPort
	at    time.Time
	owned bool // the address had answered lately
	mtu   int
}

// simNAT maps a port to itself whatever the destination and lets in only whom was sent to within its lifetime:
// endpoint-independent mapping, address-and-port-dependent filtering (RFC 4787); or, if it is restricted, address-dependent.
type simNAT struct {
	restricted bool
	public     netip.AddrPort
	life       time.Duration
	sent       map[netip.AddrPort]time.Time

	hard  bool               // every socket gets a port of its own for every destination
	ports map[uint16]simPort // of a hard one, by number
}

// simPort is a port of a hard NAT: whose it is, and whom it lets in.
type simPort struct {
	socket int
	peer   netip.AddrPort
	at     time.Time
}

// port gives the port by which a socket reaches an address.
func (n *simNAT) port(s *sim, socket int, to netip.AddrPort) netip.AddrPort {
	for number, p := range n.ports {
		if p.socket == socket && p.peer == to && s.now.Sub(p.at) <= n.life {
			n.ports[number] = simPort{socket, to, s.now}
			return netip.AddrPortFrom(n.public.Addr(), number)
		}
	}
	number := uint16(1024 + s.rng.IntN(1<<16-1024))
	for _, taken := n.ports[number]; taken; _, taken = n.ports[number] {
		number = uint16(1024 + s.rng.IntN(1<<16-1024))
	}
	n.ports[number] = simPort{socket, to, s.now}
	return netip.AddrPortFrom(n.public.Addr(), number)
}

// admits reports whether packets from there are let in.
func (n *simNAT) admits(from netip.AddrPort, now time.Time) bool {
	for to, at := range n.sent {
		if now.Sub(at) <= n.life && (to == from || (n.restricted && to.Addr() == from.Addr())) {
			return true
		}
	}
	return false
}

func newSimHost(s *sim, name string, home int) *simHost {
	h := &simHost{
		s: s, name: name, m: New(nil), home: home, relayOn: true, answered: map[netip.AddrPort]time.Time{},
		lan: netip.MustParseAddrPort(fmt.Sprintf("192.168.%d.2:1000", home)),
	}
	h.nat = &simNAT{
		public: netip.MustParseAddrPort(fmt.Sprintf("203.0.113.%d:1000", home)),
		life:   30 * time.Second, sent: map[netip.AddrPort]time.Time{},
	}
	return h
}

// endpoints are what the host knows and tells of itself.
func (h *simHost) endpoints() []netip.AddrPort {
	switch {
	case h.stale != nil:
		return h.stale
	case h.nat == nil || h.unseen:
		return []netip.AddrPort{h.lan}
	}
	if h.nat.hard { // two servers see two ports
		other := netip.AddrPortFrom(h.nat.public.Addr(), h.nat.public.Port()+1)
		return []netip.AddrPort{h.lan, h.nat.public, other}
	}
	return []netip.AddrPort{h.lan, h.nat.public}
}

// works gives the only address at which the host reaches the other directly.
func (h *simHost) works() netip.AddrPort {
	if h.home == h.peer.home || h.peer.nat == nil {
		return h.peer.lan
	}
	return h.peer.nat.public
}

// look notes since when the direct path that works is used.
func (h *simHost) look() {
	uses := h.path.Direct == h.works()
	if h.peer.nat != nil && h.peer.nat.hard {
		uses = h.path.Direct.IsValid() && h.path.Direct.Addr() == h.works().Addr()
	}
	switch {
	case !uses:
		h.direct = time.Time{}
	case h.direct.IsZero():
		h.direct = h.s.now
	}
}

// owned reports whether the address has shown lately that it is the other's.
func (h *simHost) owned(addr netip.AddrPort) bool {
	at, ok := h.answered[addr]
	return ok && h.s.now.Sub(at) < trustFor
}

// meet tells both of each other.
func (s *sim) meet() {
	for _, h := range []*simHost{s.a, s.b} {
		if h.nat != nil && h.nat.hard {
			h.step(OwnNAT{Hard: true})
		}
		h.step(Relay{ID: 1, Up: h.relayOn && h.peer.relayOn})
		h.step(Candidates{Addrs: h.peer.endpoints()})
	}
}

func (s *sim) setRelay(up bool) {
	for _, h := range []*simHost{s.a, s.b} {
		h.relayOn = up
	}
	for _, h := range []*simHost{s.a, s.b} {
		h.step(Relay{ID: 1, Up: up})
	}
}

func (h *simHost) step(ev Event) {
	for _, act := range slices.Clone(h.m.Step(h.s.now, ev)) {
		h.lastAct = h.s.now
		h.do(act)
	}
	if d := h.m.Deadline(); !d.IsZero() && !d.After(h.s.now) {
		panic(fmt.Sprintf("%s: the deadline has passed by %v, with nothing left to do", h.name, h.s.now.Sub(d)))
	}
	if d := h.m.Deadline(); d != h.deadline {
		h.deadline = d
		if !d.IsZero() {
			h.alarm = h.s.at(d, func(order uint64) {
				if order == h.alarm {
					h.deadline = time.Time{}
					h.step(nil)
				}
			})
		} else {
			h.alarm = 0
		}
	}
}

func (h *simHost) do(act Action) {
	h.s.logf("%s %s", h.name, describe(act))
	switch act := act.(type) {
	case Probe:
		h.probes = append(h.probes, simProbe{act.To, h.s.now, h.owned(act.To), act.MTU})
		if act.MTU > h.s.mtu {
			return
		}
		lost := h.s.loses()
		h.datagram(act.To, func(to *simHost, from netip.AddrPort) {
			if lost {
				return
			}
			lost := h.s.loses()
			to.datagram(from, func(to *simHost, from netip.AddrPort) {
				if lost {
					return
				}
				to.answered[from] = to.s.now
				to.step(Pong{Number: act.Number, From: from})
			})
			to.step(Heard{Addr: from})
		})
	case SendCallMe:
		h.callMes++
		if h.stale != nil { // who calls asks its STUN servers, which cannot be heard while it is offline
			h.s.at(h.s.now.Add(2*h.s.relay), func(uint64) {
				if h.stale != nil && !h.offline {
					h.stale = nil
					h.step(EndpointsChanged{})
				}
			})
		}
		addrs := h.endpoints()
		if !h.s.loses() {
			h.relayed(func(to *simHost) { to.step(CallMe{Addrs: addrs}) })
		}
	case OpenPorts:
		for socket := 1; socket <= SearchPorts; socket++ {
			h.opened++
			h.datagramFrom(socket, act.To, func(to *simHost, from netip.AddrPort) { to.step(Heard{Addr: from}) })
		}
	case GuessPorts:
		for range act.Count {
			h.guessed = append(h.guessed, h.s.now)
			port := netip.AddrPortFrom(act.To, uint16(1024+h.s.rng.IntN(1<<16-1024)))
			h.datagram(port, func(to *simHost, from netip.AddrPort) { to.step(Heard{Addr: from}) })
		}
	case UsePath:
		h.path = act.Path
		h.look()
	case UseMTU:
		h.mtu = act.MTU
	case ResendHandshake:
		h.sendHandshake()
	}
}

// loses reports whether the probe, answer or CallMe that goes out now is lost behind the NATs that it opens.
func (s *sim) loses() bool {
	s.told++
	if s.told == s.lose {
		s.logf("-- lost")
		return true
	}
	return false
}

func describe(act Action) string {
	switch act := act.(type) {
	case Probe:
		if act.MTU != 0 {
			return fmt.Sprintf("probes %s with %d", act.To, act.MTU)
		}
		return fmt.Sprintf("probes %s", act.To)
	case UseMTU:
		return fmt.Sprintf("sends up to %d", act.MTU)
	case UsePath:
		return fmt.Sprintf("uses %s because %s", act.Path, act.Reason)
	case SendCallMe:
		return "calls"
	case OpenPorts:
		return "opens ports to " + act.To.String()
	case GuessPorts:
		return fmt.Sprintf("guesses %d ports of %s", act.Count, act.To)
	case EndSearch:
		return "ends the search"
	default:
		return "resends the handshake"
	}
}

// send sends a packet of WireGuard's by the present path.
func (h *simHost) send(arrive func(*simHost)) {
	if h.path.Relay != 0 {
		h.relayed(arrive)
	}
	if h.path.Direct.IsValid() {
		h.datagram(h.path.Direct, func(to *simHost, _ netip.AddrPort) { arrive(to) })
	}
}

// data sends one numbered data packet.
func (h *simHost) data() {
	n := len(h.sentAt)
	h.sentAt = append(h.sentAt, h.s.now)
	h.peer.arrived = append(h.peer.arrived, time.Time{})
	h.send(func(to *simHost) {
		if to.arrived[n].IsZero() {
			to.arrived[n] = to.s.now
		}
		to.owe()
	})
	h.sent()
}

// keepaliveTimeout is WireGuard's KeepaliveTimeout: who received something and has nothing to say, says that.
const keepaliveTimeout = 10 * time.Second

// owe has a keepalive sent, unless something else is before. Where both talk there is no need, but at the end.
func (h *simHost) owe() {
	if h.owes || !h.s.oneWay {
		return
	}
	h.owes = true
	last := h.lastSent
	h.s.at(h.s.now.Add(keepaliveTimeout), func(uint64) {
		if h.owes && h.lastSent == last {
			h.send(func(*simHost) {})
			h.sent()
		}
	})
}

func (h *simHost) sent() {
	h.owes, h.lastSent = false, h.s.now
	h.step(Sent{})
}

func (h *simHost) startHandshake() {
	h.sendHandshake()
	h.step(Sent{})
	h.step(HandshakeSent{})
}

func (h *simHost) sendHandshake() {
	h.send(func(to *simHost) {
		to.handshake++
		to.send(func(back *simHost) { back.step(HandshakeAnswered{}) })
		to.step(Sent{})
	})
}

// talk has both send a packet every interval, or only A, until the time is over.
func (s *sim) talk(every, during time.Duration) {
	end := s.now.Add(during)
	var tick func(uint64)
	tick = func(uint64) {
		for _, h := range s.talkers() {
			h.data()
		}
		if s.now.Add(every).Before(end) {
			s.at(s.now.Add(every), tick)
		}
	}
	tick(0)
	s.run(end)
}

// talkers are those who have traffic, and so want a direct path.
func (s *sim) talkers() []*simHost {
	if s.oneWay {
		return []*simHost{s.a}
	}
	return []*simHost{s.a, s.b}
}

func (h *simHost) relayed(arrive func(*simHost)) {
	if h.relayOn && h.peer.relayOn && !h.offline {
		h.s.at(h.s.now.Add(h.s.relay+h.s.jitters()), func(uint64) {
			if !h.peer.offline {
				arrive(h.peer)
			}
		})
	}
}

func (s *sim) jitters() time.Duration {
	if s.jitter == 0 {
		return 0
	}
	return time.Duration(s.rng.Int64N(int64(s.jitter)))
}

// datagram sends directly, through both NATs.
func (h *simHost) datagram(to netip.AddrPort, arrive func(to *simHost, from netip.AddrPort)) {
	h.datagramFrom(h.door, to, arrive)
}

// datagramFrom sends from one of the sockets that a search has opened, or from WireGuard's.
func (h *simHost) datagramFrom(socket int, to netip.AddrPort, arrive func(to *simHost, from netip.AddrPort)) {
	s, peer := h.s, h.peer
	if h.offline {
		return
	}
	from := h.lan
	local := h.home == peer.home && to == peer.lan
	switch {
	case local || h.nat == nil:
	case h.nat.hard:
		from = h.nat.port(s, socket, to)
	default:
		from = h.nat.public
		h.nat.sent[to] = s.now
	}
	copies := 1
	if s.rng.Float64() < s.dup {
		copies = 2
	}
	for range copies {
		if s.rng.Float64() < s.loss {
			continue
		}
		s.at(s.now.Add(s.direct+s.jitters()), func(uint64) {
			switch {
			case peer.offline:
				return
			case local && h.home == peer.home && to == peer.lan:
			case s.block || (h.home == peer.home && to != peer.lan):
				return // no hairpin at home
			case peer.nat == nil && to == peer.lan:
			case peer.nat != nil && peer.nat.hard:
				at, ok := peer.nat.ports[to.Port()]
				if !ok || to.Addr() != peer.nat.public.Addr() || at.peer != from || s.now.Sub(at.at) > peer.nat.life {
					return
				}
				peer.door = at.socket
			case peer.nat != nil && to == peer.nat.public:
				if !peer.nat.admits(from, s.now) {
					return
				}
			default:
				return
			}
			arrive(peer, from)
		})
	}
}

func (s *sim) logf(format string, args ...any) {
	if s.log != nil {
		fmt.Fprintf(s.log, "%6.2f  %s\n", s.now.Sub(simStart).Seconds(), fmt.Sprintf(format, args...))
	}
}

// run lets everything happen that happens before the time.
func (s *sim) run(until time.Time) {
	for len(s.queue) > 0 && s.queue[0].at.Before(until) {
		ev := heap.Pop(&s.queue).(simEvent)
		s.now = ev.at
		ev.do(ev.order)
	}
	s.now = until
}

func (s *sim) pass(d time.Duration) { s.run(s.now.Add(d)) }

func (s *sim) at(when time.Time, do func(order uint64)) uint64 {
	s.order++
	if when.Before(s.now) {
		when = s.now
	}
	heap.Push(&s.queue, simEvent{when, s.order, do})
	return s.order
}

type simEvent struct {
	at    time.Time
	order uint64
	do    func(order uint64)
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || (q[i].at.Equal(q[j].at) && q[i].order < q[j].order)
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
