package firewall

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/coord"
)

// hooked are the chains that packets come to by themselves: after connection tracking (-200) and before destination NAT
// (-100), and after source NAT (100).
var hooked = map[string]nftables.Chain{
	"incoming": {Name: "incoming", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle},
	"outgoing": {Name: "outgoing", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityRef(*nftables.ChainPriorityNATSource + 50)},
}

// base writes the chains that are the same whatever is granted, but for the number of parts.
func (t *filterTable) base() {
	one := func(parts ...any) []any { return parts }
	t.chains["incoming"] = chainRules{one(in(t.link), jump("from-network"))}
	t.chains["outgoing"] = chainRules{one(out(t.link), jump("to-network"))}
	t.chains["from-network"] = t.fromNetwork()
	t.chains["to-network"] = t.toNetwork()
	var errors chainRules
	for _, kind := range []byte{3, 4, 5, 11, 12} { // RFC 792's errors
		errors = append(errors, one(icmpType(kind), dropFor(DropUnasked)))
	}
	t.chains["errors"] = errors
	granted := chainRules{}
	for i := range t.parts {
		for v, fam := range families {
			to := setRule{toName(i, v), true}
			granted = append(granted, one(in(t.link), isVersion(v), rule{fam.load(fam.dst)}, to), one(out(t.link), isVersion(v), rule{fam.load(fam.src)}, to))
		}
	}
	t.chains["granted"] = granted
}

// fromNetwork decides on what comes in.
func (t *filterTable) fromNetwork() (rs chainRules) {
	add := func(parts ...any) { rs = append(rs, parts) }
	for v, fam := range families {
		add(isVersion(v), rule{fam.load(fam.src)}, setRule{set: "spoofed" + digit(v)}, dropFor(DropSpoofed))
	}
	add(isAnswer(), ct(expr.CtKeySTATE, expr.CtStateBitESTABLISHED), accept)
	for _, p := range []byte{coord.ProtoICMP, coord.ProtoICMPv6} {
		add(protocol(p), ct(expr.CtKeySTATE, expr.CtStateBitRELATED), accept)
	}
	add(protocol(coord.ProtoICMP), jump("errors"))
	add(protocol(coord.ProtoICMPv6), rule{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Len: 1},
		compare(expr.CmpOpLt, []byte{128}), // errors, and no others, are below (RFC 4443, section 2.1)
	}, dropFor(DropUnasked))
	add(jump("granted"))
	add(dropFor(DropDenied))
	return rs
}

// toNetwork keeps back what goes on with a flow that another machine began and may not go on with. Of TCP without a known
// flow only what begins one may leave as ours: else a packet of this machine would turn a flow round that another began
// before connections were tracked.
func (t *filterTable) toNetwork() (rs chainRules) {
	const flags, syn, ack = 13, 0x02, 0x10 // the byte of the TCP header, and bits in it
	t.chains["judged"] = chainRules{{jump("granted")}, {dropFor(DropEnded)}}
	return chainRules{
		{isAnswer(), ct(expr.CtKeySTATE, expr.CtStateBitESTABLISHED), jump("judged")},
		{protocol(coord.ProtoTCP), ct(expr.CtKeySTATE, expr.CtStateBitNEW), rule{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: flags, Len: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{syn | ack}, Xor: []byte{0}},
			compare(expr.CmpOpNeq, []byte{syn}),
		}, jump("judged")},
	}
}

// destination leads on by where a packet comes from, or an answer goes to.
func (t *filterTable) destination(name string) (rs chainRules) {
	for v, fam := range families {
		for _, kind := range []string{"-hosts", "-nets"} {
			by := setRule{name + kind + digit(v), true}
			rs = append(rs, []any{in(t.link), isVersion(v), rule{fam.load(fam.src)}, by}, []any{out(t.link), isVersion(v), rule{fam.load(fam.dst)}, by})
		}
	}
	return rs
}

// few is how many ranges of ports become rules. The kernel finds sets by their names one after another: thousands of them would
// take it seconds to load.
const few = 4

// granted accepts the services of a name, and the answers of these.
func (t *filterTable) granted(name string, s *services) (rs chainRules) {
	port := func(offset uint32) rule {
		return rule{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2}}
	}
	both := func(proto uint8, match any) {
		rs = append(rs, []any{in(t.link), protocol(proto), port(2), match, accept}, []any{out(t.link), protocol(proto), port(0), match, accept})
	}
	for _, p := range portProtos {
		ranges := s.ports[p]
		if len(ranges) > few {
			set := name + "-" + coord.ProtoName(p)
			t.sets[set] = &filterSet{key: nftables.TypeInetService, interval: true, ranges: portElements(ranges)}
			both(p, setRule{set: set})
			continue
		}
		for _, r := range ranges {
			both(p, r.rule())
		}
	}
	for _, p := range s.protos {
		rs = append(rs, []any{protocol(p), accept})
	}
	return rs
}

// rule matches a port in the register.
func (r portRange) rule() rule {
	first, last := binary.BigEndian.AppendUint16(nil, r.first), binary.BigEndian.AppendUint16(nil, r.last)
	switch {
	case r.first == r.last:
		return rule{compare(expr.CmpOpEq, first)}
	case r.first == 0 && r.last == 65535:
		return nil
	}
	return rule{&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: first, ToData: last}}
}

func isVersion(v int) rule {
	if v == 0 {
		return family4
	}
	return family6
}

// isAnswer matches packets that go against the direction in which their flow was opened.
func isAnswer() rule {
	const reply = 1 // IP_CT_DIR_REPLY
	return rule{&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1}, compare(expr.CmpOpEq, []byte{reply})}
}

// dropFor drops, and counts it.
func dropFor(reason string) rule {
	return rule{&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: reason}, &expr.Verdict{Kind: expr.VerdictDrop}}
}

// countOf reads a counter.
func countOf(o *nftables.NamedObj) (packets uint64, ok bool) {
	c, ok := o.Obj.(*expr.Counter)
	if !ok {
		return 0, false
	}
	return c.Packets, true
}
