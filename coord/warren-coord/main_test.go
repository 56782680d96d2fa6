package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/warren-mesh/warren/coord"
	"github.com/warren-mesh/warren/coord/internal/store/pgtest"
	"github.com/warren-mesh/warren/coord/internal/store/ramdisk"
	"github.com/warren-mesh/warren/coord/key"
	"github.com/warren-mesh/warren/coord/server"
	"github.com/warren-mesh/warren/relay/certificate/pebble"
)

// patience is for what other processes do; it only ever runs out where they never will. What is asked again and again is
// asked every look.
const (
	patience = time.Minute
	look     = 10 * time.Millisecond
)

func TestMain(m *testing.M) {
	ramdisk.Use()
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
			e.Setenv("PORT", pebble.FreePort(t))
			if setup == nil {
				return nil
			}
			return setup(e)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// ready waits until the server on the directory answers on its admin socket.
			"ready": func(ts *testscript.TestScript, _ bool, args []string) {
				dir := ts.MkAbs(args[0])
				for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(look) {
					c, err := server.DialAdmin(context.Background(), dir)
					if err != nil {
						continue
					}
					_, err = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
					n, _ := c.Read(make([]byte, 1)) // who is answered, comes after the server has begun to serve
					_ = c.Close()
					if err == nil && n == 1 {
						return
					}
				}
				ts.Fatalf("it never served")
			},
			"join": joinScript,
			// issuer starts a provider that describes itself, and no more, at $ISSUER.
			"issuer": func(ts *testscript.TestScript, _ bool, _ []string) {
				var srv *httptest.Server
				srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					_ = json.NewEncoder(w).Encode(map[string]string{
						"issuer": srv.URL, "authorization_endpoint": srv.URL + "/auth", "token_endpoint": srv.URL + "/token", "jwks_uri": srv.URL + "/keys",
					})
				}))
				ts.Defer(srv.Close)
				ts.Setenv("ISSUER", srv.URL)
			},
		},
	})
}

// joinScript has a machine join by the link and the key in two files, and offer routes: join INVITE KEY NAME [ROUTE]...
func joinScript(ts *testscript.TestScript, _ bool, args []string) {
	server, pin, err := coord.ParseServer(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	c, err := coord.NewClient(coord.ClientConfig{URL: server, Pin: pin, Machine: key.NewMachine()})
	ts.Check(err)
	defer c.Close()
	var u coord.NodeUpdate
	for _, text := range args[3:] {
		u.Routes = append(u.Routes, netip.MustParsePrefix(text))
	}
	_, err = c.Register(context.Background(), key.NewNode(), coord.RegisterRequest{Hostname: args[2], AuthKey: strings.TrimSpace(ts.ReadFile(args[1]))})
	ts.Check(err)
	ts.Check(c.Update(context.Background(), u))
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

func TestPostgresGoesAndComesBack(t *testing.T) {
	pg := pgtest.Start(t)
	t.Setenv(envDatabase, pg.Database("away"))
	dir := filepath.Join(t.TempDir(), "state")
	start(t, dir, "127.0.0.1:"+pebble.FreePort(t))
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
