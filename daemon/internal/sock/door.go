package sock

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/warren-mesh/warren/daemon/internal/disco"
	"github.com/warren-mesh/warren/daemon/internal/peerpath"
)

// door is a socket of its own towards one address of a peer's, with a port of its own in a hard NAT (see peerpath's search).
//
//	WireGuard's socket ◄──► inner, 127.0.0.1 ◄──► outer ◄──► the NAT ◄──► the peer
//
// Most doors never hear anything, and are closed again. One that does gets an inner socket, which WireGuard's own talks to as to
// any address: so nothing on the way of other packets knows of doors. It costs a second pass through the system
// for packets of such a peer, which is less than a relay costs.
type door struct {
	to    netip.AddrPort
	outer *net.UDPConn                // connected: the kernel drops what others send
	heard atomic.Bool                 // the peer's messages came through
	inner *conn.StdNetEndpoint        // owned by the loop; nil before something was heard
	pass  atomic.Pointer[net.UDPConn] // inner's socket
	port  uint16                      // WireGuard's
}

// maxDoors is how many stay of a peer's: behind a NAT that lets in whatever comes from an address, it is heard through all.
const maxDoors = 4

// doorBuffer holds the largest packet of WireGuard's on an Ethernet. Larger ones come out cut, so that no probe proves that they pass.
const doorBuffer = 2048

// door finds the one to an address that leads to the peer.
func (p *peer) door(to netip.AddrPort) *door {
	for _, d := range p.doors {
		if d.to == to && d.inner != nil {
			return d
		}
	}
	return nil
}

// openPorts opens doors to the address, if there are none yet, and sends a Ping through each. Only one peer at a time has
// so many.
func (l *loop) openPorts(p *peer, to netip.AddrPort) {
	if l.searching != nil && l.searching != p && len(l.searching.doors) > maxAddrs {
		return
	}
	if !slices.ContainsFunc(p.doors, func(d *door) bool { return d.to == to && !d.heard.Load() }) {
		l.closeDoors(p, func(*door) bool { return true })
		l.searching = p
		dialer := net.Dialer{Control: func(network, address string, raw syscall.RawConn) error {
			return errors.Join(Marked(l.cfg.Mark)(network, address, raw), unfragmented(raw, false))
		}}
		for range peerpath.SearchPorts {
			c, err := dialer.DialContext(context.Background(), "udp4", to.String()) // asks nobody, and does not wait
			if err != nil {
				l.log.Debug("a socket for a search cannot be opened", "err", err)
				break
			}
			d := &door{to: to, outer: c.(*net.UDPConn), port: l.Port()}
			p.doors = append(p.doors, d)
			l.start(func(context.Context) { l.readDoor(d, p.ep) })
		}
	}
	for _, d := range p.doors {
		l.seq++
		m := disco.Ping{Seq: l.seq, Node: l.cfg.Node.Public()}
		_, _ = d.outer.Write(l.seal(p, m)[0])
	}
}

// guessPorts sends Pings to ports of the address. They are not waited for: where one arrives, the peer sends one itself.
func (l *loop) guessPorts(p *peer, to netip.Addr, count int) {
	if p.guessed == nil {
		p.guessed = make(map[uint16]struct{})
	}
	for range count {
		port := uint16(0)
		for range 100 {
			port = uint16(1024 + rand.IntN(1<<16-1024))
			if _, ok := p.guessed[port]; !ok {
				break
			}
		}
		p.guessed[port] = struct{}{}
		l.seq++
		m := disco.Ping{Seq: l.seq, Node: l.cfg.Node.Public()}
		_ = l.bind.Bind.Send(l.seal(p, m), &conn.StdNetEndpoint{AddrPort: netip.AddrPortFrom(to, port)})
	}
}

// readDoor takes what comes through: probes to the loop, packets of WireGuard to its socket.
func (s *Sock) readDoor(d *door, ep *Endpoint) {
	b := make([]byte, doorBuffer)
	home := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), d.port)
	for {
		n, err := d.outer.Read(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // nobody listens there (yet): some router said so
		}
		if isWireGuard(b[:n]) {
			if in := d.pass.Load(); in != nil {
				_, _ = in.WriteToUDPAddrPort(b[:n], home)
			}
			continue
		}
		if sender, ok := disco.Sender(b[:n]); !ok || (*s.discos.Load())[sender] != ep {
			s.drops.junk.Add(1)
			continue
		}
		select {
		case s.inbox <- datagram{from: &conn.StdNetEndpoint{AddrPort: d.to}, door: d, b: slices.Clone(b[:n])}:
		default:
			s.drops.overload.Add(1)
		}
	}
}

// enter opens the inner socket of a door through which the peer was heard. It reports whether the door leads somewhere.
func (l *loop) enter(p *peer, d *door) bool {
	if d.inner != nil {
		return true
	}
	entered := 0
	for _, other := range p.doors {
		if other.inner != nil {
			entered++
		}
	}
	if entered == maxDoors || !slices.Contains(p.doors, d) {
		return false // enough lead there, or this one was closed meanwhile
	}
	in, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		l.log.Warn("a path that was found cannot be used", "err", err)
		return false
	}
	d.inner = &conn.StdNetEndpoint{AddrPort: in.LocalAddr().(*net.UDPAddr).AddrPort()}
	d.pass.Store(in)
	d.heard.Store(true)
	l.start(func(context.Context) {
		b := make([]byte, doorBuffer)
		for {
			n, from, err := in.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil && from.Port() == d.port { // WireGuard's own socket, and no other program
				_, _ = d.outer.Write(b[:n])
			}
		}
	})
	return true
}

// closeDoors closes some of a peer's doors.
func (l *loop) closeDoors(p *peer, which func(*door) bool) {
	p.doors = slices.DeleteFunc(p.doors, func(d *door) bool {
		if !which(d) {
			return false
		}
		_ = d.outer.Close()
		if in := d.pass.Load(); in != nil {
			_ = in.Close()
			l.unknow(p, d.inner.AddrPort)
		}
		return true
	})
	if len(p.doors) == 0 && l.searching == p {
		l.searching = nil
	}
}

// unknow has packets from an address taken as the peer's no more.
func (l *loop) unknow(p *peer, addr netip.AddrPort) {
	p.addrs = slices.DeleteFunc(p.addrs, func(a admitted) bool { return a.addr == addr })
	if (*l.known.Load())[addr] == p.ep {
		publish(&l.known, func(m map[netip.AddrPort]*Endpoint) { delete(m, addr) })
	}
}

// closeAllDoors is for another network, or other sockets: what the NAT had is gone.
func (l *loop) closeAllDoors() {
	for _, p := range l.peers {
		l.closeDoors(p, func(*door) bool { return true })
	}
}
