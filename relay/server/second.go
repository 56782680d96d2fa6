package server

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"

	"github.com/warren-mesh/warren/relay"
)

// second is the socket beside the relay's own, which answers STUN only. One port cannot show a client what its NAT does:
// whether it maps each destination anew (ask both), and whom it lets in (have the other one answer; RFC 5780).
type second struct{ udp *net.UDPConn }

// listenSecond opens it. A relay does without where the port is taken: its clients then know less of their NATs.
func (s *Server) listenSecond() *second {
	host, _, err := net.SplitHostPort(s.cfg.UDP)
	port := relay.STUNOtherPort(s.UDPAddr().Port())
	if err != nil || port == 0 {
		return nil
	}
	addr, err := net.ResolveUDPAddr("udp", net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return nil
	}
	udp, err := net.ListenUDP("udp", addr)
	if err != nil {
		s.cfg.Log.Warn("no second port for STUN: machines cannot tell which kind of NAT they are behind", "port", port, "err", err)
		return nil
	}
	return &second{udp}
}

// answer answers a request that came to the other port.
func (s *second) answer(id relay.STUNTransaction, to netip.AddrPort) {
	if s != nil {
		_, _ = s.udp.WriteToUDPAddrPort(relay.AppendSTUNResponse(nil, id, to), to)
	}
}

// serve answers until the socket is closed.
func (s *second) serve(count *atomic.Uint64) {
	b := make([]byte, 2048)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of one earlier datagram; the socket lives
		}
		if id, ok := relay.ParseSTUNRequest(b[:n], from); ok && !relay.STUNWantsOtherPort(b[:n]) {
			s.answer(id, from)
			count.Add(1)
		}
	}
}

func (s *second) close() {
	if s != nil {
		_ = s.udp.Close()
	}
}
