package ipc_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/ipc"
)

// Programs tell problems apart by their codes, and the tray says each in three languages: the daemon makes none up beside the
// vocabulary, and the list of all is whole.
func TestEveryProblemsCodeIsOfTheVocabulary(t *testing.T) {
	named := constants(t, "problems.go", "Problem")
	named["ProblemHost"] = ipc.CodeHost
	for name, code := range named {
		if !slices.Contains(ipc.ProblemCodes, code) {
			t.Errorf("%s is not in ProblemCodes", name)
		}
	}
	if len(named) != len(ipc.ProblemCodes) || len(named) < 20 {
		t.Errorf("%d codes are named, and %d are in the list", len(named), len(ipc.ProblemCodes))
	}

	used := 0
	err := filepath.WalkDir("../daemon", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		at := token.NewFileSet()
		file, err := parser.ParseFile(at, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			code, ok := problemCode(n)
			switch is, selects := code.(*ast.SelectorExpr); {
			case !ok:
			case selects && named[is.Sel.Name] != "":
				used++
			case selects && is.Sel.Name == "Code": // as an error has it
			default:
				t.Errorf("%s: the problem's code is no ipc.Problem…", at.Position(n.Pos()))
			}
			return true
		})
		return nil
	})
	if err != nil || used < len(named)/2 {
		t.Errorf("%v: only %d problems were found in the daemon", err, used)
	}
}

// problemCode is the code in an ipc.Problem{…}. That of a list, whose type stands before the list, is known by its fields.
func problemCode(n ast.Node) (code ast.Expr, ok bool) {
	l, is := n.(*ast.CompositeLit)
	if !is {
		return nil, false
	}
	if s, named := l.Type.(*ast.SelectorExpr); l.Type != nil && (!named || s.Sel.Name != "Problem") {
		return nil, false
	}
	fields := map[string]ast.Expr{}
	for _, e := range l.Elts {
		if kv, is := e.(*ast.KeyValueExpr); is {
			if k, is := kv.Key.(*ast.Ident); is {
				fields[k.Name] = kv.Value
			}
		}
	}
	return fields["Code"], fields["Code"] != nil && (l.Type != nil || fields["Text"] != nil)
}
