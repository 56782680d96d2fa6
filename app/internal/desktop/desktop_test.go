package desktop

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Desktops say in several places whether they are dark, and the plainest word counts.
func TestADarkDesktopIsKnown(t *testing.T) {
	for _, c := range []struct {
		is   scheme
		want bool
	}{
		{scheme{}, false},
		{scheme{portal: preferDark}, true},
		{scheme{portal: preferDark, forced: "Adwaita", xfce: "Adwaita"}, true},
		{scheme{portal: 2, forced: "Adwaita:dark", xfce: "Adwaita-dark", gtk: gtkSettings{preferDark: true}}, false},
		{scheme{forced: "Adwaita:dark"}, true},
		{scheme{forced: "Adwaita", xfce: "Greybird-dark"}, false},
		{scheme{xfce: "Greybird-dark"}, true},
		{scheme{xfce: "Greybird", gtk: gtkSettings{theme: "Arc-Dark"}}, false}, // the desktop's own goes before the file
		{scheme{xfce: "Greybird", gtk: gtkSettings{preferDark: true}}, true},
		{scheme{gtk: gtkSettings{theme: "Arc-Dark"}}, true},
	} {
		if got := c.is.dark(); got != c.want {
			t.Errorf("%+v: dark is %t", c.is, got)
		}
	}
	for name, want := range map[string]bool{
		"": false, "Adwaita": false, "Adwaita-dark": true, "Arc-Dark": true, "Arc-Darker": false, "Mint-Y-Dark-Aqua": true, "Yaru-blue-dark": true,
		"HighContrast": false, "HighContrastInverse": true, "Darkness": false, "Materia-dark-compact": true, "Adwaita:dark": true, "Numix_Dark": true,
	} {
		if darkTheme(name) != want {
			t.Errorf("%q: dark is %t", name, !want)
		}
	}
}

func TestGTKsOwnSettingsAreRead(t *testing.T) {
	for text, want := range map[string]gtkSettings{
		"": {}, "nonsense\x00=\n[": {},
		"[Settings]\ngtk-theme-name=Arc-Dark\n":                                                    {theme: "Arc-Dark"},
		"[Settings]\r\n gtk-application-prefer-dark-theme = true\r\ngtk-theme-name = Greybird\r\n": {"Greybird", true},
		"[Settings]\ngtk-application-prefer-dark-theme=1":                                          {preferDark: true},
		"[Settings]\ngtk-application-prefer-dark-theme=0\n#gtk-theme-name=x":                       {},
		"gtk-theme-name=Arc-Dark\n[Other]\ngtk-application-prefer-dark-theme=1":                    {},
	} {
		if got := parseGTK(text); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
	home := t.TempDir()
	write := func(dir, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Join(home, dir), 0o700), os.WriteFile(filepath.Join(home, dir, "settings.ini"), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write(".config/gtk-4.0", "[Settings]\ngtk-theme-name=four")
	if got := readGTK([]string{"HOME=" + home}); got.theme != "four" {
		t.Errorf("the newer file alone: %+v", got)
	}
	write(".config/gtk-3.0", "[Settings]\ngtk-theme-name=three")
	write("elsewhere/gtk-3.0", "[Settings]\ngtk-theme-name=elsewhere")
	for where, want := range map[string]string{"": "three", "relative": "three", filepath.Join(home, "elsewhere"): "elsewhere", filepath.Join(home, "none"): ""} {
		if got := readGTK([]string{"HOME=" + home, "XDG_CONFIG_HOME=" + where}); got.theme != want {
			t.Errorf("%q: %+v", where, got)
		}
	}
	if got := readGTK(nil); got != (gtkSettings{}) {
		t.Errorf("without a home: %+v", got)
	}
}

func TestWithoutASessionBusPeopleReadWhatToDo(t *testing.T) {
	for _, environ := range [][]string{
		nil, {"XDG_RUNTIME_DIR=relative"}, {"XDG_RUNTIME_DIR=" + t.TempDir()}, {"DBUS_SESSION_BUS_ADDRESS=unix:path=/no/such/bus"}, {"DBUS_SESSION_BUS_ADDRESS=nonsense"},
	} {
		d, err := Connect(context.Background(), environ)
		if !errors.Is(err, ErrNoBus) || !strings.Contains(err.Error(), "dbus-run-session") {
			t.Errorf("%q: %v, %v", environ, d, err)
		}
	}
}
