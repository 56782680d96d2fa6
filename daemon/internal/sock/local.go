package sock

import (
	"context"
	"crypto/rand"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/peerpath"
	"github.com/warren-mesh/warren/relay"
)

const (
	// stunEvery keeps the NAT's mapping while there is traffic with peers: below the 30 s that many NATs keep one.
	stunEvery   = 25 * time.Second
	resolveTime = 5 * time.Second
	mappedKept  = 4 // addresses from STUN that are published

	// stunSoon is the time to the next round where one was lost, growing twofold up to stunEvery: on a busy machine, or a lossy link,
	// answers get lost that say nothing of the network. silentRounds in a row make a server's word void.
	stunSoon     = 3 * time.Second
	silentRounds = 2
)

// stunWaits are the times between the tries of a round, and after the last of them.
var stunWaits = [...]time.Duration{200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond}

// local is what the loop knows of this machine's own addresses.
type local struct {
	ifaces    []coord.Endpoint
	mapped    map[netip.AddrPort]mapping // by STUN server
	endpoints []coord.Endpoint           // both, without doubles
	servers   map[coord.RelayID][]netip.AddrPort
	blocked   bool // no STUN server answers
	hard      bool // servers see different ports of this machine: its NAT gives each destination one of its own
	told      LocalEndpoints

	next  time.Time // when localDue has something to do; zero: never
	round stunRound
	lost  int // rounds in a row that gave less than was known before
}

// mapping is our address as a STUN server has seen it, and how many rounds ago.
type mapping struct {
	addr   netip.AddrPort
	silent int
}

// stunRound asks every server until it answers.
type stunRound struct {
	on       bool
	began    time.Time
	tries    int
	next     time.Time
	asked    map[relay.STUNTransaction]stunRequest
	answered map[netip.AddrPort]bool
}

type stunRequest struct {
	relay coord.RelayID
	to    netip.AddrPort
	at    time.Time
}

// resolved is what the names of the relays stand for.
type resolved struct {
	id    coord.RelayID
	udp   string
	addrs []netip.AddrPort
}

// nextSTUN says when the next round is due; zero: none is. Without traffic only the latency of several relays is measured.
func (lo *local) nextSTUN(traffic bool) time.Time {
	switch {
	case lo.round.on || len(lo.servers) == 0:
		return time.Time{}
	case traffic && lo.lost > 0:
		return lo.round.began.Add(min(stunSoon<<min(lo.lost-1, 4), stunEvery))
	case traffic:
		return lo.round.began.Add(stunEvery)
	case len(lo.servers) > 1:
		return lo.round.began.Add(measureEvery)
	}
	return time.Time{}
}

// gather lists the addresses of this machine's interfaces.
func (l *loop) gather() {
	port := l.Port()
	if port == 0 {
		return
	}
	ifaces, err := net.Interfaces()
	if err != nil {
		l.log.Warn("this machine's interfaces cannot be read", "err", err)
	}
	var found []coord.Endpoint
	for _, ifi := range ifaces {
		if ifi.Flags&net.FlagUp == 0 || ifi.Name == l.cfg.TUNName || l.cfg.noLocal {
			continue
		}
		addrs, err := ifi.Addrs()
		if err != nil {
			continue // it went away
		}
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, ok := netip.AddrFromSlice(n.IP)
			if ap := netip.AddrPortFrom(ip.Unmap(), port); ok && l.valid(ap) {
				found = append(found, coord.Endpoint{Addr: ap, Kind: coord.EndpointLocal})
			}
		}
	}
	l.local.ifaces = found
	l.setEndpoints()
}

