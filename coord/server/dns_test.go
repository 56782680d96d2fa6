package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store/pgtest"
)

// answers reports whether a netmap has just these DNS settings.
func answers(want coord.DNS) func(*coord.Netmap) bool {
	return func(m *coord.Netmap) bool { return cmp.Equal(want, m.DNS, cmpopts.EquateEmpty()) }
}

// testDNS changes settings at one server, and holds what machines at both hear against them.
func testDNS(t *testing.T, a, b *running) {
	k := a.authKey(KeyOptions{Reusable: true})
	x, y, late := a.device(), b.device(), b.device()
	x.join("x", k)
	y.join("y", k)
	late.join("late", k)
	mapsX, _ := x.follow(nil)
	mapsY, stopY := y.follow(nil)
	both := func(what string, want coord.DNS) *coord.Netmap {
		t.Helper()
		until(t, mapsX, what+", here", answers(want))
		return until(t, mapsY, what+", there", answers(want))
	}
	set := func(change func(*coord.DNS)) {
		t.Helper()
		if err := a.SetDNS(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	both("nothing", coord.DNS{})
	want := coord.DNS{NoNames: true, Nameservers: []string{"192.0.2.53"}, Search: []string{"example.org"}}
	set(func(d *coord.DNS) { *d = want })
	have := both("the first", want)

	want.Split = []coord.DNSSplit{{Domain: "corp.example", Nameservers: []string{"10.1.0.53", "https://dns.corp.example/dns-query"}}}
	want.Records = []coord.DNSRecord{{Name: "*.wiki.example", Type: "CNAME", Value: "wiki.example"}, {Name: "wiki.example", Type: "A", Value: "100.64.0.9"}}
	slices.SortFunc(want.Records, compareRecords)
	_ = stopY()
	set(func(d *coord.DNS) { d.Split, d.Records = want.Split, want.Records })
	until(t, mapsX, "the second", answers(want))
	mapsY, _ = y.follow(have) // it was away
	until(t, mapsY, "what it missed", answers(want))
	mapsLate, _ := late.follow(nil)
	until(t, mapsLate, "all, to one that is new", answers(want))
	set(func(d *coord.DNS) { *d = coord.DNS{} })
	both("nothing again", coord.DNS{})
}

func TestMachinesHearTheDNSSettings(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		r := serve(t)
		testDNS(t, r, r)
		want := coord.DNS{Nameservers: []string{"192.0.2.53"}}
		if err := r.SetDNS(t.Context(), func(d *coord.DNS) { *d = want }); err != nil {
			t.Fatal(err)
		}
		r.stop()
		r = serveDir(t, r.dir, r.addr, Options{})
		d := r.device()
		d.join("after", r.authKey(KeyOptions{}))
		maps, _ := d.follow(nil)
		until(t, maps, "the settings, after a restart", answers(want))
	})
	t.Run("two servers", func(t *testing.T) {
		a, b := pair(t, pgtest.Start(t).Database("dns"), Options{})
		testDNS(t, a, b)
	})
}

