package server

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/warren-mesh/warren/relay"
)

func TestASecondPortShowsWhatANATDoes(t *testing.T) {
	n := newNetwork(t)
	n.serve("127.0.0.1:0", "")
	for range 10 { // another program may have the port after a free one
		if n.server.two != nil {
			break
		}
		n.serve("127.0.0.1:0", "")
	}
	if n.server.two == nil {
		t.Fatal("of ten relays none has a second port")
	}
	first := n.server.UDPAddr()
	second := netip.AddrPortFrom(first.Addr(), relay.STUNOtherPort(first.Port()))
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, ask := range []struct {
		to, answers netip.AddrPort // no answers: none comes, and the next one is the next question's
		request     []byte
	}{
		{first, first, relay.AppendSTUNRequest(nil, relay.STUNTransaction{1})},
		{second, second, relay.AppendSTUNRequest(nil, relay.STUNTransaction{2})},
		{first, second, relay.AppendSTUNProbe(nil, relay.STUNTransaction{3}, 0, true)},
		{first, first, relay.AppendSTUNProbe(nil, relay.STUNTransaction{4}, 1400, false)},
		{second, netip.AddrPort{}, relay.AppendSTUNProbe(nil, relay.STUNTransaction{5}, 0, true)}, // it changes no ports
		{second, second, relay.AppendSTUNRequest(nil, relay.STUNTransaction{6})},
	} {
		if _, err := c.WriteToUDPAddrPort(ask.request, ask.to); err != nil {
			t.Fatal(err)
		}
		if !ask.answers.IsValid() {
			continue
		}
		b := make([]byte, 2000)
		_ = c.SetReadDeadline(time.Now().Add(deadline))
		size, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			t.Fatal(err)
		}
		id, seen, ok := relay.ParseSTUNResponse(b[:size])
		if !ok || string(id[:]) != string(ask.request[8:20]) || seen != c.LocalAddr().(*net.UDPAddr).AddrPort() || from != ask.answers || size > len(ask.request) {
			t.Errorf("%v to %s: %v %v %v from %s, %d bytes for %d", id, ask.to, ok, id, seen, from, size, len(ask.request))
		}
	}
}
