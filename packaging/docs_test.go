package packaging

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	block      = regexp.MustCompile("(?s)```sh\n(.*?)```|`(make [^`]*)`")
	makeTarget = regexp.MustCompile("(?m)^make ([a-z][a-z-]*)")
	ownPath    = regexp.MustCompile("`((?:app|daemon|ipc|coord|relay|assets|packaging)/[A-Za-z0-9_./-]*|[A-Za-z_]+_test\\.go)[ `]")
	link       = regexp.MustCompile(`\]\(([^)#:]+)\)`)
)

// TestWhatThePagesNameIsThere holds the pages at the top to the tree: each make target, file and link that they name exists.
func TestWhatThePagesNameIsThere(t *testing.T) {
	makefile := read(t, "../Makefile")
	pages, err := filepath.Glob("../*.md")
	if err != nil || len(pages) < 3 {
		t.Fatalf("%d pages (%v)", len(pages), err)
	}
	named := 0
	for _, page := range pages {
		text := read(t, page)
		commands := ""
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			commands += m[1] + m[2] + "\n"
		}
		for _, m := range makeTarget.FindAllStringSubmatch(commands, -1) {
			named++
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s names make %s, which there is not", page, m[1])
			}
		}
		for _, m := range append(ownPath.FindAllStringSubmatch(text, -1), link.FindAllStringSubmatch(text, -1)...) {
			named++
			if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
				t.Errorf("%s names %s: %v", page, m[1], err)
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d things are named: is it read as it is written?", named)
	}
}
