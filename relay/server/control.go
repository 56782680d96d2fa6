package server

import (
	"errors"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

// control takes a frame that is not data. It reports false where the frame was malformed, unknown or unproven,
// and then has changed nothing and answered nothing.
func (h *hub) control(out outlet, o origin, frame []byte, now time.Time) bool {
	switch relay.TypeOf(frame) {
	case relay.TypeHello:
		return h.hello(out, o, frame, now)
	case relay.TypeJoin:
		return h.join(out, o, frame, now)
	case relay.TypePing:
		return h.ping(out, o, frame, now)
	case relay.TypeLeave:
		return h.leave(out, o, frame)
	default:
		return false
	}
}

func (h *hub) hello(out outlet, o origin, frame []byte, now time.Time) bool {
	nonce, ok := relay.ParseHello(frame, h.public)
	if !ok {
		return false
	}
	cookie := h.cookies.make(h.stamp(now), o)
	h.send(out, o, relay.AppendChallenge(nil, nonce, cookie))
	h.count.hellos.Add(1)
	return true
}

// join checks the cheap things first: who has not proven its address costs no public-key operation.
func (h *hub) join(out outlet, o origin, frame []byte, now time.Time) bool {
	j, ok := relay.ParseJoin(frame)
	if !ok {
		return false
	}
	joined, ok := h.cookies.check(h.stamp(now), o, j.Cookie)
	if !ok {
		return false
	}
	claimed, err := relay.ParseTicket(j.Ticket)
	if err != nil {
		return false
	}
	shared, err := h.key.Shared(claimed.Node)
	if err != nil || !j.Open(shared) {
		return false
	}
	// Whoever it is holds the key that it names and receives at its address: it may hear why not.
	refuse := func(why relay.Reason) bool {
		h.send(out, o, relay.AppendRefused(nil, shared, j.Cookie, why))
		h.count.refused.Add(1)
		h.log.Info("refused a client", "node", claimed.Node, "issuer", claimed.Issuer, "from", o.addr, "reason", why)
		return true
	}
	networks := h.networks.Load()
	ticket, err := relay.VerifyTicket(j.Ticket, now, networks.issuers...)
	if err != nil {
		return refuse(reasonOf(err))
	}
	s := h.newSession(o, networks.of(ticket.Issuer), ticket, shared, joined, now)
	s, replaced, refused := h.open(s)
	switch {
	case refused != 0:
		return refuse(refused)
	case s == nil:
		return false // a Join from before the present session's: a replay, or overtaken
	}
	if replaced != nil {
		h.end(out, replaced, relay.ReasonReplaced)
	}
	if o.ws != nil {
		o.ws.joined(h, s)
	}
	h.send(out, o, relay.AppendWelcome(nil, shared, j.Cookie, relay.Welcome{Tag: s.tag, Observed: o.addr, Idle: idleTime}))
	h.count.joins.Add(1)
	h.log.Debug("session", "node", s.node, "from", o.addr, "websocket", o.ws != nil)
	return true
}

func (h *hub) newSession(o origin, n *served, t relay.Ticket, shared key.Shared, joined uint64, now time.Time) *session {
	s := &session{
		name: name{network: n, addr: relay.AddressOf(t.Node)},
		node: t.Node, tag: newTag(), shared: shared, joined: joined, ws: o.ws, until: t.NotAfter,
	}
	s.remote.Store(&o.addr)
	s.seen.Store(h.stamp(now))
	return s
}

func reasonOf(err error) relay.Reason {
	switch {
	case errors.Is(err, relay.ErrTicketExpired):
		return relay.ReasonExpired
	case errors.Is(err, relay.ErrTicketIssuer):
		return relay.ReasonIssuer
	default:
		return relay.ReasonTicket
	}
}

// ping keeps a session, and follows it to where the Ping came from: it was sealed with the key in common, and is newer
// than the last.
func (h *hub) ping(out outlet, o origin, frame []byte, now time.Time) bool {
	s := h.sessionOf(o, frame)
	if s == nil {
		return false
	}
	p, ok := relay.OpenPing(frame, s.shared)
	if !ok || !s.rises(p.Counter) {
		return false
	}
	if moved := *s.remote.Load() != o.addr; moved {
		addr := o.addr // not o itself: it would be allocated for every frame
		s.remote.Store(&addr)
		h.count.moves.Add(1)
	}
	s.seen.Store(h.stamp(now))
	if len(p.Ticket) > 0 {
		h.renew(s, p.Ticket, now)
	}
	h.send(out, o, relay.AppendPong(nil, s.shared, s.tag, relay.Pong{Counter: p.Counter, Observed: o.addr}))
	return true
}

// renew lets a session go on with a newer ticket. One that does not fit changes nothing.
func (h *hub) renew(s *session, ticket []byte, now time.Time) {
	t, err := relay.VerifyTicket(ticket, now, s.name.network.issuer)
	if err != nil || t.Node != s.node {
		h.log.Info("refused a renewed ticket", "node", s.node, "err", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.NotAfter.After(s.until) {
		s.until = t.NotAfter
	}
}

func (h *hub) leave(out outlet, o origin, frame []byte) bool {
	s := h.sessionOf(o, frame)
	if s == nil {
		return false
	}
	counter, ok := relay.OpenLeave(frame, s.shared)
	if !ok || !s.rises(counter) {
		return false
	}
	h.end(out, s, 0)
	return true
}

// sessionOf gives the session that a frame's tag names. Over UDP it may come from another address; a session on a
// WebSocket stays there.
func (h *hub) sessionOf(o origin, frame []byte) *session {
	tag, ok := relay.TagOf(frame)
	if !ok {
		return nil
	}
	s := h.sessions.byTag(tag)
	if s == nil || s.ws != o.ws {
		return nil
	}
	return s
}

// rises takes a counter if it is above the last.
func (s *session) rises(counter uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if counter <= s.counter {
		return false
	}
	s.counter = counter
	return true
}
