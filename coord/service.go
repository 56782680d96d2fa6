package coord

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Protocols by IANA's numbers.
const (
	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58
	ProtoSCTP   = 132
)

// protoNames are the protocols that can be named, as IANA does; the others go by their number.
var protoNames = map[string]uint8{
	"icmp": ProtoICMP, "igmp": 2, "ipv4": 4, "tcp": ProtoTCP, "egp": 8, "igp": 9, "udp": ProtoUDP, "gre": 47, "esp": 50, "ah": 51,
	"ipv6-icmp": ProtoICMPv6, "ospf": 89, "sctp": ProtoSCTP,
}

var protoNumbers = func() map[uint8]string {
	m := make(map[uint8]string, len(protoNames))
	for name, n := range protoNames {
		m[n] = name
	}
	return m
}()

// ParseProto reads a protocol's name, or its number, 1 to 255 (0 is no protocol but IPv6's hop-by-hop options).
func ParseProto(s string) (uint8, bool) {
	if n, ok := protoNames[s]; ok {
		return n, true
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return uint8(n), err == nil && n > 0 && s[0] != '0' && s[0] != '+'
}

// ProtoName names a protocol as ParseProto reads it.
func ProtoName(n uint8) string {
	if name, ok := protoNumbers[n]; ok {
		return name
	}
	return strconv.Itoa(int(n))
}

// HasPorts reports whether the protocol's packets bear ports that filters look at.
func HasPorts(proto uint8) bool { return proto == ProtoTCP || proto == ProtoUDP || proto == ProtoSCTP }

// Service is a protocol with a range of its destination ports, First to Last. Both are 0 for all of the protocol, and
// for protocols without ports. As text it is "tcp:22", "udp:60000-61000", "tcp", "icmp" or "112".
type Service struct {
	Proto       uint8
	First, Last uint16
}

// Matches reports whether a packet of this protocol to this port is one of the service.
func (s Service) Matches(proto uint8, port uint16) bool {
	return s.Proto == proto && (s.Last == 0 || s.First <= port && port <= s.Last)
}

func (s Service) valid() bool {
	if s.First == 0 && s.Last == 0 {
		return s.Proto != 0
	}
	return HasPorts(s.Proto) && 0 < s.First && s.First <= s.Last
}

func (s Service) String() string {
	switch name := ProtoName(s.Proto); {
	case s.First == 0 && s.Last == 0:
		return name
	case s.First == s.Last:
		return name + ":" + strconv.Itoa(int(s.First))
	default:
		return fmt.Sprintf("%s:%d-%d", name, s.First, s.Last)
	}
}

// MarshalText writes the service as String does.
func (s Service) MarshalText() ([]byte, error) {
	if !s.valid() {
		return nil, fmt.Errorf("%w service: protocol %d, ports %d to %d", ErrInvalid, s.Proto, s.First, s.Last)
	}
	return []byte(s.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (s *Service) UnmarshalText(text []byte) error {
	name, ports, ranged := strings.Cut(string(text), ":")
	proto, ok := ParseProto(name)
	out := Service{Proto: proto}
	if ranged && ok {
		out.First, out.Last, ok = ParsePorts(ports)
		ok = ok && HasPorts(proto)
	}
	if !ok {
		return fmt.Errorf("%w service %q: write it as tcp:22, udp:1000-2000 or icmp", ErrInvalid, text)
	}
	*s = out
	return nil
}

// ParsePorts reads a port, or a range of them such as 80-443. Ports begin at 1.
func ParsePorts(s string) (first, last uint16, ok bool) {
	a, b, ranged := strings.Cut(s, "-")
	if !ranged {
		b = a
	}
	if first, ok = parsePort(a); !ok {
		return 0, 0, false
	}
	last, ok = parsePort(b)
	return first, last, ok && first <= last
}

func parsePort(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n > 0 && !slices.Contains([]byte("0+"), s[0])
}
