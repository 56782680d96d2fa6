package server

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// web is a browser without a picture.
type web struct {
	*http.Client
	t  testing.TB
	at string
}

func (r *running) web() *web {
	jar, _ := cookiejar.New(nil)
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}} //nolint:gosec // loopback
	r.t.Cleanup(tr.CloseIdleConnections)
	return &web{t: r.t, at: r.URL(), Client: &http.Client{
		Transport: tr, Jar: jar, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// ask makes a request as a browser does.
func (w *web) ask(method, path string, form url.Values, header ...string) (status int, body string, h http.Header) {
	w.t.Helper()
	var content io.Reader
	if form != nil {
		content = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequest(method, w.at+path, content)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := w.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), resp.Header
}

var tokenField = regexp.MustCompile(`action="([^"]*)"[^>]*>\s*<input type="hidden" name="token" value="([0-9a-f]+)"`)

// token finds the token of the form with the action.
func (w *web) token(page, action string) string {
	w.t.Helper()
	for _, m := range tokenField.FindAllStringSubmatch(page, -1) {
		if m[1] == action {
			return m[2]
		}
	}
	w.t.Fatalf("no form with action %s in %s", action, page)
	return ""
}

func (w *web) signIn(login, password string, more url.Values) (status int, page string, h http.Header) {
	w.t.Helper()
	_, page, _ = w.ask(http.MethodGet, "/signin", nil)
	f := url.Values{"token": {w.token(page, "/signin")}, "login": {login}, "password": {password}}
	for k, v := range more {
		f[k] = v
	}
	return w.ask(http.MethodPost, "/signin", f)
}

// TestEveryRouteRefusesStrangers goes through the server's own table. A route that is for anyone stands here by name.
func TestEveryRouteRefusesStrangers(t *testing.T) {
	r := serve(t)
	public := map[string]bool{
		"POST /v1/hello": true, "POST /v1/session": true, "GET /healthz": true, "GET /api/openapi.json": true, "GET /api/openapi.yaml": true, "GET /readyz": true, "GET /static/{name}": true, "GET /join": true,
		"GET /signin": true, "POST /signin": true, "GET /signin/with/{id}": true, "GET /signin/callback": true, "POST /signin/passkey": true, "GET /signin/second": true, "POST /signin/second": true, "GET /signup": true, "POST /signup": true, "GET /login": true, "GET /login/{id}": true, "GET /setup/{id}": true, "POST /setup/{id}": true, "GET /invite/{id}": true,
		"POST /invite/{id}": true, "GET /login/{id}/done": true,
	}
	w := r.web() // a handshake for each of the requests would take most of the time
	w.Jar = nil
	for _, rt := range r.routes() {
		name := rt.method + " " + rt.path
		open := rt.access == anyone || rt.access == visitor
		if open != public[name] {
			t.Errorf("%s: open to strangers is %v, which this test does not expect", name, open)
		}
		path := strings.NewReplacer("{id}", strings.Repeat("A", 22), "{name}", "warren.css", "{$}", "").Replace(rt.path)
		for _, auth := range []string{"", "Bearer ", "Bearer " + strings.Repeat("A", 43), "Basic YTpi"} {
			for _, body := range []string{"", "{}", `{"machine":"machine:00"}`} {
				req, _ := http.NewRequest(rt.method, r.URL()+path, strings.NewReader(body))
				if auth != "" {
					req.Header.Set("Authorization", auth)
				}
				req.Header.Set("Content-Type", "application/json")
				resp, err := w.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				text, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				checkHeaders(t, name, resp.Header)
				switch {
				case rt.access == machine:
					var e coord.ErrorReply
					if json.Unmarshal(text, &e) != nil || e.Error == nil || e.Error.Code != coord.CodeNoSession || resp.StatusCode != http.StatusUnauthorized {
						t.Errorf("%s with %q: %s %s", name, auth, resp.Status, text)
					}
				case rt.access == bearer:
					var e coord.ErrorReply
					if json.Unmarshal(text, &e) != nil || e.Error == nil || e.Error.Code != errNoToken.Code || resp.StatusCode != http.StatusUnauthorized ||
						resp.Header.Get("WWW-Authenticate") != "Bearer" {
						t.Errorf("%s with %q: %s %s", name, auth, resp.Status, text)
					}
				case rt.access == signedIn:
					if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/signin" {
						t.Errorf("%s with %q: %s", name, auth, resp.Status)
					}
				case resp.StatusCode >= http.StatusInternalServerError:
					t.Errorf("%s with %q: %s %s", name, body, resp.Status, text)
				}
			}
		}
	}
}

func checkHeaders(t testing.TB, name string, h http.Header) {
	t.Helper()
	csp := h.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("%s: policy %q lacks %s", name, csp, want)
		}
	}
	if strings.Contains(csp, "unsafe") || strings.Contains(csp, "script-src") || h.Get("X-Content-Type-Options") != "nosniff" ||
		h.Get("Referrer-Policy") != "no-referrer" || h.Get("Strict-Transport-Security") == "" || h.Get("X-Frame-Options") != "DENY" {
		t.Errorf("%s: headers %v", name, h)
	}
}

