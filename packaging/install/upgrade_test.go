package install

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// repacked is a package of ours with a higher version, and with other programs where they are named.
func (l *life) repacked(name string, programs map[string]string) string {
	l.t.Helper()
	dir := l.t.TempDir()
	tree := filepath.Join(dir, name)
	shell(l.t, "dpkg-deb", "-R", l.deb(name), tree)
	control := tree + "/DEBIAN/control"
	text, err := os.ReadFile(control)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(control, []byte(strings.Replace(string(text), "\nVersion: ", "\nVersion: 1000+", 1)), 0o644); err != nil {
		l.t.Fatal(err)
	}
	for inside, program := range programs {
		shell(l.t, "cp", program, filepath.Join(tree, inside))
	}
	deb := filepath.Join(dir, name+"_newer.deb")
	shell(l.t, "dpkg-deb", "-b", "--root-owner-group", "-Znone", tree, deb)
	return deb
}

// upgrade installs the same programs as a package of a higher version, under traffic.
func (l *life) upgrade() {
	l.t.Helper()
	inside, old := l.host.put(l.repacked("warren", nil)), l.daemon()
	var gap time.Duration
	l.keeps("upgraded", func() { gap = l.underTraffic(func() { l.host.must("dpkg", "-i", inside) }, old) })
	if version := l.host.must("dpkg-query", "--show", "--showformat=${Version}", "warren"); !strings.HasPrefix(version, "1000+") {
		l.t.Errorf("after the upgrade the version is %s", version)
	}
	l.t.Logf("  longest time without an answer: %.2f s", gap.Seconds())
	if gap > upgradeGap {
		l.t.Errorf("an upgrade interrupts for %v, at most %v is allowed", gap, upgradeGap)
	}
}

// migrate installs a server whose database has a step more, and goes back as hosting.md says.
func (l *life) migrate() {
	l.t.Helper()
	s, dir := l.server, l.t.TempDir()
	version := 0
	overlay := map[string]map[string]string{"Replace": {}}
	for _, kind := range []string{"sqlite", "postgres"} {
		steps, err := filepath.Abs("../../coord/internal/store/migrations/" + kind)
		if err != nil {
			l.t.Fatal(err)
		}
		have, _ := filepath.Glob(steps + "/*.sql")
		version = len(have) + 1
		step := filepath.Join(dir, kind)
		if err := os.WriteFile(step, []byte("-- +goose Up\nCREATE TABLE of_the_next_version (id INTEGER);\n"), 0o600); err != nil {
			l.t.Fatal(err)
		}
		overlay["Replace"][fmt.Sprintf("%s/%04d_next.sql", steps, version)] = step
	}
	text, err := json.Marshal(overlay)
	if err == nil {
		err = os.WriteFile(dir+"/overlay", text, 0o600)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	shell(l.t, "env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-overlay", dir+"/overlay", "-o", dir+"/next", "../../coord/warren-coord")

	online := func() { s.eventually("sh", "-c", "warren-coord machine list | grep -E 'den .*online'") }
	online()
	s.must("warren-coord", "backup", "/root/before.backup")
	s.must("dpkg", "-i", s.put(l.repacked("warren-coord", map[string]string{"usr/bin/warren-coord": dir + "/next"})))
	s.eventually("test", "-s", fmt.Sprintf("/var/lib/warren-coord/warren.db.before-%d", version))
	online()

	// The older one refuses the database, and says what to do. It is still the newer one's.
	s.must("dpkg", "-i", s.put(l.deb("warren-coord")))
	s.eventually("sh", "-c", "journalctl -b -u warren-coord | grep 'the database was written by a newer version of warren-coord: update this one, or restore the backup from before'")
	s.must("sh", "-ec", "systemctl stop warren-coord; mv /var/lib/private/warren-coord /root/newer; rm /var/lib/warren-coord")
	s.must("warren-coord", "restore", "/root/before.backup", "--state", "/var/lib/warren-coord")
	s.must("systemctl", "start", "warren-coord")
	online()
	l.server.eventually("ping", "-c", "1", "-W", "1", "den")
}

// newer has the daemon find what one of a later version left.
func (l *life) newer() {
	l.t.Helper()
	h := l.host
	const file = "/var/lib/warren/state.json"
	h.must("sh", "-ec", "systemctl stop warrend; cp -p "+file+" /root; sed -i 's/\"version\": *[0-9]*/\"version\": 99/' "+file+"; cp -p "+file+" /root/newer.json")
	_, _ = h.run("systemctl", "start", "warrend")
	h.eventually("sh", "-c", "journalctl -b -u warrend | grep 'was written by a newer warrend'")
	said := h.must("sh", "-c", "journalctl -b -u warrend --output=cat | grep 'newer warrend' | tail -n 1")
	if !regexp.MustCompile(`state.json was written by a newer warrend: its version is 99, this one reads up to \d+; it was left as it is: install that version again, or move the file away`).MatchString(said) {
		l.t.Errorf("the daemon says:\n%s", said)
	}
	h.must("cmp", file, "/root/newer.json")
	h.must("sh", "-ec", "systemctl stop warrend; cp -p /root/state.json "+file+"; systemctl reset-failed warrend; systemctl start warrend")
	l.server.eventually("ping", "-c", "1", "-W", "1", "den")
}
