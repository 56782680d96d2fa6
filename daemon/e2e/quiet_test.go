package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
)

// A server that is restarted is no event: machines come back to it by themselves, and no log has anything worse than
// a note of it.
func TestARestartedServerIsNoNoise(t *testing.T) {
	t.Parallel()
	m, alice, bob := twoHomes(t)
	alice.WaitPing(bob, 15*time.Second)
	settled := len(alice.Daemon.Output())
	if err := m.Coord.Proc.Stop(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	stopped := m.Coord.Proc.Output()
	m.Coord.Start()
	m.Coord.Run("machine", "rename", "bob", "robert")
	took := lab.Eventually(t, 30*time.Second, func() error {
		for _, p := range alice.Status().Peers {
			if p.Name == "robert" {
				return nil
			}
		}
		return errorf("alice has not come back: %+v", alice.Status().Peers)
	})
	t.Logf("alice is back %v after the server", took.Round(time.Millisecond))
	for who, log := range map[string]string{"the server": stopped, "the server again": m.Coord.Proc.Output(), "alice": alice.Daemon.Output()[settled:]} {
		for line := range strings.Lines(log) {
			if strings.Contains(line, "level=ERROR") || who != "alice" && strings.Contains(line, "level=WARN") {
				t.Errorf("%s: %s", who, line)
			}
		}
	}
}

// Everything that must stay secret is used once, with all logs as talkative as can be: none of it is in any of them.
func TestNoSecretIsInAnyLog(t *testing.T) {
	const password = "correct horse battery"
	t.Parallel()
	n := lab.New(t)
	programs := mesh.Build(t)
	m := mesh.Serve(t, n, n.Internet().Host("coord"), programs, "--verbose", "--log-format", "json")
	alice, bob := m.Behind(lab.EasyNAT, "alice"), m.Behind(lab.EasyNAT, "bob")
	link := regexp.MustCompile(`https://\S+/setup/(\S+)`).FindStringSubmatch(m.Coord.Proc.Output())
	secrets := map[string]string{"password": password, "set-up link": link[1]}

	p := newPerson(t, alice)
	p.get(link[0])
	p.submit(map[string][]string{"login": {"anna"}, "password": {password}, "again": {password}})
	for _, c := range p.http.Jar.Cookies(p.url) {
		secrets["cookie "+c.Name] = c.Value
	}
	up := alice.Start(alice.Args("up", m.Coord.Invite, "--hostname", "alice", "--no-browser")...)
	page := loginPage(t, up)
	secrets["state of the login"] = regexp.MustCompile(`state=([^&\s]+)`).FindStringSubmatch(page)[1]
	p.get(page)
	p.submit(nil)
	if err := up.Wait(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	file := m.Coord.Key()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	secrets["pre-auth key"] = strings.TrimSpace(string(text))
	bob.Up(file)
	alice.WaitPing(bob, 15*time.Second)

	// What lies in the state directories in the clear: identities and keys.
	for _, dir := range []string{filepath.Join(m.Coord.Dir(), "state"), alice.State(), bob.State()} {
		keysIn(t, dir, secrets)
	}
	if len(secrets) < 10 {
		t.Errorf("only %d secrets are looked for", len(secrets))
	}
	logs := map[string]string{"alice": alice.Daemon.Output(), "bob": bob.Daemon.Output()}
	lines := 0
	for line := range strings.Lines(m.Coord.Proc.Output()) {
		if strings.HasPrefix(line, "{") { // and not what is printed for the one who has started it
			logs["server"] += line
			lines++
		}
	}
	if lines < 5 || !strings.Contains(logs["server"], `"level":"DEBUG"`) {
		t.Errorf("the server's log has %d lines, which proves little:\n%s", lines, logs["server"])
	}
	for who, log := range logs {
		for what, secret := range secrets {
			if strings.Contains(log, secret) {
				t.Errorf("the log of %s has the secret of %s", who, what)
			}
		}
	}
}

// keysIn finds what looks like a private key in the files of a directory.
func keysIn(t *testing.T, dir string, into map[string]string) {
	t.Helper()
	private := regexp.MustCompile(`-private:([0-9a-f]{64})|-----BEGIN PRIVATE KEY-----\n(\S+)`)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || strings.Contains(path, "warren.db") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, found := range private.FindAllStringSubmatch(string(text), -1) {
			value := found[1] + found[2]
			into[filepath.Join(filepath.Base(filepath.Dir(dir)), filepath.Base(path))+string(rune('a'+i))] = value
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
