package server

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// serveNamed is serve under a name, without which there are no passkeys.
func serveNamed(t *testing.T) *running {
	t.Helper()
	dir := t.TempDir()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://localhost:1"}); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().(*net.TCPAddr)
	_ = ln.Close()
	return serveDir(t, dir, addr.String(), Options{URL: fmt.Sprintf("https://localhost:%d", addr.Port)})
}

// trusting is a browser that takes the server's certificate for a good one: on a page with a bad one there are no passkeys.
func (r *running) trusting() *browser {
	r.t.Helper()
	leaf, err := x509.ParseCertificate(r.certs.current().Certificate[0])
	if err != nil {
		r.t.Fatal(err)
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return newBrowser(r.t.(*testing.T), chromedp.Flag("ignore-certificate-errors", false),
		chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(sum[:])))
}

// authenticator plugs a device in, as a phone is, that its person unlocks at once.
func (b *browser) authenticator() (id webauthn.AuthenticatorID) {
	b.t.Helper()
	b.do("authenticator", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		if _, err := cdp.Call(ctx, t, webauthn.Enable, webauthn.EnableParams{}); err != nil {
			return err
		}
		got, err := cdp.Call(ctx, t, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal, HasResidentKey: true,
			HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		}})
		if err == nil {
			id = got.AuthenticatorID
		}
		return err
	}))
	return id
}

func TestAPersonSignsInWithAPasskey(t *testing.T) {
	r := serveNamed(t)
	r.user("anna", "correct horse")
	b := r.trusting()
	first := b.authenticator()
	b.do("front page", chromedp.Navigate(r.URL()+"/"))
	b.sees("Sign in with a passkey")
	b.picture("signin-passkey")
	b.do("one of nobody", chromedp.Click("form.other button"))
	b.sees("No passkey was used.")
	b.picture("signin-passkey-none")
	b.signInAs("anna")
	b.do("add", chromedp.Click("a.me"), chromedp.Click(`a[href="/profile/passkeys"]`))
	b.sees("no password is typed")
	b.picture("passkey-add")
	b.do("make one", chromedp.SetValue("#name", "Blue phone"), chromedp.Click("main button"))
	b.sees("Blue phone")
	b.sees("not used yet")
	b.do("a second on the same device", chromedp.Click(`a[href="/profile/passkeys"]`), chromedp.Click("main button"))
	b.sees("No passkey was made.")
	b.do("back", chromedp.Navigate(r.URL()+"/profile"))
	b.picture("profile-passkeys")
	b.signOut()
	b.do("in", chromedp.Click("form.other button"))
	b.sees("No machines yet")
	b.do("no password needed", chromedp.Navigate(r.URL()+"/profile"))
	b.sees("last used just now")
	b.lacks("used by two devices?")

	// A copy of the device was used, so that its counter is behind.
	err := r.store.Write(t.Context(), func(tx store.Tx) error {
		all, err := tx.Passkeys(r.ids()["anna"])
		if err != nil {
			return err
		}
		all[0].Data = regexp.MustCompile(`"signCount":\d+`).ReplaceAllString(all[0].Data, `"signCount":1000`)
		return tx.SetPasskey(all[0])
	})
	if err != nil {
		t.Fatal(err)
	}
	b.signOut()
	b.do("in", chromedp.Click("form.other button"))
	b.sees("No machines yet")
	b.do("a warning", chromedp.Navigate(r.URL()+"/profile"))
	b.sees("used by two devices?")
	b.picture("profile-passkeys-copied")

	b.do("remove", chromedp.Click(`form[action^="/profile/passkeys/"] button`))
	b.sees("with a security key")
	b.signOut()
	b.do("in no more", chromedp.Click("form.other button"))
	b.sees("That passkey is not known here")
	b.do("unplug", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, webauthn.RemoveVirtualAuthenticator, webauthn.RemoveVirtualAuthenticatorParams{AuthenticatorID: first})
		return err
	}))
}

