package router

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// view is what was seen of the host's network. It tells messages that change something from the many that repeat
// what is known: router advertisements, wireless scans, statistics.
type view struct {
	name  string               // of our interface
	own   int                  // its index; 0: not there
	facts map[string]string    // what is so, by what it is about
	addrs map[int]map[any]bool // addresses by link: a link without any is not our network
	told  func() told          // what Apply was told, and has seen, last
}

// snapshot reads the view anew.
func (r *Router) snapshot() (*view, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := &view{name: r.name, facts: make(map[string]string), addrs: make(map[int]map[any]bool), told: r.told}
	if r.handle == nil {
		return v, nil
	}
	for _, dump := range []struct {
		ask, answer int
		body        nl.NetlinkRequestData
	}{
		{unix.RTM_GETLINK, unix.RTM_NEWLINK, nl.NewIfInfomsg(unix.AF_UNSPEC)},
		{unix.RTM_GETADDR, unix.RTM_NEWADDR, nl.NewIfAddrmsg(unix.AF_UNSPEC)},
		{unix.RTM_GETROUTE, unix.RTM_NEWROUTE, nl.NewRtMsg()},
	} {
		msgs, err := again(func() ([][]byte, error) {
			req := nl.NewNetlinkRequest(dump.ask, unix.NLM_F_DUMP)
			req.AddData(dump.body)
			return req.Execute(unix.NETLINK_ROUTE, uint16(dump.answer))
		})
		if err != nil {
			return nil, explain("look at the network", err)
		}
		for _, m := range msgs {
			v.observe(syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: uint16(dump.answer)}, Data: m})
		}
	}
	return v, nil
}

// observe takes a message in, and says what it changed.
func (v *view) observe(m syscall.NetlinkMessage) Event {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return v.link(m.Data, m.Header.Type == unix.RTM_DELLINK)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return v.addr(m.Data, m.Header.Type == unix.RTM_DELADDR)
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		return v.rule()
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return v.route(m.Data, m.Header.Type == unix.RTM_DELROUTE)
	}
	return Event{}
}

// set notes a fact ("" is none) and reports whether it was another.
func (v *view) set(about, fact string) bool {
	was := v.facts[about]
	if fact == "" {
		delete(v.facts, about)
	} else {
		v.facts[about] = fact
	}
	return was != fact
}

func (v *view) link(data []byte, gone bool) Event {
	if len(data) < unix.SizeofIfInfomsg {
		return Event{}
	}
	msg := nl.DeserializeIfInfomsg(data)
	attrs, err := nl.ParseRouteAttr(data[msg.Len():])
	if err != nil || msg.Family != unix.AF_UNSPEC { // bridges repeat their ports with another family
		return Event{}
	}
	index, state := int(msg.Index), fmt.Sprint(msg.Flags&(unix.IFF_UP|unix.IFF_RUNNING))
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFLA_IFNAME:
			if name := strings.TrimRight(string(a.Value), "\x00"); name == v.name && !gone {
				v.own = index
			}
		case unix.IFLA_MTU:
			if len(a.Value) == 4 {
				state += fmt.Sprint(" mtu ", binary.NativeEndian.Uint32(a.Value))
			}
		}
	}
	if gone {
		state = ""
	}
	changed := v.set(fmt.Sprint("link ", index), state)
	known := len(v.addrs[index]) > 0
	if gone {
		delete(v.addrs, index)
	}
	if index == v.own {
		if gone {
			v.own = 0
		}
		return Event{Own: changed}
	}
	// With a link that goes down the kernel drops its IPv4 routes, and says so of none: a rival may have been among them.
	down := gone || msg.Flags&unix.IFF_UP == 0
	mine := down && v.told().rivals || len(v.told().offers) > 0
	return Event{Own: changed && mine, Network: changed && known}
}

