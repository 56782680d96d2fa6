package policy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/warren-mesh/warren/coord"
)

// Compiled is a policy for a network: who sees whom, and each machine's filter. It has one owner, who tells it of each
// change; a change costs in proportion to the machines whose sight or filter it is about.
//
// The rules are reduced to atoms, which many of them share: an atom of sources is one selector, one of destinations is a
// selector with its via. An edge leads from some atoms of sources to one of destinations, for some services. A machine is
// of few atoms; that it is, is all that a change of it changes. Machines that are of the same atoms are alike: what they
// see, and their filter, is worked out once for all of them, when somebody asks.
type Compiled struct {
	file *File
	own  []netip.Prefix // the network's addresses

	sources []*source
	dests   []*dest
	edges   []edge
	selves  []edge // those to autogroup:self
	finder  finder
	linked  map[[2]int]bool // source, destination: some edge leads there

	users    map[int64]User
	owned    map[int64]*bitset // each user's untagged machines
	machines map[coord.NodeID]*subject
	slots    []*subject // nil: free
	free     []int
	byAddr   map[netip.Addr]*subject
	routers  map[coord.NodeID]*subject
	subnets  map[netip.Prefix]int // what lies behind routers, with how many lead there

	// What is alike for machines of the same atoms, until the next change.
	seen    map[string]bitset
	filters map[string]*coord.Filter
}

// source is an atom of sources.
type source struct {
	selector
	members [2]bitset      // by family: machines from which, or through which, such traffic can come
	outs    []int          // the atoms of destinations that edges lead to, ordered
	addrs   []netip.Prefix // what stands for it in filters, if it is fresh
	fresh   bool
}

// dest is an atom of destinations.
type dest struct {
	selector
	rule    *rule     // for its via
	members [2]bitset // by family: machines to which, or through which, such traffic can go
	ins     []int     // the atoms of sources that edges lead from, ordered
	edges   []int
}

// edge is a rule's way to one of its targets.
type edge struct {
	rule     *rule
	from     []int
	services []coord.Service
}

// Compile makes a policy of a file, nil being the default, for a network.
func Compile(f *File, n Network) *Compiled {
	own := slices.DeleteFunc([]netip.Prefix{n.IPv4, n.IPv6}, func(p netip.Prefix) bool { return !p.IsValid() })
	c := newCompiled(f, own, len(n.Machines))
	for _, u := range n.Users {
		c.users[u.ID] = u
	}
	for _, m := range n.Machines {
		c.put(m)
	}
	c.forget()
	return c
}

func newCompiled(f *File, own []netip.Prefix, machines int) *Compiled {
	if f == nil || !f.declared {
		f = defaultFile.under(f)
	}
	c := &Compiled{
		file: f, own: own,
		linked: make(map[[2]int]bool), users: make(map[int64]User), owned: make(map[int64]*bitset),
		machines: make(map[coord.NodeID]*subject, machines), byAddr: make(map[netip.Addr]*subject, 2*machines),
		routers: make(map[coord.NodeID]*subject), subnets: make(map[netip.Prefix]int),
	}
	c.atoms()
	c.forget()
	return c
}

// under gives the default rules with all else of a file that has none.
func (f *File) under(other *File) *File {
	if other == nil {
		return f
	}
	out := *other
	out.rules = f.rules
	return &out
}

// atoms reduces the rules.
func (c *Compiled) atoms() {
	sources, dests := make(map[string]int), make(map[string]int)
	for i := range c.file.rules {
		r := &c.file.rules[i]
		var from []int
		for _, s := range r.src {
			id, known := sources[s.text]
			if !known {
				id = len(c.sources)
				sources[s.text] = id
				c.sources = append(c.sources, &source{selector: s})
			}
			from = append(from, id)
		}
		slices.Sort(from)
		from = slices.Compact(from)
		for _, t := range r.targets {
			if len(from) == 0 || len(t.services) == 0 {
				continue
			}
			e := edge{rule: r, from: from, services: t.services}
			if t.kind == self {
				c.selves = append(c.selves, e)
				continue
			}
			key := t.text + " " + strings.Join(r.via, " ")
			to, known := dests[key]
			if !known {
				to = len(c.dests)
				dests[key] = to
				c.dests = append(c.dests, &dest{selector: t.selector, rule: r})
			}
			c.link(e, to)
		}
	}
	c.finder = newFinder(c)
}

func (c *Compiled) link(e edge, to int) {
	d := c.dests[to]
	d.edges = append(d.edges, len(c.edges))
	c.edges = append(c.edges, e)
	for _, s := range e.from {
		if !c.linked[[2]int{s, to}] {
			c.linked[[2]int{s, to}] = true
			c.sources[s].outs = append(c.sources[s].outs, to)
			d.ins = append(d.ins, s)
		}
	}
}

// forget drops what was worked out for machines that are alike.
func (c *Compiled) forget() {
	c.seen, c.filters = make(map[string]bitset), make(map[string]*coord.Filter)
}
