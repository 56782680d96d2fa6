package core

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/ipc"
)

// admission is the filter to enforce: that of the network, or one that lets nothing in.
func admission(m *coord.Netmap, w *Wants, p *Plan) *coord.Filter {
	switch {
	case w.ShieldsUp:
		return &coord.Filter{}
	case m.Filter == nil || len(p.DNS.Serve) == 0:
		return m.Filter
	}
	return withResolver(m.Filter, p.DNS.Serve, p.Forward.Subnets)
}

// withResolver lets those that may use this machine as exit node ask it for names, which they could not reach else.
func withResolver(f *coord.Filter, serve []netip.Addr, subnets []netip.Prefix) *coord.Filter {
	out := *f
	out.In = slices.Clone(f.In)
	for _, r := range f.Forward {
		if leadsBeyond(&r, subnets) {
			out.In = append(out.In, coord.FilterRule{From: r.From, To: host(serve), Allow: []coord.Service{
				{Proto: coord.ProtoUDP, First: 53, Last: 53}, {Proto: coord.ProtoTCP, First: 53, Last: 53},
			}})
		}
	}
	return &out
}

// leadsBeyond reports whether a rule lets packets through to more than these subnets: to the internet.
func leadsBeyond(r *coord.FilterRule, subnets []netip.Prefix) bool {
	return slices.ContainsFunc(r.To, func(p netip.Prefix) bool {
		return !slices.ContainsFunc(subnets, func(s netip.Prefix) bool { return s.Bits() <= p.Bits() && s.Contains(p.Addr()) })
	})
}

// Access says what the rules of this machine say of what a peer sends to it. No service: of anything.
func (f *Facts) Access(peer *coord.Node, s *coord.Service) (in ipc.Access, routes []ipc.RouteAccess) {
	in = ipc.Access{Shields: f.Wants.ShieldsUp, Rules: []ipc.AccessRule{}}
	rules := f.Netmap.Filter
	if rules == nil {
		in.Allowed = !in.Shields
		return in, nil
	}
	in.Ruled = true
	var nearest candidate
	for i := range rules.In {
		r := &rules.In[i]
		c := candidate{rule: r, source: grants(rules, r, peer), distance: distance(r, s)}
		if c.source && c.distance == 0 {
			in.Rules = append(in.Rules, said(r))
		} else if c.better(&nearest) {
			nearest = c
		}
	}
	in.Allowed = len(in.Rules) > 0 && !in.Shields
	if len(in.Rules) == 0 && nearest.rule != nil {
		rule := said(nearest.rule)
		in.Nearest, in.Lacks = &rule, ipc.LacksSource
		if nearest.source {
			in.Lacks = ipc.LacksService
		}
	}
	for i := range rules.Forward {
		if r := &rules.Forward[i]; grants(rules, r, peer) && distance(r, s) == 0 {
			routes = append(routes, ipc.RouteAccess{To: r.To, Allow: said(r).Allow})
		}
	}
	return in, routes
}

// candidate is a rule that does not let a peer's packets in, and how far it is from doing so.
type candidate struct {
	rule     *coord.FilterRule
	source   bool // it is for the peer
	distance int  // of its services from the one that is asked for
}

// far is the distance of another protocol: more than any two ports have.
const far = 1 << 16

// better prefers a rule for the peer, whose service is near; then one for the very service, whoever it is for.
func (c *candidate) better(than *candidate) bool {
	switch {
	case !c.source && c.distance > 0:
		return false
	case than.rule == nil:
		return true
	}
	return cmp.Or(-cmp.Compare(order(c.source), order(than.source)), cmp.Compare(c.distance, than.distance)) < 0
}

func order(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// grants reports whether a rule is for a peer.
func grants(f *coord.Filter, r *coord.FilterRule, peer *coord.Node) bool {
	return slices.ContainsFunc(r.From, func(name string) bool {
		return slices.ContainsFunc(f.Set(name), func(p netip.Prefix) bool { return slices.ContainsFunc(peer.Addrs, p.Contains) })
	})
}

// distance says how far the nearest service of a rule is from s; 0: it is one of them.
func distance(r *coord.FilterRule, s *coord.Service) int {
	if s == nil {
		return 0
	}
	least := far
	for _, a := range r.Allow {
		switch {
		case !sameProto(a.Proto, s.Proto):
		case a.Last == 0:
			return 0
		case s.Last == 0: // all of the protocol, which a part of it is not
			least = min(least, far-1)
		default:
			least = min(least, max(0, int(a.First)-int(s.First), int(s.Last)-int(a.Last)))
		}
	}
	return least
}

// sameProto takes the two versions' ICMP for one.
func sameProto(a, b uint8) bool {
	icmp := func(p uint8) bool { return p == coord.ProtoICMP || p == coord.ProtoICMPv6 }
	return a == b || icmp(a) && icmp(b)
}

func said(r *coord.FilterRule) ipc.AccessRule {
	out := ipc.AccessRule{From: r.From, To: r.To}
	for _, s := range r.Allow {
		out.Allow = append(out.Allow, s.String())
	}
	return out
}
