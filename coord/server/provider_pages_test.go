package server

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/warren-mesh/warren/coord/internal/account"
)

func TestAProviderIsChanged(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	id := r.provider(NewProvider{Name: "Work", Client: "warren", Secret: "first secret", ProviderOptions: ProviderOptions{Domains: []string{"example.org"}}})
	_ = r.provider(NewProvider{Name: "Other"})
	now := func() provider {
		t.Helper()
		p, err := r.findProvider(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	was := now()

	p := r.program("anna", account.ScopeSettings)
	before := r.last()
	if status, code := p.call(http.MethodPatch, "/providers/"+id, `{"signUp":true,"groups":["staff"]}`, nil); status != http.StatusNoContent {
		t.Fatalf("%d %s", status, code)
	}
	if got := now(); !got.SignUp || !slices.Equal(got.Groups, []string{"staff"}) || !slices.Equal(got.Domains, was.Domains) || got.Name != "Work" || got.config != was.config {
		t.Errorf("it is %+v", got)
	}
	if status, _ := p.call(http.MethodPatch, "/providers/"+id, `{"secret":"second secret"}`, nil); status != http.StatusNoContent || now().config.Secret != "second secret" {
		t.Errorf("another secret: %d, %+v", status, now())
	}
	for body, want := range map[string]int{
		`{"name":""}`: http.StatusBadRequest, `{"domains":["no domain"]}`: http.StatusBadRequest, `{"secret":"file:../identity"}`: http.StatusBadRequest,
		`{"issuer":"https://other.example"}`: http.StatusUnprocessableEntity, `{"name":"Other"}`: http.StatusConflict,
	} {
		if status, code := p.call(http.MethodPatch, "/providers/"+id, body, nil); status != want {
			t.Errorf("%s: %d %s", body, status, code)
		}
	}
	if status, _ := p.call(http.MethodPatch, "/providers/99", `{"signUp":true}`, nil); status != http.StatusNotFound {
		t.Errorf("one that is not there: %d", status)
	}

	b := newBrowser(t)
	b.do("providers", chromedp.Navigate(r.URL()+"/"))
	b.signInAs("anna")
	b.do("change", chromedp.Navigate(r.URL()+"/providers"), chromedp.Click(`a[href="/providers/`+id+`"]`))
	b.sees("Another issuer is another provider")
	b.picture("provider-change")
	b.do("a taken name", chromedp.SetValue("#name", "Other"), chromedp.SetValue("#domains", "example.com"), chromedp.Submit("#name"))
	b.sees("There is a provider of this name")
	if typed, err := chromedp.Run(b.ctx, chromedp.Value("#domains")); err != nil || typed != "example.com" {
		t.Errorf("what was typed is gone: %q, %v", typed, err)
	}
	b.do("a free one", chromedp.SetValue("#name", "Our company"), chromedp.Submit("#name"))
	b.sees("Remove Our company")
	if got := now(); got.Name != "Our company" || got.config.Secret != "second secret" || !slices.Equal(got.Domains, []string{"example.com"}) || !got.SignUp {
		t.Errorf("it is %+v", got)
	}
	got, all := r.lines(before)
	if want := []string{"anna api provider.set Work", "anna api provider.set Work", "anna console signin.ok anna", "anna console provider.set Work"}; !slices.Equal(got, want) {
		t.Errorf("the log says %q", got)
	}
	for _, l := range all {
		if strings.Contains(l.Details, "second") {
			t.Errorf("a secret is in the log: %s", l.Details)
		}
	}
}

func TestWhoStillWaitsIsSaidInTheSettings(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	w := r.web()
	_, _, _ = w.signIn("anna", "correct horse", nil)
	says := func() bool {
		t.Helper()
		_, page, _ := w.ask(http.MethodGet, "/settings", nil)
		return strings.Contains(page, "from before still wait")
	}
	r.device().join("laptop", r.authKey(KeyOptions{User: "anna", Approval: true}))
	if !says() {
		t.Error("nobody says that a machine waits, though new ones would not")
	}
	r.set(func(c *Settings) { c.Approval = true })
	if says() {
		t.Error("that machines wait is what the settings want")
	}
	r.set(func(c *Settings) { c.Approval = false })
	if err := r.ApproveMachine(t.Context(), "laptop"); err != nil || says() {
		t.Errorf("it was let in, %v", err)
	}
}
