package lab_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
)

func TestRunReturnsOutputAndExitCode(t *testing.T) {
	alice := lab.New(t).Internet().Host("alice")
	out, err := alice.Run("sh", "-c", "echo out; echo err >&2; exit 3")
	if out != "out\n" {
		t.Errorf("standard output is %q", out)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(err.Error(), "err\n") {
		t.Errorf("got %v", err)
	}
	cmd := alice.Command("cat")
	cmd.Stdin = strings.NewReader("in")
	if out, err := alice.RunCmd(cmd); out != "in" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	if _, err := alice.Run("no-such-command"); err == nil {
		t.Error("a missing command is no error")
	}
}

func TestAProcessIsStoppedKilledAndPaused(t *testing.T) {
	alice := lab.New(t).Internet().Host("alice")
	const loop = `trap 'echo bye; exit 0' TERM; echo ready; while :; do echo tick; sleep 0.02; done`
	p := alice.Start("sh", "-c", loop)
	p.WaitOutput("ready", 5*time.Second)
	if err := p.Stop(); err != nil {
		t.Errorf("stopped: %v", err)
	}
	if !strings.HasSuffix(p.Output(), "bye\n") || p.Running() {
		t.Errorf("running: %v, wrote %q", p.Running(), p.Output())
	}

	p = alice.Start("sh", "-c", loop)
	p.WaitOutput("ready", 5*time.Second)
	p.Pause()
	time.Sleep(50 * time.Millisecond)
	before := p.Output()
	time.Sleep(200 * time.Millisecond)
	if p.Output() != before {
		t.Error("a paused process writes")
	}
	p.Resume()
	lab.Eventually(t, 5*time.Second, func() error {
		if p.Output() == before {
			return errors.New("a resumed process does not write")
		}
		return nil
	})
	p.Kill9()
	if p.Running() || p.Wait(0) == nil || strings.Contains(p.Output(), "bye") {
		t.Errorf("killed: running %v, %v, wrote %q", p.Running(), p.Wait(0), p.Output())
	}
}

func TestAProcessesUseIsMeasured(t *testing.T) {
	alice := lab.New(t).Internet().Host("alice")
	p := alice.Start("sh", "-c", "while :; do :; done")
	lab.Eventually(t, 10*time.Second, func() error {
		if used := p.CPU(); used < 100*time.Millisecond {
			return fmt.Errorf("a busy loop used %v", used)
		}
		return nil
	})
	if rss := p.RSS(); rss < 100<<10 || rss > 100<<20 {
		t.Errorf("a shell has %d bytes", rss)
	}
}

// TestHelperKilledLab is no test of its own: it is the process that the next one kills.
func TestHelperKilledLab(t *testing.T) {
	if os.Getenv("WARREN_LAB_TO_KILL") == "" {
		return
	}
	alice := lab.New(t).Internet().Host("alice")
	fmt.Printf("child %d\n", alice.Start("sleep", "600").Pid())
	time.Sleep(time.Minute)
}

func TestProcessesDieWithTheTestThatStartedThem(t *testing.T) {
	lab.NeedRoot(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperKilledLab$")
	cmd.Env = append(os.Environ(), "WARREN_LAB_TO_KILL=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscanf(out, "child %d\n", &pid); err != nil {
		t.Fatal(err)
	}
	status := fmt.Sprintf("/proc/%d/status", pid)
	if _, err := os.Stat(status); err != nil {
		t.Fatalf("the child does not run before: %v", err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	lab.Eventually(t, 5*time.Second, func() error {
		text, err := os.ReadFile(status)
		if err == nil && !strings.Contains(string(text), "State:\tZ") {
			return fmt.Errorf("process %d goes on", pid)
		}
		return nil
	})
	lab.New(t) // removes the namespaces that it left
	left, _ := os.ReadDir("/run/netns")
	for _, e := range left {
		if strings.HasPrefix(e.Name(), fmt.Sprintf("wlab-%d-", cmd.Process.Pid)) {
			t.Errorf("%s is still there", e.Name())
		}
	}
}

func TestACaptureCountsWhatMatches(t *testing.T) {
	s := newSite(t)
	c := s.server.Capture("icmp")
	if got := c.Count(); got != 0 {
		t.Errorf("%d packets before any: %v", got, c.Packets())
	}
	pings(t, "ping", s.alice, s.server.Addr(), true)
	passes(t, "not ICMP", s.alice, s.to, 10, true)
	if got := c.Count(); got != 2 {
		t.Errorf("want a request and a reply, got %v", c.Packets())
	}
	fault := s.net.Block(s.alice, s.server)
	pings(t, "blocked", s.alice, s.server.Addr(), false)
	fault.Heal()
	if got := c.Stop(); got != 2 {
		t.Errorf("%d packets after a blocked ping", got)
	}
}

func TestSocketsOfAMachineAreOnItsNetwork(t *testing.T) {
	s := newSite(t)
	l, err := s.server.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := s.alice.Dial("tcp", netip.AddrPortFrom(s.server.Addr(), 80).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if from := conn.LocalAddr().String(); !strings.HasPrefix(from, s.alice.Addr().String()+":") {
		t.Errorf("alice dials from %s", from)
	}
}
