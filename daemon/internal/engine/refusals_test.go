package engine

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/ipc"
)

// What the server says, and what keeps a machine from it, gets through with its reason: programs have words of their own for each.
func TestEveryWordOfTheServerHasAReason(t *testing.T) {
	explained := func(err error) *ipc.Error {
		var e *ipc.Error
		if !errors.As(explain(err), &e) {
			t.Fatalf("%v is explained as no refusal", err)
		}
		return e
	}
	codes := codesOf(t, "../../../coord/wire.go", "Code")
	for _, code := range codes {
		e := explained(&coord.Error{Status: 403, Code: code, Message: "no"})
		if n, known := ipc.Reasons[e.Reason]; !known || n != len(e.About) || e.Message != "no" {
			t.Errorf("the refusal %s is %+v", code, e)
		}
	}
	about := map[string][]string{coord.TroubleWrongServer: {"a", "b"}, coord.TroubleUnverified: {"a"}, coord.TroubleClock: {"3"}}
	troubles := codesOf(t, "../../../coord/client_text.go", "Trouble")
	for _, code := range troubles {
		e := explained(&coord.Trouble{Code: code, Host: "h", About: about[code], Err: errors.New("h is away")})
		if n, known := ipc.Reasons[e.Reason]; !known || n != len(e.About) || e.About[0] != "h" || e.Message != "h is away" {
			t.Errorf("the trouble %s is %+v", code, e)
		}
	}
	if len(codes) < 10 || len(troubles) < 10 {
		t.Errorf("only %d codes and %d troubles were found", len(codes), len(troubles))
	}
	if e := explained(&coord.Error{Code: "of-tomorrow", Message: "no"}); e.Reason != "" || e.Code != ipc.CodeCoord {
		t.Errorf("a code that is not known is %+v", e)
	}
	if e := explained(&coord.Error{Code: coord.TroubleNoHost, Message: "no"}); e.Reason != "" {
		t.Errorf("a server that speaks as if it could not be reached is %+v", e)
	}
}

// codesOf are the values of a file's constants whose names begin so.
func codesOf(t *testing.T, path, prefix string) (codes []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(v.Names[0].Name, prefix) && len(v.Values) == 1 {
			if text, ok := v.Values[0].(*ast.BasicLit); ok {
				code, _ := strconv.Unquote(text.Value)
				codes = append(codes, code)
			}
		}
		return true
	})
	return codes
}

// Whoever was never there cannot know the server by another identity: it is the invite that names another.
func TestAnInviteOfAnotherServerIsToldAsThat(t *testing.T) {
	onMachine(t, func(m *machine) {
		refused := func(r ipc.UpRequest) *ipc.Error {
			var e *ipc.Error
			if _, err := m.Up(context.Background(), r); !errors.As(err, &e) || !errors.Is(err, &ipc.Error{Code: ipc.CodeIdentity}) {
				t.Fatalf("up: %v", err)
			}
			return e
		}
		m.srv.set(func(s *server) { s.other = true })
		e := refused(ipc.UpRequest{Server: serverURL, ServerKey: key.NewServer().Public().String()})
		if e.Reason != ipc.ReasonOtherServer || !slices.Equal(e.About, []string{"coord.example", "KNOWN", "SHOWN"}) || strings.Contains(e.Message, "this machine knows") {
			t.Errorf("at the first join: %+v", e)
		}
		m.srv.set(func(s *server) { s.other = false })
		m.up(ipc.UpRequest{Server: serverURL, ServerKey: m.srv.key.String(), AuthKey: "good"})
		m.srv.set(func(s *server) { s.other = true })
		for name, r := range map[string]ipc.UpRequest{"later": {Reauth: true}, "later, with the link": {Server: serverURL, ServerKey: m.srv.key.String(), Reauth: true}} {
			if e := refused(r); e.Reason != ipc.ReasonWrongServer || !slices.Equal(e.About, []string{"coord.example", "SHOWN", "KNOWN"}) || !strings.Contains(e.Message, "this machine knows") {
				t.Errorf("%s: %+v", name, e)
			}
		}
	})
}
