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

// setup makes a set-up link and gives its path.
func (r *running) setup() string {
	r.t.Helper()
	link, err := r.SetupLink(r.t.Context())
	if err != nil || !strings.HasPrefix(link, r.URL()+pathSetup) {
		r.t.Fatalf("SetupLink = %q, %v", link, err)
	}
	return strings.TrimPrefix(link, r.URL())
}

func (w *web) newAccount(path, login, password, again string) (int, string, http.Header) {
	w.t.Helper()
	status, page, h := w.ask(http.MethodGet, path, nil)
	if status != http.StatusOK {
		return status, page, h
	}
	return w.ask(http.MethodPost, path, url.Values{
		"token": {w.token(page, path)}, "login": {login}, "password": {password}, "again": {again},
	})
}

func TestTheSetupLinkMakesOneOwner(t *testing.T) {
	r := serve(t)
	void, path := r.setup(), r.setup()
	for _, dead := range []string{void, pathSetup + strings.Repeat("A", 26), pathSetup + "x"} {
		if status, page, _ := r.web().ask(http.MethodGet, dead, nil); status != http.StatusGone || !strings.Contains(page, "This link is over") {
			t.Errorf("%s: %d", dead, status)
		}
	}
	for problem, try := range map[string][3]string{
		"needs 10 characters": {"anna", "short", "short"}, "The two passwords differ": {"anna", "correct horse", "correct house"},
		"use lower-case letters": {"An<na", "correct horse", "correct horse"},
	} {
		if status, page, _ := r.web().newAccount(path, try[0], try[1], try[2]); status != http.StatusUnprocessableEntity || !strings.Contains(page, problem) {
			t.Errorf("%q: %d %s", problem, status, page)
		}
	}
	var made atomic.Int32
	var wg sync.WaitGroup
	send := make(chan struct{})
	for _, name := range []string{"anna", "bert", "carl"} { // all have the page open, and send it at once
		w := r.web()
		_, page, _ := w.ask(http.MethodGet, path, nil)
		f := url.Values{"token": {w.token(page, path)}, "login": {name}, "password": {"correct horse"}, "again": {"correct horse"}}
		wg.Go(func() {
			<-send
			switch status, text, h := w.ask(http.MethodPost, path, f); {
			case status == http.StatusSeeOther && h.Get("Location") == "/":
				made.Add(1)
			case status != http.StatusGone:
				t.Errorf("%s: %d %s", name, status, text)
			}
		})
	}
	close(send)
	wg.Wait()
	users, err := r.Users(t.Context())
	if err != nil || made.Load() != 1 || len(users) != 1 || users[0].Role != string(account.Owner) {
		t.Errorf("%d were made: %+v, %v", made.Load(), users, err)
	}
	if link, err := r.SetupLink(t.Context()); link != "" || err != nil {
		t.Errorf("with an owner there is a link: %q, %v", link, err)
	}
}

func TestTheSetupLinkDiesOfAgeAndOfAnOwner(t *testing.T) {
	dir := t.TempDir()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	var later atomic.Int64
	start := time.Now()
	r := serveDir(t, dir, "127.0.0.1:0", Options{Now: func() time.Time { return start.Add(time.Duration(later.Load())) }})
	path := r.setup()
	later.Store(int64(setupLife - time.Second))
	if status, _, _ := r.web().ask(http.MethodGet, path, nil); status != http.StatusOK {
		t.Errorf("a second before its end: %d", status)
	}
	later.Store(int64(setupLife))
	if status, _, _ := r.web().ask(http.MethodGet, path, nil); status != http.StatusGone {
		t.Errorf("at its end: %d", status)
	}
	path = r.setup()
	r.user("anna", "correct horse")
	if status, _, _ := r.web().ask(http.MethodGet, path, nil); status != http.StatusGone {
		t.Errorf("with an owner: %d", status)
	}
}

func TestAPersonSetsUpTheNetwork(t *testing.T) {
	r := serve(t)
	b := newBrowser(t)
	path := r.setup()
	b.do("set-up link", chromedp.Navigate(r.URL()+path))
	b.sees("Welcome to Warren")
	b.picture("setup")
	b.do("fill in", chromedp.SendKeys("#login", "anna"), chromedp.SendKeys("#password", "correct horse"), chromedp.SendKeys("#again", "correct house\n"))
	b.sees("The two passwords differ.")
	b.picture("setup-wrong")
	b.do("once more", chromedp.SendKeys("#password", "correct horse"), chromedp.SendKeys("#again", "correct horse\n"))
	b.sees("No machines yet")
	b.sees("warren up '" + coord.FormatInvite(r.URL(), r.Key()) + "'")
	b.picture("console-empty")
	b.do("again", chromedp.Navigate(r.URL()+path))
	b.sees("This link is over")
}
