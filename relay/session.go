package relay

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/warren-mesh/warren/coord/key"
)

// The sealed frames. Each is sealed with the key that node and relay have in common (key.Node.Shared); what is
// authenticated beside the box ends with the frame's type, so that no frame passes for one of another type or direction.

// MaxTicket bounds the tickets of this and of later versions, in bytes.
const MaxTicket = 1024

const (
	addrPortSize = 16 + 2
	counterSize  = 8
	pingMinBody  = counterSize + addrPortSize // as long as a Pong's, which is thus no longer than its Ping
)

// Join asks for a session.
type Join struct {
	Cookie Cookie
	Ticket []byte // a slice of the frame; see ParseTicket
	head   []byte // what the box authenticates beside its content
	box    []byte
}

// AppendJoin appends a Join. shared is between the ticket's node and the relay.
func AppendJoin(dst []byte, shared key.Shared, cookie Cookie, ticket []byte) []byte {
	at := len(dst)
	dst = append(dst, cookie[:]...)
	dst = appendUint16(dst, len(ticket))
	dst = append(dst, ticket...)
	ad := append(append([]byte(nil), dst[at:]...), byte(TypeJoin))
	dst = shared.Seal(dst, []byte{0}, ad) // the one byte is for flags, of which there are none yet
	return append(dst, byte(TypeJoin))
}

// ParseJoin takes a Join apart. Nothing in it is proven before Open.
func ParseJoin(frame []byte) (j Join, ok bool) {
	const ticketAt = CookieSize + 2
	if len(frame) < ticketAt+key.Overhead+2 || TypeOf(frame) != TypeJoin {
		return j, false
	}
	n := int(binary.BigEndian.Uint16(frame[CookieSize:]))
	if n > MaxTicket || len(frame) < ticketAt+n+key.Overhead+2 {
		return j, false
	}
	j.Cookie = Cookie(frame)
	j.head = frame[:ticketAt+n]
	j.Ticket = frame[ticketAt : ticketAt+n]
	j.box = frame[ticketAt+n : len(frame)-1]
	return j, true
}

// Open reports whether the Join was made by the holder of the key that shared is with.
func (j Join) Open(shared key.Shared) bool {
	body, ok := shared.Open(nil, j.box, append(append([]byte(nil), j.head...), byte(TypeJoin)))
	return ok && len(body) >= 1
}

// Welcome opens a session.
type Welcome struct {
	Tag      Tag
	Observed netip.AddrPort // the client's address as the relay sees it
	Idle     time.Duration  // how long the relay remembers a silent client; whole seconds
}

// AppendWelcome appends the answer to the Join with this cookie.
func AppendWelcome(dst []byte, shared key.Shared, cookie Cookie, w Welcome) []byte {
	body := append([]byte(nil), w.Tag[:]...)
	body = appendAddrPort(body, w.Observed)
	body = appendUint16(body, int(w.Idle/time.Second))
	dst = shared.Seal(dst, body, append(cookie[:], byte(TypeWelcome)))
	return append(dst, byte(TypeWelcome))
}

// OpenWelcome reads the answer to the Join with this cookie.
func OpenWelcome(frame []byte, shared key.Shared, cookie Cookie) (w Welcome, ok bool) {
	if TypeOf(frame) != TypeWelcome {
		return w, false
	}
	body, ok := shared.Open(nil, frame[:len(frame)-1], append(cookie[:], byte(TypeWelcome)))
	if !ok || len(body) < TagSize+addrPortSize+2 {
		return w, false
	}
	w.Tag = Tag(body)
	w.Observed = parseAddrPort(body[TagSize:])
	w.Idle = time.Duration(binary.BigEndian.Uint16(body[TagSize+addrPortSize:])) * time.Second
	return w, true
}

// Reason says why a relay refused or ended a session.
type Reason byte

// The reasons. Their numbers are the wire's.
const (
	ReasonExpired  Reason = 1 // the ticket's time is over
	ReasonIssuer   Reason = 2 // the relay does not serve the network that issued the ticket
	ReasonTicket   Reason = 3 // the ticket is damaged, or for another key
	ReasonTaken    Reason = 4 // another key with the same address has a session
	ReasonFull     Reason = 5 // the relay has all the sessions that it can hold
	ReasonReplaced Reason = 6 // the same key opened another session
	ReasonShutdown Reason = 7 // the relay stops; it may be back at once
)

// String says the reason in words that finish the sentence "the relay refused: …".
func (r Reason) String() string {
	switch r {
	case ReasonExpired:
		return "the ticket has expired (if this lasts, compare the clocks of the relay and the coordination server)"
	case ReasonIssuer:
		return "it does not serve this network"
	case ReasonTicket:
		return "the ticket is damaged or for another key"
	case ReasonTaken:
		return "another machine has the same address"
	case ReasonFull:
		return "it is full"
	case ReasonReplaced:
		return "another machine, or program, connected with the same key"
	case ReasonShutdown:
		return "it is stopping"
	default:
		return "for a reason that this version does not know"
	}
}

// AppendRefused appends the other answer to the Join with this cookie.
func AppendRefused(dst []byte, shared key.Shared, cookie Cookie, why Reason) []byte {
	dst = shared.Seal(dst, []byte{byte(why)}, append(cookie[:], byte(TypeRefused)))
	return append(dst, byte(TypeRefused))
}

