package desktop

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// maxSettings bounds GTK's file of settings, in bytes.
const maxSettings = 64 << 10

// gtkSettings are those of GTK's settings.ini that tell dark from light.
type gtkSettings struct {
	theme      string
	preferDark bool
}

// readGTK reads a person's own file: the newer GTK's only where there is none of the one that most desktops have.
func readGTK(environ []string) gtkSettings {
	config := env(environ, "XDG_CONFIG_HOME")
	if home := env(environ, "HOME"); !filepath.IsAbs(config) && filepath.IsAbs(home) {
		config = filepath.Join(home, ".config")
	}
	if !filepath.IsAbs(config) {
		return gtkSettings{}
	}
	for _, version := range []string{"gtk-3.0", "gtk-4.0"} {
		file, err := os.Open(filepath.Join(config, version, "settings.ini"))
		if err != nil {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(file, maxSettings))
		if _ = file.Close(); err == nil {
			return parseGTK(string(text))
		}
	}
	return gtkSettings{}
}

// parseGTK reads the file's text: a key file (GLib's), of which the group Settings counts.
func parseGTK(text string) (s gtkSettings) {
	group := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			group = line
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		if group != "[Settings]" {
			continue
		}
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "gtk-theme-name":
			s.theme = value
		case "gtk-application-prefer-dark-theme":
			s.preferDark = value == "1" || value == "true"
		}
	}
	return s
}

// darkTheme tells a dark theme by its name, as they are called: Adwaita-dark, Arc-Dark, Adwaita:dark (in GTK_THEME),
// HighContrastInverse. A "darker" one has a dark frame around light windows.
func darkTheme(name string) bool {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return !unicode.IsLetter(r) })
	return slices.Contains(words, "dark") || slices.Contains(words, "highcontrastinverse")
}
