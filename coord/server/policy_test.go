package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/policy"
	"github.com/warren-mesh/warren/coord/internal/store"
	"github.com/warren-mesh/warren/coord/internal/store/pgtest"
)

const (
	webMayDB    = `{"tagOwners": {"tag:web": [], "tag:db": []}, "grants": [{"src": ["tag:web"], "dst": ["tag:db"], "ip": ["tcp:5432"]}]}`
	noneMay     = `{"grants": []}`
	webMayAdmin = `{"tagOwners": {"tag:web": [], "tag:db": []}, "grants": [{"src": ["tag:web"], "dst": ["tag:db"], "ip": ["tcp:5432", "tcp:22"]}]}`
)

// govern puts a policy file in force.
func (r *running) govern(text string) Policy {
	r.t.Helper()
	p, err := r.setPolicy(r.t.Context(), operator, text, "", "")
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func sees(names ...string) func(*coord.Netmap) bool {
	return func(m *coord.Netmap) bool {
		var is []string
		for i := range m.Peers {
			is = append(is, m.Peers[i].Name)
		}
		slices.Sort(is)
		return slices.Equal(is, names)
	}
}

// lets reports whether a netmap shows only these, and its filter lets a flow in from there.
func lets(from *coord.Netmap, proto uint8, port uint16, want bool) func(*coord.Netmap) bool {
	return func(m *coord.Netmap) bool {
		return m.Filter != nil && m.Filter.Admits(m.Self.Addrs, coord.Packet{From: from.Self.Addrs[0], To: m.Self.Addrs[0], Proto: proto, Port: port}) == want
	}
}

// testSight has two machines lose sight of one another upon an edit, and whatever comes between. They are at different
// servers, or at one.
func testSight(t *testing.T, a, b *running, restart func() (*running, *running)) {
	a.govern(webMayDB)
	web, db, other := a.device(), b.device(), b.device()
	web.join("web", a.authKey(KeyOptions{Tags: []string{"web"}}))
	db.join("db", a.authKey(KeyOptions{Tags: []string{"db"}}))
	other.join("other", a.authKey(KeyOptions{Tags: []string{"other"}}))
	mapsW, stopW := web.follow(nil)
	mapsD, _ := db.follow(nil)
	mapsO, _ := other.follow(nil)
	w := until(t, mapsW, "web sees db", sees("db"))
	d := until(t, mapsD, "db sees web", sees("web"))
	until(t, mapsO, "who is in no rule sees nobody", func(m *coord.Netmap) bool { return sees()(m) && m.Self.Online })
	if !lets(w, coord.ProtoTCP, 5432, true)(d) || !lets(w, coord.ProtoTCP, 22, false)(d) || !lets(d, coord.ProtoTCP, 5432, false)(w) {
		t.Errorf("the filters are %+v and %+v", d.Filter, w.Filter)
	}

	a.govern(webMayAdmin)
	until(t, mapsD, "another port", lets(w, coord.ProtoTCP, 22, true))
	_ = stopW() // and so it does not hear what comes

	b.govern(noneMay)
	d = until(t, mapsD, "db sees web no more", sees())
	if lets(w, coord.ProtoTCP, 5432, true)(d) {
		t.Errorf("and lets it in by %+v", d.Filter)
	}
	mapsW, stopW = web.follow(w)
	until(t, mapsW, "web, back with what it had, sees nobody", sees())
	a.govern(webMayDB)
	until(t, mapsD, "db sees web again", sees("web"))
	w = until(t, mapsW, "web sees db again", sees("db"))
	_ = stopW()
	select {
	case m := <-mapsO:
		t.Errorf("who is in no rule heard of %+v", m.Peers)
	default:
	}

	if restart == nil {
		return
	}
	b.govern(noneMay)
	until(t, mapsD, "db sees web no more", sees())
	a, _ = restart()
	mapsW, _ = web.at(a).follow(w)
	until(t, mapsW, "web, back after a restart, sees nobody", sees())
	a.govern(webMayDB)
	until(t, mapsW, "and db when it may", sees("db"))
}

func TestMachinesLoseSightOfOneAnotherUponAnEdit(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		r := serve(t)
		testSight(t, r, r, func() (*running, *running) {
			r.stop()
			r = serveDir(t, r.dir, r.addr, Options{})
			return r, r
		})
	})
	t.Run("two servers", func(t *testing.T) {
		a, b := pair(t, pgtest.Start(t).Database("sight"), Options{})
		testSight(t, a, b, nil)
	})
}

