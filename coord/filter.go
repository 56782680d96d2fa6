package coord

import (
	"fmt"
	"net/netip"
	"slices"
)

// Bounds on a machine's filter, held where it is made and where it is read.
const (
	MaxFilterSets     = 8192    // each is a group, a tag, a user or the like that some rule lets in
	MaxFilterRules    = 32768   // those that concern one machine
	MaxFilterPrefixes = 1 << 20 // in all sets, or in all rules: 10,000 machines with two addresses in fifty groups each
	MaxFilterServices = 512     // of one rule
	MaxFilterName     = 256     // bytes of a set's name
)

// Filter says what may come in to one machine from the network: to the machine itself, and, if it is a router or an exit
// node, through it to what lies behind it. What no rule lets in is dropped. Answers to what the machine itself began, and
// errors about it, need no rule: the packet filter is stateful.
//
// It is made for the kernel's sets and maps: a rule names sets of source addresses, and all rules together unfold into
// elements (source, protocol, ports), or (source, destination, protocol, ports), among which one look-up finds the
// answer, however many rules there are. A change of a set's addresses touches no rule.
//
//	{"sets":    [{"name": "group:dev", "nets": ["100.64.0.7/32", "fd00::7/128"]}],
//	 "in":      [{"from": ["group:dev"], "allow": ["tcp:22", "icmp"]}],
//	 "forward": [{"from": ["group:dev"], "to": ["192.168.7.0/24"], "allow": ["tcp:80-443"]}]}
type Filter struct {
	Sets    []FilterSet  `json:"sets,omitempty"`    // ordered by name
	In      []FilterRule `json:"in,omitempty"`      // to the machine's own addresses in the network
	Forward []FilterRule `json:"forward,omitempty"` // through it, to what lies behind it: never to an address of the network
}

// FilterSet is a named set of source addresses. Its name means something within its filter only.
type FilterSet struct {
	Name string         `json:"name"`
	Nets []netip.Prefix `json:"nets"` // in order (netip.Prefix.Compare), each once; they may overlap
}

// FilterRule lets in what comes from any of the sets, to any of the destinations, for any of the services.
type FilterRule struct {
	From  []string       `json:"from"`         // names of sets
	To    []netip.Prefix `json:"to,omitempty"` // in In: none means each of the machine's own addresses
	Allow []Service      `json:"allow"`
}

// Packet is the first packet of a flow, as far as filters look at it. Port is the destination's; protocols without ports
// have 0.
type Packet struct {
	From, To netip.Addr
	Proto    uint8 // IANA's number
	Port     uint16
}

// Admits reports whether the filter of a machine that has these addresses lets the packet in. It reads rule after rule:
// it is for explanations and tests, not for traffic.
func (f *Filter) Admits(own []netip.Addr, p Packet) bool {
	toSelf := slices.Contains(own, p.To)
	rules := f.Forward
	if toSelf {
		rules = f.In
	}
	return slices.ContainsFunc(rules, func(r FilterRule) bool {
		return (toSelf && len(r.To) == 0 || containsAddr(r.To, p.To)) &&
			slices.ContainsFunc(r.Allow, func(s Service) bool { return s.Matches(p.Proto, p.Port) }) &&
			slices.ContainsFunc(r.From, func(name string) bool { return containsAddr(f.Set(name), p.From) })
	})
}

// Set finds a set's addresses by its name; none if there is no such set.
func (f *Filter) Set(name string) []netip.Prefix {
	i, ok := f.find(name)
	if !ok {
		return nil
	}
	return f.Sets[i].Nets
}

func containsAddr(ps []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Validate holds a filter against its bounds and against itself: names that are there, once; prefixes and services that
// can be; nothing forwarded to the addresses of network n.
func (f *Filter) Validate(n *Network) error {
	if len(f.Sets) > MaxFilterSets || len(f.In)+len(f.Forward) > MaxFilterRules {
		return fmt.Errorf("%w filter: %d sets and %d rules, %d and %d at the most", ErrInvalid,
			len(f.Sets), len(f.In)+len(f.Forward), MaxFilterSets, MaxFilterRules)
	}
	known := make(map[string]bool, len(f.Sets))
	prefixes := 0
	for i, s := range f.Sets {
		if s.Name == "" || len(s.Name) > MaxFilterName {
			return fmt.Errorf("%w filter: the name of a set has %d bytes", ErrInvalid, len(s.Name))
		}
		if i > 0 && f.Sets[i-1].Name >= s.Name {
			return fmt.Errorf("%w filter: its sets are not in order, or %q is there twice", ErrInvalid, s.Name)
		}
		known[s.Name] = true
		if prefixes += len(s.Nets); prefixes > MaxFilterPrefixes {
			return fmt.Errorf("%w filter: its sets have more than %d prefixes", ErrInvalid, MaxFilterPrefixes)
		}
		if err := validSet(s.Nets); err != nil {
			return fmt.Errorf("%w filter: set %q: %w", ErrInvalid, s.Name, err)
		}
	}
	prefixes = 0
	for i, r := range slices.Concat(f.In, f.Forward) {
		if err := r.validate(known); err != nil {
			return fmt.Errorf("%w filter: rule %d: %w", ErrInvalid, i, err)
		}
		if prefixes += len(r.To); prefixes > MaxFilterPrefixes {
			return fmt.Errorf("%w filter: its rules have more than %d prefixes", ErrInvalid, MaxFilterPrefixes)
		}
		if i < len(f.In) {
			continue
		}
		if len(r.To) == 0 {
			return fmt.Errorf("%w filter: rule %d forwards to anywhere", ErrInvalid, i)
		}
		for _, p := range r.To {
			if p.Overlaps(n.IPv4) || p.Overlaps(n.IPv6) {
				return fmt.Errorf("%w filter: rule %d forwards to %s, which is of the network", ErrInvalid, i, p)
			}
		}
	}
	return nil
}

func (r *FilterRule) validate(known map[string]bool) error {
	switch {
	case len(r.From) == 0 || len(r.From) > MaxFilterSets:
		return fmt.Errorf("it is for %d sources", len(r.From))
	case len(r.Allow) == 0 || len(r.Allow) > MaxFilterServices:
		return fmt.Errorf("it lets %d services in", len(r.Allow))
	}
	for _, name := range r.From {
		if !known[name] {
			return fmt.Errorf("there is no set %q", name)
		}
	}
	for _, s := range r.Allow {
		if !s.valid() {
			return fmt.Errorf("a service has ports that cannot be: %s", s)
		}
	}
	return validNets(r.To)
}

// validSet holds a set's prefixes to their order, too.
func validSet(ps []netip.Prefix) error {
	for i := 1; i < len(ps); i++ {
		if ps[i-1].Compare(ps[i]) >= 0 {
			return fmt.Errorf("%s is not in order, or there twice", ps[i])
		}
	}
	return validNets(ps)
}

func validNets(ps []netip.Prefix) error {
	for _, p := range ps {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			return fmt.Errorf("%s is no prefix, has bits below its mask, or is IPv4 in IPv6", p)
		}
	}
	return nil
}
