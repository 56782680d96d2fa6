package tray

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/warren-mesh/warren/ipc"
)

// BenchmarkProgram measures the program as it is built for people: how long from its start to the icon with its menu, what
// memory it takes, and how often it wakes while nothing changes.
func BenchmarkProgram(b *testing.B) {
	program := filepath.Join(b.TempDir(), "warren-tray")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/warren-mesh/warren/app/warren-tray").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	var icon time.Duration
	var memory, wakes float64
	for b.Loop() {
		d := newDesk(b)
		d.serve(ipc.LevelOperate)
		d.show()
		ctx, stop := context.WithCancel(d.ctx)
		cmd := exec.CommandContext(ctx, program, "--socket", d.socket)
		cmd.Env = d.environ
		began := time.Now()
		d.must(cmd.Start())
		d.sees("Connected to demo")
		icon += time.Since(began)
		time.Sleep(time.Second) // until what starts has started
		const quiet = 10 * time.Second
		before := wakeups(b, cmd.Process.Pid)
		time.Sleep(quiet)
		wakes += float64(wakeups(b, cmd.Process.Pid)-before) * float64(time.Minute/quiet)
		memory += float64(field(b, fmt.Sprintf("/proc/%d/status", cmd.Process.Pid), "VmRSS")) / 1024
		stop()
		_ = cmd.Wait()
	}
	n := float64(b.N)
	b.ReportMetric(icon.Seconds()*1000/n, "ms-to-icon")
	b.ReportMetric(memory/n, "MiB")
	b.ReportMetric(wakes/n, "wakeups/min")
	b.ReportMetric(0, "ns/op")
}

// wakeups is how often threads of a process have left the processor and come back.
func wakeups(b *testing.B, pid int) (n int) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		b.Fatalf("%v: %d threads", err, len(tasks))
	}
	for _, t := range tasks {
		n += field(b, t, "voluntary_ctxt_switches") + field(b, t, "nonvoluntary_ctxt_switches")
	}
	return n
}

// field reads a number of a file of proc(5).
func field(b *testing.B, file, name string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+)`).FindSubmatch(bytes.TrimSpace(text))
	if m == nil {
		b.Fatalf("%s has no %s", file, name)
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}
