package dns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/daemon/internal/dns/hostmode"
	"github.com/warren-mesh/warren/daemon/internal/journal"
)

const (
	kindResolved journal.Kind    = "dns-resolved"
	resolvedPath dbus.ObjectPath = "/org/freedesktop/resolve1"
	resolvedMgr                  = "org.freedesktop.resolve1.Manager"
	resolvedLink                 = "org.freedesktop.resolve1.Link"
	uplinks                      = "/run/systemd/resolve/resolv.conf" // the servers of all links
)

// linkData names an interface so that no other can be meant.
type linkData struct {
	Link  string `json:"link"`
	Index int    `json:"index"`
}

// linkOf finds our interface.
func linkOf(name string) (linkData, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return linkData{}, fmt.Errorf("the interface %s is not there: %w", name, err)
	}
	return linkData{name, i.Index}, nil
}

// there reports whether the interface is still the one that was meant.
func (l linkData) there() bool {
	i, err := net.InterfaceByName(l.Link)
	return err == nil && i.Index == l.Index
}

// resolved is the host's DNS with systemd-resolved: settings of our interface, which go with it (org.freedesktop.resolve1(5)).
type resolved struct {
	records
	bus  *dbus.Conn
	link string
}

// busAddr is an address as systemd-resolved takes it.
type busAddr struct {
	Family int32
	Addr   []byte
}

// busDomain is a domain as systemd-resolved takes it.
type busDomain struct {
	Name    string
	Routing bool // only: it is no search domain
}

// maxDomains is for how many domains systemd-resolved asks us, and no others. It takes 1024 of one interface (256 before version
// 243), and a network may have more: then we are asked for everything, and ask the host's own nameservers for the rest.
const maxDomains = 250

func resolvedPlan(p hostmode.Plan) (addrs []busAddr, domains []busDomain, all bool) {
	for _, a := range p.Servers {
		family := int32(unix.AF_INET)
		if a.Is6() {
			family = unix.AF_INET6
		}
		addrs = append(addrs, busAddr{family, a.AsSlice()})
	}
	for _, s := range p.Search {
		domains = append(domains, busDomain{s, false})
	}
	if all = p.All; len(p.Search)+len(p.Routing) > maxDomains {
		all = true
	} else {
		for _, s := range p.Routing {
			domains = append(domains, busDomain{s, true})
		}
	}
	if all {
		domains = append(domains, busDomain{".", true})
	}
	return addrs, domains, all
}

func (r *resolved) set(ctx context.Context, p hostmode.Plan) error {
	link, err := linkOf(r.link)
	if err != nil {
		return err
	}
	if err := r.record(journal.Change{Kind: kindResolved, Data: link}); err != nil {
		return err
	}
	addrs, domains, all := resolvedPlan(p)
	for _, c := range []struct {
		method string
		arg    any
		newer  bool // not all versions have it, and most hosts do not need it
	}{
		{"SetLinkDNSOverTLS", "no", true}, // we are on this machine
		{"SetLinkDNSSECNegativeTrustAnchors", slices.Concat(list(p.Search), p.Routing), true}, // nobody signs the network's names
		{"SetLinkDNS", addrs, false}, {"SetLinkDomains", domains, false}, {"SetLinkDefaultRoute", all, false},
	} {
		r.step()
		if err := call(ctx, r.bus, busResolved, resolvedPath, resolvedMgr+"."+c.method, int32(link.Index), c.arg).Err; err != nil && !c.newer {
			return fmt.Errorf("systemd-resolved refuses %s: %w", c.method, err)
		}
	}
	r.flush(ctx)
	return nil
}

// flush lets systemd-resolved forget what it was told of names: they may be others now.
func (r *resolved) flush(ctx context.Context) {
	_ = call(ctx, r.bus, busResolved, resolvedPath, resolvedMgr+".FlushCaches").Err // answers are old for some seconds then
}

func (r *resolved) isSet(ctx context.Context, p hostmode.Plan) (bool, error) {
	link, err := linkOf(r.link)
	if err != nil {
		return false, err
	}
	var path dbus.ObjectPath
	if err := call(ctx, r.bus, busResolved, resolvedPath, resolvedMgr+".GetLink", int32(link.Index)).Store(&path); err != nil {
		return false, fmt.Errorf("systemd-resolved does not tell of %s: %w", r.link, err)
	}
	var addrs []busAddr
	var domains []busDomain
	var isDefault bool
	err = errors.Join(
		property(ctx, r.bus, busResolved, path, resolvedLink, "DNS", &addrs),
		property(ctx, r.bus, busResolved, path, resolvedLink, "Domains", &domains),
		property(ctx, r.bus, busResolved, path, resolvedLink, "DefaultRoute", &isDefault),
	)
	if err != nil {
		return false, fmt.Errorf("systemd-resolved does not tell of %s: %w", r.link, err)
	}
	wantAddrs, wantDomains, all := resolvedPlan(p)
	same := slices.EqualFunc(addrs, wantAddrs, func(a, b busAddr) bool { return a.Family == b.Family && slices.Equal(a.Addr, b.Addr) })
	return same && slices.Equal(domains, wantDomains) && isDefault == all, nil
}

func (r *resolved) unset(ctx context.Context) error { return r.undo(ctx, undoing()) }

func (r *resolved) others(context.Context) []netip.AddrPort {
	text, _, _ := readConf(uplinks)
	return port53(hostmode.Parse(text).Servers)
}

// undoResolved reverts our interface. Where it is gone, or systemd-resolved is, the settings are too.
func undoResolved(ctx context.Context, raw json.RawMessage) error {
	var link linkData
	if err := json.Unmarshal(raw, &link); err != nil {
		return err
	}
	if !link.there() {
		return nil
	}
	conn, err := connectBus(ctx)
	switch {
	case errors.Is(err, errSilent):
		return err
	case err != nil:
		return nil //nolint:nilerr // no bus, no systemd-resolved
	}
	defer func() { _ = conn.Close() }()
	if runs, err := owned(ctx, conn, busResolved); err != nil || !runs {
		return err
	}
	if err := call(ctx, conn, busResolved, resolvedPath, resolvedMgr+".RevertLink", int32(link.Index)).Err; err != nil && link.there() {
		return fmt.Errorf("systemd-resolved does not revert %s: %w", link.Link, err)
	}
	return nil
}
