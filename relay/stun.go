package relay

import (
	"encoding/binary"
	"net/netip"
)

// The little of STUN (RFC 8489) that the relay's port speaks: Binding requests and their answers.
const (
	stunHeader  = 20
	stunMagic   = 0x2112A442
	stunRequest = 0x0001
	stunSuccess = 0x0101

	stunXORMappedAddress = 0x0020
	stunChangeRequest    = 0x0003 // RFC 5780, section 7.2
	stunChangePort       = 0x02   // its flag
	stunPad              = 0x0026 // RFC 5780, section 7.6
	stunSoftware         = 0x8022 // of those that who does not understand them ignores (RFC 8489, section 14.14)
	stunFamilyIPv4       = 1
	stunFamilyIPv6       = 2

	stunAnswerIPv4 = stunHeader + 4 + 8
	stunAnswerIPv6 = stunHeader + 4 + 20
)

// STUNTransaction names a STUN request and its answer. Draw it at random.
type STUNTransaction [12]byte

// stunPadding brings a request to the length of the longest answer.
const stunPadding = "warren padded to fit"

// IsSTUN reports whether a datagram is STUN, by the first two bits, the length and the magic cookie (RFC 8489,
// section 5). WireGuard's messages are never: their bytes 2 and 3 are zero, which as a length makes a datagram
// of exactly 20 bytes, and the shortest of theirs has 32. Nor can a frame that carries one be.
func IsSTUN(b []byte) bool {
	return len(b) >= stunHeader && b[0]&0xc0 == 0 && len(b)%4 == 0 &&
		int(binary.BigEndian.Uint16(b[2:])) == len(b)-stunHeader &&
		binary.BigEndian.Uint32(b[4:]) == stunMagic
}

// AppendSTUNRequest appends a Binding request. It is as long as the longest answer: a relay answers with no more
// bytes than it got, and so leaves the bare 20-byte request of other clients without an answer.
func AppendSTUNRequest(dst []byte, id STUNTransaction) []byte {
	dst = appendSTUNHeader(dst, stunRequest, 4+len(stunPadding), id)
	dst = appendUint16(dst, stunSoftware)
	dst = appendUint16(dst, len(stunPadding))
	return append(dst, stunPadding...)
}

// STUNOtherPort is the port beside the relay's own where it answers STUN as well, as RFC 5780 has it (3478 and 3479): who
// asks both learns whether its NAT gives each destination a mapping of its own. 0: there is none.
func STUNOtherPort(port uint16) uint16 { return port + 1 }

// AppendSTUNProbe appends a Binding request of size bytes, rounded down to a multiple of 4 but as long as the longest answer
// at least. With otherPort the answer is to come from STUNOtherPort, which shows what the NAT filters (RFC 5780, section 4.4).
func AppendSTUNProbe(dst []byte, id STUNTransaction, size int, otherPort bool) []byte {
	size = max(size&^3, stunAnswerIPv6)
	room := size - stunHeader - 4 // of the padding's value
	if otherPort {
		room -= 8
	}
	dst = appendSTUNHeader(dst, stunRequest, size-stunHeader, id)
	if otherPort {
		dst = appendUint16(appendUint16(dst, stunChangeRequest), 4)
		dst = append(dst, 0, 0, 0, stunChangePort)
	}
	dst = appendUint16(appendUint16(dst, stunPad), room)
	return append(dst, make([]byte, room)...)
}

// STUNWantsOtherPort reports whether a request asks for its answer from STUNOtherPort.
func STUNWantsOtherPort(b []byte) bool {
	for rest := b[min(stunHeader, len(b)):]; len(rest) >= 8; {
		if binary.BigEndian.Uint16(rest) == stunChangeRequest {
			return rest[7]&stunChangePort != 0
		}
		n := (int(binary.BigEndian.Uint16(rest[2:])) + 3) &^ 3
		if len(rest) < 4+n {
			return false
		}
		rest = rest[4+n:]
	}
	return false
}

// ParseSTUNRequest reads a Binding request, and reports false for one that is shorter than its answer to addr.
func ParseSTUNRequest(b []byte, addr netip.AddrPort) (id STUNTransaction, ok bool) {
	if !IsSTUN(b) || binary.BigEndian.Uint16(b) != stunRequest {
		return id, false
	}
	need := stunAnswerIPv6
	if addr.Addr().Unmap().Is4() {
		need = stunAnswerIPv4
	}
	return STUNTransaction(b[8:]), len(b) >= need
}

// AppendSTUNResponse appends the answer to a Binding request from addr.
func AppendSTUNResponse(dst []byte, id STUNTransaction, addr netip.AddrPort) []byte {
	ip := addr.Addr().Unmap()
	raw, family := ip.AsSlice(), byte(stunFamilyIPv4)
	if ip.Is6() {
		family = stunFamilyIPv6
	}
	dst = appendSTUNHeader(dst, stunSuccess, 8+len(raw), id)
	mask := len(dst) - stunHeader + 4 // the magic cookie and then the transaction, which the address is masked with
	dst = appendUint16(dst, stunXORMappedAddress)
	dst = appendUint16(dst, 4+len(raw))
	dst = append(dst, 0, family)
	dst = appendUint16(dst, int(addr.Port())^stunMagic>>16)
	for i, c := range raw {
		dst = append(dst, c^dst[mask+i])
	}
	return dst
}

// ParseSTUNResponse reads the answer to a Binding request: the address that the server saw.
func ParseSTUNResponse(b []byte) (id STUNTransaction, addr netip.AddrPort, ok bool) {
	if !IsSTUN(b) || binary.BigEndian.Uint16(b) != stunSuccess {
		return id, addr, false
	}
	id = STUNTransaction(b[8:])
	for rest := b[stunHeader:]; len(rest) >= 4; {
		t, n := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		padded := (n + 3) &^ 3
		if len(rest) < 4+padded {
			break
		}
		if t == stunXORMappedAddress {
			addr, ok = parseXORAddress(rest[4:4+n], b[4:stunHeader])
			return id, addr, ok
		}
		rest = rest[4+padded:]
	}
	return id, addr, false
}

func parseXORAddress(b, mask []byte) (addr netip.AddrPort, ok bool) {
	if len(b) != 8 && len(b) != 20 || b[1] == stunFamilyIPv4 != (len(b) == 8) {
		return addr, false
	}
	var raw [16]byte
	for i, c := range b[4:] {
		raw[i] = c ^ mask[i]
	}
	ip, _ := netip.AddrFromSlice(raw[:len(b)-4])
	port := binary.BigEndian.Uint16(b[2:]) ^ stunMagic>>16
	return netip.AddrPortFrom(ip.Unmap(), port), port != 0
}

func appendSTUNHeader(dst []byte, t, length int, id STUNTransaction) []byte {
	dst = appendUint16(dst, t)
	dst = appendUint16(dst, length)
	dst = binary.BigEndian.AppendUint32(dst, stunMagic)
	return append(dst, id[:]...)
}
