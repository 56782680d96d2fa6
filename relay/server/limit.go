package server

import (
	"sync/atomic"
	"time"
)

// Limits keep clients from each other's share of the relay. Zero is no limit.
type Limits struct {
	ClientRate     int64 // bytes per second that one node may send through the relay
	NetworkRate    int64 // bytes per second that the nodes of one network may, together
	NetworkClients int   // nodes of one network
}

// SetLimits changes the limits of all that comes from now on. Who has a session keeps it.
func (s *Server) SetLimits(l Limits) { s.hub.limits.Store(&l) }

// burst is how much of its rate one may send at once: a window of TCP's after a pause, and no more than anybody's buffer.
const burst = 250 * time.Millisecond

// bucket lets bytes through at a rate (the generic cell rate algorithm, ITU-T I.371): it is the time at which all that was
// sent would have been sent at that rate. Several may use it at once, without a lock.
type bucket struct{ at atomic.Int64 }

// take reports whether n bytes may go now, and if so counts them.
func (b *bucket) take(now, rate int64, n int) bool {
	cost := int64(n) * int64(time.Second) / rate
	for {
		old := b.at.Load()
		at := max(old, now) + cost
		if at-now > int64(burst)+cost {
			return false
		}
		if b.at.CompareAndSwap(old, at) {
			return true
		}
	}
}

// tryEvery is less than the time between two Pings, beside which a client sends a packet to itself.
const tryEvery = 200 * time.Millisecond

// mayTry reports whether a packet that a client sends to itself is free: that it sends too fast to others is no sign that nothing
// is forwarded.
func (s *session) mayTry(now int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now-s.triedAt < int64(tryEvery) {
		return false
	}
	s.triedAt = now
	return true
}

// may reports whether a session's client and its network may send n bytes now.
func (h *hub) may(from *session, now int64, n int) bool {
	limits := h.limits.Load()
	if rate := limits.ClientRate; rate > 0 && !from.rate.take(now, rate, n) {
		return false
	}
	if rate := limits.NetworkRate; rate > 0 && !from.name.network.rate.take(now, rate, n) {
		return false
	}
	return true
}
