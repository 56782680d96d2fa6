package firewall

import (
	"bytes"
	"encoding/binary"
	"net"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// stranger is a packet that nobody asked for: IPv4 and UDP, from anywhere, to a port of this machine. It is followed through
// the chains of a table. What is not known of it, as who sent it, leaves open what becomes of it.
type stranger struct {
	nft    *nftables.Conn
	table  *nftables.Table
	link   string // by which it comes
	port   uint16
	walked int
	sets   map[string][]nftables.SetElement
}

// fate is what may become of it: several, where that depends on what is not known.
type fate uint8

const (
	passes fate = 1 << iota
	falls
	goesOn // behind the rule, or the chain
)

// word is what is known of a register: bytes, without the first open ones. The zero word is not known at all.
type word struct {
	bytes []byte
	open  int
}

// whole gives all of it, or nil.
func (w word) whole() []byte {
	if w.open > 0 {
		return nil
	}
	return w.bytes
}

// holds says whether a condition is true of it.
type holds uint8

const (
	no holds = iota
	perhaps
	always
)

// chain says what may become of it in a chain.
func (p *stranger) chain(name string) (all fate, err error) {
	if p.walked++; p.walked > maxWalked {
		return passes | goesOn, nil
	}
	rules, err := p.nft.GetRules(p.table, &nftables.Chain{Name: name, Table: p.table})
	if err != nil {
		return 0, err
	}
	for _, r := range rules {
		one, leaves, err := p.rule(r)
		if err != nil {
			return 0, err
		}
		all |= one &^ goesOn
		if leaves != no {
			all |= goesOn // by a return, or behind a goto
		}
		if one&goesOn == 0 {
			return all, nil
		}
	}
	return all | goesOn, nil
}

// rule says what may become of it at a rule, and whether it leaves the chain there without a verdict.
func (p *stranger) rule(r *nftables.Rule) (one fate, leaves holds, err error) {
	known := make(map[uint32]word)
	is := always
	var verdicts []expr.Verdict
	for _, e := range r.Exprs {
		met := always
		switch e := e.(type) {
		case *expr.Verdict:
			verdicts = []expr.Verdict{*e}
		case *expr.Reject:
			verdicts = []expr.Verdict{{Kind: expr.VerdictDrop}}
		case *expr.Target:
			if e.Name == "REJECT" || e.Name == "DROP" {
				verdicts = []expr.Verdict{{Kind: expr.VerdictDrop}}
			}
		case *expr.Lookup:
			var to []expr.Verdict
			if met, to, err = p.lookup(e, known); err != nil {
				return 0, no, err
			}
			verdicts = append(verdicts, to...)
		case *expr.Counter, *expr.Log, *expr.Notrack:
		default:
			met = p.condition(e, known)
		}
		if is = min(is, met); is == no {
			return goesOn, no, nil
		}
	}
	if is == perhaps || len(verdicts) == 0 {
		one = goesOn
	}
	for _, v := range verdicts {
		next, out, err := p.verdict(v)
		if err != nil {
			return 0, no, err
		}
		one |= next
		if out {
			leaves = always
		}
	}
	return one, leaves, nil
}

// verdict says what a verdict leads to, and whether it may leave the chain without one.
func (p *stranger) verdict(v expr.Verdict) (one fate, leaves bool, err error) {
	switch v.Kind {
	case expr.VerdictDrop:
		return falls, false, nil
	case expr.VerdictReturn:
		return 0, true, nil
	case expr.VerdictJump:
		one, err = p.chain(v.Chain)
		return one, false, err
	case expr.VerdictGoto:
		one, err = p.chain(v.Chain)
		return one &^ goesOn, one&goesOn != 0, err
	case expr.VerdictContinue, expr.VerdictBreak:
		return goesOn, false, nil
	}
	return passes, false, nil // or is handed to a program, which may let it pass
}

// condition loads what is known, or says whether a comparison holds.
func (p *stranger) condition(e expr.Any, known map[uint32]word) holds {
	switch e := e.(type) {
	case *expr.Meta:
		if !e.SourceRegister {
			known[e.Register] = word{bytes: p.meta(e.Key)}
		}
		return always
	case *expr.Payload:
		if e.OperationType == expr.PayloadLoad {
			known[e.DestRegister] = p.payload(e)
		}
		return always
	case *expr.Ct:
		known[e.Register] = word{bytes: ctOf[e.Key]}
		return always
	case *expr.Fib:
		known[e.Register] = word{}
		if e.ResultADDRTYPE && e.FlagDADDR {
			known[e.Register] = word{bytes: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)}
		}
		return always
	case *expr.Bitwise:
		known[e.DestRegister] = word{bytes: bitwise(known[e.SourceRegister].whole(), e)}
		return always
	case *expr.Immediate:
		known[e.Register] = word{bytes: e.Data}
		return always
	case *expr.Cmp:
		return compared(known[e.Register], e)
	case *expr.Range:
		v := known[e.Register].whole()
		if v == nil || len(v) != len(e.FromData) || len(v) != len(e.ToData) {
			return perhaps
		}
		return whether((bytes.Compare(e.FromData, v) <= 0 && bytes.Compare(v, e.ToData) <= 0) == (e.Op == expr.CmpOpEq))
	case *expr.Match:
		return p.matched(e)
	}
	return perhaps
}

