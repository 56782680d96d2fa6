package server

import (
	"bufio"
	"bytes"
	"os/exec"
	"testing"

	"github.com/warren-mesh/warren/coord"
)

// TestASecondImplementationIsServed has a program in another language, which was written from protocol.md alone, join beside
// a machine of ours, and see another one come.
func TestASecondImplementationIsServed(t *testing.T) {
	r := serve(t)
	key := r.authKey(KeyOptions{Reusable: true})
	ours := r.device()
	ours.join("ours", key)
	if err := ours.Update(t.Context(), update(1)); err != nil {
		t.Fatal(err)
	}
	maps, _ := ours.follow(nil)

	cmd := exec.CommandContext(t.Context(), "node", "testdata/second.mjs", coord.FormatInvite(r.URL(), r.Key()), key)
	var told bytes.Buffer
	cmd.Stderr = &told
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("node (make deps installs it): %v", err)
	}
	lines := bufio.NewScanner(out)
	next := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("it says %q, want %q: %v\n%s", lines.Text(), want, cmd.Wait(), &told)
			t.FailNow()
		}
	}
	next("self second true ours")
	until(t, maps, "the other program's machine", func(m *coord.Netmap) bool {
		p := peerNamed(m, "second")
		return p != nil && p.Online && len(p.Endpoints) == 1
	})
	r.device().join("later", key)
	next("later later,ours")
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &told)
	}
	until(t, maps, "its end", func(m *coord.Netmap) bool { return peerNamed(m, "second") == nil })
}
