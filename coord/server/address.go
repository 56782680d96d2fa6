package server

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/warren-mesh/warren/coord"
)

// HostKind says how far the host that a server chose for itself is of use.
type HostKind int

// Kinds of hosts.
const (
	HostName     HostKind = iota // a full name that leads to an address of this host
	HostPublic                   // an address of the internet
	HostPrivate                  // an address of a local network, or one behind a carrier's NAT
	HostLoopback                 // this host has no address that others could reach
)

// lookupTime is how long this host's own name may take to look up.
const lookupTime = 2 * time.Second

// OwnHost chooses what other machines can call this host, where nobody has said it: its full name, if it leads here, or
// else the address from which this host reaches the others. It sends nothing but the name to the resolver.
func OwnHost(ctx context.Context) (string, HostKind) {
	name, _ := os.Hostname()
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	var leads []netip.Addr
	if fullName(name) {
		ctx, cancel := context.WithTimeout(ctx, lookupTime)
		defer cancel()
		leads, _ = net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	}
	return chooseHost(name, leads, routedFrom(), OwnAddrs())
}

// chooseHost decides what OwnHost is to say, from where the name leads to, the addresses that packets to elsewhere have,
// the best first, and all of this host's.
func chooseHost(name string, leads, routed, own []netip.Addr) (string, HostKind) {
	isOwn := func(a netip.Addr) bool { return slices.Contains(own, a.Unmap()) }
	if fullName(name) && slices.ContainsFunc(leads, isOwn) {
		return name, HostName
	}
	for _, a := range slices.Concat(routed, own) {
		switch {
		case !isOwn(a):
		case isPrivate(a):
			return a.String(), HostPrivate
		default:
			return a.String(), HostPublic
		}
	}
	return "127.0.0.1", HostLoopback
}

// fullName reports whether a name may mean something beyond this host. One without a dot is at most known in one
// local network, and those that follow are nowhere in DNS (RFC 6762, RFC 6761).
func fullName(name string) bool {
	if _, _, err := coord.ParseServer("https://" + name); err != nil || !strings.Contains(name, ".") {
		return false
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return false
	}
	for _, end := range []string{".local", ".localhost", ".localdomain", ".invalid", ".test", ".example"} {
		if strings.HasSuffix(name, end) {
			return false
		}
	}
	return true
}

// leadsHere reports whether a URL that was chosen on an earlier start is still as good as the one that would be chosen now.
func leadsHere(before, now string) bool {
	b, err1 := url.Parse(before)
	n, err2 := url.Parse(now)
	if err1 != nil || err2 != nil || b.Port() != n.Port() {
		return false
	}
	if a, err := netip.ParseAddr(n.Hostname()); err == nil && a.IsLoopback() {
		return true // this host has no network at the moment, and will have again
	}
	a, err := netip.ParseAddr(b.Hostname())
	return err == nil && slices.Contains(OwnAddrs(), a)
}

// plainName reports whether a certificate can be for the name.
func plainName(name string) bool {
	_, _, err := coord.ParseServer("https://" + name)
	return err == nil && !strings.ContainsAny(name, ":/")
}

// shared is what carriers give to their customers (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

func isPrivate(a netip.Addr) bool { return a.IsPrivate() || shared.Contains(a) }

// routedFrom gives the addresses that packets to elsewhere leave with, IPv4 first: what the routing table says. To
// connect a UDP socket sends nothing; the addresses are from documentation (RFC 5737, RFC 3849).
func routedFrom() (found []netip.Addr) {
	for _, to := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		c, err := net.Dial("udp", to)
		if err != nil {
			continue
		}
		if a, ok := c.LocalAddr().(*net.UDPAddr); ok {
			found = append(found, a.AddrPort().Addr().Unmap())
		}
		_ = c.Close()
	}
	return found
}

// OwnAddrs gives the addresses of this host that others may reach: not those of loopback or of one link.
func OwnAddrs() (found []netip.Addr) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range all {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap().IsGlobalUnicast() {
			found = append(found, ip.Unmap())
		}
	}
	return found
}
