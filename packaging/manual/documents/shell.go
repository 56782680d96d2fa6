package documents

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Line is a command as a page has it, for a person to type.
type Line struct {
	Line int
	Text string
}

// foreign are the programs of others whose commands are known in a code span; in a fence of shell each is.
var foreign = []string{"make", "packaging/deps", "apt", "apt-get", "dpkg", "systemctl", "journalctl", "curl", "ip", "nft", "ufw", "firewall-cmd", "docker", "podman", "skopeo", "kill", "git", "gpg"}

// Lines gives all commands of a page, of whatever program, as they stand there but for comments and what continues a line: those of
// a fence of shell, those behind "$ " in any other, and code spans that begin with a program's name and say more than it.
func (p Page) Lines(own ...string) (all []Line) {
	fences, rest := p.split()
	for _, f := range fences {
		for i, line := range strings.Split(strings.ReplaceAll(f.Text, "\\\n", " "), "\n") {
			if f.Info != "sh" {
				var shown bool
				if _, line, shown = strings.Cut(line, "$ "); !shown {
					continue
				}
			}
			if text := uncommented(line); text != "" {
				all = append(all, Line{f.Line + i, text})
			}
		}
	}
	for i, line := range strings.Split(rest, "\n") {
		for _, m := range span.FindAllStringSubmatch(line, -1) {
			text := strings.ReplaceAll(m[1], `\|`, "|")
			words := strings.Fields(strings.TrimPrefix(text, "sudo "))
			if len(words) > 1 && (slices.Contains(own, words[0]) || slices.Contains(foreign, words[0])) {
				all = append(all, Line{i + 1, text})
			}
		}
	}
	return all
}

// uncommented is a line of shell without its comment, and with single spaces.
func uncommented(line string) string {
	quote, before := rune(0), ' '
	for i, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
		case c == '"' || c == '\'':
			quote = c
		case c == '#' && (before == ' ' || before == '\t'):
			return strings.Join(strings.Fields(line[:i]), " ")
		}
		before = c
	}
	return strings.Join(strings.Fields(line), " ")
}

// Way is how one command of the documents is run by a test, or why it is not.
type Way struct {
	Line    int
	Command string // as the documents have it; "" for what is the walk's own
	Typed   string // in its place, where a person has to put something in

	Host string // where the walk runs it, and how:
	Mode Mode

	Test  string // FILE NAME of the test that runs it elsewhere
	Never string // why none does
}

// Mode is how a step of the walk is taken.
type Mode string

// The modes.
const (
	Succeeds Mode = "$" // it is typed, and succeeds
	Fails    Mode = "!" // it is typed, and fails
	GoesOn   Mode = "&" // it is typed, and goes on until the host is told to stop it
	Waits    Mode = "~" // it is typed again until it succeeds
	Own      Mode = "+" // it is typed and succeeds, and stands in no document
	OwnWaits Mode = "+~"
	Stop     Mode = "stop"
	File     Mode = "file" // PATH TEXT: the fence of the documents that has the text is written there
	From     Mode = "from" // HOST PATH: a file is carried over
)

// Ways reads the table of how each command is run. It has sections, each a line and the commands below it, indented:
//
//	walk                      HOST MODE COMMAND, in the order in which they are typed
//	test FILE NAME            commands that another test runs
//	never REASON              commands that none can
//
// A line that begins with "=" says what is typed for the one above it. One of # is a comment.
func Ways(path string) (all []Way, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var section, about string
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimRight(line, " ")
		said, indented := strings.CutPrefix(line, "\t")
		switch {
		case line == "" || strings.HasPrefix(strings.TrimSpace(line), "#"):
			continue
		case !indented:
			section, about, _ = strings.Cut(line, " ")
			continue
		}
		if typed, ok := strings.CutPrefix(strings.TrimSpace(said), "= "); ok && len(all) > 0 {
			all[len(all)-1].Typed = typed
			continue
		}
		w := Way{Line: i + 1, Command: said, Typed: said}
		switch section {
		case "walk":
			w.Host, said, _ = strings.Cut(said, " ")
			mode, rest, _ := strings.Cut(said, " ")
			w.Mode, w.Command, w.Typed = Mode(mode), rest, rest
			switch w.Mode {
			case Succeeds, Fails, GoesOn, Waits:
			case Own, OwnWaits, Stop, File, From:
				w.Command = ""
			default:
				return nil, fmt.Errorf("%s, line %d: there is no mode %q", path, i+1, mode)
			}
		case "test":
			w.Test = about
		case "never":
			w.Never = about
		default:
			return nil, fmt.Errorf("%s, line %d: there is no section %q", path, i+1, section)
		}
		all = append(all, w)
	}
	return all, nil
}
