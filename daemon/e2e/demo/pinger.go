package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
)

// pingInterval is that of the ping that goes on: short enough to time a change, and what root may ask of ping.
const pingInterval = 50 * time.Millisecond

// pinger is the system's ping, going on, and what it says read as it comes.
type pinger struct {
	proc *lab.Proc

	mu      sync.Mutex
	partial []byte            // of a line
	sent    int               // the highest number seen, answered or not
	answers map[int]time.Time // when each was answered
}

func startPinger(m *lab.Machine, to netip.Addr) *pinger {
	p := &pinger{answers: map[int]time.Time{}}
	// -D: with times. -O: also says what is unanswered when the next one goes.
	cmd := m.Command("ping", "-n", "-D", "-O", "-i", fmt.Sprint(pingInterval.Seconds()), to.String())
	cmd.Stdout = p
	p.proc = m.StartCmd(cmd)
	return p
}

// stop ends the ping.
func (p *pinger) stop() {
	p.proc.Signal(syscall.SIGINT)
	_ = p.proc.Wait(time.Second) // the lab ends it otherwise
}

var pingLine = regexp.MustCompile(`^\[(\d+)\.(\d{6})\] (\d+ bytes from|no answer yet for) .*\bicmp_seq=(\d+)`)

// Write implements io.Writer, for ping's output.
func (p *pinger) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.partial = append(p.partial, b...)
	for {
		line, rest, whole := bytes.Cut(p.partial, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		p.read(line)
		p.partial = rest
	}
}

func (p *pinger) read(line []byte) {
	m := pingLine.FindSubmatch(line)
	if m == nil {
		return
	}
	sec, _ := strconv.ParseInt(string(m[1]), 10, 64)
	usec, _ := strconv.ParseInt(string(m[2]), 10, 64)
	seq, _ := strconv.Atoi(string(m[4])) // digits, by the expression
	p.sent = max(p.sent, seq)
	if m[3][0] != 'n' {
		p.answers[seq] = time.Unix(sec, usec*1000)
	}
}

// now is the number of the last packet that was sent.
func (p *pinger) now() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent
}

// flows tells whether the last n packets were answered, all of them sent after number from. The very last one may
// still be under way.
func (p *pinger) flows(from, n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent < from+n {
		return fmt.Errorf("ping has sent %d packets", p.sent)
	}
	for seq := p.sent - n; seq < p.sent; seq++ {
		if p.answers[seq].IsZero() {
			return fmt.Errorf("packet %d is unanswered", seq)
		}
	}
	return nil
}

// loss is what a ping lost while something changed.
type loss struct {
	sent, lost int
	silence    time.Duration // the longest between two answers
}

func (l loss) String() string {
	if l.lost == 0 {
		return fmt.Sprintf("none of %d packets lost", l.sent)
	}
	return fmt.Sprintf("%d of %d packets lost, no answer for %s", l.lost, l.sent, seconds(l.silence))
}

// since counts from after packet number from. The last packet does not count: its answer may be under way.
func (p *pinger) since(from int) loss {
	p.mu.Lock()
	defer p.mu.Unlock()
	var l loss
	last := p.answers[from]
	for seq := from + 1; seq < p.sent; seq++ {
		l.sent++
		at := p.answers[seq]
		if at.IsZero() {
			l.lost++
			continue
		}
		if !last.IsZero() {
			l.silence = max(l.silence, at.Sub(last))
		}
		last = at
	}
	return l
}
