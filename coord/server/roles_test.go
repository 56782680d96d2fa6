package server

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/policy"
	"github.com/warren-mesh/warren/coord/internal/store"
)

const (
	everybody   = "owner admin auditor member"
	seers       = "owner admin auditor"
	changers    = "owner admin"
	ownChangers = "owner admin member"
)

// mayCall says for each route that wants an account which roles it serves, when it is about what belongs to the
// caller and when to another. A route that does not stand here fails the test.
var mayCall = map[string]struct{ own, others string }{
	"POST /login/{id}": {everybody, everybody}, // whoever has the link connects a machine of their own
	"POST /login":      {everybody, everybody},
	"POST /signout":    {everybody, everybody},
	"GET /{$}":         {everybody, everybody}, // each sees what is theirs to see
	"GET /add":         {everybody, everybody},
	"GET /network":     {everybody, everybody}, // the same

	"GET /machines/{id}":         {everybody, seers},
	"POST /machines/{id}/rename": {ownChangers, changers},
	"GET /machines/{id}/expire":  {ownChangers, changers},
	"POST /machines/{id}/expire": {ownChangers, changers},
	"GET /machines/{id}/remove":  {ownChangers, changers},
	"POST /machines/{id}/remove": {ownChangers, changers},

	"POST /machines/{id}/approve":  {changers, changers}, // nobody approves their own machine, but who may any
	"GET /machines/{id}/deny":      {changers, changers},
	"POST /machines/{id}/deny":     {changers, changers},
	"POST /machines/{id}/routes":   {changers, changers},
	"POST /machines/{id}/relaying": {changers, changers},
	"POST /machines/{id}/extend":   {changers, changers}, // others log in again

	"GET /users":                     {seers, seers}, // one's own account is on the profile page
	"GET /users/{id}":                {seers, seers},
	"POST /users/{id}/role":          {changers, changers},
	"GET /users/{id}/remove":         {changers, changers},
	"POST /users/{id}/remove":        {changers, changers},
	"GET /users/{id}/second/remove":  {changers, changers},
	"POST /users/{id}/second/remove": {changers, changers},
	"POST /invitations":              {changers, changers},
	"POST /invitations/{id}/revoke":  {changers, changers},

	"GET /keys":                          {everybody, everybody}, // each sees what is theirs to see
	"POST /keys":                         {ownChangers, ownChangers},
	"POST /keys/{id}/revoke":             {ownChangers, changers},
	"GET /relays":                        {seers, seers},
	"GET /policy":                        {seers, seers},
	"POST /policy":                       {changers, changers},
	"GET /policy/versions/{id}":          {seers, seers},
	"POST /policy/versions/{id}/restore": {changers, changers},
	"GET /policy/why":                    {seers, seers},
	"GET /dns":                           {seers, seers},
	"POST /dns":                          {changers, changers},
	"POST /dns/split":                    {changers, changers},
	"POST /dns/records":                  {changers, changers},
	"GET /settings":                      {seers, seers},
	"POST /settings":                     {"owner", "owner"},
	"GET /providers":                     {seers, seers},
	"POST /providers":                    {"owner", "owner"},
	"GET /providers/{id}":                {"owner", "owner"},
	"POST /providers/{id}":               {"owner", "owner"},
	"GET /providers/{id}/remove":         {"owner", "owner"},
	"POST /providers/{id}/remove":        {"owner", "owner"},
	"GET /audit":                         {seers, seers},
	"GET /audit/export":                  {seers, seers},

	"GET /webhooks":                        {"owner", "owner"},
	"POST /webhooks":                       {"owner", "owner"},
	"POST /webhooks/{id}/remove":           {"owner", "owner"},
	"POST /webhooks/{id}/test":             {"owner", "owner"},
	"GET /tokens":                          {everybody, everybody},
	"POST /tokens":                         {everybody, everybody},
	"POST /tokens/{id}/remove":             {everybody, everybody}, // of their own, and as an owner of others
	"POST /machines/{id}/tags":             {ownChangers, changers},
	"GET /api":                             {everybody, everybody},
	"GET /profile":                         {everybody, everybody},
	"POST /profile/password":               {everybody, everybody},
	"POST /profile/sessions/{id}/revoke":   {everybody, everybody}, // of their own sign-ins
	"POST /profile/sessions/revoke":        {everybody, everybody},
	"GET /profile/link/{id}":               {everybody, everybody}, // leads to the provider
	"GET /profile/passkeys":                {everybody, everybody},
	"POST /profile/passkeys":               {everybody, everybody},
	"POST /profile/passkeys/{id}/remove":   {everybody, everybody}, // of their own
	"GET /profile/link":                    {everybody, everybody},
	"POST /profile/link":                   {everybody, everybody},
	"POST /profile/identities/{id}/remove": {everybody, everybody}, // of their own
	"POST /profile/again":                  {everybody, everybody},
	"GET /profile/second":                  {everybody, everybody},
	"POST /profile/second":                 {everybody, everybody},
	"POST /profile/second/codes":           {everybody, everybody},
	"GET /profile/second/remove":           {everybody, everybody},
	"POST /profile/second/remove":          {everybody, everybody},
}

