package lab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
)

func TestAProgramsLabIsCleanedUpHoweverItEnds(t *testing.T) {
	lab.NeedRoot(t)
	for name, c := range map[string]struct {
		end  func(context.CancelFunc, lab.TB)
		says string // "" if it ends well
	}{
		"by returning":       {func(context.CancelFunc, lab.TB) {}, ""},
		"by failing":         {func(_ context.CancelFunc, t lab.TB) { t.Fatalf("no %s", "luck") }, "no luck"},
		"by a panic":         {func(context.CancelFunc, lab.TB) { panic("oh") }, "panic: oh"},
		"by an interruption": {func(cancel context.CancelFunc, _ lab.TB) { cancel(); select {} }, "interrupted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var said bytes.Buffer
			var ns, dir string
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			err := lab.Run(ctx, "demo", &said, func(_ context.Context, t lab.TB) {
				alice := lab.New(t).Internet().Host("alice")
				ns, dir = alice.Namespace(), alice.Dir()
				alice.Start("sleep", "60")
				c.end(cancel, t)
			})
			if (err == nil) != (c.says == "") || !strings.Contains(said.String(), c.says) {
				t.Errorf("ended with %v and said %q, want %q", err, said.String(), c.says)
			}
			for _, path := range []string{"/run/netns/" + ns, dir} {
				if _, err := os.Stat(path); err == nil {
					t.Errorf("%s is still there", path)
				}
			}
		})
	}
}

func TestWhatNoProcessMayPrintFailsTheTest(t *testing.T) {
	lab.NeedRoot(t)
	for text, ok := range map[string]bool{
		"WARNING: DATA RACE":               false,
		"panic: runtime error":             false,
		"fatal error: all goroutines":      false,
		"level=INFO msg=panic: is a word.": true,
	} {
		var said bytes.Buffer
		err := lab.Run(context.Background(), "demo", &said, func(_ context.Context, t lab.TB) {
			alice := lab.New(t).Internet().Host("alice")
			if err := alice.Start("echo", text).Wait(5 * time.Second); err != nil {
				t.Fatalf("%v", err)
			}
		})
		if (err == nil) != ok || !ok && !strings.Contains(said.String(), text) {
			t.Errorf("%q: ended with %v and said %q", text, err, said.String())
		}
	}
}

func TestAFailedTestShowsWhatItsProcessesWrote(t *testing.T) {
	lab.NeedRoot(t)
	var said bytes.Buffer
	err := lab.Run(context.Background(), "demo", &said, func(_ context.Context, t lab.TB) {
		alice := lab.New(t).Internet().Host("alice")
		alice.Start("sh", "-c", "echo my last words; sleep 60").WaitOutput("words", 5*time.Second)
		t.Errorf("something else is wrong")
	})
	if err == nil || !strings.Contains(said.String(), "my last words") {
		t.Errorf("ended with %v and said %q", err, said.String())
	}
}

// leaver is a test that is not root.
type leaver struct{ skipped, failed bool }

func (l *leaver) Helper()      {}
func (l *leaver) Skip(...any)  { l.skipped = true }
func (l *leaver) Fatal(...any) { l.failed = true }

func TestATestThatNeedsRootIsSkippedOnADeskAndFailsInCI(t *testing.T) {
	if os.Geteuid() == 0 {
		var l leaver
		if lab.NeedRoot(&l); l.skipped || l.failed {
			t.Errorf("root is turned away: %+v", l)
		}
		// The rest is shown by the same process as nobody.
		cmd := exec.Command(copyOfThisTest(t), "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Dir = "/"
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("as nobody: %v\n%s", err, out)
		}
		return
	}
	for _, c := range []struct {
		ci, noskip string
		want       leaver
	}{
		{"", "", leaver{skipped: true}},
		{"true", "", leaver{failed: true}},
		{"", "1", leaver{failed: true}},
	} {
		t.Setenv("CI", c.ci)
		t.Setenv("WARREN_NOSKIP", c.noskip)
		var l leaver
		if lab.NeedRoot(&l); l.failed != c.want.failed || !l.failed && !l.skipped {
			t.Errorf("CI=%q WARREN_NOSKIP=%q: %+v, want %+v", c.ci, c.noskip, l, c.want)
		}
	}
}

func TestEventuallyEndsWithTheLastError(t *testing.T) {
	var said bytes.Buffer
	tries := 0
	err := lab.Run(context.Background(), "demo", &said, func(_ context.Context, t lab.TB) {
		lab.Eventually(t, time.Second, func() error {
			if tries++; tries < 3 {
				return errors.New("not yet")
			}
			return nil
		})
		lab.Eventually(t, 30*time.Millisecond, func() error { return errors.New("never") })
	})
	if err == nil || tries != 3 || !strings.Contains(said.String(), fmt.Sprintf("not within %v: never", 30*time.Millisecond*lab.Patience)) {
		t.Errorf("ended with %v after %d tries and said %q", err, tries, said.String())
	}
}

// copyOfThisTest copies the test's program to where every user can run it.
func copyOfThisTest(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lab-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	text, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "test")
	if err := errors.Join(os.WriteFile(name, text, 0o755), os.Chmod(dir, 0o755), os.Chmod(name, 0o755)); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAProgramThatGoesOnMakingMachinesLeavesNone(t *testing.T) {
	lab.NeedRoot(t)
	var first string
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan struct{})
	err := lab.Run(ctx, "demo", new(bytes.Buffer), func(_ context.Context, t lab.TB) {
		defer close(ended)
		inet := lab.New(t).Internet()
		for i := 0; ; i++ {
			m := inet.Host(fmt.Sprintf("host%d", i))
			if i == 0 {
				first = m.Namespace()
				cancel()
			}
		}
	})
	<-ended
	if err == nil {
		t.Error("it ended well")
	}
	left, _ := filepath.Glob("/run/netns/" + strings.TrimSuffix(first, "host0") + "*")
	if len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