func TestATagIsSightAndFilter(t *testing.T) {
	r := serve(t)
	r.govern(webMayDB)
	web, db := r.device(), r.device()
	web.join("web", r.authKey(KeyOptions{Tags: []string{"web"}}))
	db.join("db", r.authKey(KeyOptions{Tags: []string{"other"}}))
	mapsW, _ := web.follow(nil)
	mapsD, _ := db.follow(nil)
	w := until(t, mapsW, "nobody", sees())
	tag := func(tags ...string) {
		t.Helper()
		m, err := r.machineNamed("db")
		if err == nil {
			err = r.tagMachine(t.Context(), operator, m, tags)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tag("db")
	until(t, mapsD, "it is let in by its tag", lets(w, coord.ProtoTCP, 5432, true))
	until(t, mapsW, "web sees it", sees("db"))
	tag("other")
	until(t, mapsD, "without it, nobody", sees())
	until(t, mapsW, "web sees it no more", sees())
}

func TestByDefaultAPersonsMachinesReachEachOtherAndTheServers(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("bert", "correct horse", account.Member)
	maps := map[string]<-chan *coord.Netmap{}
	for name, o := range map[string]KeyOptions{"anna1": {User: "anna"}, "anna2": {User: "anna"}, "bert1": {User: "bert"}, "web": {Tags: []string{"web"}}, "lone": {}} {
		d := r.device()
		d.join(name, r.authKey(o))
		maps[name], _ = d.follow(nil)
	}
	anna := until(t, maps["anna1"], "her other, and the servers", sees("anna2", "lone", "web"))
	bert := until(t, maps["bert1"], "the servers", sees("lone", "web"))
	lone := until(t, maps["lone"], "all who reach it, and its like", sees("anna1", "anna2", "bert1", "web"))
	until(t, maps["anna2"], "it lets her other machine in", lets(anna, coord.ProtoTCP, 22, true))
	web := until(t, maps["web"], "it lets all in", func(m *coord.Netmap) bool {
		return lets(bert, coord.ProtoTCP, 22, true)(m) && lets(lone, coord.ProtoTCP, 22, true)(m)
	})
	if !lets(web, coord.ProtoTCP, 22, false)(anna) {
		t.Errorf("the filters are %+v and %+v", web.Filter, anna.Filter)
	}
	// Her role is hers, and what it reaches goes with it.
	r.govern(`{"grants": [{"src": ["autogroup:admin"], "dst": ["*"], "ip": ["*"]}]}`)
	until(t, maps["bert1"], "nobody", sees())
	if err := r.SetRole(t.Context(), "bert", string(account.Admin)); err != nil {
		t.Fatal(err)
	}
	until(t, maps["bert1"], "all", sees("anna1", "anna2", "lone", "web"))
	if err := r.SetRole(t.Context(), "bert", string(account.Member)); err != nil {
		t.Fatal(err)
	}
	until(t, maps["bert1"], "nobody again", sees())
}

func TestRoutesAreShownToThoseWhoMayUseThem(t *testing.T) {
	r := serve(t)
	r.govern(`{"tagOwners": {"tag:gate": [], "tag:a": [], "tag:b": []}, "grants": [{"src": ["tag:a"], "dst": ["10.1.0.0/16"], "ip": ["*"]}, {"src": ["tag:a", "tag:b"], "dst": ["10.2.0.0/16"], "ip": ["*"]}],
		"autoApprovers": {"routes": {"10.0.0.0/8": ["tag:gate"]}, "exitNode": []}}`)
	maps := map[string]<-chan *coord.Netmap{}
	devices := map[string]*device{}
	for _, name := range []string{"gate", "a", "b"} {
		devices[name] = r.device()
		devices[name].join(name, r.authKey(KeyOptions{Tags: []string{name}}))
		maps[name], _ = devices[name].follow(nil)
	}
	if err := devices["gate"].Update(t.Context(), offering("10.1.0.0/16", "10.2.0.0/16", "0.0.0.0/0", "192.168.0.0/16")); err != nil {
		t.Fatal(err)
	}
	until(t, maps["gate"], "what the policy approves", leads("gate", "10.1.0.0/16", "10.2.0.0/16"))
	until(t, maps["a"], "both", leads("gate", "10.1.0.0/16", "10.2.0.0/16"))
	until(t, maps["b"], "one", leads("gate", "10.2.0.0/16"))
	if _, all := r.lines(0); !slices.ContainsFunc(all, func(l store.Audit) bool { return l.Action == string(actMachineRoutes) && l.Via == viaServer }) {
		t.Error("the log does not say that the policy approved them")
	}
}

// TestWhatIsOfferedAlreadyIsApprovedByAnEdit has the routes first and the rules later, and tags last.
func TestWhatIsOfferedAlreadyIsApprovedByAnEdit(t *testing.T) {
	const approves = `{"tagOwners": {"tag:gate": [], "tag:a": []}, "grants": [{"src": ["tag:a"], "dst": ["10.0.0.0/8"], "ip": ["*"]}],
		"autoApprovers": {"routes": {"10.0.0.0/8": ["tag:gate"]}, "exitNode": []}}`
	r := serve(t)
	maps, devices := map[string]<-chan *coord.Netmap{}, map[string]*device{}
	for name, tag := range map[string]string{"gate": "gate", "gate2": "a", "viewer": "a"} {
		devices[name] = r.device()
		devices[name].join(name, r.authKey(KeyOptions{Tags: []string{tag}}))
		maps[name], _ = devices[name].follow(nil)
	}
	for name, route := range map[string]string{"gate": "10.1.0.0/16", "gate2": "10.2.0.0/16"} {
		if err := devices[name].Update(t.Context(), offering(route, "192.168.0.0/16")); err != nil {
			t.Fatal(err)
		}
	}
	until(t, maps["gate"], "nothing is approved", leads("gate"))
	p, err := r.previewPolicy(t.Context(), approves)
	at := slices.IndexFunc(p.Changes, func(m MachinePolicy) bool { return len(m.Routes) > 0 })
	if err != nil || at < 0 || p.Changes[at].Machine != "gate" || !slices.Equal(p.Changes[at].Routes, []string{"10.1.0.0/16"}) {
		t.Errorf("the preview: %+v, %v", p, err)
	}
	r.govern(approves)
	until(t, maps["gate"], "what the policy approves", leads("gate", "10.1.0.0/16"))
	until(t, maps["viewer"], "it", leads("gate", "10.1.0.0/16"))

	tagged := func(name string, tags ...string) {
		t.Helper()
		m, err := r.machineNamed(name)
		if err == nil {
			err = r.tagMachine(t.Context(), operator, m, tags)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tagged("gate2", "gate")
	until(t, maps["viewer"], "what the tag approves", leads("gate2", "10.2.0.0/16"))

	// What an admin withdraws stays so, whatever edit comes that approves it as the last one did.
	if err := r.SetRoutes(t.Context(), "gate", RoutesRequest{Withdraw: routes("10.1.0.0/16")}); err != nil {
		t.Fatal(err)
	}
	r.govern(strings.Replace(approves, `"tag:a": []}`, `"tag:a": [], "tag:b": []}`, 1))
	tagged("gate2", "gate", "b")
	until(t, maps["gate2"], "its tag", func(m *coord.Netmap) bool { return len(m.Self.Tags) == 2 })
	if m, _ := r.machineNamed("gate"); len(m.Approved) > 0 {
		t.Errorf("an edit approved again what was withdrawn: %v", m.Approved)
	}
}

// TestWhatIsOfferedAlreadyIsApprovedForWhatAMachineBecomes has a role given and taken, and a login with another tag.
func TestWhatIsOfferedAlreadyIsApprovedForWhatAMachineBecomes(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("bert", "correct horse", account.Member)
	r.govern(`{"tagOwners": {"tag:gate": [], "tag:a": []}, "grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}],
		"autoApprovers": {"routes": {"10.1.0.0/16": ["autogroup:admin"], "10.2.0.0/16": ["tag:gate"]}, "exitNode": ["autogroup:admin"]}}`)
	bert, box := r.device(), r.device()
	bert.join("bert1", r.authKey(KeyOptions{User: "bert"}))
	box.join("box", r.authKey(KeyOptions{Tags: []string{"a"}}))
	maps, _ := bert.follow(nil)
	for _, d := range []*device{bert, box} {
		if err := d.Update(t.Context(), offering("10.1.0.0/16", "10.2.0.0/16", "0.0.0.0/0", "::/0")); err != nil {
			t.Fatal(err)
		}
	}
	role := func(name account.Role) {
		t.Helper()
		if err := r.SetRole(t.Context(), "bert", string(name)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, maps, "nothing is approved", leads("bert1"))
	role(account.Auditor)
	role(account.Admin)
	until(t, maps, "what an admin's machines may", leads("bert1", "0.0.0.0/0", "10.1.0.0/16", "::/0"))
	// A role that is taken takes no approvals: they stand until an admin withdraws them.
	role(account.Member)
	if m, _ := r.machineNamed("bert1"); len(m.Approved) != 3 {
		t.Errorf("without the role %v are approved", m.Approved)
	}
	r.govern(`{"grants": [], "autoApprovers": {"routes": {"10.1.0.0/16": ["autogroup:member"], "10.2.0.0/16": ["autogroup:owner"]}}}`)
	if err := r.SetRoutes(t.Context(), "bert1", RoutesRequest{Withdraw: routes("10.1.0.0/16")}); err != nil {
		t.Fatal(err)
	}
	role(account.Admin)
	if m, _ := r.machineNamed("bert1"); !slices.Equal(m.Approved, routes("0.0.0.0/0", "::/0")) {
		t.Errorf("a role for which the policy approves no more than before has %v", m.Approved)
	}

	r.govern(`{"tagOwners": {"tag:gate": [], "tag:a": []}, "grants": [], "autoApprovers": {"routes": {"10.2.0.0/16": ["tag:gate"]}}}`)
	if err := box.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	box.join("box", r.authKey(KeyOptions{Tags: []string{"gate"}}))
	if m, _ := r.machineNamed("box"); !slices.Equal(m.Approved, routes("10.2.0.0/16")) {
		t.Errorf("with the key's tag %v are approved", m.Approved)
	}
}

func TestAnotherChangeIsNotOverwritten(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	p := r.program("anna", account.ScopePolicy)
	var was, now Policy
	_, _, h := p.marked(http.MethodGet, "/policy", "", nil, &was)
	if was.Version != 0 || was.Text != policy.DefaultText || h != `"0"` {
		t.Fatalf("the default is %+v with %s", was, h)
	}
	if status, code, _ := p.marked(http.MethodPut, "/policy", h, PolicyText{Text: webMayDB}, &now); status != http.StatusOK || now.Version == 0 || now.By != "anna" {
		t.Fatalf("%d %s %+v", status, code, now)
	}
	if status, code, _ := p.marked(http.MethodPut, "/policy", h, PolicyText{Text: noneMay}, nil); status != http.StatusPreconditionFailed || code != errPolicyMoved.Code {
		t.Errorf("over another's change: %d %s", status, code)
	}
	if status, _, tag := p.marked(http.MethodPut, "/policy", now.ETag(), PolicyText{Text: webMayDB}, &now); status != http.StatusOK || tag != now.ETag() {
		t.Errorf("the same again: %d", status)
	}
	r.govern(noneMay)
	var l PolicyVersions
	p.call(http.MethodGet, "/policy/versions", nil, &l)
	if len(l.Versions) != 2 || l.Versions[1].Version != now.Version || l.Versions[0].By != "" || l.Versions[0].Text != "" {
		t.Fatalf("the history is %+v", l)
	}
	if status, code := p.call(http.MethodPost, fmt.Sprintf("/policy/versions/%d/restore", now.Version), nil, &now); status != http.StatusOK || now.Text != webMayDB || !strings.Contains(now.Note, "restored") {
		t.Errorf("%d %s %+v", status, code, now)
	}
	if status, _ := p.call(http.MethodGet, "/policy/versions/99", nil, nil); status != http.StatusNotFound {
		t.Errorf("a version that is not there: %d", status)
	}
	text, _ := r.lines(0)
	if got := strings.Join(text, "\n"); strings.Count(got, string(actPolicy)) != 3 {
		t.Errorf("the log has %s", got)
	}
}

func TestAFileIsHeldToItselfBeforeItIsSaved(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	p := r.program("anna", account.ScopePolicy)
	before, _ := r.Policy(t.Context())
	failing := strings.Replace(webMayDB, `"grants"`, `"tests": [{"src": "tag:db", "accept": ["tag:web:22"]}], "grants"`, 1)
	for name, c := range map[string]struct {
		text, want string
	}{
		"what Warren does not do": {"{\n  \"grants\": [],\n  \"ssh\": []}", "3:3: Warren has no SSH server"},
		"a mistake":               {"{\n  \"grants\": [{\"src\": [\"tag:nobody\"], \"dst\": [\"*\"], \"ip\": [\"*\"]}]}", "2:23: "},
		"a test that fails":       {failing, "tag:db should reach tag:web:22 and does not"},
		"nested deep":             {strings.Repeat("[", 1<<19), "nested more than"},
		"many problems":           {`{"groups": {` + strings.Repeat("\"x\": [],\n", 5000) + "}}", "is there already"},
	} {
		var report PolicyReport
		if status, code := p.call(http.MethodPost, "/policy/check", PolicyText{Text: c.text}, &report); status != http.StatusOK || report.OK() {
			t.Errorf("%s: %d %s %+v", name, status, code, report)
		}
		_, err := r.setPolicy(t.Context(), operator, c.text, "", "")
		var refused *coord.Error
		if !errors.As(err, &refused) || refused.Code != errPolicyWrong.Code || !strings.Contains(refused.Message, c.want) || len(refused.Message) > 64<<10 {
			t.Errorf("%s: %.300v", name, err)
		}
	}
	if status, _ := p.call(http.MethodPut, "/policy", PolicyText{Text: strings.Repeat(" ", 10<<20)}, nil); status != http.StatusRequestEntityTooLarge {
		t.Errorf("10 MiB: %d", status)
	}
	stranger := &program{w: r.web(), token: "wt_no"}
	if status, _ := stranger.call(http.MethodPut, "/policy", PolicyText{Text: strings.Repeat(" ", 3<<20)}, nil); status != http.StatusUnauthorized {
		t.Errorf("a stranger's 3 MiB: %d", status)
	}
	if now, _ := r.Policy(t.Context()); now != before {
		t.Errorf("in force is %+v", now)
	}
}

// A million expansions: every group has everyone, and every group may reach every tag.
func TestAPolicyThatExpandsTooFarIsRefusedInTime(t *testing.T) {
	r := serve(t)
	var b strings.Builder
	b.WriteString(`{"groups": {`)
	for g := range 1000 {
		fmt.Fprintf(&b, "\"group:g%d\": [%s],\n", g, strings.Repeat(`"anna@",`, 40))
	}
	b.WriteString(`}, "tagOwners": {`)
	for i := range 1000 {
		fmt.Fprintf(&b, "\"tag:t%d\": [],", i)
	}
	b.WriteString(`}, "grants": [{"src": [`)
	for g := range 1000 {
		fmt.Fprintf(&b, `"group:g%d",`, g)
	}
	b.WriteString(`], "dst": [`)
	for i := range 1000 {
		fmt.Fprintf(&b, `"tag:t%d",`, i)
	}
	b.WriteString(`], "ip": ["*"]}]}`)
	start := worked(t)
	_, err := r.setPolicy(t.Context(), operator, b.String(), "", "")
	took := worked(t) - start
	if took > time.Minute {
		t.Errorf("it took %v to say %v", took, err)
	}
	t.Log(len(b.String()), took, err)
}

// TestAFilterThatAMachineWouldRefuseIsToldByItsName: before the file is saved, and where it has grown since.
func TestAFilterThatAMachineWouldRefuseIsToldByItsName(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.device().join("web", r.authKey(KeyOptions{Tags: []string{"web"}}))
	gate := r.device()
	gate.join("gate", r.authKey(KeyOptions{Tags: []string{"gate"}}))
	if err := gate.Update(t.Context(), offering("10.0.0.0/8")); err != nil {
		t.Fatal(err)
	}
	if err := r.SetRoutes(t.Context(), "gate", RoutesRequest{Approve: routes("10.0.0.0/8")}); err != nil {
		t.Fatal(err)
	}
	const hosts, rules = 10_000, policy.MaxLargest/10_000 + 1
	var b strings.Builder
	b.WriteString(`{"ipsets": {"ipset:hosts": [`)
	for i := range hosts {
		fmt.Fprintf(&b, `"10.0.%d.%d",`, i>>7, i&0x7f*2) // no two of which are one prefix
	}
	b.WriteString(`]}, "grants": [`)
	for i := range rules {
		fmt.Fprintf(&b, `{"src": ["*"], "dst": ["ipset:hosts"], "ip": ["%d"]},`, i+1)
	}
	b.WriteString("]}")
	want := fmt.Sprintf("the machine gate comes to %d prefixes", hosts*rules)
	if _, err := r.setPolicy(t.Context(), operator, b.String(), "", ""); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("saved: %.300v", err)
	}
	w := r.web()
	_, _, _ = w.signIn("anna", "correct horse", nil)
	if status, text, _ := w.post(r, "/policy", url.Values{"text": {b.String()}, "version": {"0"}, "do": {"preview"}}); status != http.StatusUnprocessableEntity || !strings.Contains(text, want) {
		t.Errorf("the editor: %d, %.300s", status, text)
	}
	// As if the network had grown since it was saved.
	if err := r.store.Write(t.Context(), func(tx store.Tx) error {
		_, err := tx.AddPolicy(store.PolicyVersion{Text: b.String(), Created: r.now()})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if status, text, _ := w.ask(http.MethodGet, "/policy", nil); status != http.StatusOK || !strings.Contains(text, want) {
		t.Errorf("the page: %d, %.300s", status, text)
	}
	r.govern(noneMay)
	if _, text, _ := w.ask(http.MethodGet, "/policy", nil); strings.Contains(text, "comes to") {
		t.Error("the page warns of rules that are no more")
	}
}

// worked is this process's processor time, which grows no faster for what else the machine does.
func worked(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestThePreviewSaysWhatChangesForWhom(t *testing.T) {
	r := serve(t)
	r.govern(webMayDB)
	r.device().join("web", r.authKey(KeyOptions{Tags: []string{"web"}}))
	r.device().join("db", r.authKey(KeyOptions{Tags: []string{"db"}}))
	r.device().join("other", r.authKey(KeyOptions{Tags: []string{"other"}}))
	p, err := r.previewPolicy(t.Context(), webMayAdmin)
	if err != nil || p.Changed != 1 || p.Changes[0].Machine != "db" || len(p.Changes[0].Opens) != 1 || p.Changes[0].Opens[0] != "from tag:web: tcp:22" {
		t.Errorf("%+v, %v", p, err)
	}
	p, err = r.previewPolicy(t.Context(), noneMay)
	if err != nil || p.Changed != 2 || p.Changes[0].Machine != "db" || !slices.Equal(p.Changes[0].Loses, []string{"web"}) || p.Changes[0].Lost != 1 || len(p.Changes[0].Closes) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err = r.previewPolicy(t.Context(), webMayDB); err != nil || p.Changed != 0 {
		t.Errorf("the same: %+v, %v", p, err)
	}
	if p, err = r.previewPolicy(t.Context(), "{"); err != nil || p.OK() {
		t.Errorf("no file: %+v, %v", p, err)
	}
}

func TestAPreviewCountsThemAll(t *testing.T) {
	c := &checked{nodes: map[coord.NodeID]*store.Node{}}
	var ids []coord.NodeID
	for id := coord.NodeID(1); id <= maxNamed+30; id++ {
		c.nodes[id] = &store.Node{ID: id, Name: fmt.Sprintf("m%03d", id)}
		ids = append(ids, id)
	}
	names, count := c.named(7, ids)
	if count != maxNamed+29 || len(names) != maxNamed+1 || names[0] != "m001" || names[maxNamed] != fmt.Sprintf(textAndMore, 29) {
		t.Errorf("%d: %q", count, names)
	}
}

func TestTheServerExplainsWhoMayReachWhom(t *testing.T) {
	r := serve(t)
	r.govern("{\n" + `"tagOwners": {"tag:web": [], "tag:db": []}, "grants": [` + "\n" + `{"src": ["tag:web"], "dst": ["tag:db"], "ip": ["tcp:5432"]}]}`)
	r.device().join("web", r.authKey(KeyOptions{Tags: []string{"web"}}))
	r.device().join("db", r.authKey(KeyOptions{Tags: []string{"db"}}))
	for _, c := range []struct {
		q       AccessQuestion
		allowed bool
		why     string
	}{
		{AccessQuestion{From: "web", To: "db", Port: 5432}, true, "line 3"},
		{AccessQuestion{From: "web", To: "db", Port: 22}, false, "not for this protocol and port"},
		{AccessQuestion{From: "db", To: "web", Port: 5432, Proto: "udp"}, false, "no rule"},
		{AccessQuestion{From: "web", To: "192.0.2.1", Port: 1}, false, "none leads there"},
	} {
		a, err := r.explain(t.Context(), &c.q)
		if err != nil || a.Allowed != c.allowed || !strings.Contains(a.Why, c.why) || a.Allowed != strings.Contains(a.Text, "tcp:5432") && a.Nearest.Line == 0 {
			t.Errorf("%+v: %+v, %v", c.q, a, err)
		}
	}
	for _, q := range []AccessQuestion{{From: "nobody", To: "db", Port: 1}, {From: "web", To: "nobody", Port: 1}, {From: "web", To: "db"}, {From: "web", To: "db", Port: 1, Proto: "no"}} {
		if a, err := r.explain(t.Context(), &q); err == nil {
			t.Errorf("%+v: %+v", q, a)
		}
	}
}

func TestTagOwnersMakeKeysOfTheirTags(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("bert", "correct horse", account.Member)
	r.govern(`{"tagOwners": {"tag:web": ["bert@"], "tag:db": []}, "grants": []}`)
	p := r.program("bert", account.ScopeKeys)
	for tag, want := range map[string]int{"web": http.StatusOK, "db": http.StatusForbidden, "other": http.StatusForbidden} {
		if status, code := p.call(http.MethodPost, "/keys", KeyRequest{Tags: []string{tag}}, nil); status != want {
			t.Errorf("%s: %d %s", tag, status, code)
		}
	}
}

func TestMembersGiveTheirMachinesTheTagsThatAreTheirs(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	for _, login := range []string{"bert", "carl"} {
		r.userAs(login, "correct horse", account.Member)
	}
	r.device().join("anna1", r.authKey(KeyOptions{User: "anna"}))
	r.device().join("bert1", r.authKey(KeyOptions{User: "bert"}))
	const rules = `{"tagOwners": {"tag:web": ["bert@"], "tag:db": []}, "grants": []}`
	p, carls := r.program("bert", account.ScopeMachines), r.program("carl", account.ScopeMachines)
	tag := func(p *program, machine string, want int, tags ...string) {
		t.Helper()
		if status, code := p.call(http.MethodPost, "/machines/"+machine+"/tags", TagsRequest{Tags: tags}, nil); status != want {
			t.Errorf("%s %v: %d %s", machine, tags, status, code)
		}
	}
	tag(p, "bert1", http.StatusForbidden, "web") // no policy says that it is his
	r.govern(rules)
	tag(p, "bert1", http.StatusForbidden, "db")
	tag(p, "bert1", http.StatusForbidden, "db", "web")
	tag(p, "anna1", http.StatusForbidden, "web")
	tag(carls, "bert1", http.StatusForbidden, "web")
	if m, err := r.machineNamed("bert1"); err != nil || len(m.Node.Tags) > 0 {
		t.Fatalf("%+v, %v", m.Node, err)
	}
	tag(p, "bert1", http.StatusNoContent, "web")
	if m, err := r.machineNamed("bert1"); err != nil || !slices.Equal(m.Node.Tags, []string{"web"}) || m.Node.User.ID != 0 {
		t.Errorf("%+v, %v", m.Node, err)
	}
	tag(p, "bert1", http.StatusForbidden) // it is his no more
}
