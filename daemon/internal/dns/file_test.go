package dns

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/daemon/internal/dns/hostmode"
	"github.com/warren-mesh/warren/daemon/internal/journal"
	"github.com/warren-mesh/warren/ipc"
)

const theirs = "# by hand\nsearch lan.example\nnameserver 192.0.2.53\noptions timeout:2\n"

var found = map[string]string{"bob.warren.internal": "100.64.0.2", "bob": "100.64.0.2", "www.example.com": "198.51.100.80"}

func TestALinkThatLeadsNowhereIsSaid(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "none", "stub-resolv.conf")
	if err := writeConf(gone, "nameserver 192.0.2.1\n"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "is a link to "+gone+", where there is no folder") {
		t.Errorf("got %v", err)
	}
}

func TestAResolvConfOfNobodyGetsABlockAndIsGivenBack(t *testing.T) {
	newHost(t)
	pub := serveNames(t, "192.0.2.53", "198.51.100.80")
	write(t, confPath, theirs)
	if err := os.Chmod(confPath, 0o640); err != nil {
		t.Fatal(err)
	}
	d := openDNS(t)
	apply(t, d, wish(coord.DNS{}))
	if s := d.Status().DNS; s.Mode != "resolv.conf" || s.Reason != "/etc/resolv.conf is an ordinary file" || s.Upstreams[0].Servers[0] != "192.0.2.53" || !s.Upstreams[0].Host {
		t.Errorf("status %+v", s)
	}
	wantResolved(t, found)
	if got := resolve("nobody.warren.internal"); got != "NXDOMAIN" {
		t.Errorf("nobody: %s", got)
	}
	if names := pub.leaked(); names != nil {
		t.Errorf("the public nameserver was asked for %v", names)
	}
	// Somebody adds a nameserver and an option while our block is there: both stay when it goes.
	write(t, confPath, strings.Replace(read(t, confPath), "192.0.2.53", "192.0.2.54", 1)+"options edns0\n")
	serveNames(t, "192.0.2.54", "198.51.100.81")
	began := time.Now()
	wantResolved(t, map[string]string{"new.example.com": "198.51.100.81"})
	t.Logf("the changed upstream was followed after %v (promised: %s)", time.Since(began), followTime)
	d.Close()
	if got, want := read(t, confPath), strings.Replace(theirs, "53", "54", 1)+"options edns0\n"; got != want {
		t.Errorf("given back:\n%s\nwant:\n%s", got, want)
	}
	if info, err := os.Stat(confPath); err != nil || info.Mode() != 0o640 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
}

func TestAnotherProgramsFileIsTakenUpThreeTimesAndThenLeftToIt(t *testing.T) {
	newHost(t)
	serveNames(t, "192.0.2.53", "198.51.100.80")
	write(t, confPath, theirs)
	d := openDNS(t)
	apply(t, d, wish(coord.DNS{}))
	for i := range hostmode.MaxAgain {
		text := strings.Replace(theirs, "by hand", "by hand "+strconv.Itoa(i), 1)
		write(t, "/etc/new", text)
		if err := os.Rename("/etc/new", confPath); err != nil {
			t.Fatal(err)
		}
		eventually(t, "set again", func() string {
			if got := read(t, confPath); hostmode.Strip(got) != text || got == text {
				return got
			}
			return ""
		})
	}
	write(t, confPath, theirs)
	eventually(t, "it is reported", func() string {
		for _, p := range d.Status().Problems {
			if p.Code == ipc.ProblemDNSContested {
				return ""
			}
		}
		return "no problem"
	})
	apply(t, d, wish(coord.DNS{}), ipc.ProblemDNSContested) // the same wish is no reason
	if got := read(t, confPath); got != theirs {
		t.Errorf("their file has become\n%s", got)
	}
	// Another wish is.
	apply(t, d, wish(coord.DNS{Search: []string{"corp.example"}}))
	if got := read(t, confPath); !strings.Contains(got, "search warren.internal corp.example lan.example") {
		t.Errorf("got\n%s", got)
	}
}