// mayOperate says for each operation of the API which roles it serves, and which scopes of a token. An operation that
// does not stand here fails the test.
var mayOperate = map[string]struct{ own, others, scopes string }{
	"listMachines":  {everybody, everybody, "read machines"}, // each sees what is theirs to see
	"getMachine":    {everybody, seers, "read machines"},
	"renameMachine": {ownChangers, changers, "machines"}, "expireMachine": {ownChangers, changers, "machines"}, "removeMachine": {ownChangers, changers, "machines"},
	"tagMachine": {ownChangers, changers, "machines"}, "setMachineRoutes": {changers, changers, "machines"}, "setMachineRelaying": {changers, changers, "machines"}, "extendMachine": {changers, changers, "machines"},
	"approveMachine": {changers, changers, "machines"}, "denyMachine": {changers, changers, "machines"},

	"listUsers": {seers, seers, "read users"}, "getUser": {seers, seers, "read users"}, "listInvitations": {seers, seers, "read users"},
	"addUser": {changers, changers, "users"}, "setUserRole": {changers, changers, "users"}, "removeUser": {changers, changers, "users"},
	"resetUserSecond": {changers, changers, "users"}, "addInvitation": {changers, changers, "users"}, "removeInvitation": {changers, changers, "users"},
	"setUserPassword": {"owner", "owner", "users"}, "addSetupLink": {"owner", "owner", "users"},

	"listKeys": {everybody, everybody, "read keys"}, "getKey": {everybody, seers, "read keys"},
	"addKey": {ownChangers, ownChangers, "keys"}, "revokeKey": {ownChangers, changers, "keys"},

	"getStatus": {seers, seers, "read"}, "listRelays": {seers, seers, "read settings"}, "getSettings": {seers, seers, "read settings"},
	"setRelay": {changers, changers, "settings"}, "removeRelay": {changers, changers, "settings"}, "setSettings": {"owner", "owner", "settings"},
	"getDNS": {seers, seers, "read settings"}, "setDNS": {changers, changers, "settings"}, "setDNSSplit": {changers, changers, "settings"},
	"removeDNSSplit": {changers, changers, "settings"}, "changeDNSRecords": {changers, changers, "settings"},
	"getPolicy": {seers, seers, "read policy"}, "setPolicy": {changers, changers, "policy"}, "checkPolicy": {seers, seers, "policy"}, "previewPolicy": {seers, seers, "policy"},
	"explainPolicy": {seers, seers, "read policy"}, "listPolicyVersions": {seers, seers, "read policy"}, "getPolicyVersion": {seers, seers, "read policy"},
	"restorePolicy": {changers, changers, "policy"},
	"listProviders": {seers, seers, "read settings"}, "addProvider": {"owner", "owner", "settings"}, "setProvider": {"owner", "owner", "settings"}, "removeProvider": {"owner", "owner", "settings"},
	"listAudit": {seers, seers, "read"}, "exportAudit": {seers, seers, "read"},

	"listWebhooks": {"owner", "owner", "read settings"}, "addWebhook": {"owner", "owner", "settings"}, "setWebhook": {"owner", "owner", "settings"},
	"removeWebhook": {"owner", "owner", "settings"}, "testWebhook": {"owner", "owner", "settings"},

	"getAccount": {everybody, everybody, "read"}, "setOwnPassword": {everybody, everybody, "account"},
	"listSignIns": {everybody, everybody, "read account"}, "removeSignIn": {everybody, everybody, "account"}, "removeSignIns": {everybody, everybody, "account"},
	"listTokens": {everybody, everybody, "read account"}, "addToken": {everybody, everybody, "account"},
	"removeToken": {everybody, everybody, "account"}, // of their own: TestATokenIsItsMakers
}

