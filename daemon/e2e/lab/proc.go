package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// runLimit is how long a command of Run may take: far longer than any should.
	runLimit = time.Minute
	// stopLimit is how long a process may take to end after SIGTERM.
	stopLimit = 10 * time.Second
	// tailLines is how much of a process's output a failed test shows.
	tailLines = 120
)

// Command prepares a command for RunCmd or StartCmd, for those that need an
// environment or an input of their own. Its directory is the machine's.
func (m *Machine) Command(command ...string) *exec.Cmd {
	m.net.t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = m.Dir()
	return cmd
}

// Run runs a command on the machine and returns its standard output. The error, if
// any, holds all output, and wraps the *exec.ExitError with the exit code.
func (m *Machine) Run(command ...string) (string, error) {
	m.net.t.Helper()
	return m.RunCmd(m.Command(command...))
}

// RunCmd is Run for a command from Command.
func (m *Machine) RunCmd(cmd *exec.Cmd) (string, error) {
	var stdout bytes.Buffer
	p := &Proc{m: m, cmd: cmd, done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = io.MultiWriter(&stdout, &p.log)
	}
	err := p.start()
	if err == nil {
		err = p.Wait(runLimit)
		p.kill()
		p.judge(m.net.t)
	}
	if err != nil {
		return stdout.String(), fmt.Errorf("%s on %s: %w\n%s", strings.Join(cmd.Args, " "), m.name, err, p.log.String())
	}
	return stdout.String(), nil
}

// MustRun is Run for a command without which the test cannot go on.
func (m *Machine) MustRun(command ...string) string {
	m.net.t.Helper()
	out, err := m.Run(command...)
	m.net.must(err)
	return out
}

// Proc is a process on a machine. It ends with the lab at the latest.
type Proc struct {
	m    *Machine
	cmd  *exec.Cmd
	log  output
	done chan struct{} // closed when it has ended and err is set
	err  error
}

// Start starts a command on the machine. Its output is kept, and shown if the test fails.
func (m *Machine) Start(command ...string) *Proc {
	m.net.t.Helper()
	return m.StartCmd(m.Command(command...))
}

// StartCmd is Start for a command from Command.
func (m *Machine) StartCmd(cmd *exec.Cmd) *Proc {
	n := m.net
	n.t.Helper()
	p := &Proc{m: m, cmd: cmd, done: make(chan struct{})}
	n.must(p.start())
	n.mu.Lock()
	defer n.mu.Unlock()
	n.procs = append(n.procs, p)
	return p
}

func (p *Proc) start() error {
	if p.cmd.Stdout == nil {
		p.cmd.Stdout = &p.log
	}
	if p.cmd.Stderr == nil {
		p.cmd.Stderr = &p.log
	}
	// A group of its own: Ctrl-C is for the test, and children end with their parent.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// A grandchild that keeps the output open must not keep Wait.
	p.cmd.WaitDelay = time.Second
	if err := p.m.net.spawn.start(p.m.ns, p.cmd); err != nil {
		return err
	}
	go func() {
		if err := p.cmd.Wait(); !errors.Is(err, exec.ErrWaitDelay) {
			p.err = err
		}
		close(p.done)
	}()
	return nil
}

// String returns the command's name and its machine.
func (p *Proc) String() string {
	return filepath.Base(p.cmd.Path) + " on " + p.m.name
}

// Pid returns its process id, the same in every namespace of the lab.
func (p *Proc) Pid() int { return p.cmd.Process.Pid }

// Running reports whether it has not ended.
func (p *Proc) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// errTooLong is returned by Wait for a process that goes on.
var errTooLong = errors.New("still running")

// Wait waits for its end and returns how it ended: nil for exit code 0. If it goes
// on for longer than d, the error says so.
func (p *Proc) Wait(d time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(d * Patience):
		return fmt.Errorf("%v after %v: %w", p, d*Patience, errTooLong)
	}
}

// Signal sends a signal to it and its children. One that has ended gets none.
func (p *Proc) Signal(sig syscall.Signal) {
	if p.Running() {
		_ = syscall.Kill(-p.Pid(), sig) // it may end meanwhile
	}
}

// Stop asks it to end (SIGTERM) and returns how it ended. The test fails if it does not.
func (p *Proc) Stop() error {
	p.m.net.t.Helper()
	p.Signal(syscall.SIGTERM)
	err := p.Wait(stopLimit)
	if errors.Is(err, errTooLong) {
		p.m.net.t.Errorf("%v does not end within %v of SIGTERM", p, stopLimit)
		p.kill()
	}
	return err
}

// Kill9 kills it and waits until it is gone.
func (p *Proc) Kill9() { p.kill() }

func (p *Proc) kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Pause stops it where it is (SIGSTOP), until Resume. It returns when the process stands still, which on a busy machine comes later
// than the signal.
func (p *Proc) Pause() {
	t := p.m.net.t
	t.Helper()
	p.Signal(syscall.SIGSTOP)
	Eventually(t, stopLimit, func() error {
		if state := p.stat()[0]; state != "T" && p.Running() {
			return fmt.Errorf("%v is in state %s after SIGSTOP", p, state)
		}
		return nil
	})
}

// Resume lets it go on.
func (p *Proc) Resume() { p.Signal(syscall.SIGCONT) }

// Output returns what it wrote so far, to standard output and standard error.
func (p *Proc) Output() string { return p.log.String() }

// WaitOutput waits until it has written text. The test ends if it does not within d,
// or if the process ends before.
func (p *Proc) WaitOutput(text string, d time.Duration) {
	t := p.m.net.t
	t.Helper()
	Eventually(t, d, func() error {
		running := p.Running() // before looking: the last words count
		if strings.Contains(p.Output(), text) {
			return nil
		}
		if !running {
			t.Fatalf("%v has ended (%v) without writing %q:\n%s", p, p.err, text, p.tail())
		}
		return fmt.Errorf("%v has not written %q:\n%s", p, text, p.tail())
	})
}

// judge fails the test for what no process may ever print.
func (p *Proc) judge(t TB) {
	for _, bad := range []string{"WARNING: DATA RACE", "\npanic: ", "\nfatal error: "} {
		if at := strings.Index("\n"+p.Output(), bad); at >= 0 {
			report := ("\n" + p.Output())[at:]
			t.Errorf("%v: %s", p, report[:min(len(report), 4000)])
		}
	}
}

// showTail logs the end of its output.
func (p *Proc) showTail(t TB) {
	t.Logf("--- %v (pid %d, %v):\n%s", p, p.Pid(), p.cmd.ProcessState, p.tail())
}

func (p *Proc) tail() string {
	lines := strings.Split(strings.TrimSpace(p.Output()), "\n")
	if cut := len(lines) - tailLines; cut > 0 {
		lines = append([]string{fmt.Sprintf("(%d lines before)", cut)}, lines[cut:]...)
	}
	return strings.Join(lines, "\n")
}

// output collects what a process writes while others read it.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
