package install

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/packaging/manual/documents"
)

// walk is a person who types the commands of the documents, on two Debians.
type walk struct {
	t     *testing.T
	boxes map[string]*box
	stand map[string]string // the same, of what was learnt on the way
	pages []documents.Page

	failed int // steps
}

// learnt are what stands in the documents for something that a command prints, and how that looks.
var learnt = map[string]*regexp.Regexp{
	"server:…":                               regexp.MustCompile(`\bserver:[0-9a-f]{64}`),
	"relay:…":                                regexp.MustCompile(`\brelay:[0-9a-f]{64}`),
	"SHA256":                                 regexp.MustCompile(`--cert ([0-9a-f]{64})`),
	"warren-coord-2026-01-31T000012Z.backup": regexp.MustCompile(`warren-coord-\d{4}-\d\d-\d\dT\d{6}Z\.backup`),
}

// TestTheCommandsOfTheDocuments types them, in the order and at the hosts that ways.txt has.
func TestTheCommandsOfTheDocuments(t *testing.T) {
	debs := os.Getenv("WARREN_PACKAGES")
	debian := filepath.Join(cmp.Or(os.Getenv("WARREN_TEST_PACKAGES"), "/var/cache/warren-test"), "debian-12")
	if os.Geteuid() != 0 || debs == "" || !exists(debian) {
		const why = "needs root, packages and a small Debian: run `sudo make test-packages`"
		if os.Getenv("CI") == "true" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	ways, err := documents.Ways("ways.txt")
	if err != nil {
		t.Fatal(err)
	}
	w := &walk{t: t, boxes: map[string]*box{}, stand: map[string]string{}}
	if w.pages, err = documents.Read("../.."); err != nil {
		t.Fatal(err)
	}
	w.boot(debian, debs)
	count := 0
	for _, way := range ways {
		if way.Host != "" {
			w.step(way)
			count++
		}
	}
	t.Logf("%d steps were taken", count)
}

// boot makes the two hosts, with a user who may use sudo, and with what make leaves.
func (w *walk) boot(debian, debs string) {
	w.t.Helper()
	hosts := "127.0.0.1 localhost\n" + server + " gate coord.example.org\n" + client + " den relay.example.org\n"
	work := w.t.TempDir()
	found, err := filepath.Glob(filepath.Join(debs, "*_"+runtime.GOARCH+".deb"))
	if err != nil || len(found) < 4 {
		w.t.Fatalf("%d packages in %s (%v)", len(found), debs, err)
	}
	for _, deb := range found {
		shell(w.t, "dpkg-deb", "-x", deb, work)
	}
	for _, name := range []string{"gate", "den"} {
		b := newBox(w.t, debian, name, map[string]string{
			"etc/hostname": name + "\n", "etc/hosts": hosts, "etc/resolv.conf": "nameserver " + server + "\n",
			"etc/sudoers.d/me": "me ALL=(ALL) NOPASSWD: ALL\n",
		})
		shell(w.t, "chroot", b.tree, "useradd", "--create-home", "--shell", "/bin/bash", "me")
		home := filepath.Join(b.tree, "home/me")
		shell(w.t, "mkdir", "-p", home+"/bin/packages")
		shell(w.t, append(append([]string{"cp"}, found...), home+"/bin/packages")...)
		shell(w.t, "sh", "-c", "cp "+work+"/usr/bin/warren* "+home+"/bin")
		shell(w.t, "chroot", b.tree, "chown", "-R", "me:", "/home/me")
		w.boxes[name] = b
		b.boot()
	}
	gate, den := w.boxes["gate"], w.boxes["den"]
	cable(gate, den)
	gate.configure(server, client)
	den.configure(client, server)
	gate.booted()
	den.booted()
}

// step takes one.
func (w *walk) step(way documents.Way) {
	w.t.Helper()
	b := w.boxes[way.Host]
	if b == nil {
		w.t.Fatalf("line %d: there is no host %s", way.Line, way.Host)
	}
	typed := strings.ReplaceAll(w.filled(way.Typed), "_amd64.deb", "_"+runtime.GOARCH+".deb")
	start := time.Now()
	as := []string{"runuser", "-l", "me", "-c", typed}
	out, err := "", error(nil)
	switch way.Mode {
	case documents.Succeeds, documents.Own:
		out, err = b.run(as...)
	case documents.Fails:
		if out, err = b.run(as...); err == nil {
			w.t.Fatalf("line %d, %s: %s: it should fail:\n%s", way.Line, way.Host, typed, out)
		}
		err = nil
	case documents.Waits, documents.OwnWaits:
		for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
			if out, err = b.run(as...); err == nil || time.Now().After(end) {
				break
			}
		}
	case documents.GoesOn:
		out, err = b.run(append([]string{"systemd-run", "--quiet", "--unit=typed"}, as...)...)
	case documents.Stop:
		if out, err = b.run("systemctl", "is-active", "typed"); err == nil {
			out, err = b.run("systemctl", "stop", "typed")
		}
	case documents.File:
		path, text, _ := strings.Cut(typed, " ")
		err = os.WriteFile(filepath.Join(b.tree, "home/me", path), []byte(w.filled(w.fence(text))), 0o644)
	case documents.From:
		from, path, _ := strings.Cut(typed, " ")
		shell(w.t, "cp", "-a", filepath.Join(w.boxes[from].tree, "home/me", path), filepath.Join(b.tree, "home/me", path))
	}
	if err != nil {
		log, _ := b.run("sh", "-c", "systemctl status --no-pager -n 20 typed warrend warren-coord 2>&1 | cut -c 1-300")
		w.t.Errorf("line %d, %s: %s: %v\n%s\n%s", way.Line, way.Host, typed, err, out, log)
		if w.failed++; w.failed > 4 {
			w.t.FailNow() // what comes later stands on what came before
		}
	}
	w.t.Logf("%-4s %5.1f s  %s", way.Host, time.Since(start).Seconds(), typed)
	for what, looks := range learnt {
		if m := looks.FindStringSubmatch(out); m != nil {
			w.stand[what] = m[len(m)-1]
		}
	}
}

// filled puts what was learnt in place of what stands for it.
func (w *walk) filled(text string) string {
	for what, is := range w.stand {
		text = strings.ReplaceAll(text, what, is)
	}
	return text
}

// fence is the first of the documents that has a text.
func (w *walk) fence(text string) string {
	w.t.Helper()
	for _, page := range w.pages {
		for _, f := range page.Fences() {
			if f.Info != "sh" && strings.Contains(f.Text, text) {
				return f.Text
			}
		}
	}
	w.t.Fatalf("no document has a fence with %s", text)
	return ""
}
