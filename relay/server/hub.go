package server

import (
	"crypto/rand"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/relay"
)

const (
	// idleTime is how long a silent client is remembered: two keepalives over UDP, and below the usual life of a
	// NAT's UDP mapping that has seen traffic both ways (RFC 4787, REQ-5: two minutes).
	idleTime = 60 * time.Second

	// absentEvery is the least time between two notices of absence to one client.
	absentEvery = 100 * time.Millisecond

	// maxSessions bounds memory: a session takes about a kilobyte, and its queue, while it is not empty, 512 more.
	maxSessions = 1 << 16
)

// outlet takes the datagrams that are to go out over UDP, until its owner flushes it. udpbatch.Sender is one.
type outlet interface {
	Add(to netip.AddrPort, b []byte)
}

// hub has the sessions.
type hub struct {
	// fixed
	key    key.Relay
	public key.RelayPublic
	log    *slog.Logger
	start  time.Time
	limit  int64

	limits   atomic.Pointer[Limits]
	networks atomic.Pointer[networks] // set with changing held

	cookies  *cookies
	sessions table
	count    counters

	draining atomic.Bool

	changing sync.Mutex // held to add and remove sessions
}

// newHub takes Key, Issuers, Limits and Log of a Config.
func newHub(cfg Config, start time.Time) *hub {
	h := &hub{
		key: cfg.Key, public: cfg.Key.Public(), log: cfg.Log, start: start,
		limit: maxSessions, cookies: newCookies(),
	}
	h.limits.Store(&cfg.Limits)
	h.networks.Store((&networks{}).with(cfg.Issuers))
	return h
}

// stamp is a time as nanoseconds that no change of the clock turns back.
func (h *hub) stamp(now time.Time) int64 { return h.start.UnixNano() + int64(now.Sub(h.start)) }

// send sends a frame of control back to where one came from.
func (h *hub) send(out outlet, o origin, frame []byte) {
	switch {
	case o.here:
		o.ws.queue.Put(frame)
	case o.ws != nil:
		o.ws.queue.Push(frame, nil)
	case out != nil:
		out.Add(o.addr, frame)
	}
}

// open opens the session that a proven Join asks for, unless another key has its address.
// It gives the session that the new one replaces, if any; for a repeated Join it gives the session that is there.
func (h *hub) open(s *session) (opened, replaced *session, refused relay.Reason) {
	h.changing.Lock()
	defer h.changing.Unlock()
	old := h.sessions.byName(s.name)
	switch {
	case h.networks.Load().of(s.name.network.issuer) != s.name.network: // not any more
		return nil, nil, relay.ReasonIssuer
	case old == nil && h.full(s.name.network):
		return nil, nil, relay.ReasonFull
	case old != nil && old.node != s.node:
		return nil, nil, relay.ReasonTaken
	case old != nil && old.joined >= s.joined:
		if old.joined == s.joined && old.ws == s.ws {
			return old, nil, 0 // its Welcome was lost
		}
		return nil, nil, 0
	}
	if old != nil {
		h.sessions.tagShard(old.tag).remove(old.tag, old)
	} else {
		s.name.network.size++
	}
	h.sessions.add(s)
	return s, old, 0
}

// full reports whether a network may have no more sessions. Call it with changing held.
func (h *hub) full(n *served) bool {
	most := h.limits.Load().NetworkClients
	return h.sessions.size.Load() >= h.limit || most > 0 && n.size >= most
}

// remove removes a session, and reports whether it was still its name's.
func (h *hub) remove(s *session) bool {
	h.changing.Lock()
	defer h.changing.Unlock()
	was := h.sessions.remove(s)
	if was {
		s.name.network.size--
	}
	return was
}

// end ends a session for a reason, which its client is told. ReasonReplaced means that the name has a new owner.
func (h *hub) end(out outlet, s *session, why relay.Reason) {
	if why != relay.ReasonReplaced && !h.remove(s) {
		return
	}
	if why != 0 {
		o := origin{addr: *s.remote.Load(), ws: s.ws}
		h.send(out, o, relay.AppendBye(nil, s.shared, s.tag, why))
	}
	if s.ws != nil {
		s.ws.queue.Close()
	}
	h.log.Debug("session ended", "node", s.node, "reason", why)
}

// sweep ends the sessions that are silent or whose ticket is over.
func (h *hub) sweep(out outlet, now time.Time) {
	silent := h.stamp(now.Add(-idleTime))
	for _, s := range h.sessions.all() {
		s.mu.Lock()
		over := !now.Before(s.until)
		s.mu.Unlock()
		switch {
		case over:
			h.end(out, s, relay.ReasonExpired)
		case s.seen.Load() < silent:
			h.count.idle.Add(1)
			h.end(out, s, 0)
		}
	}
}

// newTag draws a tag.
func newTag() (tag relay.Tag) {
	_, _ = rand.Read(tag[:]) // never fails
	return tag
}
