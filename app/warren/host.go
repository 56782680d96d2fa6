package main

import (
	"bufio"
	"encoding/hex"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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
}

// clock is the system's, and whether anything keeps it right.
type clock struct {
	now    time.Time
	synced bool
}

// link is a network interface.
type link struct {
	name  string
	mtu   int
	all   bool // a route to everywhere goes through it
	addrs []netip.Prefix
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
		links:     links(dir),
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

// links lists the interfaces with their IPv4 addresses, as far as routes tell them: what conflicts is a network, and each
// network has a route.
func links(dir string) (all []link) {
	names, _ := os.ReadDir(filepath.Join(dir, "/sys/class/net"))
	routes := routesOf(filepath.Join(dir, "/proc/net/route"))
	for _, n := range names {
		l := link{name: n.Name()}
		text, _ := os.ReadFile(filepath.Join(dir, "/sys/class/net", n.Name(), "mtu"))
		l.mtu, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		for _, to := range routes[l.name] {
			if to.Bits() <= 1 { // VPNs halve the default route, to win over it
				l.all = true
				continue
			}
			l.addrs = append(l.addrs, to)
		}
		all = append(all, l)
	}
	return all
}

// routesOf reads /proc/net/route: numbers in hexadecimal, in the machine's order of bytes (little-endian on all that we run on).
func routesOf(path string) map[string][]netip.Prefix {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	routes := map[string][]netip.Prefix{}
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 8 {
			continue
		}
		to, err1 := hex.DecodeString(fields[1])
		mask, err2 := hex.DecodeString(fields[7])
		if err1 != nil || err2 != nil || len(to) != 4 || len(mask) != 4 {
			continue
		}
		bits := 0
		for _, b := range mask {
			for ; b != 0; b &= b - 1 {
				bits++
			}
		}
		slices.Reverse(to)
		routes[fields[0]] = append(routes[fields[0]], netip.PrefixFrom(netip.AddrFrom4([4]byte(to)), bits))
	}
	return routes
}
