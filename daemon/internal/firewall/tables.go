package firewall

import (
	"net/netip"
	"slices"

	"github.com/google/nftables"

	"github.com/warren-mesh/warren/daemon/internal/journal"
)

// name is that of our tables, and the comment of our rules in others' tables.
const name = "warren"

// draft is a table of one family that is being written.
type draft struct {
	family
	nft   *nftables.Conn
	table *nftables.Table
	err   error
	tun   string
	sets  uint32 // so many

	own                               []netip.Addr  // of self, the family's
	self, host, network, routes, shut *nftables.Set // nil: empty
	strange, inside, opened           *nftables.Set
}

// replace makes our tables anew, in one transaction.
func (f *Firewall) replace(w wish) error {
	var changes []journal.Change
	for _, fam := range []family{ipv4, ipv6, arp} {
		changes = append(changes, journal.Change{Kind: kindTable, Data: tableData{Family: byte(fam.table), Name: name}})
	}
	if err := f.record(changes...); err != nil {
		return err
	}
	nft, err := nftables.New()
	if err != nil {
		return explain("open a netlink socket", err)
	}
	for _, fam := range []family{ipv4, ipv6, arp} {
		d := &draft{family: fam, nft: nft, table: &nftables.Table{Family: fam.table, Name: name}, tun: f.link}
		nft.AddTable(d.table) // so that there is one to delete
		nft.DelTable(d.table)
		nft.AddTable(d.table)
		if d.write(w); d.err != nil {
			return explain("write the packet filter", d.err)
		}
	}
	f.step()
	if err := nft.Flush(); err != nil {
		return explain("change the packet filter", err)
	}
	return nil
}

