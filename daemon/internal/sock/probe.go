package sock

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"

	"github.com/warren-mesh/warren/daemon/internal/disco"
	"github.com/warren-mesh/warren/daemon/internal/peerpath"
)

// fullSize is the UDP payload of the largest packet that WireGuard makes of what every path must carry. Every probe that decides
// on a path is that long: a path that small packets pass and large ones do not is no path, and answers none.
var fullSize = wireSize(peerpath.SafeMTU)

// relaySize is the same for what a relay's link may carry: 1,497 bytes in all over IPv4.
var relaySize = wireSize(peerpath.PadMTU)

// wireSize is the UDP payload of the largest packet that WireGuard makes of packets up to an MTU: it pads them to
// multiples of 16 (whitepaper, section 5.4.6), but never one of up to peerpath.PadMTU beyond that.
// A larger one it pads by what is over.
func wireSize(mtu int) int {
	const header, tag, unit = 16, 16, 16
	if mtu > peerpath.PadMTU {
		mtu += unit - 1
	}
	return header + mtu + tag
}

// probeTime is how long the answer to a probe is waited for.
const probeTime = 10 * time.Second

// receive takes a datagram that is not WireGuard's.
func (l *loop) receive(d datagram) {
	sender, _ := disco.Sender(d.b)
	ep := (*l.discos.Load())[sender]
	if ep == nil || (d.link != nil && d.ep != ep) {
		l.drops.junk.Add(1)
		return
	}
	p := l.peers[ep.key]
	if p == nil {
		return
	}
	m, err := disco.Open(p.shared, d.b)
	if err != nil {
		l.drops.junk.Add(1)
		return
	}
	if !p.window.Accept(m.Number()) {
		l.drops.replay.Add(1)
		return
	}
	p.heard = l.now
	l.message(p, d, m)
}

// message takes a message that the peer has sent, and that is new.
func (l *loop) message(p *peer, d datagram, m disco.Message) {
	var from netip.AddrPort
	if d.from != nil {
		from = unmap(d.from.AddrPort)
	}
	if d.door != nil {
		if !l.enter(p, d.door) {
			return
		}
		d.from = d.door.inner // what is sent there goes out by the door
	}
	switch m := m.(type) {
	case disco.Ping:
		if m.Node != p.Key {
			l.drops.junk.Add(1)
			return
		}
		pong := disco.Pong{Echo: m.Seq, Observed: from}
		if d.from == nil {
			l.sendLink(p, d.link, pong)
		} else if l.valid(from) {
			l.admit(p, d.from, false)
			_ = l.sendDirect(p, d.from, pong)
		}
		l.step(p, peerpath.Heard{Addr: from})
	case disco.Pong:
		l.pong(p, d, from, m)
	case disco.CallMe:
		if d.from != nil {
			l.drops.junk.Add(1) // it makes no sense to be called over a direct path, and would be taken for one
			return
		}
		l.step(p, peerpath.CallMe{Addrs: m.Endpoints})
	case disco.Meet:
		if d.from != nil {
			l.drops.junk.Add(1)
			return
		}
		l.heardMeet(p, m)
	}
}

func (l *loop) pong(p *peer, d datagram, from netip.AddrPort, m disco.Pong) {
	i := slices.IndexFunc(p.probes, func(pr probe) bool { return pr.seq == m.Echo })
	if i < 0 {
		return
	}
	pr := p.probes[i]
	p.probes = slices.Delete(p.probes, i, i+1)
	if pr.meet {
		if d.link != nil && d.link.relay.ID == pr.link {
			l.metBy(p, pr)
		}
		return
	}
	if pr.to == from {
		if from.IsValid() {
			l.admit(p, d.from, true)
		}
		l.answerPings(p, pr)
	}
	if pr.number != 0 {
		l.step(p, peerpath.Pong{Number: pr.number, From: from})
	}
	l.publishPeer(p)
}

// answerPings tells those who wait for an answer of the peer's.
func (l *loop) answerPings(p *peer, pr probe) {
	if pr.number != 0 {
		return
	}
	r := PingResult{Kind: PathRelay, Relay: pr.link, Latency: l.now.Sub(pr.at)}
	if pr.to.IsValid() {
		r = PingResult{Kind: PathDirect, Addr: pr.to, Latency: r.Latency}
	}
	if r.Kind == PathRelay {
		p.relayLatency = r.Latency
	}
	for _, pi := range p.pings {
		pi.result <- r
	}
	p.pings = nil
}

