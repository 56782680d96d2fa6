package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/warren-mesh/warren/daemon/e2e/lab"
	"github.com/warren-mesh/warren/daemon/e2e/mesh"
	"github.com/warren-mesh/warren/daemon/internal/core"
	"github.com/warren-mesh/warren/ipc"
)

// opened are connections of the machine to port 443 of another one, of TCP and UDP and both versions, and a function that sends on all.
func opened(t *testing.T, from, to *lab.Machine) (send func()) {
	t.Helper()
	l, err := to.Listen("tcp", ":443")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			go func() { _, _ = io.Copy(io.Discard, c) }()
		}
	}()
	var conns []net.Conn
	for _, network := range []string{"tcp", "udp"} {
		for _, addr := range []string{to.Addr().String(), to.Addr6().String()} {
			c, err := from.Dial(network, net.JoinHostPort(addr, "443"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			conns = append(conns, c)
		}
	}
	return func() {
		for _, c := range conns {
			_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // nobody acknowledges
			_, _ = c.Write([]byte("still here"))
		}
	}
}

// TestWhateverHappensNothingGoesAroundTheExitNodeAndItsSilenceIsSaid: client and exit node are in homes between which only the
// relay leads; the client's has IPv6, the exit node's has not. Relay, exit node, the client's daemon and its network fail in turn,
// without lockdown and with it. The two go on beside each other and nobody else: they say how long it takes.
func TestWhateverHappensNothingGoesAroundTheExitNodeAndItsSilenceIsSaid(t *testing.T) {
	for _, lockdown := range []string{"false", "true"} {
		t.Run("lockdown "+lockdown, func(t *testing.T) { whateverHappens(t, lockdown) })
	}
}

func whateverHappens(t *testing.T, lockdown string) {
	t.Helper()
	t.Parallel()
	n := lab.New(t)
	m := mesh.Start(t, n, mesh.Build(t))
	web := n.Internet().Host("web")
	who(t, web)
	home := n.Internet().Router("home-alice", lab.EasyNAT, lab.WithIPv6())
	alice, gate := m.NodeWith(home.Host("alice"), "sh", "-c", `exec "$@" --service`, "sh"), m.Behind(lab.EasyNAT, "gate")
	n.BlockUDP(alice.Machine, gate.Machine)
	alice.Home = home
	nas := home.Host("nas")
	key := m.Coord.Key("--reusable")
	gate.Up(key)
	alice.Up(key)
	gate.MustWarren("set", "--advertise-exit-node")
	approve(m, gate, "--approve-exit-node")
	atWeb, atNAS := web.Capture(onTheInternet(home)), nas.Capture(inTheLAN(home, nas))
	send := opened(t, alice.Machine, web)
	leaves := func() int {
		send()
		leaving(alice.Machine, web, nas)
		leaving(nas, alice.Machine) // which answers, if it may
		return atWeb.Count() + atNAS.Count()
	}
	if seen := leaves(); seen < 30 {
		t.Fatalf("control: without an exit node the captures see %d packets", seen)
	}
	lab.Eventually(t, 60*time.Second, func() error {
		_, err := alice.Warren("exit-node", "use", "gate")
		return err
	})
	wantSeen(t, alice.Machine, web.Addr(), gate.Home.Addr())
	alice.WaitPath(gate, ipc.PathRelay, 20*time.Second)
	answers := func() error {
		if _, silent := problemOf(alice, ipc.ProblemExitDown); silent {
			return errors.New("the status still says that it does not answer")
		}
		got, err := seenAs(alice.Machine, web.Addr())
		if err == nil && got != gate.Home.Addr() {
			return fmt.Errorf("seen as %s", got)
		}
		return err
	}
	// around counts what goes around the exit node while f runs, and until the exit node answers again.
	around := func(what string, f func()) {
		t.Helper()
		web0, nas0 := atWeb.Count(), atNAS.Count()
		stop := steadily(t, alice.Machine, web)
		f()
		lab.Eventually(t, 60*time.Second, answers)
		leaves()
		sent := stop()
		went := append(atWeb.Packets()[web0:], atNAS.Packets()[nas0:]...)
		if len(went) > 0 {
			t.Errorf("%s: %d packets went around the exit node:\n%s", what, len(went), strings.Join(went, "\n"))
		}
		t.Logf("%s: %d packets went around, of %d datagrams and what else was tried", what, len(went), sent)
	}
	silence := func(what string, fall, mend func()) {
		t.Helper()
		around(what, func() {
			fall()
			said := lab.Eventually(t, 60*time.Second, func() error { return problem(alice, ipc.ProblemExitDown) })
			t.Logf("%s: said after %s (bound %s)", what, said.Round(10*time.Millisecond), core.ExitSilence)
			if said > core.ExitSilence+lab.Patience*4*time.Second { // a busy machine takes its time
				t.Errorf("%s: said after %s", what, said)
			}
			if p, _ := problemOf(alice, ipc.ProblemExitDown); p.Level != ipc.ProblemUrgent || !strings.Contains(p.Fix, "warren exit-node off") {
				t.Errorf("%s: %+v", what, p)
			}
			wantCut(t, alice.Machine, web.Addr(), what)
			leaves()
			mend()
		})
	}
	alice.MustWarren("set", "--lockdown="+lockdown)
	silence("the relay dies", m.Relay.Proc.Kill9, m.Relay.Start)
	silence("the exit node is stopped", gate.Daemon.Pause, gate.Daemon.Resume)
	silence("the exit node is killed", gate.Daemon.Kill9, gate.StartDaemon)
	for _, c := range []struct {
		what       string
		fall, mend func()
	}{
		{"the own daemon is stopped", alice.Daemon.Pause, alice.Daemon.Resume},
		{"the own daemon is killed", alice.Daemon.Kill9, alice.StartDaemon},
		{
			"the own daemon is restarted", func() {
				if err := alice.Daemon.Stop(); err != nil {
					t.Error(err)
				}
			},
			func() { alice.Recover("--service"); alice.StartDaemon() },
		},
		{"the interface is taken away", func() { alice.MustRun("ip", "link", "del", alice.Interface()) }, func() {}},
		{"the own address changes", func() { alice.Readdress() }, func() {}},
		{"the LAN leads it elsewhere", func() { elsewhere(alice, web, "replace") }, func() { elsewhere(alice, web, "del") }},
	} {
		around(c.what, func() { c.fall(); leaves(); c.mend() })
	}
	alice.MustWarren("set", "--lockdown=false")
	alice.MustWarren("exit-node", "off")
	before := atWeb.Count() + atNAS.Count()
	if leaves()-before < 20 {
		t.Error("control: the captures see nothing any more")
	}
}

// elsewhere adds routes, as a DHCP server (RFC 3442, CVE-2024-3661) or a router's advertisements do, or takes them away.
func elsewhere(n *mesh.Node, to *lab.Machine, verb string) {
	for _, dst := range []string{"0.0.0.0/1", "128.0.0.0/1", to.Addr().String() + "/32"} {
		n.MustRun("ip", "route", verb, dst, "via", n.Home.Gateway().String(), "dev", n.Device())
	}
	for _, dst := range []string{"::/1", "8000::/1", to.Addr6().String() + "/128"} {
		n.MustRun("ip", "-6", "route", verb, dst, "via", "fe80::1", "dev", n.Device())
	}
}
