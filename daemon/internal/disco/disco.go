// Package disco is the wire form of the probes by which two peers find a path to each other.
//
// A datagram goes over the WireGuard port, or through a relay as any packet does:
//
//	 0      4                    36          60
//	┌──────┬────────────────────┬───────────┬────────────────────────────┬─────┐
//	│"Wrn\1"│ sender's disco key │ nonce     │ sealed body                │ tag │
//	└──────┴────────────────────┴───────────┴────────────────────────────┴─────┘
//
//	body     1        9
//	Ping     │1│ seq │ sender's node key (32) │ zeros            │
//	Pong     │2│ seq │ seq of the ping (8) │ address (16) port (2) │
//	CallMe   │3│ seq │ count (1) │ count times: address (16) port (2) │
//	Meet     │4│ seq │ flags (1) │ count (1) │ count times: machine (8) microseconds (4) │
//
// Numbers are big-endian, IPv4 addresses are mapped into IPv6. The header in the clear is authenticated with the body.
// Its first byte tells it from WireGuard (1 to 4, then three zeros) and from STUN (two zero bits, RFC 8489 section 5);
// its fourth is the version. An answer is never longer than its question. Every message of a process has a greater seq
// than the one before, so that a receiver can refuse what it has seen (Window). For a second implementation there is
// protocol.md, with test vectors.
package disco

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"time"

	"github.com/warren-mesh/warren/coord/key"
)

// Bounds of the format.
const (
	HeaderSize   = len(magic) + key.Size
	MaxMeet      = 8                                    // of a Meet
	MaxEndpoints = 16                                   // of a CallMe: what a peer may have us probe at once
	MaxSize      = 9000                                 // bytes of a datagram: a Ping padded to a jumbo frame
	PingSize     = HeaderSize + key.Overhead + pingSize // bytes of a Ping without padding

	magic      = "Wrn\x01"
	addrSize   = 16 + 2
	pingSize   = 1 + 8 + key.Size
	pongSize   = 1 + 8 + 8 + addrSize
	callMeSize = 1 + 8 + 1     // and the addresses
	meetSize   = 1 + 8 + 1 + 1 // and the relays
	relaySize  = 8 + 4

	flagStream = 1 // Meet.Stream
)

// Types of messages.
const (
	typePing   = 1
	typePong   = 2
	typeCallMe = 3
	typeMeet   = 4
)

// ErrInvalid says that a datagram does not open or is not what it should be. Nothing more is told, and nothing answered.
var ErrInvalid = errors.New("invalid disco message")

// Message is a Ping, a Pong, a CallMe or a Meet.
type Message interface {
	// Number gives the message's seq.
	Number() uint64
	appendTo(dst []byte) []byte
}

// Ping asks for a Pong.
type Ping struct {
	Seq     uint64
	Node    key.NodePublic // the sender's, to be compared with what the netmap says of its disco key
	Padding int            // zeros at the end
}

// Pong answers a Ping, from the address and by the way that it came.
type Pong struct {
	Seq      uint64
	Echo     uint64         // Seq of the Ping
	Observed netip.AddrPort // where the Ping came from; not valid where it came through a relay
}

// CallMe goes through a relay and asks the other to probe the sender's endpoints at once, while it does the same.
type CallMe struct {
	Seq       uint64
	Endpoints []netip.AddrPort
}

// Meet goes through a relay and names machines that relay, and that the sender can reach: where the other can, too, the two
// may meet there.
type Meet struct {
	Seq    uint64
	Stream bool // the sender has its relay server over a stream (WebSocket), which stalls as a whole where a packet is lost
	Relays []MeetRelay
}

// MeetRelay is a machine that relays, and how far it is from the sender.
type MeetRelay struct {
	Node    int64 // its number in the network
	Latency time.Duration
}

// Number implements Message.
func (m Ping) Number() uint64 { return m.Seq }

// Number implements Message.
func (m Pong) Number() uint64 { return m.Seq }

// Number implements Message.
func (m CallMe) Number() uint64 { return m.Seq }

// Number implements Message.
func (m Meet) Number() uint64 { return m.Seq }

// Looks reports whether a datagram claims to be disco, by its first bytes.
func Looks(datagram []byte) bool {
	return len(datagram) >= HeaderSize+key.Overhead && string(datagram[:len(magic)]) == magic
}

// Sender gives the disco key that the datagram claims to be from, which chooses the key to open it with.
func Sender(datagram []byte) (key.DiscoPublic, bool) {
	if !Looks(datagram) {
		return key.DiscoPublic{}, false
	}
	return key.DiscoPublic(datagram[len(magic):HeaderSize]), true
}

// Seal appends the datagram of a message to dst. sender is our disco key, shared what we have in common with the peer's.
func Seal(dst []byte, sender key.DiscoPublic, shared key.Shared, m Message) []byte {
	start := len(dst)
	dst = append(dst, magic...)
	dst = append(dst, sender[:]...)
	var body [256 + MaxEndpoints*addrSize]byte
	header := [HeaderSize]byte(dst[start:])
	return shared.Seal(dst, m.appendTo(body[:0]), header[:])
}

