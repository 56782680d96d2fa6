package packaging

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/packaging/manual/documents"
)

var (
	block      = regexp.MustCompile("(?s)```sh\n(.*?)```|`(make [^`]*)`")
	makeTarget = regexp.MustCompile("(?m)^make ([a-z][a-z-]*)")
	ownPath    = regexp.MustCompile("`((?:app|daemon|ipc|coord|relay|assets|packaging)/[A-Za-z0-9_./-]*|[A-Za-z_]+_test\\.go)[ `]")
	link       = regexp.MustCompile(`\]\(([^)#:]*)(?:#([^)]*))?\)`)
	heading    = regexp.MustCompile(`(?m)^#+ (.*)$`)
	variable   = regexp.MustCompile(`\bWARREN_[A-Z_]+[A-Z]\b`)
	metric     = regexp.MustCompile(`\bwarren_(coord|relay)_([a-z_]+)\b`)
)

func pages(t *testing.T) []documents.Page {
	t.Helper()
	all, err := documents.Read("..")
	if err != nil || len(all) < 3 {
		t.Fatalf("%d pages (%v)", len(all), err)
	}
	return all
}

// TestWhatThePagesNameIsThere holds the documents to the tree: each make target, file and link that they name exists.
func TestWhatThePagesNameIsThere(t *testing.T) {
	makefile := read(t, "../Makefile")
	named := 0
	for _, page := range pages(t) {
		commands := ""
		for _, m := range block.FindAllStringSubmatch(page.Text, -1) {
			commands += m[1] + m[2] + "\n"
		}
		for _, m := range makeTarget.FindAllStringSubmatch(commands, -1) {
			named++
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s names make %s, which there is not", page.Path, m[1])
			}
		}
		for _, m := range ownPath.FindAllStringSubmatch(page.Text, -1) {
			named++
			if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
				t.Errorf("%s names %s: %v", page.Path, m[1], err)
			}
		}
		for _, m := range link.FindAllStringSubmatch(page.Text, -1) {
			named++
			to := page.Path
			if m[1] != "" {
				to = path.Join(path.Dir(page.Path), m[1])
			}
			if _, err := os.Stat(filepath.Join("..", to)); err != nil {
				t.Errorf("%s links to %s: %v", page.Path, m[1], err)
			} else if m[2] != "" && !hasHeading(read(t, filepath.Join("..", to)), m[2]) {
				t.Errorf("%s links to %s#%s: there is no such heading", page.Path, m[1], m[2])
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d things are named: is it read as it is written?", named)
	}
}

// hasHeading reports whether a page has the heading that an anchor leads to, by the rule of GitHub.
func hasHeading(text, anchor string) bool {
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		slug := strings.Map(func(c rune) rune {
			switch {
			case c == ' ':
				return '-'
			case c == '-' || c == '_' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c > 0x7f:
				return c
			}
			return -1
		}, strings.ToLower(m[1]))
		if slug == anchor {
			return true
		}
	}
	return false
}

// TestTheSettingsThatThePagesNameExist: each variable is one that a program or a unit reads, each metric one that is served.
func TestTheSettingsThatThePagesNameExist(t *testing.T) {
	sources := ownText(t)
	metrics := map[string]string{"coord": read(t, "../coord/server/metrics.go"), "relay": read(t, "../relay/server/metrics.go")}
	named := 0
	for _, page := range pages(t) {
		for _, name := range variable.FindAllString(page.Text, -1) {
			named++
			flag, ofRelay := strings.CutPrefix(name, "WARREN_RELAY_")
			flag = strings.ReplaceAll(strings.ToLower(flag), "_", "-")
			if !strings.Contains(sources, name) && !(ofRelay && strings.Contains(sources, `"`+flag+`"`)) {
				t.Errorf("%s names %s, which nothing reads", page.Path, name)
			}
		}
		for _, m := range metric.FindAllStringSubmatch(page.Text, -1) {
			named++
			if !strings.Contains(metrics[m[1]], `"`+m[2]+`"`) {
				t.Errorf("%s names the metric %s, which there is not", page.Path, m[0])
			}
		}
	}
	if named < 10 {
		t.Errorf("only %d settings are named: are they read as they are written?", named)
	}
}

// ownText is all that reads variables: the programs, the units with their settings, and what starts containers.
func ownText(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, folder := range []string{"../app/warren", "../coord/warren-coord", "../relay/warren-relay", "../ipc", "systemd", "compose.yaml"} {
		err := filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") || filepath.Ext(name) == ".md" {
				return err
			}
			all.WriteString(read(t, name))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}
