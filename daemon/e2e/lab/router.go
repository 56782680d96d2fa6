package lab

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// NAT says what a router does with the packets of its LAN.
type NAT int

const (
	// EasyNAT masquerades and keeps the port while it can: one socket has one public
	// port, whomever it talks to. Packets come in only from where some went out.
	EasyNAT NAT = iota
	// HardNAT masquerades with a new random port for every destination.
	HardNAT
	// Firewall gives the LAN public addresses, and lets in only answers.
	Firewall
	// NoNAT gives the LAN public addresses, and lets everything in.
	NoNAT
	// FullCone is an EasyNAT that lets everybody in to a port from which some packet went out.
	FullCone
	// Restricted is an EasyNAT that lets in, to such a port, any port of an address that packets went out to.
	Restricted
)

// public reports whether machines behind it have public IPv4 addresses.
func (k NAT) public() bool { return k == Firewall || k == NoNAT }

func (k NAT) String() string {
	return [...]string{"easy NAT", "hard NAT", "firewall", "no NAT", "full cone", "address-restricted NAT"}[k]
}

// Router is a machine with a segment of its own, its LAN, behind its public side.
// Its methods as a Machine concern the public side, those as a Segment the LAN.
type Router struct {
	*Machine
	*Segment
	nat     NAT
	number  int // of its LAN
	hairpin bool
}

// RouterOption changes a router from the usual.
type RouterOption func(*Router)

// LAN sets the LAN's IPv4 prefix, for instance to give two homes the same one.
func LAN(prefix string) RouterOption {
	return func(r *Router) { r.prefix = netip.MustParsePrefix(prefix) }
}

// WithIPv6 gives the LAN global IPv6 addresses, behind a stateful firewall (but NoNAT
// lets everything in there too).
func WithIPv6() RouterOption {
	return func(r *Router) {
		r.prefix6 = netip.MustParsePrefix(fmt.Sprintf("2001:db8:0:%d::/64", r.number))
	}
}

// Hairpin has a NAT lead packets from its LAN to its public address back into the LAN, with the public address of their
// sender (RFC 4787, section 6).
func Hairpin() RouterOption { return func(r *Router) { r.hairpin = true } }

// Router attaches a router with an empty LAN: 192.168.K.0/24 for the K-th, or public
// addresses out of 203.0.113.0/24 without NAT. Public addresses on the LAN, of either
// version, are only for routers on the internet itself.
func (s *Segment) Router(name string, nat NAT, options ...RouterOption) *Router {
	n := s.net
	n.t.Helper()
	m := n.addMachine(name, "wan", forwarding)
	n.mu.Lock()
	n.lans++
	k := n.lans
	n.mu.Unlock()
	lan := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(k), 0}), 24)
	if nat.public() {
		lan = netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(k * 16)}), 28)
	}
	r := &Router{
		Machine: m, nat: nat, number: k,
		Segment: &Segment{net: n, ns: m.ns, bridge: "lan", prefix: lan},
	}
	r.Segment.router = r
	m.behind = r
	for _, o := range options {
		o(r)
	}
	if (nat.public() || r.prefix6.IsValid()) && (s.router != nil || k > 15) {
		n.t.Fatalf("lab: %s needs public addresses on its LAN, which only the first 15 routers on the internet can have", name)
	}
	n.addSegment(r.Segment)
	n.must(ip(m.ns,
		"link set lo up",
		"link add lan type bridge",
		"link set lan up",
		fmt.Sprintf("addr add %v/%d dev lan", r.Gateway(), r.prefix.Bits()),
		fmt.Sprintf("addr add %s/64 dev lan nodad", linkLocal),
	))
	if r.prefix6.IsValid() {
		n.must(ip(m.ns, fmt.Sprintf("route add %v dev lan", r.prefix6)))
	}
	n.must(s.attach(m))
	n.must(nft(m.ns, r.rules()))
	return r
}

func (r *Router) net() *Net { return r.Machine.net }

