package server

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
	"github.com/warren-mesh/warren/coord/key"
)

// lines are the log's, the oldest first, each as "who via action subject".
func (r *running) lines(after int64) (text []string, all []store.Audit) {
	r.t.Helper()
	err := r.store.Read(r.t.Context(), func(tx store.Tx) (err error) {
		all, err = tx.AuditLines(store.AuditQuery{Forward: true, After: after, Limit: 10_000})
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, a := range all {
		text = append(text, strings.Join([]string{a.Login, a.Via, a.Action, a.Subject}, " "))
	}
	return text, all
}

// last is the number of the newest line.
func (r *running) last() int64 {
	r.t.Helper()
	_, all := r.lines(0)
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1].ID
}

func TestEveryChangeIsInTheLog(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("mia", "correct horse", account.Member)
	ids := r.ids()
	anna, mia := r.web(), r.web()
	d := r.device()
	var machineID string
	post := func(w *web, path string, form url.Values) func() {
		return func() {
			t.Helper()
			if status, page, _ := w.post(r, path, form); status != http.StatusOK && status != http.StatusSeeOther {
				t.Errorf("%s: %d %s", path, status, page)
			}
		}
	}
	fine := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	for _, step := range []struct {
		name string
		do   func()
		want []string
	}{
		{"a wrong password", func() { _, _, _ = anna.signIn("anna", "wrong", nil) }, []string{" console signin.refused anna"}},
		{"a password for a name", func() { _, _, _ = anna.signIn("hunter2", "wrong", nil) }, []string{" console signin.refused "}},
		{"sign in", func() {
			_, _, _ = anna.signIn("anna", "correct horse", nil)
			_, _, _ = mia.signIn("mia", "correct horse", nil)
		}, []string{
			"anna console signin.ok anna", "mia console signin.ok mia",
		}},
		{"key", post(anna, "/keys", url.Values{"for": {"me"}, "days": {"1"}}), []string{"anna console key.add key 1"}},
		{"key at the host", func() { r.authKey(KeyOptions{}) }, []string{" host key.add key 2"}},
		{"revoke", post(anna, "/keys/1/revoke", nil), []string{"anna console key.revoke key 1"}},
		{"join", func() {
			d.join("laptop", r.authKey(KeyOptions{User: "mia"}))
			machineID = r.machineID("laptop")
		}, []string{" host key.add key 3", "mia machine key.use key 3", "mia machine machine.add laptop"}},
		{"rename", func() { post(mia, "/machines/"+machineID+"/rename", url.Values{"name": {"desk"}})() }, []string{"mia console machine.rename laptop"}},
		{"host's name", func() { fine(d.Update(t.Context(), coord.NodeUpdate{Hostname: "shelf"})) }, []string{"mia machine machine.rename desk"}},
		{"rekey", func() { d.node = key.NewNode(); d.join("shelf", "") }, []string{"mia machine machine.key shelf"}},
		{"expire", func() { post(anna, "/machines/"+machineID+"/expire", nil)() }, []string{"anna console machine.expire shelf"}},
		{"log in again", func() { d.join("shelf", r.authKey(KeyOptions{User: "mia"})) }, []string{
			" host key.add key 4", "mia machine key.use key 4", "mia machine machine.login shelf",
		}},
		{"log out", func() { fine(d.Logout(t.Context())) }, []string{"mia machine machine.logout shelf"}},
		{"another machine", func() {
			r.device().join("nas", r.authKey(KeyOptions{Tags: []string{"home"}}))
			post(anna, "/machines/"+r.machineID("nas")+"/remove", nil)()
		}, []string{" host key.add key 5", " machine key.use key 5", " machine machine.add nas", "anna console machine.remove nas"}},
		{"role", post(anna, "/users/"+fmt.Sprint(ids["mia"])+"/role", url.Values{"role": {"auditor"}}), []string{"anna console user.role mia"}},
		{"invite", post(anna, "/invitations", url.Values{"role": {"member"}, "days": {"7"}}), []string{"anna console invitation.add invitation 1"}},
		{"take it back", post(anna, "/invitations/1/revoke", nil), []string{"anna console invitation.revoke invitation 1"}},
		{"accept another", func() {
			path, _ := anna.invite(r, "member")
			_, _, _ = r.web().newAccount(path, "noor", "correct horse", "correct horse")
		}, []string{
			"anna console invitation.add invitation 2", "anna console invitation.use invitation 2", "noor console user.add noor", "noor console signin.ok noor",
		}},
		{"own password", post(mia, "/profile/password", url.Values{"password": {"correct horse"}, "next": {"battery staple"}, "again": {"battery staple"}}), []string{
			"mia console user.password mia", "mia console signin.ok mia",
		}},
		{"sign others out", post(mia, "/profile/sessions/revoke", nil), []string{"mia console signin.end mia"}},
		{"remove", post(anna, "/users/"+fmt.Sprint(ids["mia"])+"/remove", nil), []string{"anna console machine.remove shelf", "anna console user.remove mia"}},
		{"relay", func() {
			fine(r.PutRelay(t.Context(), coord.Relay{Name: "r", Key: key.RelayPublic{1}, UDP: "a.example:1"}))
		}, []string{" host relay.set r"}},
		{"the same", func() {
			fine(r.PutRelay(t.Context(), coord.Relay{Name: "r", Key: key.RelayPublic{1}, UDP: "a.example:1"}))
		}, nil},
		{"approval", func() {
			nas := r.device()
			nas.join("nas", r.authKey(KeyOptions{User: "anna", Approval: true}))
			at := "/machines/" + r.machineID("nas")
			post(anna, at+"/approve", nil)()
			post(anna, at+"/extend", nil)()
			other := r.device()
			other.join("other", r.authKey(KeyOptions{User: "anna", Approval: true}))
			post(anna, "/machines/"+r.machineID("other")+"/deny", nil)()
		}, []string{
			" host key.add key 6", "anna machine key.use key 6", "anna machine machine.wait nas", "anna console machine.approve nas",
			"anna console machine.extend nas", " host key.add key 7", "anna machine key.use key 7", "anna machine machine.wait other",
			"anna console machine.deny other",
		}},
		{"settings", post(anna, "/settings", url.Values{"signup": {"open"}, "days": {"30"}}), []string{"anna console settings.change settings"}},
		{"no other settings", post(anna, "/settings", url.Values{"signup": {"open"}, "days": {"30"}}), nil},
		{"no relay", func() { fine(r.RemoveRelay(t.Context(), "r")) }, []string{" host relay.remove r"}},
		{"sign out", post(anna, "/signout", nil), []string{"anna console signin.end anna"}},
	} {
		before := r.last()
		step.do()
		if got, all := r.lines(before); strings.Join(got, "\n") != strings.Join(step.want, "\n") {
			t.Errorf("%s: the log says %q, not %q", step.name, got, step.want)
		} else if strings.Contains(fmt.Sprint(all), "hunter2") {
			t.Errorf("%s: what was typed for a name is in the log", step.name)
		}
	}
}

func TestWhatDidNotHappenIsNotInTheLog(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.device().join("nas", r.authKey(KeyOptions{}))
	r.device().join("desk", r.authKey(KeyOptions{}))
	before := r.last()
	for what, err := range map[string]error{
		"last owner": r.SetRole(t.Context(), "anna", "member"), "taken name": r.RenameMachine(t.Context(), "nas", "desk"),
		"taken login": r.AddUser(t.Context(), "anna", "correct horse", ""), "no such key": r.RevokeKey(t.Context(), "99"),
	} {
		if err == nil {
			t.Errorf("%s: it was done", what)
		}
	}
	if got, _ := r.lines(before); len(got) > 0 {
		t.Errorf("the log says %q", got)
	}
	unlisted := r.store.Write(t.Context(), func(tx store.Tx) error {
		return errors.Join(tx.SetMeta("x", "y"), r.record(tx, operator, "machine.paint", "nas", nil))
	})
	if unlisted == nil || !strings.Contains(unlisted.Error(), "not listed") {
		t.Errorf("an action that is not listed: %v", unlisted)
	}
}

func TestAFloodOfWrongSignInsLeavesFewLines(t *testing.T) {
	dir := t.TempDir()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	s, err := Open(t.Context(), dir, Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	r := &running{Server: s, t: t}
	for range 500 {
		s.recordRefusal(t.Context(), caller{via: viaConsole}, store.User{}, facts{})
	}
	if got, _ := r.lines(0); len(got) != refusedBurst {
		t.Errorf("500 wrong sign-ins left %d lines", len(got))
	}
	now = now.Add(refusedEvery)
	s.recordRefusal(t.Context(), caller{via: viaConsole}, store.User{}, facts{})
	_, all := r.lines(0)
	if last := all[len(all)-1]; len(all) != refusedBurst+1 || !strings.Contains(last.Details, `"omitted":440`) {
		t.Errorf("%d lines, the last says %s", len(all), last.Details)
	}
	for range auditHurry {
		s.trail.wrote()
	}
	select {
	case <-s.trail.prune:
	default:
		t.Error("a log that has grown much waits for the hour")
	}
	now = now.Add(auditKept)
	if err := s.store.Write(t.Context(), func(tx store.Tx) error { return s.pruneAudit(tx, now) }); err != nil {
		t.Fatal(err)
	}
	if got, _ := r.lines(0); len(got) != 1 {
		t.Errorf("after a year there are %d lines", len(got))
	}
}

func TestDetailsAreBounded(t *testing.T) {
	for _, c := range []struct {
		in   facts
		want string
	}{
		{nil, "{}"},
		{facts{"a": strings.Repeat("x", 1000)}, `{"a":"` + strings.Repeat("x", maxFactLength) + `"}`},
		{facts{"a": "\x1b[31m\u202e\xffy"}, `{"a":"[31my"}`},
		{facts{"a": make([]string, 1000)}, `{"left_out":"too long"}`},
	} {
		if got, err := encodeFacts(c.in); got != c.want || err != nil {
			t.Errorf("%v: %s, %v", c.in, got, err)
		}
	}
}

func TestTheLogIsExported(t *testing.T) {
	r := serve(t)
	r.userAs("ada", "correct horse", account.Auditor)
	many := auditChunk*2 + 7
	err := r.store.Write(t.Context(), func(tx store.Tx) error {
		for i := range many {
			if err := r.record(tx, caller{login: "=cmd|' /C calc'!A1", via: viaAPI}, actMachineRename, fmt.Sprint("@m", i), facts{"to": "a,\"b"}); err != nil {
				return err
			}
		}
		return r.record(tx, operator, actRelayRemove, "r", nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	w := r.web()
	_, _, _ = w.signIn("ada", "correct horse", nil)
	status, body, h := w.ask(http.MethodGet, "/audit/export?format=csv&what=machine", nil)
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if status != http.StatusOK || err != nil || len(rows) != many+1 {
		t.Fatalf("%d, %d rows, %v", status, len(rows), err)
	}
	if !strings.HasPrefix(h.Get("Content-Disposition"), "attachment;") || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", h)
	}
	for i, row := range rows[1:] {
		if want := fmt.Sprint("'@m", many-1-i); row[7] != want || row[2] != "'=cmd|' /C calc'!A1" || row[8] != `{"to":"a,\"b"}` {
			t.Fatalf("row %d: %q", i, row)
		}
	}
	_, body, _ = w.ask(http.MethodGet, "/audit/export?format=jsonl&subject=M20", nil)
	n := 0
	for sc := bufio.NewScanner(strings.NewReader(body)); sc.Scan(); n++ {
		var l AuditLine
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil || !strings.HasPrefix(l.Subject, "@m20") || l.Via != viaAPI {
			t.Errorf("%s: %v", sc.Text(), err)
		}
	}
	if n != 18 { // 20, 200 to 209, 2000 to 2006
		t.Errorf("%d lines", n)
	}
	for _, bad := range []string{"format=xls", "since=yesterday", "before=-1", "before=x"} {
		if status, _, _ := w.ask(http.MethodGet, "/audit/export?"+bad, nil); status != http.StatusBadRequest {
			t.Errorf("%s: %d", bad, status)
		}
	}
}

func TestTheLogInTheConsole(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("mia", "correct horse", account.Member)
	r.device().join("nas", r.authKey(KeyOptions{Tags: []string{"home", "storage"}}))
	if err := r.RenameMachine(t.Context(), "nas", "archive"); err != nil {
		t.Fatal(err)
	}
	err := r.store.Write(t.Context(), func(tx store.Tx) error {
		for i := range auditPageRows {
			if err := r.record(tx, operator, actKeyRevoke, keyName(int64(i+100)), nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t)
	b.do("front page", chromedp.Navigate(r.URL()+"/"))
	b.signInAs("anna")
	b.do("log", chromedp.Click(`nav a[href="/audit"]`))
	b.sees("Audit log")
	b.sees("key 199")
	b.lacks("archive")
	b.do("older", chromedp.Click(`p .button`))
	b.sees("to: archive")
	b.sees("the host’s administrator")
	b.do("filter", chromedp.Navigate(r.URL()+"/audit"), chromedp.SetValue("#what", "machine"), chromedp.SendKeys("#subject", "NAS\n"))
	b.sees("machine renamed")
	b.sees("Show all")
	b.lacks("key 199")
	b.picture("audit")
	b.do("nothing", chromedp.Navigate(r.URL()+"/audit?who=nobody"))
	b.sees("Nothing matches")
	b.signOut()
	b.signInAs("mia")
	b.lacks("Audit")
}

func TestAFloodOfOneActionPushesOutNoOther(t *testing.T) {
	r := serve(t)
	mia := caller{login: "mia", via: viaAPI}
	err := r.store.Write(t.Context(), func(tx store.Tx) error {
		if err := r.record(tx, operator, actUserRole, "eve", facts{"to": "owner"}); err != nil {
			return err
		}
		for range auditOfOne + 50 {
			if _, err := tx.AddAudit(store.Audit{Time: r.now(), Login: mia.login, Via: mia.via, Action: string(actKeyAdd), Details: "{}"}); err != nil {
				return err
			}
		}
		return r.pruneAudit(tx, r.now())
	})
	if err != nil {
		t.Fatal(err)
	}
	count := func(what action) (n int) {
		all, err := r.auditLines(t.Context(), operator, store.AuditQuery{Action: string(what), Limit: 2 * auditOfOne})
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if n := count(actKeyAdd); n != auditOfOne {
		t.Errorf("%d lines of the flood stay", n)
	}
	if n := count(actUserRole); n != 1 {
		t.Errorf("%d lines tell who became an owner", n)
	}
}

func TestTheHostIsServedWhateverProgramsDo(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	p := r.program("anna", account.ScopeRead)
	for range maxCalls {
		r.apiSlots <- struct{}{}
	}
	ask := func(path string) int {
		w := httptest.NewRecorder()
		r.Admin().ServeHTTP(w, httptest.NewRequest(http.MethodGet, PathAPI+path, nil))
		return w.Code
	}
	if code := ask("/users"); code != http.StatusOK {
		t.Errorf("the host while programs take every place: %d", code)
	}
	for range maxCalls {
		<-r.apiSlots
	}
	for range maxExports {
		r.exports <- struct{}{}
	}
	if status, _ := p.call(http.MethodGet, "/audit/export", nil, nil); status != http.StatusServiceUnavailable {
		t.Errorf("one export more than there may be: %d", status)
	}
	if status, _ := p.call(http.MethodGet, "/audit", nil, nil); status != http.StatusOK {
		t.Errorf("other calls meanwhile: %d", status)
	}
	if code := ask("/audit/export"); code != http.StatusOK {
		t.Errorf("the host's own export: %d", code)
	}
}
