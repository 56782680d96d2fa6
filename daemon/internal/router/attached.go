package router

import (
	"net"
	"slices"

	"github.com/vishvananda/netlink"
)

// attachments lists the subnets that the host is attached to, by any interface but ours.
func (r *Router) attachments(own int) ([]attachment, error) {
	links, err := again(func() ([]netlink.Link, error) { return r.handle.LinkList() })
	if err != nil {
		return nil, explain("read the interfaces", err)
	}
	addrs, err := again(func() ([]netlink.Addr, error) { return r.handle.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, explain("read the addresses", err)
	}
	inner := innerBridges(links)
	skip := make(map[int]bool)
	for _, l := range links {
		a := l.Attrs()
		skip[a.Index] = a.Index == own || a.Flags&net.FlagLoopback != 0 || a.Flags&net.FlagUp == 0
	}
	var found []attachment
	for _, a := range addrs {
		p, ok := prefix(a.IPNet)
		if !ok || skip[a.LinkIndex] || p.IsSingleIP() || p.Addr().IsLinkLocalUnicast() && p.Addr().Is6() {
			continue
		}
		found = append(found, attachment{p.Masked(), inner[a.LinkIndex]})
	}
	slices.SortFunc(found, func(a, b attachment) int { return a.prefix.Compare(b.prefix) })
	return slices.CompactFunc(found, func(a, b attachment) bool { return a.prefix == b.prefix }), nil
}

// innerBridges finds the bridges to which nothing is attached but this host's own containers and virtual machines: every
// port is one end of a veth pair, or a TAP.
func innerBridges(links []netlink.Link) map[int]bool {
	inner := make(map[int]bool)
	for _, l := range links {
		if l.Type() == "bridge" {
			inner[l.Attrs().Index] = true
		}
	}
	for _, l := range links {
		if master := l.Attrs().MasterIndex; master != 0 && l.Type() != "veth" && l.Type() != "tuntap" && l.Type() != "tun" {
			delete(inner, master)
		}
	}
	return inner
}
