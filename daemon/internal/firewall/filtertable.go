package firewall

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/warren-mesh/warren/coord"
)

// filterTable is what the table of a Filter holds. Two tables with chains of one name have the same rules in them, so that
// an edit changes elements, and adds and removes chains whole.
type filterTable struct {
	link   string
	parts  int
	sets   map[string]*filterSet
	chains map[string]chainRules
}

// chainRules are a chain's rules, which name sets of the table.
type chainRules [][]any // of rule, and of setRule

// setRule is made into a rule when the sets are there: it matches what the register holds.
type setRule struct {
	set     string
	verdict bool // by a map to verdicts
}

// filterSet is a set, or a map to chains.
type filterSet struct {
	key      nftables.SetDatatype
	verdicts bool
	interval bool
	exact    map[string]string     // elements of one key each; where they lead
	ranges   []nftables.SetElement // elements of ranges
}

// spoofable are sources that no packet from another machine can have, besides this machine's own addresses (RFC 6890,
// RFC 4291).
var spoofable = prefixList("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3",
	"::/127", "::ffff:0:0/96", "fe80::/10", "ff00::/8")

// portProtos are the protocols whose ports are looked at: the headers of all begin with source and destination port.
var portProtos = []uint8{coord.ProtoTCP, coord.ProtoUDP, coord.ProtoSCTP}

var families = [2]family{ipv4, ipv6}

func digit(v int) string { return string("46"[v]) }

func newFilterTable(link string, a Admission) *filterTable {
	t := &filterTable{link: link, sets: make(map[string]*filterSet), chains: make(map[string]chainRules)}
	spoofed := slices.Clone(spoofable)
	own := make([]netip.Addr, len(a.Self))
	for i, s := range a.Self {
		own[i] = s.Unmap()
		spoofed = append(spoofed, netip.PrefixFrom(own[i], own[i].BitLen()))
	}
	for v, fam := range families {
		t.sets["spoofed"+digit(v)] = &filterSet{key: fam.key, interval: true, ranges: elements(wireSpans(spoofed, fam.is4))}
	}
	p := compileFilter(a.Rules, own)
	t.parts = len(p.parts)
	t.base()
	for name, s := range p.services {
		t.chains[name] = t.granted(name, s)
	}
	for i, part := range p.parts {
		t.part(i, part)
	}
	return t
}

// wireSpans is spans that takes IPv4-mapped addresses for the IPv6 addresses that they are on the wire.
func wireSpans(prefixes []netip.Prefix, is4 bool) []span {
	mapped := func(p netip.Prefix) bool { return p.Addr().Is4In6() }
	all := spans(slices.DeleteFunc(slices.Clone(prefixes), mapped), is4)
	for _, p := range prefixes {
		if mapped(p) && !is4 {
			all = append(all, span{p.Addr(), last(p)})
		}
	}
	slices.SortFunc(all, func(a, b span) int { return a.first.Compare(b.first) })
	return all
}

// toName names the map from addresses to destinations.
func toName(i, v int) string { return fmt.Sprintf("to%s-%d", digit(v), i) }

func (t *filterTable) part(i int, p *part) {
	for v, fam := range families {
		t.sets[toName(i, v)] = &filterSet{key: fam.key, verdicts: true, interval: true, ranges: zoneElements(p.to[v])}
	}
	for name, d := range p.dests {
		name += fmt.Sprintf("-%d", i)
		for v, fam := range families {
			hosts := make(map[string]string, len(d.hosts[v]))
			for a, services := range d.hosts[v] {
				hosts[string(a.AsSlice())] = services
			}
			t.sets[name+"-hosts"+digit(v)] = &filterSet{key: fam.key, verdicts: true, exact: hosts}
			t.sets[name+"-nets"+digit(v)] = &filterSet{key: fam.key, verdicts: true, interval: true, ranges: zoneElements(d.nets[v])}
		}
		t.chains[name] = t.destination(name)
	}
	for _, z := range [2]*filterSet{t.sets[toName(i, 0)], t.sets[toName(i, 1)]} {
		for j := range z.ranges {
			if v := z.ranges[j].VerdictData; v != nil {
				v.Chain += fmt.Sprintf("-%d", i)
			}
		}
	}
}

func jumpTo(chain string) *expr.Verdict { return &expr.Verdict{Kind: expr.VerdictJump, Chain: chain} }

// zoneElements gives ranges in the form of an interval map: each start with where it leads, and the first address after
// each end.
func zoneElements(zones []zone) (es []nftables.SetElement) {
	for _, z := range zones {
		es = append(es, nftables.SetElement{Key: z.first.AsSlice(), VerdictData: jumpTo(z.name)})
		if next := z.last.Next(); next.IsValid() {
			es = append(es, nftables.SetElement{Key: next.AsSlice(), IntervalEnd: true})
		}
	}
	return es
}

func portElements(ranges []portRange) (es []nftables.SetElement) {
	for _, r := range ranges {
		es = append(es, nftables.SetElement{Key: binary.BigEndian.AppendUint16(nil, r.first)})
		if r.last < 65535 {
			es = append(es, nftables.SetElement{Key: binary.BigEndian.AppendUint16(nil, r.last+1), IntervalEnd: true})
		}
	}
	return es
}

// element is one of exact.
func (s *filterSet) element(key string) nftables.SetElement {
	e := nftables.SetElement{Key: []byte(key)}
	if s.verdicts {
		e.VerdictData = jumpTo(s.exact[key])
	}
	return e
}

func (s *filterSet) all() []nftables.SetElement {
	es := slices.Clone(s.ranges)
	for _, key := range slices.Sorted(maps.Keys(s.exact)) {
		es = append(es, s.element(key))
	}
	return es
}

func (s *filterSet) size() int { return len(s.exact) + len(s.ranges) }

func (s *filterSet) equal(o *filterSet) bool {
	return maps.Equal(s.exact, o.exact) && slices.EqualFunc(s.ranges, o.ranges, sameElement)
}

func sameElement(a, b nftables.SetElement) bool {
	if (a.VerdictData == nil) != (b.VerdictData == nil) || a.VerdictData != nil && *a.VerdictData != *b.VerdictData {
		return false
	}
	return string(a.Key) == string(b.Key) && a.IntervalEnd == b.IntervalEnd
}

// equal reports whether two tables are the same.
func (t *filterTable) equal(o *filterTable) bool {
	return t.parts == o.parts && maps.EqualFunc(t.sets, o.sets, (*filterSet).equal) &&
		slices.Equal(slices.Sorted(maps.Keys(t.chains)), slices.Sorted(maps.Keys(o.chains)))
}
