package main

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/ipc"
)

// host is what the doctor has seen of this machine: facts, without a verdict.
type host struct {
	tun       bool // there is a device to make interfaces with
	nft       bool // the kernel's packet filter is there, or can be loaded
	marked    bool // /etc/resolv.conf has lines of warrend's
	ufw       bool // is on
	firewalld bool // runs
	root      bool
	member    bool // of the group whose members may use warren
	clock     clock
	links     []link
	letIn     []portRange // of UDP, by the rules of ufw or firewalld
}

// portRange is from the first port to the last.
type portRange struct{ first, last uint16 }

// clock is the system's, and whether anything keeps it right.
type clock struct {
	now    time.Time
	synced bool
}

// link is a network interface.
type link struct {
	name  string
	mtu   int
	all   bool           // a route to everywhere goes through it
	addrs []netip.Prefix // that it leads to
}

// look gathers the facts. Files are read below dir, which is / but in tests.
func look(dir string, now time.Time) host {
	at := func(path string) string { return filepath.Join(dir, path) }
	h := host{
		nft:       loadable(dir, "nf_tables"),
		marked:    contains(at("/etc/resolv.conf"), "# BEGIN warren"),
		ufw:       contains(at("/etc/ufw/ufw.conf"), "\nENABLED=yes"),
		firewalld: there(at("/run/firewalld")) || there(at("/sys/fs/cgroup/system.slice/firewalld.service")),
		root:      os.Geteuid() == 0,
		member:    inGroup(ipc.Group),
		clock:     clock{now: now},
		links:     links(),
		letIn:     letIn(dir),
	}
	fi, err := os.Stat(at("/dev/net/tun"))
	h.tun = err == nil && fi.Mode()&os.ModeCharDevice != 0
	const unsynced = 0x40 // STA_UNSYNC of adjtimex(2)
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err == nil {
		h.clock.synced = t.Status&unsynced == 0
	}
	return h
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// contains looks for a text in a small file.
func contains(path, text string) bool {
	b, err := os.ReadFile(path)
	return err == nil && strings.Contains("\n"+string(b), text)
}

// loadable reports whether a module is loaded, built in, or there to be loaded.
func loadable(dir, module string) bool {
	if there(filepath.Join(dir, "/sys/module", module)) || there(filepath.Join(dir, "/proc/sys/net/netfilter")) {
		return true
	}
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	modules := filepath.Join(dir, "/lib/modules", unix.ByteSliceToString(u.Release[:]))
	return contains(filepath.Join(modules, "modules.builtin"), module) || contains(filepath.Join(modules, "modules.dep"), module)
}

func inGroup(name string) bool {
	g, err := user.LookupGroup(name)
	if err != nil {
		return false
	}
	ids, err := os.Getgroups()
	return err == nil && slices.ContainsFunc(ids, func(id int) bool { return strconv.Itoa(id) == g.Gid })
}

// links lists the interfaces with the networks that they lead to, by their addresses and by the routes of all tables: VPNs
// have tables of their own.
func links() (all []link) {
	interfaces, _ := net.Interfaces()
	routes := routes()
	for _, i := range interfaces {
		l := link{name: i.Name, mtu: i.MTU}
		if i.Flags&net.FlagLoopback != 0 {
			continue
		}
		for _, to := range routes[i.Index] {
			if to.Bits() <= 1 { // VPNs halve the default route, to win over it
				l.all = true
				continue
			}
			l.addrs = append(l.addrs, to)
		}
		own, _ := i.Addrs()
		for _, a := range own {
			if to, err := netip.ParsePrefix(a.String()); err == nil && !slices.Contains(l.addrs, to.Masked()) {
				l.addrs = append(l.addrs, to.Masked())
			}
		}
		all = append(all, l)
	}
	return all
}

// routes asks the kernel for the destinations of the routes of all tables, by the index of their interface; where the kernel
// itself is meant (its own addresses, broadcasts, black holes) there is none.
func routes() map[int][]netip.Prefix {
	all := map[int][]netip.Prefix{}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		text, err := syscall.NetlinkRIB(unix.RTM_GETROUTE, family)
		if err != nil {
			continue
		}
		messages, err := syscall.ParseNetlinkMessage(text)
		if err != nil {
			continue
		}
		for _, m := range messages {
			if index, to, ok := route(m); ok {
				all[index] = append(all[index], to)
			}
		}
	}
	return all
}

// route reads one route (rtnetlink(7)): the interface by which packets leave, and where they go.
func route(m syscall.NetlinkMessage) (index int, to netip.Prefix, ok bool) {
	if m.Header.Type != unix.RTM_NEWROUTE || len(m.Data) < unix.SizeofRtMsg {
		return 0, to, false
	}
	family, bits, kind := m.Data[0], int(m.Data[1]), m.Data[7]
	attrs, err := syscall.ParseNetlinkRouteAttr(&m)
	if err != nil || kind != unix.RTN_UNICAST {
		return 0, to, false
	}
	addr := netip.IPv4Unspecified()
	if family == unix.AF_INET6 {
		addr = netip.IPv6Unspecified()
	}
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.RTA_DST:
			if dst, ok := netip.AddrFromSlice(a.Value); ok {
				addr = dst
			}
		case unix.RTA_OIF:
			if len(a.Value) >= 4 {
				index = int(binary.NativeEndian.Uint32(a.Value))
			}
		}
	}
	to, err = addr.Prefix(bits)
	return index, to, err == nil && index != 0
}

// letIn are the UDP ports that ufw and firewalld were told to let in, as far as this user may read what they were told.
func letIn(dir string) (ports []portRange) {
	add := func(text string) {
		first, last, both := strings.Cut(strings.ReplaceAll(text, "-", ":"), ":")
		if !both {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err1 == nil && err2 == nil {
			ports = append(ports, portRange{uint16(from), uint16(to)})
		}
	}
	for _, rules := range []string{"user.rules", "user6.rules"} {
		text, _ := os.ReadFile(filepath.Join(dir, "/etc/ufw", rules))
		for _, m := range ufwAllows.FindAllStringSubmatch(string(text), -1) {
			for ports := range strings.SplitSeq(m[1], ",") {
				add(ports)
			}
		}
	}
	zones, _ := filepath.Glob(filepath.Join(dir, "/etc/firewalld/zones/*.xml"))
	for _, zone := range zones {
		text, _ := os.ReadFile(zone)
		for _, tag := range firewalldPort.FindAllString(string(text), -1) {
			if m := firewalldNumber.FindStringSubmatch(tag); m != nil && strings.Contains(tag, `protocol="udp"`) {
				add(m[1])
			}
		}
	}
	return ports
}

var (
	// A rule as ufw notes it: action, protocol, ports here, address here, ports there, address there, direction.
	ufwAllows       = regexp.MustCompile(`(?m)^### tuple ### allow (?:udp|any) ([0-9:,]+) (?:0\.0\.0\.0/0|::/0) any (?:0\.0\.0\.0/0|::/0) in(?: .*)?$`)
	firewalldPort   = regexp.MustCompile(`<port\s[^>]*>`)
	firewalldNumber = regexp.MustCompile(`port="([0-9-]+)"`)
)
