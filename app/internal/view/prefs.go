package view

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/warren-mesh/warren/ipc"
)

// preference is a switch that a person has, the same in menu and window.
type preference struct {
	key             string
	label, explains text
	on              func(*drawer) bool
	edit            func(*ipc.PrefsEdit, *bool)
	hidden          func(*drawer) bool // nil: never
}

// preferences are all switches of ipc.Prefs but those of exit nodes.
var preferences = []preference{
	{
		key: "accept-dns", label: textAcceptDNS, explains: textAcceptDNSExplains,
		on: func(d *drawer) bool { return !d.in.Prefs.IgnoreDNS }, edit: func(e *ipc.PrefsEdit, on *bool) { e.AcceptDNS = on },
	},
	{
		key: "accept-routes", label: textAcceptRoutes, explains: textAcceptRoutesExplains,
		on: func(d *drawer) bool { return d.in.Prefs.AcceptRoutes }, edit: func(e *ipc.PrefsEdit, on *bool) { e.AcceptRoutes = on },
		hidden: (*drawer).noLogin,
	},
	{
		key: "shields-up", label: textShields, explains: textShieldsExplains,
		on: func(d *drawer) bool { return d.in.Prefs.ShieldsUp }, edit: func(e *ipc.PrefsEdit, on *bool) { e.ShieldsUp = on },
	},
	{
		key: "snat", label: textSNAT, explains: textSNATExplains,
		on: func(d *drawer) bool { return !d.in.Prefs.NoSNAT }, edit: func(e *ipc.PrefsEdit, on *bool) { e.SNATSubnetRoutes = on },
		hidden: func(d *drawer) bool { return len(d.in.Prefs.AdvertiseRoutes) == 0 || d.noLogin() },
	},
	{
		key: "relay", label: textRelayFor, explains: textRelayForExplains,
		on: func(d *drawer) bool { return d.in.Prefs.Relay }, edit: func(e *ipc.PrefsEdit, on *bool) { e.Relay = on },
		hidden: (*drawer).noLogin,
	},
}

// exitPreferences are those of exit nodes.
var exitPreferences = []preference{
	{
		key: "allow-lan", label: textAllowLAN, explains: textAllowLANExplains,
		on: func(d *drawer) bool { return d.in.Prefs.ExitNodeAllowLAN }, edit: func(e *ipc.PrefsEdit, on *bool) { e.ExitNodeAllowLAN = on },
	},
	{
		key: "advertise-exit", label: textAdvertiseExit, explains: textAdvertiseExitExplains,
		on: func(d *drawer) bool { return d.in.Prefs.AdvertiseExitNode }, edit: func(e *ipc.PrefsEdit, on *bool) { e.AdvertiseExitNode = on },
	},
	{
		key: "lockdown", label: textLockdown, explains: textLockdownExplains,
		on: func(d *drawer) bool { return d.in.Prefs.Lockdown }, edit: func(e *ipc.PrefsEdit, on *bool) { e.Lockdown = on },
	},
}

// noLogin tells whether there is none that a preference could be of.
func (d *drawer) noLogin() bool {
	return d.s.State == ipc.StateNoServer || d.s.State == ipc.StateNeedsLogin
}

// set is what a switch's click asks for.
func (p *preference) set(on bool) Intent { return Intent{OpSet, p.key + "=" + position(on)} }

func position(on bool) string {
	if on {
		return On
	}
	return Off
}

// items are switches of a menu.
func (d *drawer) items(of []preference) []Item {
	var items []Item
	for i := range of {
		p := &of[i]
		on := p.on(d)
		items = append(items, Item{
			Key: p.key, Label: d.prefLabel(p), Toggle: ToggleCheck, Checked: on, Disabled: d.in.Busy,
			Hidden: p.hidden != nil && p.hidden(d), Do: p.set(!on),
		})
	}
	return items
}

// settings are switches of the window.
func (d *drawer) settings(of []preference) []Setting {
	var all []Setting
	for i := range of {
		p := &of[i]
		if p.hidden == nil || !p.hidden(d) {
			all = append(all, Setting{Label: d.prefLabel(p), Explains: d.say(p.explains), On: p.on(d), Disabled: d.in.Busy, Do: p.set(!p.on(d))})
		}
	}
	return all
}

