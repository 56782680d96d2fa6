package relay

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/warren-mesh/warren/coord/key"
)

// Version is the version of the wire, in the first byte of Hello. A relay does not answer to one that it does not know.
const Version = 1

// Sizes on the wire, in bytes.
const (
	AddressSize = 8
	TagSize     = 8
	NonceSize   = 8
	CookieSize  = 24

	// Overhead is what relaying adds to a packet: address, tag and type. A tunnel whose packets must fit through
	// a relay has that much less room than a direct one.
	Overhead = AddressSize + TagSize + 1

	// MaxFrame is the largest frame: what fits into one UDP datagram over IPv4 (65,535 - 20 - 8).
	MaxFrame = 65507
	// MaxPayload is the largest packet that can be relayed.
	MaxPayload = MaxFrame - Overhead

	// FullPacket is the longest packet that nodes send through a relay: of the least MTU that IPv6 allows (RFC 8200,
	// section 5), in WireGuard's header of 16 bytes and its tag of 16.
	FullPacket = 1280 + 16 + 16
)

// Type is the last byte of each frame. It stands last, as all of the trailer does, so that a packet becomes a frame,
// and a frame another, without moving the packet.
type Type byte

// The types of frames. Their numbers are the wire's.
const (
	TypeData      Type = 0x01 // both ways: a packet for, or from, the address in the trailer
	TypeAbsent    Type = 0x02 // relay to client: the address has no session here
	TypeHello     Type = 0x03 // client to relay: asks for a cookie
	TypeChallenge Type = 0x04 // relay to client: the cookie
	TypeJoin      Type = 0x05 // client to relay: cookie, ticket and proof of the key
	TypeWelcome   Type = 0x06 // relay to client: the session's tag
	TypeRefused   Type = 0x07 // relay to client: why not
	TypePing      Type = 0x08 // client to relay: still here, perhaps behind another address
	TypePong      Type = 0x09 // relay to client: its answer
	TypeLeave     Type = 0x0a // client to relay: the session ends
	TypeBye       Type = 0x0b // relay to client: the session ended, and why
	TypeDrain     Type = 0x0c // relay to client: it will stop soon; look for another
)

// Address names a node on the wire: the first bytes of its public key. A client knows the keys of all its peers and
// maps back. Whoever finds a second key with the same address (2^64 attempts) gets no session while the first has one.
type Address [AddressSize]byte

// Tag names a session. The relay draws it at random and tells it to its client alone, sealed; who does not see
// the client's packets can neither send in its name nor send to it in the relay's.
type Tag [TagSize]byte

// Nonce ties a Challenge to its Hello.
type Nonce [NonceSize]byte

// Cookie proves that a client receives at the address that it sends from. It means something only to its relay.
type Cookie [CookieSize]byte

// AddressOf gives the address of a node on the wire.
func AddressOf(node key.NodePublic) Address { return Address(node[:AddressSize]) }

// String gives the address in hexadecimal digits, as a node key starts.
func (a Address) String() string { return hex.EncodeToString(a[:]) }

// TypeOf gives a frame's type, 0 for the empty frame.
func TypeOf(frame []byte) Type {
	if len(frame) == 0 {
		return 0
	}
	return Type(frame[len(frame)-1])
}

// AppendTrailer makes a Data frame of a packet: it appends address, tag and type.
func AppendTrailer(packet []byte, to Address, tag Tag) []byte {
	packet = append(packet, to[:]...)
	packet = append(packet, tag[:]...)
	return append(packet, byte(TypeData))
}

// SplitData takes a Data frame apart. It reports false where the frame is another or carries nothing.
func SplitData(frame []byte) (packet []byte, addr Address, tag Tag, ok bool) {
	n := len(frame) - Overhead
	if n < 1 || Type(frame[len(frame)-1]) != TypeData {
		return nil, addr, tag, false
	}
	return frame[:n], Address(frame[n:]), Tag(frame[n+AddressSize:]), true
}

// Readdress rewrites the trailer of a Data frame in place.
func Readdress(frame []byte, addr Address, tag Tag) {
	t := frame[len(frame)-Overhead:]
	copy(t, addr[:])
	copy(t[AddressSize:], tag[:])
}

// AppendAbsent appends the notice that an address has no session.
func AppendAbsent(dst []byte, addr Address, tag Tag) []byte {
	dst = append(dst, addr[:]...)
	dst = append(dst, tag[:]...)
	return append(dst, byte(TypeAbsent))
}

// ParseAbsent reads the notice that an address has no session.
func ParseAbsent(frame []byte) (addr Address, tag Tag, ok bool) {
	if len(frame) != Overhead || TypeOf(frame) != TypeAbsent {
		return addr, tag, false
	}
	return Address(frame), Tag(frame[AddressSize:]), true
}

// TagOf gives the tag of a frame within a session, which always stands before the type.
func TagOf(frame []byte) (tag Tag, ok bool) {
	if len(frame) < TagSize+1 {
		return tag, false
	}
	return Tag(frame[len(frame)-1-TagSize:]), true
}

const (
	macSize = 16

	// Hello and Challenge are as long as Data of a full packet, so that a way that carries them carries all: one that swallows
	// long packets would otherwise be taken, and everything on it stand still. QUIC's first packets are (RFC 9000, section 14.1).
	fullFrame = FullPacket + Overhead

	helloMACAt = 1 + NonceSize
)

// AppendHello appends a Hello. Its code can be made only by who knows the relay's public key, which is not public
// beyond the network: a relay is silent to those who scan the internet.
func AppendHello(dst []byte, relay key.RelayPublic, nonce Nonce) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, fullFrame)...)
	b := dst[at:]
	b[0] = Version
	copy(b[1:], nonce[:])
	copy(b[helloMACAt:], helloMAC(relay, b[:helloMACAt]))
	b[fullFrame-1] = byte(TypeHello)
	return dst
}

// ParseHello reads a Hello to the relay with this key.
func ParseHello(frame []byte, relay key.RelayPublic) (nonce Nonce, ok bool) {
	if len(frame) != fullFrame || TypeOf(frame) != TypeHello || frame[0] != Version {
		return nonce, false
	}
	if !hmac.Equal(frame[helloMACAt:helloMACAt+macSize], helloMAC(relay, frame[:helloMACAt])) {
		return nonce, false
	}
	return Nonce(frame[1:]), true
}

func helloMAC(relay key.RelayPublic, b []byte) []byte {
	mac := hmac.New(sha256.New, relay[:])
	mac.Write([]byte("warren relay hello v1"))
	mac.Write(b)
	return mac.Sum(nil)[:macSize]
}

// AppendChallenge appends the answer to a Hello.
func AppendChallenge(dst []byte, nonce Nonce, cookie Cookie) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, fullFrame)...)
	b := dst[at:]
	copy(b, nonce[:])
	copy(b[NonceSize:], cookie[:])
	b[fullFrame-1] = byte(TypeChallenge)
	return dst
}

// ParseChallenge reads the answer to the Hello with this nonce.
func ParseChallenge(frame []byte, nonce Nonce) (cookie Cookie, ok bool) {
	if len(frame) != fullFrame || TypeOf(frame) != TypeChallenge || Nonce(frame) != nonce {
		return cookie, false
	}
	return Cookie(frame[NonceSize:]), true
}

func appendUint16(dst []byte, v int) []byte { return binary.BigEndian.AppendUint16(dst, uint16(v)) }
