package store

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/warren-mesh/warren/coord/key"
)

// version1 is a state.json as version 1 wrote it: two logins with the machine's keys, and one that was given up.
func version1(m key.Machine, n key.Node) string {
	return fmt.Sprintf(`{
	"version": 1,
	"machine": %q,
	"node": %q,
	"prefs": {"server": "https://b.example:8443", "up": true, "hostname": "den", "port": 41641},
	"port": 4711,
	"current": "2222222222222222",
	"logins": [
		{"id": "1111111111111111", "server": "https://a.example", "serverKey": "server:%064d", "node": 7, "user": "anna"},
		{"id": "2222222222222222", "server": "https://b.example:8443", "node": 9, "user": "ben"},
		{"id": "3333333333333333", "server": "https://a.example:8443"}
	]
}`, m.Reveal(), n.Reveal(), 5)
}

func TestAnOlderStateIsBroughtForwardAndKept(t *testing.T) {
	s := open(t, t.TempDir())
	m, n := key.NewMachine(), key.NewNode()
	old := version1(m, n)
	if err := os.WriteFile(s.Path(stateFile), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	s.step = func(string) error { return syscall.ENOSPC }
	if _, err := s.Load(); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "make room") {
		t.Errorf("on a full disk: %v", err)
	}
	if now, _ := os.ReadFile(s.Path(stateFile)); string(now) != old {
		t.Error("the full disk cost the old file")
	}
	s.step = nil
	st := load(t, s)
	if !st.Up || st.WantPort != 41641 || st.Port != 4711 || st.Login() == nil || st.Login().Node != 9 {
		t.Errorf("state %+v", st)
	}
	for i, want := range []Login{{Name: "a.example", User: "anna", Node: 7}, {Name: "b.example", User: "ben", Node: 9}, {Name: "a.example-2", Former: true}} {
		l := st.Logins[i]
		if l.Name != want.Name || l.User != want.User || l.Node != want.Node || l.Former != want.Former || l.Hostname != "den" ||
			l.Machine.Reveal() != m.Reveal() || l.Key.Reveal() != n.Reveal() {
			t.Errorf("login %d: %+v", i, l)
		}
	}
	if st.Machine.Reveal() == m.Reveal() || st.Node.Reveal() == n.Reveal() || st.Hostname != "" {
		t.Error("the next login would have the first one's keys or name")
	}
	if again := load(t, s); again.Machine.Reveal() != st.Machine.Reveal() || len(again.Logins) != 3 {
		t.Error("the second load gave another state")
	}
	if kept, err := os.ReadFile(s.Path("state-1.json")); err != nil || string(kept) != old {
		t.Errorf("the old file was not kept: %v", err)
	}
}

func TestAFreshOlderStateKeepsItsKeys(t *testing.T) {
	s := open(t, t.TempDir())
	m, n := key.NewMachine(), key.NewNode()
	old := fmt.Sprintf(`{"version":1,"machine":%q,"node":%q,"prefs":{"up":false,"hostname":"den"}}`, m.Reveal(), n.Reveal())
	if err := os.WriteFile(s.Path(stateFile), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	if st := load(t, s); st.Machine.Reveal() != m.Reveal() || st.Node.Reveal() != n.Reveal() || st.Prefs().Hostname != "den" {
		t.Errorf("state %+v", st)
	}
}

func TestEachLoginHasKeysAndANameOfItsOwn(t *testing.T) {
	s := open(t, t.TempDir())
	st := load(t, s)
	st.Hostname = "den"
	for range 3 {
		l := st.NewLogin("https://Coord.example:8443")
		l.Node = 1
		st.Put(l)
	}
	st.Put(st.NewLogin("https://[2001:db8::1]"))
	names, keys := "", map[string]bool{st.Machine.Reveal(): true, st.Node.Reveal(): true}
	for _, l := range st.Logins {
		names += l.Name + " "
		keys[l.Machine.Reveal()], keys[l.Key.Reveal()] = true, true
	}
	if names != "coord.example coord.example-2 coord.example-3 2001:db8::1 " || len(keys) != 2+2*len(st.Logins) {
		t.Errorf("names %s, %d keys", names, len(keys))
	}
	if st.Logins[0].Hostname != "den" || st.Logins[1].Hostname != "" {
		t.Error("the name that was wanted before the first login is not the first one's alone")
	}
	copied := *st
	changed := st.Logins[0]
	changed.User = "anna"
	copied.Put(changed)
	if st.Logins[0].User != "" || len(copied.Logins) != len(st.Logins) {
		t.Error("a change of a copy shows in the original, or made another login")
	}
	if st.Find("coord.example-2") != &st.Logins[1] || st.Find(st.Logins[1].ID) != &st.Logins[1] || st.Find("nobody") != nil {
		t.Error("a profile is not found by name and ID")
	}
	st.Logins[0].Network, st.Logins[1].Network = "home", "work"
	if st.FindOf("work") != &st.Logins[1] || st.FindOf("coord.example-2") != &st.Logins[1] || st.FindOf("") != nil || st.Find("work") != nil {
		t.Errorf("of a network: %+v", st.FindOf("work"))
	}
	if st.Logins[0].Network = "work"; st.FindOf("work") != nil {
		t.Error("of two networks of one name one is found")
	}
	st.Logins[1].Former = true
	if st.Find("coord.example-2") != nil {
		t.Error("what was given up is found")
	}
	for len(st.Logins) < MaxLogins {
		st.Put(st.NewLogin("https://a.example"))
	}
	gone := st.Logins[1].ID
	st.Put(st.NewLogin("https://b.example"))
	if err := s.Save(st); err != nil || st.Find(gone) != nil {
		t.Errorf("with as many logins as can be: %v", err)
	}
	st.Put(st.NewLogin("https://c.example"))
	if err := s.Save(st); err == nil {
		t.Error("one login too many was saved")
	}
	for name, want := range map[string]bool{
		"home": true, "anna@coord.example:8443": true, "": false, "-x": false, "a b": false, "0011223344556677": false, "a/b": false,
		strings.Repeat("x", 65): false, "$x": false, "ä": false,
	} {
		if ValidProfile(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
