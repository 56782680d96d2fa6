package ipc_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/ipc"
)

// enough are the codes whose refusals need no reason: a person can be told what to do by the code alone, or they are about what
// the message alone knows.
var enough = []string{"CodeDenied", "CodeNotUp", "CodeNeedsLogin", "CodeNoServer", "CodeNotRunning", "CodeUnsupported", "CodeInternal", "CodeTimeout"}

// commands are the refusals without a reason that only commands can bring about, by how they begin.
var commands = []string{
	"That cannot be a profile's name.", "Another login has the name ", "The profile %s is a login at ", "This machine has several logins at ",
	"The server's key cannot be read: ", "These are %d exit nodes, ", "That is too long to be open: ", "%q is no port or service.",
	"%.20q is no type of DNS records.", "%.100q is no name.",
	"A machine cannot relay at that rate.", // the window sees that before
}

// Programs say refusals in their person's language by their reasons: each that a desktop's program can meet has one, of the
// vocabulary, and says what it is about.
func TestEveryRefusalHasItsReason(t *testing.T) {
	values := constants(t, "reasons.go", "Reason")
	for name, reason := range values {
		if _, listed := ipc.Reasons[reason]; !listed {
			t.Errorf("%s (%s) is not in Reasons", name, reason)
		}
		if slices.Contains(ipc.Codes, reason) {
			t.Errorf("%s is a code, too", reason)
		}
	}
	if len(values) != len(ipc.Reasons) || len(values) < 50 {
		t.Errorf("%d reasons are named, and %d are in the list", len(values), len(ipc.Reasons))
	}
	codes := constants(t, "ops.go", "Code")
	for name, code := range codes {
		if !slices.Contains(ipc.Codes, code) {
			t.Errorf("%s is not in Codes", name)
		}
	}
	if len(codes) != len(ipc.Codes) {
		t.Errorf("%d codes are named, and %d are in the list", len(codes), len(ipc.Codes))
	}

	given := 0
	for _, root := range []string{".", "../daemon"} {
		refusals(t, root, func(at token.Position, fields map[string]ast.Expr) {
			reason := lastName(fields["Reason"])
			switch about, listed := fields["About"].(*ast.CompositeLit); {
			case reason == "" && fields["Reason"] != nil: // worked out where the program runs
			case reason != "":
				given++
				want, is := ipc.Reasons[values[reason]]
				if got := 0; !is || listed && len(about.Elts) != want || !listed && got != want {
					t.Errorf("%s: %s is about %d words", at, reason, want)
				}
			case slices.Contains(enough, lastName(fields["Code"])):
			default:
				says := begins(fields["Message"])
				if says != "" && !slices.ContainsFunc(commands, func(c string) bool { return strings.HasPrefix(says, c) }) {
					t.Errorf("%s: %q has no reason", at, says)
				}
			}
		})
	}
	if given < 20 {
		t.Errorf("only %d refusals with a reason were found", given)
	}
}

// Programs say advice in their person's language by its codes: the list of these is whole.
func TestEveryAdviceIsListed(t *testing.T) {
	codes := constants(t, "advice.go", "Advice")
	for name, code := range codes {
		if _, listed := ipc.Advices[code]; !listed {
			t.Errorf("%s (%s) is not in Advices", name, code)
		}
	}
	if len(codes) != len(ipc.Advices) {
		t.Errorf("%d codes are named, and %d are in the list", len(codes), len(ipc.Advices))
	}
}

// Why a path is taken, too.
func TestEveryReasonForAPathIsListed(t *testing.T) {
	codes := constants(t, "status.go", "PathReason")
	for name, code := range codes {
		if ipc.PathReasons[code] == "" {
			t.Errorf("%s (%s) is not in PathReasons", name, code)
		}
	}
	if len(codes) != len(ipc.PathReasons) {
		t.Errorf("%d codes are named, and %d are in the list", len(codes), len(ipc.PathReasons))
	}
}

// refusals finds every Error that a folder's programs make, with its fields; not those that stand for a code alone.
func refusals(t *testing.T, root string, f func(token.Position, map[string]ast.Expr)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			l, ok := n.(*ast.CompositeLit)
			if !ok || lastName(l.Type) != "Error" {
				return true
			}
			if s, selects := l.Type.(*ast.SelectorExpr); selects == (root == ".") || selects && lastName(s.X) != "ipc" {
				return true
			}
			fields := map[string]ast.Expr{}
			for _, e := range l.Elts {
				if kv, ok := e.(*ast.KeyValueExpr); ok {
					fields[lastName(kv.Key)] = kv.Value
				}
			}
			if fields["Message"] != nil {
				f(set.Position(n.Pos()), fields)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// constants are a file's whose names begin so, and that have no type of their own, with their values. What serverReason stands before has it.
func constants(t *testing.T, path, prefix string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && v.Type == nil && strings.HasPrefix(v.Names[0].Name, prefix) && len(v.Values) == 1 {
			switch x := v.Values[0].(type) {
			case *ast.BasicLit:
				values[v.Names[0].Name], _ = strconv.Unquote(x.Value)
			case *ast.BinaryExpr:
				text, _ := strconv.Unquote(x.Y.(*ast.BasicLit).Value)
				values[v.Names[0].Name] = "server-" + text
			}
		}
		return true
	})
	return values
}

// lastName is the identifier of x, of pkg.x, or "".
func lastName(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.Ident:
		if x != nil && (ast.IsExported(x.Name) || x.Name == "ipc") {
			return x.Name
		}
	case *ast.SelectorExpr:
		if x != nil {
			return x.Sel.Name
		}
	}
	return ""
}

// begins is what a text begins with; "" for one that comes from elsewhere.
func begins(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(x.Value)
		return text
	case *ast.BinaryExpr:
		return begins(x.X)
	case *ast.CallExpr: // fmt.Sprintf
		if len(x.Args) > 0 {
			return begins(x.Args[0])
		}
	}
	return ""
}
