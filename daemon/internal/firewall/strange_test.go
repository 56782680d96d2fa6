package firewall

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
)

// datagram is a packet of UDP as nobody's kernel would send it: from any address.
func datagram(from, to netip.Addr, port uint16, text string) []byte {
	udp := binary.BigEndian.AppendUint16([]byte{0x30, 0x39}, port)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(text)))
	return ipPacket(from, to, unix.IPPROTO_UDP, 1, append(append(udp, 0, 0), text...))
}

// forge sends a datagram from an address that is not the machine's.
func forge(t *testing.T, m *lab.Machine, from, to netip.Addr, port uint16, text string) {
	t.Helper()
	if err := m.Do(func() error {
		family, addr := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Addr: [4]byte(to.AsSlice()[:4])})
		if to.Is6() {
			family, addr = unix.AF_INET6, &unix.SockaddrInet6{Addr: to.As16()}
		}
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		return unix.Sendto(fd, datagram(from, to, port, text), 0, addr)
	}); err != nil {
		t.Fatalf("from %s to %s: %v", from, to, err)
	}
}

// TestThroughTheTunnelNobodyIsThisMachineOrItsLAN shows first that each packet arrives without us.
func TestThroughTheTunnelNobodyIsThisMachineOrItsLAN(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	const listens = 4242
	conn, err := p.host.ListenUDP(listens)
	if err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{"route_localnet=1", "accept_local=1", "rp_filter=0"} { // so that the kernel itself takes what is forged
		p.host.MustRun("sysctl", "-qw", "net.ipv4.conf."+tun+"."+setting, "net.ipv4.conf.all."+setting)
	}
	p.host.MustRun("ip", "addr", "add", "fd99::7/64", "dev", p.host.Device(), "nodad")
	comes := func(from, to netip.Addr, within time.Duration) bool {
		t.Helper()
		forge(t, p.peer, from, to, listens, from.String())
		buf := make([]byte, 64)
		for _ = conn.SetReadDeadline(time.Now().Add(within)); ; {
			n, err := conn.Read(buf)
			if err != nil {
				return false
			}
			if string(buf[:n]) == from.String() {
				return true
			}
		}
	}
	forged := map[string]netip.Addr{
		"the LAN": p.nas.Addr(), "the router": p.home.Gateway(), "loopback": netip.MustParseAddr("127.0.0.9"),
		"the LAN, IPv6": netip.MustParseAddr("fd99::5"), "this machine": p.host.Addr(),
	}
	honest := map[string]netip.Addr{
		"a machine of the network": peer4, "the same, IPv6": peer6, "the internet": p.web.Addr(),
		"a public neighbour": p.nas.Addr6(), "somebody's LAN": netip.MustParseAddr("192.168.99.9"),
	}
	try := func(what string, all map[string]netip.Addr, want bool) {
		t.Helper()
		for who, from := range all {
			to := host4
			if from.Is6() {
				to = host6
			}
			within := arrives
			if !want {
				within = patience
			}
			if comes(from, to, within) != want {
				t.Errorf("%s: what claims to be %s (%s) arrives: %v", what, who, from, !want)
			}
		}
	}
	try("control, without us", forged, true)
	try("control, without us", honest, true)
	p.apply(t, base)
	try("with us", forged, false)
	try("with us", honest, true)
}
