package packaging

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// exposureBound is how much of the host each unit may at most be exposed to, as "systemd-analyze security" counts it
// (0 to 10). Warrend's remainder is what it is for: root, interfaces, routes, the packet filter, the settings of the network.
var exposureBound = map[string]float64{
	"warrend.service":             2.5,
	"warren-lockdown.service":     2.5,
	"warren-release.service":      2.5,
	"warren-coord.service":        1.4,
	"warren-coord-backup.service": 1.4,
	"warren-relay.service":        1.4,
}

var exposureLine = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+) `)

// exposure is what systemd-analyze says of a unit's file.
func exposure(t *testing.T, file string) float64 {
	t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--no-pager", path).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze (make deps installs it): %v\n%s", err, out)
	}
	m := exposureLine.FindSubmatch(out)
	if m == nil {
		t.Fatalf("systemd-analyze says nothing of the exposure of %s:\n%s", file, out)
	}
	level, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return level
}

func TestEachUnitIsExposedToLittle(t *testing.T) {
	files, err := filepath.Glob("systemd/*.service")
	if err != nil || len(files) != len(exposureBound) {
		t.Fatalf("%d units, and bounds for %d (%v): state one for each", len(files), len(exposureBound), err)
	}
	for _, file := range files {
		bound, known := exposureBound[filepath.Base(file)]
		if level := exposure(t, file); !known || level > bound {
			t.Errorf("%s: exposure %.1f, at most %.1f is allowed; \"systemd-analyze security --offline=true %s\" says by what", file, level, bound, file)
		}
	}
}

// TestAnUnguardedUnitIsSeen shows that the measure rises where nothing is held back.
func TestAnUnguardedUnitIsSeen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "open.service")
	write(t, file, "[Service]\nExecStart=/bin/true\n")
	if level := exposure(t, file); level < 9 {
		t.Errorf("a unit without any guard: exposure %.1f", level)
	}
}

// TestUnitsRunWhatIsPackaged holds each unit's programs to the place where the packages put them.
func TestUnitsRunWhatIsPackaged(t *testing.T) {
	files, err := filepath.Glob("systemd/*.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		runs := 0
		for line := range strings.Lines(read(t, file)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			if !strings.HasPrefix(key, "Exec") || key == "ExecReload" && value == "/bin/kill -HUP $MAINPID" { // systemd.service(5)
				continue
			}
			runs++
			program, _, _ := strings.Cut(value, " ")
			if dir, name := filepath.Split(program); dir != "/usr/bin/" || !strings.HasPrefix(name, "warren") {
				t.Errorf("%s: %s is not where the packages put a program", file, line)
			}
		}
		if runs == 0 {
			t.Errorf("%s runs nothing", file)
		}
	}
}
