package firewall

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/warren-mesh/warren/coord"
)

// maxPairs is how many pairs of a source and a destination one part of a filter may have at the most. Rules that overlap in
// both multiply; a part that would be larger becomes two, which the kernel asks one after the other.
const maxPairs = 1 << 17

// part is rules as the kernel decides them, by one look-up each: where a packet goes leads to a destination's chain, where
// it comes from leads on to a chain of services, and that accepts those that any rule grants to the two. So the cost of a
// packet is the same, however many rules there are.
type part struct {
	to    [2][]zone // IPv4, IPv6: to the name of a destination
	dests map[string]*destination
	pairs int
}

// destination is addresses to which the same rules lead.
type destination struct {
	hosts [2]map[netip.Addr]string // single sources, to the name of services
	nets  [2][]zone                // and all others
}

// zone is a range of addresses that leads to the same, both ends included.
type zone struct {
	span
	name string
}

// services is what is granted to a source at a destination. Its name is made of what it is, so an edit changes none: what
// was granted before points elsewhere then.
type services struct {
	ports  map[uint8][]portRange // by protocol
	protos []uint8               // without ports
}

// portRange is a range of ports, both ends included.
type portRange struct{ first, last uint16 }

// permit is a rule with all that may use it. Rules that differ in their sources alone are one.
type permit struct {
	key   string
	from  map[string]bool
	in    bool
	to    []netip.Prefix
	allow []coord.Service
}

// plan is a filter as the kernel decides it.
type plan struct {
	parts    []*part
	services map[string]*services
	most     int // pairs in a part
}

// compileFilter makes of a machine's filter, and of its addresses in the network, what the kernel decides by.
func compileFilter(f *coord.Filter, own []netip.Addr) *plan {
	p := &plan{services: make(map[string]*services), most: maxPairs}
	p.compile(f, own, permits(f))
	return p
}

func (p *plan) compile(f *coord.Filter, own []netip.Addr, ps []*permit) {
	if len(ps) == 0 {
		return
	}
	c := &compiler{filter: f, own: own, permits: ps, services: p.services, most: p.most, granted: make(map[string]string)}
	if part := c.compile(); part != nil {
		p.parts = append(p.parts, part)
		return
	}
	half := len(ps) / 2
	p.compile(f, own, ps[:half])
	p.compile(f, own, ps[half:])
}

// permits lists a filter's rules in an order of their own, so that a rule that is added moves no other.
func permits(f *coord.Filter) []*permit {
	byKey := make(map[string]*permit)
	add := func(in bool, r *coord.FilterRule) {
		key := digest(in, r.To, r.Allow)
		p := byKey[key]
		if p == nil {
			p = &permit{key: key, in: in, to: r.To, allow: r.Allow, from: make(map[string]bool)}
			byKey[key] = p
		}
		for _, name := range r.From {
			p.from[name] = true
		}
	}
	for i := range f.In {
		add(true, &f.In[i])
	}
	for i := range f.Forward {
		add(false, &f.Forward[i])
	}
	return slices.SortedFunc(maps.Values(byKey), func(a, b *permit) int { return cmp.Compare(a.key, b.key) })
}

// digest names things by what they are.
func digest(what ...any) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%v", what))
	return hex.EncodeToString(sum[:8])
}

// compiler makes one part.
type compiler struct {
	filter   *coord.Filter
	own      []netip.Addr
	permits  []*permit
	services map[string]*services
	most     int
	granted  map[string]string // names of services, by the permits that they come from

	classes []*sourceClass
	bySet   map[string][]int // classes
}

// sourceClass is sources that are in the same sets.
type sourceClass struct {
	hosts []netip.Addr
	nets  []span
}

// compile makes the part, or nil where it would be too large and can be divided.
func (c *compiler) compile() *part {
	c.sources()
	p := &part{dests: make(map[string]*destination)}
	zones := c.zones()
	byPermits := make(map[string][]ownedZone)
	var keys []string
	for _, z := range zones {
		key := c.keyOf(z.owners)
		if byPermits[key] == nil {
			keys = append(keys, key)
		}
		byPermits[key] = append(byPermits[key], z)
	}
	for _, key := range keys {
		same := byPermits[key]
		d, pairs := c.destination(same[0].owners)
		if p.pairs += pairs; p.pairs > c.most && len(c.permits) > 1 {
			return nil
		}
		name := "to-" + digest(spansOf(same)) // by where it is: the rules for it may change
		p.dests[name] = d
		for _, z := range same {
			v := version(z.first)
			p.to[v] = append(p.to[v], zone{z.span, name})
		}
	}
	for v := range p.to {
		p.to[v] = joinZones(p.to[v])
	}
	return p
}

func (c *compiler) keyOf(permits []int) string {
	var b strings.Builder
	for _, i := range permits {
		b.WriteString(c.permits[i].key)
	}
	return b.String()
}

