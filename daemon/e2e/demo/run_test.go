package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/daemon/internal/tunnel"
)

// endLimit is how long a demo may take to clean up.
const endLimit = 30 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	mesh.Clean()
	os.Exit(code)
}

var program struct {
	sync.Once
	path string
	err  error
}

// buildDemo builds the demo beside the programs that it runs, as make demo does.
func buildDemo(t *testing.T) string {
	t.Helper()
	lab.NeedRoot(t)
	dir := string(mesh.Build(t))
	program.Do(func() {
		args := []string{"build"}
		if info, ok := debug.ReadBuildInfo(); ok {
			for _, s := range info.Settings {
				if s.Key == "-race" && s.Value == "true" {
					args = append(args, "-race")
				}
			}
		}
		program.path = filepath.Join(dir, "demo")
		out, err := exec.Command("go", append(args, "-o", program.path, ".")...).CombinedOutput()
		if err != nil {
			program.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if program.err != nil {
		t.Fatal(program.err)
	}
	return program.path
}

// demoRun is a demo that runs, and what it shows.
type demoRun struct {
	t    *testing.T
	cmd  *exec.Cmd
	tmp  string        // its temporary directory, in which nobody else has anything
	done chan struct{} // closed at its end

	mu  sync.Mutex
	out bytes.Buffer
}

// Write implements io.Writer.
func (r *demoRun) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.Write(b)
}

func (r *demoRun) output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.String()
}

// startDemo starts it. prepare may be nil.
func startDemo(t *testing.T, prepare func(r *demoRun)) *demoRun {
	t.Helper()
	tmp, err := os.MkdirTemp("", "wd") // t.TempDir is too long for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	r := &demoRun{t: t, cmd: exec.Command(buildDemo(t)), tmp: tmp, done: make(chan struct{})}
	r.cmd.Env = append(os.Environ(), "BROWSER=", "TMPDIR="+tmp)
	r.cmd.Stdout, r.cmd.Stderr = r, r
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if prepare != nil {
		prepare(r)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.done)
		_ = r.cmd.Wait() // how it ended is in ProcessState
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill() // if the test ended first
		<-r.done
		if t.Failed() {
			t.Logf("the demo showed:\n%s", r.output())
		}
	})
	return r
}

// waitFor waits until it shows what the expression finds, and returns its first group.
func (r *demoRun) waitFor(expression string, d time.Duration) string {
	r.t.Helper()
	want := regexp.MustCompile(expression)
	var found []string
	lab.Eventually(r.t, d, func() error {
		if found = want.FindStringSubmatch(r.output()); found != nil {
			return nil
		}
		select {
		case <-r.done:
			r.t.Fatalf("it ended without showing %q", expression)
		default:
		}
		return fmt.Errorf("it does not show %q", expression)
	})
	return found[len(found)-1]
}

// end waits for its end, proves that nothing is left of it, and returns its exit code.
func (r *demoRun) end(d time.Duration) int {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(d):
		r.t.Fatalf("it goes on after %v", d)
	}
	for _, thing := range r.leftovers() {
		r.t.Errorf("left behind: %s", thing)
	}
	return r.cmd.ProcessState.ExitCode()
}

// leftovers finds namespaces, files, processes and sockets of a demo that has ended.
func (r *demoRun) leftovers() []string {
	pid := r.cmd.Process.Pid
	lab := fmt.Sprintf("wlab-%d-", pid)
	var left []string
	for _, pattern := range []string{
		"/run/netns/" + lab + "*", r.tmp + "/*", tunnel.SocketDir + "/" + mesh.InterfacePrefix(pid) + "*",
	} {
		found, _ := filepath.Glob(pattern) // it is well-formed
		left = append(left, found...)
	}
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range commands {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), lab) {
			left = append(left, fmt.Sprintf("%s: %q", file, text))
		}
	}
	return left
}

// visit runs `demo MACHINE COMMAND…` beside the demo.
func (r *demoRun) visit(command ...string) (string, error) {
	cmd := exec.Command(r.cmd.Path, command...)
	cmd.Env = r.cmd.Env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// onTerminal gives the demo a terminal to run on, and returns the other end of it.
func (r *demoRun) onTerminal() *os.File {
	r.t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = terminal.Close() })
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr = terminal, terminal, terminal
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			if err != nil {
				return
			}
			_, _ = r.Write(buf[:n])
		}
	}()
	return master
}
