package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// firstPiece is an answer whose reader has something done after the first piece.
type firstPiece struct {
	*httptest.ResponseRecorder
	then func()
}

func (p *firstPiece) Flush() {
	p.ResponseRecorder.Flush()
	if p.then != nil {
		p.then()
		p.then = nil
	}
}

// exported asks for the log as a file, and tells how many lines come, and whether the answer was broken off.
func (r *running) exported(path string, h http.Header, then func()) (lines int, cut bool) {
	r.t.Helper()
	req := httptest.NewRequest(http.MethodGet, r.URL()+path, nil)
	req.Header = h
	w := &firstPiece{httptest.NewRecorder(), then}
	defer func() {
		cut = recover() != nil
		if w.Code != http.StatusOK {
			r.t.Errorf("%d %s", w.Code, w.Body)
		}
		lines = strings.Count(w.Body.String(), "\n")
	}()
	r.Handler().ServeHTTP(w, req)
	return
}

// An export may last as long as its reader likes, but no longer than the right to it.
func TestAnExportEndsWithTheRightToIt(t *testing.T) {
	r := serve(t)
	err := r.store.Write(t.Context(), func(tx store.Tx) error {
		for i := range auditChunk * 2 {
			if err := r.record(tx, operator, actMachineRename, fmt.Sprint("m", i), nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	const console, program = "/audit/export?format=jsonl", "/api/v1/audit/export?format=jsonl"
	for i, end := range []struct {
		name string
		do   func(login string, token NewToken, sign http.Header)
	}{
		{"the role", func(login string, _ NewToken, _ http.Header) { ok(r.SetRole(t.Context(), login, "member")) }},
		{"the sign-in or the token", func(_ string, n NewToken, h http.Header) {
			ok(r.removeToken(t.Context(), operator, n.ID))
			req := httptest.NewRequest(http.MethodGet, "/", nil)
			req.Header = h
			v, err := r.visit(req)
			ok(err)
			ok(r.store.Write(t.Context(), func(tx store.Tx) error { return tx.RemoveWebSession(v.session) }))
		}},
		{"the account", func(login string, _ NewToken, _ http.Header) { ok(r.RemoveUser(t.Context(), login)) }},
	} {
		for _, path := range []string{console, program} {
			login := fmt.Sprintf("a%d%s", i, map[string]string{console: "c", program: "p"}[path])
			r.userAs(login, "correct horse", account.Auditor)
			w := r.web()
			_, _, _ = w.signIn(login, "correct horse", nil)
			at, err := url.Parse(r.URL())
			ok(err)
			browser := http.Header{"Accept": {"text/html"}}
			for _, c := range w.Jar.Cookies(at) {
				browser.Add("Cookie", c.Name+"="+c.Value)
			}
			n, err := r.addToken(t.Context(), operator, TokenRequest{Name: "test", Scopes: []string{string(account.ScopeRead)}, User: login})
			ok(err)
			h := browser
			if path == program {
				h = http.Header{"Authorization": {"Bearer " + n.Token}}
			}
			if lines, cut := r.exported(path, h, nil); cut || lines < 2*auditChunk {
				t.Fatalf("%s, %s: %d lines though nothing ended, broken off: %v", end.name, path, lines, cut)
			}
			if lines, cut := r.exported(path, h, func() { end.do(login, n, browser) }); !cut || lines != auditChunk {
				t.Errorf("%s, %s: %d lines, broken off: %v", end.name, path, lines, cut)
			}
		}
	}
}