// network names the network that this machine is on, by the addresses that it has there; 0: it has none.
func (lo *local) network() uint64 {
	if len(lo.ifaces) == 0 {
		return 0
	}
	var addrs []netip.Addr
	for _, ep := range lo.ifaces {
		addrs = append(addrs, ep.Addr.Addr())
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	h := fnv.New64a()
	for _, a := range addrs {
		_, _ = h.Write(a.AsSlice())
	}
	return h.Sum64()
}

// setEndpoints makes the list of what others may reach us at, and tells them if it is another.
func (l *loop) setEndpoints() {
	lo := &l.local
	var list, mapped []coord.Endpoint
	for _, a := range lo.mapped {
		mapped = append(mapped, coord.Endpoint{Addr: a.addr, Kind: coord.EndpointSTUN})
	}
	slices.SortFunc(mapped, func(a, b coord.Endpoint) int { return a.Addr.Compare(b.Addr) })
	add := func(eps []coord.Endpoint, most int) {
		for _, ep := range eps {
			if len(list) < most && !slices.ContainsFunc(list, func(o coord.Endpoint) bool { return o.Addr == ep.Addr }) {
				list = append(list, ep)
			}
		}
	}
	add(lo.ifaces, coord.MaxEndpoints-mappedKept)
	add(l.portEndpoint(), coord.MaxEndpoints)
	add(mapped, coord.MaxEndpoints)
	if slices.Equal(list, lo.endpoints) {
		return
	}
	lo.endpoints = list
	l.dirty = true
	for p := range l.active {
		l.step(p, peerpath.EndpointsChanged{})
	}
}

// resolve looks up the addresses of the relays, and forgets those of others.
func (l *loop) resolve() {
	for id := range l.local.servers {
		if is := l.relays.find(id); is == nil || is.UDP == "" {
			delete(l.local.servers, id)
		}
	}
	for _, r := range l.relays.list {
		if r.UDP == "" {
			continue
		}
		if ap, err := netip.ParseAddrPort(r.UDP); err == nil {
			l.setResolved(resolved{r.ID, r.UDP, []netip.AddrPort{unmap(ap)}})
			continue
		}
		l.start(func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, resolveTime)
			defer cancel()
			found := resolved{id: r.ID, udp: r.UDP}
			host, service, err := net.SplitHostPort(r.UDP)
			if err != nil {
				return
			}
			port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
			if err != nil {
				return
			}
			ips, err := l.cfg.Resolver.LookupNetIP(ctx, "ip", host)
			if err != nil {
				l.log.Debug("the relay's name cannot be resolved", "relay", r.Name, "err", err)
				return
			}
			for _, ip := range ips {
				found.addrs = append(found.addrs, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
			}
			l.post(func(m *mail) { m.resolved = append(m.resolved, found) })
		})
	}
}

func (l *loop) setResolved(r resolved) {
	if is := l.relays.find(r.id); is == nil || is.UDP != r.udp {
		return // the answer to an old question
	}
	if l.local.servers == nil {
		l.local.servers = make(map[coord.RelayID][]netip.AddrPort)
	}
	if slices.Equal(l.local.servers[r.id], r.addrs) {
		return
	}
	l.local.servers[r.id] = r.addrs
	l.startSTUN()
}

// startSTUN begins a round, from the very sockets of WireGuard: the NAT's mapping is theirs.
func (l *loop) startSTUN() {
	lo := &l.local
	if l.Port() == 0 || len(lo.servers) == 0 {
		return
	}
	lo.round = stunRound{
		on: true, began: l.now, next: l.now,
		asked: make(map[relay.STUNTransaction]stunRequest), answered: make(map[netip.AddrPort]bool),
	}
	lo.next = l.now
}

// doubtSTUN is for a lost path, or one not found yet: perhaps the router has another address now, which no interface shows.
func (l *loop) doubtSTUN() {
	if lo := &l.local; !lo.round.on && l.now.Sub(lo.round.began) >= stunSoon {
		l.startSTUN()
	}
}

// localDue does what time asks for, of this machine's own.
func (l *loop) localDue() {
	lo := &l.local
	if lo.next.IsZero() || lo.next.After(l.now) {
		return
	}
	lo.next = time.Time{}
	if r := &lo.round; r.on && !r.next.After(l.now) {
		if r.tries < len(stunWaits) && l.askSTUN() {
			r.next = l.now.Add(stunWaits[r.tries])
			r.tries++
		} else {
			l.endSTUN()
		}
	}
	traffic := len(l.active) > 0
	if at := lo.nextSTUN(traffic); !at.IsZero() && !at.After(l.now) {
		l.startSTUN()
	}
	if lo.round.on {
		lo.next = earliest(lo.next, lo.round.next)
	}
	lo.next = earliest(lo.next, lo.nextSTUN(traffic))
	l.chooseHome()
}

