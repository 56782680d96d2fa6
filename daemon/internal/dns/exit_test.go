package dns

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/warren-mesh/warren/daemon/internal/dns/resolver"
)

func TestWithAnExitNodeNobodyIsAskedInTheClear(t *testing.T) {
	addr := netip.MustParseAddr
	d := &DNS{cfg: Config{Mark: 7}, wish: &Wish{}}
	for _, a := range []string{"192.168.1.1", "9.9.9.9", "127.0.0.53", "fe80::1", "100.100.100.100", "2620:fe::fe", "fd00::53", "10.0.0.53"} {
		d.own = append(d.own, netip.AddrPortFrom(addr(a), port))
	}
	for i, u := range d.ownWay().Upstreams {
		if u != resolver.Marked(d.own[i], 7) {
			t.Errorf("without one: %v", u)
		}
	}
	d.wish.Lockdown = true
	for i, u := range d.ownWay().Upstreams {
		if u != resolver.Plain(d.own[i]) {
			t.Errorf("under lockdown: %v", u)
		}
	}
	d.wish.Exit = &Exit{Servers: []netip.Addr{addr("100.64.0.7"), addr("fd77::7")}}
	var want []resolver.Upstream
	for _, a := range []string{"100.64.0.7", "fd77::7", "9.9.9.9", "2620:fe::fe"} {
		want = append(want, resolver.Plain(netip.AddrPortFrom(addr(a), port)))
	}
	if got := d.ownWay().Upstreams; !slices.Equal(got, want) {
		t.Errorf("with one: %v, want %v", got, want)
	}
}
