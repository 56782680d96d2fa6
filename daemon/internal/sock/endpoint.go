package sock

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/warren-mesh/warren/coord/key"
)

// Endpoint is a peer, as WireGuard holds it: always the same object, wherever the packets go.
type Endpoint struct {
	sock *Sock
	key  key.NodePublic
	name string // key.String()

	path     atomic.Pointer[path]       // set by the loop
	status   atomic.Pointer[PathStatus] // set by the loop
	traffic  atomic.Uint32              // idle, quiet or busy
	received atomic.Int64               // Unix seconds of the last WireGuard packet; 0: none yet

	mu         sync.Mutex // taken for handshakes only
	initiation []byte     // the last that went out
	began      time.Time  // when it did
	theirs     []byte     // the last that came in
	response   []byte     // our answer to theirs
}

// path says where packets go. It is never changed.
type path struct {
	addr   netip.AddrPort // of direct
	direct conn.Endpoint  // nil: not directly
	link   *link          // nil: there is no link to the peer's relay
	relay  bool           // through link; otherwise link is for when the system refuses to send directly
}

// How much the loop knows of a peer's traffic. Only the step from idle to busy needs to wake it.
const (
	idle  uint32 = iota // nothing has been sent for a while, and the loop does not look
	quiet               // nothing has been sent since the loop last looked
	busy
)

var _ conn.Endpoint = (*Endpoint)(nil)

// ClearSrc implements conn.Endpoint. Source addresses are the loop's.
func (e *Endpoint) ClearSrc() {}

// SrcToString implements conn.Endpoint.
func (e *Endpoint) SrcToString() string { return "" }

// SrcIP implements conn.Endpoint.
func (e *Endpoint) SrcIP() netip.Addr { return netip.Addr{} }

// DstIP implements conn.Endpoint. WireGuard limits handshakes by it: each peer has a bucket of its own.
func (e *Endpoint) DstIP() netip.Addr { return netip.AddrFrom16([16]byte(e.key[:16])) }

// DstToBytes implements conn.Endpoint. WireGuard's cookies are bound to it.
func (e *Endpoint) DstToBytes() []byte { return e.key[:] }

// DstToString implements conn.Endpoint: the peer's name, whatever the path, so that it can stand for the peer.
func (e *Endpoint) DstToString() string { return e.name }

// Addr gives where packets go just now. It is not valid for a relay and for no path.
func (e *Endpoint) Addr() netip.AddrPort {
	if p := e.path.Load(); p != nil && p.direct != nil {
		return p.addr
	}
	return netip.AddrPort{}
}

// The messages of WireGuard that are not data, by type and length, and where their numbers stand (whitepaper, section 5.4).
const (
	typeInitiation = 1
	typeResponse   = 2
	typeLast       = 4

	initiationSize = 148
	responseSize   = 92
	leastSize      = 32
)

func isWireGuard(b []byte) bool {
	return len(b) >= leastSize && b[0]-1 < typeLast && b[1]|b[2]|b[3] == 0
}

func isInitiation(b []byte) bool { return len(b) == initiationSize && b[0] == typeInitiation }
func isResponse(b []byte) bool   { return len(b) == responseSize && b[0] == typeResponse }

// answers reports whether the response answers the initiation: its receiver is the other's sender.
func answers(response, initiation []byte) bool {
	return len(initiation) == initiationSize && binary.LittleEndian.Uint32(response[8:]) == binary.LittleEndian.Uint32(initiation[4:])
}

// sending takes note of what WireGuard sends.
func (e *Endpoint) sending(bufs [][]byte) {
	if len(bufs) == 1 {
		switch b := bufs[0]; {
		case isInitiation(b):
			e.mu.Lock()
			e.initiation, e.began = bytes.Clone(b), time.Now()
			e.mu.Unlock()
			e.sock.note(note{kind: noteInitiation, ep: e})
		case isResponse(b):
			e.mu.Lock()
			if answers(b, e.theirs) {
				e.response = bytes.Clone(b)
			}
			e.mu.Unlock()
			e.sock.note(note{kind: noteAnswered, ep: e}) // a handshake that the peer began serves as well
		}
	}
	if e.traffic.Load() == busy {
		return
	}
	if e.traffic.Swap(busy) == idle && !e.sock.note(note{kind: noteWake, ep: e}) {
		e.traffic.Store(idle) // the next packet tries again
	}
}

// receiving takes note of a WireGuard packet of the peer's. It reports false for one that WireGuard has answered already.
func (e *Endpoint) receiving(b []byte) bool {
	switch {
	case isInitiation(b):
		return !e.repeatResponse(b)
	case isResponse(b):
		e.mu.Lock()
		ok := answers(b, e.initiation)
		e.mu.Unlock()
		if ok {
			e.sock.note(note{kind: noteAnswered, ep: e})
		}
	}
	return true
}

// repeatResponse answers an initiation that came again as it was answered before, if it was: the answer may have been lost,
// and WireGuard ignores what it has seen. It tells nothing new to anybody, and is shorter than what it answers.
func (e *Endpoint) repeatResponse(initiation []byte) bool {
	e.mu.Lock()
	same := bytes.Equal(initiation, e.theirs)
	if !same {
		e.theirs, e.response = append(e.theirs[:0], initiation...), nil
	}
	response := e.response
	e.mu.Unlock()
	if !same || response == nil {
		return false
	}
	e.sock.send(e, spared(response))
	return true
}

// begins reports whether WireGuard has begun a handshake since the time.
func (e *Endpoint) begins(since time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.began.After(since)
}

// lastInitiation gives a copy to send again.
func (e *Endpoint) lastInitiation() [][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.initiation == nil {
		return nil
	}
	return spared(e.initiation)
}

// heard notes the time of a packet, to the second, so that it is written seldom.
func (e *Endpoint) heard() {
	if now := time.Now().Unix(); e.received.Load() != now {
		e.received.Store(now)
	}
}

// spared copies a packet, with room behind it for what the relay appends.
func spared(b []byte) [][]byte {
	return [][]byte{append(make([]byte, 0, len(b)+spare), b...)}
}

const spare = 64
