package router

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestWhatTheHostDoesNotReachItselfIsCut, and nothing of which that is not sure.
func TestWhatTheHostDoesNotReachItselfIsCut(t *testing.T) {
	veth(t) // eth7 has 192.0.2.7/24, and the default route
	tun(t)
	near, far, wide := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.9.0.0/16"), netip.MustParsePrefix("192.0.0.0/16")
	far6, other := netip.MustParsePrefix("fd09::/64"), netip.MustParsePrefix("10.8.0.0/16")
	containers, part := netip.MustParsePrefix("172.30.0.0/24"), netip.MustParsePrefix("172.16.0.0/12")
	t.Cleanup(func() { _, _ = ipOutput("link del br7") })
	for _, args := range []string{"route add 10.9.0.0/16 via 192.0.2.9", "link add br7 type bridge", "addr add 172.30.0.1/24 dev br7", "link set br7 up"} {
		ip(t, args)
	}
	r := newRouter(t)
	w := whole
	w.Offers = []netip.Prefix{near, far, wide, far6, other, containers, part}
	cut := func(what string, want ...netip.Prefix) {
		t.Helper()
		apply(t, r, w)
		if got := r.Cut(); !slices.Equal(got, want) {
			t.Errorf("%s: cut are %v, want %v", what, got, want)
		}
	}
	cut("by the default route, or by more", far6) // IPv6 has no route
	carrier := func(is string) {
		t.Helper()
		settled(t, is, func() string { return strconv.FormatBool(strings.Contains(ip(t, "link show eth7"), "LOWER_UP")) })
	}
	ip(t, "link set far7 down")
	carrier("false")
	cut("no carrier, and the default route goes there too", near, far, wide, far6, other)
	ip(t, "link set far7 up")
	carrier("true")
	cut("the cable is back", far6)
	ip(t, "route del 10.9.0.0/16")
	cut("the route has gone, and the default one is left", far, far6)
	ip(t, "route add 10.9.0.0/16 via 192.0.2.9")
	ip(t, "link set eth7 down") // routes go, the address stays
	cut("the interface is down", near, far, wide, far6, other)
	for _, args := range []string{"link set eth7 up", "route add 10.9.0.0/16 via 192.0.2.9", "route add default via 192.0.2.1"} {
		ip(t, args)
	}
	carrier("true")
	cut("all is back", far6)
	w.Offers = []netip.Prefix{other}
	cut("less is offered")
	w.Offers = []netip.Prefix{far, other}
	ip(t, "route del 10.9.0.0/16")
	cut("what was known of it is forgotten")
	w.Offers = nil
	cut("nothing is offered")
}

func TestWatchTellsOfTheWayToWhatIsOffered(t *testing.T) {
	veth(t)
	tun(t)
	r := newRouter(t)
	w := whole
	w.Offers = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}
	apply(t, r, w)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := r.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"route add 10.9.7.0/24 via 192.0.2.9", "route del 10.9.7.0/24", "link set far7 down", "link set far7 up"} {
		ip(t, args)
		for e := next(t, events); !e.Own && !e.Network; e = next(t, events) {
		}
		apply(t, r, w)
	}
	cancel()
	for range events {
	}
}

// TestASubnetIsCutOnlyWhereNothingOfItIsReached holds the judgement against one for each address.
func TestASubnetIsCutOnlyWhereNothingOfItIsReached(t *testing.T) {
	prefixes := []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/28"), netip.MustParsePrefix("10.0.0.0/30"),
		netip.MustParsePrefix("10.0.0.4/30"), netip.MustParsePrefix("10.0.0.8/29"), netip.MustParsePrefix("10.0.0.5/32"),
	}
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.Custom(func(t *rapid.T) path {
			return path{rapid.SampledFrom(prefixes).Draw(t, "to"), rapid.Bool().Draw(t, "live")}
		})
		g := &ground{ways: rapid.SliceOfN(path, 0, 5).Draw(t, "ways"), has4: rapid.Bool().Draw(t, "default")}
		p := rapid.SampledFrom(prefixes[1:]).Draw(t, "offered")
		reached, own := false, false
		for a := p.Addr(); p.Contains(a); a = a.Next() {
			best, up := -1, false
			for _, w := range g.ways {
				if w.dst.Contains(a) && w.dst.Bits() >= best {
					up = w.live || up && w.dst.Bits() == best
					best = w.dst.Bits()
				}
			}
			own = own || best >= 0
			reached = reached || best >= 0 && up || best < 0 && g.has4
		}
		if cut, _ := g.cut(p, false); cut && reached || !own && cut == g.has4 {
			t.Fatalf("%s is cut: %v, something of it is reached: %v; %+v", p, cut, reached, g)
		}
	})
}
