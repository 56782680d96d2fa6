package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
)

// alone is how long it may take where nobody watches.
const alone = 3 * time.Minute

// The exit codes.
const (
	exitSo          = 0 // all of it was so
	exitNotSo       = 1
	exitUsage       = 2
	exitInterrupted = 130 // 128 + SIGINT, as shells have it
)

var (
	errInterrupted = errors.New("interrupted")
	errLeft        = errors.New("something is left")
)

func main() {
	if len(os.Args) > 1 {
		os.Exit(visit(os.Args[1], os.Args[2:]))
	}
	os.Exit(run())
}

func run() int {
	s := newScreen(os.Stdout)
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return exitNotSo
	}
	d := &demo{
		screen:   s,
		programs: mesh.Programs(filepath.Dir(self)),
		stays:    s.terminal && isTerminal(os.Stdin),
		person:   os.Getenv("BROWSER") == "1", // elsewhere this variable names a browser
	}
	if missing := d.missing(); missing != "" {
		fmt.Fprintf(os.Stderr, "demo: there is no %s; 'make demo' builds and runs everything\n", missing)
		return exitUsage
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	defer d.onSignal(func() { cancel(errInterrupted) })()
	if !d.stays {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, alone, fmt.Errorf("not done within %v", alone))
		defer stop()
	}
	return d.verdict(lab.Run(ctx, "the demo", s, d.story))
}

// onSignal calls f when the demo is to end early: Ctrl-C, a terminal or a reader of the output that went away. It goes
// on catching signals until the end, since a second Ctrl-C must not leave half of the lab behind.
func (d *demo) onSignal(f func()) (stop func()) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-signals:
				if !d.finished.Load() {
					d.screen.mute() // what breaks from now on, we broke
				}
				d.interrupted.Store(true)
				f()
			case <-quit:
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(quit)
		<-done
	}
}

// verdict says how it went. Everything is cleaned up when it is called.
func (d *demo) verdict(err error) int {
	d.screen.end(false) // the step at which it was taken down
	gone := "The network, its processes and its files are gone."
	if left := d.left(); len(left) > 0 {
		err, gone = errLeft, "These are left, and go when a demo or a test starts next: "+strings.Join(left, ", ")
	}
	took := seconds(time.Since(d.begun))
	switch {
	case d.finished.Load() && err == nil:
		if d.stays {
			d.screen.say("")
		}
		d.screen.say("All of it was so (%s). %s", took, gone)
		return exitSo
	case d.interrupted.Load() && !d.finished.Load() && !errors.Is(err, errLeft):
		d.screen.say("\nInterrupted. %s", gone)
		return exitInterrupted
	default:
		d.screen.say("\nThe demo failed after %s: the lines above say how. %s", took, gone)
		return exitNotSo
	}
}

// left is what there still is of the lab, though it was to be taken down.
func (d *demo) left() []string {
	var left []string
	for _, dir := range []string{"/run/netns", os.TempDir()} {
		found, _ := filepath.Glob(filepath.Join(dir, fmt.Sprintf("wlab-%d-*", os.Getpid()))) // the pattern is well-formed
		left = append(left, found...)
	}
	return left
}

// missing names a program that is not beside this one.
func (d *demo) missing() string {
	for _, name := range []string{"warren", "warrend", "warren-coord", "warren-relay"} {
		path := filepath.Join(string(d.programs), name)
		if fi, err := os.Stat(path); err != nil || fi.Mode()&0o111 == 0 {
			return path
		}
	}
	return ""
}