// ctOf is what connection tracking says of a new flow that was not sent elsewhere (enum ip_conntrack_status has no bit yet).
var ctOf = map[expr.CtKey][]byte{
	expr.CtKeySTATE:     binaryutil.NativeEndian.PutUint32(expr.CtStateBitNEW),
	expr.CtKeySTATUS:    make([]byte, 4),
	expr.CtKeyDIRECTION: {0},
}

// payload loads the port that it is for, alone or behind that which it is from.
func (p *stranger) payload(e *expr.Payload) word {
	switch {
	case e.Base != expr.PayloadBaseTransportHeader:
	case e.Offset == 2 && e.Len == 2:
		return word{bytes: binary.BigEndian.AppendUint16(nil, p.port)}
	case e.Offset == 0 && e.Len == 4:
		return word{bytes: binary.BigEndian.AppendUint16(make([]byte, 2), p.port), open: 2}
	}
	return word{}
}

func (p *stranger) meta(k expr.MetaKey) []byte {
	switch k {
	case expr.MetaKeyIIFNAME:
		return ifname(p.link)
	case expr.MetaKeyIIF:
		if i, err := net.InterfaceByName(p.link); err == nil {
			return binaryutil.NativeEndian.PutUint32(uint32(i.Index))
		}
	case expr.MetaKeyL4PROTO:
		return []byte{protocolUDP}
	case expr.MetaKeyNFPROTO:
		return []byte{unix.NFPROTO_IPV4}
	case expr.MetaKeyPROTOCOL:
		return binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP)
	case expr.MetaKeyPKTTYPE:
		return []byte{unix.PACKET_HOST}
	}
	return nil
}

func bitwise(v []byte, e *expr.Bitwise) []byte {
	if v == nil || len(v) != len(e.Mask) || len(v) != len(e.Xor) {
		return nil
	}
	out := make([]byte, len(v))
	for i := range v {
		out[i] = v[i]&e.Mask[i] ^ e.Xor[i]
	}
	return out
}

func compared(w word, c *expr.Cmp) holds {
	n := len(c.Data) // a name's beginning is compared with "eth*"
	if len(w.bytes) < n || w.open >= n {
		return perhaps
	}
	d := bytes.Compare(w.bytes[w.open:n], c.Data[w.open:])
	switch {
	case w.open == 0:
	case d != 0 && (c.Op == expr.CmpOpEq || c.Op == expr.CmpOpNeq): // whatever the open ones are
	default:
		return perhaps
	}
	switch c.Op {
	case expr.CmpOpEq:
		return whether(d == 0)
	case expr.CmpOpNeq:
		return whether(d != 0)
	case expr.CmpOpLt:
		return whether(d < 0)
	case expr.CmpOpLte:
		return whether(d <= 0)
	case expr.CmpOpGt:
		return whether(d > 0)
	case expr.CmpOpGte:
		return whether(d >= 0)
	}
	return perhaps
}

func whether(is bool) holds {
	if is {
		return always
	}
	return no
}

// lookup says whether a set has it, or to which verdicts a map leads.
func (p *stranger) lookup(e *expr.Lookup, known map[uint32]word) (holds, []expr.Verdict, error) {
	elements, ok := p.sets[e.SetName]
	if !ok {
		var err error
		if elements, err = p.nft.GetSetElements(&nftables.Set{Table: p.table, Name: e.SetName}); err != nil {
			return no, nil, err
		}
		p.sets[e.SetName] = elements
	}
	leads := e.IsDestRegSet && e.DestRegister == unix.NFT_REG_VERDICT
	v := known[e.SourceRegister].whole()
	alike := v != nil && !slices.ContainsFunc(elements, func(s nftables.SetElement) bool { return len(s.Key) != len(v) || len(s.KeyEnd) > 0 })
	if !alike {
		if e.IsDestRegSet {
			known[e.DestRegister] = word{}
		}
		var to []expr.Verdict
		for _, s := range elements {
			if leads && len(to) <= maxWalked {
				to = append(to, leadsTo(s))
			}
		}
		return perhaps, to, nil
	}
	s, found := member(elements, v)
	switch {
	case !e.IsDestRegSet:
		return whether(found != e.Invert), nil, nil
	case !found:
		return no, nil, nil
	case leads:
		return always, []expr.Verdict{leadsTo(s)}, nil
	}
	known[e.DestRegister] = word{}
	return always, nil, nil
}

