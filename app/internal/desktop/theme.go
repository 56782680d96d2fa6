package desktop

import (
	"cmp"
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
)

// Of a color-scheme, as the portal has it.
const (
	noPreference = uint32(0)
	preferDark   = uint32(1)
)

// Of Xfce's settings.
const (
	xfconf      = "org.xfce.Xfconf"
	xfconfPath  = dbus.ObjectPath("/org/xfce/Xfconf")
	xsettings   = "xsettings" // the channel
	xfceTheme   = "/Net/ThemeName"
	changedXfce = xfconf + ".PropertyChanged"
)

// scheme is what a desktop says of light and dark, in several places.
type scheme struct {
	portal uint32 // a color-scheme
	forced string // GTK_THEME: whatever else is set
	xfce   string // a theme's name
	gtk    gtkSettings
}

// dark decides. A portal that has no preference is one that does not know: Xfce has a theme in its own place, and other desktops
// have theirs in GTK's.
func (s scheme) dark() bool {
	switch {
	case s.portal != noPreference:
		return s.portal == preferDark
	case s.forced != "":
		return darkTheme(s.forced)
	}
	return s.gtk.preferDark || darkTheme(cmp.Or(s.xfce, s.gtk.theme))
}

// FollowTheme tells whether the desktop is dark, as soon as it is and whenever that changes, until ctx ends. Until it has told,
// and where the desktop does not say, it is not.
func (d *Desktop) FollowTheme(ctx context.Context, tell func(dark bool)) {
	signals := make(chan *dbus.Signal, 16)
	d.conn.Signal(signals)
	defer d.conn.RemoveSignal(signals)
	for _, match := range [][]dbus.MatchOption{
		{
			dbus.WithMatchSender(portal), dbus.WithMatchInterface(portalSettings), dbus.WithMatchMember("SettingChanged"),
			dbus.WithMatchArg(0, appearance), dbus.WithMatchArg(1, colorScheme),
		},
		{
			dbus.WithMatchSender(xfconf), dbus.WithMatchInterface(xfconf), dbus.WithMatchMember("PropertyChanged"),
			dbus.WithMatchArg(0, xsettings), dbus.WithMatchArg(1, xfceTheme),
		},
	} {
		if d.conn.AddMatchSignal(match...) == nil {
			defer func() { _ = d.conn.RemoveMatchSignal(match...) }()
		}
	}
	now := d.scheme(ctx)
	for told := false; ; {
		if is := now.dark(); is != told {
			told = is
			tell(is)
		}
		select {
		case <-ctx.Done():
			return
		case s, ok := <-signals:
			if !ok {
				return
			}
			now.take(s)
		}
	}
}

// scheme asks all that may know.
func (d *Desktop) scheme(ctx context.Context) scheme {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	now := scheme{forced: env(d.environ, "GTK_THEME"), gtk: readGTK(d.environ)}
	var v dbus.Variant
	if d.conn.Object(xfconf, xfconfPath).CallWithContext(ctx, xfconf+".GetProperty", dbus.FlagNoAutoStart, xsettings, xfceTheme).Store(&v) == nil {
		now.xfce, _ = v.Value().(string)
	}
	if d.conn.Object(portal, portalPath).CallWithContext(ctx, portalSettings+".Read", 0, appearance, colorScheme).Store(&v) == nil {
		now.portal = preference(v)
	}
	return now
}

// take reads a change.
func (s *scheme) take(signal *dbus.Signal) {
	var space, key string
	var v dbus.Variant
	if dbus.Store(signal.Body, &space, &key, &v) != nil {
		return
	}
	switch {
	case signal.Name == portalSettings+".SettingChanged" && space == appearance && key == colorScheme:
		s.portal = preference(v)
	case signal.Name == changedXfce && space == xsettings && key == xfceTheme:
		s.xfce, _ = v.Value().(string)
	}
}

// preference reads a color-scheme, which Read wraps twice.
func preference(v dbus.Variant) uint32 {
	if inner, ok := v.Value().(dbus.Variant); ok {
		v = inner
	}
	is, _ := v.Value().(uint32)
	return is
}
