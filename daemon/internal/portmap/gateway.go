package portmap

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// Gateway is the host's default router, and the host's own address towards it.
type Gateway struct{ Addr, Self netip.Addr }

// FindGateway reads the host's IPv4 default route with the lowest metric from the main table. Routes of an exit node are in
// another, and are not asked.
func FindGateway() (Gateway, error) {
	rib, err := syscall.NetlinkRIB(syscall.RTM_GETROUTE, syscall.AF_INET)
	if err != nil {
		return Gateway{}, fmt.Errorf("the host's routes cannot be read: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return Gateway{}, fmt.Errorf("the host's routes cannot be read: %w", err)
	}
	var best struct {
		via    netip.Addr
		index  int
		metric uint32
	}
	for i := range messages {
		m := &messages[i]
		// struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type (rtnetlink(7))
		if m.Header.Type != syscall.RTM_NEWROUTE || len(m.Data) < syscall.SizeofRtMsg || m.Data[1] != 0 || m.Data[4] != syscall.RT_TABLE_MAIN || m.Data[7] != syscall.RTN_UNICAST {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			continue
		}
		var via netip.Addr
		var index int
		var metric uint32
		for _, a := range attrs {
			switch {
			case a.Attr.Type == syscall.RTA_GATEWAY && len(a.Value) == 4:
				via = netip.AddrFrom4([4]byte(a.Value))
			case a.Attr.Type == syscall.RTA_OIF && len(a.Value) == 4:
				index = int(binary.NativeEndian.Uint32(a.Value))
			case a.Attr.Type == syscall.RTA_PRIORITY && len(a.Value) == 4:
				metric = binary.NativeEndian.Uint32(a.Value)
			}
		}
		if via.IsValid() && index != 0 && (!best.via.IsValid() || metric < best.metric) {
			best.via, best.index, best.metric = via, index, metric
		}
	}
	if !best.via.IsValid() {
		return Gateway{}, fmt.Errorf("this host has no IPv4 default route")
	}
	self, err := addressOn(best.index, best.via)
	return Gateway{best.via, self}, err
}

// addressOn gives the interface's address in the gateway's subnet, or else its first.
func addressOn(index int, via netip.Addr) (netip.Addr, error) {
	ifi, err := net.InterfaceByIndex(index)
	if err != nil {
		return netip.Addr{}, err
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return netip.Addr{}, err
	}
	var first netip.Addr
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || !p.Addr().Is4() {
			continue
		}
		if p.Contains(via) {
			return p.Addr(), nil
		}
		if !first.IsValid() {
			first = p.Addr()
		}
	}
	if !first.IsValid() {
		return first, fmt.Errorf("%s has no IPv4 address", ifi.Name)
	}
	return first, nil
}