// spansOf writes ranges out: what fmt shows of addresses inside of structs is not the same in two runs.
func spansOf(zones []ownedZone) (all []string) {
	for _, z := range zones {
		all = append(all, z.first.String()+"-"+z.last.String())
	}
	return all
}

// sources finds out which sources are in the same sets.
func (c *compiler) sources() {
	used := make(map[string]bool)
	for _, p := range c.permits {
		maps.Copy(used, p.from)
	}
	var wide []owned
	single := make(map[netip.Addr][]int)
	for i := range c.filter.Sets {
		s := &c.filter.Sets[i]
		if !used[s.Name] {
			continue
		}
		for _, p := range s.Nets {
			if p = unmap(p); !p.IsSingleIP() {
				wide = append(wide, owned{span{p.Addr(), last(p)}, i})
			} else if has := single[p.Addr()]; len(has) == 0 || has[len(has)-1] != i {
				single[p.Addr()] = append(has, i)
			}
		}
	}
	zones := [2][]ownedZone{divide(wide, true), divide(wide, false)}
	known := make(map[string]*sourceClass)
	c.bySet = make(map[string][]int)
	class := func(sets []int) *sourceClass {
		key := fmt.Sprint(sets)
		if known[key] == nil {
			known[key] = &sourceClass{}
			for _, i := range sets {
				name := c.filter.Sets[i].Name
				c.bySet[name] = append(c.bySet[name], len(c.classes))
			}
			c.classes = append(c.classes, known[key])
		}
		return known[key]
	}
	for a, sets := range single {
		if z, ok := findZone(zones[version(a)], a); ok {
			sets = union(sets, z.owners)
		}
		k := class(sets)
		k.hosts = append(k.hosts, a)
	}
	for _, zs := range zones {
		for _, z := range zs {
			k := class(z.owners)
			k.nets = append(k.nets, z.span)
		}
	}
}

// zones divides all destinations by the permits that lead there. What is this machine's own is no matter of forwarding.
func (c *compiler) zones() (out []ownedZone) {
	var wide []owned
	for _, a := range c.own { // so that each is a zone of its own
		wide = append(wide, owned{span{a, a}, -1})
	}
	for i, p := range c.permits {
		if p.in {
			continue
		}
		for _, to := range p.to {
			to = unmap(to)
			wide = append(wide, owned{span{to.Addr(), last(to)}, i})
		}
	}
	for _, z := range append(divide(wide, true), divide(wide, false)...) {
		if z.owners[0] == -1 {
			z.owners = c.permitsTo(z.first)
		}
		if len(z.owners) > 0 {
			out = append(out, z)
		}
	}
	return out
}

// permitsTo lists the permits for one of the machine's own addresses.
func (c *compiler) permitsTo(a netip.Addr) (is []int) {
	for i, p := range c.permits {
		if p.in && (len(p.to) == 0 || slices.ContainsFunc(p.to, func(q netip.Prefix) bool { return q.Contains(a) })) {
			is = append(is, i)
		}
	}
	return is
}

// destination says who may reach what, where these permits lead.
func (c *compiler) destination(permits []int) (d *destination, pairs int) {
	d = &destination{hosts: [2]map[netip.Addr]string{{}, {}}}
	granted := make(map[int][]int) // permits, by class of source
	for _, i := range permits {
		for name := range c.permits[i].from {
			for _, class := range c.bySet[name] {
				if has := granted[class]; len(has) == 0 || has[len(has)-1] != i {
					granted[class] = append(has, i)
				}
			}
		}
	}
	for class, permits := range granted {
		name := c.servicesOf(permits)
		for _, a := range c.classes[class].hosts {
			d.hosts[version(a)][a] = name
		}
		for _, s := range c.classes[class].nets {
			v := version(s.first)
			d.nets[v] = append(d.nets[v], zone{s, name})
		}
		pairs += len(c.classes[class].hosts) + len(c.classes[class].nets)
	}
	for v := range d.nets {
		d.nets[v] = joinZones(d.nets[v])
	}
	return d, pairs
}

// servicesOf names what all these permits grant together.
func (c *compiler) servicesOf(permits []int) string {
	key := c.keyOf(permits)
	if name, known := c.granted[key]; known {
		return name
	}
	s := &services{ports: make(map[uint8][]portRange)}
	for _, i := range permits {
		for _, a := range c.permits[i].allow {
			switch {
			case !coord.HasPorts(a.Proto):
				s.protos = append(s.protos, a.Proto)
			case a.Last == 0:
				s.ports[a.Proto] = append(s.ports[a.Proto], portRange{0, 65535})
			default:
				s.ports[a.Proto] = append(s.ports[a.Proto], portRange{a.First, a.Last})
			}
		}
	}
	slices.Sort(s.protos)
	s.protos = slices.Compact(s.protos)
	for proto, all := range s.ports {
		s.ports[proto] = joinPorts(all)
	}
	name := "services-" + digest(s.ports, s.protos) // fmt orders maps by their keys
	c.services[name], c.granted[key] = s, name
	return name
}

func version(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}
