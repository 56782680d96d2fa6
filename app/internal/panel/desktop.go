package panel

import (
	"context"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"
)

// settings are those of the desktop's portal.
type settings struct{ p *Panel }

// Read is org.freedesktop.portal.Settings'.
func (s settings) Read(space, key string) (dbus.Variant, *dbus.Error) {
	if space != "org.freedesktop.appearance" || key != "color-scheme" {
		return dbus.Variant{}, dbus.NewError("org.freedesktop.portal.Error.NotFound", nil)
	}
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return dbus.MakeVariant(dbus.MakeVariant(s.p.scheme)), nil
}

// SetDark has the desktop be dark, or light.
func (p *Panel) SetDark(dark bool) error {
	p.mu.Lock()
	p.scheme = 2
	if dark {
		p.scheme = 1
	}
	scheme := dbus.MakeVariant(p.scheme)
	p.mu.Unlock()
	return p.conn.Emit("/org/freedesktop/portal/desktop", "org.freedesktop.portal.Settings.SettingChanged", "org.freedesktop.appearance", "color-scheme", scheme)
}

// xfconf are Xfce's settings.
type xfconf struct{ p *Panel }

// GetProperty is org.xfce.Xfconf's.
func (x xfconf) GetProperty(channel, property string) (dbus.Variant, *dbus.Error) {
	x.p.mu.Lock()
	defer x.p.mu.Unlock()
	if channel != "xsettings" || property != "/Net/ThemeName" || x.p.theme == "" {
		return dbus.Variant{}, dbus.NewError("org.xfce.Xfconf.Error.PropertyNotFound", nil)
	}
	return dbus.MakeVariant(x.p.theme), nil
}

// SetTheme has Xfce's desktop have a theme.
func (p *Panel) SetTheme(name string) error {
	p.mu.Lock()
	p.theme = name
	p.mu.Unlock()
	return p.conn.Emit("/org/xfce/Xfconf", "org.xfce.Xfconf.PropertyChanged", "xsettings", "/Net/ThemeName", dbus.MakeVariant(name))
}

type notes struct{ p *Panel }

// Notify is the notification daemon's.
func (n notes) Notify(_ string, replaces uint32, _, summary, body string, actions []string, _ map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	n.p.edit(func() {
		n.p.shown.Notes = append(n.p.shown.Notes, strings.TrimSpace(summary+"\n"+body))
		if replaces == 0 {
			n.p.last++
			replaces = n.p.last
		}
		n.p.buttons[replaces] = actions
	})
	return replaces, nil
}

// CloseNotification is the notification daemon's.
func (n notes) CloseNotification(id uint32) *dbus.Error {
	n.p.edit(func() { delete(n.p.buttons, id) })
	return nil
}

// Press waits for a notification with a button, and presses it.
func (p *Panel) Press(ctx context.Context, button string) error {
	id, key := uint32(0), ""
	_, err := p.Await(ctx, func(Shown) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for of, actions := range p.buttons {
			for i := 0; i+1 < len(actions); i += 2 {
				if actions[i+1] == button {
					id, key = of, actions[i]
				}
			}
		}
		return id != 0
	})
	if err != nil {
		return fmt.Errorf("there is no button %q: %w", button, err)
	}
	return p.conn.Emit("/org/freedesktop/Notifications", notifier+".ActionInvoked", id, key)
}

// GetCapabilities is the notification daemon's.
func (notes) GetCapabilities() ([]string, *dbus.Error) { return []string{"body", "actions"}, nil }
