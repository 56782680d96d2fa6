package server

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
)

func TestAPersonConnectsAMachineByItsCodeAlone(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	d, other := r.device(), r.device()
	reply := d.login("nas", "")
	_ = other.login("other", "")
	waited := make(chan error, 1)
	go func() { waited <- d.WaitLogin(context.Background(), reply.LoginID) }()
	b := newBrowser(t)
	b.do("page", chromedp.Navigate(r.URL()+"/login"))
	b.sees("Next you type the code that it shows.")
	b.do("sign in", chromedp.SendKeys("#login", "anna"), chromedp.SendKeys("#password", "correct horse\n"))
	b.sees("Code that the machine shows")
	if at := b.location(); at != r.URL()+"/login" {
		t.Errorf("the sign-in leads to %s", at)
	}
	b.picture("code-alone")
	b.do("a wrong code", chromedp.SendKeys("#code", "BBB-BBB\n"))
	b.sees("No machine shows this code")
	b.picture("code-alone-wrong")
	b.do("its code", chromedp.SetValue("#code", strings.ToLower(reply.Code)), chromedp.Submit("#code"))
	b.sees("Connect this machine?")
	b.sees("nas")
	b.picture("code-alone-connect")
	if len(r.Machines()) > 0 {
		t.Error("the code alone lets it in, without a click")
	}
	b.do("connect", chromedp.Click("button[value=connect]"))
	b.sees("Connected")
	if err := <-waited; err != nil {
		t.Errorf("WaitLogin: %v", err)
	}
	if m := r.Machines(); len(m) != 1 || m[0].Name != "nas" || m[0].User.Login != "anna" {
		t.Errorf("the machines are %+v", m)
	}
}

func TestCodesAreNotGuessed(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("mallory", "correct horse", account.Member)
	victim, own := r.device(), r.device()
	reply, mine := victim.login("nas", ""), own.login("own", "")
	w := r.web()
	_, _, _ = w.signIn("mallory", "correct horse", nil)
	try := func(w *web, code string) (int, string) {
		status, page, _ := w.post(r, "/login", url.Values{"code": {code}})
		return status, page
	}
	for i := range freeLoginCodes {
		if status, _ := try(w, "BBBBBB"); status != http.StatusNotFound {
			t.Fatalf("guess %d: %d", i, status)
		}
		if status, page := try(w, mine.Code); i < freeLoginCodes-1 && (status != http.StatusOK || !strings.Contains(page, coord.PathLogin+mine.LoginID)) {
			t.Fatalf("their own: %d %s", status, page)
		}
	}
	// A code of one's own takes no wrong guess back; and a right guess is not told from a wrong one while one has to wait.
	for _, code := range []string{mine.Code, reply.Code, "BBBBBB"} {
		if status, page := try(w, code); status != http.StatusTooManyRequests || strings.Contains(page, "nas") || strings.Contains(page, reply.LoginID) {
			t.Errorf("after too many guesses %q: %d %s", code, status, page)
		}
	}
	anna := r.web()
	_, _, _ = anna.signIn("anna", "correct horse", nil)
	if status, page := try(anna, reply.Code); status != http.StatusOK || !strings.Contains(page, "nas") {
		t.Errorf("another person waits too: %d %s", status, page)
	}
	for _, code := range []string{"", "B", strings.Repeat("B", 1000), reply.Code[:5]} {
		if status, _ := try(anna, code); status != http.StatusNotFound && status != http.StatusTooManyRequests {
			t.Errorf("%.20q: %d", code, status)
		}
	}
	if l, err := r.logins.byCode(t.Context(), r.now(), cleanCode(reply.Code)); l == nil || err != nil {
		t.Errorf("a login that waits is not found: %v", err)
	}
	if l, err := r.logins.byCode(t.Context(), r.now().Add(coord.LoginTTL), cleanCode(reply.Code)); l != nil || err != nil {
		t.Errorf("a login that has expired is found: %+v, %v", l, err)
	}
	if err := victim.CancelLogin(t.Context(), reply.LoginID); err != nil {
		t.Fatal(err)
	}
	if l, err := r.logins.byCode(t.Context(), r.now(), cleanCode(reply.Code)); l != nil || err != nil {
		t.Errorf("a login that was given up is found: %+v, %v", l, err)
	}
}
