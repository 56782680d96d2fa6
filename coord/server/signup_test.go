package server

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
)

func TestWhoMaySignUpIsWhatTheSettingsSay(t *testing.T) {
	r := serve(t)
	good := url.Values{"login": {"nora"}, "password": {"correct horse"}, "again": {"correct horse"}}
	if status, page, _ := r.web().ask(http.MethodGet, "/signin", nil); status != http.StatusOK || strings.Contains(page, "Make an account") {
		t.Error("the sign-in page offers what is not to be had")
	}
	if status, page, _ := r.web().ask(http.MethodGet, pathSignUp, nil); status != http.StatusForbidden || !strings.Contains(page, "by invitation") {
		t.Errorf("by invitation: %d %s", status, page)
	}
	if status, _, _ := r.web().post(r, pathSignUp, good); status != http.StatusForbidden {
		t.Errorf("by invitation, sent: %d", status)
	}
	r.set(func(c *Settings) { c.SignUp, c.Domains = SignUpDomains, []string{"example.org"} })
	if status, page, _ := r.web().ask(http.MethodGet, pathSignUp, nil); status != http.StatusOK || !strings.Contains(page, "sends no mail") {
		t.Errorf("by domain: %d %s", status, page)
	}
	if status, _, _ := r.web().post(r, pathSignUp, good); status != http.StatusForbidden {
		t.Errorf("by domain, sent: %d", status)
	}
	if users, err := r.Users(t.Context()); err != nil || len(users) != 0 {
		t.Fatalf("there are %v, %v", users, err)
	}
	r.set(func(c *Settings) { c.SignUp = SignUpOpen })
	for problem, try := range map[string][2]string{"guessed first": {"nora", "Password123"}, "a name": {"nora", "nora-nora-nora"}, "use lower-case": {"<nora>", "correct horse"}} {
		if status, page, _ := r.web().newAccount(pathSignUp, try[0], try[1], try[1]); status != http.StatusUnprocessableEntity || !strings.Contains(page, problem) {
			t.Errorf("%q: %d %s", problem, status, page)
		}
	}
	w := r.web()
	if status, page, h := w.newAccount(pathSignUp, "nora", "correct horse", "correct horse"); status != http.StatusSeeOther || h.Get("Location") != "/" {
		t.Fatalf("open: %d %s", status, page)
	}
	if users, err := r.Users(t.Context()); err != nil || len(users) != 1 || users[0].Role != string(account.Member) {
		t.Errorf("there are %v, %v", users, err)
	}
	if status, _, _ := r.web().newAccount(pathSignUp, "nora", "correct horse", "correct horse"); status != http.StatusUnprocessableEntity {
		t.Errorf("a name that is taken: %d", status)
	}
	if status, _, h := w.ask(http.MethodGet, pathSignUp, nil); status != http.StatusSeeOther || h.Get("Location") != "/" {
		t.Errorf("signed in: %d", status)
	}
	for _, bad := range []string{"?id=//evil.example", "?id=" + strings.Repeat("A", 22) + "&port=80&state=" + strings.Repeat("s", 20)} {
		if status, _, h := r.web().ask(http.MethodGet, pathSignUp+bad, nil); status < 400 {
			t.Errorf("%s: %d to %q", bad, status, h.Get("Location"))
		}
	}
}

func TestAFloodOfNewAccountsIsBounded(t *testing.T) {
	now := time.Now() // stands still
	r := serveAt(t, func() time.Time { return now })
	r.set(func(c *Settings) { c.SignUp = SignUpOpen })
	var made, late atomic.Int32
	var wg sync.WaitGroup
	for i := range 2 * freeSignUps {
		w := r.web()
		name := "n" + strings.Repeat("x", i+1)
		wg.Go(func() {
			switch status, page, _ := w.newAccount(pathSignUp, name, "correct horse", "correct horse"); {
			case status == http.StatusSeeOther:
				made.Add(1)
			case status == http.StatusTooManyRequests && strings.Contains(page, "wait 1s"):
				late.Add(1)
			default:
				t.Errorf("%d %s", status, page)
			}
		})
	}
	wg.Wait()
	if made.Load() != freeSignUps || late.Load() != freeSignUps {
		t.Errorf("%d were made, %d have to wait", made.Load(), late.Load())
	}
}

// serveAt is serve with a clock of one's own.
func serveAt(t *testing.T, now func() time.Time) *running {
	t.Helper()
	dir := t.TempDir()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	return serveDir(t, dir, "127.0.0.1:0", Options{Now: now})
}

func TestAPersonSignsUpInTheMiddleOfALogin(t *testing.T) {
	r := serve(t)
	r.set(func(c *Settings) { c.SignUp = SignUpOpen })
	d := r.device()
	reply := d.login("noras-laptop", "")
	b := newBrowser(t)
	b.do("login page", chromedp.Navigate(r.URL()+coord.PathLogin+reply.LoginID))
	b.sees("New here?")
	b.picture("signin-open")
	b.do("make an account", chromedp.Click(".card p a"))
	b.sees("for machines of your own")
	b.picture("signup")
	b.do("a weak password", chromedp.SendKeys("#login", "nora"), chromedp.SendKeys("#password", "Sunshine2024"), chromedp.SendKeys("#again", "Sunshine2024\n"))
	b.sees("guessed first")
	b.picture("signup-weak")
	b.do("a good one", chromedp.SendKeys("#password", "correct horse"), chromedp.SendKeys("#again", "correct horse\n"))
	b.sees("Connect this machine?")
	b.do("connect", chromedp.SendKeys("#code", reply.Code+"\n"))
	b.sees("Connected")
	if m := r.Machines(); len(m) != 1 || m[0].User.Login != "nora" {
		t.Errorf("machines %+v", m)
	}
}

// Of guesses at once, each counts before it is looked at.
func TestGuessesAtOnceDoNotPassTheThrottle(t *testing.T) {
	now := time.Now() // stands still
	r := serveAt(t, func() time.Time { return now })
	r.user("anna", "correct horse")
	var looked atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		w := r.web()
		wg.Go(func() {
			if status, _, _ := w.signIn("anna", "wrong guess", nil); status == http.StatusForbidden {
				looked.Add(1)
			}
		})
	}
	wg.Wait()
	if looked.Load() != freeGuesses {
		t.Errorf("%d guesses were looked at", looked.Load())
	}
}
