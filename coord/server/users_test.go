package server

import (
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/warren-mesh/warren/coord/internal/account"
)

var secretText = regexp.MustCompile(`<code class="copy">([^<]*)</code>`)

// invite makes an invitation and gives its link's path.
func (w *web) invite(r *running, role string) (path string, status int) {
	w.t.Helper()
	status, page, _ := w.post(r, "/invitations", url.Values{"role": {role}, "days": {"7"}})
	if m := secretText.FindStringSubmatch(page); m != nil {
		path = strings.TrimPrefix(m[1], r.URL())
	}
	return path, status
}

func TestAnInvitationMakesOneAccount(t *testing.T) {
	r := serve(t)
	r.userAs("bert", "correct horse", account.Admin)
	admin := r.web()
	_, _, _ = admin.signIn("bert", "correct horse", nil)
	if path, status := admin.invite(r, "owner"); status != http.StatusForbidden || path != "" {
		t.Errorf("an admin invites an owner: %d", status)
	}
	if _, status := admin.invite(r, "king"); status != http.StatusBadRequest {
		t.Errorf("an admin invites a king: %d", status)
	}
	path, _ := admin.invite(r, "auditor")
	if status, page, _ := r.web().newAccount(path, "bert", "correct horse", "correct horse"); status != http.StatusUnprocessableEntity || !strings.Contains(page, "There is an account of this name") {
		t.Errorf("a name that is taken: %d", status)
	}
	var made atomic.Int32
	var wg sync.WaitGroup
	send := make(chan struct{})
	for _, name := range []string{"one", "two", "three"} {
		w := r.web()
		_, page, _ := w.ask(http.MethodGet, path, nil)
		f := url.Values{"token": {w.token(page, path)}, "login": {name}, "password": {"correct horse"}, "again": {"correct horse"}}
		wg.Go(func() {
			<-send
			if status, _, _ := w.ask(http.MethodPost, path, f); status == http.StatusSeeOther {
				made.Add(1)
			}
		})
	}
	close(send)
	wg.Wait()
	users, _ := r.Users(t.Context())
	auditors := 0
	for _, u := range users {
		if u.Role == string(account.Auditor) {
			auditors++
		}
	}
	if made.Load() != 1 || auditors != 1 || len(users) != 2 {
		t.Errorf("%d were made: %+v", made.Load(), users)
	}
}

func TestAnInvitationIsWorthWhatItsMakerMayDo(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("bert", "correct horse", account.Admin)
	admin := r.web()
	_, _, _ = admin.signIn("bert", "correct horse", nil)
	kept, _ := admin.invite(r, "admin")
	revoked, _ := admin.invite(r, "member")
	if status, _, _ := admin.post(r, "/invitations/2/revoke", nil); status != http.StatusSeeOther {
		t.Fatalf("revoking: %d", status)
	}
	if status, _, _ := r.web().ask(http.MethodGet, revoked, nil); status != http.StatusGone {
		t.Errorf("a revoked invitation: %d", status)
	}
	if err := r.SetRole(t.Context(), "bert", "member"); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := r.web().ask(http.MethodGet, kept, nil); status != http.StatusGone {
		t.Errorf("an invitation by who is an admin no more: %d", status)
	}
	if status, _, _ := admin.ask(http.MethodGet, "/users", nil); status != http.StatusForbidden {
		t.Errorf("who is an admin no more sees people: %d", status)
	}
}

func TestPeopleInTheConsole(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("mia", "correct horse", account.Member)
	r.userAs("ada", "correct horse", account.Auditor)
	r.device().join("mias-tablet", r.authKey(KeyOptions{User: "mia"}))
	b := newBrowser(t)
	b.do("front page", chromedp.Navigate(r.URL()+"/"))
	b.signInAs("anna")
	b.do("people", chromedp.Click(`nav a[href="/users"]`), chromedp.Click(".fields button"))
	b.sees("Your invitation is ready")
	link, err := chromedp.Run(b.ctx, chromedp.Text("code.copy"))
	if err != nil || !strings.HasPrefix(link, r.URL()+pathInvite) {
		t.Fatalf("the link is %q, %v", link, err)
	}
	b.picture("invited")
	b.do("back", chromedp.Click(".button.wide"))
	b.sees("each makes one account")
	b.picture("users")
	id := strconv.FormatInt(r.ids()["mia"], 10)
	b.do("an account", chromedp.Click(`a[href="/users/`+id+`"]`))
	b.sees("mias-tablet")
	b.picture("user")
	b.do("make an admin of a member", chromedp.Click("input[value=admin]"), chromedp.Click("fieldset + button"), chromedp.WaitReady("input[value=admin][checked]"))
	self := strconv.FormatInt(r.ids()["anna"], 10)
	b.do("the last owner steps down", chromedp.Navigate(r.URL()+"/users/"+self), chromedp.Click("input[value=member]"), chromedp.Click("fieldset + button"))
	b.sees("This is the last owner")
	b.do("remove", chromedp.Navigate(r.URL()+"/users/"+id+"/remove"))
	b.sees("Remove the account mia?")
	b.do("yes", chromedp.Click("button.main"))
	b.sees("2 in all")
	if n := len(r.Machines()); n != 0 {
		t.Errorf("%d machines are left", n)
	}
	b.signOut()
	b.do("invitation", chromedp.Navigate(link))
	b.sees("You are invited to an account here, as a member.")
	b.picture("invite")
	b.do("accept", chromedp.SendKeys("#login", "noor"), chromedp.SendKeys("#password", "correct horse"), chromedp.SendKeys("#again", "correct horse\n"))
	b.sees("No machines yet")
	b.lacks("People")
}
