package firewall

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/warren-mesh/warren/ipc"
)

// What the host's own rules drop or reject by name stays so, whatever the network's rules let in. Who wonders why nothing
// comes is told where.

// maxWalked bounds how many chains are looked at.
const maxWalked = 512

// refusals is what was found the last time.
type refusals struct {
	gen      uint32 // of the packet filter; 0: nothing was looked at yet
	rules    Rules
	problems []ipc.Problem
}

// refused looks for rules of others that drop or reject what comes in from the network before anything lets it pass.
func (f *Firewall) refused(r Rules, chains []*nftables.Chain) ([]ipc.Problem, error) {
	gen, err := generation()
	if err != nil {
		return nil, err
	}
	if gen == f.refuses.gen && reflect.DeepEqual(r, f.refuses.rules) {
		return f.refuses.problems, nil
	}
	nft, err := nftables.New()
	if err != nil {
		return nil, err
	}
	w := walk{nft: nft, link: f.link, nets: slices.Concat(r.Network, r.Routes)}
	found := refusals{gen: gen, rules: r}
	for _, c := range chains {
		if !othersFilter(c) || len(f.ways(c, r)) == 0 {
			continue
		}
		w.at = nil
		if _, err := w.chain(c.Table, c.Name); err != nil {
			return nil, err
		}
		if len(w.at) > 0 {
			found.problems = append(found.problems, refuses(c, w.at, f.link))
		}
	}
	f.refuses = found
	return found.problems, nil
}

// walk follows what comes from the tunnel through the chains of a table.
type walk struct {
	nft    *nftables.Conn
	link   string
	nets   []netip.Prefix // the network's, and those that this machine leads to
	walked int
	at     []string // chains with a rule that drops or rejects it
}

// chain reports whether all of it is decided when the chain ends.
func (w *walk) chain(t *nftables.Table, name string) (decided bool, err error) {
	if w.walked++; w.walked > maxWalked {
		return true, nil
	}
	rules, err := w.nft.GetRules(t, &nftables.Chain{Name: name, Table: t})
	if err != nil {
		return false, err
	}
	for _, r := range rules {
		some, all, known := w.meets(r.Exprs)
		v := verdictOf(r.Exprs)
		if !known && v.Kind == expr.VerdictReturn { // it may be that all of ours returns here
			return false, nil
		}
		if !some || !known {
			continue
		}
		switch v.Kind {
		case expr.VerdictDrop:
			if !slices.Contains(w.at, name) {
				w.at = append(w.at, name)
			}
			decided = true
		case expr.VerdictAccept:
			decided = true
		case expr.VerdictReturn:
			if all {
				return false, nil
			}
		case expr.VerdictJump, expr.VerdictGoto:
			if decided, err = w.chain(t, v.Chain); err != nil {
				return false, err
			}
			if all && v.Kind == expr.VerdictGoto {
				return decided, nil
			}
		}
		if decided && all {
			return true, nil
		}
		decided = false
	}
	return false, nil
}

// verdictOf says what a rule does in the end; a rule that rejects drops, too.
func verdictOf(exprs []expr.Any) expr.Verdict {
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Verdict:
			return *e
		case *expr.Reject:
			return expr.Verdict{Kind: expr.VerdictDrop}
		case *expr.Target:
			if e.Name == "REJECT" || e.Name == "DROP" {
				return expr.Verdict{Kind: expr.VerdictDrop}
			}
		}
	}
	return expr.Verdict{Kind: expr.VerdictContinue}
}

// meets reports whether a rule's conditions may hold of new flows from the network, and whether they hold of all. Of some
// that is not known here, as whether a packet is the hundredth in a minute or its sender on a list: for those nobody is
// warned, since who is warned for nothing does not heed the next warning.
func (w *walk) meets(exprs []expr.Any) (some, all, known bool) {
	all = true
	var loaded expr.Any
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Meta, *expr.Payload:
			loaded = e
		case *expr.Cmp:
			some, whole := w.compares(loaded, e)
			if !some {
				return false, false, true
			}
			all = all && whole
		case *expr.Lookup, *expr.Range:
			if p, ok := loaded.(*expr.Payload); !ok || p.Base != expr.PayloadBaseTransportHeader {
				return false, false, false
			}
			all = false
		case *expr.Match:
			if !slices.Contains([]string{"tcp", "udp", "sctp", "multiport", "icmp", "icmp6", "comment"}, e.Name) {
				return false, false, false
			}
			all = all && e.Name == "comment"
		case *expr.Ct, *expr.Fib, *expr.Limit, *expr.Numgen, *expr.Socket, *expr.Exthdr, *expr.Connlimit:
			return false, false, false
		}
	}
	return true, all, true
}

// compares reports whether a comparison may hold, and whether it holds of all.
func (w *walk) compares(loaded expr.Any, c *expr.Cmp) (some, all bool) {
	switch l := loaded.(type) {
	case *expr.Meta:
		switch l.Key {
		case expr.MetaKeyIIFNAME:
			ours := bytes.HasPrefix(ifname(w.link), c.Data)
			return ours == (c.Op == expr.CmpOpEq), true
		case expr.MetaKeyL4PROTO, expr.MetaKeyNFPROTO, expr.MetaKeyPROTOCOL:
			return true, false
		}
		return false, false
	case *expr.Payload:
		if l.Base == expr.PayloadBaseNetworkHeader && (l.Offset == ipv4.src || l.Offset == ipv4.dst || l.Offset == ipv6.src || l.Offset == ipv6.dst) && l.Len > 1 {
			return c.Op != expr.CmpOpEq || w.knows(c.Data), false
		}
	}
	return true, false
}

// knows reports whether an address, or the beginning of one, is of what passes here.
func (w *walk) knows(data []byte) bool {
	length := 4
	if len(data) > 4 {
		length = 16
	}
	a, ok := netip.AddrFromSlice(append(bytes.Clone(data), make([]byte, length)...)[:length])
	p, err := a.Prefix(min(8*len(data), 8*length))
	return ok && err == nil && slices.ContainsFunc(w.nets, p.Overlaps)
}

func refuses(c *nftables.Chain, at []string, link string) ipc.Problem {
	if more := len(at) - 3; more > 0 {
		at = append(at[:3:3], fmt.Sprintf("%d more", more))
	}
	return ipc.Problem{
		Code: ipc.ProblemHostRules, Level: ipc.ProblemNotice,
		Text:  fmt.Sprintf("This machine's own packet filter (table %s, %s) has rules that drop or reject some of what comes in from the network. They hold whatever the network's access rules let in", c.Table.Name, strings.Join(at, ", ")),
		Fix:   fmt.Sprintf("If something is missing, look there (nft list ruleset); with ufw, “ufw insert 1 allow in on %s” leaves the word to the network's rules", link),
		About: "nftables: " + c.Table.Name,
	}
}