func TestFormsHoldTheirTokensAndTheirSite(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	d := r.device()
	reply := d.login("nas", "")
	path := coord.PathLogin + reply.LoginID
	w := r.web()
	if status, page, _ := w.signIn("anna", "correct horse", url.Values{"id": {reply.LoginID}}); status != http.StatusSeeOther {
		t.Fatalf("sign-in: %d %s", status, page)
	}
	_, page, _ := w.ask(http.MethodGet, path, nil)
	good := url.Values{"token": {w.token(page, path)}, "do": {"connect"}, "code": {reply.Code}}
	other := r.web()
	_, _, _ = other.signIn("anna", "correct horse", nil)
	for name, try := range map[string]func() (int, string, http.Header){
		"without a token": func() (int, string, http.Header) {
			return w.ask(http.MethodPost, path, url.Values{"do": {"connect"}, "code": {reply.Code}})
		},
		"with another's token": func() (int, string, http.Header) { return other.ask(http.MethodPost, path, good) },
		"with another form's": func() (int, string, http.Header) {
			return w.ask(http.MethodPost, "/signout", url.Values{"token": good["token"]})
		},
		"from another site": func() (int, string, http.Header) {
			return w.ask(http.MethodPost, path, good, "Sec-Fetch-Site", "cross-site")
		},
		"from a sibling origin": func() (int, string, http.Header) {
			return w.ask(http.MethodPost, path, good, "Origin", "https://evil.example")
		},
	} {
		if status, text, _ := try(); status != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if status, _, h := w.ask(http.MethodPost, path, good); status != http.StatusSeeOther || h.Get("Location") != path+"/done" {
		t.Errorf("the good form: %d", status)
	}
}

func TestSignInMakesANewSessionAndLeadsNowhereElse(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	w := r.web()
	at, _ := url.Parse(r.URL())
	w.Jar.SetCookies(at, []*http.Cookie{{Name: cookieSession, Value: strings.Repeat("A", 26), Path: "/", Secure: true}})
	status, _, h := w.signIn("anna", "correct horse", nil)
	if status != http.StatusSeeOther || h.Get("Location") != "/" {
		t.Fatalf("sign-in: %d to %s", status, h.Get("Location"))
	}
	var session *http.Cookie
	for _, c := range (&http.Response{Header: h}).Cookies() {
		if c.Name == cookieSession {
			session = c
		}
	}
	if session == nil || session.Value == strings.Repeat("A", 26) || !session.Secure || !session.HttpOnly || session.SameSite != http.SameSiteLaxMode || session.Domain != "" {
		t.Errorf("session cookie %+v", session)
	}
	if _, page, _ := w.ask(http.MethodGet, "/", nil); !strings.Contains(page, "No machines yet") {
		t.Error("the console does not show")
	}
	for _, bad := range []url.Values{
		{"id": {"//evil.example"}},
		{"id": {strings.Repeat("A", 22)}, "port": {"80"}, "state": {strings.Repeat("s", 20)}},
		{"id": {strings.Repeat("A", 22)}, "port": {"8080@evil.example"}, "state": {strings.Repeat("s", 20)}},
		{"id": {strings.Repeat("A", 22)}, "port": {"8080"}, "state": {"x&code=y"}},
		{"id": {strings.Repeat("A", 22)}, "port": {"08080"}, "state": {strings.Repeat("s", 20)}},
	} {
		if status, _, h := r.web().signIn("anna", "correct horse", bad); status == http.StatusSeeOther {
			t.Errorf("%v led to %s", bad, h.Get("Location"))
		}
	}
	if err := r.SetPassword(t.Context(), "anna", "battery staple"); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := w.ask(http.MethodGet, "/", nil); status != http.StatusSeeOther {
		t.Error("a new password left the old session open")
	}
}

func TestUnknownAndKnownNamesLookAlikeAndGuessesAreThrottled(t *testing.T) {
	dir := t.TempDir()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	now := time.Now() // stands still: a slow machine must not let the wait pass
	r := serveDir(t, dir, "127.0.0.1:0", Options{Now: func() time.Time { return now }})
	r.user("anna", "correct horse")
	r.user("otto", "correct horse")
	r.secondFactor("otto")
	r.userAs("pia", "correct horse", account.Member)
	err := r.store.Write(t.Context(), func(tx store.Tx) error { // signs in with a passkey only
		u, err := tx.UserByLogin("pia")
		if err != nil {
			return err
		}
		_, err = tx.AddPasskey(store.Passkey{User: u.ID, Credential: []byte{1}, Name: "phone", Data: "{}"})
		if err != nil {
			return err
		}
		return tx.SetPassword(u.ID, "")
	})
	if err != nil {
		t.Fatal(err)
	}
	strip := regexp.MustCompile(`value="[^"]*"`)
	status, known, _ := r.web().signIn("anna", "wrong", nil)
	for _, login := range []string{"nobody", "otto", "pia", "<b>"} {
		w := r.web()
		code, page, _ := w.signIn(login, "wrong", nil)
		if code != status || strip.ReplaceAllString(known, "") != strip.ReplaceAllString(page, "") || w.cookie(cookieStep) != "" {
			t.Errorf("the page for %s differs", login)
		}
	}
	for range 4 {
		_, _, _ = r.web().signIn("anna", "wrong", nil)
	}
	if status, page, _ := r.web().signIn("anna", "correct horse", nil); status != http.StatusTooManyRequests || !strings.Contains(page, "Too many wrong guesses") {
		t.Errorf("the sixth guess: %d", status)
	}
}

func TestHostileNamesAreOnlyText(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	k := r.authKey(KeyOptions{Reusable: true})
	for _, name := range []string{
		"<script>alert(1)</script>", "a\x00b\x1b[31m", "\u202egpj.exe", "-oProxyCommand=x", "wpad.\n", strings.Repeat("x", 10_000), "", "..", "ÄÖÜ",
	} {
		d := r.device()
		_, err := d.Register(t.Context(), d.node, coord.RegisterRequest{Hostname: name, OS: name, Version: name, AuthKey: k})
		if err != nil {
			t.Errorf("%.20q: %v", name, err)
		}
		if err := d.Update(t.Context(), coord.NodeUpdate{Hostname: name, OS: name, Version: name}); err != nil {
			t.Errorf("%.20q: %v", name, err)
		}
	}
	for _, m := range r.Machines() {
		if err := m.Validate(&r.network); err != nil {
			t.Error(err)
		}
	}
	w := r.web()
	_, _, _ = w.signIn("anna", "correct horse", nil)
	_, page, _ := w.ask(http.MethodGet, "/", nil)
	page = strings.Replace(page, `<script src="/static/live.js?v=`+assetsHash+`" defer></script>`, "", 1) // our own
	if strings.Contains(page, "<script") || strings.ContainsRune(page, 0x202e) {
		t.Error("a machine's text is in the page as it is")
	}
}

func TestTheLoopbackCodeNeedsItsVerifierAndServesOnce(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	verifier, state := strings.Repeat("v", 43), strings.Repeat("s", 20)
	approve := func(d *device) (id, code string) {
		reply := d.login("laptop", coord.CodeChallenge(verifier))
		w, path := r.web(), coord.PathLogin+reply.LoginID
		_, _, _ = w.signIn("anna", "correct horse", nil)
		q := "?" + url.Values{"port": {"40000"}, "state": {state}}.Encode()
		_, page, h := w.ask(http.MethodGet, path+q, nil)
		if csp := h.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' http://127.0.0.1:40000;") {
			t.Errorf("policy %s", csp)
		}
		_, _, h = w.ask(http.MethodPost, path, url.Values{"token": {w.token(page, path)}, "do": {"connect"}, "port": {"40000"}, "state": {state}})
		to, err := url.Parse(h.Get("Location"))
		if err != nil || to.Host != "127.0.0.1:40000" || to.Path != "/done" || to.Query().Get("state") != state {
			t.Fatalf("led to %v", to)
		}
		return reply.LoginID, to.Query().Get("code")
	}
	d := r.device()
	id, code := approve(d)
	stranger := r.device()
	wantCode(t, stranger.FinishLogin(t.Context(), coord.CodeRequest{LoginID: id, Code: code, Verifier: verifier}), coord.CodeLoginUnknown)
	if err := d.FinishLogin(t.Context(), coord.CodeRequest{LoginID: id, Code: code, Verifier: verifier}); err != nil {
		t.Fatal(err)
	}
	if m := r.Machines(); len(m) != 1 || m[0].User.Login != "anna" {
		t.Errorf("machines %+v", m)
	}
	for _, req := range []coord.CodeRequest{
		{Verifier: strings.Repeat("w", 43)}, {Code: strings.Repeat("A", 43), Verifier: verifier},
	} {
		d := r.device()
		id, code := approve(d)
		req.LoginID = id
		if req.Code == "" {
			req.Code = code
		}
		wantCode(t, d.FinishLogin(t.Context(), req), coord.CodeLoginUnknown)
		wantCode(t, d.FinishLogin(t.Context(), coord.CodeRequest{LoginID: id, Code: code, Verifier: verifier}), coord.CodeLoginUnknown)
	}
}

