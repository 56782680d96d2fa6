package netcheck

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/ipc"
)

// Report tells what was found about UDP. Relays have no names in it, and TCP, port mapping and portals are others' to add:
// see Finish.
func (c *Check) Report() (r ipc.Netcheck, latency map[coord.RelayID][Families]time.Duration) {
	r = ipc.Netcheck{Took: ipc.Millis(c.end.Sub(c.began)), IPv4: c.family(IPv4), IPv6: c.family(IPv6), UDP: ipc.Unknown}
	switch {
	case r.IPv4.UDP == ipc.Yes || r.IPv6.UDP == ipc.Yes:
		r.UDP = ipc.Yes
	case r.IPv4.UDP == ipc.No || r.IPv6.UDP == ipc.No:
		r.UDP = ipc.No
	}
	latency = make(map[coord.RelayID][Families]time.Duration)
	for _, q := range c.questions {
		if !q.answered || q.Socket != Mapping {
			continue
		}
		id := serverOf(&c.sides[q.Family], q.To).Relay
		l := latency[id]
		if l[q.Family] == 0 || q.RTT < l[q.Family] {
			l[q.Family] = max(q.RTT, time.Microsecond)
		}
		latency[id] = l
	}
	return r, latency
}

func (c *Check) family(f Family) ipc.NetcheckFamily {
	sd := &c.sides[f]
	r := ipc.NetcheckFamily{
		Local: sd.local.Addr, UDP: ipc.Unknown, NAT: ipc.Unknown, Mapping: ipc.BehaviorUnknown, Filtering: ipc.BehaviorUnknown,
		Hairpin: ipc.Unknown, PortKept: ipc.Unknown,
	}
	if len(sd.servers) == 0 {
		return r
	}
	seen := c.seen(f, Mapping)
	if !seen.IsValid() {
		r.UDP = ipc.No
		return r
	}
	r.UDP, r.Public, r.NAT = ipc.Yes, seen.Addr(), yes(seen.Addr() != sd.local.Addr)
	r.PortKept = ipc.Yes
	for _, q := range c.questions {
		switch {
		case !q.answered || q.Family != f:
		case q.Socket == Mapping && q.Seen.Port() != sd.local.Ports[Mapping]:
			r.PortKept = ipc.No
		case q.Socket == Size:
			r.PathMTU = max(r.PathMTU, q.Size)
		}
	}
	if r.Mapping = ipc.NoTranslation; r.NAT == ipc.Yes {
		r.Mapping = c.mapping(f)
	}
	r.Filtering = c.filtering(f)
	switch {
	case sd.hairpin:
		r.Hairpin = ipc.Yes
	case !sd.greets.IsZero():
		r.Hairpin = ipc.No
	}
	return r
}

func yes(b bool) ipc.Known {
	if b {
		return ipc.Yes
	}
	return ipc.No
}

// mapping compares where every two destinations saw the one socket.
func (c *Check) mapping(f Family) ipc.Behavior {
	var samePort, otherPort, sameAddr, otherAddr bool // pairs seen alike and unlike: at one address, and at two
	for i, a := range c.questions {
		for _, b := range c.questions[:i] {
			if a.Family != f || b.Family != f || a.Socket != Mapping || b.Socket != Mapping || !a.answered || !b.answered {
				continue
			}
			alike := a.Seen == b.Seen
			if a.To.Addr() == b.To.Addr() {
				samePort, otherPort = samePort || alike, otherPort || !alike
			} else {
				sameAddr, otherAddr = sameAddr || alike, otherAddr || !alike
			}
		}
	}
	switch {
	case otherPort:
		return ipc.PortDependent
	case otherAddr && samePort:
		return ipc.AddressDependent
	case otherAddr:
		return ipc.AddressOrMore
	case sameAddr:
		return ipc.Independent
	case samePort:
		return ipc.AddressOrLess
	}
	return ipc.BehaviorUnknown
}

// filtering judges by the answer from a port that was not asked. None proves something only where that port is known to live.
func (c *Check) filtering(f Family) ipc.Behavior {
	other := c.sides[f].servers[0].Other
	lives := false
	for _, q := range c.questions {
		if q.Family != f || !q.answered {
			continue
		}
		if q.OtherPort {
			return ipc.AddressOrLess
		}
		lives = lives || q.To == other
	}
	if lives && c.seen(f, Filtering).IsValid() {
		return ipc.PortDependent
	}
	return ipc.BehaviorUnknown
}

// Portal judges the answer to a plain request for http://asked/: a network that wants a page passed first answers in the
// server's stead, and leads elsewhere. No answer proves nothing: the server itself need not speak plain HTTP.
func Portal(asked string, status int, location string) ipc.NetcheckPortal {
	_, rest, ok := strings.Cut(location, "://")
	host := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host = rest[:i]
	}
	if ap, err := netip.ParseAddrPort(host); err == nil {
		host = ap.Addr().String()
	} else if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	switch {
	case status == 511: // Network Authentication Required (RFC 6585)
		return ipc.NetcheckPortal{Found: ipc.Yes, Server: host}
	case status >= 300 && status < 400 && ok && host != "" && host != strings.ToLower(asked):
		return ipc.NetcheckPortal{Found: ipc.Yes, Server: host}
	case status != 0:
		return ipc.NetcheckPortal{Found: ipc.No}
	}
	return ipc.NetcheckPortal{Found: ipc.Unknown}
}

// Finish orders what others have added, and says it in words.
func Finish(r *ipc.Netcheck) {
	slices.SortStableFunc(r.Relays, func(a, b ipc.NetcheckRelay) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name))
	})
	if r.Portal.Found == ipc.Unknown && r.UDP == ipc.Yes {
		r.Portal.Found = ipc.No // a network that holds people up lets nothing through to the relays
	}
	r.Kind, r.Advised = kind(r), advice(r)
	r.Advice = ipc.Texts(r.Advised)
}

func rank(r ipc.NetcheckRelay) ipc.Milliseconds {
	best := ipc.Milliseconds(1e9)
	for _, l := range []ipc.Milliseconds{r.IPv4, r.IPv6} {
		if l > 0 {
			best = min(best, l)
		}
	}
	if best == 1e9 && r.TCP > 0 {
		return 1e8 + r.TCP
	}
	return best
}
