package view

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/ipc"
)

// What a check of the network advises, people read in their own language: each sentence that the daemon has is known here.
func TestEveryAdviceOfACheckIsToldInThePersonsLanguage(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../../daemon/internal/netcheck/text.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(v.Names[0].Name, "advice") || v.Names[0].Name == "adviceEither" { // that is a part of others
			return true
		}
		found++
		words := sentence(v.Values[0])
		known := 0
		for _, a := range advices {
			if strings.Contains(words, a.words) {
				known++
			}
		}
		if known != 1 {
			t.Errorf("%s is %d kinds of advice: %q", v.Names[0].Name, known, words)
		}
		for _, l := range []Language{German, Chinese} {
			c := advised(words)
			w := DrawWindow(&Input{Status: running(), Language: l, Netcheck: c})
			if got := w.Network.Advice; len(got) != 1 || got[0] == "" || strings.Contains(words, got[0]) {
				t.Errorf("%s: %q", l, got)
			}
		}
		return true
	})
	if found < 5 {
		t.Errorf("only %d sentences were found", found)
	}
	if got := DrawWindow(&Input{Status: running(), Language: German, Netcheck: advised("of tomorrow")}).Network.Advice[0]; got != "of tomorrow" {
		t.Errorf("what is not known is %q", got)
	}
}

// advised is what a check has found that gives one advice.
func advised(advice string) *ipc.Netcheck {
	c := *found()
	c.Advice = []string{advice}
	return &c
}

// sentence is a text constant's value.
func sentence(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.BasicLit:
		words, _ := strconv.Unquote(x.Value)
		return words
	case *ast.BinaryExpr:
		return sentence(x.X) + sentence(x.Y)
	}
	return ""
}
