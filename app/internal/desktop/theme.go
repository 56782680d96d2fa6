package desktop

import (
	"context"

	"github.com/godbus/dbus/v5"
)

// Of the desktop's portal.
const (
	portal         = "org.freedesktop.portal.Desktop"
	portalPath     = dbus.ObjectPath("/org/freedesktop/portal/desktop")
	portalSettings = "org.freedesktop.portal.Settings"
	appearance     = "org.freedesktop.appearance"
	colorScheme    = "color-scheme"
	preferDark     = uint32(1)
)

// FollowTheme tells whether the desktop is dark, now and whenever that changes, until ctx ends. A desktop that does not say
// is not.
func (d *Desktop) FollowTheme(ctx context.Context, tell func(dark bool)) {
	signals := make(chan *dbus.Signal, 16)
	d.conn.Signal(signals)
	defer d.conn.RemoveSignal(signals)
	match := []dbus.MatchOption{
		dbus.WithMatchSender(portal), dbus.WithMatchInterface(portalSettings), dbus.WithMatchMember("SettingChanged"),
		dbus.WithMatchArg(0, appearance), dbus.WithMatchArg(1, colorScheme),
	}
	if d.conn.AddMatchSignal(match...) == nil {
		defer func() { _ = d.conn.RemoveMatchSignal(match...) }()
	}
	ask, cancel := context.WithTimeout(ctx, askLimit)
	var now dbus.Variant
	err := d.conn.Object(portal, portalPath).CallWithContext(ask, portalSettings+".Read", 0, appearance, colorScheme).Store(&now)
	cancel()
	if err == nil {
		tell(dark(now))
	}
	for {
		select {
		case <-ctx.Done():
			return
		case s, ok := <-signals:
			if !ok {
				return
			}
			var space, key string
			var value dbus.Variant
			if s.Name == portalSettings+".SettingChanged" && dbus.Store(s.Body, &space, &key, &value) == nil && space == appearance && key == colorScheme {
				tell(dark(value))
			}
		}
	}
}

// dark reads a color-scheme, which Read wraps twice.
func dark(v dbus.Variant) bool {
	if inner, ok := v.Value().(dbus.Variant); ok {
		v = inner
	}
	scheme, _ := v.Value().(uint32)
	return scheme == preferDark
}