// write writes the table of one family.
func (d *draft) write(w wish) {
	var self, host, routes []netip.Prefix
	host = append(host, single(w.rules.Host)...)
	for _, a := range w.rules.Self {
		if a = a.Unmap(); a.Is4() == d.is4 {
			d.own, self = append(d.own, a), append(self, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	d.self, d.host = d.addresses("self", self), d.addresses("host", host)
	if d.table.Family == nftables.TableFamilyARP {
		d.quiet()
		return
	}
	exit := false
	for _, p := range w.rules.Routes {
		if p = unmap(p); p.Bits() == 0 {
			exit = exit || p.Addr().Is4() == d.is4
		} else {
			routes = append(routes, p)
		}
	}
	d.network = d.addresses("network", w.rules.Network)
	d.routes = d.addresses("routes", routes)
	if exit {
		d.shut = d.addresses("shut", slices.Concat(never, w.host.attached, single(w.host.gateways), single(w.rules.Site), w.rules.Network))
	}
	d.strange = d.addresses("strange", w.strange())
	d.inside = d.links("inside", append([]string{"lo", d.tun}, w.host.guests...))
	if d.is4 {
		d.opened = d.links("opened", w.host.opened)
	} else if w.host.opened6 {
		d.opened = d.links("opened", w.host.links)
	}
	d.base()
	passes := exit || d.routes != nil
	// Connections are tracked only where packets are forwarded: on a busy server tracking costs memory and time.
	tracks := passes || d.is4 && w.host.forwards.four || !d.is4 && w.host.forwards.six
	d.input(tracks)
	d.forward(tracks)
	if tracks {
		mss := d.chain("mss", nftables.ChainHookForward, nftables.ChainPriorityMangle, nftables.ChainTypeFilter)
		d.add(mss, in(d.tun), clamp())
		d.add(mss, out(d.tun), clamp())
	}
	if passes {
		d.nat(w.rules)
	}
}

// base holds from our addresses what does not come through the tunnel.
func (d *draft) base() {
	raw := d.chain("raw", nftables.ChainHookPrerouting, nftables.ChainPriorityRaw, nftables.ChainTypeFilter)
	for _, s := range []*nftables.Set{d.self, d.host} {
		if s != nil {
			d.add(raw, inNoneOf(d.inside), d.to(s), drop)
		}
	}
	d.add(raw, in(d.tun), d.from(d.strange), drop)
	// Another network may use some of the same addresses (carriers do, RFC 6598); what the host routes there passes.
	if d.network != nil {
		d.add(raw, inNoneOf(d.inside), d.from(d.network), astray(), drop)
	}
}

// input says what comes through the tunnel to this machine itself.
func (d *draft) input(tracks bool) {
	c := d.chain("input", nftables.ChainHookInput, nftables.ChainPriorityFilter, nftables.ChainTypeFilter)
	if d.self != nil {
		d.add(c, in(d.tun), d.from(d.self), drop)
		d.add(c, in(d.tun), d.to(d.self), accept)
		if tracks {
			d.published(c)
		}
	}
	if d.routes != nil { // this machine's own address in a network that it routes to
		d.add(c, in(d.tun), d.to(d.routes), accept)
	}
	d.add(c, in(d.tun), drop)
}

// forward says what passes between the tunnel and other networks.
func (d *draft) forward(tracks bool) {
	c := d.chain("forward", nftables.ChainHookForward, nftables.ChainPriorityFilter, nftables.ChainTypeFilter)
	if !tracks { // the host forwards nothing, and if that changed this second, nothing of ours
		d.add(c, in(d.tun), drop)
		d.add(c, out(d.tun), drop)
		return
	}
	fromTunnel, toTunnel := d.regular("from-tunnel"), d.regular("to-tunnel")
	d.add(c, in(d.tun), jump(fromTunnel.Name))
	d.add(c, out(d.tun), jump(toTunnel.Name))
	if d.opened != nil { // only for what passes the tunnel this host forwards at all
		d.add(c, notOut(d.tun), inOneOf(d.opened), drop)
	}

	d.add(fromTunnel, out(d.tun), drop)
	d.add(fromTunnel, answers(), accept)
	if d.network != nil {
		d.add(fromTunnel, d.notFrom(d.network), drop)
		if d.self != nil {
			d.add(fromTunnel, d.from(d.self), drop)
			d.published(fromTunnel)
		}
		if d.routes != nil {
			d.add(fromTunnel, d.to(d.routes), accept)
		}
		if d.shut != nil {
			d.add(fromTunnel, d.to(d.shut), drop)
			d.add(fromTunnel, accept)
		}
	}
	d.add(fromTunnel, drop)

	d.add(toTunnel, answers(), accept)
	d.add(toTunnel, inOneOf(d.inside), accept) // containers of this host reach the network as its programs do
	d.add(toTunnel, drop)
}

// published accepts what was sent to this machine, and what it passes on to a container.
func (d *draft) published(c *nftables.Chain) {
	for _, a := range d.own {
		d.add(c, in(d.tun), passedOn(a), accept)
	}
}

// nat gives what comes from the tunnel the address of this machine.
func (d *draft) nat(r Rules) {
	c := d.chain("nat", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, nftables.ChainTypeNAT)
	d.add(c, in(d.tun), ct(ctStatus, statusDNAT), accept) // a published port sees who calls
	if r.Plain && d.routes != nil {
		d.add(c, in(d.tun), d.to(d.routes), accept)
	}
	if lo, hi := sourcePorts(r.Ports); len(r.Ports) > 0 {
		d.add(c, in(d.tun), protocol(protocolUDP), masquerade(lo, hi))
	}
	d.add(c, in(d.tun), masquerade(0, 0))
}

// quiet tells the LAN nothing about our addresses: the kernel would answer for them on any link (arp_ignore).
func (d *draft) quiet() {
	c := d.chain("input", hookARPInput, nftables.ChainPriorityFilter, nftables.ChainTypeFilter)
	for _, s := range []*nftables.Set{d.self, d.host} {
		if s != nil {
			d.add(c, d.to(s), drop)
		}
	}
}

func (d *draft) chain(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority, kind nftables.ChainType) *nftables.Chain {
	return d.nft.AddChain(&nftables.Chain{Name: name, Table: d.table, Type: kind, Hooknum: hook, Priority: priority})
}

func (d *draft) regular(name string) *nftables.Chain {
	return d.nft.AddChain(&nftables.Chain{Name: name, Table: d.table})
}

func (d *draft) add(c *nftables.Chain, parts ...rule) {
	d.nft.AddRule(&nftables.Rule{Table: d.table, Chain: c, Exprs: join(parts...)})
}

// addresses makes a set of the family's prefixes; nil if there are none.
func (d *draft) addresses(name string, prefixes []netip.Prefix) *nftables.Set {
	all := spans(prefixes, d.is4)
	if len(all) == 0 {
		return nil
	}
	return d.set(&nftables.Set{Name: name, KeyType: d.key, Interval: true}, elements(all))
}

// links makes a set of interface names; nil if there are none.
func (d *draft) links(name string, links []string) *nftables.Set {
	var es []nftables.SetElement
	for _, l := range links {
		es = append(es, nftables.SetElement{Key: ifname(l)})
	}
	if len(es) == 0 {
		return nil
	}
	return d.set(&nftables.Set{Name: name, KeyType: nftables.TypeIFName}, es)
}

// set numbers the set within its transaction, which the library would do with a number that all connections share.
func (d *draft) set(s *nftables.Set, es []nftables.SetElement) *nftables.Set {
	d.sets++
	s.Table, s.ID = d.table, uint32(d.table.Family)<<16|d.sets
	if err := d.nft.AddSet(s, es); err != nil && d.err == nil {
		d.err = err
	}
	return s
}
