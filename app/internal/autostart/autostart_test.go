package autostart

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const name = "org.example.Program"

// place is a home and a system.
type place struct {
	t                 *testing.T
	own, system, home string
	entry             *Entry
}

func newPlace(t *testing.T) *place {
	t.Helper()
	dir := t.TempDir()
	p := &place{t: t, home: dir, own: filepath.Join(dir, ".config/autostart", name+".desktop"), system: filepath.Join(dir, "xdg/autostart", name+".desktop")}
	e, err := New([]string{"HOME=" + dir, "XDG_CONFIG_HOME=relative", "XDG_CONFIG_DIRS=relative:" + dir + "/none:" + dir + "/xdg"}, name, "/opt/a b/pro$gram")
	if err != nil {
		t.Fatal(err)
	}
	p.entry = e
	return p
}

func (p *place) write(file, text string) {
	p.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) is(want bool) {
	p.t.Helper()
	if on, err := p.entry.On(); err != nil || on != want {
		p.t.Fatalf("on is %t, %v; want %t", on, err, want)
	}
}

func (p *place) set(on bool) {
	p.t.Helper()
	if err := p.entry.Set(on); err != nil {
		p.t.Fatal(err)
	}
	p.is(on)
}

func (p *place) text(file string) string {
	p.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.t.Fatal(err)
	}
	return string(text)
}

func TestAPersonTurnsItOnAndOff(t *testing.T) {
	p := newPlace(t)
	p.is(false)
	p.set(false)
	if text := p.text(p.own); text != "" {
		t.Errorf("what is off already is written: %q", text)
	}
	p.set(true)
	want := "[Desktop Entry]\nType=Application\nName=Warren\nIcon=" + name + "\nExec=\"/opt/a b/pro\\\\$gram\" --background\n"
	if text := p.text(p.own); text != want {
		t.Errorf("got %q, want %q", text, want)
	}
	p.set(false)
	if text := p.text(p.own); !strings.Contains(text, "Hidden=true\n") || !strings.Contains(text, "Exec=") {
		t.Error(text)
	}
	p.set(true)
	if text := p.text(p.own); text != want {
		t.Errorf("got %q, want %q", text, want)
	}
	left, err := os.ReadDir(filepath.Dir(p.own))
	if err != nil || len(left) != 1 {
		t.Errorf("there are %v, %v", left, err)
	}
}

func TestTheSystemsEntryCountsUnlessThePersonSaysNo(t *testing.T) {
	p := newPlace(t)
	p.write(p.system, "[Desktop Entry]\nExec=program\n")
	p.is(true)
	p.set(false)
	if text := p.text(p.system); strings.Contains(text, "Hidden") {
		t.Error("the system's entry was changed")
	}
	p.set(true)
	p.write(p.system, "[Desktop Entry]\nExec=program\nHidden=true\n")
	p.is(true) // the person's entry wins
}

func TestWhatAPersonWroteStays(t *testing.T) {
	p := newPlace(t)
	for _, c := range []struct {
		text string
		on   bool
	}{
		{"# mine\n[Desktop Entry]\nExec=program --socket /x\nX-Mine=1\n\n[Desktop Action a]\nHidden=true\n", true},
		{"[Desktop Entry]\nHidden = true\nExec=program\n", false},
		{"[Desktop Entry]\nExec=program\nX-GNOME-Autostart-enabled=false", false},
		{"[Desktop Entry]\nExec=program\nX-GNOME-Autostart-enabled=true\nHidden=false\n", true},
	} {
		p.write(p.own, c.text)
		p.is(c.on)
		p.set(!c.on)
		p.set(c.on)
		for line := range strings.Lines(c.text) {
			if _, _, decides := decides(line); !decides && !strings.Contains(p.text(p.own), strings.TrimSpace(line)) {
				t.Errorf("%q is gone from %q", line, p.text(p.own))
			}
		}
	}
}

func TestALinkStaysOne(t *testing.T) {
	p := newPlace(t)
	kept := filepath.Join(p.home, "dotfiles", "entry")
	p.write(kept, "[Desktop Entry]\nExec=program\n")
	if err := errors.Join(os.MkdirAll(filepath.Dir(p.own), 0o755), os.Symlink(kept, p.own)); err != nil {
		t.Fatal(err)
	}
	p.set(false)
	if target, err := os.Readlink(p.own); err != nil || target != kept {
		t.Errorf("the link is %q, %v", target, err)
	}
}

func TestWhatCannotBeReadOrWrittenIsSaid(t *testing.T) {
	p := newPlace(t)
	p.write(p.own, strings.Repeat("x", maxEntry+1))
	if _, err := p.entry.On(); err == nil {
		t.Error("a large file is taken for an entry")
	}
	if err := p.entry.Set(true); err == nil {
		t.Error("a large file is replaced")
	}
	if err := os.RemoveAll(filepath.Dir(p.own)); err != nil {
		t.Fatal(err)
	}
	p.write(filepath.Dir(p.own), "in the way")
	if err := p.entry.Set(true); err == nil {
		t.Error("it is on with a file in the directory's place")
	}
	if _, err := New([]string{"PATH=/bin"}, name, "/bin/true"); err == nil {
		t.Error("there is an entry without a home")
	}
}

func TestAProgramInThePathIsStartedByItsName(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "warren-tray")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	e, err := New([]string{"HOME=" + dir}, name, program)
	if err != nil || !strings.Contains(e.text, "Exec=warren-tray --background\n") {
		t.Errorf("%v, %q", err, e.text)
	}
}
