package server

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// set changes settings.
func (r *running) set(change func(*Settings)) {
	r.t.Helper()
	if _, err := r.SetSettings(r.t.Context(), change); err != nil {
		r.t.Fatal(err)
	}
}

func TestSettingsAreValidAsAWholeOrNotChanged(t *testing.T) {
	r := serve(t)
	before, err := r.Settings(t.Context())
	if err != nil || before.SignUp != SignUpInvitation || before.KeyDays != 180 || before.Approval {
		t.Fatalf("a new network's settings: %+v, %v", before, err)
	}
	for what, change := range map[string]func(*Settings){
		"no such way":              func(c *Settings) { c.SignUp = "everybody" },
		"negative":                 func(c *Settings) { c.KeyDays = -1 },
		"too long":                 func(c *Settings) { c.KeyDays = maxKeyDays + 1 },
		"domains, and none":        func(c *Settings) { c.SignUp = SignUpDomains },
		"a domain of one label":    func(c *Settings) { c.Domains = []string{"org"} },
		"an address for a domain":  func(c *Settings) { c.Domains = []string{"192.0.2.1"} },
		"an upper-case domain":     func(c *Settings) { c.Domains = []string{"Example.org"} },
		"an e-mail address":        func(c *Settings) { c.Domains = []string{"anna@example.org"} },
		"a domain with a dot last": func(c *Settings) { c.Domains = []string{"example.org."} },
		"a domain twice":           func(c *Settings) { c.Domains = []string{"example.org", "example.org"} },
		"many domains":             func(c *Settings) { c.Domains = make([]string, maxDomains+1) },
	} {
		_, err := r.SetSettings(t.Context(), func(c *Settings) { c.Approval = true; change(c) })
		if !errors.Is(err, coord.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if after, err := r.Settings(t.Context()); err != nil || after.Approval {
		t.Errorf("what was refused changed them: %+v, %v", after, err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { r.set(func(c *Settings) { c.SignUp, c.Domains = SignUpDomains, []string{"example.org"} }) })
	wg.Go(func() { r.set(func(c *Settings) { c.KeyDays = 7 }) })
	wg.Wait()
	if after, err := r.Settings(t.Context()); err != nil || after.SignUp != SignUpDomains || after.KeyDays != 7 {
		t.Errorf("of two changes at once: %+v, %v", after, err)
	}
	for _, role := range []account.Role{account.Admin, account.Auditor, account.Member} {
		r.userAs(string(role), "correct horse", role)
		_, err := r.setSettings(t.Context(), caller{user: r.ids()[string(role)], role: account.Owner}, func(c *Settings) { c.KeyDays = 0 })
		if !errors.Is(err, errNotAllowed) {
			t.Errorf("who is %s by now changes settings: %v", role, err)
		}
	}
}

func TestSettingsFromAnOlderVersionHaveDefaults(t *testing.T) {
	r := serve(t)
	err := r.store.Write(t.Context(), func(tx store.Tx) error { return tx.SetMeta(metaSettings, `{"approval":true}`) })
	if err != nil {
		t.Fatal(err)
	}
	if c, err := r.Settings(t.Context()); err != nil || !c.Approval || c.KeyDays != 180 || c.SignUp != SignUpInvitation {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestAPersonsMachineIsGoodAsLongAsTheSettingsSay(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	for days, want := range map[int]time.Duration{0: 0, 1: 24 * time.Hour, 730: 730 * 24 * time.Hour} {
		r.set(func(c *Settings) { c.KeyDays = days })
		for user, want := range map[string]time.Duration{"anna": want, "": 0} {
			o := KeyOptions{User: user}
			if user == "" {
				o.Tags = []string{"server"}
			}
			d := r.device()
			d.join("m", r.authKey(o))
			var n store.Node
			err := r.store.Read(t.Context(), func(tx store.Tx) (err error) {
				n, err = tx.NodeByMachine(d.mach.Public())
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if want == 0 && !n.Expires.IsZero() || want != 0 && n.Expires.Sub(n.Created).Round(time.Minute) != want {
				t.Errorf("with %d days %q's expires %v after it joined", days, user, n.Expires.Sub(n.Created))
			}
		}
	}
}

func TestSettingsInTheConsole(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("ada", "correct horse", account.Auditor)
	b := newBrowser(t)
	b.do("front page", chromedp.Navigate(r.URL()+"/"))
	b.signInAs("anna")
	b.do("settings", chromedp.Click(`nav a[href="/settings"]`))
	b.sees("Only who is invited")
	b.picture("settings")
	b.do("domains without any", chromedp.Click("input[value=domains]"), chromedp.Click("main button"))
	b.sees("name one at the least")
	b.picture("settings-wrong")
	b.do("domains", chromedp.SendKeys("#domains", "Example.org, example.com"), chromedp.SetValue("#days", "30"), chromedp.Click("input[name=approval]"),
		chromedp.Click("main button"), chromedp.WaitReady(`input[name=approval][checked]`))
	c, err := r.Settings(t.Context())
	if err != nil || c.SignUp != SignUpDomains || strings.Join(c.Domains, " ") != "example.org example.com" || c.KeyDays != 30 || !c.Approval {
		t.Errorf("settings are %+v, %v", c, err)
	}
	b.signOut()
	b.signInAs("ada")
	b.do("settings", chromedp.Click(`nav a[href="/settings"]`))
	b.sees("logs in again after 30 days")
	b.sees("An owner can change these.")
	b.picture("settings-seen")
	w := r.web()
	_, _, _ = w.signIn("ada", "correct horse", nil)
	if status, _, _ := w.post(r, "/settings", url.Values{"signup": {"open"}, "days": {"1"}}); status != http.StatusForbidden {
		t.Errorf("an auditor changes settings: %d", status)
	}
}
