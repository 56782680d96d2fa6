package lab

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is the unit of times in /proc (USER_HZ), 100 on every Linux.
const ticksPerSecond = 100

// CPU returns the processor time that it has used, in user and kernel mode.
func (p *Proc) CPU() time.Duration {
	p.m.net.t.Helper()
	var ticks int64
	for _, f := range p.stat()[11:13] { // utime and stime
		n, err := strconv.ParseInt(f, 10, 64)
		p.m.net.must(err)
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond
}

// stat gives what the kernel says of it, from the third field on (proc_pid_stat(5)): its state is the first. The name before these,
// in parentheses, may hold anything.
func (p *Proc) stat() []string {
	p.m.net.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
	p.m.net.must(err)
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
}

// RSS returns its resident memory in bytes.
func (p *Proc) RSS() int64 {
	p.m.net.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.Pid()))
	p.m.net.must(err)
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	p.m.net.must(err)
	return pages * int64(os.Getpagesize())
}

// PeakRSS returns the most resident memory that it ever had, in bytes.
func (p *Proc) PeakRSS() int64 {
	p.m.net.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	p.m.net.must(err)
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		p.m.net.t.Fatalf("%v tells no peak of its memory", p)
	}
	kibibytes, err := strconv.ParseInt(fields[0], 10, 64)
	p.m.net.must(err)
	return kibibytes << 10
}
