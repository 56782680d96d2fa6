package server

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/idp"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// provider adds a provider to the server and gives its number. Without an issuer it describes itself, and no more.
func (r *running) provider(p NewProvider) string {
	r.t.Helper()
	if p.Issuer == "" {
		var srv *httptest.Server
		srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]any{
				"issuer": srv.URL, "authorization_endpoint": srv.URL + "/auth", "token_endpoint": srv.URL + "/token", "jwks_uri": srv.URL + "/keys",
			})
		}))
		r.t.Cleanup(srv.Close)
		p.Issuer = srv.URL
	}
	if p.Client == "" {
		p.Client, p.Secret = "warren", "the-secret-of-the-client"
	}
	if err := r.AddProvider(r.t.Context(), p); err != nil {
		r.t.Fatal(err)
	}
	id := ""
	err := r.store.Read(r.t.Context(), func(tx store.Tx) error {
		all, err := tx.Providers()
		for _, q := range all {
			if q.Name == p.Name {
				id = fmt.Sprint(q.ID)
			}
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// certified starts a real provider, a certified one. accounts are its people's claims, by their subject.
func (r *running) certified(accounts map[string]map[string]any) (issuer string) {
	r.t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		r.t.Fatal("needs node: make deps installs it")
	}
	arg, err := json.Marshal(map[string]any{"redirect": []string{r.URL() + pathCallback}, "accounts": accounts})
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.Command(node, "testdata/provider/provider.mjs", string(arg))
	in, err := cmd.StdinPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "http://") {
			return lines.Text()
		}
	}
	_ = in.Close()
	_ = cmd.Wait() // it has said all
	r.t.Fatalf("the provider did not start (make deps installs it): %s", said.String())
	return ""
}

// at signs in at the provider's own page, as the subject.
func (b *browser) at(subject string) {
	b.t.Helper()
	b.do("sign in at the provider", chromedp.WaitVisible("input[name=login]"), chromedp.SendKeys("input[name=login]", subject),
		chromedp.SendKeys("input[name=password]", "whatever\n"))
}

func TestAPersonSignsInWithAProviderInTheMiddleOfALogin(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	issuer := r.certified(map[string]map[string]any{
		"s-1": {"preferred_username": "Anna", "name": "Anna A.", "email": "anna@example.org", "email_verified": true},
		"s-2": {"preferred_username": "bert", "email": "bert@elsewhere.example", "email_verified": true},
	})
	b := newBrowser(t)
	b.do("front page", chromedp.Navigate(r.URL()+"/"))
	b.signInAs("anna")
	b.do("providers", chromedp.Navigate(r.URL()+"/providers"))
	b.sees("No providers yet")
	b.do("a wrong issuer", chromedp.SendKeys("#name", "Example"), chromedp.SendKeys("#issuer", r.URL()), chromedp.SendKeys("#client", "warren"), chromedp.Click("form.gap button"))
	b.sees("does not answer as a provider does")
	b.picture("provider-wrong")
	b.do("add", chromedp.SetValue("#issuer", issuer), chromedp.SendKeys("#secret", "the-secret-of-the-client"), chromedp.SendKeys("#domains", "Example.org"),
		chromedp.Click("form.gap button"))
	b.sees("Remove Example")
	b.picture("providers")
	b.signOut()
	b.sees("Sign in with Example")
	b.picture("signin-with")

	d := r.device()
	reply := d.login("annas-laptop", "")
	login := r.URL() + coord.PathLogin + reply.LoginID
	b.do("somebody without an account", chromedp.Navigate(login), chromedp.Click(".with a"))
	b.at("s-1")
	b.sees("Nobody here is known by this account at Example")
	b.picture("provider-nobody")
	r.set(func(c *Settings) { c.SignUp, c.Domains = SignUpDomains, []string{"example.org"} })
	b.do("once more", chromedp.Navigate(login), chromedp.Click(".with a")) // signed in at the provider by now
	b.sees("Connect this machine?")
	if at := b.location(); at != login {
		t.Errorf("the address bar says %s", at)
	}
	b.do("connect", chromedp.SendKeys("#code", reply.Code+"\n"))
	b.sees("Connected")
	if m := r.Machines(); len(m) != 1 || m[0].User.Login != "anna-2" {
		t.Errorf("machines %+v", m)
	}
	b.do("profile", chromedp.Navigate(r.URL()+"/profile"))
	b.sees("as anna@example.org")
	b.sees("Set a password")
	b.picture("profile-with")
	b.do("the last way in", chromedp.Click(`form[action^="/profile/identities"] button`))
	b.sees("This is the only way in")
	b.do("a password", chromedp.SendKeys("#next", "battery staple"), chromedp.SendKeys("#again", "battery staple\n"))
	b.sees("Change the password")
	b.do("not the last any more", chromedp.Click(`form[action^="/profile/identities"] button`))
	b.sees("an account that you have elsewhere")
}

