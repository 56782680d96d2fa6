package firewall

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
)

// hears is the text of the datagrams that came to a port.
func hears(t *testing.T, port string) func() []string {
	t.Helper()
	c, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return func() (texts []string) {
		buf := make([]byte, 65536)
		for {
			_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			n, _, err := c.ReadFrom(buf)
			if err != nil {
				slices.Sort(texts)
				return texts
			}
			texts = append(texts, string(buf[:min(n, 8)]))
		}
	}
}

// udpTo is UDP to a port with a text.
func udpTo(port uint16, text string) []byte {
	b := make([]byte, 8, 8+len(text))
	binary.BigEndian.PutUint16(b, 40000)
	binary.BigEndian.PutUint16(b[2:], port)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(text)))
	return append(b, text...)
}

// fragments cuts a packet into pieces of so many bytes after the header (a multiple of 8).
func fragments(p []byte, size int) (out [][]byte) {
	if p[0]>>4 == 4 {
		body := p[20:]
		for at := 0; at < len(body); at += size {
			end, flags := min(at+size, len(body)), uint16(0x2000)
			if end == len(body) {
				flags = 0
			}
			f := slices.Concat(p[:20], body[at:end])
			binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
			binary.BigEndian.PutUint16(f[6:], flags|uint16(at/8))
			binary.BigEndian.PutUint16(f[10:], 0)
			binary.BigEndian.PutUint16(f[10:], checksum(f[:20]))
			out = append(out, f)
		}
		return out
	}
	body := p[40:]
	for at := 0; at < len(body); at += size {
		end, more := min(at+size, len(body)), uint16(1)
		if end == len(body) {
			more = 0
		}
		h := []byte{p[6], 0, 0, 0, 0, 0, 0, p[3]}
		binary.BigEndian.PutUint16(h[2:], uint16(at)|more)
		f := slices.Concat(p[:40], h, body[at:end])
		f[6] = 44 // fragment header
		binary.BigEndian.PutUint16(f[4:], uint16(len(f)-40))
		out = append(out, f)
	}
	return out
}

// withOptions puts headers between IPv6's and the datagram's: hop by hop, and options for the destination.
func withOptions(p []byte) []byte {
	options := []byte{60, 0, 1, 4, 0, 0, 0, 0, p[6], 0, 1, 4, 0, 0, 0, 0} // each padded
	out := slices.Concat(p[:40], options, p[40:])
	out[6] = 0
	binary.BigEndian.PutUint16(out[4:], uint16(len(out)-40))
	return out
}

// mapped is an IPv4 address as programs write it for IPv6 sockets.
func mapped(a netip.Addr) netip.Addr { return netip.AddrFrom16(a.As16()) }

