package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/warren-mesh/warren/coord/key"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"warren-relay": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("ISSUER", key.NewServer().Public().String())
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"ready": ready},
	})
}

// ready waits until the relay has written to its log that it relays.
func ready(ts *testscript.TestScript, _ bool, args []string) {
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); time.Sleep(5 * time.Millisecond) {
		if b, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && strings.Contains(string(b), "relaying") {
			return
		}
	}
	ts.Fatalf("the relay did not start")
}