func TestAPasskeyIsASecondStepToo(t *testing.T) {
	r := serveNamed(t)
	r.user("anna", "correct horse")
	r.userAs("bert", "correct horse", account.Admin)
	b := r.trusting()
	b.authenticator()
	b.do("front page", chromedp.Navigate(r.URL()+"/"))
	b.signInAs("bert")
	b.do("add", chromedp.Navigate(r.URL()+"/profile/passkeys"), chromedp.Click("main button"))
	b.sees("not used yet")
	b.signOut()
	b.signInAs("bert") // the password is enough, as nobody wants more
	b.signOut()
	r.set(func(c *Settings) { c.SecondFactor = true })
	b.do("in", chromedp.SendKeys("#login", "bert"), chromedp.SendKeys("#password", "correct horse\n"))
	b.sees("Show one of your passkeys.")
	b.picture("second-passkey")
	b.do("with it", chromedp.Click("form.other button"))
	b.sees("No machines yet")
	b.signOut()
	r.secondFactor("bert")
	b.do("in", chromedp.SendKeys("#login", "bert"), chromedp.SendKeys("#password", "correct horse\n"))
	b.sees("Type the code")
	b.picture("second-both")
	b.do("with it", chromedp.Click("form.other button"))
	b.sees("No machines yet")
	if err := r.ResetSecond(t.Context(), "bert"); err != nil {
		t.Fatal(err)
	}
	err := r.store.Read(t.Context(), func(tx store.Tx) error {
		st, err := r.secondStepsOf(tx, r.ids()["bert"])
		if st.any() {
			t.Errorf("after a reset there is %+v", st)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAnAccountThatHasOnlyAPasskeyKeepsIt(t *testing.T) {
	r := serveNamed(t)
	r.user("anna", "correct horse")
	b := r.trusting()
	b.authenticator()
	b.do("front page", chromedp.Navigate(r.URL()+"/"))
	b.signInAs("anna")
	b.do("add", chromedp.Navigate(r.URL()+"/profile/passkeys"), chromedp.Click("main button"))
	b.sees("not used yet")
	err := r.store.Write(t.Context(), func(tx store.Tx) error { return tx.SetPassword(r.ids()["anna"], "") })
	if err != nil {
		t.Fatal(err)
	}
	b.do("in", chromedp.Navigate(r.URL()+"/signin?to=profile"), chromedp.Click("form.other button"))
	b.sees("Set a password")
	b.do("remove", chromedp.Click(`form[action^="/profile/passkeys/"] button`))
	b.sees("This is the only way in")
	if err := r.ResetSecond(t.Context(), "anna"); err != nil {
		t.Fatal(err)
	}
	b.do("in after a reset", chromedp.Navigate(r.URL()+"/signin"), chromedp.Click("form.other button"))
	b.sees("No machines yet")
}

var (
	ticketText  = regexp.MustCompile(`name="ticket" value="([^"]*)"`)
	optionsText = regexp.MustCompile(`data-options="([^"]*)"`)
)

func TestAPasskeysChallengeServesOneBrowserOnce(t *testing.T) {
	r := serveNamed(t)
	r.user("anna", "correct horse")
	w, other := r.web(), r.web()
	_, page, h := w.ask(http.MethodGet, "/signin", nil)
	_, again, _ := w.ask(http.MethodGet, "/signin", nil)
	_, _, _ = other.ask(http.MethodGet, "/signin", nil)
	if csp := h.Get("Content-Security-Policy"); !strings.Contains(csp, "; script-src 'self'") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %s", csp)
	}
	if strings.Contains(page, "allowCredentials") || strings.Contains(page, "anna") {
		t.Error("the page says whose passkeys there are")
	}
	if optionsText.FindString(page) == optionsText.FindString(again) {
		t.Error("two pages have one challenge")
	}
	m := ticketText.FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no ticket: %s", page)
	}
	form := func(answer string) url.Values { return url.Values{"ticket": {m[1]}, "answer": {answer}} }
	if status, _, _ := other.post(r, pathPasskey, form("{}")); status != http.StatusForbidden {
		t.Errorf("another browser's: %d", status)
	}
	if status, text, _ := w.post(r, pathPasskey, form("{}")); status != http.StatusForbidden || !strings.Contains(text, "not known here") {
		t.Errorf("an empty answer: %d %s", status, text)
	}
	if status, _, _ := w.post(r, pathPasskey, form("{}")); status != http.StatusConflict {
		t.Errorf("a challenge twice: %d", status)
	}
	for _, bad := range []string{"", "null", "[]", strings.Repeat("[", 5000), `{"id":"AA","rawId":"AA","type":"public-key","response":{}}`} {
		_, page, _ := w.ask(http.MethodGet, "/signin", nil)
		m = ticketText.FindStringSubmatch(page)
		if status, _, _ := w.post(r, pathPasskey, form(bad)); status != http.StatusForbidden {
			t.Errorf("%.40q: %d", bad, status)
		}
	}
	if _, page, h := w.ask(http.MethodGet, "/join", nil); strings.Contains(page, "<script") || strings.Contains(h.Get("Content-Security-Policy"), "script-src") {
		t.Error("a page without passkeys has the script")
	}
}

func TestWithoutAScriptOrANameThePasswordServes(t *testing.T) {
	r := serve(t) // known by an address
	if _, page, h := r.web().ask(http.MethodGet, "/signin", nil); strings.Contains(page, "passkey") || strings.Contains(h.Get("Content-Security-Policy"), "script-src") {
		t.Error("a server without a name offers passkeys")
	}
	named := serveNamed(t)
	if _, page, _ := named.web().ask(http.MethodGet, "/signin", nil); strings.Count(page, "data-needs-passkey hidden") != 2 || !strings.Contains(page, `name="password"`) {
		t.Error("without the script the page shows what does not work")
	}
}
