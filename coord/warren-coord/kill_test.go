package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/store/pgtest"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/coord/server"
	"github.com/warren-mesh/warren/relay/certificate/pebble"
)

// envKills is how often the server is killed in place of a few times; `make kills` sets it.
const envKills = "WARREN_KILLS"

// maxStart is how long the server may work until it serves, also after a kill: processor time, since on a busy host the
// time on the clock says what the others do. That is logged.
const maxStart = 3 * time.Second

func TestNothingAcknowledgedIsLostByAKill(t *testing.T) {
	rounds := 12
	if text := os.Getenv(envKills); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s=%q is no number of kills", envKills, text)
		}
		rounds = n
	}
	t.Run("SQLite", func(t *testing.T) { killAgainAndAgain(t, rounds) })
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Setenv(envDatabase, pgtest.Start(t).Database("killed"))
		killAgainAndAgain(t, max(2, rounds/10))
	})
}

// load registers machines until it is stopped, and remembers those that the server has acknowledged.
type load struct {
	t    *testing.T
	addr string
	pin  key.ServerPublic
	key  string

	mu           sync.Mutex
	acknowledged map[key.NodePublic]bool
}

// run registers with eight clients at a time. It returns after so many acknowledgements; stop ends the rest.
func (l *load) run(enough int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	acks := make(chan struct{})
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if l.register() {
					select {
					case acks <- struct{}{}:
					case <-ctx.Done():
					}
				}
			}
		})
	}
	for range enough {
		select {
		case <-acks:
		case <-time.After(time.Minute):
			l.t.Error("the server takes nobody in")
		}
	}
	return func() { cancel(); wg.Wait() }
}

func (l *load) register() bool {
	c, err := coord.NewClient(coord.ClientConfig{URL: l.addr, Pin: l.pin, Machine: key.NewMachine()})
	if err != nil {
		l.t.Error(err)
		return false
	}
	defer c.Close()
	node := key.NewNode()
	reply, err := c.Register(context.Background(), node, coord.RegisterRequest{Hostname: "m", AuthKey: l.key})
	if err != nil || !reply.Registered {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acknowledged[node.Public()] = true
	return true
}

// check looks for every acknowledged machine.
func (l *load) check(dir string) {
	l.t.Helper()
	var all []server.MachineInfo
	run(l.t, &all, "machine", "list", "--json", "--state", dir)
	there := map[key.NodePublic]bool{}
	for _, m := range all {
		there[m.Key] = true
	}
	for n := range l.acknowledged {
		if !there[n] {
			l.t.Fatal("an acknowledged machine is missing")
		}
	}
}

func killAgainAndAgain(t *testing.T, rounds int) {
	t.Helper()
	work := t.TempDir()
	dir, addr := filepath.Join(work, "state"), "127.0.0.1:"+pebble.FreePort(t)
	cmd := start(t, dir, addr)
	pin, err := server.Identity(dir)
	if err != nil {
		t.Fatal(err)
	}
	var k server.NewKey
	run(t, &k, "key", "create", "--reusable", "--json", "--state", dir)
	l := &load{t: t, addr: addr, pin: pin, key: k.Key, acknowledged: map[key.NodePublic]bool{}}
	var starts, cpu []time.Duration
	for round := range rounds {
		stop := l.run(1 + rand.IntN(40))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		stop()
		began := time.Now()
		cmd = start(t, dir, addr) // it looks whether the database is whole before it serves
		starts = append(starts, time.Since(began))
		used := worked(t, cmd.Process.Pid)
		if cpu = append(cpu, used); used > maxStart {
			t.Errorf("after kill %d it worked %v until it served again", round, used)
		}
		l.check(dir)
	}
	slices.Sort(starts)
	slices.Sort(cpu)
	t.Logf("%d kills, %d acknowledged writes, none lost; it serves again after %v (median), %v (longest); processor time %v, %v",
		rounds, len(l.acknowledged), starts[rounds/2].Round(time.Millisecond), starts[rounds-1].Round(time.Millisecond), cpu[rounds/2], cpu[rounds-1])
	// A backup is of a whole database only, and so is what is restored from it.
	for _, args := range [][]string{{"backup", filepath.Join(work, "saved"), "--state", dir}, {"restore", filepath.Join(work, "saved"), "--database", "", "--state", filepath.Join(work, "again")}} {
		c := exec.Command("warren-coord", args...)
		if args[0] == "restore" {
			c.Env = append(os.Environ(), envDatabase+"=")
		}
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", args[0], err, out)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		t.Errorf("after an interrupt: %v", err)
	}
	if leftovers, err := filepath.Glob(filepath.Join(dir, "*.restoring")); err != nil || len(leftovers) > 0 {
		t.Error(fmt.Sprint("left over: ", leftovers), err)
	}
}

// worked is the processor time of a process until now, in the kernel's hundredths of a second (proc_pid_stat(5)).
func worked(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
