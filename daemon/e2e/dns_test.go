package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
)

// TestMachinesAreFoundByName runs the real programs. One machine has a resolv.conf of its own, mounted as containers have
// it; the other is told to leave the host's alone, which is that of the machine that runs the test.
func TestMachinesAreFoundByName(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	bob := m.Behind(lab.EasyNAT, "bob")
	machine := n.Internet().Router("home-alice", lab.EasyNAT).Host("alice")
	const theirs = "# a container's\nnameserver 192.0.2.53\nsearch lan.example\n"
	conf := mesh.Write(t, machine, "resolv.conf", theirs)
	contained := []string{"unshare", "--mount", "sh", "-c", "mount --bind " + conf + ` /etc/resolv.conf && exec "$@"`, "sh"}
	withDNS := slices.Clone(contained)
	withDNS[4] += " --host-dns=true"
	alice := m.NodeWith(machine, withDNS...)
	hosts, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Fatal(err)
	}
	key := m.Coord.Key("--reusable")
	alice.Up(key)
	bob.Up(key)

	lab.Eventually(t, 5*time.Second, func() error {
		out, err := alice.Warren("dns", "query", "bob")
		if want := " IN A " + bob.Inner().String(); err != nil || !strings.Contains(out, want) {
			return fmt.Errorf("%s, %w", out, err)
		}
		return nil
	})
	if out := alice.MustWarren("dns", "status"); !strings.Contains(out, "Mode: /etc/resolv.conf") || !strings.Contains(out, "All other names: 192.0.2.53") {
		t.Errorf("alice: %s", out)
	}
	if out := bob.MustWarren("dns", "status"); !strings.Contains(out, "Mode: off") || !strings.Contains(out, "--host-dns=false") {
		t.Errorf("bob: %s", out)
	}
	read := func() string {
		text, err := os.ReadFile(conf)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if text := read(); !strings.Contains(text, "nameserver 100.127.255.254\n") || !strings.Contains(text, "search demo.warren.internal") && !strings.Contains(text, "search warren.internal") {
		t.Errorf("alice's programs read\n%s", text)
	}

	// What an admin changes is so on all machines.
	answers := func(name, want string) {
		t.Helper()
		lab.Eventually(t, 20*time.Second, func() error {
			if out, err := alice.Warren("dns", "query", "--json", name); !strings.Contains(out, want) {
				return fmt.Errorf("%s: %s, %w", name, out, err)
			}
			return nil
		})
	}
	address := " IN A " + bob.Inner().String()
	m.Coord.Run("dns", "add", "*.apps.example", "A", bob.Inner().String())
	answers("wiki.apps.example", address)
	m.Coord.Run("machine", "rename", "bob", "robert")
	answers("robert", address)
	answers(bob.Inner().String(), "PTR robert.")
	answers("bob."+alice.Status().DNS.Suffix, "NXDOMAIN")
	m.Coord.Run("machine", "rename", "robert", "bob")
	answers("bob", address)

	// It goes on without the coordination server, and ends with the daemon, however that ends.
	if err := m.Coord.Proc.Stop(); err != nil {
		t.Fatal(err)
	}
	if out := alice.MustWarren("dns", "query", bob.Inner().String()); !strings.Contains(out, "PTR bob.") {
		t.Errorf("without the coordination server: %s", out)
	}
	alice.MustWarren("set", "--accept-dns=false")
	lab.Eventually(t, 5*time.Second, func() error {
		if text := read(); text != theirs {
			return fmt.Errorf("it is left as\n%s", text)
		}
		return nil
	})
	alice.MustWarren("set", "--accept-dns")
	lab.Eventually(t, 5*time.Second, func() error {
		if text := read(); text == theirs {
			return fmt.Errorf("it is not set again")
		}
		return nil
	})

	// However a person ends it, what they had is what comes back.
	given := func(how string, back bool) {
		t.Helper()
		lab.Eventually(t, 20*time.Second, func() error {
			if text := read(); (text == theirs) != back {
				return fmt.Errorf("%s: it is\n%s", how, text)
			}
			return nil
		})
	}
	alice.MustWarren("down")
	given("down", true)
	alice.MustWarren("up")
	given("up", false)
	if err := alice.Daemon.Stop(); err != nil {
		t.Error(err)
	}
	given("stopped", true)
	alice.StartDaemon()
	given("started", false)
	if out := alice.MustWarren("dns", "query", "bob"); !strings.Contains(out, " IN A "+bob.Inner().String()) {
		t.Errorf("after a restart without the coordination server: %s", out)
	}
	alice.Daemon.Kill9()
	machine.MustRun(append(contained, append(m.Daemon()[:1], "recover", "--state", alice.State())...)...)
	if text := read(); text != theirs {
		t.Errorf("recovered to\n%s", text)
	}
	if now, err := os.ReadFile("/etc/resolv.conf"); err != nil || string(now) != string(hosts) {
		t.Errorf("the machine that runs the tests has another resolv.conf now:\n%s", now)
	}
}

