package dns

import (
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/dns/hostmode"
)

// newer is what another program writes while the daemon looks.
var newer = strings.Replace(theirs, "192.0.2.53", "192.0.2.54", 1)

// writer is a program that writes resolv.conf: it cuts the file first.
type writer struct {
	t *testing.T
	f *os.File
}

func cut(t *testing.T) writer {
	t.Helper()
	f, err := os.OpenFile(confPath, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return writer{t, f}
}

func (w writer) write(text string) {
	w.t.Helper()
	if _, err := w.f.WriteString(text); err != nil {
		w.t.Fatal(err)
	}
}

func (w writer) close() { _ = w.f.Close() }

// asked is a host whose programs ask us. Time stands still for its loop, but for what turn lets pass.
type asked struct {
	*DNS
	passed atomic.Int64
	before atomic.Pointer[func()] // its next change
}

func asking(t *testing.T) *asked {
	t.Helper()
	newHost(t)
	write(t, confPath, theirs)
	d := &asked{DNS: openDNS(t)}
	began := time.Now()
	d.now = func() time.Time { return began.Add(time.Duration(d.passed.Load())) }
	d.step = func() {
		if do := d.before.Swap(nil); do != nil {
			(*do)()
		}
	}
	apply(t, d.DNS, wish(coord.DNS{}))
	return d
}

func (d *asked) turn(by time.Duration) { d.passed.Add(int64(by)) }

// wantSet waits until the host asks us, beside what is theirs.
func wantSet(t *testing.T, theirs string) {
	t.Helper()
	eventually(t, "set again", func() string {
		if got := read(t, confPath); hostmode.Strip(got) != theirs || got == theirs {
			return got
		}
		return ""
	})
}

// wantGiven ends the daemon, and wants what is theirs to be there then.
func wantGiven(t *testing.T, d *DNS, theirs string) {
	t.Helper()
	d.Close()
	if got := read(t, confPath); got != theirs {
		t.Errorf("given back:\n%q\nwant:\n%q", got, theirs)
	}
}

func TestWhatIsHalfWrittenIsNotTakenForTheirs(t *testing.T) {
	d := asking(t)
	w := cut(t)
	for n, half := range []string{"", "# by hand\n", "search lan.example\nnameserver 192.0.2.5"} {
		w.write(half)
		before := read(t, confPath)
		apply(t, d.DNS, wish(coord.DNS{Search: []string{strings.Repeat("x", n+1)}})) // even for another wish
		if got := read(t, confPath); got != before {
			t.Fatalf("it has become\n%s", got)
		}
	}
	w.write("4\n")
	w.close()
	all := "# by hand\nsearch lan.example\nnameserver 192.0.2.54\n"
	wantSet(t, all)
	if n := d.Status().DNS.Contested; n > 1 {
		t.Errorf("one change is taken for %d", n)
	}
	wantGiven(t, d.DNS, all)
}

func TestAFileThatSomebodyLeavesOpenAndEmptyIsKeptAsItIs(t *testing.T) {
	d := asking(t)
	w := cut(t)
	apply(t, d.DNS, wish(coord.DNS{}))
	if got := read(t, confPath); got != "" {
		t.Fatalf("it has become\n%s", got)
	}
	d.turn(maxWriting)
	apply(t, d.DNS, wish(coord.DNS{}))
	if got := read(t, confPath); !hostmode.Marked(got) {
		t.Errorf("it is waited for without end:\n%s", got)
	}
	w.close()
	wantGiven(t, d.DNS, "")
}

func TestWhatIsWrittenToTheFileThatWasReplacedIsNotLost(t *testing.T) {
	t.Run("to one that was waited for", func(t *testing.T) {
		d := asking(t)
		w := cut(t)
		apply(t, d.DNS, wish(coord.DNS{}))
		d.turn(maxWriting)
		apply(t, d.DNS, wish(coord.DNS{}))
		apply(t, d.DNS, wish(coord.DNS{Search: []string{"corp.example"}})) // replaces ours
		w.write(newer)
		w.close()
		wantSet(t, newer)
		wantGiven(t, d.DNS, newer)
	})
	t.Run("to one that was opened just before", func(t *testing.T) {
		d := asking(t)
		var w writer
		just := func() { w = cut(t) }
		d.before.Store(&just)
		apply(t, d.DNS, wish(coord.DNS{Search: []string{"corp.example"}}))
		w.write(newer)
		w.close()
		wantSet(t, newer)
		wantGiven(t, d.DNS, newer)
	})
	t.Run("and the daemon ends at once", func(t *testing.T) {
		d := asking(t)
		w := cut(t)
		apply(t, d.DNS, wish(coord.DNS{}))
		d.turn(maxWriting)
		apply(t, d.DNS, wish(coord.DNS{}))
		w.write(newer)
		w.close()
		wantGiven(t, d.DNS, newer)
	})
	t.Run("while ours is taken out", func(t *testing.T) {
		d := asking(t)
		ours := read(t, confPath)
		just := func() {
			w := cut(t)
			go func() { // with our block, which it has read
				w.write(ours + "options edns0\n")
				w.close()
			}()
		}
		d.before.Store(&just)
		wantGiven(t, d.DNS, theirs+"options edns0\n")
	})
}

func TestWithoutLeasesAYoungTextWithoutAnEndIsHalfOfOne(t *testing.T) {
	for _, c := range []struct {
		text string
		age  time.Duration
		want bool
	}{
		{"", 0, true},
		{"nameserver 192.0.2.5", young - 1, true},
		{"nameserver 192.0.2.53", young, false}, // as a person left it
		{"", young, false},
		{theirs, 0, false},
		{"", -time.Hour, false}, // the clock was turned
	} {
		if got := half(c.text, c.age); got != c.want {
			t.Errorf("%q, %s old: %v", c.text, c.age, got)
		}
	}
}
