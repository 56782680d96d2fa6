package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// secondFactor sets a second step up for the account, past the pages, and gives its secret and a recovery code.
func (r *running) secondFactor(login string) (secret []byte, recovery string) {
	r.t.Helper()
	secret, codes := account.NewTOTP(), account.NewRecoveryCodes()
	err := r.store.Write(r.t.Context(), func(tx store.Tx) error {
		u, err := tx.UserByLogin(login)
		if err != nil {
			return err
		}
		if err := tx.SetSecondFactor(store.SecondFactor{User: u.ID, Secret: r.vault.seal(totpPurpose(u.ID), secret), Created: r.now()}); err != nil {
			return err
		}
		return tx.SetRecoveryCodes(u.ID, r.recoveryHashes(u.ID, codes))
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return secret, codes[0]
}

// halfIn is a browser that has signed in as far as the second step, but for the time that a password takes.
func (r *running) halfIn(login string) *web {
	r.t.Helper()
	w := r.web()
	_, _, _ = w.ask(http.MethodGet, "/signin", nil)
	var u store.User
	err := r.store.Read(r.t.Context(), func(tx store.Tx) (err error) {
		u, err = tx.UserByLogin(login)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	text, err := writeTicket(r.Server, &visit{form: w.cookie(cookieForm)}, "second", stepLife, halfway{User: u.ID, Stamp: stamp(u), By: "password", To: "/"})
	if err != nil {
		r.t.Fatal(err)
	}
	at, _ := url.Parse(r.URL())
	w.Jar.SetCookies(at, []*http.Cookie{{Name: cookieStep, Value: text, Path: "/", Secure: true}})
	return w
}

func (w *web) cookie(name string) string {
	at, _ := url.Parse(w.at)
	for _, c := range w.Jar.Cookies(at) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

func TestThePasswordAloneOpensNothingWithASecondStep(t *testing.T) {
	now := time.Now()
	var clock stepClock // stands still until set
	clock.set(now)
	r := serveAt(t, clock.now)
	r.user("anna", "correct horse")
	secret, _ := r.secondFactor("anna")
	w := r.web()
	if status, _, h := w.signIn("anna", "correct horse", nil); status != http.StatusSeeOther || h.Get("Location") != pathSecond {
		t.Fatalf("after the password: %d to %s", status, h.Get("Location"))
	}
	if w.cookie(cookieSession) != "" {
		t.Error("there is a session after the first step")
	}
	for _, path := range []string{"/", "/profile", "/users"} {
		if status, _, h := w.ask(http.MethodGet, path, nil); status != http.StatusSeeOther || h.Get("Location") != "/signin" {
			t.Errorf("%s after the first step: %d", path, status)
		}
	}
	code := account.TOTPCode(secret, account.TOTPStep(now))
	if status, _, _ := r.web().post(r, pathSecond, url.Values{"code": {code}}); status != http.StatusForbidden {
		t.Errorf("the second step without the first: %d", status)
	}
	thief := r.web() // has the cookie, and not the browser
	at, _ := url.Parse(r.URL())
	thief.Jar.SetCookies(at, []*http.Cookie{{Name: cookieStep, Value: w.cookie(cookieStep), Path: "/", Secure: true}})
	_, _, _ = thief.ask(http.MethodGet, "/signin", nil)
	if status, _, _ := thief.post(r, pathSecond, url.Values{"code": {code}}); status != http.StatusForbidden {
		t.Errorf("another browser's second step: %d", status)
	}
	step := w.cookie(cookieStep)
	if status, _, h := w.post(r, pathSecond, url.Values{"code": {code[:3] + " " + code[3:]}}); status != http.StatusSeeOther || h.Get("Location") != "/" {
		t.Fatalf("the right code: %d", status)
	}
	if session := w.cookie(cookieSession); session == "" || w.cookie(cookieStep) != "" {
		t.Errorf("session %q, step %q", session, w.cookie(cookieStep))
	}
	if status, _, _ := w.ask(http.MethodGet, "/users", nil); status != http.StatusOK {
		t.Errorf("signed in: %d", status)
	}
	again := r.halfIn("anna")
	if status, page, _ := again.post(r, pathSecond, url.Values{"code": {code}}); status != http.StatusForbidden || !strings.Contains(page, "used already") {
		t.Errorf("a code twice: %d", status)
	}
	now = now.Add(time.Minute)
	clock.set(now)
	again.Jar.SetCookies(at, []*http.Cookie{{Name: cookieStep, Value: step, Path: "/", Secure: true}})
	if status, _, _ := again.post(r, pathSecond, url.Values{"code": {account.TOTPCode(secret, account.TOTPStep(now))}}); status != http.StatusForbidden {
		t.Errorf("a first step twice: %d", status)
	}
}

func TestASecondStepIsVoidWithTheFirst(t *testing.T) {
	now := time.Now()
	var clock stepClock // stands still until set
	clock.set(now)
	r := serveAt(t, clock.now)
	r.user("anna", "correct horse")
	secret, _ := r.secondFactor("anna")
	old := r.halfIn("anna")
	now = now.Add(stepLife)
	clock.set(now)
	code := url.Values{"code": {account.TOTPCode(secret, account.TOTPStep(now))}}
	if status, page, _ := old.post(r, pathSecond, code); status != http.StatusForbidden || !strings.Contains(page, "took too long") {
		t.Errorf("at the end of its life: %d", status)
	}
	changed := r.halfIn("anna")
	if err := r.SetPassword(t.Context(), "anna", "battery staple"); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := changed.post(r, pathSecond, code); status != http.StatusForbidden {
		t.Errorf("after another password: %d", status)
	}
}

func TestRecoveryCodesServeOnce(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	_, code := r.secondFactor("anna")
	var in atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		w := r.halfIn("anna")
		wg.Go(func() {
			if status, _, _ := w.post(r, pathSecond, url.Values{"code": {strings.ToUpper(code)}}); status == http.StatusSeeOther {
				in.Add(1)
			}
		})
	}
	wg.Wait()
	if in.Load() != 1 {
		t.Errorf("a recovery code let %d in", in.Load())
	}
}

func TestGuessesAtCodesAreThrottledAndRecoveryCodesStillOpen(t *testing.T) {
	now := time.Now()
	var clock stepClock // stands still until set
	clock.set(now)
	r := serveAt(t, clock.now)
	r.user("anna", "correct horse")
	_, recovery := r.secondFactor("anna")
	id := r.ids()["anna"]
	var looked atomic.Int32
	var wg sync.WaitGroup
	for range 12 {
		w := r.halfIn("anna")
		wg.Go(func() {
			if status, _, _ := w.post(r, pathSecond, url.Values{"code": {"000000"}}); status == http.StatusForbidden {
				looked.Add(1)
			}
		})
	}
	wg.Wait()
	if looked.Load() != freeCodes {
		t.Errorf("of guesses at once, %d were looked at", looked.Load())
	}
	for range freeCodesAccount { // from many addresses
		_ = r.guesses.Try(now, account.Bound{Key: "code " + fmt.Sprint(id), Free: freeCodesAccount})
	}
	now = now.Add(time.Minute)
	clock.set(now)
	_ = r.guesses.Try(now, account.Bound{Key: "code " + fmt.Sprint(id), Free: freeCodesAccount})
	now = now.Add(time.Second)
	clock.set(now)
	if status, _, _ := r.halfIn("anna").post(r, pathSecond, url.Values{"code": {"000000"}}); status != http.StatusTooManyRequests {
		t.Errorf("after guesses from many addresses: %d", status)
	}
	if status, _, _ := r.halfIn("anna").post(r, pathSecond, url.Values{"code": {recovery}}); status != http.StatusSeeOther {
		t.Errorf("the recovery code meanwhile: %d", status)
	}
}

func TestAStolenDatabaseGivesNoCodes(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.user("bert", "correct horse")
	secret, recovery := r.secondFactor("anna")
	ids := r.ids()
	var f store.SecondFactor
	err := r.store.Read(t.Context(), func(tx store.Tx) (err error) {
		f, err = tx.SecondFactor(ids["anna"])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.vault.open(totpPurpose(ids["anna"]), f.Secret); err != nil || !bytes.Equal(got, secret) {
		t.Fatalf("the server itself cannot open it: %v", err)
	}
	if _, err := r.vault.open(totpPurpose(ids["bert"]), f.Secret); err == nil {
		t.Error("moved to another account it opens")
	}
	r.stop()
	for _, name := range []string{fileDatabase, fileDatabase + "-wal"} {
		text, _ := os.ReadFile(filepath.Join(r.dir, name))
		plain := sha256.Sum256([]byte(account.CleanRecoveryCode(recovery)))
		if bytes.Contains(text, secret) || bytes.Contains(text, []byte(recovery)) || bytes.Contains(text, plain[:]) {
			t.Errorf("%s has a secret in the clear", name)
		}
	}
}

func TestOwnersThatMustHaveASecondStepGetNoFurther(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("mia", "correct horse", account.Member)
	r.set(func(c *Settings) { c.SecondFactor = true })
	w, m := r.web(), r.web()
	_, _, _ = w.signIn("anna", "correct horse", nil)
	_, _, _ = m.signIn("mia", "correct horse", nil)
	for _, rt := range r.routes() {
		if rt.access != signedIn || strings.HasPrefix(rt.path, "/profile") || rt.path == "/signout" {
			continue
		}
		path := strings.NewReplacer("{id}", "1", "{$}", "").Replace(rt.path)
		if status, _, h := w.ask(rt.method, path, nil); status != http.StatusSeeOther || h.Get("Location") != "/profile/second" {
			t.Errorf("%s %s: %d", rt.method, path, status)
		}
	}
	if status, _, _ := m.ask(http.MethodGet, "/", nil); status != http.StatusOK {
		t.Errorf("a member: %d", status)
	}
	r.secondFactor("anna")
	if status, _, _ := w.ask(http.MethodGet, "/users", nil); status != http.StatusOK {
		t.Errorf("with a second step: %d", status)
	}
}

func TestWhoMayResetASecondStep(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("bert", "correct horse", account.Admin)
	r.userAs("mia", "correct horse", account.Member)
	admin := r.web()
	_, _, _ = admin.signIn("bert", "correct horse", nil)
	for _, login := range []string{"anna", "mia"} {
		r.secondFactor(login)
	}
	ids := r.ids()
	for login, want := range map[string]int{"anna": http.StatusForbidden, "mia": http.StatusSeeOther} {
		if status, _, _ := admin.post(r, "/users/"+fmt.Sprint(ids[login])+"/second/remove", nil); status != want {
			t.Errorf("an admin resets %s's: %d", login, status)
		}
	}
	if status, _, h := r.web().signIn("mia", "correct horse", nil); status != http.StatusSeeOther || h.Get("Location") != "/" {
		t.Errorf("mia's password does not let her in: %d to %s", status, h.Get("Location"))
	}
	if err := r.ResetSecond(t.Context(), "anna"); err != nil {
		t.Errorf("the host's administrator: %v", err)
	}
}

func TestHowOneSignsInChangesOnlyAfterAFreshSignIn(t *testing.T) {
	now := time.Now()
	var clock stepClock // stands still until set
	clock.set(now)
	r := serveAt(t, clock.now)
	r.user("anna", "correct horse")
	w := r.web()
	_, _, _ = w.signIn("anna", "correct horse", nil)
	_, page, _ := w.ask(http.MethodGet, "/profile/second", nil)
	if !strings.Contains(page, `class="qr"`) {
		t.Fatalf("no code is shown: %s", page)
	}
	now = now.Add(freshFor)
	clock.set(now)
	for _, path := range []string{"/profile/second", "/profile/second/codes", "/profile/second/remove"} {
		if _, _, h := w.post(r, path, nil); h.Get("Location") != "/profile" {
			t.Errorf("%s later leads to %q", path, h.Get("Location"))
		}
	}
	if _, page, _ := w.ask(http.MethodGet, "/profile", nil); !strings.Contains(page, "sign in again first") || strings.Contains(page, "Set it up") {
		t.Error("the page offers what would be refused")
	}
	if status, _, h := w.post(r, "/profile/again", nil); status != http.StatusSeeOther || h.Get("Location") != "/signin?to=profile" || w.cookie(cookieSession) != "" {
		t.Errorf("signing in again: %d to %s", status, h.Get("Location"))
	}
	if _, _, h := w.signIn("anna", "correct horse", url.Values{"to": {"profile"}}); h.Get("Location") != "/profile" {
		t.Errorf("it leads to %s", h.Get("Location"))
	}
	for _, to := range []string{"//evil.example", "https://evil.example", "/users", "profile/../.."} {
		if _, _, h := r.web().signIn("anna", "correct horse", url.Values{"to": {to}}); h.Get("Location") != "/" {
			t.Errorf("%q leads to %s", to, h.Get("Location"))
		}
	}
}

func TestAPersonSetsUpASecondStep(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	b := newBrowser(t)
	b.do("front page", chromedp.Navigate(r.URL()+"/"))
	b.signInAs("anna")
	b.do("profile", chromedp.Click("a.me"))
	b.sees("Set it up")
	b.picture("profile")
	b.do("set up", chromedp.Click(`a[href="/profile/second"]`))
	b.sees("Scan this")
	b.picture("enrol")
	text, err := chromedp.Run(b.ctx, chromedp.Text("code.copy"))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ReplaceAll(html.UnescapeString(text), " ", ""))
	if err != nil || len(secret) != 20 {
		t.Fatalf("the key is %q, %v", text, err)
	}
	b.do("a wrong code", chromedp.SendKeys("#code", "000000\n"))
	b.sees("That is not the app’s code now.")
	b.do("the right one", chromedp.SendKeys("#code", account.TOTPCode(secret, account.TOTPStep(time.Now()))+"\n"))
	b.sees("Your recovery codes")
	b.picture("recovery-codes")
	codes, err := chromedp.Run(b.ctx, chromedp.Text(".codes"))
	list := strings.Fields(codes)
	if err != nil || len(list) != account.RecoveryCodes {
		t.Fatalf("codes %q, %v", codes, err)
	}
	b.do("on", chromedp.Click("a.button.wide"))
	b.sees("10 recovery codes are left")
	b.picture("profile-second")
	b.signOut()
	b.do("sign in", chromedp.SendKeys("#login", "anna"), chromedp.SendKeys("#password", "correct horse\n"))
	b.sees("One more step")
	b.picture("second")
	b.do("the code that was used", chromedp.SendKeys("#code", account.TOTPCode(secret, account.TOTPStep(time.Now())-1)+"\n"))
	b.sees("That is not the code, or it was used already.")
	b.picture("second-wrong")
	b.do("a recovery code", chromedp.SendKeys("#code", list[0]+"\n"))
	b.sees("No machines yet")
	b.do("profile", chromedp.Click("a.me"))
	b.sees("9 recovery codes are left")
	b.do("off", chromedp.Click(`a[href="/profile/second/remove"]`))
	b.sees("Turn the second step off?")
	b.do("yes", chromedp.Click("button.main"))
	b.sees("who learns your password")
}