// TestTheHostsOwnFileIsGivenBackByALogoutHoweverThatEnds: a machine has a resolv.conf of its own that can be replaced, as an installed
// host's can. Byte for byte it is what a person had, with its mode and owner, and with what was written into it meanwhile.
func TestTheHostsOwnFileIsGivenBackByALogoutHoweverThatEnds(t *testing.T) {
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	machine := n.Internet().Host("alice")
	etc := filepath.Join(machine.Dir(), "etc")
	machine.MustRun("cp", "-a", "/etc", etc)
	conf := filepath.Join(etc, "resolv.conf")
	theirs := "; written by hand\r\n\n# nameserver 192.0.2.1\nnameserver 192.0.2.53\n\tnameserver 192.0.2.54 \nsearch lan.example\noptions timeout:2" // no newline
	_ = os.Remove(conf)
	if err := os.WriteFile(conf, []byte(theirs), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(conf, 1234, 4321); err != nil {
		t.Fatal(err)
	}
	contained := []string{"unshare", "--mount", "sh", "-c", "mount --bind " + etc + ` /etc && exec "$@"`, "sh"}
	withDNS := slices.Clone(contained)
	withDNS[4] += " --host-dns=true"
	alice := m.NodeWith(machine, withDNS...)
	key := m.Coord.Key("--reusable")

	fact := func() string {
		text, err := os.ReadFile(conf)
		if err != nil {
			t.Fatal(err)
		}
		return machine.MustRun("stat", "-c", "%F %a %u %g", conf) + machine.MustRun("ls", "-A", etc) + string(text)
	}
	before := fact()
	ours := func() {
		t.Helper()
		lab.Eventually(t, 60*time.Second, func() error {
			if text := fact(); !strings.Contains(text, "nameserver 100.127.255.254") {
				return fmt.Errorf("the host's programs ask others:\n%s", text)
			}
			return nil
		})
	}
	given := func(what string) {
		t.Helper()
		lab.Eventually(t, 60*time.Second, func() error {
			if now := fact(); now != before {
				return fmt.Errorf("%s: it is\n%q\nand was\n%q", what, now, before)
			}
			return nil
		})
	}
	recovered := func(what string) {
		t.Helper()
		for range 2 { // twice is once
			machine.MustRun(append(contained, append(m.Daemon()[:1], "recover", "--state", alice.State())...)...)
			if now := fact(); now != before {
				t.Errorf("%s: it is\n%q\nand was\n%q", what, now, before)
			}
		}
	}
	for range 2 {
		alice.Up(key)
		ours()
		alice.MustWarren("logout")
		given("after a logout")
	}

	alice.Up(key)
	ours()
	alice.Daemon.Kill9()
	if _, err := alice.Warren("logout"); err == nil {
		t.Error("without a daemon a logout went well")
	}
	recovered("logged out without a daemon, and recovered")
	alice.StartDaemon()
	ours()
	p := alice.Start(alice.Args("logout")...)
	alice.Daemon.Kill9() // wherever it was
	_ = p.Wait(time.Minute)
	recovered("killed in a logout")
	alice.StartDaemon() // which may be logged in still
	_, _ = alice.Warren("logout")
	given("the rest of the logout")

	// What another program writes into our file is theirs, and comes back with the rest.
	alice.Up(key)
	ours()
	text, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, append(text, "\noptions edns0\n"...), 0o640); err != nil {
		t.Fatal(err)
	}
	before += "\noptions edns0\n"
	alice.MustWarren("logout")
	given("after another program wrote into it")
}
