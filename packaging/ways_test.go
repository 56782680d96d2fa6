package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/packaging/manual/documents"
)

// own are the programs whose commands a code span may hold.
var own = []string{"warren", "warrend", "warren-tray", "warren-coord", "warren-relay"}

// TestEachCommandOfTheDocumentsHasAWay holds the documents and the table of how their commands are run to each other.
func TestEachCommandOfTheDocumentsHasAWay(t *testing.T) {
	ways, err := documents.Ways("install/ways.txt")
	if err != nil {
		t.Fatal(err)
	}
	has := map[string]bool{} // whether a document has it
	for _, w := range ways {
		if w.Command != "" {
			has[w.Command] = false
		}
		if w.Test != "" {
			file, name, _ := strings.Cut(w.Test, " ")
			if !regexp.MustCompile(`(?m)^func .*\b` + name + `\(`).MatchString(read(t, filepath.Join("..", file))) {
				t.Errorf("line %d: there is no %s in %s", w.Line, name, file)
			}
		}
		if lost := notTyped(w); w.Command != "" && len(lost) > 0 {
			t.Errorf("line %d: for %s is typed %s, which lacks %q", w.Line, w.Command, w.Typed, lost)
		}
	}
	count := 0
	for _, page := range pages(t) {
		for _, l := range page.Lines(own...) {
			count++
			if _, ok := has[l.Text]; !ok {
				t.Errorf("%s, line %d: packaging/install/ways.txt does not say how this is run: %s", page.Path, l.Line, l.Text)
			}
			has[l.Text] = true
		}
	}
	for command, found := range has {
		if !found {
			t.Errorf("packaging/install/ways.txt has a command that is in no document: %s", command)
		}
	}
	if count < 150 {
		t.Errorf("only %d commands were found: are they read as they are written?", count)
	}
}

// notTyped are the parts of a command that what is typed for it has to have and has not: the program, its first word, and flags.
func notTyped(w documents.Way) (lost []string) {
	typed := strings.FieldsFunc(w.Typed, func(c rune) bool { return strings.ContainsRune(" \t=|&;", c) })
	words := strings.Fields(strings.TrimPrefix(strings.NewReplacer("[", "", "]", "").Replace(w.Command), "sudo "))
	for i, word := range words {
		if flag := strings.HasPrefix(word, "--"); i < 2 && !strings.ContainsFunc(word, func(c rune) bool { return c >= 'A' && c <= 'Z' || c == '|' }) || flag {
			word, _, _ = strings.Cut(word, "=")
			if !slices.Contains(typed, word) {
				lost = append(lost, word)
			}
		}
	}
	return lost
}

// TestTheDocumentsTargetsHaveARecipe asks make what it would do for each target that the documents name and no test runs.
func TestTheDocumentsTargetsHaveARecipe(t *testing.T) {
	ways, err := documents.Ways("install/ways.txt")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, w := range ways {
		if target, ok := strings.CutPrefix(w.Command, "make "); ok && w.Never != "" {
			count++
			cmd := exec.CommandContext(t.Context(), "make", "-n", target)
			cmd.Dir, cmd.Env = "..", append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "\n") {
				t.Errorf("%s: %v\n%s", w.Command, err, out)
			}
		}
	}
	if count == 0 {
		t.Error("no target was found")
	}
}
