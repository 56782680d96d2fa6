package server

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/key"
)

func TestMembersMakeAndSeeOnlyTheirOwnKeys(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("mia", "correct horse", account.Member)
	_ = r.authKey(KeyOptions{User: "anna"})
	w := r.web()
	_, _, _ = w.signIn("mia", "correct horse", nil)
	for _, try := range []url.Values{
		{"for": {"tags"}, "tags": {"server"}, "days": {"0"}}, {"for": {"me"}, "days": {"99"}}, {"for": {"me"}},
	} {
		if status, page, _ := w.post(r, "/keys", try); status == http.StatusOK {
			t.Errorf("%v: %s", try, page)
		}
	}
	status, page, _ := w.post(r, "/keys", url.Values{"for": {"me"}, "days": {"1"}, "user": {"anna"}})
	m := secretText.FindStringSubmatch(page)
	if status != http.StatusOK || m == nil {
		t.Fatalf("making a key: %d %s", status, page)
	}
	d := r.device()
	d.join("mias-server", m[1])
	if owner := r.Machines()[0].User.Login; owner != "mia" {
		t.Errorf("its key made %s's machine", owner)
	}
	if _, page, _ = w.ask(http.MethodGet, "/keys", nil); strings.Contains(page, m[1]) || strings.Contains(page, "No. 1<") || !strings.Contains(page, "No. 2<") {
		t.Errorf("mia sees %s", page)
	}
	if status, _, _ := w.post(r, "/keys/1/revoke", nil); status != http.StatusForbidden {
		t.Errorf("mia revokes anna's key: %d", status)
	}
}

func TestSignInsAreListedAndRevoked(t *testing.T) {
	r := serve(t)
	r.userAs("mia", "correct horse", account.Member)
	r.userAs("ada", "correct horse", account.Auditor)
	var mine [3]*web
	for i := range mine {
		mine[i] = r.web()
		_, _, _ = mine[i].signIn("mia", "correct horse", nil)
	}
	in := func(w *web) bool {
		status, _, _ := w.ask(http.MethodGet, "/profile", nil)
		return status == http.StatusOK
	}
	_, page, _ := mine[0].ask(http.MethodGet, "/profile", nil)
	var others []string
	for _, m := range tokenField.FindAllStringSubmatch(page, -1) {
		if strings.HasSuffix(m[1], "/revoke") && m[1] != "/profile/sessions/revoke" {
			others = append(others, m[1])
		}
	}
	if len(others) != 2 {
		t.Fatalf("%d others in %s", len(others), page)
	}
	stranger := r.web()
	_, _, _ = stranger.signIn("ada", "correct horse", nil)
	_, _, _ = stranger.post(r, others[0], nil)
	if !in(mine[1]) || !in(mine[2]) {
		t.Error("another account ended a sign-in")
	}
	_, _, _ = mine[0].post(r, others[0], nil)
	if !in(mine[0]) || in(mine[1]) == in(mine[2]) {
		t.Error("one sign-in was not ended, or more than one")
	}
	_, _, _ = mine[0].post(r, "/profile/sessions/revoke", nil)
	if !in(mine[0]) || in(mine[1]) || in(mine[2]) {
		t.Error("all others were not signed out")
	}
}

func TestAPasswordIsChangedWithTheOldOne(t *testing.T) {
	r := serve(t)
	r.userAs("mia", "correct horse", account.Member)
	w, other := r.web(), r.web()
	_, _, _ = w.signIn("mia", "correct horse", nil)
	_, _, _ = other.signIn("mia", "correct horse", nil)
	change := func(now, next, again string) int {
		status, _, _ := w.post(r, "/profile/password", url.Values{"password": {now}, "next": {next}, "again": {again}})
		return status
	}
	for _, c := range []struct {
		now, next, again string
		status           int
	}{
		{"wrong horse", "battery staple", "battery staple", http.StatusForbidden},
		{"correct horse", "short", "short", http.StatusUnprocessableEntity},
		{"correct horse", "battery staple", "battery stable", http.StatusUnprocessableEntity},
		{"correct horse", "battery staple", "battery staple", http.StatusSeeOther},
	} {
		if got := change(c.now, c.next, c.again); got != c.status {
			t.Errorf("%+v: %d", c, got)
		}
	}
	if status, _, _ := w.ask(http.MethodGet, "/profile", nil); status != http.StatusOK {
		t.Error("who changed it is signed out")
	}
	if status, _, _ := other.ask(http.MethodGet, "/profile", nil); status == http.StatusOK {
		t.Error("another browser stays signed in")
	}
	if status, _, _ := r.web().signIn("mia", "correct horse", nil); status != http.StatusForbidden {
		t.Error("the old password opens")
	}
}

func TestKeysRelaysAndProfileInTheConsole(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	_, _, _ = r.web().signIn("anna", "correct horse", nil)
	_ = r.authKey(KeyOptions{Tags: []string{"server"}, Reusable: true})
	if err := r.PutRelay(t.Context(), coord.Relay{Name: "fra", Key: key.RelayPublic{1, 2, 3}, UDP: "relay.example.org:3478", URL: "https://relay.example.org/relay"}); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t)
	b.do("front page", chromedp.Navigate(r.URL()+"/"))
	b.signInAs("anna")
	b.do("keys", chromedp.Click(`nav a[href="/keys"]`), chromedp.Click(".fields button"))
	b.sees("Your pre-auth key is ready")
	b.picture("key")
	b.do("back", chromedp.Click(".button.wide"))
	b.sees("No. 2")
	b.do("a bad tag", chromedp.SetValue("#for", "tags"), chromedp.SetValue("#tags", "Not A Tag!"), chromedp.Click(".fields button"))
	b.sees("use lower-case letters")
	b.picture("keys")
	b.do("revoke", chromedp.Click(`form[action="/keys/1/revoke"] button`))
	b.sees("revoked")
	b.do("relays", chromedp.Click(`nav a[href="/relays"]`))
	b.sees("relay.example.org:3478")
	b.picture("relays")
	b.do("profile", chromedp.Click("a.me"))
	b.sees("Chromium or Chrome on Linux")
	b.picture("profile")
	b.do("sign the other out", chromedp.Click(".plain form button"), chromedp.WaitNotPresent(".plain form"))
	b.do("wrong password", chromedp.SendKeys("#password", "wrong horse"), chromedp.SendKeys("#next", "battery staple"), chromedp.SendKeys("#again", "battery staple\n"))
	b.sees("That is not your password now.")
}
