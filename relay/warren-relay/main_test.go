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
			e.Setenv("ANOTHER", key.NewServer().Public().String())
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"ready": ready, "logged": logged},
	})
}

// ready waits until the relay has written to its log that it relays.
func ready(ts *testscript.TestScript, neg bool, args []string) {
	logged(ts, neg, append(args, "relaying"))
}

// logged waits until a log has the words.
func logged(ts *testscript.TestScript, _ bool, args []string) {
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); time.Sleep(5 * time.Millisecond) {
		if b, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && strings.Contains(string(b), args[1]) {
			return
		}
	}
	ts.Fatalf("the log does not say %q", args[1])
}
