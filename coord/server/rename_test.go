package server

import (
	"testing"

	"github.com/warren-mesh/warren/coord"
)

func TestAMachineIsCalledAsItsHostIsNow(t *testing.T) {
	r := serve(t)
	k := r.authKey(KeyOptions{Reusable: true})
	a, b := r.device(), r.device()
	a.join("alpha", k)
	b.join("beta", k)
	maps, _ := a.follow(nil)
	say := func(host string) {
		t.Helper()
		u := update(1000)
		u.Hostname = host
		if err := b.Update(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	named := func(name string) {
		t.Helper()
		until(t, maps, name, func(m *coord.Netmap) bool { return len(m.Peers) == 1 && m.Peers[0].Name == name })
	}
	named("beta")
	say("Gamma.example.org")
	named("gamma")
	say("alpha") // which is another's
	named("alpha-2")
	say("alpha")
	say("") // says nothing of it
	say("alp")
	named("alp")
	if err := r.RenameMachine(t.Context(), "alp", "chosen"); err != nil {
		t.Fatal(err)
	}
	named("chosen")
	say("alp")
	say("alp") // its host is called as before: the name that somebody gave it stays
	if _, err := r.machineNamed("chosen"); err != nil {
		t.Error(err)
	}
	if err := r.RenameMachine(t.Context(), "chosen", "alp"); err != nil {
		t.Fatal(err)
	}
	named("alp")
	r.stop()
	serveDir(t, r.dir, r.addr, Options{})
	maps, _ = a.follow(nil)
	named("alp")
}

func TestNamesAfterAHost(t *testing.T) {
	for _, c := range []struct {
		name, base string
		want       bool
	}{
		{"alice", "alice", true},
		{"alice-2", "alice", true},
		{"alice-2", "alice-2", true},
		{"alice", "ali", false},
		{"alice-two", "alice", false},
		{"alice2", "alice", false},
		{"alice-02", "alice", false},
		{"bob", "alice", false},
	} {
		if got := namedAfter(c.name, c.base); got != c.want {
			t.Errorf("%s after %s: %v", c.name, c.base, got)
		}
	}
}
