package server

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/state"
)

// signedIn is a browser with an account.
func (r *running) signedIn(login string) *web {
	r.t.Helper()
	w := r.web()
	if status, text, _ := w.signIn(login, "correct horse", nil); status != http.StatusSeeOther {
		r.t.Fatalf("%s cannot sign in: %d %s", login, status, text)
	}
	return w
}

// connect has the browser's account let a machine log in, and gives the page at the end.
func (w *web) connect(r *running, d *device, host string, reauth bool) string {
	w.t.Helper()
	reply, err := d.Register(w.t.Context(), d.node, coord.RegisterRequest{Hostname: host, Reauth: reauth})
	if err != nil || reply.LoginID == "" {
		w.t.Fatalf("Register = %+v, %v", reply, err)
	}
	path := coord.PathLogin + reply.LoginID
	if status, text, _ := w.post(r, path, url.Values{"do": {"connect"}, "code": {reply.Code}}); status != http.StatusSeeOther {
		w.t.Fatalf("connecting: %d %s", status, text)
	}
	if err := d.WaitLogin(w.t.Context(), reply.LoginID); err != nil {
		w.t.Fatal(err)
	}
	_, page, _ := w.ask(http.MethodGet, path+"/done", nil)
	return page
}

func (r *running) member(name string) state.Member {
	r.t.Helper()
	m, err := r.machineNamed(name)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (r *running) setApproval(on bool) {
	r.t.Helper()
	if _, err := r.SetSettings(r.t.Context(), func(c *Settings) { c.Approval = on }); err != nil {
		r.t.Fatal(err)
	}
}

func TestANewMachineWaitsForApprovalAndIsNobodyUntilThen(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("mia", "correct horse", account.Member)
	r.setApproval(true)
	bob := r.device()
	bob.join("bob", r.authKey(KeyOptions{})) // a key needs no approval
	maps, _ := bob.follow(nil)
	until(t, maps, "bob is in", func(m *coord.Netmap) bool { return m.Self.Name == "bob" })

	mia, anna := r.signedIn("mia"), r.signedIn("anna")
	d := r.device()
	if page := mia.connect(r, d, "laptop", false); !strings.Contains(page, "Waiting for approval") {
		t.Errorf("the last page does not say what comes: %s", page)
	}
	s, err := d.Connect(t.Context())
	if err != nil || !s.Registered || !s.Pending {
		t.Fatalf("session %+v, %v", s, err)
	}
	wantCode(t, d.Netmap(t.Context(), nil, func(*coord.Netmap) error { t.Error("it has a netmap"); return nil }), coord.CodePending)
	wantCode(t, d.Update(t.Context(), update(1)), coord.CodePending)
	if reply, err := d.Register(t.Context(), d.node, coord.RegisterRequest{Hostname: "laptop"}); err != nil || !reply.Registered || !reply.Pending {
		t.Errorf("asking again: %+v, %v", reply, err)
	}

	for _, try := range []string{"/approve", "/deny", "/extend"} {
		if status, _, _ := mia.post(r, "/machines/2"+try, nil); status != http.StatusForbidden {
			t.Errorf("a member's %s: %d", try, status)
		}
	}
	if _, page, _ := mia.ask(http.MethodGet, "/", nil); !strings.Contains(page, "an admin’s approval") || strings.Contains(page, ">Approve<") {
		t.Errorf("mia's front page: %s", page)
	}
	if _, page, _ := anna.ask(http.MethodGet, "/", nil); !strings.Contains(page, "Waiting for your approval") || !strings.Contains(page, "1 in all") {
		t.Errorf("anna's front page: %s", page)
	}

	// A restart of the server keeps it waiting, and a wait that is under way goes on.
	addr, dir := r.addr, r.dir
	r.stop()
	r = serveDir(t, dir, addr, Options{})
	if m := r.member("laptop"); !m.Pending {
		t.Error("the restart let it in")
	}
	over := make(chan error, 1)
	go func() { over <- d.WaitApproval(context.Background()) }()
	maps, _ = bob.follow(nil)
	if m := until(t, maps, "bob is back", func(m *coord.Netmap) bool { return m.Self.Name == "bob" }); peerNamed(m, "laptop") != nil {
		t.Error("bob sees a machine that nobody approved")
	}
	anna = r.signedIn("anna")
	if status, text, _ := anna.post(r, "/machines/2/approve", nil); status != http.StatusSeeOther {
		t.Fatalf("approving: %d %s", status, text)
	}
	if err := <-over; err != nil {
		t.Fatalf("waiting: %v", err)
	}
	until(t, maps, "bob sees it", func(m *coord.Netmap) bool { return peerNamed(m, "laptop") != nil })
	own, stop := d.follow(nil)
	if m := until(t, own, "its netmap", func(*coord.Netmap) bool { return true }); len(m.Ticket) == 0 || peerNamed(m, "bob") == nil {
		t.Errorf("its netmap is %+v", m)
	}
	_ = stop()
	if status, _, _ := anna.post(r, "/machines/2/approve", nil); status != http.StatusConflict {
		t.Errorf("approving twice: %d", status)
	}
	if status, _, _ := anna.post(r, "/machines/2/deny", nil); status != http.StatusConflict {
		t.Errorf("refusing what is in: %d", status)
	}
	// Who was let in once need not be again, whether they extend the login or come back.
	r.signedIn("mia").connect(r, d, "laptop", true)
	if m := r.member("laptop"); m.Pending {
		t.Error("another login of the same person wants another approval")
	}
	if err := d.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.signedIn("mia").connect(r, d, "laptop", false)
	if m := r.member("laptop"); m.Pending {
		t.Error("back after a logout, it wants another approval")
	}
	r.signedIn("anna").connect(r, d, "laptop", true)
	if m := r.member("laptop"); !m.Pending {
		t.Error("another person's machine went in on the first one's approval")
	}
}

func TestARefusedMachineIsForgottenAndToldSo(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	d, e := r.device(), r.device()
	for i, d := range []*device{d, e} { // settings need no approval, the key does
		d.join("job", r.authKey(KeyOptions{User: "anna", Approval: true}))
		if m := r.Machines(); len(m) != i+1 || !m[i].Pending {
			t.Fatalf("machines %+v", m)
		}
	}
	over := make(chan error, 1)
	go func() { over <- d.WaitApproval(context.Background()) }()
	if err := r.DenyMachine(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, <-over, coord.CodeNotRegistered)
	if err := e.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m := r.Machines(); len(m) != 0 {
		t.Errorf("machines %+v", m)
	}
	d.join("job", r.authKey(KeyOptions{User: "anna"})) // a key that does not ask lets in what was refused
	if s, err := r.Status(t.Context()); err != nil || s.Machines != 1 || s.Pending != 0 {
		t.Errorf("status %+v, %v", s, err)
	}
}

func TestAKeyIsExtendedForAsLongAsTheSettingsSay(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	anna, d, tagged := r.signedIn("anna"), r.device(), r.device()
	anna.connect(r, d, "laptop", false)
	tagged.join("server", r.authKey(KeyOptions{Tags: []string{"server"}}))
	maps, _ := d.follow(nil)
	m := until(t, maps, "the first netmap", func(*coord.Netmap) bool { return true })
	self := m.Self
	if _, err := r.SetSettings(t.Context(), func(c *Settings) { c.KeyDays = 400 }); err != nil {
		t.Fatal(err)
	}
	extended := func(m *coord.Netmap) bool { return m.Self.Expires.After(time.Now().Add(399 * 24 * time.Hour)) }
	if status, text, _ := anna.post(r, "/machines/1/extend", url.Values{"do": {"extend"}}); status != http.StatusSeeOther {
		t.Fatalf("extending: %d %s", status, text)
	}
	m = until(t, maps, "another end", extended) // on the stream that it had
	if m.Self.Key != self.Key || m.Self.Addrs[0] != self.Addrs[0] || m.Self.Name != self.Name {
		t.Errorf("it is another machine now: %+v", m.Self)
	}
	_, _, _ = anna.post(r, "/machines/1/extend", url.Values{"do": {"forever"}})
	until(t, maps, "no end", func(m *coord.Netmap) bool { return m.Self.Expires.IsZero() })
	anna.connect(r, d, "laptop", true)
	if m := r.member("laptop"); !m.Node.Expires.IsZero() {
		t.Errorf("a login gave a lasting key an end: %s", m.Node.Expires)
	}
	_, _, _ = anna.post(r, "/machines/1/extend", url.Values{"do": {"extend"}})
	until(t, maps, "an end again", extended)
	if status, _, _ := anna.post(r, "/machines/2/extend", url.Values{"do": {"extend"}}); status != http.StatusConflict {
		t.Errorf("extending a tagged machine's: %d", status)
	}
	if _, err := r.SetSettings(t.Context(), func(c *Settings) { c.KeyDays = 0 }); err != nil {
		t.Fatal(err)
	}
	anna.connect(r, d, "laptop", true)
	until(t, maps, "keys without end", func(m *coord.Netmap) bool { return m.Self.Expires.IsZero() })
}

func TestEphemeralMachinesRunOut(t *testing.T) {
	dir := t.TempDir()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	var ahead atomic.Int64 // of the real clock
	o := Options{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }}
	r := serveDir(t, dir, "127.0.0.1:0", o)
	k := r.authKey(KeyOptions{Ephemeral: true, Reusable: true})
	job, gone, left, stays := r.device(), r.device(), r.device(), r.device()
	job.join("job", k)
	gone.join("gone", k)
	left.join("left", k)
	stays.join("stays", r.authKey(KeyOptions{}))
	maps, _ := job.follow(nil)
	until(t, maps, "job is in", func(m *coord.Netmap) bool { return len(m.Peers) == 3 })
	if err := left.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	names := func() (all []string) {
		for _, m := range r.Machines() {
			all = append(all, m.Name)
		}
		return all
	}
	want := func(when string, list ...string) {
		t.Helper()
		r.removeStale(t.Context())
		if got := names(); strings.Join(got, " ") != strings.Join(list, " ") {
			t.Errorf("%s: %v, not %v", when, got, list)
		}
	}
	want("after a logout", "job", "gone", "stays")
	ahead.Store(int64(ephemeralLife - time.Minute))
	want("just before its time", "job", "gone", "stays")
	ahead.Store(int64(ephemeralLife + time.Minute))
	want("offline for its time", "job", "stays") // job is online, stays is not ephemeral
	wantCode(t, gone.Update(t.Context(), update(1)), coord.CodeNotRegistered)

	// After a restart it counts as online until it might have come back, and the time begins anew.
	addr := r.addr
	r.stop()
	ahead.Add(int64(24 * time.Hour))
	r = serveDir(t, dir, addr, o)
	beat := func() {
		t.Helper()
		if err := r.hub.beat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	beat()
	want("after a restart", "job", "stays")
	ahead.Add(int64(replicaSilence))
	beat()
	want("when it has not come back", "job", "stays")
	ahead.Add(int64(ephemeralLife))
	want("and not back", "stays")
}

func TestALoginThatItsMachineGaveUpLetsNobodyIn(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	anna, d, stranger := r.signedIn("anna"), r.device(), r.device()
	reply := d.login("laptop", "")
	path := coord.PathLogin + reply.LoginID
	wantCode(t, stranger.CancelLogin(t.Context(), reply.LoginID), coord.CodeLoginUnknown)
	if status, _, _ := anna.ask(http.MethodGet, path, nil); status != http.StatusOK {
		t.Fatalf("a stranger ended the login: %d", status)
	}
	if err := d.CancelLogin(t.Context(), reply.LoginID); err != nil {
		t.Fatal(err)
	}
	if status, text, _ := anna.post(r, path, url.Values{"do": {"connect"}, "code": {reply.Code}}); status != http.StatusForbidden || !strings.Contains(text, "not let in") {
		t.Errorf("connecting: %d %s", status, text)
	}
	wantCode(t, d.WaitLogin(t.Context(), reply.LoginID), coord.CodeLoginDenied)
	if err := d.CancelLogin(t.Context(), reply.LoginID); err != nil {
		t.Errorf("twice: %v", err)
	}
	if m := r.Machines(); len(m) != 0 {
		t.Errorf("machines %+v", m)
	}
}

func TestApprovalInTheConsole(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("mia", "correct horse", account.Member)
	r.device().join("nas", r.authKey(KeyOptions{Tags: []string{"home"}, Ephemeral: true}))
	for _, host := range []string{"mias-laptop", "mias-telephone-with-a-long-name"} {
		r.device().join(host, r.authKey(KeyOptions{User: "mia", Approval: true}))
	}
	b := newBrowser(t)
	b.do("front page", chromedp.Navigate(r.URL()+"/"))
	b.signInAs("mia")
	b.sees("Waiting for an admin’s approval")
	b.lacks("Approve")
	b.picture("approval-member")
	b.signOut()
	b.signInAs("anna")
	b.sees("Waiting for your approval")
	b.picture("approval")
	b.do("its page", chromedp.Click(`a[href="/machines/2"]`))
	b.sees("Nobody sees this machine")
	b.picture("approval-machine")
	b.do("back, and approve", chromedp.Click(".crumb a"), chromedp.Click(`form[action="/machines/2/approve"] button`), chromedp.WaitNotPresent(`form[action="/machines/2/approve"]`))
	b.sees("2 in all")
	b.do("deny", chromedp.Click(`a[href="/machines/3/deny"]`))
	b.sees("Refuse mias-telephone-with-a-long-name?")
	b.do("yes", chromedp.Click("main form button"))
	b.sees("2 in all")
	b.lacks("Waiting for")
	b.do("never expire", chromedp.Click(`a[href="/machines/2"]`), chromedp.Click(`button[value="forever"]`))
	b.sees("Let it expire again")
	b.picture("machine-lasting")
	b.do("expire again", chromedp.Click(`button[value="extend"]`))
	b.sees("Never expire")
	b.do("a key", chromedp.Click(`nav a[href="/keys"]`), chromedp.Click(`input[name="ephemeral"]`), chromedp.Click(`input[name="approval"]`))
	b.picture("key-options")
	b.do("make it", chromedp.Click(".fields button"))
	b.sees("Your pre-auth key is ready")
	b.do("the list", chromedp.Click(".button.wide"))
	b.sees("for one machine, ephemeral, after approval")
}
