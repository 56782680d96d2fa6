package server

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
)

// What machines do again, and what becomes of those that do not come again.

// ahead serves a server whose clock can be moved, and whose network has so many addresses.
func ahead(t *testing.T, ipv4 string) (*running, *atomic.Int64) {
	t.Helper()
	dir := t.TempDir()
	if err := Init(t.Context(), dir, InitOptions{URL: "https://127.0.0.1:1", IPv4: netip.MustParsePrefix(ipv4)}); err != nil {
		t.Fatal(err)
	}
	var by atomic.Int64
	return serveDir(t, dir, "127.0.0.1:0", Options{Now: func() time.Time { return time.Now().Add(time.Duration(by.Load())) }}), &by
}

func (d *device) again(authKey string) error {
	_, err := d.Register(d.t.Context(), d.node, coord.RegisterRequest{Hostname: "again", AuthKey: authKey, OS: "linux", Reauth: true})
	return err
}

func TestAUsedKeyExtendsNothing(t *testing.T) {
	r, by := ahead(t, "100.64.0.0/10")
	r.userAs("mia", "correct horse", account.Member)
	once := r.authKey(KeyOptions{User: "mia"})
	d := r.device()
	d.join("laptop", once)
	end := r.member("laptop").Node.Expires
	lines := func() int {
		t.Helper()
		n := 0
		if err := r.store.Read(t.Context(), func(tx store.Tx) error {
			all, err := tx.AuditLines(store.AuditQuery{Limit: 1000})
			n = len(all)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := lines()
	by.Store(int64(30 * 24 * time.Hour))
	for range 3 { // it has not heard the answer
		if err := d.again(once); err != nil {
			t.Errorf("the machine that the key let in asks again: %v", err)
		}
	}
	if now := r.member("laptop").Node.Expires; !now.Equal(end) {
		t.Errorf("a used key moved the end from %s to %s", end, now)
	}
	if n := lines(); n != before {
		t.Errorf("what changed nothing made %d lines in the log", n-before)
	}
	many := r.authKey(KeyOptions{User: "mia", Reusable: true})
	for range 2 {
		was := r.member("laptop").Node.Expires
		by.Add(int64(time.Minute))
		if err := d.again(many); err != nil || !r.member("laptop").Node.Expires.After(was) {
			t.Errorf("a key that can be used extends nothing: %v, %s", err, r.member("laptop").Node.Expires)
		}
	}
	by.Add(int64(2 * time.Hour)) // that key is over
	was := r.member("laptop").Node.Expires
	if err := d.again(many); err != nil || !r.member("laptop").Node.Expires.Equal(was) {
		t.Errorf("a key that is over: %v, end %s, was %s", err, r.member("laptop").Node.Expires, was)
	}
}

func TestANetworkIsNeverFullOfMachinesThatAreGone(t *testing.T) {
	r, _ := ahead(t, "100.64.0.0/29") // five addresses, besides the resolver's
	approval := r.authKey(KeyOptions{Tags: []string{"a"}, Reusable: true, Approval: true})
	job := r.authKey(KeyOptions{Tags: []string{"a"}, Reusable: true, Ephemeral: true})
	free := r.authKey(KeyOptions{Tags: []string{"a"}, Reusable: true})
	stays := r.device()
	stays.join("stays", free)
	address := r.member("stays").Node.Addrs[0]
	for range 8 {
		d := r.device()
		d.join("refused", approval)
		if err := r.DenyMachine(t.Context(), "refused"); err != nil {
			t.Fatal(err)
		}
	}
	r.device().join("second", free)
	if a := r.member("second").Node.Addrs[0]; a != addresses(r.network, 2)[0] {
		t.Errorf("machines that nobody ever saw have used up addresses: the second has %s", a)
	}
	for range 8 {
		d := r.device()
		d.join("job", job)
		if err := d.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 8 { // keeps its place for its owner, as long as there is room
		d := r.device()
		d.join("old", free)
		if err := d.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := stays.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"third", "fourth"} {
		r.device().join(name, free)
	}
	stays.join("stays", free)
	if m := r.member("stays"); m.Node.Addrs[0] != address {
		t.Errorf("who logged out last has the address %s, and had %s", m.Node.Addrs[0], address)
	}
	r.device().join("fifth", free)
	_, err := r.device().Register(t.Context(), r.device().node, coord.RegisterRequest{Hostname: "sixth", AuthKey: free})
	wantCode(t, err, coord.CodeFull)
	if err := r.RemoveMachine(t.Context(), "third"); err != nil {
		t.Fatal(err)
	}
	r.device().join("sixth", free)
	seen := map[netip.Addr]bool{}
	for _, m := range r.Machines() {
		if seen[m.Addrs[0]] {
			t.Errorf("two machines have %s", m.Addrs[0])
		}
		seen[m.Addrs[0]] = true
	}
}

func TestAnAdminMayGiveTheNameOfAMachineThatHasLoggedOut(t *testing.T) {
	r := serve(t)
	old, anew := r.device(), r.device()
	free := r.authKey(KeyOptions{Tags: []string{"a"}, Reusable: true})
	old.join("laptop", free)
	address := r.member("laptop").Node.Addrs[0]
	if err := old.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	anew.join("laptop", free) // set up anew
	if err := r.RenameMachine(t.Context(), "laptop-2", "laptop"); err != nil {
		t.Fatalf("the name of a machine that no list shows: %v", err)
	}
	old.join("laptop", free)
	if m := r.member("laptop-3"); m.Node.Addrs[0] != address || m.Machine != old.mach.Public() {
		t.Errorf("the old one came back as %+v", m)
	}
	if err := r.RenameMachine(t.Context(), "laptop-3", "laptop"); err == nil {
		t.Error("the name of a machine that is in was given away")
	}
}

func TestAnEphemeralMachineWaitsLongerForAnAdmin(t *testing.T) {
	r, by := ahead(t, "100.64.0.0/10")
	d := r.device()
	d.join("job", r.authKey(KeyOptions{Ephemeral: true, Approval: true}))
	by.Store(int64(ephemeralLife + time.Minute))
	r.removeStale(t.Context())
	if err := r.ApproveMachine(t.Context(), "job"); err != nil {
		t.Fatalf("after half an hour: %v", err)
	}
	r.removeStale(t.Context())
	if len(r.Machines()) != 1 {
		t.Error("it was removed before it could come")
	}
	by.Add(int64(ephemeralLife + time.Minute))
	r.removeStale(t.Context())
	if len(r.Machines()) != 0 {
		t.Error("approved and not there it stays")
	}
	r.device().join("job", r.authKey(KeyOptions{Ephemeral: true, Approval: true}))
	by.Add(int64(ephemeralWait + time.Minute))
	r.removeStale(t.Context())
	if len(r.Machines()) != 0 {
		t.Error("it waits for ever")
	}
}

func TestALoginOfAnAccountThatIsGoneIsRefusedInASentence(t *testing.T) {
	r := serve(t)
	r.userAs("mia", "correct horse", account.Member)
	mia, d := r.signedIn("mia"), r.device()
	verifier := strings.Repeat("v", 43)
	reply := d.login("laptop", coord.CodeChallenge(verifier))
	path := coord.PathLogin + reply.LoginID
	state := strings.Repeat("s", 20)
	status, _, header := mia.post(r, path, url.Values{"do": {"connect"}, "port": {"4711"}, "state": {state}})
	to, err := url.Parse(header.Get("Location"))
	if status != http.StatusSeeOther || err != nil || to.Query().Get("code") == "" {
		t.Fatalf("connecting: %d, %v", status, header)
	}
	if err := r.RemoveUser(t.Context(), "mia"); err != nil {
		t.Fatal(err)
	}
	err = d.FinishLogin(t.Context(), coord.CodeRequest{LoginID: reply.LoginID, Code: to.Query().Get("code"), Verifier: verifier})
	if err == nil || !strings.Contains(err.Error(), "no such account") {
		t.Errorf("finishing: %v", err)
	}
	if len(r.Machines()) != 0 {
		t.Error("it was let in")
	}
}

func TestAMachineThatBecomesAnothersGoesOnFromTheNetmapItHas(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("mia", "correct horse", account.Member)
	other, d := r.device(), r.device()
	other.join("other", r.authKey(KeyOptions{Tags: []string{"a"}}))
	d.join("laptop", r.authKey(KeyOptions{User: "mia"}))
	maps, stop := d.follow(nil)
	have := until(t, maps, "mia's", func(m *coord.Netmap) bool { return m.Self.User.Login == "mia" && len(m.Peers) == 1 })
	peers, _ := other.follow(nil)
	r.signedIn("anna").connect(r, d, "laptop", true)
	_ = stop()
	maps, _ = d.follow(have)
	now := until(t, maps, "anna's", func(m *coord.Netmap) bool { return m.Self.User.Login == "anna" && len(m.Peers) == 1 })
	if now.Self.ID == have.Self.ID || now.Self.Key != have.Self.Key || now.Self.Addrs[0] == have.Self.Addrs[0] {
		t.Errorf("it was %+v and is %+v", have.Self, now.Self)
	}
	until(t, peers, "the other sees one machine of its key", func(m *coord.Netmap) bool {
		return len(m.Peers) == 1 && m.Peers[0].ID == now.Self.ID
	})
}
