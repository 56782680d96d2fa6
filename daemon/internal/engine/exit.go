package engine

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/core"
	"github.com/warren-mesh/warren/daemon/internal/store"
	"github.com/warren-mesh/warren/ipc"
)

// wants is what the people of this machine want of routes.
func wants(s *store.State) *core.Wants {
	w := &core.Wants{Lockdown: s.Lockdown, ShieldsUp: s.ShieldsUp}
	l := s.Login()
	if l == nil {
		return w
	}
	r := &l.Routing
	w.AllowLAN, w.Accept, w.NoSNAT, w.Offer, w.Relay, w.RelayRate = r.AllowLAN, r.Accept, r.NoSNAT, r.Offers(), r.Relay, r.RelayRate
	for _, e := range r.Exits {
		w.Exits = append(w.Exits, core.ExitWish{Node: e.Node, Name: e.Name})
	}
	return w
}

// netmapOf is a login's network, or nil where it is not the current login.
func (e *Engine) netmapOf(login string) *coord.Netmap {
	if e.net.login != login {
		return nil
	}
	return e.net.netmap
}

// editRouting changes what q names of the current login's routing. m is the login's network, as far as it is known.
func editRouting(r store.Routing, q ipc.PrefsEdit, m *coord.Netmap) (store.Routing, error) {
	if q.ExitNodes != nil {
		exits, err := chosenExits(*q.ExitNodes, m, r.Exits)
		if err != nil {
			return r, err
		}
		r.Exits = exits
	}
	if q.AdvertiseRoutes != nil {
		r.Offer = slices.Clone(*q.AdvertiseRoutes)
	}
	for _, b := range []struct{ to, from *bool }{
		{&r.AllowLAN, q.ExitNodeAllowLAN}, {&r.Accept, q.AcceptRoutes}, {&r.OfferExit, q.AdvertiseExitNode}, {&r.Relay, q.Relay},
	} {
		if b.from != nil {
			*b.to = *b.from
		}
	}
	if q.SNATSubnetRoutes != nil {
		r.NoSNAT = !*q.SNATSubnetRoutes
	}
	if q.RelayRate != nil {
		if rate := *q.RelayRate; rate != 0 && (rate < ipc.MinRelayRate || rate > ipc.MaxRelayRate) {
			return r, &ipc.Error{
				Status: http.StatusBadRequest, Code: ipc.CodeBadRequest, Message: "A machine cannot relay at that rate.",
				Fix: "Give a number of Mbit/s from 0.1 to 1000000, or 0 for no bound: sudo warren set --relay-rate 10",
			}
		}
		r.RelayRate = *q.RelayRate
	}
	if r.OfferExit && len(r.Exits) > 0 {
		fix := "First: sudo warren set --advertise-exit-node=false"
		if q.AdvertiseExitNode != nil {
			fix = "First: warren exit-node off"
		}
		return r, &ipc.Error{
			Status: http.StatusConflict, Code: ipc.CodeBadRequest, Reason: ipc.ReasonExitAndOffer, Fix: fix,
			Message: "A machine cannot use an exit node and be one: what others send through it would go on through the other.",
		}
	}
	if m != nil && q.AdvertiseRoutes != nil {
		return r, checkRoutes(r.Offer, &m.Network)
	}
	return r, nil
}

// lockedOffer refuses lockdown on a machine that leads others somewhere: it would forward nothing of theirs. locking: it is
// lockdown that is asked for.
func lockedOffer(locking bool) error {
	e := &ipc.Error{
		Status: http.StatusConflict, Code: ipc.CodeBadRequest, Reason: ipc.ReasonLockedOffer, Fix: "First: sudo warren set --lockdown=false",
		Message: "A machine with lockdown cannot be an exit node or lead to subnets: nothing leaves it, not even what others send through it.",
	}
	if locking {
		e.Fix = "First: sudo warren set --advertise-exit-node=false --advertise-routes="
	}
	return e
}

// chosenExits finds the machines that a person names. One that was chosen before may be named again while it is away.
func chosenExits(names []string, m *coord.Netmap, before []store.Exit) (exits []store.Exit, err error) {
	if len(names) > store.MaxExits {
		return nil, &ipc.Error{Status: http.StatusBadRequest, Code: ipc.CodeBadRequest, Message: fmt.Sprintf("These are %d exit nodes, %d at the most.", len(names), store.MaxExits)}
	}
	for _, name := range names {
		exit, err := chosenExit(name, m, before)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(exits, func(o store.Exit) bool { return o.Node == exit.Node }) {
			exits = append(exits, exit)
		}
	}
	return exits, nil
}

func chosenExit(name string, m *coord.Netmap, before []store.Exit) (store.Exit, error) {
	plain := strings.TrimSuffix(strings.ToLower(name), ".")
	if m != nil {
		plain = strings.TrimSuffix(plain, "."+m.Network.Suffix)
		addr, _ := netip.ParseAddr(plain)
		if plain == m.Self.Name || slices.Contains(m.Self.Addrs, addr) {
			return store.Exit{}, &ipc.Error{
				Status: http.StatusConflict, Code: ipc.CodeNoPeer, Reason: ipc.ReasonSelf, About: []string{m.Self.Name},
				Message: m.Self.Name + " is this machine itself: an exit node is another one.",
				Fix:     "warren exit-node list shows those that can be used. To offer this machine to others: sudo warren set --advertise-exit-node",
			}
		}
		for i := range m.Peers {
			n := &m.Peers[i]
			if n.Name != plain && !slices.Contains(n.Addrs, addr) {
				continue
			}
			if !n.IsExit() {
				return store.Exit{}, &ipc.Error{
					Status: http.StatusConflict, Code: ipc.CodeNoExit, Reason: ipc.ReasonNotExit, About: []string{n.Name},
					Message: n.Name + " is no exit node: it does not offer to be one, or no admin has approved it.",
					Fix:     "On " + n.Name + ": sudo warren set --advertise-exit-node. Those there are: warren exit-node list",
				}
			}
			return store.Exit{Node: n.ID, Name: n.Name}, nil
		}
	}
	for _, e := range before {
		if e.Name == plain {
			return e, nil
		}
	}
	if m == nil {
		return store.Exit{}, errNotUp
	}
	return store.Exit{}, &ipc.Error{
		Status: http.StatusNotFound, Code: ipc.CodeNoPeer, Reason: ipc.ReasonUnknownPeer, About: []string{name},
		Message: fmt.Sprintf("No other machine of the network is called %q.", name),
		Fix:     "warren exit-node list shows those that can be used",
	}
}

// checkRoutes refuses what cannot be offered. n may be nil where the network is not known yet.
func checkRoutes(routes []netip.Prefix, n *coord.Network) error {
	if slices.ContainsFunc(routes, coord.IsExitRoute) {
		return &ipc.Error{
			Status: http.StatusBadRequest, Code: ipc.CodeBadRequest, Reason: ipc.ReasonExitRoute, Message: "The way to the whole internet is no subnet.",
			Fix: "Offer it as what it is: sudo warren set --advertise-exit-node",
		}
	}
	if err := coord.ValidateRoutes(routes, n); err != nil {
		return &ipc.Error{
			Status: http.StatusBadRequest, Code: ipc.CodeBadRequest, Reason: ipc.ReasonRoutes, Message: "This cannot be offered: " + err.Error() + ".",
			Fix: "Name the subnets as they are routed, such as 10.0.0.0/24 or 2001:db8:1::/64",
		}
	}
	return nil
}
