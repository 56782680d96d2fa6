package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
)

// signInAs signs in at the sign-in page that the browser shows.
func (b *browser) signInAs(login string) {
	b.t.Helper()
	b.sees("With your account")
	b.do("sign in", chromedp.SendKeys("#login", login), chromedp.SendKeys("#password", "correct horse\n"))
	b.sees("Sign out")
}

func (b *browser) signOut() {
	b.t.Helper()
	b.do("sign out", chromedp.Click("header button"))
	b.sees("With your account")
}

// lacks fails where the page's text holds the words.
func (b *browser) lacks(words string) {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
	if err != nil || strings.Contains(text, words) {
		b.t.Errorf("the page says %q (%v)", words, err)
	}
}

func TestMachinesInTheConsole(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("mia", "correct horse", account.Member)
	for host, o := range map[string]KeyOptions{
		"annas-laptop": {User: "anna"}, "nas": {Tags: []string{"home", "storage"}}, "mias-tablet": {User: "mia"}, "old-phone": {User: "mia"},
	} {
		r.device().join(host, r.authKey(o))
	}
	d := r.device()
	d.join("desk", r.authKey(KeyOptions{User: "anna"}))
	if err := d.Update(t.Context(), coord.NodeUpdate{OS: "Debian GNU/Linux 12", Version: "0.4.1", Endpoints: update(41641).Endpoints}); err != nil {
		t.Fatal(err)
	}
	maps, _ := d.follow(nil)
	until(t, maps, "itself", func(m *coord.Netmap) bool { return m.Self.Online })

	b := newBrowser(t)
	b.do("front page", chromedp.Navigate(r.URL()+"/"))
	b.signInAs("anna")
	b.sees("5 in all, 1 online")
	b.picture("machines")
	b.do("search", chromedp.SendKeys("#q", "storage\n"))
	b.sees("1 found")
	b.sees("nas")
	b.lacks("old-phone")
	b.do("search", chromedp.Navigate(r.URL()+"/?q=no+such"))
	b.sees("Nothing matches “no such”")
	b.picture("machines-none")

	b.do("open", chromedp.Navigate(r.URL()+"/"), chromedp.Click(`a[href="/machines/`+r.machineID("desk")+`"]`))
	b.sees("desk.warren.internal")
	b.sees("192.0.2.1:41641")
	b.picture("machine")
	b.do("rename to a taken name", chromedp.SetValue("#name", "nas"), chromedp.Click(".row button"))
	b.sees("Another machine has this name")
	b.picture("machine-taken")
	b.do("rename", chromedp.SetValue("#name", "workbench"), chromedp.Click(".row button"))
	b.sees("workbench.warren.internal")
	until(t, maps, "its new name", func(m *coord.Netmap) bool { return m.Self.Name == "workbench" })

	b.do("ask to expire", chromedp.Click(`a[href$="/expire"]`))
	b.sees("Expire the key of workbench?")
	b.picture("confirm")
	b.do("think again", chromedp.Click("form a"))
	b.sees("workbench.warren.internal")
	b.do("expire", chromedp.Click(`a[href$="/expire"]`), chromedp.Click("button.main"))
	b.sees("expired")
	wantCode(t, d.Update(t.Context(), update(1)), coord.CodeExpired)
	b.do("remove", chromedp.Click(`a[href$="/remove"]`), chromedp.Click("button.main"))
	b.sees("4 in all")
	b.lacks("workbench")
	b.do("add", chromedp.Click(`a[href="/add"]`))
	b.sees("warren up '" + coord.FormatInvite(r.URL(), r.Key()) + "'")
	b.picture("add")
	b.signOut()

	b.signInAs("mia")
	b.sees("2 in all, 0 online")
	b.lacks("annas-laptop")
}

// machineID finds a machine's number by its name.
func (r *running) machineID(name string) string {
	r.t.Helper()
	m, err := r.machineNamed(name)
	if err != nil {
		r.t.Fatal(err)
	}
	return fmt.Sprint(m.Node.ID)
}

func TestEachChangesOnlyTheirOwnMachines(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	for _, role := range []account.Role{account.Member, account.Auditor} {
		name := string(role)
		r.userAs(name, "correct horse", role)
		r.device().join("of-"+name, r.authKey(KeyOptions{User: name}))
	}
	r.device().join("of-anna", r.authKey(KeyOptions{User: "anna"}))
	for _, c := range []struct {
		who, whose string
		status     int
	}{
		{"member", "of-member", http.StatusSeeOther},
		{"member", "of-anna", http.StatusForbidden},
		{"auditor", "of-auditor", http.StatusForbidden},
		{"auditor", "of-anna", http.StatusForbidden},
		{"anna", "of-auditor", http.StatusSeeOther},
	} {
		w := r.web()
		_, _, _ = w.signIn(c.who, "correct horse", nil)
		path := "/machines/" + r.machineID(c.whose) + "/remove"
		if status, page, _ := w.post(r, path, nil); status != c.status {
			t.Errorf("%s removes %s: %d %s", c.who, c.whose, status, page)
		}
	}
	if n := len(r.Machines()); n != 1 {
		t.Errorf("%d machines are left", n)
	}
}