func TestTheHostsDNSIsLeftAloneIfSoWished(t *testing.T) {
	newHost(t)
	write(t, confPath, theirs)
	d := openDNS(t)
	w := wish(coord.DNS{})
	apply(t, d, w)
	w.Accept = false
	apply(t, d, w)
	if got := read(t, confPath); got != theirs {
		t.Errorf("got\n%s", got)
	}
	if s := d.Status().DNS; s.Mode != "off" || !strings.Contains(s.Reason, "accept-dns") {
		t.Errorf("status %+v", s)
	}
	w.Accept = true
	apply(t, d, w)
	wantResolved(t, map[string]string{"bob": "100.64.0.2"})
}

// TestFilesThatAreNotWritableInTheUsualWay: a symbolic link stays one, a mounted file is written in place, what is
// immutable is a problem, and what was not there is gone afterwards.
func TestFilesThatAreNotWritableInTheUsualWay(t *testing.T) {
	newHost(t)
	for name, c := range map[string]struct {
		make  func()
		codes []string
		after func() string
		want  string
	}{
		"a link": {
			func() { write(t, "/run/theirs", theirs); sh(t, "ln -s ../run/theirs "+confPath) }, nil,
			func() string { to, _ := os.Readlink(confPath); return to + " " + read(t, "/run/theirs") }, "../run/theirs " + theirs,
		},
		"a mount": {
			func() {
				write(t, "/run/mounted", theirs)
				write(t, confPath, "")
				sh(t, "mount --bind /run/mounted "+confPath)
			}, nil,
			func() string { s := read(t, "/run/mounted"); sh(t, "umount "+confPath); return s }, theirs,
		},
		"a mount that is read-only": {
			func() {
				write(t, "/run/mounted", theirs)
				write(t, confPath, "")
				sh(t, "mount --bind /run/mounted "+confPath+" && mount -o remount,bind,ro "+confPath)
			},
			[]string{ipc.ProblemDNSHost},
			func() string { s := read(t, confPath); sh(t, "umount "+confPath); return s }, theirs,
		},
		"immutable": { // as people make it who had enough of programs that write it
			func() { write(t, confPath, theirs); sh(t, "chattr +i "+confPath) },
			[]string{ipc.ProblemDNSHost},
			func() string {
				s := read(t, confPath) + sh(t, "lsattr "+confPath+" | cut -c5")
				sh(t, "chattr -i "+confPath)
				return s
			}, theirs + "i\n",
		},
		"nothing":         {func() {}, nil, func() string { _, err := os.Lstat(confPath); return strconv.FormatBool(errors.Is(err, os.ErrNotExist)) }, "true"},
		"a directory":     {func() { _ = os.Mkdir(confPath, 0o755) }, []string{ipc.ProblemDNSHost}, func() string { return "" }, ""},
		"no last newline": {func() { write(t, confPath, "nameserver 192.0.2.53") }, nil, func() string { return read(t, confPath) }, "nameserver 192.0.2.53"},
	} {
		t.Run(name, func(t *testing.T) {
			c.make()
			defer os.RemoveAll(confPath)
			d := openDNS(t)
			apply(t, d, wish(coord.DNS{}), c.codes...)
			if c.codes == nil {
				if got := resolve("bob"); got != "100.64.0.2" {
					t.Errorf("bob: %s in\n%s", got, read(t, confPath))
				}
			}
			d.Close()
			if got := c.after(); got != c.want {
				t.Errorf("afterwards:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
}

func TestAServerOnPort53IsAProblemInWords(t *testing.T) {
	newHost(t)
	write(t, confPath, theirs)
	pc, err := net.ListenPacket("udp4", "0.0.0.0:53")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	w := wish(coord.DNS{})
	w.Servers = w.Servers[:1]
	d := openDNS(t)
	apply(t, d, w, ipc.ProblemDNSPort)
	if got := read(t, confPath); got != theirs {
		t.Errorf("the host was told to ask nobody:\n%s", got)
	}
}

// dieWhileApplying is this test program run again: it kills itself before its at-th change of the host.
func dieWhileApplying(dir, at string) {
	last, _ := strconv.Atoi(at)
	j, err := journal.Open(filepath.Join(dir, "journal"), nil)
	if err != nil {
		panic(err)
	}
	d, err := Open(Config{Interface: link, Journal: j})
	if err != nil {
		panic(err)
	}
	steps := 0
	d.step = func() {
		if steps++; steps == last {
			p, _ := os.FindProcess(os.Getpid())
			_ = p.Kill()
			select {}
		}
	}
	for _, w := range []Wish{wish(coord.DNS{}), wish(coord.DNS{Nameservers: []string{"192.0.2.53"}, Search: []string{"corp.example"}})} {
		if _, err := d.Apply(context.Background(), w); err != nil {
			panic(err)
		}
	}
	w := wish(coord.DNS{})
	w.Accept = false
	if _, err := d.Apply(context.Background(), w); err != nil {
		panic(err)
	}
	os.Exit(3) // all its changes are made
}

// killAndRecover kills the program at each of its changes, and wants everything to be as before after recovering.
func killAndRecover(t *testing.T, fact func() string) {
	before := fact()
	for at := 1; ; at++ {
		dir := t.TempDir()
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "WARREN_TEST_DIE_IN="+dir, "WARREN_TEST_DIE_AT="+strconv.Itoa(at))
		out, err := cmd.CombinedOutput()
		finished := cmd.ProcessState.ExitCode() == 3
		if !finished && cmd.ProcessState.Exited() {
			t.Fatalf("at %d: %v: %s", at, err, out)
		}
		for range 2 { // twice is once
			j, err := journal.Open(filepath.Join(dir, "journal"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := j.Recover(t.Context(), Undo()); err != nil {
				t.Errorf("killed at %d: %v", at, err)
			}
			_ = j.Close()
			if got := fact(); got != before {
				t.Errorf("killed at %d: got\n%s\nwant\n%s", at, got, before)
			}
		}
		if finished {
			if at < 3 {
				t.Errorf("only %d changes", at-1)
			}
			t.Logf("killed at each of %d changes", at-1)
			return
		}
	}
}

func TestRecoverAfterAKillAtEachChangeOfAFile(t *testing.T) {
	newHost(t)
	write(t, confPath, theirs)
	killAndRecover(t, func() string { return read(t, confPath) + sh(t, "ls -la --time-style=+ /etc | grep resolv") })
}

func TestRecoverGivesBackWhatOthersWroteSince(t *testing.T) {
	newHost(t)
	write(t, confPath, theirs)
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	f := &file{records: newRecords(j, func() {}), path: confPath}
	if err := f.set(t.Context(), hostmode.NewPlan(wish(coord.DNS{}).Servers, "warren.internal", &coord.DNS{}, nil)); err != nil {
		t.Fatal(err)
	}
	write(t, confPath, "nameserver 198.51.100.53\n")
	if _, err := j.Recover(t.Context(), Undo()); err != nil {
		t.Fatal(err)
	}
	if got := read(t, confPath); got != "nameserver 198.51.100.53\n" {
		t.Errorf("got\n%s", got)
	}
}

// TestRecoverOnAFullDisk, where there is room for nothing new: neither for a line in the journal nor for a file beside.
func TestRecoverOnAFullDisk(t *testing.T) {
	newHost(t)
	disk := t.TempDir()
	sh(t, "mount -t tmpfs -o size=64k tmpfs "+disk)
	t.Cleanup(func() { sh(t, "umount "+disk) })
	write(t, disk+"/resolv.conf", theirs)
	sh(t, "ln -s "+disk+"/resolv.conf "+confPath)
	j, err := journal.Open(disk+"/journal", nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &file{records: newRecords(j, func() {}), path: confPath}
	if err := f.set(t.Context(), hostmode.NewPlan(wish(coord.DNS{}).Servers, "warren.internal", &coord.DNS{}, nil)); err != nil {
		t.Fatal(err)
	}
	for n := range 1000 { // until the journal's last page is full, too
		if _, err := j.Record(journal.Change{Kind: kindFile, Data: fileData{Path: disk + "/other" + strconv.Itoa(n), Target: disk + "/other"}}); err != nil {
			break
		}
		if n == 20 {
			_ = exec.Command("dd", "if=/dev/zero", "of="+disk+"/full").Run()
		}
	}
	_ = j.Close()
	if err := os.WriteFile(disk+"/more", []byte("x"), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	for range 2 {
		if j, err = journal.Open(disk+"/journal", nil); err != nil {
			t.Fatal(err)
		}
		if r, err := j.Recover(t.Context(), Undo()); err != nil || r.Left > 0 || len(j.Live()) > 0 {
			t.Errorf("%+v, %v; %d live", r, err, len(j.Live()))
		}
		_ = j.Close()
		if got := read(t, confPath); got != theirs {
			t.Errorf("got\n%s", got)
		}
	}
}
