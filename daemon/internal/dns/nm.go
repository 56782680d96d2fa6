package dns

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/warren-mesh/warren/daemon/internal/dns/hostmode"
	"github.com/warren-mesh/warren/daemon/internal/journal"
)

const (
	kindNM   journal.Kind    = "dns-networkmanager"
	nmPath   dbus.ObjectPath = "/org/freedesktop/NetworkManager"
	nmDNS    dbus.ObjectPath = "/org/freedesktop/NetworkManager/DnsManager"
	nmDevice                 = "org.freedesktop.NetworkManager.Device"
	nmGlobal                 = "GlobalDnsConfiguration"

	// nmIntern is where NetworkManager keeps that property over its restarts.
	nmIntern = "/var/lib/NetworkManager/NetworkManager-intern.conf"
)

// global is NetworkManager's DNS configuration for all connections: while it is set it stands for that of each.
type global struct {
	Searches []string                `json:"searches,omitempty"`
	Options  []string                `json:"options,omitempty"`
	Domains  map[string]globalDomain `json:"domains,omitempty"` // "*" is all names
}

type globalDomain struct {
	Servers []string `json:"servers,omitempty"`
	Options []string `json:"options,omitempty"`
}

type nmData struct {
	Servers []string `json:"servers"` // ours
	Before  global   `json:"before"`
	Devices []string `json:"devices"` // the nameservers of its devices, for while it does not run
}

// networkManager is the host's DNS with NetworkManager, through its global configuration. Nameservers for our interface
// alone would be tidier, but to take them NetworkManager makes the interface anew: routes go, addresses change.
type networkManager struct {
	records
	bus    *dbus.Conn
	link   string
	wrote  global // last; its searches are ours and then those of the other devices
	before global // what others set last
	noted  nmData // last
}

func readGlobal(ctx context.Context, bus *dbus.Conn) (g global, err error) {
	var raw map[string]dbus.Variant
	if err := property(ctx, bus, busNM, nmPath, busNM, nmGlobal, &raw); err != nil {
		return g, fmt.Errorf("NetworkManager does not tell its DNS configuration: %w", err)
	}
	field := func(m map[string]dbus.Variant, key string) (list []string) {
		if v, ok := m[key]; ok {
			_ = v.Store(&list)
		}
		return list
	}
	g.Searches, g.Options = field(raw, "searches"), field(raw, "options")
	var domains map[string]dbus.Variant
	if v, ok := raw["domains"]; ok {
		_ = v.Store(&domains)
	}
	for name, v := range domains {
		var d map[string]dbus.Variant
		_ = v.Store(&d)
		if g.Domains == nil {
			g.Domains = make(map[string]globalDomain)
		}
		g.Domains[name] = globalDomain{field(d, "servers"), field(d, "options")}
	}
	return g, nil
}

func (g global) write(ctx context.Context, bus *dbus.Conn) error {
	raw := map[string]dbus.Variant{}
	if len(g.Domains) > 0 {
		domains := map[string]dbus.Variant{}
		for name, d := range g.Domains {
			domains[name] = dbus.MakeVariant(map[string]dbus.Variant{"servers": dbus.MakeVariant(list(d.Servers)), "options": dbus.MakeVariant(list(d.Options))})
		}
		raw = map[string]dbus.Variant{
			"searches": dbus.MakeVariant(list(g.Searches)), "options": dbus.MakeVariant(list(g.Options)), "domains": dbus.MakeVariant(domains),
		}
	}
	err := call(ctx, bus, busNM, nmPath, "org.freedesktop.DBus.Properties.Set", busNM, nmGlobal, dbus.MakeVariant(raw)).Err
	if err != nil {
		return fmt.Errorf("NetworkManager refuses nameservers: %w", err)
	}
	return nil
}

func list(l []string) []string { return append([]string{}, l...) }

// has reports whether all names are asked of the servers.
func (g global) has(servers []string) bool { return slices.Equal(g.Domains["*"].Servers, servers) }

func serversOf(p hostmode.Plan) []string { return texts(p.Servers) }

func texts(addrs []netip.Addr) (out []string) {
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}

