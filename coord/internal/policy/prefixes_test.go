package policy

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestSetsOfPrefixesAreSetsOfAddresses compares with one address at a time.
func TestSetsOfPrefixesAreSetsOfAddresses(t *testing.T) {
	draw := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) netip.Prefix {
		a := one4(rapid.Byte().Draw(t, "last"))
		p, _ := a.Prefix(rapid.IntRange(24, 32).Draw(t, "bits"))
		return p
	}), 0, 8)
	rapid.Check(t, func(t *rapid.T) {
		as, bs := draw.Draw(t, "as"), draw.Draw(t, "bs")
		for name, c := range map[string]struct {
			got  []netip.Prefix
			want func(a, b bool) bool
		}{
			"union":     {union(slices.Concat(as, bs)), func(a, b bool) bool { return a || b }},
			"intersect": {intersect(as, bs), func(a, b bool) bool { return a && b }},
			"subtract":  {subtract(as, bs), func(a, b bool) bool { return a && !b }},
		} {
			for i := range 256 {
				x := one4(byte(i))
				if containsAddr(c.got, x) != c.want(containsAddr(as, x), containsAddr(bs, x)) {
					t.Fatalf("%s of %v and %v is %v: wrong for %s", name, as, bs, c.got, x)
				}
			}
			for i, p := range c.got {
				if i > 0 && (comparePrefixes(c.got[i-1], p) >= 0 || c.got[i-1].Overlaps(p)) {
					t.Fatalf("%s gave %v: not in order, or overlapping", name, c.got)
				}
			}
		}
	})
}

func one4(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, last}) }

func TestTheInternetHasNoPrivateAddresses(t *testing.T) {
	for a, want := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "100.63.255.255": true, "100.128.0.0": true, "172.15.0.1": true, "2606:4700::1": true, "2a00::1": true,
		"10.0.0.1": false, "100.64.0.1": false, "127.0.0.1": false, "169.254.169.254": false, "172.31.0.1": false, "192.168.1.1": false,
		"224.0.0.1": false, "255.255.255.255": false, "0.0.0.0": false, "::1": false, "fd00::1": false, "fe80::1": false, "ff02::1": false,
		"::ffff:8.8.8.8": false, "64:ff9b::808:808": false, "2002:a00:1::1": false, "2001::1": false, "2001:db8::1": true, "198.51.100.7": true,
	} {
		if got := containsAddr(Internet, mustAddr(a)); got != want {
			t.Errorf("%s: got %v", a, got)
		}
	}
}
