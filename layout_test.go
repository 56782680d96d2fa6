// Package warren_test holds the rules of the tree: what may import what, and why.
//
//	coord/key  <-  coord, relay, ipc  <-  pure packages  <-  shells  <-  programs
//
// A component's root package is its vocabulary (its wire types and its client),
// and only vocabulary crosses the border between top-level folders. Go's own
// internal/ rule keeps the rest apart; these tests keep what it cannot see.
// Third-party modules are in layout_modules_test.go.
package warren_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/warren-mesh/warren"

// source is one Go file, reduced to what the rules look at.
type source struct {
	dir     string   // slash-separated, relative to the module's root
	name    string   // base name
	imports []string // import paths
	acts    []string // go statements and reads of the clock: what a pure package may not do
}

func (s source) isTest() bool { return strings.HasSuffix(s.name, "_test.go") }

// ours returns the imported packages of this module, relative to its root.
func (s source) ours() []string {
	var dirs []string
	for _, imp := range s.imports {
		if rest, ok := strings.CutPrefix(imp, module+"/"); ok {
			dirs = append(dirs, rest)
		}
	}
	return dirs
}

// within reports whether dir is folder or lies below it. The empty folder holds all.
func within(dir, folder string) bool {
	return folder == "" || dir == folder || strings.HasPrefix(dir, folder+"/")
}

func withinAny(dir string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return within(dir, f) })
}

// top returns the top-level folder of dir.
func top(dir string) string {
	first, _, _ := strings.Cut(dir, "/")
	return first
}

var (
	topLevel   = []string{"app", "daemon", "ipc", "coord", "relay", "assets", "packaging"}
	vocabulary = []string{"coord", "coord/key", "relay", "ipc", "assets", "assets/wording"}
	pure       = []string{
		"coord/internal/state", "coord/internal/policy",
		"daemon/internal/core", "daemon/internal/peerpath", "daemon/internal/disco", "daemon/internal/netcheck",
		"daemon/internal/dns/zone", "daemon/internal/dns/hostmode",
		"app/internal/view", "app/internal/say",
	}
	// manual is what packaging/build asks of every program; it is none of theirs.
	manual = "packaging/manual"
	// documents is what the programs' tests read the documents with.
	documents = "packaging/manual/documents"
	// certificate is how the two servers get their TLS certificates.
	certificate = "relay/certificate"
	// clock are the functions of package time that read or wait for the clock.
	clock = []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTimer", "NewTicker"}
)

// rule is one rule of the tree: breaks returns what a file does against it, if anything.
type rule struct {
	name   string
	why    string
	breaks func(source) []string
}

// imports makes a rule's function of a verdict on each package of ours that a file imports.
func imports(bad func(s source, imp string) bool) func(source) []string {
	return func(s source) []string {
		var found []string
		for _, imp := range s.ours() {
			if bad(s, imp) {
				found = append(found, "imports "+imp)
			}
		}
		return found
	}
}