// want is how NetworkManager should be: we are asked, and bare names are tried in our domains and then in the others'.
func (n *networkManager) want(ctx context.Context, p hostmode.Plan) global {
	search := slices.Clone(p.Search)
	_, theirs := n.devices(ctx)
	for _, s := range theirs {
		if !slices.Contains(search, s) {
			search = append(search, s)
		}
	}
	return global{Searches: search, Domains: map[string]globalDomain{"*": {Servers: serversOf(p)}}}
}

func (n *networkManager) set(ctx context.Context, p hostmode.Plan) error {
	now, err := readGlobal(ctx, n.bus)
	if err != nil {
		return err
	}
	// Else it is ours, as it is to be, of an earlier daemon too, or as it was.
	if !now.has(serversOf(p)) && !now.has(n.wrote.Domains["*"].Servers) {
		n.before = now
	}
	if err := n.note(ctx, p); err != nil {
		return err
	}
	n.step()
	n.wrote = n.want(ctx, p)
	return n.wrote.write(ctx, n.bus)
}

// note journals how to give NetworkManager back what others set. What it replaces is done with.
func (n *networkManager) note(ctx context.Context, p hostmode.Plan) error {
	addrs, _ := n.devices(ctx)
	data := nmData{serversOf(p), n.before, texts(addrs)}
	if len(addrs) == 0 { // no network now, or no answer: those that were known may work again
		data.Devices = n.noted.Devices
	}
	if len(n.live) > 0 && reflect.DeepEqual(n.noted, data) {
		return nil
	}
	old := n.live
	n.live, n.data = nil, make(map[string]bool)
	if err := n.record(journal.Change{Kind: kindNM, Data: data}); err != nil {
		n.live = old
		return err
	}
	n.noted = data
	var done []journal.ID
	for _, e := range slices.Backward(old) {
		var was nmData
		if json.Unmarshal(e.Data, &was) == nil && slices.Equal(was.Servers, data.Servers) {
			done = append(done, e.ID)
		} else {
			n.live = slices.Insert(n.live, 0, e)
		}
	}
	return n.journal.Done(done...)
}

func (n *networkManager) isSet(ctx context.Context, p hostmode.Plan) (bool, error) {
	g, err := readGlobal(ctx, n.bus)
	return err == nil && g.has(serversOf(p)) && slices.Equal(g.Searches, n.wrote.Searches), err
}

// refresh follows the other devices' search domains and nameservers.
func (n *networkManager) refresh(ctx context.Context, p hostmode.Plan) error {
	if slices.Equal(n.want(ctx, p).Searches, n.wrote.Searches) {
		return n.note(ctx, p)
	}
	return n.set(ctx, p)
}

func (n *networkManager) unset(ctx context.Context) error { return n.undo(ctx, undoing()) }

// others are the nameservers of the devices, in the order in which NetworkManager ranks them.
func (n *networkManager) others(ctx context.Context) []netip.AddrPort {
	addrs, _ := n.devices(ctx)
	return port53(addrs)
}

// devices gathers what the other devices have of nameservers and search domains.
func (n *networkManager) devices(ctx context.Context) (addrs []netip.Addr, search []string) {
	var devices []dbus.ObjectPath
	if err := call(ctx, n.bus, busNM, nmPath, busNM+".GetDevices").Store(&devices); err != nil {
		return nil, nil
	}
	type ranked struct {
		priority int32
		addrs    []netip.Addr
		search   []string
	}
	var all []ranked
	for _, d := range devices[:min(len(devices), 64)] {
		var name string
		if property(ctx, n.bus, busNM, d, nmDevice, "Interface", &name) != nil || name == n.link {
			continue
		}
		device := name // a modem's is another than its link's
		if property(ctx, n.bus, busNM, d, nmDevice, "IpInterface", &device) != nil || device == "" {
			device = name
		}
		for _, family := range []string{"4", "6"} {
			iface := busNM + ".IP" + family + "Config"
			var config dbus.ObjectPath
			if property(ctx, n.bus, busNM, d, nmDevice, "Ip"+family+"Config", &config) != nil || config == "/" {
				continue
			}
			r := ranked{addrs: nameservers(ctx, n.bus, config, iface, device)}
			_ = property(ctx, n.bus, busNM, config, iface, "DnsPriority", &r.priority) // 0 before 1.4
			for _, key := range []string{"Searches", "Domains"} {
				var names []string
				_ = property(ctx, n.bus, busNM, config, iface, key, &names)
				r.search = append(r.search, names...)
			}
			all = append(all, r)
		}
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return cmp.Compare(a.priority, b.priority) })
	for _, r := range all {
		for _, a := range r.addrs {
			if !slices.Contains(addrs, a) {
				addrs = append(addrs, a)
			}
		}
		for _, s := range r.search {
			if s != "" && !strings.HasPrefix(s, "~") && !slices.Contains(search, s) {
				search = append(search, s)
			}
		}
	}
	return addrs, search
}

