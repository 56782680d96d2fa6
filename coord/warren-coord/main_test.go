package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/store/pgtest"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/coord/server"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"warren-coord": main})
}

func TestScripts(t *testing.T) { scripts(t, "testdata", nil) }

// TestScriptsOnPostgres gives each script three empty databases.
func TestScriptsOnPostgres(t *testing.T) {
	pg := pgtest.Start(t)
	scripts(t, "testdata/postgres", func(e *testscript.Env) error {
		for _, n := range []string{"1", "2", "3"} {
			address := pg.Database("db" + e.Getenv("PORT") + n)
			e.Setenv("DATABASE"+n, address)
			if err := os.WriteFile(filepath.Join(e.WorkDir, "url"+n), []byte(address+"\n"), 0o600); err != nil {
				return err
			}
		}
		return nil
	})
}

func scripts(t *testing.T, dir string, setup func(*testscript.Env) error) {
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PORT", freePort(t))
			if setup == nil {
				return nil
			}
			return setup(e)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// ready waits until the server on the directory answers on its admin socket.
			"ready": func(ts *testscript.TestScript, _ bool, args []string) {
				dir := ts.MkAbs(args[0])
				for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
					if c, err := server.DialAdmin(context.Background(), dir); err == nil {
						_ = c.Close()
						return
					}
				}
				ts.Fatalf("it never served")
			},
		},
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

// start runs the real program until it says that it serves. before are a program that starts it, and its arguments.
func start(t *testing.T, dir, addr string, before ...string) *exec.Cmd {
	t.Helper()
	args := append(slices.Clone(before), "warren-coord", "serve", "--no-relay", "--state", dir, "--listen", addr, "--url", "https://"+addr)
	cmd, _ := launch(t, args...)
	return cmd
}

// launch runs a command line until it says that it serves, and gives what it said.
func launch(t *testing.T, args ...string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), "warren-coord serves") {
			return cmd, said.String()
		}
	}
	t.Fatalf("it ended before it served:\n%s", said.String())
	return nil, ""
}

func run(t *testing.T, into any, args ...string) {
	t.Helper()
	cmd := exec.Command("warren-coord", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("warren-coord %v: %v", args, err)
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("warren-coord %v: %v in %s", args, err, out)
	}
}

func TestNothingAcknowledgedIsLostByAKill(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) { killAgainAndAgain(t, 6) })
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Setenv(envDatabase, pgtest.Start(t).Database("killed"))
		killAgainAndAgain(t, 2)
	})
}

func TestPostgresGoesAndComesBack(t *testing.T) {
	pg := pgtest.Start(t)
	t.Setenv(envDatabase, pg.Database("away"))
	dir := filepath.Join(t.TempDir(), "state")
	start(t, dir, "127.0.0.1:"+freePort(t))
	create := func() (string, error) {
		out, err := exec.Command("warren-coord", "key", "create", "--state", dir).CombinedOutput()
		return string(out), err
	}
	if out, err := create(); err != nil {
		t.Fatal(out)
	}
	pg.Down()
	if out, err := create(); err == nil || !strings.Contains(out, "The server's database does not answer, so nothing was changed: try again in a minute") {
		t.Errorf("without its database: %v\n%s", err, out)
	}
	var machines []server.MachineInfo
	run(t, &machines, "machine", "list", "--json", "--state", dir) // these it knows
	pg.Up()
	if out, err := create(); err != nil {
		t.Error(out)
	}
}

func killAgainAndAgain(t *testing.T, rounds int) {
	t.Helper()
	dir, addr := filepath.Join(t.TempDir(), "state"), "127.0.0.1:"+freePort(t)
	cmd := start(t, dir, addr)
	pin, err := server.Identity(dir)
	if err != nil {
		t.Fatal(err)
	}
	var k server.NewKey
	run(t, &k, "key", "create", "--reusable", "--json", "--state", dir)
	var mu sync.Mutex
	acknowledged := map[key.NodePublic]bool{}
	for round := range rounds {
		var wg sync.WaitGroup
		enough := make(chan struct{}, 1000)
		stop := make(chan struct{})
		for range 8 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					c, err := coord.NewClient(coord.ClientConfig{URL: addr, Pin: pin, Machine: key.NewMachine()})
					if err != nil {
						t.Error(err)
						return
					}
					node := key.NewNode()
					reply, err := c.Register(context.Background(), node, coord.RegisterRequest{Hostname: "m", AuthKey: k.Key})
					c.Close()
					if err == nil && reply.Registered {
						mu.Lock()
						acknowledged[node.Public()] = true
						mu.Unlock()
						enough <- struct{}{}
					}
				}
			})
		}
		for range 20 + 5*round {
			<-enough
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		close(stop)
		wg.Wait()
		began := time.Now()
		cmd = start(t, dir, addr)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %v to serve again", took)
		}
		var all []server.MachineInfo
		run(t, &all, "machine", "list", "--json", "--state", dir)
		there := map[key.NodePublic]bool{}
		for _, m := range all {
			there[m.Key] = true
		}
		for n := range acknowledged {
			if !there[n] {
				t.Fatalf("after kill %d an acknowledged machine is missing", round)
			}
		}
	}
	t.Log(len(acknowledged), "acknowledged")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		t.Errorf("after an interrupt: %v", err)
	}
}