func TestAnIdentityIsAddedFromOnesOwnProfileOnly(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.user("otto", "correct horse")
	claims := map[string]any{"preferred_username": "anna", "email": "anna@example.org", "email_verified": true}
	for _, name := range []string{"One", "Two"} { // say the same of two people
		_ = r.provider(NewProvider{Name: name, Issuer: r.certified(map[string]map[string]any{"same": claims}), ProviderOptions: ProviderOptions{SignUp: name == "Two"}})
	}
	b := newBrowser(t)
	b.do("front page", chromedp.Navigate(r.URL()+"/"))
	b.signInAs("anna")
	b.do("add", chromedp.Navigate(r.URL()+"/profile"), chromedp.Click(`a[href^="/profile/link/"]`))
	b.at("same")
	b.sees("Sign in with One from now on?")
	b.picture("link")
	if at := b.location(); at != r.URL()+pathLink {
		t.Errorf("the address bar says %s", at)
	}
	b.do("yes", chromedp.Click("button.main"))
	b.sees("as anna@example.org")
	b.signOut()
	b.do("sign in with One", chromedp.Click(".with a"))
	b.sees("No machines yet")
	b.sees("anna")
	b.signOut()
	b.do("with Two, which says the same", chromedp.Click(".with a:nth-child(2)"))
	b.at("same")
	b.sees("No machines yet")
	b.sees("anna-2")
	if ids := r.ids(); len(ids) != 3 {
		t.Errorf("accounts %v", ids)
	}
	b.signOut()
	b.signInAs("otto")
	b.do("what is anna's", chromedp.Navigate(r.URL()+"/profile"), chromedp.Click(`a[href^="/profile/link/"]`))
	b.at("same") // both providers are one host to the browser, and Two's cookie took the place of One's
	b.sees("Sign in with One from now on?")
	b.do("yes", chromedp.Click("button.main"))
	b.sees("Another account here is signed in to with this")
}

// walk follows a sign-in at a certified provider without a picture, and gives the path of the callback.
func (w *web) walk(path, subject string) (callback string) {
	w.t.Helper()
	_, _, h := w.ask(http.MethodGet, path, nil)
	return w.walkFrom(h.Get("Location"), subject)
}

