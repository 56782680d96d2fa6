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