// TestOddPacketsAreWhatTheyAre: fragments, extension headers and forged sources, each also to a port that no rule lets in,
// and each without the filter first, where it does arrive if the kernel itself does not drop it.
func TestOddPacketsAreWhatTheyAre(t *testing.T) {
	w := newWire(t)
	sh(t, "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf."+tun+".rp_filter=0 net.ipv4.conf."+tun+".accept_local=1 net.ipv4.conf."+tun+".route_localnet=1 && ip route add default dev "+tun+" && ip -6 route add default dev "+tun)
	open, shut := hears(t, "7777"), hears(t, "7778")
	long := func(s string) string { return s + string(make([]byte, 3000)) }
	send := func(from, to netip.Addr, port uint16, text string) {
		w.send(t, ipPacket(from, to, 17, 7, udpTo(port, text)))
	}
	all := func() {
		for i, to := range []netip.Addr{host4, host6} {
			from, v := []netip.Addr{peer4, peer6}[i], string("46"[i])
			for _, port := range []uint16{7777, 7778} {
				send(from, to, port, "whole-"+v)
				for _, f := range fragments(ipPacket(from, to, 17, port, udpTo(port, long("parts-"+v))), 1208) {
					w.send(t, f)
				}
				send(to, to, port, "own-"+v)
			}
		}
		for _, port := range []uint16{7777, 7778} {
			w.send(t, withOptions(ipPacket(peer6, host6, 17, 7, udpTo(port, "opts-6"))))
			for _, from := range addrs("127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0", "169.254.1.1") {
				send(from, host4, port, "forged4")
			}
			for _, from := range append(addrs("::1", "ff02::1", "::", "fe80::7"), mapped(netip.MustParseAddr("127.0.0.1")), mapped(host4), mapped(peer4)) {
				send(from, host6, port, "forged6")
			}
			send(netip.MustParseAddr("100.64.0.77"), host4, port, "nobody-4")
		}
	}
	count := func(texts []string) map[string]int {
		m := make(map[string]int)
		for _, text := range texts {
			m[text[:min(len(text), 8)]]++
		}
		return m
	}
	all()
	before := count(open())
	shut()
	for _, text := range []string{"whole-4", "whole-6", "parts-4\x00", "parts-6\x00", "opts-6", "own-4", "forged4", "forged6", "nobody-4"} {
		if before[text] == 0 {
			t.Errorf("control: without a filter, %q does not arrive: %v", text, before)
		}
	}

	f := newFilter(t)
	everybody := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	rules := &coord.Filter{
		Sets: []coord.FilterSet{{Name: "all", Nets: everybody}},
		In:   []coord.FilterRule{{From: []string{"all"}, Allow: []coord.Service{{Proto: coord.ProtoUDP, First: 7777, Last: 7777}}}},
	}
	admit(t, f, rules)
	all()
	got, want := count(open()), map[string]int{"whole-4": 1, "whole-6": 1, "parts-4\x00": 1, "parts-6\x00": 1, "opts-6": 1, "nobody-4": 1}
	for text, n := range want {
		if got[text] != n {
			t.Errorf("granted: %q came %d times, want %d: %v", text, got[text], n, got)
		}
	}
	if len(got) != len(want) {
		t.Errorf("more than was granted came: %v", got)
	}
	if none := shut(); len(none) > 0 {
		t.Errorf("to a port that no rule lets in came %q", none)
	}
	if dropped(t, DropSpoofed) == 0 || dropped(t, DropDenied) < 5 {
		t.Errorf("counted: %v", f.Drops())
	}
	rules = &coord.Filter{Sets: slices.Clone(rules.Sets), In: rules.In}
	rules.Sets[0].Nets = prefixes(peer4.String()+"/32", peer6.String()+"/128")
	admit(t, f, rules)
	all()
	if got := count(open()); got["nobody-4"] != 0 || got["whole-4"] != 1 {
		t.Errorf("from those that the rule is for: %v", got)
	}
}

// dropped reads what was dropped, now.
func dropped(t *testing.T, reason string) uint64 {
	t.Helper()
	counts, err := readCounts()
	if err != nil {
		t.Fatal(err)
	}
	return counts[reason]
}

// icmpError is the error that a peer sends about a packet.
func icmpError(about []byte) []byte {
	if about[0]>>4 == 4 {
		return append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, about[:28]...)
	}
	return append([]byte{1, 4, 0, 0, 0, 0, 0, 0}, about[:48]...)
}

// TestErrorsComeInAboutKnownFlowsOnly: also where ICMP is granted, and where nothing is.
func TestErrorsComeInAboutKnownFlowsOnly(t *testing.T) {
	w := newWire(t)
	sh(t, "ip route add 100.64.0.0/10 dev "+tun+" && ip -6 route add fd77:1:2::/48 dev "+tun)
	f := newFilter(t)
	pings := &coord.Filter{
		Sets: []coord.FilterSet{{Name: "all", Nets: mesh}},
		In:   []coord.FilterRule{{From: []string{"all"}, Allow: []coord.Service{{Proto: coord.ProtoICMP}, {Proto: coord.ProtoICMPv6}}}},
	}
	for _, rules := range []*coord.Filter{{}, pings} {
		admit(t, f, rules)
		for i, from := range []netip.Addr{peer4, peer6} {
			own, icmp := []netip.Addr{host4, host6}[i], []uint8{coord.ProtoICMP, coord.ProtoICMPv6}[i]
			c, err := net.Dial("udp", net.JoinHostPort(from.String(), "9"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			_, text, _ := net.SplitHostPort(c.LocalAddr().String())
			port, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			about := func(port uint16) []byte {
				d := udpTo(9, "x")
				binary.BigEndian.PutUint16(d, port)
				return ipPacket(from, own, icmp, 7, icmpError(ipPacket(own, from, 17, 7, d)))
			}
			refused := func() bool {
				_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				_, err := c.Read(make([]byte, 9))
				return errors.Is(err, syscall.ECONNREFUSED)
			}
			was := dropped(t, DropUnasked)
			w.send(t, about(uint16(port)+1))
			if refused() {
				t.Errorf("an error about another flow arrived")
			}
			if n := dropped(t, DropUnasked); n != was+1 {
				t.Errorf("%d errors that nobody asked for are counted, were %d", n, was)
			}
			w.send(t, about(uint16(port)))
			if !refused() {
				t.Errorf("an error about a flow that this machine began does not arrive (%s)", from)
			}
		}
	}
}
