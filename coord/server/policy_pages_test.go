package server

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/warren-mesh/warren/coord/internal/account"
)

func TestAccessRulesInTheConsole(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("ada", "correct horse", account.Auditor)
	r.device().join("web", r.authKey(KeyOptions{Tags: []string{"web"}}))
	r.device().join("db", r.authKey(KeyOptions{Tags: []string{"db"}}))
	b := newBrowser(t)
	b.do("front page", chromedp.Navigate(r.URL()+"/"))
	b.signInAs("anna")
	b.do("rules", chromedp.Click(`nav a[href="/policy"]`))
	b.sees("this default is in force")
	b.picture("policy")
	b.do("a mistake", chromedp.SetValue("#text", "{\n  // who may reach what\n  \"grants\": [\n    {\"src\": [\"tag:web\"], \"dst\": [\"tag:db\"], \"ip\": [\"tcp:5432\"]},\n  ],\n  \"ssh\": [],\n}\n"), chromedp.Click("button[value=save]"))
	b.sees("Line 6, column 3")
	b.sees("Warren has no SSH server")
	b.picture("policy-wrong")
	good := "{\n  // who may reach what\n  \"tagOwners\": {\"tag:web\": [], \"tag:db\": []},\n  \"grants\": [\n    {\"src\": [\"tag:web\"], \"dst\": [\"tag:db\"], \"ip\": [\"tcp:5432\"]},\n  ],\n}\n"
	b.do("preview", chromedp.SetValue("#text", good), chromedp.Click("button[value=preview]"))
	b.sees("It would change something for 2 machines")
	b.sees("from tag:web: tcp:5432")
	b.picture("policy-preview")
	if p, err := r.Policy(t.Context()); err != nil || p.Version != 0 {
		t.Errorf("the preview saved %+v, %v", p, err)
	}
	b.do("save", chromedp.Click("button[value=save]"))
	b.sees("in force")
	p, err := r.Policy(t.Context())
	if err != nil || p.Text != good || p.By != "anna" {
		t.Errorf("saved is %+v, %v", p, err)
	}
	r.govern(strings.Replace(good, "5432", "22", 1))
	b.do("save over another's", chromedp.Click("button[value=save]"))
	b.sees("somebody else has saved a version meanwhile")
	b.do("history", chromedp.Click(`ul a.thing[href="/policy/versions/1"]`))
	b.sees("What is other than in the version in force")
	b.picture("policy-version")
	b.do("restore", chromedp.Click(".card form button"))
	b.sees("version 1 restored")
	if p, err = r.Policy(t.Context()); err != nil || p.Text != good || p.Version != 3 {
		t.Errorf("restored is %+v, %v", p, err)
	}
	b.do("why", chromedp.Navigate(r.URL()+"/machines/"+r.machineID("web")), chromedp.Click(`a[href="/policy/why?from=web"]`))
	b.do("ask", chromedp.SetValue("#to", "db"), chromedp.SetValue("#port", "5432"), chromedp.Click("main button"))
	b.sees("the rule on line 5 allows it")
	b.picture("why")
	b.do("ask for another", chromedp.SetValue("#port", "22"), chromedp.Click("main button"))
	b.sees("but not for this protocol and port")
	b.picture("why-not")
	b.signOut()
	b.signInAs("ada")
	b.do("rules", chromedp.Click(`nav a[href="/policy"]`))
	b.sees("Access rules")
	w := r.web()
	_, _, _ = w.signIn("ada", "correct horse", nil)
	if status, text, _ := w.ask(http.MethodGet, "/policy", nil); status != http.StatusOK || strings.Contains(text, "value=\"save\"") {
		t.Errorf("an auditor's page: %d %s", status, text)
	}
	if status, _, _ := w.post(r, "/policy", url.Values{"text": {good}, "version": {"3"}, "do": {"save"}}); status != http.StatusForbidden {
		t.Errorf("an auditor changes rules: %d", status)
	}
}

func TestLinesAreCompared(t *testing.T) {
	var got strings.Builder
	for _, l := range diffLines("a\nb\nc\n1\n2\n3\n4\n5\nz", "a\nc\nd\n1\n2\n3\n4\n5\nz") {
		got.WriteString(l.Kind[:1] + l.Text + " ")
	}
	if want := "sa gb sc nd s1 s2 s3 s "; got.String() != want {
		t.Errorf("got %q, not %q", got.String(), want)
	}
	if all := diffLines("a", "a"); len(all) != 1 || all[0].Kind != "skip" {
		t.Errorf("the same: %+v", all)
	}
	long := strings.Repeat("x\ny\n", 2*maxDiffed)
	if all := diffLines(long, "new\n"+strings.Repeat("y\nx\n", 2*maxDiffed)+"end"); len(all) == 0 {
		t.Error("long ones")
	}
}
