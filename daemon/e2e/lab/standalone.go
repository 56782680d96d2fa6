package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// unwindLimit is how long f may take to return after its context has ended; then
// the lab is taken down under it.
const unwindLimit = 3 * time.Second

// Run gives a program a lab: it calls f with a TB whose Fatalf ends f and whose
// messages go to w, then cleans up, also when ctx ends (as with Ctrl-C) or f panics.
// It returns an error if f failed or was ended.
func Run(ctx context.Context, name string, w io.Writer, f func(context.Context, TB)) error {
	p := &program{name: name, w: w}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if r := recover(); r != nil {
				p.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}()
		f(ctx, p)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		select {
		case <-done:
		case <-time.After(unwindLimit):
			p.Errorf("%s was interrupted", name)
		}
	}
	p.cleanUp()
	if p.Failed() {
		return errors.New(name + " failed")
	}
	return nil
}

// program is a TB outside of package testing.
type program struct {
	name string

	mu       sync.Mutex
	w        io.Writer
	failed   bool
	cleanups []func()
}

func (p *program) Helper()      {}
func (p *program) Name() string { return p.name }

func (p *program) Logf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format+"\n", args...)
}

func (p *program) Errorf(format string, args ...any) {
	p.Logf(format, args...)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = true
}

func (p *program) Fatalf(format string, args ...any) {
	p.Errorf(format, args...)
	runtime.Goexit()
}

func (p *program) Failed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

func (p *program) Cleanup(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cleanups = append(p.cleanups, f)
}

// cleanUp runs the cleanups, the last one first, each even if another one fails.
func (p *program) cleanUp() {
	p.mu.Lock()
	cleanups := p.cleanups
	p.cleanups = nil
	p.mu.Unlock()
	for _, f := range slices.Backward(cleanups) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			f()
		}()
		<-done
	}
}
