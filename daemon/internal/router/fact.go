package router

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// factOf reads how the interface is. A dump that the kernel could not finish in one piece is asked for again.
func factOf(h *netlink.Handle, link netlink.Link) (fact, error) {
	attrs := link.Attrs()
	f := fact{index: attrs.Index, mtu: attrs.MTU, up: attrs.Flags&net.FlagUp != 0}
	addrs, err := again(func() ([]netlink.Addr, error) { return h.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return f, err
	}
	for _, a := range addrs {
		if p, ok := prefix(a.IPNet); ok && !p.Addr().IsLinkLocalUnicast() {
			f.addrs = append(f.addrs, p)
		}
	}
	filter := &netlink.Route{LinkIndex: f.index, Protocol: Protocol, Table: unix.RT_TABLE_MAIN}
	mask := netlink.RT_FILTER_OIF | netlink.RT_FILTER_PROTOCOL | netlink.RT_FILTER_TABLE
	routes, err := again(func() ([]netlink.Route, error) { return h.RouteListFiltered(netlink.FAMILY_ALL, filter, mask) })
	if err != nil {
		return f, err
	}
	for _, r := range routes {
		if p, ok := destination(&r); ok && r.LinkIndex == f.index && r.Protocol == Protocol {
			f.routes = append(f.routes, p)
		}
	}
	return f, nil
}

// again repeats a dump that changes interrupted (NLM_F_DUMP_INTR), a few times.
func again[T any](dump func() ([]T, error)) (all []T, err error) {
	for range 5 {
		if all, err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return all, err
}

// prefix converts what netlink gives; ok is false for what is no prefix.
func prefix(n *net.IPNet) (p netip.Prefix, ok bool) {
	if n == nil {
		return p, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, size := n.Mask.Size()
	if size == 32 {
		a = a.Unmap() // netlink gives 0.0.0.0/0 as an address of 16 bytes with a mask of 4
	}
	if !ok || size != a.BitLen() {
		return p, false
	}
	return unmap(netip.PrefixFrom(a, bits)), true
}

// destination gives where a route leads; a route without one is the default route of its family.
func destination(r *netlink.Route) (netip.Prefix, bool) {
	if r.Dst == nil {
		switch r.Family {
		case netlink.FAMILY_V4:
			return netip.PrefixFrom(netip.IPv4Unspecified(), 0), true
		case netlink.FAMILY_V6:
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0), true
		}
		return netip.Prefix{}, false
	}
	return prefix(r.Dst)
}

// hostWithoutIPv6 reports whether the host has IPv6 switched off, on this interface or altogether.
func hostWithoutIPv6(name string) bool {
	text, err := os.ReadFile("/proc/thread-self/net/if_inet6")
	if errors.Is(err, fs.ErrNotExist) {
		return true // ipv6.disable=1
	}
	_ = text
	text, err = os.ReadFile("/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6")
	return err == nil && strings.TrimSpace(string(text)) == "1"
}

func ipv4(ps []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(ps), func(p netip.Prefix) bool { return !p.Addr().Is4() })
}

// noFamily reports whether the kernel refused because IPv6 is off (EACCES is what it says for disable_ipv6).
func noFamily(err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP)
}

// gone makes no error of having nothing to remove.
func gone(err error) error {
	for _, nothing := range []error{unix.ESRCH, unix.EADDRNOTAVAIL, unix.ENODEV, unix.ENOENT} {
		if errors.Is(err, nothing) {
			return nil
		}
	}
	return err
}

// explain says what could not be done, and what to do where that is known.
func explain(what string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("no permission to %s: run warrend as root, or with CAP_NET_ADMIN: %w", what, err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("cannot %s: %w: %w", what, ErrNoInterface, err)
	}
	return fmt.Errorf("cannot %s: %w", what, err)
}
