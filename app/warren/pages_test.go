package main

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
)

var ownCommand = regexp.MustCompile("`(?:sudo )?(warren [^`]+)`")

// TestTheCommandsInThePagesAreUnderstood parses each command of ours that the pages have in their text and tables. The
// names in capitals stand for what a person fills in.
func TestTheCommandsInThePagesAreUnderstood(t *testing.T) {
	for _, page := range []string{"coming-from.md", "../../README.md", "../../SECURITY.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		found := ownCommand.FindAllStringSubmatch(string(text), -1)
		for _, m := range found {
			line := strings.NewReplacer(" [", " ", "]", "", `\|`, " ").Replace(m[1])
			if strings.Contains(line, "COMMAND") {
				continue
			}
			p := &program{in: strings.NewReader(""), out: io.Discard, err: io.Discard}
			cmd, rest, err := p.root().Find(strings.Fields(line)[1:])
			if err == nil && cmd.HasParent() {
				err = cmd.ParseFlags(rest)
			}
			if err != nil || !cmd.HasParent() {
				t.Errorf("%s: %q is not understood: %v", page, m[1], err)
			}
		}
		if len(found) == 0 {
			t.Errorf("%s has no command", page)
		}
	}
}
