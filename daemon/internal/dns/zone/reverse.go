package zone

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The domains of reverse names (RFC 1035, section 3.5; RFC 3596, section 2.5).
const (
	arpa4 = "in-addr.arpa"
	arpa6 = "ip6.arpa"
)

// lookupReverse answers the reverse name of an address of the network.
func (z *Zone) lookupReverse(name string, t Type) (Answer, bool) {
	a, whole, ok := parseReverse(name)
	if !ok {
		return Answer{}, false
	}
	domain := ""
	for _, d := range z.arpa {
		if within(name, d) {
			domain = d
		}
	}
	if domain == "" {
		return Answer{}, false
	}
	ans := Answer{Domain: domain, Exists: true}
	if !whole {
		return ans, true
	}
	host, known := z.reverse[a]
	ans.Exists = known
	if known && (t == PTR || t == ANY) {
		ans.Records = []Record{{Name: name, Type: PTR, Text: host}}
	}
	return ans, true
}

// parseReverse reads a reverse name; what it leaves open is zero, and whole is false then.
func parseReverse(name string) (a netip.Addr, whole, ok bool) {
	if rest, is := strings.CutSuffix(name, "."+arpa4); is {
		var raw [4]byte
		labels := strings.Split(rest, ".")
		if len(labels) > 4 {
			return a, false, false
		}
		for i, l := range labels {
			n, err := strconv.ParseUint(l, 10, 8)
			if err != nil || (len(l) > 1 && l[0] == '0') {
				return a, false, false
			}
			raw[len(labels)-1-i] = byte(n)
		}
		return netip.AddrFrom4(raw), len(labels) == 4, true
	}
	rest, is := strings.CutSuffix(name, "."+arpa6)
	if !is {
		return a, false, false
	}
	var raw [16]byte
	labels := strings.Split(rest, ".")
	if len(labels) > 32 {
		return a, false, false
	}
	for i, l := range labels {
		n, err := strconv.ParseUint(l, 16, 4)
		if err != nil || len(l) != 1 {
			return a, false, false
		}
		at := len(labels) - 1 - i
		raw[at/2] |= byte(n) << (4 * (1 - at%2))
	}
	return netip.AddrFrom16(raw), len(labels) == 32, true
}

// ReverseName gives the name under which an address is looked up.
func ReverseName(a netip.Addr) string {
	var b strings.Builder
	if a.Is4() {
		raw := a.As4()
		return fmt.Sprintf("%d.%d.%d.%d.%s", raw[3], raw[2], raw[1], raw[0], arpa4)
	}
	raw := a.As16()
	for i := len(raw) - 1; i >= 0; i-- {
		_, _ = fmt.Fprintf(&b, "%x.%x.", raw[i]&15, raw[i]>>4)
	}
	return b.String() + arpa6
}

// ReverseDomains lists the domains that hold exactly the reverse names of a range: one where it ends between two labels,
// else one for each value of the label that it cuts (64 for an IPv4 /10, 128 at the most).
func ReverseDomains(p netip.Prefix) []string {
	p = p.Masked()
	width, labels, base, top := 8, 4, 10, arpa4
	if p.Addr().Is6() {
		width, labels, base, top = 4, 32, 16, arpa6
	}
	whole, cut := p.Bits()/width, p.Bits()%width
	raw := p.Addr().AsSlice()
	value := func(i int) int {
		if width == 8 {
			return int(raw[i])
		}
		return int(raw[i/2]>>(4*(1-i%2))) & 15
	}
	tail := top
	for i := range whole {
		tail = strconv.FormatInt(int64(value(i)), base) + "." + tail
	}
	if cut == 0 || whole == labels {
		return []string{tail}
	}
	var ds []string
	first := value(whole)
	for v := first; v < first+1<<(width-cut); v++ {
		ds = append(ds, strconv.FormatInt(int64(v), base)+"."+tail)
	}
	return ds
}
