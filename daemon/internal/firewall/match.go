package firewall

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rule is what a rule of nftables is made of: conditions, then what is done. The pieces below load into register 1.
type rule []expr.Any

func join(parts ...rule) rule { return slices.Concat(parts...) }

var (
	accept = rule{&expr.Verdict{Kind: expr.VerdictAccept}}
	// drop counts what it drops: nft list ruleset shows it.
	drop = rule{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}
)

func jump(chain string) rule { return rule{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}} }

func compare(op expr.CmpOp, data []byte) expr.Any { return &expr.Cmp{Op: op, Register: 1, Data: data} }

func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func in(name string) rule {
	return rule{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, compare(expr.CmpOpEq, ifname(name))}
}

func out(name string) rule {
	return rule{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, compare(expr.CmpOpEq, ifname(name))}
}

func notOut(name string) rule {
	return rule{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, compare(expr.CmpOpNeq, ifname(name))}
}

func inOneOf(s *nftables.Set) rule {
	return rule{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, lookup(s, false)}
}

func inNoneOf(s *nftables.Set) rule {
	return rule{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, lookup(s, true)}
}

func lookup(s *nftables.Set, invert bool) expr.Any {
	return &expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID, Invert: invert}
}

// family says where a packet's header has its addresses.
type family struct {
	table            nftables.TableFamily
	is4              bool
	key              nftables.SetDatatype
	src, dst, length uint32
}

var (
	ipv4 = family{nftables.TableFamilyIPv4, true, nftables.TypeIPAddr, 12, 16, 4}
	ipv6 = family{nftables.TableFamilyIPv6, false, nftables.TypeIP6Addr, 8, 24, 16}
	arp  = family{nftables.TableFamilyARP, true, nftables.TypeIPAddr, 14, 24, 4} // of Ethernet (RFC 826)
)

// hookARPInput is NF_ARP_IN (linux/netfilter_arp.h).
var hookARPInput = nftables.ChainHookRef(0)

func (f family) load(offset uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: f.length}
}

func (f family) from(s *nftables.Set) rule    { return rule{f.load(f.src), lookup(s, false)} }
func (f family) notFrom(s *nftables.Set) rule { return rule{f.load(f.src), lookup(s, true)} }
func (f family) to(s *nftables.Set) rule      { return rule{f.load(f.dst), lookup(s, false)} }

// astray matches what comes in where the way back to its sender does not lead.
func astray() rule {
	return rule{
		&expr.Fib{Register: 1, FlagSADDR: true, FlagIIF: true, ResultOIF: true},
		compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(0)),
	}
}

// Bits of a connection's status (enum ip_conntrack_status, linux/netfilter/nf_conntrack_common.h).
const (
	ctStatus   = expr.CtKeySTATUS
	statusDNAT = 1 << 5
)

func ct(key expr.CtKey, bits uint32) rule {
	return rule{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4),
		},
		compare(expr.CmpOpNeq, make([]byte, 4)),
	}
}

// answers matches packets of known connections that go against the direction in which these were opened.
func answers() rule {
	const reply = 1 // IP_CT_DIR_REPLY
	return join(
		rule{&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1}, compare(expr.CmpOpEq, []byte{reply})},
		ct(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED),
	)
}

// passedOn matches what was sent to this address, and was passed on elsewhere: a container's published port. (No set here:
// nft 1.0.6 cannot print one after "ct original daddr", and aborts.)
func passedOn(a netip.Addr) rule {
	return join(ct(ctStatus, statusDNAT), rule{&expr.Ct{Key: expr.CtKeyDST, Register: 1, Direction: 0}, compare(expr.CmpOpEq, a.AsSlice())})
}

const protocolUDP = unix.IPPROTO_UDP

func protocol(p byte) rule {
	return rule{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, compare(expr.CmpOpEq, []byte{p})}
}

// clamp makes TCP announce segments that fit the way, in either direction (RFC 879; RFC 2923 says what happens else).
func clamp() rule {
	const flags, syn, rst = 13, 0x02, 0x04 // the byte of the TCP header, and bits in it
	const option, size = 2, 2              // maximum segment size, and where in it the value begins (RFC 9293, section 3.2)
	return join(protocol(unix.IPPROTO_TCP), rule{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: flags, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{syn | rst}, Xor: []byte{0}},
		compare(expr.CmpOpEq, []byte{syn}),
		&expr.Rt{Register: 1, Key: expr.RtTCPMSS},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 2, Size: 2},
		&expr.Exthdr{SourceRegister: 1, Type: option, Offset: size, Len: 2, Op: expr.ExthdrOpTcpopt},
	})
}

// masquerade gives flows the way out's own address, with random source ports (of the range, if one is given).
func masquerade(lo, hi uint16) rule {
	if hi == 0 {
		return rule{&expr.Masq{FullyRandom: true}}
	}
	return rule{
		&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, lo)},
		&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, hi)},
		&expr.Masq{FullyRandom: true, ToPorts: true, RegProtoMin: 1, RegProtoMax: 2},
	}
}

var (
	family4 = rule{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, compare(expr.CmpOpEq, []byte{unix.NFPROTO_IPV4})}
	family6 = rule{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, compare(expr.CmpOpEq, []byte{unix.NFPROTO_IPV6})}
)

// transport matches bytes of the header after that of IP.
func transport(offset uint32, data []byte) rule {
	return rule{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: uint32(len(data))},
		compare(expr.CmpOpEq, data),
	}
}

// ports matches source and destination port of UDP or TCP, whose headers both begin with these.
func ports(from, to uint16) rule {
	return join(transport(0, binary.BigEndian.AppendUint16(nil, from)), transport(2, binary.BigEndian.AppendUint16(nil, to)))
}

func to(port uint16) rule { return transport(2, binary.BigEndian.AppendUint16(nil, port)) }

func icmpType(kind byte) rule { return transport(0, []byte{kind}) }

// hopLimit matches IPv6's.
func hopLimit(n byte) rule {
	return rule{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 7, Len: 1},
		compare(expr.CmpOpEq, []byte{n}),
	}
}
