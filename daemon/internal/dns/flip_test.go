package dns

import (
	"errors"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/dns/hostmode"
	"github.com/warren-mesh/warren/ipc"
)

// flips puts one thing after the other at /etc/resolv.conf, many times, and has the daemon look after each.
func flips(t *testing.T, things ...func(path string)) {
	t.Helper()
	put := func(thing func(string)) { // at once: in between the daemon may look, too
		t.Helper()
		const next = "/etc/next"
		thing(next)
		err := os.Rename(next, confPath)
		if errors.Is(err, os.ErrNotExist) {
			err = os.Remove(confPath)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	d := openDNS(t)
	var steps atomic.Int32
	d.step = func() { steps.Add(1) }
	var seconds atomic.Int64 // however long it takes here
	began := time.Now()
	d.now = func() time.Time { return began.Add(time.Duration(seconds.Load()) * time.Second) }
	put(things[0])
	w := wish(coord.DNS{})
	look := func() *Status {
		t.Helper()
		if _, err := d.Apply(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		return d.Status()
	}
	look()
	said := func(s *Status) bool {
		return slices.ContainsFunc(s.Problems, func(p ipc.Problem) bool { return p.Code == ipc.ProblemDNSContested })
	}
	round := func() {
		for _, thing := range slices.Backward(things) {
			put(thing)
			seconds.Add(1)
			look()
		}
	}
	for range 2 * (hostmode.MaxAgain + 1) {
		round()
	}
	if s := look(); !said(s) || s.DNS.Contested != hostmode.MaxAgain {
		t.Errorf("it goes on, or is not said: %+v", s)
	}
	for _, thing := range things { // their files are theirs
		put(thing)
		before := read(t, confPath)
		if look(); read(t, confPath) != before || hostmode.Marked(before) {
			t.Errorf("their file has become\n%s", read(t, confPath))
		}
	}
	before := steps.Load()
	for range 10 {
		round()
	}
	if now := steps.Load(); now != before {
		t.Errorf("%d changes after it was said that there will be none", now-before)
	}
	w = wish(coord.DNS{Search: []string{"corp.example"}}) // a person's word begins anew
	if s := look(); said(s) || !hostmode.Marked(read(t, confPath)) && s.DNS.Mode == string(hostmode.File) {
		t.Errorf("another wish is not followed: %+v", s)
	}
}

// TestAProgramThatFlipsTheFileIsFoughtNoLongerThanAnother: whatever it puts there in turn, and whoever would have to be told then.
func TestAProgramThatFlipsTheFileIsFoughtNoLongerThanAnother(t *testing.T) {
	file := func(path string) { write(t, path, theirs) }
	linkTo := func(to string) func(string) { return func(path string) { sh(t, "ln -s "+to+" "+path) } }
	stub := linkTo("../run/systemd/resolve/stub-resolv.conf")
	t.Run("a file and a link", func(t *testing.T) {
		newHost(t)
		write(t, "/run/theirs", theirs)
		flips(t, file, linkTo("../run/theirs"))
	})
	t.Run("a file and a service that does not run", func(t *testing.T) {
		newHost(t)
		flips(t, file, stub)
	})
	t.Run("a file and a service", func(t *testing.T) {
		newResolvedHost(t)
		flips(t, file, stub)
	})
	t.Run("a file and a service and nothing", func(t *testing.T) {
		newResolvedHost(t)
		flips(t, stub, file, func(string) {})
	})
}
