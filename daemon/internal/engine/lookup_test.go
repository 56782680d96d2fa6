package engine

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
)

// TestNamesAreLookedUpWhereTheTunnelIsNotNeeded sends questions to one place or the other; what comes there counts.
func TestNamesAreLookedUpWhereTheTunnelIsNotNeeded(t *testing.T) {
	lab.NeedRoot(t) // to mark sockets
	var l lookups
	listen := func() (*net.UDPConn, netip.AddrPort) {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c, c.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	hosts, hostsAddr := listen()
	first, firstAddr := listen()
	second, secondAddr := listen()
	asked := func(at *net.UDPConn) {
		t.Helper()
		c, err := l.dial(t.Context(), "udp", hostsAddr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if _, err := c.Write([]byte("?")); err != nil {
			t.Fatal(err)
		}
		_ = at.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, _, err := at.ReadFromUDP(make([]byte, 9)); err != nil {
			t.Errorf("the question came elsewhere: %v", err)
		}
	}
	asked(hosts)
	l.ask(nil)
	asked(hosts)
	l.ask([]netip.AddrPort{firstAddr, secondAddr})
	asked(first)
	asked(second)
	asked(first)
}
