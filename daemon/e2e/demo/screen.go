package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	spinPeriod = 100 * time.Millisecond
	textWidth  = 68 // of a step, before its time
)

var spins = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

// screen shows progress: a line for every step, with a spinner while it goes on if there is a terminal. As a Writer it
// takes what others have to say, and shows that after the step that it belongs to.
type screen struct {
	terminal bool

	mu    sync.Mutex
	w     io.Writer
	step  *step // the one that goes on
	held  bytes.Buffer
	muted bool
}

// step is a step that goes on.
type step struct {
	text  string
	begun time.Time
	quit  chan struct{}
	done  chan struct{}
}

func newScreen(f *os.File) *screen { return &screen{w: f, terminal: isTerminal(f)} }

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Write implements io.Writer.
func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.muted:
	case s.step != nil:
		s.held.Write(b)
	default:
		_, _ = s.w.Write(b)
	}
	return len(b), nil
}

// mute drops everything from now on but what say shows.
func (s *screen) mute() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.muted = true
	s.held.Reset()
}

// say shows text between steps.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, format+"\n", args...)
}

// quote shows what a command wrote, below the command and where it ran.
func (s *screen) quote(where, command, output string) {
	var b strings.Builder
	b.WriteString("    " + s.dim(where+"$ ") + s.bold(command) + "\n")
	for line := range strings.Lines(strings.TrimRight(output, "\n")) {
		b.WriteString(strings.TrimRight("    "+line, " \n") + "\n")
	}
	s.say("%s", b.String())
}

// do shows that f goes on and then how long it took. If f does not return (the lab's Fatalf, a panic), the step is
// shown as failed.
func (s *screen) do(text string, f func()) {
	s.begin(text)
	whole := false
	defer func() { s.end(whole) }()
	f()
	whole = true
}

func (s *screen) begin(text string) {
	st := &step{text: text, begun: time.Now(), quit: make(chan struct{}), done: make(chan struct{})}
	s.mu.Lock()
	s.step = st
	s.mu.Unlock()
	go func() {
		defer close(st.done)
		if s.terminal {
			s.spin(st)
		}
	}()
}

// spin draws until the step ends.
func (s *screen) spin(st *step) {
	tick := time.NewTicker(spinPeriod)
	defer tick.Stop()
	for i := 0; ; i++ {
		s.mu.Lock()
		fmt.Fprintf(s.w, "\r\x1b[K%s", s.line(st, s.paint("36", spins[i%len(spins)])))
		s.mu.Unlock()
		select {
		case <-tick.C:
		case <-st.quit:
			return
		}
	}
}

// end ends the step that goes on, if any.
func (s *screen) end(whole bool) {
	s.mu.Lock()
	st := s.step
	s.mu.Unlock()
	if st == nil {
		return
	}
	close(st.quit)
	<-st.done
	s.mu.Lock()
	defer s.mu.Unlock()
	mark := s.paint("32", "✓")
	if !whole {
		mark = s.paint("31", "✗")
	}
	if s.terminal {
		fmt.Fprint(s.w, "\r\x1b[K")
	}
	fmt.Fprintln(s.w, s.line(st, mark))
	s.step = nil
	_, _ = s.held.WriteTo(s.w)
}

func (s *screen) line(st *step, mark string) string {
	pad := strings.Repeat(" ", max(1, textWidth-utf8.RuneCountInString(st.text)))
	return fmt.Sprintf("  %s %s%s%s", mark, st.text, pad, s.dim(fmt.Sprintf("%6s", seconds(time.Since(st.begun)))))
}

func (s *screen) dim(text string) string { return s.paint("2", text) }

func (s *screen) bold(text string) string { return s.paint("1", text) }

func (s *screen) paint(color, text string) string {
	if !s.terminal || os.Getenv("NO_COLOR") != "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// seconds shows a duration as people time things: "0.34 s", "12.1 s".
func seconds(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