// FuzzRequests sends anything to every route of machines, as a machine with a session.
func FuzzRequests(f *testing.F) {
	f.Add(uint8(0), []byte(`{"nonce":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`), "")
	f.Add(uint8(1), []byte(`{"machine":"machine:00","nonce":"","clientNonce":"","sig":""}`), "")
	f.Add(uint8(2), []byte(`{"node":"","proof":"","hostname":"x","authKey":"wk_"}`), "")
	f.Add(uint8(3), []byte(`{}`), "id=AAAAAAAAAAAAAAAAAAAAAA")
	f.Add(uint8(4), []byte(`{"loginId":"AAAAAAAAAAAAAAAAAAAAAA","code":"","verifier":""}`), "")
	f.Add(uint8(5), []byte(`{"disco":"","endpoints":[{"addr":"192.0.2.1:1","kind":"local"}],"relay":1}`), "")
	f.Add(uint8(14), []byte(`login=a&password=b&token=c`), "port=1&state=x")
	r := serve(f)
	d := r.device()
	d.join("m", r.authKey(KeyOptions{}))
	if _, err := d.Connect(f.Context()); err != nil {
		f.Fatal(err)
	}
	token, _ := r.sessions.start(r.now(), d.mach.Public(), nonce{1})
	routes, h := r.routes(), r.Handler()
	f.Fuzz(func(t *testing.T, which uint8, body []byte, query string) {
		rt := routes[int(which)%len(routes)]
		if rt.path == coord.PathNetmap || rt.path == coord.PathLogout || rt.path == coord.PathRegisterWait {
			query = "after=x&id=" + url.QueryEscape(query)
			if rt.path != coord.PathNetmap {
				return
			}
		}
		path := strings.NewReplacer("{id}", strings.Repeat("A", 22), "{name}", "x", "{$}", "").Replace(rt.path)
		req, err := http.NewRequest(rt.method, "https://coord"+path+"?"+query, bytes.NewReader(body))
		if err != nil {
			return
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", []string{"application/json", "application/x-www-form-urlencoded"}[which%2])
		w := &recorder{header: http.Header{}}
		h.ServeHTTP(w, req)
		if w.status >= http.StatusInternalServerError {
			t.Errorf("%s %s with %q: %d", rt.method, path, body, w.status)
		}
	})
}

// recorder is an answer that nobody reads.
type recorder struct {
	header http.Header
	status int
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) Write(b []byte) (int, error) { return len(b), nil }
func (w *recorder) WriteHeader(status int)      { w.status = status }

func FuzzLoginLink(f *testing.F) {
	f.Add(strings.Repeat("A", 22), "40000", strings.Repeat("s", 20))
	f.Add("//evil.example", "80", "&code=")
	f.Fuzz(func(t *testing.T, id, port, state string) {
		ref, err := parseLoginRef(id, port, state)
		if err != nil {
			return
		}
		u, err := url.Parse(ref.path())
		if err != nil || u.Host != "" || u.Scheme != "" || (ref != nil && u.Path != coord.PathLogin+id) {
			t.Errorf("%q %q %q leads to %q", id, port, state, ref.path())
		}
		if ref != nil && ref.Port != 0 {
			if back, err := url.Parse(ref.loopback()); err != nil || back.Hostname() != "127.0.0.1" || back.User != nil {
				t.Errorf("%q leads to %q", port, ref.loopback())
			}
		}
	})
}