func TestDNSSettingsThatAreNoneChangeNothing(t *testing.T) {
	r := serve(t)
	if err := r.SetDNS(t.Context(), func(d *coord.DNS) { d.Records = []coord.DNSRecord{{Name: "a.example", Type: "A", Value: "192.0.2.1"}} }); err != nil {
		t.Fatal(err)
	}
	before, seq, line := r.DNS(), r.hub.view().Seq, r.last()
	var many []coord.DNSRecord
	for i := range coord.MaxRecords {
		many = append(many, coord.DNSRecord{Name: fmt.Sprintf("n%d", i), Type: "A", Value: "192.0.2.1"})
	}
	add := func(rs ...coord.DNSRecord) error {
		return r.changeRecords(t.Context(), operator, DNSRecordsRequest{Add: rs})
	}
	for what, err := range map[string]error{
		"loopback":       r.SetDNS(t.Context(), func(d *coord.DNS) { d.Nameservers = []string{"127.0.0.1"} }),
		"no domain":      r.setSplit(t.Context(), operator, "no domain", []string{"192.0.2.1"}),
		"its own":        r.setSplit(t.Context(), operator, "Warren.Internal.", []string{"192.0.2.1"}),
		"one too many":   add(many...),
		"a second CNAME": add(coord.DNSRecord{Name: "a.example", Type: "CNAME", Value: "b.example"}),
		"the first fits": add(coord.DNSRecord{Name: "b", Type: "A", Value: "192.0.2.2"}, coord.DNSRecord{Name: "c", Type: "A", Value: "2001:db8::1"}),
		"there already":  add(coord.DNSRecord{Name: "A.example.", Type: "a", Value: " 192.0.2.1"}),
	} {
		if !errors.Is(err, coord.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := r.SetDNS(t.Context(), func(*coord.DNS) {}); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(before, r.DNS()); d != "" || r.hub.view().Seq != seq || r.last() != line {
		t.Errorf("something was changed:\n%s", d)
	}
	var wg sync.WaitGroup
	for i := range 20 { // who changes different things at once does so
		wg.Go(func() {
			err := r.changeRecords(context.Background(), operator, DNSRecordsRequest{Add: []coord.DNSRecord{{Name: fmt.Sprintf("p%d", i), Type: "AAAA", Value: "2001:DB8:0::1"}}})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if d := r.DNS(); len(d.Records) != 21 || !slices.Contains(d.Records, coord.DNSRecord{Name: "p7.warren.internal", Type: "AAAA", Value: "2001:db8::1"}) {
		t.Errorf("there are %v", d.Records)
	}
}

func TestDNSThroughTheAPI(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	p := r.program("anna", account.ScopeSettings)
	ok := func(status int, code string) {
		t.Helper()
		if status/100 != 2 {
			t.Errorf("%d %s", status, code)
		}
	}
	before := r.last()
	var d DNSSettings
	ok(p.call(http.MethodPatch, "/dns", `{"nameservers":["192.0.2.53"]}`, &d))
	ok(p.call(http.MethodPatch, "/dns", `{"names":false}`, &d))
	ok(p.call(http.MethodPut, "/dns/split/Corp.example", `{"nameservers":["10.0.0.53"]}`, nil))
	ok(p.call(http.MethodPost, "/dns/records", `{"add":[{"name":"wiki","type":"a","value":"100.64.0.7"},{"name":"old","type":"TXT","value":"<b>"}]}`, nil))
	ok(p.call(http.MethodPost, "/dns/records", `{"remove":[{"name":"old","type":"TXT","value":"<b>"}],"add":[{"name":"new","type":"TXT","value":"x"}]}`, nil))
	ok(p.call(http.MethodGet, "/dns", nil, &d))
	want := DNSSettings{
		Suffix: "warren.internal", Nameservers: []string{"192.0.2.53"}, Split: []coord.DNSSplit{{Domain: "corp.example", Nameservers: []string{"10.0.0.53"}}},
		Records: []coord.DNSRecord{{Name: "new.warren.internal", Type: "TXT", Value: "x"}, {Name: "wiki.warren.internal", Type: "A", Value: "100.64.0.7"}},
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
	ok(p.call(http.MethodDelete, "/dns/split/corp.example", nil, nil))
	if status, _ := p.call(http.MethodDelete, "/dns/split/corp.example", nil, nil); status != http.StatusNotFound {
		t.Errorf("a domain that is gone: %d", status)
	}
	for _, bad := range []struct{ method, path, body, says string }{
		{http.MethodPatch, "/dns", `{"nameservers":["nonsense"]}`, "nonsense"},
		{http.MethodPatch, "/dns", `{"records":[]}`, "records"},
		{http.MethodPut, "/dns/split/x.example", `{"nameservers":[]}`, "nameservers"},
		{http.MethodPost, "/dns/records", `{"remove":[{"name":"wiki","type":"A","value":"100.64.0.7"},{"name":"none","type":"A","value":"100.64.0.7"}]}`, "there is no record none A"},
	} {
		var says string
		if status, _ := p.call(bad.method, bad.path, bad.body, &says); status/100 != 4 || !strings.Contains(says, bad.says) {
			t.Errorf("%s %s %s: %d %s", bad.method, bad.path, bad.body, status, says)
		}
	}
	got, all := r.lines(before)
	if slices.Compact(slices.Clone(got))[0] != "anna api dns.change DNS" || len(slices.Compact(got)) != 1 || len(all) != 6 {
		t.Errorf("the log says %q", got)
	}
	for i, says := range []string{`"to":"192.0.2.53"`, `"names":{"from":true,"to":false}`, `corp.example 10.0.0.53`, `"added":["old.warren.internal TXT`, `"removed":["old.warren.internal TXT`, `"split":{"from"`} {
		if i < len(all) && !strings.Contains(all[i].Details, says) {
			t.Errorf("line %d says %s, not %s", i, all[i].Details, says)
		}
	}
}

func TestDNSInTheConsole(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("olga", "correct horse", account.Auditor)
	b := newBrowser(t)
	b.do("front page", chromedp.Navigate(r.URL()+"/"))
	b.signInAs("anna")
	b.do("DNS", chromedp.Click(`nav a[href="/dns"]`))
	b.sees("Machines find each other by name, as NAME and NAME.warren.internal")
	b.picture("dns-empty")

	b.do("settings", chromedp.SendKeys("#servers", "192.0.2.53 nonsense"), chromedp.SendKeys("#search", "corp.example.org\n"))
	b.sees("Invalid nameserver")
	if typed, err := chromedp.Run(b.ctx, chromedp.Value("#search")); err != nil || typed != "corp.example.org" {
		t.Errorf("what was typed is gone: %q, %v", typed, err)
	}
	b.picture("dns-wrong")
	b.do("better", chromedp.SetValue("#servers", "192.0.2.53, https://dns.example.net/dns-query"), chromedp.Submit("#servers"))
	b.do("split", chromedp.WaitNotPresent(".note.bad"), chromedp.SendKeys("#domain", "corp.example.org"), chromedp.SendKeys("#split-servers", "127.0.0.1\n"))
	b.sees("127.0.0.1")
	b.do("better", chromedp.SetValue("#split-servers", "10.1.0.53 10.2.0.53"), chromedp.Submit("#split-servers"), chromedp.WaitVisible(`#split .names`))
	for i, rec := range [][3]string{{"wiki", "A", "100.64.0.7"}, {"*.wiki", "CNAME", "wiki"}, {"_acme-challenge.wiki.example.org", "TXT", "a long text <b>of which</b> nothing is lost, since it stands here as a whole"}} {
		b.do("record", chromedp.SendKeys("#name", rec[0]), chromedp.SetValue("#type", rec[1]), chromedp.SendKeys("#value", rec[2]), chromedp.Submit("#name"))
		b.do("it is there", chromedp.WaitVisible(fmt.Sprintf("#records .names li:nth-child(%d)", i+1)))
		b.sees(rec[2])
	}
	b.do("a record that is none", chromedp.SendKeys("#name", "wiki"), chromedp.SetValue("#type", "AAAA"), chromedp.SendKeys("#value", "100.64.0.7\n"))
	b.sees("no value of type AAAA")
	b.picture("dns-record-wrong")
	b.do("remove", chromedp.Click(`#records .names li:nth-child(1) button`), chromedp.WaitNotPresent(".note.bad"))
	want := coord.DNS{
		Nameservers: []string{"192.0.2.53", "https://dns.example.net/dns-query"}, Search: []string{"corp.example.org"},
		Split: []coord.DNSSplit{{Domain: "corp.example.org", Nameservers: []string{"10.1.0.53", "10.2.0.53"}}},
		Records: []coord.DNSRecord{
			{Name: "_acme-challenge.wiki.example.org", Type: "TXT", Value: "a long text <b>of which</b> nothing is lost, since it stands here as a whole"},
			{Name: "*.wiki.warren.internal", Type: "CNAME", Value: "wiki.warren.internal"},
		},
	}
	slices.SortFunc(want.Records, compareRecords)
	if d := cmp.Diff(want, r.DNS(), cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	b.picture("dns")
	b.signOut()
	b.signInAs("olga")
	b.do("DNS", chromedp.Navigate(r.URL()+"/dns"))
	b.sees("10.1.0.53 10.2.0.53")
	b.lacks("Save")
	b.picture("dns-auditor")
}

func TestManyRecordsAreSearched(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	err := r.SetDNS(t.Context(), func(d *coord.DNS) {
		for i := range coord.MaxRecords {
			d.Records = append(d.Records, coord.DNSRecord{Name: fmt.Sprintf("host-%d.example", i), Type: "A", Value: fmt.Sprintf("10.0.%d.%d", i/200, i%200)})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	w := r.web()
	_, _, _ = w.signIn("anna", "correct horse", nil)
	if _, page, _ := w.ask(http.MethodGet, "/dns", nil); !strings.Contains(page, "800 more are not shown") || strings.Count(page, "host-") < maxRows {
		t.Error("the page does not say that there are more")
	}
	if _, page, _ := w.ask(http.MethodGet, "/dns?"+url.Values{"q": {"HOST-777."}}.Encode(), nil); !strings.Contains(page, "host-777.example") || strings.Contains(page, "host-776.example") {
		t.Error("the search does not find it")
	}
}
