package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/key"
)

// ticks are the units of /proc's CPU times in a second: the kernel's USER_HZ, the same on all of Linux's architectures.
const ticks = 100

// server is the real program.
type server struct {
	program, dir, addr string
	metrics            string // address of its metrics page
	pin                key.ServerPublic
	authKeys           []string // each of one circle
	log                *os.File

	cmd   *exec.Cmd
	ended chan error
}

func (s *server) url() string { return "https://" + s.addr }

// setUp makes a server for n machines in the directory, starts it, and makes rules and pre-auth keys.
func setUp(ctx context.Context, o options, n int, dir string) (_ *server, err error) {
	s := &server{program: o.program, dir: filepath.Join(dir, "state")}
	if s.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	if s.metrics, err = freeAddr(); err != nil {
		return nil, err
	}
	if s.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.kill()
		}
	}()
	invite, err := s.ask(ctx, "invite")
	if err != nil {
		return nil, err
	}
	if _, s.pin, err = coord.ParseServer(invite); err != nil {
		return nil, err
	}
	circles := 1
	if o.each > 0 {
		circles = (n + o.each - 1) / o.each
	}
	return s, s.divide(ctx, circles, filepath.Join(dir, "policy"))
}

// divide has the machines of one tag see each other, and nobody else, and makes a key for each.
func (s *server) divide(ctx context.Context, circles int, file string) error {
	owners, grants := map[string][]string{}, []map[string][]string{}
	for i := range circles {
		tag := []string{fmt.Sprint("tag:circle", i)}
		owners[tag[0]] = []string{"autogroup:admin"}
		grants = append(grants, map[string][]string{"src": tag, "dst": tag, "ip": {"*"}})
	}
	text, err := json.Marshal(map[string]any{"tagOwners": owners, "grants": grants})
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	if _, err := s.ask(ctx, "policy", "set", file); err != nil {
		return err
	}
	for i := range circles {
		k, err := s.ask(ctx, "key", "create", "--reusable", "--expires", "24h", "--tag", fmt.Sprint("circle", i))
		if err != nil {
			return err
		}
		s.authKeys = append(s.authKeys, k)
	}
	return nil
}

// ask runs a command of the server's own. Right after the server's start its admin socket may not be there yet.
func (s *server) ask(ctx context.Context, args ...string) (string, error) {
	for try := 1; ; try++ {
		out, err := exec.CommandContext(ctx, s.program, append(args, "--state", s.dir)...).Output()
		if err == nil {
			return strings.TrimSpace(string(out)), nil
		}
		var exit *exec.ExitError
		if try == 20 && errors.As(err, &exit) {
			return "", fmt.Errorf("%s %s: %s", s.program, strings.Join(args, " "), exit.Stderr)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// freeAddr is one on which nobody listens. The kernel does not give out the same one twice in a row.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// start runs the program until it says that it serves.
func (s *server) start(ctx context.Context) error {
	cmd := exec.Command(s.program, "serve", "--no-relay", "--state", s.dir, "--listen", s.addr, "--url", s.url(), "--metrics", s.metrics)
	cmd.Stderr = s.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start the server (make build makes it): %w", err)
	}
	s.cmd, s.ended = cmd, make(chan error, 1)
	serves := make(chan struct{})
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "warren-coord serves") {
				close(serves)
				break
			}
		}
		_, _ = io.Copy(io.Discard, out)
		s.ended <- cmd.Wait()
	}()
	select {
	case <-serves:
		return nil
	case err := <-s.ended:
		s.ended <- err
		text, _ := os.ReadFile(s.log.Name())
		return fmt.Errorf("the server ended at its start: %w\n%s", err, text)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end sends the signal and waits for the server's end.
func (s *server) end(sig syscall.Signal) error {
	if err := s.cmd.Process.Signal(sig); err != nil {
		return err
	}
	err := <-s.ended
	s.ended <- nil // kill may come later
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == sig {
		return nil
	}
	return err
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.ended
	_ = s.log.Close()
}

// streams counts the machines that follow the netmap, by the server's metrics.
func (s *server) streams(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.metrics+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "warren_coord_streams "); ok {
			return strconv.Atoi(text)
		}
	}
	return 0, errors.New("the server's metrics do not count its streams")
}

// usage is what the server and this process have used.
type usage struct {
	cpu, ours      time.Duration // of the server; of this process
	resident, peak int64         // the server's memory in bytes
	read           int64         // bytes that this process and its children that ended have read: what the server sends, with TLS
}

func (u usage) minus(v usage) usage {
	u.cpu, u.ours, u.read = u.cpu-v.cpu, u.ours-v.ours, u.read-v.read
	return u
}

func (s *server) usage() (u usage, err error) {
	if u.cpu, err = cpuTime(strconv.Itoa(s.cmd.Process.Pid)); err != nil {
		return u, fmt.Errorf("the server has ended: %w", err)
	}
	if u.ours, err = cpuTime("self"); err != nil {
		return u, err
	}
	status := fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid)
	u.resident, u.peak = 1024*field(status, "VmRSS:"), 1024*field(status, "VmHWM:")
	u.read = readBytes()
	return u, nil
}

func readBytes() int64 { return field("/proc/self/io", "rchar:") }

// cpuTime reads utime and stime (proc_pid_stat(5), fields 14 and 15).
func cpuTime(pid string) (time.Duration, error) {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, err
	}
	after := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // begins with field 3
	if len(after) < 13 {
		return 0, fmt.Errorf("/proc/%s/stat cannot be read", pid)
	}
	user, err1 := strconv.ParseInt(after[11], 10, 64)
	system, err2 := strconv.ParseInt(after[12], 10, 64)
	return time.Duration(user+system) * time.Second / ticks, errors.Join(err1, err2)
}

// field reads a number of a file of "name: value" lines.
func field(file, name string) int64 {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}

// loadAverage is what else the host does: the result is worth less where that is much.
func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	return strings.TrimSpace(string(text))
}