var rules = []rule{
	{
		"Go files lie in the known top-level folders",
		"whoever looks for something has seven places to look; a new one is a decision about the whole tree (topLevel in layout_test.go)",
		func(s source) []string {
			if s.dir == "." && s.isTest() || slices.Contains(topLevel, top(s.dir)) {
				return nil
			}
			return []string{"lies in " + s.dir}
		},
	},
	{
		"coord/key imports nothing of ours",
		"keys are the bottom of the tree: everything may hold one, so they may depend on nothing",
		imports(func(s source, _ string) bool { return s.dir == "coord/key" }),
	},
	{
		"a vocabulary imports no package of ours but coord/key",
		"vocabularies stand side by side; if one needed another, neither could be understood or changed alone; " +
			"but the relay's client and server share their batched sockets, which lie between the two",
		imports(func(s source, imp string) bool {
			if s.dir == "relay" && within(imp, "relay/internal") {
				return false
			}
			return slices.Contains(vocabulary, s.dir) && imp != "coord/key" && !s.isTest()
		}),
	},
	{
		"only vocabulary crosses a top-level border",
		"a component's inside can change as long as its wire types and its client stay; " +
			"but tests may run a real server and read the documents, warren-coord and the daemon embed the relay (a machine that relays does it by the very code, with its bounds and its fairness, and nothing " +
			"of it is a vocabulary's), the two servers get their certificates and the programs write their man pages alike",
		imports(func(s source, imp string) bool {
			if top(imp) == top(s.dir) || imp == manual || imp == documents && s.isTest() || slices.Contains(vocabulary, imp) {
				return false
			}
			server := imp == "relay/server" || imp == "coord/server"
			embedder := s.dir == "coord/warren-coord" || s.dir == "daemon/internal/relaying"
			embeds := embedder && imp == "relay/server" || top(s.dir) == "coord" && within(imp, certificate)
			return !embeds && (!server || !s.isTest())
		}),
	},
	{
		"app imports only ipc and assets",
		"the CLI and the tray draw what the daemon says: what they need and ipc lacks belongs into ipc.Status",
		imports(func(s source, imp string) bool {
			return top(s.dir) == "app" && imp != manual && !(imp == documents && s.isTest()) && !slices.Contains([]string{"app", "ipc", "assets"}, top(imp))
		}),
	},
	{
		"relay takes only coord/key from coord",
		"a relay admits by a signed ticket and must run, and be reviewed, without the coordination server",
		imports(func(s source, imp string) bool {
			return top(s.dir) == "relay" && top(imp) == "coord" && imp != "coord/key" && !s.isTest()
		}),
	},
	{
		"nothing outside imports daemon or app",
		"they are the ends of the tree: other programs talk to them through ipc",
		imports(func(s source, imp string) bool {
			return (top(imp) == "daemon" || top(imp) == "app") && top(imp) != top(s.dir)
		}),
	},
	{
		"pure packages import, of ours, only vocabulary and pure packages",
		"imports run from the shells to the decisions; the other way round a decision could act",
		imports(func(s source, imp string) bool {
			return isPure(s) && !slices.Contains(vocabulary, imp) && !withinAny(imp, pure)
		}),
	},
	{
		"pure packages know no net (net/netip is fine), os or sync",
		"a decision that touches no world and shares no memory can be tested in virtual time, replayed and fuzzed",
		func(s source) []string {
			var found []string
			for _, imp := range s.imports {
				if isPure(s) && imp != "net/netip" && slices.Contains([]string{"net", "os", "sync"}, top(imp)) {
					found = append(found, "imports "+imp)
				}
			}
			return found
		},
	},
	{
		"pure packages start no goroutine and read no clock",
		"time comes in with the event, Step(now, event), and goes out as Deadline(); then a test of an hour takes a millisecond",
		func(s source) []string {
			if isPure(s) {
				return s.acts
			}
			return nil
		},
	},
	{
		"a third-party module is imported only where layout_modules_test.go allows it",
		"each dependency has one place where it can be replaced, and a stated reason to be here at all",
		moduleBreaks,
	},
}

func isPure(s source) bool { return withinAny(s.dir, pure) && !s.isTest() }

// broken returns a sentence for each rule that the file breaks.
func broken(s source) []string {
	var found []string
	for _, r := range rules {
		for _, what := range r.breaks(s) {
			found = append(found, fmt.Sprintf("%s %s\n\trule: %s\n\tbecause %s", path.Join(s.dir, s.name), what, r.name, r.why))
		}
	}
	return found
}

// TestLayout reads every Go file of the module, whatever its build constraints.
func TestLayout(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipDir(name)
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		s, err := parse(filepath.ToSlash(name), text)
		if err != nil {
			return err
		}
		files++
		for _, what := range broken(s) {
			t.Error(what)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 2 {
		t.Fatalf("found only %d Go files: is this the module's root?", files)
	}
}

// skipDir keeps the walk out of what is not this module's source.
func skipDir(dir string) error {
	if dir == "." {
		return nil
	}
	base := filepath.Base(dir)
	if base == "testdata" || base == "bin" || strings.HasPrefix(base, ".") {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
		return filepath.SkipDir
	}
	return nil
}

// parse reduces the text of a Go file to what the rules look at.
func parse(name string, text []byte) (source, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	s := source{dir: path.Dir(name), name: path.Base(name)}
	timeName := ""
	for _, spec := range f.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return source{}, err
		}
		s.imports = append(s.imports, imp)
		if imp == "time" {
			timeName = "time"
			if spec.Name != nil {
				timeName = spec.Name.Name
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			s.acts = append(s.acts, fmt.Sprintf("line %d: starts a goroutine", fset.Position(n.Pos()).Line))
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			if ok && timeName != "" && pkg.Name == timeName && slices.Contains(clock, n.Sel.Name) {
				s.acts = append(s.acts, fmt.Sprintf("line %d: uses time.%s", fset.Position(n.Pos()).Line, n.Sel.Name))
			}
		}
		return true
	})
	return s, nil
}
