package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// program calls the API with a token.
type program struct {
	w     *web
	token string
}

// program makes a token for an account, as the host's administrator.
func (r *running) program(login string, scopes ...account.Scope) *program {
	r.t.Helper()
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	n, err := r.addToken(r.t.Context(), operator, TokenRequest{Name: "test", Scopes: names, User: login})
	if err != nil {
		r.t.Fatal(err)
	}
	return &program{w: r.web(), token: n.Token}
}

// call calls, and decodes the answer into reply; code is the error's.
func (p *program) call(method, path string, body, reply any) (status int, code string) {
	p.w.t.Helper()
	status, code, _ = p.marked(method, path, "", body, reply)
	return status, code
}

// marked is call for what has versions: match is the one that is to be replaced, etag the one that came.
func (p *program) marked(method, path, match string, body, reply any) (status int, code, etag string) {
	p.w.t.Helper()
	var content io.Reader
	if text, ok := body.(string); ok {
		content = strings.NewReader(text)
	} else if body != nil {
		text, _ := json.Marshal(body)
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, p.w.at+PathAPI+path, content)
	if err != nil {
		p.w.t.Fatal(err)
	}
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if match != "" {
		req.Header.Set("If-Match", match)
	}
	resp, err := p.w.Do(req)
	if err != nil {
		p.w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	checkHeaders(p.w.t, path, resp.Header)
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode >= http.StatusBadRequest {
		var e coord.ErrorReply
		if err := json.Unmarshal(text, &e); err != nil || e.Error == nil || e.Error.Message == "" || resp.Header.Get("Content-Type") != "application/json" {
			p.w.t.Fatalf("%s %s: %d is no error of ours: %s", method, path, resp.StatusCode, text)
		}
		if reply, ok := reply.(*string); ok {
			*reply = e.Error.Message
		}
		return resp.StatusCode, e.Error.Code, ""
	}
	if reply != nil {
		if err := json.Unmarshal(text, reply); err != nil {
			p.w.t.Fatalf("%s %s: %v in %s", method, path, err, text)
		}
	}
	return resp.StatusCode, "", resp.Header.Get("ETag")
}

// may reports whether an operation is open to the program. It asks for something that no operation takes, so that
// nothing is done.
func (p *program) may(o operation, path string) bool {
	p.w.t.Helper()
	_, code := p.call(o.method, strings.TrimPrefix(path, PathAPI)+"?no-operation-takes-this=1", nil, nil)
	if code == "" {
		p.w.t.Errorf("%s %s was done", o.method, path)
	}
	return code != errNotAllowed.Code
}

func TestEveryOperationTimesEveryRoleAndScope(t *testing.T) {
	var clock stepClock
	clock.set(time.Now())
	r := serveAt(t, clock.now)
	programs := map[account.Role]*program{}
	for _, role := range account.Roles {
		r.userAs(string(role), "correct horse", role)
		programs[role] = r.program(string(role), account.Scopes...)
	}
	scoped := map[account.Scope]*program{}
	for _, sc := range account.Scopes {
		scoped[sc] = r.program("owner", sc)
	}
	things := r.things()
	known := map[string]bool{}
	for _, o := range r.api.operations {
		known[o.id] = true
		clock.set(clock.now().Add(time.Second)) // or there would be too many calls by one token
		want, ok := mayOperate[o.id]
		switch {
		case !ok:
			t.Errorf("%s is not in mayOperate: say who may do it", o.id)
			continue
		case o.local:
			if _, code := programs[account.Owner].call(o.method, o.path, nil, nil); code != "not-found" {
				t.Errorf("%s is for the host only, and answers %q", o.id, code)
			}
			continue
		}
		for role, p := range programs {
			for owner, list := range map[string]string{string(role): want.own, "somebody": want.others} {
				path := things.path(PathAPI+o.path, owner)
				if got := p.may(o, path); got != slices.Contains(strings.Fields(list), string(role)) {
					t.Errorf("%s (%s) by %s: allowed is %v", o.id, path, role, got)
				}
			}
		}
		for sc, p := range scoped {
			if got := p.may(o, things.path(PathAPI+o.path, "owner")); got != slices.Contains(strings.Fields(want.scopes), string(sc)) {
				t.Errorf("%s with scope %s: allowed is %v", o.id, sc, got)
			}
		}
	}
	for id := range mayOperate {
		if !known[id] {
			t.Errorf("%s is in mayOperate, but there is no such operation", id)
		}
	}
}

// TestTheConsoleCanDoNothingThatTheAPICannot goes through the forms of the console.
func TestTheConsoleCanDoNothingThatTheAPICannot(t *testing.T) {
	r := serve(t)
	byID := map[string]operation{}
	for _, o := range r.api.operations {
		if _, twice := byID[o.id]; twice {
			t.Errorf("there are two operations %s", o.id)
		}
		byID[o.id] = o
	}
	for _, rt := range r.routes() {
		name := rt.method + " " + rt.path
		if rt.page == nil || rt.method == http.MethodGet {
			continue
		}
		if (len(rt.does) > 0) == (rt.browser != "") {
			t.Errorf("%s: name the operations of the API that it leads to, or say why it is for a browser only", name)
		}
		for _, id := range rt.does {
			o, ok := byID[id]
			switch {
			case !ok:
				t.Errorf("%s leads to %s, which is no operation of the API", name, id)
			case o.local:
				t.Errorf("%s leads to %s, which is at the host only", name, id)
			case o.reads():
				t.Errorf("%s leads to %s, which changes nothing", name, id)
			case mayCall[name].own != mayOperate[id].own || mayCall[name].others != mayOperate[id].others:
				t.Errorf("%s and %s do not serve the same: %v, %v", name, id, mayCall[name], mayOperate[id])
			}
		}
	}
}

func TestCookiesDoNotSignCalls(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	p := &program{w: r.web()}
	_, _, _ = p.w.signIn("anna", "correct horse", nil)
	if status, _, _ := p.w.ask(http.MethodGet, "/", nil); status != http.StatusOK {
		t.Fatal("she is not signed in")
	}
	if status, code := p.call(http.MethodGet, "/machines", nil, nil); status != http.StatusUnauthorized || code != "no-token" {
		t.Errorf("a cookie signs a call: %d %s", status, code)
	}
	token := r.program("anna", account.ScopeRead)
	w := r.web()
	if status, _, _ := w.ask(http.MethodGet, "/", nil, "Authorization", "Bearer "+token.token); status != http.StatusSeeOther {
		t.Errorf("a token opens the console: %d", status)
	}
}

func TestATokenIsItsMakers(t *testing.T) {
	dir := t.TempDir()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	var clock stepClock
	clock.set(time.Now())
	r := serveDir(t, dir, "127.0.0.1:0", Options{Now: clock.now})
	r.user("anna", "correct horse")
	r.userAs("bert", "correct horse", account.Admin)
	r.userAs("mia", "correct horse", account.Member)
	bert := r.program("bert", account.ScopeRead, account.ScopeUsers, account.ScopeAccount)

	var me AccountInfo
	if status, _ := bert.call(http.MethodGet, "/account", nil, &me); status != http.StatusOK || me.Login != "bert" || me.Token == nil || me.Token.Name != "test" {
		t.Errorf("%d %+v", status, me)
	}
	var made NewToken
	q := TokenRequest{Name: "child", Scopes: []string{"users"}, Days: 365}
	if status, code := bert.call(http.MethodPost, "/tokens", q, &made); status != http.StatusOK || !strings.HasPrefix(made.Token, tokenPrefix) {
		t.Fatalf("%d %s", status, code)
	}
	if made.Expires.After(me.Token.Expires) {
		t.Errorf("a token outlives the one that made it: %v, %v", made.Expires, me.Token.Expires)
	}
	for what, q := range map[string]TokenRequest{
		"more scopes": {Name: "x", Scopes: []string{"machines"}}, "another's": {Name: "x", Scopes: []string{"read"}, User: "anna"},
	} {
		if _, code := bert.call(http.MethodPost, "/tokens", q, nil); code != errNotAllowed.Code {
			t.Errorf("%s: %s", what, code)
		}
	}
	// Others see it only as owners.
	mia, anna := r.program("mia", account.Scopes...), r.program("anna", account.Scopes...)
	at := fmt.Sprint("/tokens/", made.ID)
	if _, code := mia.call(http.MethodDelete, at, nil, nil); code != errNotAllowed.Code {
		t.Errorf("mia removes bert's token: %s", code)
	}
	if _, code := mia.call(http.MethodGet, "/tokens?all=true", nil, nil); code != errNotAllowed.Code {
		t.Errorf("mia sees all tokens: %s", code)
	}
	var l TokenList
	if _, code := anna.call(http.MethodGet, "/tokens?all=true", nil, &l); code != "" || len(l.Tokens) != 4 {
		t.Errorf("anna sees %d tokens, %s", len(l.Tokens), code)
	}
	child := &program{w: r.web(), token: made.Token}
	if status, _ := child.call(http.MethodGet, "/users", nil, nil); status != http.StatusOK {
		t.Errorf("the child: %d", status)
	}
	if status, code := anna.call(http.MethodDelete, at, nil, nil); status != http.StatusNoContent {
		t.Errorf("anna removes it: %d %s", status, code)
	}
	if status, _ := child.call(http.MethodGet, "/users", nil, nil); status != http.StatusUnauthorized {
		t.Errorf("a token that was removed: %d", status)
	}
	// It is worth what its maker may do now.
	if err := r.SetRole(t.Context(), "bert", "member"); err != nil {
		t.Fatal(err)
	}
	if _, code := bert.call(http.MethodGet, "/users", nil, nil); code != errNotAllowed.Code {
		t.Errorf("who is an admin no more: %s", code)
	}
	clock.set(clock.now().Add(tokenLife))
	if status, code := bert.call(http.MethodGet, "/account", nil, nil); status != http.StatusUnauthorized || code != "token-expired" {
		t.Errorf("after its life: %d %s", status, code)
	}
	if err := r.RemoveUser(t.Context(), "mia"); err != nil {
		t.Fatal(err)
	}
	if status, _ := mia.call(http.MethodGet, "/account", nil, nil); status != http.StatusUnauthorized {
		t.Errorf("an account that is gone: %d", status)
	}
}

func TestTheAPITellsHowAccountsAreSignedInToAsTheConsoleDoes(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("mia", "correct horse", account.Member)
	_, _ = r.secondFactor("mia")
	id := r.ids()["mia"]
	err := r.store.Write(t.Context(), func(tx store.Tx) error {
		_, err1 := tx.AddPasskey(store.Passkey{User: id, Credential: []byte{1}, Name: "phone", Data: "{}", Created: r.now()})
		_, err2 := tx.AddIdentity(store.Identity{User: id, Issuer: "https://login.example.org", Subject: "7", Name: "mia@example.org", Created: r.now()})
		return errors.Join(err1, err2)
	})
	if err != nil {
		t.Fatal(err)
	}
	var me AccountInfo
	mia, anna := r.program("mia", account.ScopeRead), r.program("anna", account.ScopeRead)
	if _, code := mia.call(http.MethodGet, "/account", nil, &me); code != "" || !me.Second || !me.Password || me.Codes != account.RecoveryCodes ||
		len(me.Passkeys) != 1 || me.Passkeys[0].Name != "phone" || len(me.Identities) != 1 || me.Identities[0].Issuer != "https://login.example.org" {
		t.Errorf("%s %+v", code, me)
	}
	var l UserList
	if _, code := anna.call(http.MethodGet, "/users", nil, &l); code != "" || len(l.Users) != 2 || l.Users[0].Second || !l.Users[1].Second || !l.Users[0].Seen.IsZero() {
		t.Errorf("%s %+v", code, l)
	}
	_, _, _ = r.web().signIn("anna", "correct horse", nil)
	var u UserInfo
	if _, code := anna.call(http.MethodGet, "/users/anna", nil, &u); code != "" || u.Seen.IsZero() {
		t.Errorf("%s %+v", code, u)
	}
}

func TestOnlyOwnersLetMachinesOfOwnersIn(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.user("otto", "correct horse")
	r.userAs("bert", "correct horse", account.Admin)
	for _, c := range []struct{ by, of, code string }{
		{"bert", "anna", errNotAllowed.Code}, {"bert", "bert", ""}, {"anna", "anna", ""}, {"anna", "otto", ""}, {"anna", "bert", ""},
	} {
		if _, code := r.program(c.by, account.ScopeKeys).call(http.MethodPost, "/keys", KeyRequest{User: c.of}, nil); code != c.code {
			t.Errorf("%s makes a key for %s: %q", c.by, c.of, code)
		}
	}
}

func TestBodiesAreHeldToTheirTypes(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	p := r.program("anna", account.Scopes...)
	for _, c := range []struct{ path, body, says string }{
		{"/users", `{"login":"x","password":"secret one","rolle":"owner"}`, "rolle: there is no such field"},
		{"/users", `{"login":"x"}`, "password"},
		{"/users", `{"login":7,"password":"secret one"}`, "login: must be a string"},
		{"/users", `{"login":"x","password":"secret one"`, ""},
		{"/users", `{"login":"x","password":"` + strings.Repeat("y", 70_000) + `"}`, "too long"},
		{"/keys", `{"expirySeconds":-1}`, "expirySeconds"},
		{"/keys", `{"expirySeconds":1e99}`, ""},
		{"/tokens", `{"name":"x","scopes":["root"]}`, "root"},
		{"/users/anna/role", `{"role":"king"}`, "role"},
		{"/keys", `{"tags":[` + strings.Repeat(`"t",`, 32) + `"t"]}`, "The request does not fit: tags: may have 32 entries at the most"},
	} {
		var says string
		status, code := p.call(http.MethodPost, c.path, c.body, &says)
		if status < 400 || status >= 500 || code == "" || !strings.Contains(says, c.says) || strings.Contains(says, "secret one") {
			t.Errorf("%s %.60s: %d %s", c.path, c.body, status, says)
		}
	}
	var says string
	if status, _ := p.call(http.MethodGet, "/nothing", nil, &says); status != http.StatusNotFound || !strings.Contains(says, "/api/openapi.json") {
		t.Errorf("what is no operation: %d %s", status, says)
	}
	for _, path := range []string{"/machines?limit=0", "/machines?limit=100000", "/machines?cursor=x", "/machines?cursor=-1", "/machines?nonsense=1", "/keys/x", "/audit?since=x"} {
		if status, _ := p.call(http.MethodGet, path, nil, nil); status < 400 || status >= 500 {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func TestListsComeInPages(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	k := r.authKey(KeyOptions{Reusable: true, User: "anna"})
	for i := range 7 {
		r.device().join(fmt.Sprint("m", i), k)
	}
	p := r.program("anna", account.ScopeRead)
	var names []string
	pages := 0
	for cursor := ""; ; pages++ {
		var l MachineList
		if status, code := p.call(http.MethodGet, "/machines?limit=3&cursor="+url.QueryEscape(cursor), nil, &l); status != http.StatusOK {
			t.Fatal(status, code)
		}
		for _, m := range l.Machines {
			names = append(names, m.Name)
		}
		if cursor = l.Next; cursor == "" {
			break
		}
	}
	if got := strings.Join(names, " "); got != "m0 m1 m2 m3 m4 m5 m6" || pages != 2 {
		t.Errorf("%d more pages: %s", pages, got)
	}
	for query, want := range map[string]int{"q=m3": 1, "user=anna": 7, "user=mia": 0, "tag=x": 0, "state=offline": 7, "state=online": 0} {
		var l MachineList
		if _, code := p.call(http.MethodGet, "/machines?"+query, nil, &l); code != "" || len(l.Machines) != want || l.Machines == nil {
			t.Errorf("%s: %d machines, %s", query, len(l.Machines), code)
		}
	}
	var audit, older AuditList
	_, _ = p.call(http.MethodGet, "/audit?limit=5&what=machine", nil, &audit)
	_, _ = p.call(http.MethodGet, "/audit?limit=5&what=machine&cursor="+audit.Next, nil, &older)
	if len(audit.Lines) != 5 || len(older.Lines) != 2 || older.Next != "" || older.Lines[1].Subject != "m0" {
		t.Errorf("%+v then %+v", audit, older)
	}
}

func TestMachinesGetTags(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	d := r.device()
	d.join("nas", r.authKey(KeyOptions{User: "anna"}))
	maps, _ := d.follow(nil)
	until(t, maps, "its owner", func(m *coord.Netmap) bool { return m.Self.User.Login == "anna" && !m.Self.Expires.IsZero() })
	p := r.program("anna", account.ScopeMachines)
	if status, code := p.call(http.MethodPost, "/machines/nas/tags", TagsRequest{Tags: []string{"storage", "home", "home"}}, nil); status != http.StatusNoContent {
		t.Fatal(status, code)
	}
	until(t, maps, "its tags", func(m *coord.Netmap) bool {
		return slices.Equal(m.Self.Tags, []string{"home", "storage"}) && m.Self.User.ID == 0 && m.Self.Expires.IsZero()
	})
	var says string
	if status, _ := p.call(http.MethodPost, "/machines/nas/tags", TagsRequest{Tags: []string{"Not A Tag"}}, &says); status != http.StatusBadRequest || !strings.Contains(says, "lower-case") {
		t.Errorf("%d %s", status, says)
	}
	if status, _ := p.call(http.MethodPost, "/machines/nas/tags", TagsRequest{Tags: []string{}}, nil); status != http.StatusNoContent {
		t.Error(status)
	}
	until(t, maps, "no tags", func(m *coord.Netmap) bool { return len(m.Self.Tags) == 0 })
}

func TestATokenCallsOnlySoOften(t *testing.T) {
	m, now := newMeter(), time.Now()
	passed := 0
	for range 3 * callsAtOnce {
		if m.allow(now, 1) {
			passed++
		}
	}
	if passed != callsAtOnce || !m.allow(now, 2) || !m.allow(now.Add(time.Second), 1) {
		t.Errorf("%d calls passed at once", passed)
	}
	for i := range int64(2 * maxMetered) {
		m.allow(now, i)
	}
	if len(m.byToken) > maxMetered {
		t.Errorf("%d tokens are counted", len(m.byToken))
	}
}

func TestOpenAPIDescribesEveryOperation(t *testing.T) {
	r := serve(t)
	_, text, _ := r.web().ask(http.MethodGet, "/api/openapi.json", nil)
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Security    []map[string][]string
			Responses   map[string]any
		}
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("%v: %.200s", err, text)
	}
	for _, o := range r.api.operations {
		d, ok := doc.Paths[PathAPI+o.path][strings.ToLower(o.method)]
		if ok == o.local || ok && (d.OperationID != o.id || len(d.Security) == 0 || len(d.Responses) == 0) {
			t.Errorf("%s: %+v, %v", o.id, d, ok)
		}
	}
	if !strings.Contains(text, `"code"`) || strings.Contains(text, "ErrorModel") || strings.Contains(text, "$schema") {
		t.Error("errors are not described as they are")
	}
	if _, text, _ := r.web().ask(http.MethodGet, "/api/openapi.yaml", nil); !strings.HasPrefix(strings.TrimSpace(text), "components:") && !strings.Contains(text, "openapi: ") {
		t.Errorf("%.200s", text)
	}
}

// stepClock is a clock that a test sets.
type stepClock struct{ at atomic.Int64 }

func (c *stepClock) now() time.Time  { return time.Unix(0, c.at.Load()) }
func (c *stepClock) set(t time.Time) { c.at.Store(t.UnixNano()) }

func TestTokensInTheConsole(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("mia", "correct horse", account.Member)
	r.device().join("nas", r.authKey(KeyOptions{User: "mia"}))
	_ = r.program("mia", account.ScopeRead)
	b := newBrowser(t)
	b.do("front page", chromedp.Navigate(r.URL()+"/"))
	b.signInAs("anna")
	b.do("tokens", chromedp.Navigate(r.URL()+"/profile"), chromedp.Click(`a[href="/tokens"]`))
	b.sees("Make a token")
	b.do("fill in", chromedp.SendKeys("#name", "nightly backup"), chromedp.Click(`input[value=machines]`))
	b.picture("tokens")
	b.do("make", chromedp.Click(".fields button"))
	b.sees("Your token is ready")
	token, err := chromedp.Run(b.ctx, chromedp.Text("code.copy"))
	if err != nil || !strings.HasPrefix(token, tokenPrefix) {
		t.Fatalf("the token is %q, %v", token, err)
	}
	p := &program{w: r.web(), token: token}
	if status, code := p.call(http.MethodPost, "/machines/nas/name", RenameRequest{Name: "archive"}, nil); status != http.StatusNoContent {
		t.Errorf("it renames: %d %s", status, code)
	}
	if _, code := p.call(http.MethodDelete, "/users/mia", nil, nil); code != errNotAllowed.Code {
		t.Errorf("it removes an account: %s", code)
	}
	b.do("back", chromedp.Click(".button.wide"))
	b.sees("just now")
	b.sees("mia")
	b.do("revoke", chromedp.Click(`form[action="/tokens/2/remove"] button`), chromedp.WaitNotPresent(`form[action="/tokens/2/remove"]`))
	b.lacks("nightly backup")
	b.do("API", chromedp.Click(`a[href="/api"]`))
	b.sees("/api/v1/machines/{id}/tags")
	b.picture("api")
	b.do("machine", chromedp.Navigate(r.URL()+"/machines/"+r.machineID("archive")), chromedp.SendKeys("#tags", "storage home"), chromedp.Submit("#tags"), chromedp.WaitVisible(`#tags[value="home storage "]`))
	b.picture("machine-tags")
	if m, err := r.machineNamed("archive"); err != nil || !slices.Equal(m.Node.Tags, []string{"home", "storage"}) || m.Node.User.ID != 0 {
		t.Errorf("the machine is %+v, %v", m.Node, err)
	}
}