func (w *web) walkFrom(at, subject string) (callback string) {
	w.t.Helper()
	for range 10 {
		resp, err := w.Get(at)
		if err != nil {
			w.t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK { // the provider asks
			if resp, err = w.PostForm(at, url.Values{"prompt": {"login"}, "login": {subject}, "password": {"x"}}); err != nil {
				w.t.Fatal(err)
			}
			_ = resp.Body.Close()
		}
		next, err := resp.Location()
		if err != nil {
			w.t.Fatalf("%s: %d, %v", at, resp.StatusCode, err)
		}
		if at = next.String(); strings.HasPrefix(at, w.at+pathCallback) {
			return strings.TrimPrefix(at, w.at)
		}
	}
	w.t.Fatal("it led round and round")
	return ""
}

func TestACallbackServesOneBrowserOnce(t *testing.T) {
	r := serve(t)
	issuer := r.certified(map[string]map[string]any{"s": {"preferred_username": "anna"}})
	with := pathWith + r.provider(NewProvider{Name: "Work", Issuer: issuer, ProviderOptions: ProviderOptions{SignUp: true}})
	w, thief := r.web(), r.web()
	_, _, _ = thief.ask(http.MethodGet, "/signin", nil)
	callback := w.walk(with, "s")
	u, _ := url.Parse(callback)
	q := u.Query()
	if q.Get("iss") != issuer {
		t.Errorf("the provider does not name itself: %s", callback)
	}
	if status, page, _ := thief.ask(http.MethodGet, callback, nil); status != http.StatusForbidden || !strings.Contains(page, "begun in another browser") {
		t.Errorf("another browser's callback: %d", status)
	}
	for name, change := range map[string]func(url.Values){
		"no state": func(q url.Values) { q.Del("state") }, "a state that was changed": func(q url.Values) { q.Set("state", "A"+q.Get("state")[1:]) },
		"an endless state": func(q url.Values) { q.Set("state", strings.Repeat("A", 10_000)) }, "hostile": func(q url.Values) { q.Set("state", "\x00<script>") },
	} {
		other, _ := url.ParseQuery(u.RawQuery)
		change(other)
		if status, _, _ := w.ask(http.MethodGet, pathCallback+"?"+other.Encode(), nil); status != http.StatusForbidden {
			t.Errorf("%s: %d", name, status)
		}
	}
	status, _, h := w.ask(http.MethodGet, callback, nil)
	if status != http.StatusSeeOther || h.Get("Location") != "/" || w.cookie(cookieSession) == "" {
		t.Fatalf("the callback: %d to %s", status, h.Get("Location"))
	}
	session := w.cookie(cookieSession)
	if status, page, _ := w.ask(http.MethodGet, callback, nil); status < 400 || (!strings.Contains(page, "done already") && !strings.Contains(page, "another browser")) {
		t.Errorf("again: %d %s", status, page)
	}
	if w.cookie(cookieSession) != session {
		t.Error("a callback that came again changed the session")
	}
	// The state alone, with another code, is as used up: also where the first one failed.
	fresh := r.web()
	callback = fresh.walk(with, "s")
	u, _ = url.Parse(callback)
	q = u.Query()
	good := q.Get("code")
	q.Set("code", "another")
	if status, page, _ := fresh.ask(http.MethodGet, pathCallback+"?"+q.Encode(), nil); status != http.StatusForbidden || !strings.Contains(page, "did not sign you in") {
		t.Errorf("a wrong code: %d", status)
	}
	q.Set("code", good)
	if status, page, _ := fresh.ask(http.MethodGet, pathCallback+"?"+q.Encode(), nil); status != http.StatusConflict || !strings.Contains(page, "done already") {
		t.Errorf("a state twice: %d", status)
	}
}

func TestASignInWithAProviderLeadsNowhereElseAndTakesASecondStep(t *testing.T) {
	r := serve(t)
	with := pathWith + r.provider(NewProvider{
		Name: "Work", Issuer: r.certified(map[string]map[string]any{"s": {"preferred_username": "anna"}}), ProviderOptions: ProviderOptions{SignUp: true},
	})
	for _, bad := range []string{"?id=//evil.example", "?id=" + strings.Repeat("A", 22) + "&port=80&state=" + strings.Repeat("s", 20)} {
		if status, _, h := r.web().ask(http.MethodGet, with+bad, nil); status < 400 {
			t.Errorf("%s: %d to %s", bad, status, h.Get("Location"))
		}
	}
	for to, want := range map[string]string{"?to=//evil.example": "/", "?to=profile": "/profile", "?to=/users": "/"} {
		w := r.web()
		if _, _, h := w.ask(http.MethodGet, w.walk(with+to, "s"), nil); h.Get("Location") != want {
			t.Errorf("%s leads to %s", to, h.Get("Location"))
		}
	}
	secret, _ := r.secondFactor("anna")
	w := r.web()
	at, _ := url.Parse(r.URL())
	w.Jar.SetCookies(at, []*http.Cookie{{Name: cookieSession, Value: strings.Repeat("A", 26), Path: "/", Secure: true}})
	if _, _, h := w.ask(http.MethodGet, w.walk(with, "s"), nil); h.Get("Location") != pathSecond || w.cookie(cookieSession) != strings.Repeat("A", 26) {
		t.Errorf("it leads to %s", h.Get("Location"))
	}
	code := account.TOTPCode(secret, account.TOTPStep(time.Now()))
	if status, _, _ := w.post(r, pathSecond, url.Values{"code": {code}}); status != http.StatusSeeOther || w.cookie(cookieSession) == strings.Repeat("A", 26) {
		t.Errorf("the second step: %d", status)
	}
}

func TestWhomAProviderMaySend(t *testing.T) {
	r := serve(t)
	staff := map[string]any{"preferred_username": "ann\u202ea<script>", "email": "a@example.org", "email_verified": true, "groups": []string{"staff"}}
	issuer := r.certified(map[string]map[string]any{
		"staff": staff, "guest": {"email": "g@example.org", "email_verified": true, "groups": []string{"guests"}},
		"unverified": {"email": "u@example.org", "email_verified": false, "groups": []string{"staff"}},
		"away":       {"email": "a@sub.example.org", "email_verified": true, "groups": []string{"staff"}},
		"nothing":    {},
	})
	id := r.provider(NewProvider{Name: "Work", Issuer: issuer, ProviderOptions: ProviderOptions{SignUp: true, Domains: []string{"example.org"}, Groups: []string{"staff", "admins"}}})
	for subject, want := range map[string]int{"staff": http.StatusSeeOther, "guest": http.StatusForbidden, "unverified": http.StatusForbidden, "away": http.StatusForbidden, "nothing": http.StatusForbidden} {
		w := r.web()
		if status, page, _ := w.ask(http.MethodGet, w.walk(pathWith+id, subject), nil); status != want {
			t.Errorf("%s: %d %s", subject, status, page)
		}
	}
	if ids := r.ids(); len(ids) != 1 || ids["annascript"] == 0 {
		t.Errorf("accounts %v", ids)
	}
}

func TestAnInvitationIsTakenUpWithAProvider(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	admin := r.web()
	_, _, _ = admin.signIn("anna", "correct horse", nil)
	id := r.provider(NewProvider{Name: "Work", Issuer: r.certified(map[string]map[string]any{"s": {"email": "nora@example.org"}, "t": {}})})
	path, _ := admin.invite(r, "auditor")
	_, page, _ := r.web().ask(http.MethodGet, path, nil)
	with := pathWith + id + "?invite=" + strings.TrimPrefix(path, pathInvite)
	if !strings.Contains(page, `href="`+with+`"`) {
		t.Errorf("the invitation does not offer it: %s", page)
	}
	w := r.web()
	if status, page, _ := w.ask(http.MethodGet, w.walk(with, "s"), nil); status != http.StatusSeeOther {
		t.Fatalf("%d %s", status, page)
	}
	other := r.web()
	if status, _, _ := other.ask(http.MethodGet, other.walk(with, "t"), nil); status != http.StatusGone {
		t.Errorf("the invitation once more: %d", status)
	}
	users, err := r.Users(t.Context())
	if err != nil || len(users) != 2 || users[1].Login != "nora" || users[1].Role != string(account.Auditor) {
		t.Errorf("accounts %+v, %v", users, err)
	}
	if status, _, _ := r.web().signIn("nora", "", nil); status != http.StatusForbidden {
		t.Errorf("the empty password of an account without one: %d", status)
	}
}

func TestAProviderThatIsAwayOrDoesNotKnowUsSaysSo(t *testing.T) {
	r := serve(t)
	issuer := r.certified(map[string]map[string]any{"s": {}})
	id := r.provider(NewProvider{Name: "Work", Issuer: issuer, Client: "warren", Secret: "wrong", ProviderOptions: ProviderOptions{SignUp: true}})
	w := r.web()
	if status, page, _ := w.ask(http.MethodGet, w.walk(pathWith+id, "s"), nil); status != http.StatusBadGateway || !strings.Contains(page, "check its client id and secret") {
		t.Errorf("a wrong secret: %d %s", status, page)
	}
	down := httptest.NewServer(http.NotFoundHandler())
	err := r.store.Write(t.Context(), func(tx store.Tx) error {
		_, err := tx.AddProvider(store.Provider{Name: "Down", Issuer: down.URL, Client: "c", Secret: r.vault.seal(secretPurpose(down.URL), nil), Options: "{}"})
		return err
	})
	down.Close()
	if err != nil {
		t.Fatal(err)
	}
	if status, page, _ := r.web().ask(http.MethodGet, pathWith+"2", nil); status != http.StatusBadGateway || !strings.Contains(page, "Down does not answer now") {
		t.Errorf("a provider that is down: %d %s", status, page)
	}
	if status, _, _ := r.web().ask(http.MethodGet, pathWith+"99", nil); status != http.StatusNotFound {
		t.Errorf("no provider: %d", status)
	}
}

func TestAccountsOfProvidersHaveCleanNames(t *testing.T) {
	for text, want := range map[string]string{
		"Anna": "anna", "anna@Example.org": "anna@example.org", "Anna Maria": "anna.maria", "": "user", "--": "user", "\u202e../<b>": "b",
		strings.Repeat("x", 10_000): strings.Repeat("x", account.MaxLogin-10), "Zoë": "zo",
	} {
		got := account.CleanLogin(text)
		if got != want || account.CheckLogin(got+"-99") != nil {
			t.Errorf("%.20q becomes %q", text, got)
		}
	}
	r := serve(t)
	var last store.User
	for range 35 { // many of one name
		err := r.store.Write(t.Context(), func(tx store.Tx) (err error) {
			last, err = r.addPerson(tx, idp.Person{Login: "anna"}, account.Member)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if ids := r.ids(); len(ids) != 35 || ids["anna-30"] == 0 || account.CheckLogin(last.Login) != nil {
		t.Errorf("the last is %+v of %d", last, len(ids))
	}
}