// nameservers reads those of one configuration, in whichever of its spellings there is.
func nameservers(ctx context.Context, bus *dbus.Conn, config dbus.ObjectPath, iface, device string) (addrs []netip.Addr) {
	var data []map[string]dbus.Variant
	if property(ctx, bus, busNM, config, iface, "NameserverData", &data) == nil {
		for _, d := range data {
			var s string
			_ = d["address"].Store(&s)
			if a, err := netip.ParseAddr(s); err == nil {
				addrs = append(addrs, onDevice(a, device))
			}
		}
		return addrs
	}
	var raw [][]byte
	if property(ctx, bus, busNM, config, iface, "Nameservers", &raw) == nil {
		for _, b := range raw {
			if a, ok := netip.AddrFromSlice(b); ok {
				addrs = append(addrs, onDevice(a, device))
			}
		}
	}
	return addrs
}

// onDevice says of a link-local address, as routers announce themselves (RFC 8106), on which link: it is none without.
func onDevice(a netip.Addr, device string) netip.Addr {
	if a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "" {
		return a.WithZone(device)
	}
	return a
}

// undoNM takes our nameservers out of NetworkManager, or of what it keeps on disk where it does not run. What others have
// set since stays.
func undoNM(ctx context.Context, raw json.RawMessage) error {
	var d nmData
	if err := json.Unmarshal(raw, &d); err != nil {
		return err
	}
	conn, err := connectBus(ctx)
	switch {
	case errors.Is(err, errSilent): // it may run, and would write its file again
		return err
	case err == nil:
		defer func() { _ = conn.Close() }()
		runs, err := owned(ctx, conn, busNM)
		if err != nil {
			return err
		}
		if runs {
			g, err := readGlobal(ctx, conn)
			if err != nil || !g.has(d.Servers) {
				return err
			}
			return d.Before.write(ctx, conn)
		}
	}
	if err := unnameUs(follow(confPath), d); err != nil {
		return err
	}
	text, missing, err := readConf(nmIntern)
	if err != nil || missing {
		return err
	}
	theirs := stripIntern(text, d.Servers)
	if theirs == text {
		return nil
	}
	if len(d.Before.Domains) > 0 {
		return errors.New("NetworkManager does not run, and had a DNS configuration of its own before: start it, then: sudo warrend recover")
	}
	return writeConf(nmIntern, theirs)
}

// unnameUs gives the host its own nameservers back in the resolv.conf that NetworkManager wrote, which is its to write anew.
func unnameUs(path string, d nmData) error {
	text, missing, err := readConf(path)
	if err != nil || missing {
		return err
	}
	var b strings.Builder
	done := false
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) != 2 || f[0] != "nameserver" || !slices.Contains(d.Servers, f[1]) {
			b.WriteString(line)
			continue
		}
		for _, s := range d.Devices {
			if !done {
				b.WriteString("nameserver " + s + "\n")
			}
		}
		done = true
	}
	if !done || hostmode.Marked(text) {
		return nil
	}
	return writeConf(path, b.String())
}

// stripIntern takes the global DNS configuration out of NetworkManager's own file, if it names our servers for all names.
func stripIntern(text string, servers []string) string {
	const section, all = "[.intern.global-dns", "[.intern.global-dns-domain-*]"
	var b strings.Builder
	in, ours := "", false
	for line := range strings.Lines(text) {
		bare := strings.TrimSpace(line)
		if strings.HasPrefix(bare, "[") {
			in = bare
		}
		if value, ok := strings.CutPrefix(bare, "servers="); ok && in == all {
			got := strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ';' || r == ' ' })
			ours = slices.Equal(got, servers)
		}
		if !strings.HasPrefix(in, section) {
			b.WriteString(line)
		}
	}
	if !ours {
		return text
	}
	return b.String()
}
