package firewall

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/warren-mesh/warren/daemon/internal/journal"
)

// Whether the host forwards as a whole, below /proc/sys. For IPv4 each link also has a switch of its own, and that of
// the link by which a packet comes in decides; for IPv6 this one does.
const (
	forward4 = "net/ipv4/conf/all/forwarding"
	forward6 = "net/ipv6/conf/all/forwarding"
)

// sysctl reads a setting; "" where the kernel has none.
func sysctl(path string) string {
	text, _ := os.ReadFile("/proc/sys/" + path)
	return strings.TrimSpace(string(text))
}

func setSysctl(path, value string) error {
	f, err := os.OpenFile("/proc/sys/"+path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// forwarding says of which families packets are forwarded.
type forwarding struct{ four, six bool }

func wantForwarding(r Rules) forwarding {
	return forwarding{
		four: slices.ContainsFunc(r.Routes, func(p netip.Prefix) bool { return unmap(p).Addr().Is4() }),
		six:  slices.ContainsFunc(r.Routes, func(p netip.Prefix) bool { return unmap(p).Addr().Is6() }),
	}
}

// opening says in h what forwards only because of us, now or after forward.
func (f *Firewall) opening(w forwarding, h *host) {
	if w.four && !h.forwards.four {
		for _, l := range h.links {
			path := "net/ipv4/conf/" + l + "/forwarding"
			if l != f.link && (sysctl(path) == "0" || f.recorded(journal.Change{Kind: kindSysctl, Data: link4(l)})) {
				h.opened = append(h.opened, l)
			}
		}
	}
	h.opened6 = w.six && (!h.forwards.six || f.recorded(journal.Change{Kind: kindSysctl, Data: all6}))
}

// link4 makes one link forward IPv4. The switch for the whole host would also change what redirects it accepts, and could
// not be taken back without asking who else relies on it by now (Docker turns it on, too).
func link4(link string) sysctlData {
	return sysctlData{Path: "net/ipv4/conf/" + link + "/forwarding", Was: "0", Set: "1", Unless: forward4}
}

var all6 = sysctlData{Path: forward6, Was: "0", Set: "1"}

// forward makes the host forward what is wanted.
func (f *Firewall) forward(w forwarding, links []string) error {
	if w.four && sysctl(forward4) == "0" {
		for _, l := range links {
			if sysctl(link4(l).Path) == "0" {
				if err := f.set(link4(l)); err != nil {
					return err
				}
			}
		}
	}
	if w.six {
		return f.forward6(links)
	}
	return nil
}

// forward6 is careful with router advertisements: a host that forwards ignores them, and forgets the default routes that
// it has from them, unless accept_ra says 2 (linux, Documentation/networking/ip-sysctl.rst).
func (f *Firewall) forward6(links []string) error {
	links = append([]string{"default"}, links...)
	off := sysctl(forward6) == "0"
	byUs := off || f.recorded(journal.Change{Kind: kindSysctl, Data: all6})
	for _, l := range links {
		path := "net/ipv6/conf/" + l + "/accept_ra"
		if byUs && l != f.link && sysctl(path) == "1" {
			if err := f.set(sysctlData{Path: path, Was: "1", Set: "2"}); err != nil {
				return err
			}
		}
	}
	if !off {
		return nil
	}
	// The switch for all turns those of the links, on and later off. Which were on already is for later.
	var changes []journal.Change
	for _, l := range links {
		if path := "net/ipv6/conf/" + l + "/forwarding"; sysctl(path) == "1" {
			changes = append(changes, journal.Change{Kind: kindSysctl, Data: sysctlData{Path: path, Was: "1", Set: "0"}})
		}
	}
	if err := f.record(changes...); err != nil {
		return err
	}
	return f.set(all6)
}

// set makes a setting, journaled first.
func (f *Firewall) set(d sysctlData) error {
	if err := f.record(journal.Change{Kind: kindSysctl, Data: d}); err != nil {
		return err
	}
	f.step()
	if err := gone(setSysctl(d.Path, d.Set)); err != nil { // the link may have gone this moment
		return explain("let this host forward packets ("+d.Path+")", err)
	}
	return nil
}

// withdraw puts settings back that are not needed any more.
func (f *Firewall) withdraw(ctx context.Context, w forwarding) error {
	return f.undo(ctx, func(c journal.Change) bool {
		d, is := c.Data.(sysctlData)
		return is && (!w.four && strings.HasPrefix(d.Path, "net/ipv4/") || !w.six && strings.HasPrefix(d.Path, "net/ipv6/"))
	})
}