func (v *view) addr(data []byte, gone bool) Event {
	if len(data) < unix.SizeofIfAddrmsg {
		return Event{}
	}
	msg := nl.DeserializeIfAddrmsg(data)
	attrs, err := nl.ParseRouteAttr(data[msg.Len():])
	if err != nil {
		return Event{}
	}
	var a netip.Addr
	flags := uint32(msg.Flags)
	for _, attr := range attrs {
		switch attr.Attr.Type {
		case unix.IFA_LOCAL:
			a, _ = netip.AddrFromSlice(attr.Value)
		case unix.IFA_ADDRESS:
			if !a.IsValid() { // of a point-to-point link it is the other end
				a, _ = netip.AddrFromSlice(attr.Value)
			}
		case unix.IFA_FLAGS:
			if len(attr.Value) == 4 {
				flags = binary.NativeEndian.Uint32(attr.Value)
			}
		}
	}
	index := int(msg.Index)
	if !a.IsValid() || a.IsLinkLocalUnicast() || a.IsLoopback() {
		return Event{}
	}
	// An address serves only once duplicate detection is over: that is a change too.
	state := fmt.Sprint(a, "/", msg.Prefixlen, " ", flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED))
	if gone {
		state = ""
		delete(v.addrs[index], a)
	} else {
		if v.addrs[index] == nil {
			v.addrs[index] = make(map[any]bool)
		}
		v.addrs[index][a] = true
	}
	changed := v.set(fmt.Sprint("addr ", index, " ", a), state)
	// What the host is attached to decides what our rules leave to it.
	return Event{Own: changed && (index == v.own || v.told().detour || len(v.told().offers) > 0), Network: changed && index != v.own}
}

// rule takes note of nothing: whatever changed, Apply looks whether ours are there.
func (v *view) rule() Event { return Event{Own: v.told().detour} }

func (v *view) route(data []byte, gone bool) Event {
	if len(data) < unix.SizeofRtMsg {
		return Event{}
	}
	msg := nl.DeserializeRtMsg(data)
	if msg.Flags&unix.RTM_F_CLONED != 0 || msg.Table == unix.RT_TABLE_LOCAL {
		return Event{}
	}
	attrs, err := nl.ParseRouteAttr(data[msg.Len():])
	if err != nil {
		return Event{}
	}
	var dst netip.Prefix
	var index, metric int
	table, via := uint32(msg.Table), ""
	for _, a := range attrs {
		switch {
		case a.Attr.Type == unix.RTA_DST:
			ip, _ := netip.AddrFromSlice(a.Value)
			dst = netip.PrefixFrom(ip, int(msg.Dst_len))
		case a.Attr.Type == unix.RTA_GATEWAY, a.Attr.Type == unix.RTA_MULTIPATH, a.Attr.Type == unix.RTA_VIA:
			via += fmt.Sprintf("via %x ", a.Value)
		case len(a.Value) != 4:
		case a.Attr.Type == unix.RTA_OIF:
			index = int(binary.NativeEndian.Uint32(a.Value))
		case a.Attr.Type == unix.RTA_PRIORITY:
			metric = int(binary.NativeEndian.Uint32(a.Value))
		case a.Attr.Type == unix.RTA_TABLE:
			table = binary.NativeEndian.Uint32(a.Value)
		}
	}
	if index != 0 && index == v.own && dst.IsSingleIP() && !slices.Contains(v.told().routes, dst) {
		return Event{} // Fit's: without it packets are small
	}
	if table == Table {
		return Event{Own: true}
	}
	if msg.Type != unix.RTN_UNICAST {
		return Event{}
	}
	own := index != 0 && index == v.own
	isDefault := !dst.IsValid() || dst.Bits() == 0
	if !own && !isDefault {
		return Event{Own: v.rival(dst)} // else it is neither ours nor the way out
	}
	state := fmt.Sprint(via, "dev ", index)
	if gone {
		state = ""
	}
	changed := v.set(fmt.Sprint("route ", msg.Family, " ", dst, " ", table, " ", metric, " ", msg.Tos), state)
	return Event{Own: changed && own, Network: changed && !own}
}

func (v *view) rival(dst netip.Prefix) bool {
	t := v.told()
	return slices.ContainsFunc(t.routes, dst.Overlaps) || slices.ContainsFunc(t.offers, dst.Overlaps)
}
