package router

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

var (
	peer4, peer6 = netip.MustParsePrefix("100.64.0.8/32"), netip.MustParsePrefix("fd77:1:2::8/128")
	behind       = netip.MustParsePrefix("10.8.0.0/16")
	sized        = Wish{MTU: 8896, Least: 1280, Addrs: whole.Addrs, Routes: whole.Routes, Subnets: []netip.Prefix{behind}}
)

// sizeTo is how large packets to an address may be, as the kernel decides it.
func sizeTo(t *testing.T, addr string) string {
	t.Helper()
	out := ip(t, "route get "+addr)
	if _, after, ok := strings.Cut(out, " mtu "); ok {
		return strings.Fields(after)[0]
	}
	return out
}

func fit(t *testing.T, r *Router, size int, dsts ...netip.Prefix) {
	t.Helper()
	sizes := make(map[netip.Prefix]int)
	for _, dst := range dsts {
		sizes[dst] = size
	}
	if err := r.Fit(sizes); err != nil {
		t.Fatal(err)
	}
}

func wantSizes(t *testing.T, what string, sizes map[string]string) {
	t.Helper()
	for addr, want := range sizes {
		if got := sizeTo(t, addr); got != want {
			t.Errorf("%s: %s to %s, not %s", what, got, addr, want)
		}
	}
}

func TestEachPeersRouteHasItsOwnMTU(t *testing.T) {
	tun(t)
	veth(t)
	r := newRouter(t)
	apply(t, r, sized)
	least := map[string]string{"100.64.0.8": "1280", "fd77:1:2::8": "1280", "100.64.0.9": "1280", "10.8.1.1": "1280"}
	wantSizes(t, "at first", least)
	if out := ip(t, "route show dev "+name); !strings.Contains(out, "advmss 8856") {
		t.Errorf("connections that begin now stay small: %s", out)
	}

	fit(t, r, 1420, peer4, peer6, behind)
	large := maps.Clone(least)
	large["100.64.0.8"], large["fd77:1:2::8"], large["10.8.1.1"] = "1420", "1420", "1420"
	wantSizes(t, "one peer's path carries more", large)
	apply(t, r, sized)
	wantSizes(t, "applied again", large)

	exit := sized
	exit.Exit = &Exit{IPv4: true, IPv6: true}
	apply(t, r, exit)
	large["8.8.8.8"] = "1280"
	wantSizes(t, "with an exit node", large)
	fit(t, r, 8896, netip.MustParsePrefix("0.0.0.0/2"))
	large["8.8.8.8"] = "8896"
	wantSizes(t, "with an exit node that is near", large)
	apply(t, r, exit)
	wantSizes(t, "and applied again", large)
	fit(t, r, 1280, netip.MustParsePrefix("0.0.0.0/2"))
	large["8.8.8.8"] = "1280"
	wantSizes(t, "with an exit node that is farther", large)
	apply(t, r, sized)
	delete(large, "8.8.8.8")
	wantSizes(t, "without an exit node again", large)

	for _, dst := range []string{"100.64.0.8", "fd77:1:2::8"} {
		ip(t, "route del "+dst+" dev "+name)
	}
	apply(t, r, sized)
	wantSizes(t, "after somebody took the routes away", large)

	fit(t, r, 1280, peer4, peer6, behind)
	wantSizes(t, "and less", least)
	if out := ip(t, "route show table all") + ip(t, "-6 route show table all"); strings.Contains(out, "100.64.0.8") || strings.Contains(out, "fd77:1:2::8") {
		t.Errorf("routes that say nothing are still there: %s", out)
	}
}

func TestWhatIsBehindAMachineHasItsMTUNotTheExitNodes(t *testing.T) {
	tun(t)
	veth(t)
	r := newRouter(t)
	exit := sized
	exit.Exit = &Exit{IPv4: true, IPv6: true}
	apply(t, r, exit)
	wantBoth := func(what, subnet, internet string) {
		t.Helper()
		wantSizes(t, what, map[string]string{"10.8.1.1": subnet, "8.8.8.8": internet, "2001:db8::8": internet})
		apply(t, r, exit)
		wantSizes(t, what+", applied again", map[string]string{"10.8.1.1": subnet, "8.8.8.8": internet, "2001:db8::8": internet})
	}
	fit(t, r, 8896, everywhere4, everywhere6)
	wantBoth("the exit node is near", "1280", "8896")
	fit(t, r, 1420, behind)
	wantBoth("the subnet's machine is nearer", "1420", "8896")
	fit(t, r, 1280, behind)
	wantBoth("and farther", "1280", "8896")
}

// A daemon applies again whenever the host changes: it would never come to rest.
func TestApplyingTheSameAgainIsNoChangeOfTheHost(t *testing.T) {
	tun(t)
	veth(t)
	r := newRouter(t)
	one, behind6 := netip.MustParsePrefix("10.9.9.9/32"), netip.MustParsePrefix("fd99:8::/64")
	exit := sized
	exit.Subnets = append(slices.Clone(exit.Subnets), behind6, one)
	exit.Exit = &Exit{IPv4: true, IPv6: true}
	apply(t, r, exit)
	fit(t, r, 1420, peer4, peer6, behind, behind6, one, everywhere4, everywhere6)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := r.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, r, exit)
	fit(t, r, 8896, peer4, peer6)
	ip(t, "route del "+peer4.String()+" dev "+name)
	ip(t, "route replace default via 192.0.2.2 dev eth7")
	if got := next(t, events); got != (Event{Network: true}) { // only what the last command did
		t.Errorf("another way out, and the same applied: %+v", got)
	}
	apply(t, r, exit)
	ip(t, "route del "+one.String()+" dev "+name+" table 8787")
	if got := next(t, events); got != (Event{Own: true}) {
		t.Errorf("the route to a subnet of one address went: %+v", got)
	}
	cancel()
	for range events {
	}
}

func TestTheHostsOwnRoutesWinOverAPeersMTU(t *testing.T) {
	tun(t)
	veth(t)
	r := newRouter(t)
	apply(t, r, sized)
	fit(t, r, 1420, peer4)
	ip(t, "route add 100.64.0.0/24 dev eth7")
	if ps := apply(t, r, sized); len(ps) == 0 {
		t.Error("a route of the host's inside of ours is no problem")
	}
	if out := ip(t, "route get 100.64.0.8"); !strings.Contains(out, "dev eth7") {
		t.Errorf("the host's route lost: %s", out)
	}
	fit(t, r, 4000, peer4)
	if out := ip(t, "route get 100.64.0.8"); !strings.Contains(out, "dev eth7") {
		t.Errorf("the host's route lost: %s", out)
	}
	ip(t, "route del 100.64.0.0/24 dev eth7")
	apply(t, r, sized)
	wantSizes(t, "the host's route is gone", map[string]string{"100.64.0.8": "4000"})
}

func TestRoutesOfPeersEndWithTheInterface(t *testing.T) {
	tun(t)
	r := newRouter(t)
	apply(t, r, sized)
	fit(t, r, 1420, peer4, peer6, behind)
	if _, err := r.journal.Recover(t.Context(), Undo()); err != nil { // as after it was killed
		t.Fatal(err)
	}
	if out := ip(t, "route show table all proto 87") + ip(t, "-6 route show table all proto 87"); out != "" {
		t.Errorf("still there: %s", out)
	}
}