// OpenRefused reads the other answer to the Join with this cookie.
func OpenRefused(frame []byte, shared key.Shared, cookie Cookie) (why Reason, ok bool) {
	if TypeOf(frame) != TypeRefused {
		return 0, false
	}
	body, ok := shared.Open(nil, frame[:len(frame)-1], append(cookie[:], byte(TypeRefused)))
	if !ok || len(body) < 1 {
		return 0, false
	}
	return Reason(body[0]), true
}

// Ping keeps a session, follows the client to another address, and renews the ticket.
type Ping struct {
	Counter uint64 // rises with each Ping and Leave of the session; a relay ignores what does not
	Ticket  []byte // empty: as before
}

// AppendPing appends a Ping.
func AppendPing(dst []byte, shared key.Shared, tag Tag, p Ping) []byte {
	body := make([]byte, pingMinBody, pingMinBody+len(p.Ticket))
	binary.BigEndian.PutUint64(body, p.Counter)
	return appendSealed(dst, shared, tag, TypePing, append(body, p.Ticket...))
}

// OpenPing reads a Ping of the session that its tag names.
func OpenPing(frame []byte, shared key.Shared) (p Ping, ok bool) {
	body, ok := openSealed(frame, shared, TypePing)
	if !ok || len(body) < pingMinBody || len(body) > pingMinBody+MaxTicket {
		return p, false
	}
	return Ping{Counter: binary.BigEndian.Uint64(body), Ticket: body[pingMinBody:]}, true
}

// Pong answers a Ping.
type Pong struct {
	Counter  uint64         // the Ping's
	Observed netip.AddrPort // the client's address as the relay sees it
}

// AppendPong appends a Pong.
func AppendPong(dst []byte, shared key.Shared, tag Tag, p Pong) []byte {
	body := binary.BigEndian.AppendUint64(nil, p.Counter)
	return appendSealed(dst, shared, tag, TypePong, appendAddrPort(body, p.Observed))
}

// OpenPong reads a Pong.
func OpenPong(frame []byte, shared key.Shared) (p Pong, ok bool) {
	body, ok := openSealed(frame, shared, TypePong)
	if !ok || len(body) < counterSize+addrPortSize {
		return p, false
	}
	return Pong{Counter: binary.BigEndian.Uint64(body), Observed: parseAddrPort(body[counterSize:])}, true
}

// AppendLeave appends a Leave.
func AppendLeave(dst []byte, shared key.Shared, tag Tag, counter uint64) []byte {
	return appendSealed(dst, shared, tag, TypeLeave, binary.BigEndian.AppendUint64(nil, counter))
}

// OpenLeave reads a Leave of the session that its tag names.
func OpenLeave(frame []byte, shared key.Shared) (counter uint64, ok bool) {
	body, ok := openSealed(frame, shared, TypeLeave)
	if !ok || len(body) < counterSize {
		return 0, false
	}
	return binary.BigEndian.Uint64(body), true
}

// AppendBye appends a Bye.
func AppendBye(dst []byte, shared key.Shared, tag Tag, why Reason) []byte {
	return appendSealed(dst, shared, tag, TypeBye, []byte{byte(why)})
}

// OpenBye reads a Bye.
func OpenBye(frame []byte, shared key.Shared) (why Reason, ok bool) {
	body, ok := openSealed(frame, shared, TypeBye)
	if !ok || len(body) < 1 {
		return 0, false
	}
	return Reason(body[0]), true
}

// AppendDrain appends a Drain: how long the relay serves at the most, in whole seconds.
func AppendDrain(dst []byte, shared key.Shared, tag Tag, left time.Duration) []byte {
	return appendSealed(dst, shared, tag, TypeDrain, appendUint16(nil, int(min(left/time.Second, 1<<16-1))))
}

// OpenDrain reads a Drain.
func OpenDrain(frame []byte, shared key.Shared) (left time.Duration, ok bool) {
	body, ok := openSealed(frame, shared, TypeDrain)
	if !ok || len(body) < 2 {
		return 0, false
	}
	return time.Duration(binary.BigEndian.Uint16(body)) * time.Second, true
}

// appendSealed appends box, tag and type.
func appendSealed(dst []byte, shared key.Shared, tag Tag, t Type, body []byte) []byte {
	end := append(tag[:], byte(t))
	return append(shared.Seal(dst, body, end), end...)
}

func openSealed(frame []byte, shared key.Shared, t Type) ([]byte, bool) {
	box := len(frame) - TagSize - 1
	if box < key.Overhead || TypeOf(frame) != t {
		return nil, false
	}
	return shared.Open(nil, frame[:box], frame[box:])
}

// appendAddrPort writes an address as 16 bytes (IPv4 mapped into IPv6, RFC 4291 section 2.5.5.2) and its port.
func appendAddrPort(dst []byte, a netip.AddrPort) []byte {
	var ip [16]byte
	if a.IsValid() {
		ip = a.Addr().As16()
	}
	return appendUint16(append(dst, ip[:]...), int(a.Port()))
}

func parseAddrPort(b []byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)).Unmap(), binary.BigEndian.Uint16(b[16:]))
}
