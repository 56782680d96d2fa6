package portmap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// The port at which routers listen for both protocols (RFC 6887, section 19; RFC 6886, section 3.1).
const pcpPort = 5351

// PCP (RFC 6887).
const (
	pcpVersion  = 2
	pcpAnnounce = 0
	pcpMap      = 1
	pcpReply    = 0x80
	pcpHeader   = 24
	pcpMapSize  = 36

	natpmpVersion  = 0
	natpmpExternal = 0
	natpmpMapUDP   = 1

	protocolUDP = 17
)

// nonce names a PCP mapping: only who knows it can change it.
type nonce [12]byte

// Errors of a router's.
var (
	errNoAnswer = errors.New("no answer")
	errRefused  = errors.New("the router refuses")
)

// Mapping is a port of the router's that leads here.
type Mapping struct {
	External netip.AddrPort
	Lifetime time.Duration // from when it was granted
}

// appendPCP appends a request's header.
func appendPCP(dst []byte, op byte, lifetime time.Duration, self netip.Addr) []byte {
	dst = append(dst, pcpVersion, op, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(lifetime/time.Second))
	a := self.As16()
	return append(dst, a[:]...)
}

// appendPCPMap asks for a UDP port. suggest is what the router may give, as it did before; not valid: any.
func appendPCPMap(dst []byte, n nonce, self netip.AddrPort, suggest netip.AddrPort, lifetime time.Duration) []byte {
	dst = appendPCP(dst, pcpMap, lifetime, self.Addr())
	dst = append(append(dst, n[:]...), protocolUDP, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, self.Port())
	addr := netip.AddrFrom16(netip.IPv4Unspecified().As16())
	if self.Addr().Is6() {
		addr = netip.IPv6Unspecified()
	}
	port := self.Port()
	if suggest.IsValid() {
		addr, port = suggest.Addr(), suggest.Port()
	}
	a := addr.As16()
	return append(binary.BigEndian.AppendUint16(dst, port), a[:]...)
}

// pcpResult reads an answer's header.
func pcpResult(b []byte, op byte) (lifetime time.Duration, err error) {
	if len(b) < pcpHeader || b[1] != pcpReply|op {
		return 0, errNoAnswer
	}
	if b[0] != pcpVersion {
		return 0, fmt.Errorf("%w: it speaks version %d", errRefused, b[0])
	}
	if b[3] != 0 {
		return 0, fmt.Errorf("%w: %s", errRefused, pcpCode(b[3]))
	}
	return time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Second, nil
}

// pcpCode says a result in words (RFC 6887, section 7.4).
func pcpCode(c byte) string {
	names := []string{
		"success", "unsupported version", "not authorized", "malformed request", "unsupported opcode", "unsupported option",
		"malformed option", "network failure", "no resources", "unsupported protocol", "user exceeds quota",
		"cannot provide that external address", "address mismatch", "excessive remote peers",
	}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("result %d", c)
}

// parsePCPMap reads the answer to appendPCPMap.
func parsePCPMap(b []byte, n nonce, port uint16) (Mapping, error) {
	lifetime, err := pcpResult(b, pcpMap)
	if err != nil {
		return Mapping{}, err
	}
	if len(b) < pcpHeader+pcpMapSize {
		return Mapping{}, errNoAnswer
	}
	m := b[pcpHeader:]
	if nonce(m[:12]) != n || m[12] != protocolUDP || binary.BigEndian.Uint16(m[16:]) != port {
		return Mapping{}, errNoAnswer
	}
	return granted(netip.AddrFrom16([16]byte(m[20:36])).Unmap(), binary.BigEndian.Uint16(m[18:]), lifetime)
}

// granted makes a mapping of what a router said, if it can be one.
func granted(a netip.Addr, port uint16, lifetime time.Duration) (Mapping, error) {
	if port == 0 || lifetime <= 0 {
		return Mapping{}, fmt.Errorf("%w: it gave no port", errRefused)
	}
	if a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() {
		return Mapping{}, fmt.Errorf("%w: it has no address of its own yet", errRefused)
	}
	return Mapping{netip.AddrPortFrom(a, port), min(lifetime, lifetimeMost)}, nil
}

// appendNATPMPMap asks for a UDP port (RFC 6886, section 3.3). A lifetime of 0 gives it back.
func appendNATPMPMap(dst []byte, port, suggest uint16, lifetime time.Duration) []byte {
	dst = append(dst, natpmpVersion, natpmpMapUDP, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, port)
	dst = binary.BigEndian.AppendUint16(dst, suggest)
	return binary.BigEndian.AppendUint32(dst, uint32(lifetime/time.Second))
}

// natpmpResult reads an answer's first bytes.
func natpmpResult(b []byte, op byte, size int) error {
	if len(b) < 8 || b[0] != natpmpVersion || b[1] != 0x80|op {
		return errNoAnswer
	}
	if code := binary.BigEndian.Uint16(b[2:]); code != 0 {
		names := []string{"", "unsupported version", "not authorized", "network failure", "out of resources", "unsupported opcode"}
		if int(code) < len(names) {
			return fmt.Errorf("%w: %s", errRefused, names[code])
		}
		return fmt.Errorf("%w: result %d", errRefused, code)
	}
	if len(b) < size {
		return errNoAnswer
	}
	return nil
}

// parseNATPMPExternal reads the router's public address (RFC 6886, section 3.2).
func parseNATPMPExternal(b []byte) (netip.Addr, error) {
	if err := natpmpResult(b, natpmpExternal, 12); err != nil {
		return netip.Addr{}, err
	}
	return netip.AddrFrom4([4]byte(b[8:12])), nil
}

// parseNATPMPMap reads the answer to appendNATPMPMap, but for the address.
func parseNATPMPMap(b []byte, port uint16) (external uint16, lifetime time.Duration, err error) {
	if err := natpmpResult(b, natpmpMapUDP, 16); err != nil {
		return 0, 0, err
	}
	if binary.BigEndian.Uint16(b[8:]) != port {
		return 0, 0, errNoAnswer
	}
	return binary.BigEndian.Uint16(b[10:]), time.Duration(binary.BigEndian.Uint32(b[12:])) * time.Second, nil
}