// refused reports whether a page was refused to the role, in the router's words. The request brings no form token: where
// it is not refused, it changes nothing.
func (w *web) refused(rt route, path string) bool {
	w.t.Helper()
	req, _ := http.NewRequest(rt.method, w.at+path, nil)
	resp, err := w.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	var e coord.ErrorReply
	_ = json.Unmarshal(text, &e)
	switch {
	case e.Error != nil && e.Error.Code == errNotAllowed.Code:
		return true
	case rt.method != http.MethodGet && (e.Error == nil || e.Error.Message != errForm.Message):
		w.t.Errorf("%s %s without a token: %d %s", rt.method, path, resp.StatusCode, text)
	case rt.method == http.MethodGet && resp.StatusCode == http.StatusSeeOther && resp.Header.Get("Location") != "/signin": // leads on
	case rt.method == http.MethodGet && resp.StatusCode != http.StatusOK:
		w.t.Errorf("%s %s: %d %s", rt.method, path, resp.StatusCode, text)
	}
	return false
}

func TestEveryRouteTimesEveryRole(t *testing.T) {
	r := serve(t)
	browsers := map[account.Role]*web{}
	for _, role := range account.Roles {
		r.userAs(string(role), "correct horse", role)
		browsers[role] = r.web()
		if status, text, _ := browsers[role].signIn(string(role), "correct horse", nil); status != http.StatusSeeOther {
			t.Fatalf("%s cannot sign in: %d %s", role, status, text)
		}
	}
	things := r.things()
	for _, rt := range r.routes() {
		if rt.access != signedIn {
			continue // TestEveryRouteRefusesStrangers has them
		}
		name := rt.method + " " + rt.path
		want, ok := mayCall[name]
		if !ok {
			t.Errorf("%s is not in mayCall: say who may call it", name)
			continue
		}
		for role, w := range browsers {
			for owner, list := range map[string]string{string(role): want.own, "somebody": want.others} {
				path := things.path(rt.path, owner)
				if got := w.refused(rt, path); got == strings.Contains(list, string(role)) {
					t.Errorf("%s %s by %s: refused is %v", rt.method, path, role, got)
				}
			}
		}
	}
	for name := range mayCall {
		if !strings.Contains(routeNames(r), name+"\n") {
			t.Errorf("%s is in mayCall, but there is no such route", name)
		}
	}
}

func routeNames(r *running) string {
	var b strings.Builder
	for _, rt := range r.routes() {
		b.WriteString(rt.method + " " + rt.path + "\n")
	}
	return b.String()
}

// things are what paths name: for the beginning of a path and the owner of a thing, its number.
type things map[string]string

