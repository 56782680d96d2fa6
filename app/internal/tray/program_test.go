package tray

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
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

// BenchmarkWindow measures the window as BenchmarkProgram does the icon, on a screen of its own: how long until it is shown, what
// memory it takes, and how often it wakes once nobody has touched it for a while. Its network has five thousand machines in "hostile".
func BenchmarkWindow(b *testing.B) {
	program := filepath.Join(b.TempDir(), "warren-tray")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/warren-mesh/warren/app/warren-tray").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for name, edit := range map[string]func(*ipc.Status){"usual": func(*ipc.Status) {}, "hostile": multitude} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				measureWindow(b, program, edit)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func measureWindow(b *testing.B, program string, edit func(*ipc.Status)) {
	d := newDesk(b)
	d.daemon.Edit(edit)
	d.serve(ipc.LevelOperate)
	d.screen()
	began := time.Now()
	pid, _ := d.opens(program)
	b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms-to-window")
	time.Sleep(20 * time.Second) // until what still moves has come to rest
	const quiet = 20 * time.Second
	before, busy := wakeups(b, pid), busyTicks(b, pid)
	time.Sleep(quiet)
	b.ReportMetric(float64(wakeups(b, pid)-before)*float64(time.Minute/quiet), "wakeups/min")
	b.ReportMetric(float64(busyTicks(b, pid)-busy)*float64(time.Minute/quiet)*10, "cpu-ms/min")
	b.ReportMetric(float64(field(b, fmt.Sprintf("/proc/%d/status", pid), "VmRSS"))/1024, "MiB")
}

// screen gives the desktop a screen, for as long as the test lasts.
func (d *desk) screen() {
	d.t.Helper()
	x := exec.CommandContext(d.ctx, "Xvfb", "-displayfd", "1", "-screen", "0", "1024x760x24", "-nolisten", "tcp")
	out, err := x.StdoutPipe()
	d.must(err)
	d.must(x.Start())
	d.t.Cleanup(func() { _ = x.Process.Kill(); _ = x.Wait() })
	number := make([]byte, 16)
	n, err := out.Read(number)
	d.must(err)
	d.environ = append(slices.Clone(d.environ), "DISPLAY=:"+string(bytes.TrimSpace(number[:n])), "LIBGL_ALWAYS_SOFTWARE=1", "LANG=en_US.UTF-8")
}

// opens starts the program's window, for as long as the test lasts, and gives its process and its number on the screen.
func (d *desk) opens(program string) (pid int, window string) {
	d.t.Helper()
	ctx, stop := context.WithCancel(d.ctx)
	cmd := exec.CommandContext(ctx, program, "--socket", d.socket, "--window", "home")
	cmd.Env = d.environ
	d.must(cmd.Start())
	d.t.Cleanup(func() { stop(); _ = cmd.Wait() })
	for {
		find := exec.CommandContext(d.ctx, "xdotool", "search", "--sync", "--onlyvisible", "--name", "^Warren$")
		find.Env = d.environ
		if out, err := find.Output(); err == nil {
			window, _, _ = strings.Cut(string(out), "\n")
			return cmd.Process.Pid, window
		}
		d.must(d.ctx.Err())
	}
}

// The window is light where the desktop does not say that it is dark, and follows it while nobody touches it.
func TestTheWindowIsAsDarkAsTheDesktop(t *testing.T) {
	program := filepath.Join(t.TempDir(), "warren-tray")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/warren-mesh/warren/app/warren-tray").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	d := newDesk(t)
	d.serve(ipc.LevelOperate)
	d.show()
	d.screen()
	_, window := d.opens(program)
	for _, dark := range []bool{false, true, false} {
		d.must(d.panel.SetDark(dark))
		for {
			shot := exec.CommandContext(d.ctx, "import", "-window", window, "-resize", "1x1!", "-depth", "8", "gray:-")
			shot.Env = d.environ
			point, err := shot.Output()
			d.must(err)
			if len(point) > 0 && dark == (point[0] < 128) && point[0] != 0 {
				break
			}
			d.must(d.ctx.Err())
			time.Sleep(250 * time.Millisecond) // until the next look
		}
	}
}

// busyTicks is a process's time on processors, in hundredths of a second (proc(5), USER_HZ).
func busyTicks(b *testing.B, pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	words := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	user, err := strconv.Atoi(string(words[11]))
	system, err2 := strconv.Atoi(string(words[12]))
	if err != nil || err2 != nil {
		b.Fatal(err, err2)
	}
	return user + system
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
