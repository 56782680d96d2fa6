package firewall

import (
	"crypto/sha256"
	"maps"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// maxElements is how many elements one message may hold: its length is told in 16 bits.
const maxElements = 400

// loader writes a table to the kernel.
type loader struct {
	*filterTable
	nft   *nftables.Conn
	table *nftables.Table
	named map[string]*nftables.Set
	ids   uint32
}

func (t *filterTable) loader(nft *nftables.Conn) *loader {
	return &loader{
		filterTable: t, nft: nft, named: make(map[string]*nftables.Set, len(t.sets)),
		table: &nftables.Table{Family: nftables.TableFamilyINet, Name: filterTableName},
	}
}

// write makes the table anew. What was counted before is counted on.
func (t *filterTable) write(nft *nftables.Conn, counts map[string]uint64) error {
	l := t.loader(nft)
	nft.AddTable(l.table) // so that there is one to delete
	nft.DelTable(l.table)
	nft.AddTable(l.table)
	for _, reason := range dropReasons {
		nft.AddObj(&nftables.CounterObj{Table: l.table, Name: reason, Packets: counts[reason]})
	}
	return l.add(slices.Sorted(maps.Keys(t.sets)), slices.Sorted(maps.Keys(t.chains)))
}

// add writes sets and chains that are not there: first all that rules and elements may name.
func (l *loader) add(sets, chains []string) error {
	for _, name := range sets {
		if err := l.nft.AddSet(l.set(name, l.sets[name]), nil); err != nil {
			return err
		}
	}
	for _, name := range chains {
		l.nft.AddChain(l.chain(name))
	}
	for _, name := range chains {
		l.rules(name)
	}
	for _, name := range sets {
		if err := l.fill(name, l.sets[name].all()); err != nil {
			return err
		}
	}
	return nil
}

// set gives the set of a name; each has a number of its own within a transaction that makes it.
func (l *loader) set(name string, s *filterSet) *nftables.Set {
	if l.named[name] == nil {
		l.ids++
		set := &nftables.Set{Table: l.table, ID: l.ids, Name: name, KeyType: s.key, Interval: s.interval, IsMap: s.verdicts}
		if s.verdicts {
			set.DataType = nftables.TypeVerdict
		}
		l.named[name] = set
	}
	return l.named[name]
}

func (l *loader) chain(name string) *nftables.Chain {
	if c, isBase := hooked[name]; isBase {
		c.Table = l.table
		return &c
	}
	return &nftables.Chain{Name: name, Table: l.table}
}

func (l *loader) rules(name string) {
	for _, r := range l.chains[name] {
		var all []expr.Any
		for _, p := range r {
			switch p := p.(type) {
			case rule:
				all = append(all, p...)
			case setRule:
				set := l.set(p.set, l.sets[p.set])
				look := &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID}
				if p.verdict {
					look.DestRegister, look.IsDestRegSet = unix.NFT_REG_VERDICT, true
				}
				all = append(all, look)
			}
		}
		l.nft.AddRule(&nftables.Rule{Table: l.table, Chain: l.chain(name), Exprs: all})
	}
}

func (l *loader) fill(name string, es []nftables.SetElement) error {
	for some := range slices.Chunk(es, maxElements) {
		if err := l.nft.SetAddElements(l.named[name], some); err != nil {
			return err
		}
	}
	return nil
}

// amend changes what differs from the table that stands, which has as many parts.
func (t *filterTable) amend(nft *nftables.Conn, was *filterTable) error {
	l := t.loader(nft)
	var sets, chains []string
	for name := range t.sets {
		if was.sets[name] == nil {
			sets = append(sets, name)
		}
	}
	for name := range t.chains {
		if was.chains[name] == nil {
			chains = append(chains, name)
		}
	}
	slices.Sort(sets)
	slices.Sort(chains)
	if err := l.add(sets, chains); err != nil {
		return err
	}
	for name, s := range t.sets {
		if old := was.sets[name]; old != nil && !s.equal(old) {
			if err := l.turn(name, old, s); err != nil {
				return err
			}
		}
	}
	return l.drop(was)
}

// turn makes one set of another.
func (l *loader) turn(name string, was, is *filterSet) error {
	set := l.set(name, is)
	set.ID = 0 // it is there already
	if is.interval {
		nft := l.nft
		nft.FlushSet(set)
		return l.fill(name, is.ranges)
	}
	var gone, fresh []nftables.SetElement
	for key, to := range was.exact {
		if now, still := is.exact[key]; !still || now != to {
			gone = append(gone, was.element(key))
		}
	}
	for key, to := range is.exact {
		if before, had := was.exact[key]; !had || before != to {
			fresh = append(fresh, is.element(key))
		}
	}
	for some := range slices.Chunk(gone, maxElements) {
		if err := l.nft.SetDeleteElements(set, some); err != nil {
			return err
		}
	}
	return l.fill(name, fresh)
}

// drop removes chains and sets that are of no use any more: destinations before the services that they lead to.
func (l *loader) drop(was *filterTable) error {
	var chains []string
	for name := range was.chains {
		if l.chains[name] == nil {
			chains = append(chains, name)
		}
	}
	for _, name := range chains {
		l.nft.FlushChain(l.chain(name))
	}
	for name, s := range was.sets {
		if l.sets[name] == nil {
			l.nft.DelSet(l.set(name, s))
		}
	}
	for _, name := range chains {
		l.nft.DelChain(l.chain(name))
	}
	return nil
}

// roomy opens a connection that takes transactions of many elements at once.
func roomy() (*nftables.Conn, error) {
	const room = 64 << 20 // bytes; taken only while a transaction needs them
	return nftables.New(nftables.WithSockOptions(
		func(c *netlink.Conn) error { return c.SetWriteBuffer(room) },
		func(c *netlink.Conn) error { return c.SetReadBuffer(room) },
	))
}

// intact reports whether the table is as we made it, after somebody else changed the packet filter: as many rules in each
// chain, as many elements in each set.
func (f *Filter) intact() bool {
	print, err := fingerprint()
	if err != nil || print != f.print {
		return false
	}
	nft, err := roomy()
	if err != nil {
		return false
	}
	l := f.made.loader(nft)
	for name, s := range f.made.sets {
		es, err := nft.GetSetElements(l.set(name, s))
		if err != nil || len(es) != s.size() {
			return false
		}
	}
	return true
}

// fingerprint tells the table's rules from others.
func fingerprint() (string, error) {
	req := nl.NewNetlinkRequest(message(unix.NFT_MSG_GETRULE), unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: byte(nftables.TableFamilyINet)})
	req.AddData(nl.NewRtAttr(unix.NFTA_RULE_TABLE, nl.ZeroTerminated(filterTableName)))
	msgs, err := again(func() ([][]byte, error) { return req.Execute(unix.NETLINK_NETFILTER, 0) })
	if err != nil {
		return "", err
	}
	var all []string
	for _, m := range msgs {
		if len(m) > headerLen { // after which comes the present generation
			all = append(all, string(m[headerLen:]))
		}
	}
	sum := sha256.Sum256([]byte(strings.Join(all, "")))
	return string(sum[:]), nil
}