// Open opens a datagram and reads the message in it.
func Open(shared key.Shared, datagram []byte) (Message, error) {
	if !Looks(datagram) || len(datagram) > MaxSize {
		return nil, ErrInvalid
	}
	body, ok := shared.Open(nil, datagram[HeaderSize:], datagram[:HeaderSize])
	if !ok {
		return nil, ErrInvalid
	}
	return Parse(body)
}

// Parse reads an opened body. Whatever is not exactly a message is ErrInvalid.
func Parse(body []byte) (Message, error) {
	if len(body) < callMeSize {
		return nil, ErrInvalid
	}
	seq, rest := binary.BigEndian.Uint64(body[1:]), body[9:]
	switch body[0] {
	case typePing:
		if len(body) < pingSize {
			return nil, ErrInvalid
		}
		for _, b := range rest[key.Size:] {
			if b != 0 {
				return nil, ErrInvalid
			}
		}
		return Ping{Seq: seq, Node: key.NodePublic(rest[:key.Size]), Padding: len(body) - pingSize}, nil
	case typePong:
		if len(body) != pongSize {
			return nil, ErrInvalid
		}
		return Pong{Seq: seq, Echo: binary.BigEndian.Uint64(rest), Observed: parseAddr(rest[8:])}, nil
	case typeCallMe:
		n := int(rest[0])
		if n > MaxEndpoints || len(body) != callMeSize+n*addrSize {
			return nil, ErrInvalid
		}
		m := CallMe{Seq: seq, Endpoints: make([]netip.AddrPort, 0, n)}
		for rest = rest[1:]; len(rest) > 0; rest = rest[addrSize:] {
			ap := parseAddr(rest)
			if !ap.IsValid() {
				return nil, ErrInvalid
			}
			m.Endpoints = append(m.Endpoints, ap)
		}
		return m, nil
	case typeMeet:
		return parseMeet(seq, rest)
	}
	return nil, ErrInvalid
}

// parseMeet reads what follows a Meet's seq. Flags of later versions are ignored.
func parseMeet(seq uint64, rest []byte) (Message, error) {
	if len(rest) < 2 || int(rest[1]) > MaxMeet || len(rest) != 2+int(rest[1])*relaySize {
		return nil, ErrInvalid
	}
	m := Meet{Seq: seq, Stream: rest[0]&flagStream != 0, Relays: make([]MeetRelay, 0, rest[1])}
	for rest = rest[2:]; len(rest) > 0; rest = rest[relaySize:] {
		node := binary.BigEndian.Uint64(rest)
		if node == 0 || node > math.MaxInt64 {
			return nil, ErrInvalid
		}
		m.Relays = append(m.Relays, MeetRelay{Node: int64(node), Latency: time.Duration(binary.BigEndian.Uint32(rest[8:])) * time.Microsecond})
	}
	return m, nil
}

func (m Ping) appendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, typePing), m.Seq)
	dst = append(dst, m.Node[:]...)
	return append(dst, make([]byte, min(max(m.Padding, 0), MaxSize-HeaderSize-key.Overhead-pingSize))...)
}

func (m Pong) appendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, typePong), m.Seq)
	return appendAddr(binary.BigEndian.AppendUint64(dst, m.Echo), m.Observed)
}

func (m CallMe) appendTo(dst []byte) []byte {
	eps := m.Endpoints[:min(len(m.Endpoints), MaxEndpoints)]
	dst = binary.BigEndian.AppendUint64(append(dst, typeCallMe), m.Seq)
	dst = append(dst, byte(len(eps)))
	for _, ep := range eps {
		dst = appendAddr(dst, ep)
	}
	return dst
}

func (m Meet) appendTo(dst []byte) []byte {
	relays := m.Relays[:min(len(m.Relays), MaxMeet)]
	dst = binary.BigEndian.AppendUint64(append(dst, typeMeet), m.Seq)
	flags := byte(0)
	if m.Stream {
		flags = flagStream
	}
	dst = append(dst, flags, byte(len(relays)))
	for _, r := range relays {
		dst = binary.BigEndian.AppendUint64(dst, uint64(r.Node))
		dst = binary.BigEndian.AppendUint32(dst, uint32(min(max(r.Latency.Microseconds(), 0), math.MaxUint32)))
	}
	return dst
}

// appendAddr writes an address that is not valid as zeros. Zones are not sent: only their own machine knows them.
func appendAddr(dst []byte, ap netip.AddrPort) []byte {
	var a [16]byte
	if ap.IsValid() {
		a = ap.Addr().As16()
	}
	return binary.BigEndian.AppendUint16(append(dst, a[:]...), ap.Port())
}

func parseAddr(b []byte) netip.AddrPort {
	a, port := netip.AddrFrom16([16]byte(b)).Unmap(), binary.BigEndian.Uint16(b[16:])
	if port == 0 || a.IsUnspecified() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a, port)
}
