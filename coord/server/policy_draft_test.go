package server

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/account"
	"github.com/warren-mesh/warren/coord/internal/store"
	"github.com/warren-mesh/warren/coord/key"
)

// TestAFileIsCheckedAgainIfTheNetworkMovedMeanwhile, and only then: between its check and its turn to be written.
func TestAFileIsCheckedAgainIfTheNetworkMovedMeanwhile(t *testing.T) {
	r := serve(t)
	r.user("anna", "correct horse")
	r.userAs("bert", "correct horse", account.Member)
	web, box := r.device(), r.device()
	web.join("web", r.authKey(KeyOptions{Tags: []string{"web"}}))
	box.join("box", r.authKey(KeyOptions{User: "bert"}))
	r.device().join("gone", r.authKey(KeyOptions{}))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tag := func(name string, tags ...string) func() {
		return func() { must(r.tagMachine(t.Context(), operator, r.member(name), tags)) }
	}
	id := r.member("box").Node.ID
	for _, c := range []struct {
		what  string
		moves bool
		do    func()
	}{
		{"nothing", false, func() {}},
		{"a name", false, func() {
			must(r.RenameMachine(t.Context(), "box", "crate"))
			must(r.RenameMachine(t.Context(), "crate", "box"))
		}},
		{"where a machine is", false, func() {
			r.said(id, coord.NodeUpdate{Endpoints: []coord.Endpoint{{Addr: netip.MustParseAddrPort("192.0.2.7:7"), Kind: coord.EndpointLocal}}})
		}},
		{"a tag", true, tag("web", "web", "db")},
		{"an offer", true, func() { r.said(id, offering("10.1.0.0/16")) }},
		{"an approval", true, func() { must(r.SetRoutes(t.Context(), "box", RoutesRequest{Approve: routes("10.1.0.0/16")})) }},
		{"a role", true, func() { must(r.SetRole(t.Context(), "bert", string(account.Auditor))) }},
		{"an account without machines", true, func() { r.user("carl", "correct horse") }},
		{"a new machine", true, func() { r.device().join("new", r.authKey(KeyOptions{})) }},
		{"a machine that is removed", true, func() { must(r.RemoveMachine(t.Context(), "gone")) }},
		{"another file", true, func() { r.govern(webMayAdmin) }},
	} {
		draft, err := r.draftPolicy(t.Context(), webMayDB, "")
		must(err)
		c.do()
		must(r.store.Read(t.Context(), func(tx store.Tx) error {
			stands, err := draft.stands(tx)
			if stands == c.moves {
				t.Errorf("%s: what was checked stands: %v", c.what, stands)
			}
			return err
		}))
	}

	// What was right for the network as it was is refused if it is wrong now, and said so.
	text := `{"tagOwners": {"tag:web": [], "tag:db": []}, "grants": [{"src": ["autogroup:admin"], "dst": ["tag:web"], "ip": ["tcp:22"]}],
		"tests": [{"src": "bert@", "accept": ["tag:web:22"]}]}`
	must(r.SetRole(t.Context(), "bert", string(account.Admin)))
	draft, err := r.draftPolicy(t.Context(), text, "")
	must(err)
	if !draft.OK() {
		t.Fatalf("control: %+v", draft.PolicyReport)
	}
	must(r.SetRole(t.Context(), "bert", string(account.Member)))
	if _, err := r.savePolicy(t.Context(), operator, draft, text, "", ""); err == nil || !strings.Contains(err.Error(), "bert") {
		t.Errorf("a file whose tests fail now was saved: %v", err)
	}
	// What a file approves keeps what a machine has become meanwhile.
	text = `{"grants": [], "autoApprovers": {"routes": {"10.7.0.0/16": ["bert@"]}}}`
	r.said(id, offering("10.7.0.0/16"))
	draft, err = r.draftPolicy(t.Context(), text, "")
	must(err)
	must(r.RenameMachine(t.Context(), "box", "chest"))
	if _, err := r.savePolicy(t.Context(), operator, draft, text, "", ""); err != nil {
		t.Fatal(err)
	}
	if m := r.member("chest"); !slices.Contains(m.Approved, routes("10.7.0.0/16")[0]) {
		t.Errorf("approved are %v", m.Approved)
	}
}

// BenchmarkPolicySave is an edit of the file in a network of 10,000 machines under 1,000 rules, while others write: how long that
// takes, and how long the others wait at the longest.
func BenchmarkPolicySave(b *testing.B) {
	r := serve(b)
	const machines, rules = 10_000, 1000
	err := r.store.Write(b.Context(), func(tx store.Tx) error {
		for i := range machines {
			n := store.Node{
				Machine: key.MachinePublic{9, byte(i >> 8), byte(i)}, Key: key.NodePublic{1, byte(i >> 8), byte(i)}, Name: fmt.Sprint("n", i), Base: "n",
				Number: uint32(1000 + i), Tags: []string{fmt.Sprint("t", i%50)}, Created: time.Now(),
			}
			if _, err := tx.AddNode(n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	text := func(i int) string {
		var s strings.Builder
		s.WriteString(`{"tagOwners": {`)
		for t := range 50 {
			fmt.Fprintf(&s, `"tag:t%d": [],`, t)
		}
		s.WriteString(`}, "grants": [`)
		for n := range rules {
			fmt.Fprintf(&s, `{"src": ["tag:t%d"], "dst": ["tag:t%d"], "ip": ["tcp:%d"]},`, n%50, (n*7+n/50)%50, 1000+n+i%7)
		}
		s.WriteString("]}")
		return s.String()
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	longest, done := time.Duration(0), make(chan struct{})
	b.ResetTimer()
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			began := time.Now()
			if err := r.hub.store.Write(ctx, func(tx store.Tx) error { return tx.SetMeta("waits", "") }); err == nil {
				longest = max(longest, time.Since(began))
			}
		}
	}()
	for i := range b.N {
		if _, err := r.setPolicy(b.Context(), operator, text(i), "", ""); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	cancel()
	<-done
	b.ReportMetric(float64(longest.Milliseconds()), "longest-wait-ms")
}
