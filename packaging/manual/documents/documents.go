// Package documents reads the project's documents for the tests that hold them to the programs: every command that they name
// must be one that the program understands.
//
// A command of ours stands in a fence of shell (```sh), in a line of any other fence after "$ ", in a code span that begins
// with it, or as the arguments that a service is started with (WARREN_COORD_ARGS="…"). Each program's own package has the
// tree of its commands, and so its own small test.
package documents

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Page is one document.
type Page struct {
	Path string // from the tree's root, with slashes
	Text string
}

// Read reads all documents of the tree.
func Read(root string) ([]Page, error) {
	var all []Page
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (name == "testdata" || name == "bin" || name == "node_modules" || strings.HasPrefix(name, ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if path, err = filepath.Rel(root, path); err != nil {
			return err
		}
		all = append(all, Page{Path: filepath.ToSlash(path), Text: string(text)})
		return nil
	})
	return all, err
}

// Fence is a fenced block of a page.
type Fence struct {
	Info string // what stands behind the opening fence: its language, and more
	Line int    // of its first line of text, from 1
	Text string
}

// Fences gives a page's fenced blocks.
func (p Page) Fences() []Fence {
	fences, _ := p.split()
	return fences
}

// split gives the fenced blocks, and the text with them blanked out.
func (p Page) split() (fences []Fence, rest string) {
	var open *Fence
	var out strings.Builder
	for i, line := range strings.Split(p.Text, "\n") {
		mark, fenced := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fenced && open == nil:
			fences = append(fences, Fence{Info: strings.TrimSpace(mark), Line: i + 2})
			open = &fences[len(fences)-1]
		case fenced:
			open = nil
		case open != nil:
			open.Text += line + "\n"
		default:
			out.WriteString(line)
		}
		out.WriteByte('\n')
	}
	return fences, out.String()
}

// Command is one that a page names.
type Command struct {
	Line  int
	Words []string // of the program and its arguments
	Whole bool     // it is to be run as it stands: it lacks no argument
}

var (
	span    = regexp.MustCompile("`([^`\n]+)`")
	service = regexp.MustCompile(`^#?WARREN_(COORD|RELAY)_ARGS="([^"]+)"`)
)

// Commands gives what a page has of a program.
func (p Page) Commands(program string) []Command {
	var found []Command
	fences, rest := p.split()
	for _, f := range fences {
		for i, line := range strings.Split(strings.ReplaceAll(f.Text, "\\\n", " "), "\n") {
			if _, shown, ok := strings.Cut(line, "$ "); ok && f.Info != "sh" {
				line = shown
			} else if m := service.FindStringSubmatch(line); m != nil {
				line = "warren-" + strings.ToLower(m[1]) + " serve " + m[2]
			} else if f.Info != "sh" {
				continue
			}
			for _, words := range calls(line, program) {
				found = append(found, Command{f.Line + i, words, true})
			}
		}
	}
	for i, line := range strings.Split(rest, "\n") {
		for _, m := range span.FindAllStringSubmatch(line, -1) {
			text := strings.TrimPrefix(strings.ReplaceAll(m[1], `\|`, "/"), "sudo ")
			if text != program && !strings.HasPrefix(text, program+" ") {
				continue
			}
			for _, words := range calls(strings.NewReplacer(" [", " ", "]", "", " N ", " 1 ").Replace(text+" "), program) {
				found = append(found, Command{i + 1, words, false})
			}
		}
	}
	return found
}

// calls finds the calls of a program in a line of shell: alone, behind variables and sudo, in a pipe, in a container.
func calls(line, program string) (found [][]string) {
	var one []string
	end := func() {
		for len(one) > 0 && (one[0] == "sudo" || strings.Contains(one[0], "=")) {
			one = one[1:]
		}
		if i := slices.Index(one, "exec"); i > 0 && one[0] == "docker" && len(one) > i+2 {
			one = one[i+2:] // docker compose exec SERVICE …
		}
		if len(one) > 0 && one[0] == program {
			found = append(found, one)
		}
		one = nil
	}
	for _, w := range words(line) {
		switch w {
		case "|", "&&", ";", "||", "&":
			end()
		default:
			one = append(one, w)
		}
	}
	end()
	return found
}

// words splits a line as a shell does, without its expansions. Comments and redirections are left out.
func words(line string) (all []string) {
	var word strings.Builder
	quote, in, skip := rune(0), false, false
	end := func() {
		if in && !skip {
			all = append(all, word.String())
		}
		if in {
			skip = false
		}
		word.Reset()
		in = false
	}
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '"' || c == '\'':
			quote, in = c, true
		case c == '#' && !in:
			return all
		case c == ' ' || c == '\t':
			end()
		case c == '>' || c == '<':
			end()
			skip = true
		case c == '|' || c == ';' || c == '&':
			if n := len(all); !in && n > 0 && all[n-1] == string(c) {
				all[n-1] += string(c)
				continue
			}
			end()
			all = append(all, string(c))
		default:
			word.WriteRune(c)
			in = true
		}
	}
	end()
	return all
}

// Misread says which commands of a program in the pages it does not understand, and counts all that it found. The tree of
// its commands is made anew for each, as flags keep what they were given.
func Misread(all []Page, program string, tree func() *cobra.Command) (count int, wrong []string) {
	for _, p := range all {
		for _, c := range p.Commands(program) {
			count++
			if err := understand(tree(), c); err != nil {
				wrong = append(wrong, fmt.Sprintf("%s, line %d: %s: %v", p.Path, c.Line, strings.Join(c.Words, " "), err))
			}
		}
	}
	return count, wrong
}

// understand holds a command to the program's own tree, and runs nothing.
func understand(root *cobra.Command, c Command) error {
	root.SetOut(new(bytes.Buffer))
	root.SetErr(new(bytes.Buffer))
	root.InitDefaultHelpFlag()
	root.InitDefaultVersionFlag()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	args := c.Words[1:]
	if len(args) > 0 && args[0] == "COMMAND" { // stands for any
		return nil
	}
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if cmd.HasAvailableSubCommands() && cmd.Flags().NArg() > 0 {
		return fmt.Errorf("there is no command %q", cmd.Flags().Arg(0))
	}
	if !c.Whole || cmd.Flags().Changed("help") {
		return nil
	}
	return errors.Join(cmd.ValidateArgs(cmd.Flags().Args()), cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups())
}

// Vectors gives what a page has in fences of vector: lines of a name, a colon and a value.
func (p Page) Vectors() map[string]string {
	all := map[string]string{}
	for _, f := range p.Fences() {
		if f.Info != "vector" {
			continue
		}
		for line := range strings.Lines(f.Text) {
			if name, value, ok := strings.Cut(line, ":"); ok {
				all[strings.TrimSpace(name)] = strings.TrimSpace(value)
			}
		}
	}
	return all
}
