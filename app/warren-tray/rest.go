package main

import (
	"context"
	"sync"
	"time"

	"fyne.io/fyne/v2"
	"github.com/go-gl/glfw/v3.3/glfw"
)

const (
	// frame is Fyne's own, while a person does something.
	frame = time.Second / 60
	// lively is how long after that things still move: a caret blinks, a button fades.
	lively = 10 * time.Second
	// nap is how long the window then sleeps at a time. What a person does, what the daemon says and a desktop that becomes dark
	// wake it at once; its end is for what nobody thought of. Each costs some seventy wake-ups of Go's own, within 10 ms.
	nap = 5 * time.Minute
)

// rest has Fyne's loop wait for what happens, in place of looking sixty times a second whether something did: a window that
// nobody touches must not wake a laptop.
type rest struct {
	mu      sync.Mutex
	on      bool // the loop runs: it can be woken
	pending int  // what is to be done by the loop
	moves   bool // something in the window moves by itself
}

// do has Fyne's goroutine do something.
func (r *rest) do(f func()) {
	r.mu.Lock()
	r.pending++
	r.mu.Unlock()
	fyne.Do(func() {
		r.mu.Lock()
		r.pending--
		r.mu.Unlock()
		f()
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.on {
		glfw.PostEmptyEvent()
	}
}

// move says whether something in the window moves by itself.
func (r *rest) move(moves bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moves = moves
}

// end is called before the loop ends, on Fyne's goroutine.
func (r *rest) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.on = false
}

// run has the loop wait, from when the window is shown until ctx ends.
func (r *rest) run(ctx context.Context) {
	r.mu.Lock()
	r.on = true
	r.mu.Unlock()
	for last := time.Now(); ctx.Err() == nil; {
		limit := frame
		if time.Since(last) > lively && !r.moving() {
			limit = nap
		}
		fyne.DoAndWait(func() {
			if woken := r.wait(limit); woken {
				last = time.Now()
			}
		})
	}
}

func (r *rest) moving() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moves
}

// wait returns when something happens, or after a while. It tells whether a person did it.
func (r *rest) wait(limit time.Duration) (woken bool) {
	r.mu.Lock()
	waits := r.on && r.pending == 0
	r.mu.Unlock()
	if !waits {
		return false
	}
	began := time.Now()
	glfw.WaitEventsTimeout(limit.Seconds())
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pending == 0 && time.Since(began) < limit*9/10
}
