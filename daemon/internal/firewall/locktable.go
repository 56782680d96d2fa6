package firewall

import (
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// load makes the lockdown's table anew, in one transaction. A pause goes on.
//
// What leaves is looked at twice: in output, where a program is told at once, and in postrouting, after which nothing
// sends a packet another way. Neither asks whether a connection is known: one that was opened before is cut off too.
func (w *lockWish) load() error {
	pause := remaining()
	nft, err := nftables.New()
	if err != nil {
		return explain("open a netlink socket", err)
	}
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: lockTableName}
	nft.AddTable(t) // so that there is one to delete
	nft.DelTable(t)
	nft.AddTable(t)
	d := &draft{nft: nft, table: t, tun: w.Interface, sets: 1}
	s := pausedSet()
	s.Table = t
	var elements []nftables.SetElement
	if pause > 0 {
		elements = paused(pause)
	}
	if err := nft.AddSet(s, elements); err != nil {
		return explain("write the lockdown", err)
	}
	d.inside = d.links("inside", append([]string{"lo", w.Interface}, w.guests...))
	d.hold(w, s)
	if d.err != nil {
		return explain("write the lockdown", d.err)
	}
	if err := nft.Flush(); err != nil {
		return explain("begin the lockdown", err)
	}
	return nil
}

// hold writes the chains.
func (d *draft) hold(w *lockWish, pause *nftables.Set) {
	shut := nftables.ChainPolicyDrop
	base := func(name string, hook *nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
		return d.nft.AddChain(&nftables.Chain{
			Name: name, Table: d.table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: &priority, Policy: &shut,
		})
	}
	own, lan := d.regular("own"), d.regular("lan")
	output := base("output", nftables.ChainHookOutput, *nftables.ChainPriorityFilter)
	forward := base("forward", nftables.ChainHookForward, *nftables.ChainPriorityFilter)
	last := base("postrouting", nftables.ChainHookPostrouting, *nftables.ChainPrioritySELinuxLast)

	inside := rule{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, lookup(d.inside, false)}
	for _, c := range []*nftables.Chain{output, forward, last} {
		d.add(c, inside, accept)
		if c != forward {
			d.add(c, jump(own.Name))
		}
		if w.LAN {
			d.add(c, jump(lan.Name))
		}
	}
	// A program that waits for an answer hears that there will be none.
	d.add(output, protocol(unix.IPPROTO_TCP), rule{&expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}})
	d.add(output, rule{&expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}})
	d.add(forward, drop)
	d.add(last, drop)

	if w.Mark != 0 {
		d.add(own, rule{
			&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
			compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(w.Mark)),
		}, accept)
	}
	d.add(own, rule{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, lookup(pause, false)}, accept)
	d.addressing(own)
	if w.LAN {
		d.lan(lan, w.networks)
	}
}

// addressing accepts what gives the host its addresses and its neighbours.
func (d *draft) addressing(c *nftables.Chain) {
	// DHCP (RFC 2131) and DHCPv6 (RFC 8415): from and to ports that only root may use, and not to the internet.
	near4 := d.inetSet("dhcp4", ipv4, append(private[:4:4], netip.MustParsePrefix("255.255.255.255/32")))
	near6 := d.inetSet("dhcp6", ipv6, prefixList("fe80::/10", "ff02::1:2/128", "ff05::1:3/128"))
	d.add(c, family4, near4.to, protocol(unix.IPPROTO_UDP), ports(68, 67), accept)
	d.add(c, family6, near6.to, protocol(unix.IPPROTO_UDP), ports(546, 547), accept)
	// Neighbour discovery (RFC 4861: a hop limit of 255, so it has not been and will not be forwarded) and the reports that
	// let switches pass its multicast (RFC 3810).
	for _, kind := range []byte{133, 135, 136} {
		d.add(c, family6, protocol(unix.IPPROTO_ICMPV6), icmpType(kind), hopLimit(255), accept)
	}
	group := d.inetSet("mld", ipv6, prefixList("ff02::/16"))
	for _, kind := range []byte{131, 132, 143} {
		d.add(c, family6, group.to, protocol(unix.IPPROTO_ICMPV6), icmpType(kind), hopLimit(1), accept)
	}
}

// lan accepts what goes to the host's own networks, but for questions for names: they would say where one is about to go.
func (d *draft) lan(c *nftables.Chain, networks []netip.Prefix) {
	for _, p := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		for _, port := range []uint16{53, 853} {
			d.add(c, protocol(p), to(port), drop)
		}
	}
	all := slices.Concat(networks, prefixList("169.254.0.0/16", "224.0.0.0/24", "239.0.0.0/8", "255.255.255.255/32", "fe80::/10", "ff01::/16", "ff02::/16"))
	for _, fam := range []struct {
		is rule
		family
	}{{family4, ipv4}, {family6, ipv6}} {
		name := "lan6"
		if fam.is4 {
			name = "lan4"
		}
		d.add(c, fam.is, d.inetSet(name, fam.family, all).to, accept)
	}
}

// destinations is a set of one family, and the rule that a packet goes there.
type destinations struct{ to rule }

// inetSet makes a set of the family's prefixes in a table of both families; there is at least one.
func (d *draft) inetSet(name string, fam family, all []netip.Prefix) destinations {
	s := d.set(&nftables.Set{Name: name, KeyType: fam.key, Interval: true}, elements(spans(all, fam.is4)))
	return destinations{fam.to(s)}
}

func prefixList(texts ...string) (ps []netip.Prefix) {
	for _, text := range texts {
		ps = append(ps, netip.MustParsePrefix(text))
	}
	return ps
}