// String returns the router's name and kind.
func (r *Router) String() string { return r.Machine.name + " (" + r.nat.String() + ")" }

// rules is the router's packet filter and NAT. Unasked packets to the router itself
// are dropped, as home routers do: an answer "port unreachable" would betray it, and
// a connection tracked to the router would take the port that a host behind it is
// about to use (the usual reason why hole punching fails through Linux).
func (r *Router) rules() string {
	admit := ""
	if r.nat == NoNAT {
		admit = "accept"
	}
	rules := fmt.Sprintf(`
table inet router {
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		iifname "lan" accept
		ct status dnat accept
		%s
	}
	chain input {
		type filter hook input priority filter; policy accept;
		iifname "wan" ct state established,related accept
		iifname "wan" meta l4proto { icmp, ipv6-icmp } accept
		iifname "wan" drop
	}
}
`, admit)
	masquerade := map[NAT]string{
		EasyNAT: "masquerade", HardNAT: "masquerade fully-random", FullCone: "masquerade", Restricted: "masquerade",
	}[r.nat]
	if masquerade == "" {
		return rules
	}
	return rules + r.translation(masquerade)
}

// translation is the router's NAT. Linux filters by address and port; what lets in more remembers who sent from which port (it
// keeps ports), and leads there what no connection is known for.
func (r *Router) translation(masquerade string) string {
	var maps, note, wan, lan, back string
	switch r.nat {
	case FullCone:
		note = "update @ports { udp sport timeout 2m : ip saddr }"
		wan = "iifname \"wan\" meta l4proto udp dnat to udp dport map @ports"
	case Restricted:
		maps = "map pairs { type ipv4_addr . inet_service : ipv4_addr; size 65535; flags dynamic,timeout; }"
		note = "update @pairs { ip daddr . udp sport timeout 2m : ip saddr }"
		wan = "iifname \"wan\" meta l4proto udp dnat to ip saddr . udp dport map @pairs"
	}
	if r.hairpin {
		note += "\n\t\toifname \"wan\" meta l4proto udp update @ports { udp sport timeout 2m : ip saddr }"
		lan = fmt.Sprintf("iifname \"lan\" ip daddr %v meta l4proto udp dnat to udp dport map @ports", r.Machine.addr)
		back = fmt.Sprintf("oifname \"lan\" ct status dnat ip saddr %v meta l4proto udp update @ports { udp sport timeout 2m : ip saddr } snat to %v", r.prefix.Masked(), r.Machine.addr)
	}
	if strings.HasPrefix(note, "update") {
		note = "oifname \"wan\" meta l4proto udp " + note
	}
	return fmt.Sprintf(`
table ip nat {
	map ports { type inet_service : ipv4_addr; size 65535; flags dynamic,timeout; }
	%s
	chain prerouting {
		type nat hook prerouting priority dstnat;
		%s
		%s
	}
	chain postrouting {
		type nat hook postrouting priority srcnat;
		%s
		%s
		oifname "wan" %s
	}
}
`, maps, wan, lan, back, note, masquerade)
}

// FlushConntrack makes the router forget every mapping, as a reboot does.
func (r *Router) FlushConntrack() {
	r.net().t.Helper()
	_, err := r.Run("conntrack", "-F")
	r.net().must(err)
}

// Mappings returns the router's connection tracking table, for messages.
func (r *Router) Mappings() string {
	out, err := r.Run("conntrack", "-L")
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(out)
}

// SetUDPTimeout sets after how many seconds without packets a UDP mapping ends; the
// kernel's default is 30 for one direction and 120 for both.
func (r *Router) SetUDPTimeout(d time.Duration) {
	r.net().t.Helper()
	seconds := strconv.Itoa(int(d.Seconds()))
	r.net().must(r.Do(func() error {
		return writeSettings(map[string]string{
			"netfilter/nf_conntrack_udp_timeout":        seconds,
			"netfilter/nf_conntrack_udp_timeout_stream": seconds,
		})
	}))
}