// prefLabel names a switch. What an admin has to approve first says so.
func (d *drawer) prefLabel(p *preference) string {
	exit := func(o ipc.Offer) bool { return o.Route.Bits() == 0 && !o.Approved }
	waits := p.key == "advertise-exit" && slices.ContainsFunc(d.s.Self.Offers, exit) ||
		p.key == "relay" && d.s.Self.Relaying != nil && !d.s.Self.Relaying.Allowed
	if waits && p.on(d) {
		return d.say(textWaitsForAdmin, d.say(p.label))
	}
	return d.say(p.label)
}

// Field is a setting that is typed.
type Field struct {
	Key             string // Do is OpSet with Key=text
	Label, Explains string
	Value, Hint     string
	Disabled        bool
}

// fields are the preferences that are typed.
func (d *drawer) fields() []Field {
	p := &d.in.Prefs
	port := ""
	if p.Port != 0 {
		port = strconv.Itoa(int(p.Port))
	}
	var routes []string
	for _, r := range p.AdvertiseRoutes {
		routes = append(routes, r.String())
	}
	all := []Field{
		{"hostname", d.say(textHostname), d.say(textHostnameExplains), bare(p.Hostname, maxLong), bare(d.s.Self.Name, maxShort), d.in.Busy},
		{"port", d.say(textPort), d.say(textPortExplains), port, d.say(textPortHint), d.in.Busy},
	}
	if !d.noLogin() {
		if p.Relay {
			rate := ""
			if p.RelayRate > 0 {
				rate = strconv.FormatFloat(float64(p.RelayRate)/ipc.Megabit, 'f', -1, 64)
			}
			all = append(all, Field{"relay-rate", d.say(textRelayRate), d.say(textRelayRateExplains), rate, d.say(textRelayRateHint), d.in.Busy})
		}
		all = append(all, Field{"advertise-routes", d.say(textOfferRoutes), d.say(textOfferRoutesExplains), strings.Join(routes, ", "), "192.168.1.0/24", d.in.Busy})
	}
	return all
}

// Edit is what OpSet's argument, KEY=VALUE, asks of the daemon. Its error is a sentence for people.
func (l Language) Edit(arg string) (ipc.PrefsEdit, *ipc.Error) {
	var e ipc.PrefsEdit
	key, value, _ := strings.Cut(arg, "=")
	value = strings.TrimSpace(value)
	for _, p := range slices.Concat(preferences, exitPreferences) {
		if p.key == key && (value == On || value == Off) {
			on := value == On
			p.edit(&e, &on)
			return e, nil
		}
	}
	switch key {
	case "hostname":
		e.Hostname = &value
		return e, nil
	case "port":
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil && value != "" {
			return e, l.said(ipc.CodeBadRequest, textBadPort, short(value))
		}
		port := uint16(n)
		e.Port = &port
		return e, nil
	case "relay-rate":
		n, err := strconv.ParseFloat(strings.Replace(value, ",", ".", 1), 64)
		rate := int64(n * ipc.Megabit)
		if value != "" && (err != nil || n != 0 && !(rate >= ipc.MinRelayRate && rate <= ipc.MaxRelayRate)) {
			return e, l.said(ipc.CodeBadRequest, textBadRate, short(value))
		}
		e.RelayRate = &rate
		return e, nil
	case "advertise-routes":
		routes := []netip.Prefix{}
		for _, word := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == ';' }) {
			route, err := netip.ParsePrefix(word)
			if err != nil {
				return e, l.said(ipc.CodeBadRequest, textBadRoute, short(word))
			}
			routes = append(routes, route.Masked())
		}
		e.AdvertiseRoutes = &routes
		return e, nil
	}
	return e, l.said(ipc.CodeBadRequest, textBadSetting, short(arg))
}

// preferencesMenu are the settings that people change daily.
func (d *drawer) preferencesMenu() Item {
	items := append(d.items(preferences), Item{
		Key: "autostart", Label: d.say(textAutostart), Toggle: ToggleCheck, Checked: d.in.Autostart == On, Hidden: d.in.Autostart == "",
		Do: Intent{OpAutostart, other(d.in.Autostart == On)},
	})
	if d.in.Windows {
		items = append(items, separator("settings"), Item{Key: "settings", Label: d.say(textAllSettings), Do: Intent{OpOpen, string(PageSettings)}})
	}
	return Item{Key: "preferences", Label: d.say(textPreferences), Items: items}
}