// probe sends a Ping directly to an address.
func (l *loop) probe(p *peer, to netip.AddrPort, number uint64, mtu int) {
	if p.shared.IsZero() {
		return
	}
	m := disco.Ping{Seq: l.expect(p, to, number), Node: l.cfg.Node.Public(), Padding: wireSize(max(mtu, peerpath.SafeMTU)) - disco.PingSize}
	if err := l.sendDirect(p, p.via(to), m); err != nil && !errors.Is(err, unix.EMSGSIZE) {
		if i := p.find(to); i >= 0 {
			p.addrs[i].via = nil // perhaps only the source address is gone
		}
	}
}

// expect notes that a Ping is to be answered, and gives its seq.
func (l *loop) expect(p *peer, to netip.AddrPort, number uint64) uint64 {
	p.probes = slices.DeleteFunc(p.probes, func(pr probe) bool { return l.now.Sub(pr.at) > probeTime })
	if len(p.probes) >= probesKept {
		p.probes = slices.Delete(p.probes, 0, 1)
	}
	l.seq++
	// The time is read anew: several probes in one turn must not count each other's sending.
	p.probes = append(p.probes, probe{seq: l.seq, number: number, to: to, at: time.Now()})
	return l.seq
}

// callMe asks the peer, through its relay, to probe our endpoints.
func (l *loop) callMe(p *peer) {
	m := disco.CallMe{}
	for _, ep := range l.local.endpoints {
		m.Endpoints = append(m.Endpoints, ep.Addr)
	}
	if link := l.linkFor(p); link != nil {
		l.sendLink(p, link, m)
	}
	l.doubtSTUN()
}

// sendDirect sends to an address. What cannot be sent is not answered, and need not be told apart.
func (l *loop) sendDirect(p *peer, to conn.Endpoint, m disco.Message) error {
	return l.bind.Bind.Send(l.seal(p, m), to)
}

func (l *loop) sendLink(p *peer, link *link, m disco.Message) {
	if !p.shared.IsZero() {
		l.sendRelay(link, p.Key, l.seal(p, m))
	}
}

// seal numbers the message, unless it is a Ping that has its number already.
func (l *loop) seal(p *peer, m disco.Message) [][]byte {
	room := 512
	switch is := m.(type) {
	case disco.Ping:
		room = disco.PingSize + is.Padding
	case disco.Pong:
		l.seq++
		is.Seq, m = l.seq, is
		m = is
	case disco.CallMe:
		l.seq++
		is.Seq = l.seq
		m = is
	case disco.Meet:
		l.seq++
		is.Seq = l.seq
		m = is
	}
	return [][]byte{disco.Seal(make([]byte, 0, room), l.cfg.Disco.Public(), p.shared, m)}
}

// ping begins to ping a peer.
func (l *loop) ping(pi *ping) {
	p := l.peers[pi.key]
	if p == nil {
		pi.refused <- ErrUnknownPeer
		return
	}
	pi.next = l.now
	p.pings = append(p.pings, pi)
	if pi.quiet {
		l.step(p, nil)
	} else {
		l.step(p, peerpath.Sent{})
	}
}

// pingDue sends the pings whose time has come, over the present path.
func (l *loop) pingDue(p *peer) {
	p.pings = slices.DeleteFunc(p.pings, func(pi *ping) bool {
		select {
		case <-pi.done:
			return true
		default:
			return false
		}
	})
	use := p.ep.path.Load()
	for _, pi := range p.pings {
		if pi.next.After(l.now) {
			continue
		}
		pi.next = l.now.Add(min(time.Second, 250*time.Millisecond<<min(pi.tries, 2)))
		if p.shared.IsZero() || use == nil || (use.direct == nil && !use.relay) {
			continue
		}
		pi.tries++
		pi.sent.Store(true)
		if use.direct != nil {
			l.probe(p, use.addr, 0, 0)
		}
		if use.relay {
			m := disco.Ping{Seq: l.expect(p, netip.AddrPort{}, 0), Node: l.cfg.Node.Public()}
			p.probes[len(p.probes)-1].link = use.link.relay.ID
			l.sendLink(p, use.link, m)
		}
	}
}
