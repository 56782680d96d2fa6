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
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
	p.m.net.must(err)
	// The name, in parentheses, may hold anything; utime and stime are the 14th and
	// 15th field, the 12th and 13th after it (proc_pid_stat(5)).
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		p.m.net.must(err)
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond
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