func (r *running) things() things {
	r.t.Helper()
	all := things{}
	r.userAs("somebody", "correct horse", account.Member)
	for _, owner := range []string{"owner", "admin", "auditor", "member", "somebody"} {
		r.device().join(owner+"s", r.authKey(KeyOptions{User: owner}))
	}
	for _, m := range r.Machines() {
		all["/machines/ "+m.User.Login] = strconv.FormatInt(int64(m.ID), 10)
	}
	keys, err := r.Keys(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, k := range keys {
		all["/keys/ "+k.User] = strconv.FormatInt(k.ID, 10)
	}
	rules, err := r.setPolicy(r.t.Context(), operator, policy.AllText, "", "")
	if err != nil {
		r.t.Fatal(err)
	}
	provider := r.provider(NewProvider{Name: "Work"})
	for login, id := range r.ids() {
		all["/providers/ "+login], all[pathLink+"/ "+login] = provider, provider
		all["/policy/versions/ "+login] = strconv.FormatInt(rules.Version, 10)
		all["/users/ "+login] = strconv.FormatInt(id, 10)
	}
	return all
}

func (all things) path(pattern, owner string) string {
	head, _, _ := strings.Cut(strings.TrimPrefix(pattern, PathAPI), "{id}")
	id := all[head+" "+owner]
	if id == "" {
		id = strings.Repeat("A", 22)
	}
	return strings.NewReplacer("{id}", id, "{$}", "").Replace(pattern)
}

// ids finds the numbers of all accounts.
func (r *running) ids() map[string]int64 {
	r.t.Helper()
	ids := map[string]int64{}
	err := r.store.Read(r.t.Context(), func(tx store.Tx) error {
		users, err := tx.Users()
		for _, u := range users {
			ids[u.Login] = u.ID
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return ids
}

func TestTheLastOwnerStays(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	for _, try := range []error{
		r.SetRole(t.Context(), "anna", "member"), r.SetRole(t.Context(), "anna", "admin"), r.RemoveUser(t.Context(), "anna"),
	} {
		if !errors.Is(try, errLastOwner) {
			t.Errorf("got %v", try)
		}
	}
	if err := r.SetRole(t.Context(), "anna", "owner"); err != nil {
		t.Errorf("staying the owner: %v", err)
	}
	r.user("bert", "correct horse")
	ids := r.ids()
	for range 50 { // both demote the other, at once
		var wg sync.WaitGroup
		for who, whom := range map[string]string{"anna": "bert", "bert": "anna"} {
			wg.Go(func() {
				_ = r.setRole(t.Context(), caller{user: ids[who], role: account.Owner}, byLogin(whom), "member")
			})
		}
		wg.Wait()
		owners := 0
		users, err := r.Users(t.Context())
		for _, u := range users {
			if u.Role == string(account.Owner) {
				owners++
			}
		}
		if err != nil || owners != 1 {
			t.Fatalf("there are %d owners, %v", owners, err)
		}
		if err := errors.Join(r.SetRole(t.Context(), "anna", "owner"), r.SetRole(t.Context(), "bert", "owner")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAdminsDoNotRuleOverOwners(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.user("otto", "correct horse")
	r.userAs("bert", "correct horse", account.Admin)
	r.userAs("carl", "correct horse", account.Member)
	ids := r.ids()
	admin, demoted := caller{user: ids["bert"], role: account.Admin}, caller{user: ids["carl"], role: account.Owner}
	for what, err := range map[string]error{
		"demote an owner":          r.setRole(t.Context(), admin, byLogin("anna"), "member"),
		"remove an owner":          r.removeUser(t.Context(), admin, byLogin("anna")),
		"make oneself an owner":    r.setRole(t.Context(), admin, byLogin("bert"), "owner"),
		"who was an owner earlier": r.setRole(t.Context(), demoted, byLogin("bert"), "member"),
	} {
		if !errors.Is(err, errNotAllowed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := r.setRole(t.Context(), admin, byLogin("carl"), "auditor"); err != nil {
		t.Error(err)
	}
}

// post sends a form with the token that the server would give this browser for it, whether it shows the form or not.
func (w *web) post(r *running, path string, form url.Values) (int, string, http.Header) {
	w.t.Helper()
	at, _ := url.Parse(w.at + path)
	req, _ := http.NewRequest(http.MethodPost, w.at+path, nil)
	for _, c := range w.Jar.Cookies(at) {
		req.AddCookie(c)
	}
	v, err := r.visit(req)
	if err != nil {
		w.t.Fatal(err)
	}
	all := url.Values{"token": {r.formToken(v, path)}}
	for k, values := range form {
		all[k] = values
	}
	return w.ask(http.MethodPost, path, all)
}
