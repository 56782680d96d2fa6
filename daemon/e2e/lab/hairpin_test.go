package lab

import (
	"net/netip"
	"testing"
	"time"
)

func TestAHairpinLeadsBackWithThePublicAddress(t *testing.T) {
	n := New(t)
	server := n.Internet().Host("server")
	home := n.Internet().Router("home", FullCone, Hairpin())
	alice, bob := home.Host("alice"), home.Host("bob")
	s, err := server.ListenUDP(9)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// Linux leads nothing back to the very machine that sent it, so only two machines show it.
	for _, pair := range [][2]*Machine{{alice, bob}, {bob, alice}} {
		a, err := pair[0].ListenUDP(0)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		b, err := pair[1].ListenUDP(0)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		buf := make([]byte, 100)
		if _, err := b.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(server.Addr(), 9)); err != nil {
			t.Fatal(err)
		}
		_ = s.SetReadDeadline(time.Now().Add(time.Minute))
		_, at, err := s.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatal(err)
		}
		at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
		if _, err := a.WriteToUDPAddrPort([]byte("y"), at); err != nil {
			t.Fatal(err)
		}
		_ = b.SetReadDeadline(time.Now().Add(time.Minute))
		_, from, err := b.ReadFromUDPAddrPort(buf)
		if err != nil || from.Addr().Unmap() != home.Machine.Addr() {
			t.Errorf("%s to %s at %v: from %v, %v\n%s", pair[0].Name(), pair[1].Name(), at, from, err, home.Mappings())
		}
	}
}
