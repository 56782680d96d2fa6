package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestWithoutATerminalItShowsAllOfIt is what make demo does in CI.
func TestWithoutATerminalItShowsAllOfIt(t *testing.T) {
	r := startDemo(t, nil)
	if code := r.end(alone + endLimit); code != exitSo {
		t.Errorf("exit code %d", code)
	}
	out := r.output()
	for _, line := range []string{
		"✓ alice joins with the pre-auth key",
		"✓ bob joins through the login page",
		"✓ the path between them is direct",
		"192.168.1.10:", " ◀──▶ 198.51.100.13:",
		"alice$ warren status", "bob$ warren status",
		"pong from bob", "pong from alice",
		"3 packets transmitted, 3 received, 0% packet loss",
		"✓ UDP between the homes is blocked: the ping goes on, relayed", "through relay ",
		"✓ UDP is unblocked: it is direct again", "direct to 198.51.100.13:",
		"All of it was so",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("it does not show %q", line)
		}
	}
	for _, bad := range []string{"✗", "\x1b", "\r"} {
		if strings.Contains(out, bad) {
			t.Errorf("it shows %q", bad)
		}
	}
}

// TestWheneverItIsInterruptedNothingIsLeft ends it after so many steps, each time another way.
func TestWheneverItIsInterruptedNothingIsLeft(t *testing.T) {
	send := func(signals ...os.Signal) func(*demoRun) {
		return func(r *demoRun) {
			for _, s := range signals {
				_ = r.cmd.Process.Signal(s)
				time.Sleep(10 * time.Millisecond) // the second one meets the cleaning up
			}
		}
	}
	for steps, how := range map[int]func(*demoRun){
		0: send(os.Interrupt),
		1: send(syscall.SIGTERM),
		2: send(os.Interrupt, os.Interrupt, os.Interrupt),
		3: send(syscall.SIGHUP),
		5: send(os.Interrupt, syscall.SIGTERM),
		8: send(os.Interrupt),
	} {
		t.Run(fmt.Sprintf("after %d steps", steps), func(t *testing.T) {
			r := startDemo(t, nil)
			r.waitFor(fmt.Sprintf(`(?s)Warren:(.*✓){%d}`, steps), alone)
			how(r)
			if code := r.end(endLimit); code != exitInterrupted {
				t.Errorf("exit code %d", code)
			}
			if !strings.Contains(r.output(), "Interrupted.") || strings.Contains(r.output(), "--- warren") {
				t.Error("it does not end calmly")
			}
		})
	}
}

// TestWhenItsReaderGoesAwayNothingIsLeft is make demo | head.
func TestWhenItsReaderGoesAwayNothingIsLeft(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r := startDemo(t, func(r *demoRun) { r.cmd.Stdout = write })
	_ = write.Close()
	if _, err := read.Read(make([]byte, 10)); err != nil {
		t.Error(err)
	}
	_ = read.Close()
	if code := r.end(endLimit); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
}

// TestWhenAStepFailsItSaysSo gives it a daemon that does not start.
func TestWhenAStepFailsItSaysSo(t *testing.T) {
	buildDemo(t)
	dir := t.TempDir()
	for _, name := range []string{"demo", "warren", "warren-coord", "warren-relay"} {
		if out, err := exec.Command("cp", strings.TrimSuffix(program.path, "demo")+name, dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	start := func() *demoRun {
		return startDemo(t, func(r *demoRun) { r.cmd.Path = dir + "/demo" })
	}
	if r := start(); r.end(endLimit) != exitUsage || !strings.Contains(r.output(), "there is no "+dir+"/warrend") {
		t.Error("it does not say that a program is missing")
	}
	if err := os.WriteFile(dir+"/warrend", []byte("#!/bin/sh\necho no such thing today\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := start()
	if code := r.end(alone); code != exitNotSo {
		t.Errorf("exit code %d", code)
	}
	for _, line := range []string{"✗ warrend runs on alice and on bob", "warrend on alice ended", "no such thing today", "The demo failed"} {
		if !strings.Contains(r.output(), line) {
			t.Errorf("it does not show %q", line)
		}
	}
}

// TestOnATerminalItStaysUntilCtrlC tries what it says is there to try.
func TestOnATerminalItStaysUntilCtrlC(t *testing.T) {
	var keys *os.File
	r := startDemo(t, func(r *demoRun) { keys = r.onTerminal() })
	origin := r.waitFor(`browser of this machine: (https://\S+)`, alone)
	for want, command := range map[string][]string{
		"bob":                       {"alice", "warren", "status"},
		"2 packets transmitted":     {"alice", "ping", "-c2", "-i0.2", r.waitFor(`alice ping (100\.\S+)`, 0)},
		"pong from alice":           {"bob", "warren", "ping", "alice"},
		"100.64.0.1":                {"coord", "warren-coord", "machine", "list"},
		"masquerade":                {"home1", "nft", "list", "ruleset"},
		"there is no machine \"c\"": {"c"},
	} {
		out, err := r.visit(command...)
		if (err != nil) != (len(command) == 1) || !strings.Contains(out, want) {
			t.Errorf("%v: %v\n%s", command, err, out)
		}
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	res, err := client.Get(origin + "/healthz")
	if err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("%s: %v %v", origin, res, err)
	}
	if _, err := keys.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	if code := r.end(endLimit); code != exitSo {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(r.output(), "\x1b[K") {
		t.Error("it draws no progress")
	}
	out, err := r.visit("alice", "true")
	if err == nil || !strings.Contains(out, "no demo runs") {
		t.Errorf("after its end, %v: %s", err, out)
	}
}