// member finds what a set has for a value: it itself, or the interval that it is in, which begins with an element and goes to the next one's
// end.
func member(elements []nftables.SetElement, v []byte) (at nftables.SetElement, found bool) {
	intervals := slices.ContainsFunc(elements, func(s nftables.SetElement) bool { return s.IntervalEnd })
	for _, s := range elements {
		d := bytes.Compare(s.Key, v)
		if d == 0 && !s.IntervalEnd {
			return s, true
		}
		if !intervals || d > 0 {
			continue
		}
		if c := bytes.Compare(s.Key, at.Key); at.Key == nil || c > 0 || c == 0 && at.IntervalEnd {
			at = s
		}
	}
	return at, at.Key != nil && !at.IntervalEnd
}

// leadsTo reads the verdict of a map's element: attributes of its code, and of the chain that it names (NFTA_VERDICT_*).
func leadsTo(s nftables.SetElement) expr.Verdict {
	const header, code = 4, 8
	if len(s.Val) < code {
		return expr.Verdict{Kind: expr.VerdictContinue}
	}
	v := expr.Verdict{Kind: expr.VerdictKind(int32(binary.BigEndian.Uint32(s.Val[header:code])))}
	if len(s.Val) > code+header {
		chain, _, _ := bytes.Cut(s.Val[code+header:], []byte{0})
		v.Chain = string(chain)
	}
	return v
}

// matched says whether a condition of iptables' holds.
func (p *stranger) matched(e *expr.Match) holds {
	switch info := e.Info.(type) {
	case *xt.Comment:
		return always
	case *xt.Tcp:
		return no
	case *xt.Udp:
		if info.SrcPorts != [2]uint16{0, 65535} || info.InvFlags&xt.UdpInvSrcPorts != 0 {
			return min(perhaps, whether(p.within(info.DstPorts) != (info.InvFlags&xt.UdpInvDestPorts != 0)))
		}
		return whether(p.within(info.DstPorts) != (info.InvFlags&xt.UdpInvDestPorts != 0))
	case *xt.ConntrackMtinfo1:
		return isNew(info.ConntrackMtinfoBase, uint16(info.StateMask))
	case *xt.ConntrackMtinfo2:
		return isNew(info.ConntrackMtinfoBase, info.StateMask)
	case *xt.ConntrackMtinfo3:
		return isNew(info.ConntrackMtinfoBase, info.StateMask)
	case *xt.AddrTypeV1:
		const invert = 2 // XT_ADDRTYPE_INVERT_DEST
		if info.Source == 0 && info.Flags&^invert == 0 {
			return whether((info.Dest&(1<<unix.RTN_LOCAL) != 0) != (info.Flags&invert != 0))
		}
	case *xt.Unknown:
		if e.Name == "multiport" {
			return p.listed(*info)
		}
	}
	return perhaps
}

func (p *stranger) within(ports [2]uint16) bool { return ports[0] <= p.port && p.port <= ports[1] }

// isNew reads "-m conntrack --ctstate"; its other conditions are not known.
func isNew(b xt.ConntrackMtinfoBase, states uint16) holds {
	if xt.ConntrackFlags(b.MatchFlags)&^(xt.ConntrackState|xt.ConntrackStateAlias) != 0 {
		return perhaps
	}
	const bit = 1 << 3 // XT_CONNTRACK_STATE_BIT(IP_CT_NEW)
	return whether((states&bit != 0) != (xt.ConntrackFlags(b.InvertFlags)&xt.ConntrackState != 0))
}

// listed reads "-m multiport --dports" (struct xt_multiport_v1, linux/netfilter/xt_multiport.h): which ports, how many, the
// ports, for each whether the next one ends its range, and whether it is all the other ones.
func (p *stranger) listed(b []byte) holds {
	const destination, most = 1, 15
	if len(b) < 2+2*most+most+1 || b[0] != destination || b[1] > most {
		return perhaps
	}
	is := false
	for i := 0; i < int(b[1]); i++ {
		at := func(i int) uint16 { return binaryutil.NativeEndian.Uint16(b[2+2*i:]) }
		ports := [2]uint16{at(i), at(i)}
		if b[2+2*most+i] != 0 && i+1 < int(b[1]) {
			i++
			ports[1] = at(i)
		}
		is = is || p.within(ports)
	}
	return whether(is != (b[2+2*most+most] != 0))
}