// doubtMapped is for another network: one round of silence is enough then to forget what was seen from the last.
func (lo *local) doubtMapped() {
	lo.lost = 0
	for server, is := range lo.mapped {
		lo.mapped[server] = mapping{is.addr, silentRounds - 1}
	}
}

// askSTUN asks those that have not answered. It reports whether there are any.
func (l *loop) askSTUN() bool {
	r, asks := &l.local.round, false
	for id, addrs := range l.local.servers {
		for i := range 2 * len(addrs) { // each on both its ports, which tells the kind of our NAT
			to := addrs[i/2]
			if i%2 == 1 {
				to = otherPort(to)
			}
			if r.answered[to] || !to.IsValid() {
				continue
			}
			asks = true
			var tx relay.STUNTransaction
			_, _ = rand.Read(tx[:])
			r.asked[tx] = stunRequest{id, to, time.Now()}
			_ = l.bind.Bind.Send([][]byte{relay.AppendSTUNRequest(nil, tx)}, &conn.StdNetEndpoint{AddrPort: to})
		}
	}
	return asks
}

// endSTUN forgets what servers once said that have been silent for a while.
func (l *loop) endSTUN() {
	lo := &l.local
	lo.round.on = false
	if blocked := len(lo.round.answered) == 0; blocked != lo.blocked {
		lo.blocked, l.dirty = blocked, true
	}
	less := len(lo.round.answered) == 0
	for server, is := range lo.mapped {
		if lo.round.answered[server] {
			continue
		}
		if less, is.silent = true, is.silent+1; is.silent >= silentRounds {
			delete(lo.mapped, server)
		} else {
			lo.mapped[server] = is
		}
	}
	if lo.lost++; !less {
		lo.lost = 0
	}
	l.setEndpoints()
	if !lo.blocked {
		l.endMeasure()
	}
}

// endMeasure ends the round for the choice of a home.
func (l *loop) endMeasure() {
	r := &l.relays
	for id, addrs := range l.local.servers {
		if !slices.ContainsFunc(addrs, func(a netip.AddrPort) bool { return l.local.round.answered[a] }) {
			r.homing.silent(id)
		}
	}
	if to := r.homing.round(r.list, r.home, l.now); to != 0 {
		r.move = to
	}
}

// stunAnswer takes what a STUN server has said.
func (l *loop) stunAnswer(b []byte) {
	lo := &l.local
	tx, addr, ok := relay.ParseSTUNResponse(b)
	req, asked := lo.round.asked[tx]
	if !ok || !asked {
		l.drops.junk.Add(1)
		return
	}
	delete(lo.round.asked, tx)
	lo.round.answered[req.to] = true
	if lo.blocked {
		lo.blocked, l.dirty = false, true
	}
	l.relays.homing.measured(req.relay, l.now.Sub(req.at))
	if l.valid(addr) {
		if lo.mapped == nil {
			lo.mapped = make(map[netip.AddrPort]mapping)
		}
		was, is := lo.mapped[req.to], mapping{addr: unmap(addr)}
		if lo.mapped[req.to] = is; was.addr.IsValid() && was.addr.Addr() != is.addr.Addr() {
			l.askPort() // of a router that has another address, or is another
		}
		l.setEndpoints()
		l.learnNAT()
	}
	l.chooseHome()
}

// learnNAT compares what the servers have seen in this round, over IPv4.
func (l *loop) learnNAT() {
	lo := &l.local
	var first netip.AddrPort
	hard, several := false, false
	for server := range lo.round.answered {
		switch seen := lo.mapped[server].addr; {
		case !seen.Addr().Is4():
		case !first.IsValid():
			first = seen
		default:
			several, hard = true, hard || seen != first
		}
	}
	if !several || hard == lo.hard {
		return
	}
	lo.hard = hard
	for _, p := range l.peers {
		l.step(p, peerpath.OwnNAT{Hard: hard})
	}
}
