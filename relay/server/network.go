package server

import (
	"slices"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

// served is what the sessions of one network have in common.
type served struct {
	issuer key.ServerPublic // of its tickets
	rate   bucket
	size   int // sessions; guarded by hub.changing
}

// networks are those that are served. They are never changed.
type networks struct {
	issuers []key.ServerPublic
	all     []*served // as issuers
}

// of gives the network of an issuer, nil where it is not served.
func (n *networks) of(issuer key.ServerPublic) *served {
	if i := slices.Index(n.issuers, issuer); i >= 0 {
		return n.all[i]
	}
	return nil
}

// with gives the networks of other issuers. Those that stay are the same.
func (n *networks) with(issuers []key.ServerPublic) *networks {
	next := &networks{}
	for _, issuer := range issuers {
		if next.of(issuer) != nil {
			continue
		}
		is := n.of(issuer)
		if is == nil {
			is = &served{issuer: issuer}
		}
		next.issuers, next.all = append(next.issuers, issuer), append(next.all, is)
	}
	return next
}

// SetIssuers changes whose tickets admit. The sessions of a network that is not served any more end, and all others go on.
// It fails closed, as New does.
func (s *Server) SetIssuers(issuers []key.ServerPublic) error {
	if len(issuers) == 0 {
		return ErrNoIssuer
	}
	sender := s.borrow()
	defer s.giveBack(sender)
	s.hub.serve(asOutlet(sender), issuers)
	return nil
}

func (h *hub) serve(out outlet, issuers []key.ServerPublic) {
	h.changing.Lock()
	next := h.networks.Load().with(issuers)
	h.networks.Store(next)
	h.changing.Unlock()
	for _, s := range h.sessions.all() {
		if next.of(s.name.network.issuer) == nil {
			h.end(out, s, relay.ReasonIssuer)
		}
	}
}
