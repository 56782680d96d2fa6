package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warren-mesh/warren/coord/server"
	"github.com/warren-mesh/warren/relay/certificate/pebble"
)

// needRoot skips a test that mounts something. Where CI=true or WARREN_NOSKIP=1 it fails instead.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" || os.Getenv("WARREN_NOSKIP") == "1" {
		t.Fatal("needs root to mount a small disk, and CI=true or WARREN_NOSKIP=1 allows no skipped test")
	}
	t.Skip("needs root to mount a small disk: run `sudo make test`")
}

func TestAFullDiskRefusesWritesAndReadsGoOn(t *testing.T) {
	needRoot(t)
	disk, addr := t.TempDir(), "127.0.0.1:"+pebble.FreePort(t)
	// The disk is mounted where only the server sees it, and goes with it.
	cmd := start(t, filepath.Join(disk, "state"), addr,
		"unshare", "--mount", "sh", "-ec", `mount -t tmpfs -o size=4m none "$0" && exec "$@"`, disk)
	dir := filepath.Join("/proc", fmt.Sprint(cmd.Process.Pid), "root", disk, "state")
	tell := func(stdin string, args ...string) (string, error) {
		cmd := exec.Command("warren-coord", append(args, "--state", dir)...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := tell("correct horse", "user", "add", "anna"); err != nil {
		t.Fatal(out)
	}
	filling, err := os.Create(filepath.Join(dir, "filling"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = filling.Close() }()
	if _, err := io.Copy(filling, endless{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal("the disk is not full: ", err)
	}
	// What the log of the database has left over takes some more.
	refused := false
	for i := 0; i < 2000 && !refused; i++ {
		out, err := tell("correct horse", "user", "add", fmt.Sprint("b", i))
		if refused = err != nil; refused && !strings.Contains(out, "The server cannot write to its disk (is it full?): nothing was changed") {
			t.Errorf("on a full disk it says %s", out)
		}
	}
	if !refused {
		t.Error("a full disk refuses nothing")
	}
	ready := func(want string) {
		t.Helper()
		web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
		var body []byte
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(look) { // the answer is kept for a second
			resp, err := web.Get("https://" + addr + "/readyz")
			if err != nil {
				t.Fatal(err)
			}
			body, _ = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if fmt.Sprintf("%d %s", resp.StatusCode, body) == want+"\n" {
				return
			}
		}
		t.Errorf("it never says %q, but %q", want, body)
	}
	ready("503 database")
	if out, err := tell("", "user", "list"); err != nil || !strings.Contains(out, "anna") {
		t.Errorf("reading: %v\n%s", err, out)
	}
	if out, err := tell("", "backup", filepath.Join(dir, "saved")); err == nil || strings.Count(out, "\n") != 1 {
		t.Errorf("a backup onto the full disk: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "saved")); err == nil {
		t.Error("half a backup stays")
	}
	if err := errors.Join(filling.Close(), os.Remove(filling.Name())); err != nil {
		t.Fatal(err)
	}
	ready("200 ok") // by itself
	if out, err := tell("correct horse", "user", "add", "carl"); err != nil {
		t.Error("with room again: ", out)
	}
	var users []server.UserInfo
	run(t, &users, "user", "list", "--json", "--state", dir)
	there := map[string]bool{}
	for _, u := range users {
		there[u.Login] = true
	}
	if !there["anna"] || !there["carl"] {
		t.Errorf("the users are %v", users)
	}
}

// endless is as many bytes as one wants to read.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte{1}, len(p))), nil }
