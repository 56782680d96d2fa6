// Package autostart has the desktop start the tray, or not, as the person wants: an entry of XDG's autostart directories
// (https://specifications.freedesktop.org/autostart-spec/).
//
// The system's entry (a package's, in /etc/xdg/autostart) counts unless the person has one of the same name. One with
// Hidden=true says no. What else a person wrote into theirs stays.
package autostart

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// maxEntry bounds what is read of an entry, in bytes.
const maxEntry = 64 << 10

// Entry is the entry of one program.
type Entry struct {
	own     string   // the person's file
	systems []string // the system's, the most important first
	text    string   // of an entry that is new
}

// New gives the entry with that name, for the environment of a person. program is the file to start.
func New(environ []string, name, program string) (*Entry, error) {
	vars := map[string]string{}
	for _, v := range environ {
		key, value, _ := strings.Cut(v, "=")
		vars[key] = value
	}
	// Paths that are not absolute are to be ignored, says the specification of the base directories.
	config := vars["XDG_CONFIG_HOME"]
	if !filepath.IsAbs(config) {
		if !filepath.IsAbs(vars["HOME"]) {
			return nil, errors.New("there is no home directory (HOME)")
		}
		config = filepath.Join(vars["HOME"], ".config")
	}
	dirs := vars["XDG_CONFIG_DIRS"]
	if dirs == "" {
		dirs = "/etc/xdg"
	}
	file := filepath.Join("autostart", name+".desktop")
	e := &Entry{own: filepath.Join(config, file)}
	for _, dir := range filepath.SplitList(dirs) {
		if filepath.IsAbs(dir) {
			e.systems = append(e.systems, filepath.Join(dir, file))
		}
	}
	command := filepath.Base(program)
	if found, err := exec.LookPath(command); err != nil || !same(found, program) {
		command = quote(program)
	}
	e.text = "[Desktop Entry]\nType=Application\nName=Warren\nIcon=" + name + "\nExec=" + command + " --background\n"
	return e, nil
}

func same(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// quote writes a path as an Exec line has it: quoted for the command, then escaped as any value.
func quote(path string) string {
	path = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", `$`, `\$`, `%`, `%%`).Replace(path)
	return `"` + strings.ReplaceAll(path, `\`, `\\`) + `"`
}

// On tells whether the desktop starts the program.
func (e *Entry) On() (bool, error) {
	for _, file := range append([]string{e.own}, e.systems...) {
		text, err := read(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return err == nil && !off(text), err
	}
	return false, nil
}

// Set has the desktop start the program from the next login on, or not.
func (e *Entry) Set(on bool) error {
	if is, err := e.On(); err != nil || is == on {
		return err
	}
	text, err := read(e.own)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		text = []byte(e.text)
	case err != nil:
		return err
	}
	text = without(text)
	if !on {
		text = hide(text)
	}
	return write(e.own, text)
}

func read(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxEntry+1))
	if err == nil && len(text) > maxEntry {
		err = fmt.Errorf("%s is no entry of a program: it has more than %d bytes", file, maxEntry)
	}
	return text, err
}

const group = "[Desktop Entry]"

// decides tells whether a line says whether the entry counts. GNOME has a key of its own.
func decides(line string) (key, value string, ok bool) {
	key, value, ok = strings.Cut(line, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	return key, value, ok && (key == "Hidden" || key == "X-GNOME-Autostart-enabled")
}

// each calls f with the lines, and whether they are of the entry's own group.
func each(text []byte, f func(line string, own bool)) {
	own := false
	for line := range strings.Lines(string(text)) {
		if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "[") {
			own = trimmed == group
		}
		f(line, own)
	}
}

func off(text []byte) (is bool) {
	each(text, func(line string, own bool) {
		if key, value, ok := decides(line); ok && own {
			is = is || key == "Hidden" && value == "true" || key != "Hidden" && value == "false"
		}
	})
	return is
}

func without(text []byte) []byte {
	var kept bytes.Buffer
	each(text, func(line string, own bool) {
		if _, _, ok := decides(line); !ok || !own {
			kept.WriteString(line)
		}
	})
	return kept.Bytes()
}

func hide(text []byte) []byte {
	var hidden bytes.Buffer
	each(text, func(line string, _ bool) {
		hidden.WriteString(line)
		if strings.TrimSpace(line) == group {
			if !strings.HasSuffix(line, "\n") {
				hidden.WriteByte('\n')
			}
			hidden.WriteString("Hidden=true\n")
		}
	})
	return hidden.Bytes()
}

// write puts the text into the file as a whole, or leaves what was. A link keeps pointing to where it does.
func write(file string, text []byte) (err error) {
	if target, err := filepath.EvalSymlinks(file); err == nil {
		file = target
	}
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil { // as the specification of the base directories says
		return err
	}
	f, err := os.CreateTemp(dir, ".warren-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
